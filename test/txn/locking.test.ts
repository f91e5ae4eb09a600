import { describe, expect, it } from 'vitest'
import type { Table } from '../../src/table.js'
import type { Transaction } from '../../src/transaction.js'
import type { IsolationLevel } from '../../src/txn/trx.js'
import type { SimulatedClock } from '../support/seeded.js'
import { canInsert, canUpdate, expectNothingLeft, outcomeOf, recordLocks, row, standstill, type Thing, things } from './things.js'

/** What statements lock, on the real engine: the rules of docs/locking.md, and why they are as they are. */

interface Combination {
  what: string
  isolation: IsolationLevel
  run: (tx: Transaction, table: Table<Thing>) => Promise<unknown>
  locks: string[]
  /** Rows that others cannot insert, and rows that they can. */
  blocked?: Thing[]
  free?: Thing[]
}

const BY_PRIMARY: Combination['run'] = (tx, table) => tx.deleteRange(table, { eq: 20 })
const BY_UNIQUE: Combination['run'] = (tx, table) => tx.deleteRange(table, { index: 'code', eq: 200 })
const BY_INDEX: Combination['run'] = (tx, table) => tx.deleteRange(table, { index: 'kind', eq: 2 })
const BY_NOTHING: Combination['run'] = (tx, table) => tx.deleteRange(table, { where: (thing: Thing) => thing.size === 5 })
const EVERYTHING = (mode: 'S' | 'X') => [...[10, 20, 30, 40].map((id) => `${mode} next-key PRIMARY ${id}`), `${mode} gap PRIMARY above all`]

