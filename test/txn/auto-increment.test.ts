import { describe, expect, it } from 'vitest'
import type { Database } from '../../src/database.js'
import type { InsertOptions, Row, Table } from '../../src/table.js'
import type { Transaction } from '../../src/transaction.js'
import { type OpenTestOptions, openTest, type TestDatabase } from '../support/open-test-database.js'
import { expectNothingLeft, outcomeOf, standstill } from './things.js'

/** What auto-increment values rows get, and who waits for whom meanwhile: rules A1–A5 of docs/locking.md, in each mode. */

interface Item {
  id: number
  u: number | null
}

type Mode = 0 | 1 | 2
type Given = Partial<Item>

async function items(mode: Mode = 1, options: OpenTestOptions = {}): Promise<TestDatabase & { table: Table<Item> }> {
  const test = await openTest({ autoIncrementLockMode: mode, ...options })
  return Object.assign(test, { table: await tableOf(test.db) })
}

function tableOf(db: Database): Promise<Table<Item>> {
  return db.table<Item>('items', { key: 'id', autoIncrement: true, indexes: { u: { on: 'u', unique: true } } })
}

/** Rows by the values of `u`; a pair is [id, u]. */
function rows(...given: (number | null | [id: number, u: number | null])[]): Row<Item>[] {
  return given.map((row): Given => (Array.isArray(row) ? { id: row[0], u: row[1] } : { u: row })) as Row<Item>[]
}

/** The key the next row gets. */
async function next(table: Table<Item>): Promise<unknown> {
  return table.insert(rows(null)[0])
}

/** A stream that gives one row, then waits to be told to go on. */
class Source {
  #waiting: (() => void) | undefined
  #released = false

  release(): void {
    this.#released = true
    this.#waiting?.()
  }