const COMBINATIONS: Combination[] = [
  {
    what: 'the primary key: the record alone, for nobody else can insert the same key',
    isolation: 'read-committed',
    run: BY_PRIMARY,
    locks: ['X record PRIMARY 20'],
    free: [row(15), row(25)],
  },
  {
    what: 'the primary key: the same; the gaps around do not matter',
    isolation: 'repeatable-read',
    run: BY_PRIMARY,
    locks: ['X record PRIMARY 20'],
    free: [row(15), row(25)],
  },
  {
    what: 'a unique key: its entry and its row',
    isolation: 'read-committed',
    run: BY_UNIQUE,
    locks: ['X record code 200/20', 'X record PRIMARY 20'],
    free: [row(25, { code: 150 }), row(25, { code: 250 })],
  },
  {
    what: 'a unique key: the same, no gap',
    isolation: 'repeatable-read',
    run: BY_UNIQUE,
    locks: ['X record code 200/20', 'X record PRIMARY 20'],
    free: [row(25, { code: 150 }), row(25, { code: 250 })],
  },
  {
    what: 'a non-unique key: entries and rows; others may add more with the same key',
    isolation: 'read-committed',
    run: BY_INDEX,
    locks: ['X record kind 2/20', 'X record kind 2/30', 'X record PRIMARY 20', 'X record PRIMARY 30'],
    free: [row(15, { kind: 2 }), row(25, { kind: 2 }), row(35, { kind: 3 })],
  },
  {
    what: 'a non-unique key: entries with their gaps, and the gap behind, so that no row with this key can appear',
    isolation: 'repeatable-read',
    run: BY_INDEX,
    locks: ['X next-key kind 2/20', 'X next-key kind 2/30', 'X gap kind 4/40', 'X record PRIMARY 20', 'X record PRIMARY 30'],
    blocked: [row(15, { kind: 2 }), row(25, { kind: 2 }), row(35, { kind: 3 }), row(35, { kind: 4 })],
    free: [row(5, { kind: 1 }), row(45, { kind: 4 }), row(45, { kind: 5 })],
  },
  {
    what: 'no index: the rows that match; what was locked on the way is given back',
    isolation: 'read-committed',
    run: BY_NOTHING,
    locks: ['X record PRIMARY 10', 'X record PRIMARY 30'],
    free: [row(15, { size: 5 }), row(45, { size: 5 })],
  },
  {
    what: 'no index: every record and every gap of the table, for any row might come to match',
    isolation: 'repeatable-read',
    run: BY_NOTHING,
    locks: EVERYTHING('X'),
    blocked: [row(5), row(15), row(45)],
  },
  {
    what: 'a plain read by the primary key: shared, for a read must not go stale',
    isolation: 'serializable',
    run: (tx, table) => tx.get(table, 20),
    locks: ['S record PRIMARY 20'],
    free: [row(15), row(25)],
  },
  {
    what: 'a plain read of an absent key: its gap, so that it stays absent',
    isolation: 'serializable',
    run: (tx, table) => tx.get(table, 25),
    locks: ['S gap PRIMARY 30'],
    blocked: [row(25), row(29)],
    free: [row(15), row(35)],
  },
  {
    what: 'a plain read by a non-unique key: as a deletion, but shared',
    isolation: 'serializable',
    run: (tx, table) => tx.values(table, { index: 'kind', eq: 2 }).toArray(),
    locks: ['S next-key kind 2/20', 'S next-key kind 2/30', 'S gap kind 4/40', 'S record PRIMARY 20', 'S record PRIMARY 30'],
    blocked: [row(25, { kind: 2 })],
    free: [row(45, { kind: 5 })],
  },
  {
    what: 'a plain read without an index: the whole table',
    isolation: 'serializable',
    run: (tx, table) => tx.values(table, { where: (thing: Thing) => thing.size === 5 }).toArray(),
    locks: EVERYTHING('S'),
    blocked: [row(5), row(45)],
  },
  {
    what: 'a range of the primary key that ends at a row: nothing behind it',
    isolation: 'repeatable-read',
    run: (tx, table) => tx.values(table, { gte: 10, lte: 30 }, { lock: 'update' }).toArray(),
    locks: ['X record PRIMARY 10', 'X next-key PRIMARY 20', 'X next-key PRIMARY 30'],
    blocked: [row(15)],
    free: [row(5), row(35)],
  },
  {
    what: 'a range of the primary key that ends between rows: the gap behind, but not the row',
    isolation: 'repeatable-read',
    run: (tx, table) => tx.updateRange(table, { gt: 10, lt: 25 }, (thing) => ({ ...thing, size: 0 })),
    locks: ['X next-key PRIMARY 20', 'X gap PRIMARY 30'],
    blocked: [row(15), row(27)],
    free: [row(5), row(35)],
  },
  {
    what: 'a range of an index, read: the entry behind it, but not its row',
    isolation: 'repeatable-read',
    run: (tx, table) => tx.values(table, { index: 'kind', lte: 1 }, { lock: 'update' }).toArray(),
    locks: ['X next-key kind 1/10', 'X next-key kind 2/20', 'X record PRIMARY 10'],
  },
  {
    what: 'a range of an index, deleted: the row behind it, too',
    isolation: 'repeatable-read',
    run: (tx, table) => tx.deleteRange(table, { index: 'kind', lte: 1 }),
    locks: ['X next-key kind 1/10', 'X next-key kind 2/20', 'X record PRIMARY 10', 'X record PRIMARY 20'],
  },
  {
    what: 'a range downwards: the gap above it, and the first record below it',
    isolation: 'repeatable-read',
    run: (tx, table) => tx.values(table, { gte: 20, lte: 30, reverse: true }, { lock: 'share' }).toArray(),
    locks: ['S next-key PRIMARY 10', 'S next-key PRIMARY 20', 'S next-key PRIMARY 30', 'S gap PRIMARY 40'],
  },
  {
    what: 'a limit: nothing behind the last row found',
    isolation: 'repeatable-read',
    run: (tx, table) => tx.values(table, { limit: 2 }, { lock: 'update' }).toArray(),
    locks: ['X next-key PRIMARY 10', 'X next-key PRIMARY 20'],
  },
  {
    what: 'a shared read of keys alone: the entries, not the rows',
    isolation: 'repeatable-read',
    run: (tx, table) => tx.primaryKeys(table, { index: 'kind', eq: 2 }, { lock: 'share' }).toArray(),
    locks: ['S next-key kind 2/20', 'S next-key kind 2/30', 'S gap kind 4/40'],
  },
  {
    what: 'an insert: nothing that is listed, for its lock is implicit',
    isolation: 'repeatable-read',
    run: (tx, table) => tx.insert(table, row(25, { code: 250, kind: 2 })),
    locks: [],
    free: [row(24), row(26)],
  },
]

describe('what a statement locks', () => {
  it.each(COMBINATIONS)('$isolation, $what', async ({ isolation, run, locks, blocked = [], free = [] }) => {
    await using test = await things()
    const { db, table } = test
    const tx = await db.begin({ isolation })
    await run(tx, table)
    expect(recordLocks(db, tx)).toEqual(locks)
    const others = new Map([...blocked, ...free].map((thing) => [thing, blocked.includes(thing)]))
    for (const [thing, isBlocked] of others) expect([thing, await canInsert(db, table, thing)]).toEqual([thing, !isBlocked])
    await tx.rollback()
    await expectNothingLeft(db)
  })

  it('is what was there: rows that do not match can be changed by others under read committed, and not under repeatable read', async () => {
    await using test = await things()
    const { db, table } = test
    for (const [isolation, free] of [
      ['read-committed', true],
      ['repeatable-read', false],
    ] as const) {
      const tx = await db.begin({ isolation })
      await BY_NOTHING(tx, table)
      expect([await canUpdate(db, table, 20), await canUpdate(db, table, 10)]).toEqual([free, false])
      await tx.rollback()
    }
  })

  it('names the table lock first, and who waits for whom', async () => {
    await using test = await things()
    const { db, table } = test
    const [a, b] = [await db.begin(), await db.begin()]
    await a.get(table, 20, { lock: 'update' })
    const waiting = b.get(table, 20, { lock: 'share' })
    expect(await outcomeOf(waiting)).toBe('waits')
    expect(db.locks()).toMatchObject([
      { transaction: b.id, table: 'things', kind: 'table', mode: 'IS', status: 'granted', index: undefined, key: undefined },
      { transaction: a.id, table: 'things', kind: 'table', mode: 'IX' },
      { transaction: a.id, table: 'things', index: 'PRIMARY', key: 20, mode: 'X', kind: 'record', status: 'granted', blockedBy: [] },
      { transaction: b.id, index: 'PRIMARY', key: 20, mode: 'S', kind: 'record', status: 'waiting', blockedBy: [a.id] },
    ])
    expect(db.transactions()).toMatchObject([
      { id: a.id, waitingFor: undefined },
      { id: b.id, waitingFor: { key: 20, blockedBy: [a.id] } },
    ])
    await a.commit()
    await waiting
    await b.commit()
  })

  it('keeps to where, also for keys alone', async () => {
    await using test = await things()
    const { db, table } = test
    const small = { where: (thing: Thing) => thing.size === 5 }
    for (const isolation of ['repeatable-read', 'serializable'] as const) {
      const tx = await db.begin({ isolation })
      expect(await tx.primaryKeys(table, small, { lock: 'share' }).toArray()).toEqual([10, 30])
      expect(await tx.primaryKeys(table, { ...small, index: 'kind' }, { lock: 'share' }).toArray()).toEqual([10, 30])
      expect(await tx.primaryKeys(table, { ...small, index: 'kind', gte: 2 }, { lock: 'update' }).toArray()).toEqual([30])
      await tx.rollback()
    }
  })
})