  async *rows(count: number, pauseAfter: number): AsyncGenerator<Row<Item>> {
    for (let i = 0; i < count; i++) {
      if (i === pauseAfter && !this.#released)
        await new Promise<void>((resolve) => {
          this.#waiting = resolve
        })
      yield rows(null)[0]
    }
  }
}

async function tableLocks(db: Database, tx: Transaction): Promise<string[]> {
  return db
    .locks()
    .filter((lock) => lock.transaction === tx.id && lock.kind === 'table')
    .map(({ mode, status }) => (status === 'waiting' ? `${mode}, waiting` : mode))
    .sort()
}

describe.each([0, 1, 2] as const)('the values that rows get, in mode %i', (mode) => {
  it('are consecutive, from 1', async () => {
    await using test = await items(mode)
    const { table } = test
    expect(await table.insert(rows(null)[0])).toBe(1)
    expect(await table.insertMany(rows(null, null, null))).toEqual([2, 3, 4])
    expect(await table.put(rows(null)[0])).toBe(5)
    expect(await next(table)).toBe(6)
  })

  it('follow explicit keys that are larger, and ignore smaller, negative, fractional and other ones', async () => {
    await using test = await items(mode)
    const { table } = test
    await table.insertMany(rows([100, 1], [50, 2], [-5, 3]))
    expect(await next(table)).toBe(101)
    await table.put({ id: 200, u: 4 })
    expect(await next(table)).toBe(201)
    await table.insert({ id: 1000.5, u: 5 })
    await table.insert({ id: 'a name' as never, u: 6 })
    expect(await next(table)).toBe(202)
  })

  it('follow an update to a larger key, and not one to a smaller', async () => {
    await using test = await items(mode)
    const { table } = test
    await table.insertMany(rows(1, 2))
    await table.update(2, { id: 40 })
    expect(await next(table)).toBe(41)
    await table.update(1, { id: 3 })
    expect(await next(table)).toBe(42)
  })

  it('are not given again after a rollback, a deletion, or a statement that was undone', async () => {
    await using test = await items(mode)
    const { db, table } = test
    const tx = await db.begin()
    await tx.insertMany(table, rows(1, 2))
    await tx.rollback()
    expect(await next(table)).toBe(3)
    const other = await db.begin()
    const mark = other.savepoint()
    await other.insert(table, { id: 10, u: 3 })
    await other.rollbackTo(mark)
    expect(await other.insert(table, rows(4)[0])).toBe(11)
    await other.commit()
    await table.delete(11)
    expect(await next(table)).toBe(12)
  })

  it('come as numbers to tables whose keys stand beside the values', async () => {
    await using test = await openTest({ autoIncrementLockMode: mode })
    const log = await test.db.table<string>('log', { autoIncrement: true })
    const insert = (value: string): Promise<unknown> => (log.insert as (value: string) => Promise<unknown>)(value)
    expect(await insert('first')).toBe(1)
    expect(await log.insertMany(['second', 'third'])).toEqual([2, 3])
    await log.insert(10, 'tenth')
    expect(await insert('eleventh')).toBe(11)
    expect([...log.entries()]).toEqual([
      [1, 'first'],
      [2, 'second'],
      [3, 'third'],
      [10, 'tenth'],
      [11, 'eleventh'],
    ])
  })

  it('end before numbers become inexact, with ERR_AUTO_INCREMENT_EXHAUSTED, and the transaction goes on', async () => {
    await using test = await items(mode)
    const { db, table } = test
    await table.setAutoIncrement(Number.MAX_SAFE_INTEGER - 2)
    const tx = await db.begin()
    expect(await tx.insert(table, rows(1)[0])).toBe(Number.MAX_SAFE_INTEGER - 2)
    expect(await outcomeOf(tx.insertMany(table, rows(2, 3)))).toBe('ERR_AUTO_INCREMENT_EXHAUSTED')
    await tx.insert(table, { id: 1, u: 2 })
    await tx.commit()
    await table.insert({ id: Number.MAX_SAFE_INTEGER, u: 9 })
    expect(await outcomeOf(next(table))).toBe('ERR_AUTO_INCREMENT_EXHAUSTED')
    expect([...table.keys()]).toEqual([1, Number.MAX_SAFE_INTEGER - 2, Number.MAX_SAFE_INTEGER])
  })
})

describe('a statement reserves values (A1)', () => {
  it.each([
    // Rows 1 and 5 of (–, 50, –, 10, –) come before and after; mode 1 and 2 lose one of those reserved for the last three.
    { mode: 0, keys: [1, 50, 51, 10, 52], after: 53 },
    { mode: 1, keys: [1, 50, 51, 10, 52], after: 54 },
    { mode: 2, keys: [1, 50, 51, 10, 52], after: 54 },
  ] as const)('for all its rows, in mode $mode, also those with explicit keys', async ({ mode, keys, after }) => {
    await using test = await items(mode)
    const { table } = test
    expect(await table.insertMany(rows(null, [50, null], null, [10, null], null))).toEqual(keys)
    expect(await next(table)).toBe(after)
  })

  it.each([
    { mode: 0, after: [2, 3, 4, 5, 6, 7, 8, 9, 10] },
    { mode: 1, after: [2, 4, 4, 8, 8, 8, 8, 16, 16] },
    { mode: 2, after: [2, 4, 4, 8, 8, 8, 8, 16, 16] },
  ] as const)('1, 2, 4, … at a time for the rows of a stream, in mode $mode', async ({ mode, after }) => {
    for (const [at, expected] of after.entries()) {
      await using test = await items(mode)
      const { table } = test
      expect(await table.insertFrom(rows(...Array<null>(at + 1).fill(null)))).toBe(at + 1)
      expect([...table.keys()]).toEqual(Array.from({ length: at + 1 }, (_, i) => i + 1))
      expect(await next(table)).toBe(expected)
    }
  })

  it('none for a stream without rows, or whose rows have keys', async () => {
    await using test = await items()
    expect(await test.table.insertFrom([])).toBe(0)
    expect(await test.table.insertFrom(rows([1, 1], [2, 2]))).toBe(2)
    expect(await next(test.table)).toBe(3)
  })

  it('up to 65,535 at a time', async () => {
    await using test = await items(2)
    const { db, table } = test
    db.transactionSync((tx) => tx.insert(table, { id: 1, u: null }))
    const count = 2 ** 16 + 5
    await table.insertFrom(rows(...Array<null>(count).fill(null)))
    // 1 + 2 + … + 2^15 values, then 65,535 at a time.
    expect(await next(table)).toBe(2 + (2 ** 16 - 1) + 65_535)
  })
})

describe('a value whose row is not added (A2)', () => {
  const ignore: InsertOptions<Item> = { onDuplicate: 'ignore' }
  const upsert: InsertOptions<Item> = { onDuplicate: (old) => ({ ...old }) }

  it.each([
    { mode: 0, keys: [2, 3], after: 4 },
    { mode: 1, keys: [2, 3], after: 6 },
    { mode: 2, keys: [2, 3], after: 6 },
  ] as const)('goes to the next row of the statement when rows in the way are left alone, in mode $mode', async ({ mode, keys, after }) => {
    await using test = await items(mode)
    const { table } = test
    await table.insert(rows(1)[0])
    const given = await table.insertMany(rows(1, 2, 1, 3), ignore)
    expect(given.filter((key) => key !== undefined)).toEqual(keys)
    expect(await next(table)).toBe(after)
  })

  it.each([
    { mode: 0, key: 2, after: 3 },
    { mode: 1, key: 3, after: 5 },
    { mode: 2, key: 3, after: 5 },
  ] as const)('and when they are changed instead, in mode $mode', async ({ mode, key, after }) => {
    await using test = await items(mode)
    const { table } = test
    await table.insert(rows(1)[0])
    expect(await table.insert(rows(1)[0], upsert)).toBe(1)
    expect(await table.insertMany(rows(1, 2), upsert)).toEqual([1, key])
    expect(await next(table)).toBe(after)
  })

  it.each([
    { mode: 0, after: 2 },
    { mode: 1, after: 3 },
    { mode: 2, after: 3 },
  ] as const)('is lost with the statement in mode $mode but 0', async ({ mode, after }) => {
    await using test = await items(mode)
    const { table } = test
    await table.insert(rows(1)[0])
    expect(await outcomeOf(table.insert(rows(1)[0]))).toBe('ERR_DUPLICATE_KEY')
    expect(await next(table)).toBe(after)
  })

  it('is used up by a row that replaces another', async () => {
    for (const mode of [0, 1, 2] as const) {
      await using test = await items(mode)
      const { table } = test
      await table.insert(rows(1)[0])
      expect(await table.insert(rows(1)[0], { onDuplicate: 'replace' })).toBe(2)
      expect(await next(table)).toBe(3)
    }
  })

  it('never replaces the row that has it as a key', async () => {
    await using test = await items(2)
    const { db, table } = test
    const source = new Source()
    const stream = db.transaction((tx) => tx.insertFrom(table, source.rows(3, 2), { onDuplicate: 'replace' }))
    await standstill()
    // The stream has reserved 2 and 3.
    await table.insert({ id: 3, u: 77 })
    source.release()
    expect(await outcomeOf(stream)).toBe('ERR_DUPLICATE_KEY')
    expect(table.get(3)).toEqual({ id: 3, u: 77 })
  })
})

describe('a row refused as a duplicate (A3)', () => {
  it('does not move the counter past its explicit key', async () => {
    for (const mode of [0, 1, 2] as const) {
      await using test = await items(mode)
      const { table } = test
      await table.insert(rows(1)[0])
      expect(await outcomeOf(table.insert({ id: 100, u: 1 }))).toBe('ERR_DUPLICATE_KEY')
      expect(await next(table)).toBe(2)
    }
  })

  it('but does as a row of a stream', async () => {
    await using test = await items(0)
    const { table } = test
    await table.insert(rows(1)[0])
    expect(await outcomeOf(table.insertFrom(rows(1)))).toBe('ERR_DUPLICATE_KEY')
    expect(await next(table)).toBe(3)
    expect(await outcomeOf(table.insertFrom(rows([100, 1])))).toBe('ERR_DUPLICATE_KEY')
    expect(await next(table)).toBe(101)
  })
})

describe('a row refused as a duplicate', () => {
  // What it has done by then is undone, and is no reason to take the engine for broken: it was, and the database took no more writes.
  it.each([0, 1, 2] as const)('by an index, in a stream, does no harm beyond its statement, in mode %i', async (mode) => {
    await using test = await items(mode)
    await test.table.insert(rows(1)[0])
    const tx = await test.db.begin()
    expect(await outcomeOf(tx.insertFrom(test.table, rows(2, 1, 3)))).toBe('ERR_DUPLICATE_KEY')
    await tx.insert(test.table, rows(4)[0])
    await tx.commit()
    expect(Array.from(test.table.values(), ({ u }) => u)).toEqual([1, 4])
  })

  it('by the key that it was given itself, when it is longer than a page, does no harm beyond its statement', async () => {
    await using test = await openTest({ autoIncrementLockMode: 1 })
    const table = await test.db.table<{ id: number; text: string }>('t', { key: 'id', autoIncrement: true })
    const [holder, explicit, generated] = [await test.db.begin(), await test.db.begin(), await test.db.begin()]
    await holder.values(table, {}, { lock: 'update' }).toArray()
    const first = explicit.insert(table, { id: 1, text: 'explicit' })
    const second = outcomeOf(generated.insert(table, { text: 'x'.repeat(40_000) }, { onDuplicate: 'replace' }))
    await holder.commit()
    await first
    await explicit.commit()
    expect(await second).toBe('ERR_DUPLICATE_KEY')
    await generated.insert(table, { text: 'another' })
    await generated.commit()
    expect(Array.from(table.values(), ({ text }) => text)).toEqual(['explicit', 'another'])
  })
})

describe('the AUTO-INC lock (A4)', () => {
  async function streaming(mode: Mode): Promise<TestDatabase & { table: Table<Item>; bulk: Transaction; finish: () => Promise<unknown> }> {
    const test = await items(mode)
    const bulk = await test.db.begin()
    const source = new Source()
    const stream = bulk.insertFrom(test.table, source.rows(5, 2))
    await standstill()
    const finish = (): Promise<unknown> => {
      source.release()
      return stream
    }
    return Object.assign(test, { bulk, finish })
  }

  it.each([0, 1] as const)('of a stream makes every insert wait for its end, in mode %i', async (mode) => {
    await using test = await streaming(mode)
    const { db, table, bulk, finish } = test
    expect(await tableLocks(db, bulk)).toEqual(['AUTO-INC', 'IX'])
    const [generated, many, explicit] = [await db.begin(), await db.begin(), await db.begin()]
    const inserts = [
      generated.insert(table, rows(null)[0]),
      many.insertMany(table, rows(null, null)),
      explicit.insert(table, { id: 500, u: null }),
    ]
    for (const insert of inserts) expect(await outcomeOf(insert)).toBe('waits')
    expect(await tableLocks(db, generated)).toEqual(['AUTO-INC, waiting'])
    // An explicit key is in before its transaction asks.
    expect(await tableLocks(db, explicit)).toEqual(['AUTO-INC, waiting', 'IX'])
    await finish()
    const first = mode === 0 ? 6 : 8
    expect(await Promise.all(inserts)).toEqual([first, [first + 1, first + 2], 500])
    expect(await tableLocks(db, bulk)).toEqual(['IX'])
    for (const tx of [bulk, generated, many, explicit]) await tx.commit()
    expect(await next(table)).toBe(501)
    await expectNothingLeft(db)
  })

  it('is not needed in mode 2: values interleave', async () => {
    await using test = await streaming(2)
    const { db, table, bulk, finish } = test
    expect(await tableLocks(db, bulk)).toEqual(['IX'])
    expect(await next(table)).toBe(4)
    await table.insert({ id: 6, u: null })
    expect(await finish()).toEqual({ count: 5, firstKey: 1 })
    await bulk.commit()
    expect([...table.keys()]).toEqual([1, 2, 3, 4, 6, 7, 8])
  })

  it('is not waited for by updates, deletions and reads, but by updates that move the counter', async () => {
    await using test = await items(1)
    const { db, table } = test
    await table.insertMany(rows(1, 2))
    const bulk = await db.begin()
    const source = new Source()
    const stream = bulk.insertFrom(table, source.rows(2, 1))
    await standstill()
    await table.update(1, { u: 7 })
    await table.delete(2)
    expect(await db.transaction((tx) => tx.get(table, 1, { lock: 'update' }))).toEqual({ id: 1, u: 7 })
    const moved = table.update(1, { id: 90 })
    expect(await outcomeOf(moved)).toBe('waits')
    source.release()
    await stream
    await bulk.commit()
    await moved
    expect(await next(table)).toBe(91)
  })

  it('of simple inserts is none in mode 1, and is given back at the end of each in mode 0', async () => {
    for (const mode of [0, 1] as const) {
      await using test = await items(mode)
      const { db, table } = test
      const [a, b] = [await db.begin(), await db.begin()]
      expect(await a.insertMany(table, rows(null, null))).toEqual([1, 2])
      expect(await b.insert(table, rows(null)[0])).toBe(3)
      expect(await tableLocks(db, a)).toEqual(['IX'])
      await a.rollback()
      await b.commit()
      await expectNothingLeft(db)
    }
  })

  it('is given back when the statement fails, is undone, or its transaction ends', async () => {
    await using test = await items(0)
    const { db, table } = test
    await table.insertMany(rows(1, 2))
    const failing = await db.begin({ isolation: 'read-committed' })
    expect(await outcomeOf(failing.insert(table, rows(2)[0]))).toBe('ERR_DUPLICATE_KEY')
    expect(await next(table)).toBe(3)
    const broken = async function* (): AsyncGenerator<Row<Item>> {
      yield rows(null)[0]
      throw new RangeError('the source broke off')
    }
    await expect(failing.insertFrom(table, broken())).rejects.toThrow('the source broke off')
    expect(await next(table)).toBe(5)
    await failing.rollback()
    expect(() =>
      db.transactionSync((tx) => {
        tx.insert(table, rows(null)[0])
        throw new RangeError('given up')
      }),
    ).toThrow('given up')
    await expectNothingLeft(db)
  })

  it('is refused at once to statements that do not wait, which are undone whole', async () => {
    await using test = await streaming(1)
    const { db, table, bulk, finish } = test
    const tx = await db.begin({ isolation: 'read-committed' })
    expect(await outcomeOf(tx.insertMany(table, rows([600, null], null), { wait: 'nowait' }))).toBe('ERR_LOCK_NOT_AVAILABLE')
    expect(() => db.transactionSync((sync) => sync.insert(table, { id: 700, u: null }))).toThrow(/lock/)
    await finish()
    await bulk.commit()
    await tx.commit()
    expect([...table.keys()]).toEqual([1, 2, 3, 4, 5])
  })

  it('closes a deadlock, which is found', async () => {
    await using test = await items(1)
    const { db, table } = test
    await table.insertMany(rows(1, 2))
    const a = await db.begin()
    await a.update(table, 2, { u: 20 })
    const b = await db.begin()
    const waiting = b.insertFrom(
      table,
      (async function* () {
        yield rows(null)[0]
        await b.get(table, 2, { lock: 'share' })
        yield rows(null)[0]
      })(),
    )
    expect(await outcomeOf(waiting)).toBe('waits')
    expect(await outcomeOf(a.insert(table, rows(null)[0]))).toBe('ERR_DEADLOCK')
    expect(await waiting).toEqual({ count: 2, firstKey: 3 })
    await b.commit()
  })

  it('is held until the outermost of nested streams ends', async () => {
    await using test = await items(1)
    const { db, table } = test
    const other = await db.table<Item>('other', { key: 'id', autoIncrement: true })
    const tx = await db.begin()
    const source = new Source()
    const outer = tx.insertFrom(
      table,
      (async function* () {
        yield rows(null)[0]
        await tx.insertFrom(other, rows(null, null))
        for await (const row of source.rows(1, 0)) yield row
      })(),
    )
    await standstill()
    expect(await tableLocks(db, tx)).toEqual(['AUTO-INC', 'AUTO-INC', 'IX', 'IX'])
    source.release()
    await outer
    expect(await tableLocks(db, tx)).toEqual(['IX', 'IX'])
    await tx.commit()
  })
})

describe('setAutoIncrement', () => {
  it('sets the next value, but to none in use, and may go back to where the rows end', async () => {
    await using test = await items()
    const { table } = test
    await table.insertMany(rows(1, 2))
    await table.setAutoIncrement(50)
    expect(await next(table)).toBe(50)
    await table.setAutoIncrement(10)
    expect(await next(table)).toBe(51)
    await table.delete(50)
    await table.delete(51)
    await table.insert({ id: 7.5, u: 9 })
    await table.setAutoIncrement(3)
    expect(await next(table)).toBe(8)
  })

  it('survives restart and crash, forwards and backwards', async () => {
    await using test = await items()
    await test.table.insertMany(rows(1, 2))
    await test.table.setAutoIncrement(1000)
    expect(await next(await tableOf(await test.crash('kill')))).toBe(1000)
    const table = await tableOf(test.db)
    await table.delete(1000)
    await table.setAutoIncrement(20)
    expect(await next(await tableOf(await test.crash('none')))).toBe(20)
    expect(await next(await tableOf(await test.reopen()))).toBe(21)
  })

  it('waits for transactions that have changed the table', async () => {
    await using test = await items()
    const { db, table } = test
    const tx = await db.begin()
    await tx.insert(table, { id: 30, u: 1 })
    const set = table.setAutoIncrement(5)
    expect(await outcomeOf(set)).toBe('waits')
    await tx.commit()
    await set
    expect(await next(table)).toBe(31)
  })

  it('refuses what is no value, and tables without values', async () => {
    await using test = await items()
    for (const bad of [0, -1, 1.5, '7', undefined, Number.NaN, 2 ** 60])
      expect(() => test.table.setAutoIncrement(bad as number)).toThrow(/whole number from 1/)
    const plain = await test.db.table('plain', { key: 'id' })
    expect(() => plain.setAutoIncrement(1)).toThrow(/without autoIncrement/)
  })
})

describe('a restart (A5)', () => {
  const restarts = {
    'an orderly one': (test: TestDatabase) => test.reopen(),
    'after the process was killed': (test: TestDatabase) => test.crash('kill'),
    'after a power failure': (test: TestDatabase) => test.crash('none'),
  }

  it.each(Object.entries(restarts))(
    'begins after the largest key a row was given, in a rolled back transaction too: %s',
    async (_, restart) => {
      await using test = await items()
      await test.table.insert(rows(1)[0])
      const tx = await test.db.begin()
      await tx.insert(test.table, rows(2)[0])
      await tx.insert(test.table, { id: 100, u: 3 })
      await tx.rollback()
      expect(await next(await tableOf(await restart(test)))).toBe(101)
    },
  )

  it.each(Object.entries(restarts))('gives out values that were reserved and not used: %s', async (_, restart) => {
    await using test = await items()
    await test.table.insertFrom(rows(1, 2, 3, 4, 5))
    expect(await next(await tableOf(await restart(test)))).toBe(6)
  })

  it('comes after a rollback that was awaited, though another one had its value logged', async () => {
    await using test = await items()
    const [a, b] = [await test.db.begin(), await test.db.begin()]
    await a.insert(test.table, rows(1)[0])
    await b.insert(test.table, rows(2)[0])
    void b.rollback()
    await a.rollback()
    expect(await next(await tableOf(await test.crash('none')))).toBe(3)
  })

  it('remembers an update to a larger key, and a row that was refused', async () => {
    await using test = await items()
    await test.table.insertMany(rows(1, 2))
    await test.table.update(2, { id: 40 })
    const table = await tableOf(await test.crash('kill'))
    expect(await outcomeOf(table.insert(rows(1)[0]))).toBe('ERR_DUPLICATE_KEY')
    expect(await next(await tableOf(await test.crash('kill')))).toBe(42)
  })
})