describe('an insert', () => {
  it('into a gap locked by another transaction waits, and goes on when that ends', async () => {
    await using test = await things()
    const { db, table } = test
    const a = await db.begin()
    expect(await a.get(table, 25, { lock: 'update' })).toBeUndefined()
    const insert = table.insert(row(27))
    expect(await outcomeOf(insert)).toBe('waits')
    expect(db.locks().at(-1)).toMatchObject({ kind: 'insert-intention', key: 30, status: 'waiting', blockedBy: [a.id] })
    await a.commit()
    expect(await insert).toBe(27)
    await expectNothingLeft(db)
  })

  it('does not wait for one’s own gap lock, nor for another insert into the gap', async () => {
    await using test = await things()
    const { db, table } = test
    const [a, b] = [await db.begin(), await db.begin()]
    await a.insert(table, row(22))
    await b.insert(table, row(24))
    await a.insert(table, row(23))
    await a.values(table, { gt: 34, lt: 36 }, { lock: 'update' }).toArray()
    await a.insert(table, row(35))
    // The gap it split stays locked on both sides.
    expect(recordLocks(db, a)).toEqual(['X gap PRIMARY 35', 'X gap PRIMARY 40'])
    expect(await outcomeOf(b.insert(table, row(34), { wait: 'nowait' }))).toBe('ERR_LOCK_NOT_AVAILABLE')
    expect(await outcomeOf(b.insert(table, row(36), { wait: 'nowait' }))).toBe('ERR_LOCK_NOT_AVAILABLE')
    await a.commit()
    await b.commit()
    expect(table.keys({ gt: 20, lt: 40 }).toArray()).toEqual([22, 23, 24, 30, 35])
  })

  it('that waits keeps nobody from locking the gap; a next-key lock that is waited for keeps inserts out', async () => {
    await using test = await things()
    const { db, table } = test
    const [a, b, c] = [await db.begin(), await db.begin(), await db.begin()]
    await a.get(table, 25, { lock: 'update' })
    const insert = b.insert(table, row(25))
    expect(await outcomeOf(insert)).toBe('waits')
    expect(await outcomeOf(c.get(table, 26, { lock: 'share' }))).toBe('done')
    await a.commit()
    expect(await outcomeOf(insert)).toBe('waits')
    await c.commit()
    expect(await outcomeOf(insert)).toBe('done')
    await b.rollback()

    const [d, e] = [await db.begin(), await db.begin()]
    await d.update(table, 20, { size: 1 })
    const range = e.values(table, { gt: 10, lte: 20 }, { lock: 'update' }).toArray()
    expect(await outcomeOf(range)).toBe('waits')
    expect(await canInsert(db, table, row(15))).toBe(false)
    await d.commit()
    expect((await range).map((thing) => thing.size)).toEqual([1])
    await e.rollback()
  })

  it('of a key that another transaction is inserting waits for its end: a duplicate if it commits, else free', async () => {
    await using test = await things()
    const { db, table } = test
    for (const end of ['commit', 'rollback'] as const) {
      const a = await db.begin()
      await a.insert(table, row(25, { code: 250 }))
      const [sameKey, sameCode] = [table.insert(row(25)), table.insert(row(26, { code: 250 }))]
      expect([await outcomeOf(sameKey), await outcomeOf(sameCode)]).toEqual(['waits', 'waits'])
      await a[end]()
      const expected = end === 'commit' ? 'ERR_DUPLICATE_KEY' : 'done'
      expect([await outcomeOf(sameKey), await outcomeOf(sameCode)]).toEqual([expected, expected])
      for (const id of [25, 26]) await table.delete(id)
    }
    await expectNothingLeft(db)
  })

  it('that fails on a duplicate keeps it locked, also under read committed, with its gap in an index', async () => {
    await using test = await things()
    const { db, table } = test
    const tx = await db.begin({ isolation: 'read-committed' })
    expect(await outcomeOf(tx.insert(table, row(20)))).toBe('ERR_DUPLICATE_KEY')
    expect(await outcomeOf(tx.insert(table, row(25, { code: 300 })))).toBe('ERR_DUPLICATE_KEY')
    expect(recordLocks(db, tx)).toEqual(['S next-key code 300/30', 'S record PRIMARY 20'])
    expect(await canInsert(db, table, row(26, { code: 299 }))).toBe(false)
    await tx.rollback()
    await expectNothingLeft(db)
  })

  it('of a unique key whose row was deleted and committed goes through while an old view still sees the row', async () => {
    await using test = await things()
    const { db, table } = test
    using old = db.snapshot()
    await table.delete(20)
    await table.insert(row(25, { code: 200, size: 1 }))
    await table.delete(25)
    await table.insert(row(20, { code: 200, size: 2 }))
    expect([old.get(table, 20)?.size, old.get(table, 25), table.index('code').get(200)?.size]).toEqual([6, undefined, 2])
    expect(await outcomeOf(table.insert(row(26, { code: 200 })))).toBe('ERR_DUPLICATE_KEY')
  })
})

describe('the snapshot level', () => {
  it('prevents the lost update that repeatable read, as InnoDB has it, does not', async () => {
    await using test = await things()
    const { db, table } = test
    const results: unknown[] = []
    for (const isolation of ['repeatable-read', 'snapshot'] as const) {
      const [a, b] = [await db.begin({ isolation }), await db.begin({ isolation })]
      const [readByA, readByB] = [await a.get(table, 20), await b.get(table, 20)]
      await a.update(table, 20, { size: (readByA?.size ?? 0) + 1 })
      const second = b.update(table, 20, { size: (readByB?.size ?? 0) + 1 })
      expect(await outcomeOf(second)).toBe('waits')
      await a.commit()
      results.push(await outcomeOf(second), table.get(20)?.size)
      if (isolation === 'repeatable-read') await b.commit()
      else expect(await outcomeOf(b.get(table, 10))).toBe('ERR_TRANSACTION_ENDED')
      results.push(table.get(20)?.size)
    }
    // 6 + 1, twice: one of them is lost; then 7 + 1, and the other one is refused.
    expect(results).toEqual(['done', 7, 7, 'ERR_CONFLICT', 8, 8])
    await expectNothingLeft(db)
  })

  it('refuses to lock what changed since, also rows that left the range', async () => {
    await using test = await things()
    const { db, table } = test
    const attempts: ((tx: Transaction) => Promise<unknown>)[] = [
      (tx) => tx.get(table, 20, { lock: 'share' }),
      (tx) => tx.delete(table, 20),
      (tx) => tx.put(table, row(20)),
      (tx) => tx.values(table, { index: 'kind', eq: 2 }, { lock: 'update' }).toArray(),
      (tx) => tx.values(table, { gte: 20 }, { lock: 'share' }).toArray(),
    ]
    for (const [at, attempt] of attempts.entries()) {
      const tx = await db.begin({ isolation: 'snapshot' })
      await tx.get(table, 10)
      await table.update(20, { kind: at + 5 })
      expect(await outcomeOf(attempt(tx))).toBe('ERR_CONFLICT')
      await table.update(20, { kind: 2 })
    }
    await expectNothingLeft(db)
  })

  it('gets through with retries', async () => {
    await using test = await things()
    const { db, table } = test
    let attempts = 0
    const work = db.transaction(
      async (tx) => {
        const size = (await tx.get(table, 20))?.size ?? 0
        if (++attempts === 1) await table.update(20, { size: 10 })
        await tx.update(table, 20, { size: size + 1 })
      },
      { isolation: 'snapshot', retries: 1 },
    )
    await standstill()
    ;(test.environment.clock as SimulatedClock).advance(100)
    await work
    expect([attempts, table.get(20)?.size]).toEqual([2, 11])
    await expectNothingLeft(db)
  })
})

describe('count', () => {
  it.each(['read-uncommitted', 'read-committed', 'repeatable-read', 'snapshot', 'serializable'] as const)(
    'under %s counts what values would deliver, by key and by index, with a condition too',
    async (isolation) => {
      await using test = await things()
      const { db, table } = test
      await using tx = await db.begin({ isolation })
      for (const range of [{}, { gte: 20 }, { lt: 40, reverse: true }, { index: 'kind', eq: 2 }, { index: 'code', gt: 100 }]) {
        expect(await tx.count(table, range)).toBe((await tx.values(table, range).toArray()).length)
        const large = { ...range, where: (thing: Thing) => thing.size > 5 }
        expect(await tx.count(table, large)).toBe((await tx.values(table, large).toArray()).length)
      }
    },
  )

  it('under serializable locks what it counts', async () => {
    await using test = await things()
    const { db, table } = test
    const tx = await db.begin({ isolation: 'serializable' })
    expect(await tx.count(table, { gt: 10, lt: 40 })).toBe(2)
    expect(recordLocks(db, tx)).toEqual(['S next-key PRIMARY 20', 'S next-key PRIMARY 30', 'S gap PRIMARY 40'])
    await tx.rollback()
    await expectNothingLeft(db)
  })
})
