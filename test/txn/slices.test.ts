import { describe, expect, it } from 'vitest'
import { Database } from '../../src/database.js'
import type { Table } from '../../src/table.js'
import { openTest, type TestDatabase } from '../support/open-test-database.js'
import { expectNothingLeft, outcomeOf, row, standstill, type Thing, things } from './things.js'

/**
 * Long work of asynchronous calls is done in slices, with the event loop served in between (D1). Time stands still here, so that slices end
 * by the work they have done: 1,000 rows or changes, or a mebibyte.
 */

const ROWS = 10_000
const many = (from: number, count: number = ROWS): Thing[] => Array.from({ length: count }, (_, i) => row(from + i))

/** How often the event loop went round until the promise was settled; meanwhile `each` is called. */
async function turnsUntil(promise: Promise<unknown>, each: (turn: number) => void = () => {}): Promise<number> {
  let over = false
  const end = (): void => {
    over = true
  }
  promise.then(end, end)
  let turns = 0
  for (; !over; turns++) {
    each(turns)
    await new Promise((resolve) => setImmediate(resolve))
  }
  return turns
}

async function filled(): Promise<TestDatabase & { table: Table<Thing> }> {
  const test = await things()
  test.db.transactionSync((tx) => tx.insertMany(test.table, many(1_000)))
  return test
}

describe('in slices, with turns of the event loop in between, go', () => {
  it('the insertion of many rows', async () => {
    await using test = await things()
    expect(await turnsUntil(test.table.insertMany(many(1_000)))).toBeGreaterThanOrEqual(ROWS / 1_000)
    expect(test.table.count()).toBe(ROWS + 4)
  })

  it('range statements, which others may change the table beside', async () => {
    await using test = await filled()
    const { db, table } = test
    const tx = await db.begin({ isolation: 'read-committed' })
    const inserted: number[] = []
    const insert = (turn: number): void => {
      inserted.push(turn)
      db.transactionSync((sync) => sync.insert(table, row(100_000 + inserted.length)))
    }
    const range = { gte: 1_000, lt: 90_000 }
    expect(await turnsUntil(tx.values(table, range, { lock: 'update' }).toArray(), insert)).toBeGreaterThanOrEqual(ROWS / 1_000)
    expect(
      await turnsUntil(
        tx.updateRange(table, range, (old) => ({ ...old, size: 1 })),
        insert,
      ),
    ).toBeGreaterThanOrEqual(ROWS / 1_000)
    expect(
      await turnsUntil(
        tx.updateRange(table, range, (old) => ({ ...old, id: old.id + 20_000 })),
        insert,
      ),
    ).toBeGreaterThanOrEqual(ROWS / 1_000)
    expect(await turnsUntil(tx.deleteRange(table, { gte: 21_000, lt: 90_000 }), insert)).toBeGreaterThanOrEqual(ROWS / 1_000)
    await tx.commit()
    expect(table.count()).toBe(4 + inserted.length)
    await expectNothingLeft(db)
  })

  it('a rollback: what it undoes stays locked, and is refused to its own transaction', async () => {
    await using test = await filled()
    const { db, table } = test
    const tx = await db.begin()
    await tx.updateRange(table, { gte: 1_000 }, (old) => ({ ...old, size: 1 }))
    const rollback = tx.rollback()
    await Promise.resolve()
    expect(db.transactions()).toMatchObject([{ id: tx.id }])
    await expect(tx.get(table, 10)).rejects.toMatchObject({ code: 'ERR_TRANSACTION_ENDED' })
    await expect(tx.rollback()).rejects.toMatchObject({ code: 'ERR_TRANSACTION_ENDED' })
    const update = (): boolean => db.transactionSync((sync) => sync.update(table, 1_000, { size: 2 }))
    expect(update).toThrow(expect.objectContaining({ code: 'ERR_LOCK_NOT_AVAILABLE' }))
    expect(await turnsUntil(rollback)).toBeGreaterThanOrEqual(ROWS / 1_000 - 2)
    expect(table.get(1_000)).toMatchObject({ size: 0 })
    expect(update()).toBe(true)
    await expectNothingLeft(db)
  })

  it.each([
    [
      'a function that throws',
      (db: Database, table: Table<Thing>) =>
        db.transaction((tx) => tx.insertMany(table, many(20_000)).then(() => Promise.reject(new RangeError('no')))),
    ],
    ['a statement of its own that fails', (_: Database, table: Table<Thing>) => table.insertMany([...many(20_000), row(10)])],
    [
      'a scope that is left',
      async (db: Database, table: Table<Thing>) => {
        await using tx = await db.begin()
        await tx.insertMany(table, many(20_000))
      },
    ],
  ])('the undoing of %s', async (_, work) => {
    await using test = await things()
    const { db, table } = test
    // As many turns for undoing as for doing.
    expect(await turnsUntil(work(db, table))).toBeGreaterThanOrEqual((2 * ROWS) / 1_000)
    expect(table.count()).toBe(4)
    await expectNothingLeft(db)
  })

  it('the undoing of a statement, which keeps the next one waiting', async () => {
    await using test = await things()
    const { db, table } = test
    const tx = await db.begin()
    const order: string[] = []
    const failing = tx.insertMany(table, [...many(20_000), row(10)]).catch(() => order.push('undone'))
    const next = tx.insert(table, row(20_000)).then(() => order.push('inserted'))
    expect(await turnsUntil(Promise.all([failing, next]))).toBeGreaterThanOrEqual((2 * ROWS) / 1_000)
    expect(order).toEqual(['undone', 'inserted'])
    await tx.commit()
    expect(table.count()).toBe(5)
    await expectNothingLeft(db)
  })

  it('a rollback to a savepoint, be it the very beginning', async () => {
    await using test = await things()
    const { db, table } = test
    for (const first of [true, false]) {
      const tx = await db.begin()
      if (!first) await tx.update(table, 10, { size: 99 })
      const mark = tx.savepoint()
      await tx.insertMany(table, many(20_000))
      expect(await turnsUntil(tx.rollbackTo(mark))).toBeGreaterThanOrEqual(ROWS / 1_000)
      await tx.commit()
    }
    expect(table.count()).toBe(4)
    expect(table.get(10)).toMatchObject({ size: 99 })
    await expectNothingLeft(db)
  })

  it("the rollback of a deadlock's victim, for which the others wait", async () => {
    await using test = await filled()
    const { db, table } = test
    const [small, big] = [await db.begin(), await db.begin()]
    await small.updateRange(table, { gte: 1_000, lt: 4_000 }, (old) => ({ ...old, size: 1 }))
    await big.updateRange(table, { gte: 5_000 }, (old) => ({ ...old, size: 2 }))
    const waits = big.update(table, 1_000, { size: 2 })
    await standstill()
    const closes = small.update(table, 5_000, { size: 1 })
    expect(await turnsUntil(closes)).toBeGreaterThanOrEqual(2)
    expect(await outcomeOf(closes)).toBe('ERR_DEADLOCK')
    await waits
    await big.commit()
    expect(
      table
        .values({ gte: 1_001, lt: 4_000 })
        .toArray()
        .every(({ size }) => size === 0),
    ).toBe(true)
    await expectNothingLeft(db)
  })
})

describe('a rollback in slices', () => {
  it('is finished when the database is closed', async () => {
    await using test = await things()
    const tx = await test.db.begin()
    await tx.insertMany(test.table, many(20_000))
    const rollback = tx.rollback()
    await Promise.resolve()
    expect(test.db.engine.system.active.size).toBe(1)
    // Without the check that tests make first.
    const closed = Database.prototype.close.call(test.db)
    expect(test.db.transactions()).toEqual([])
    await Promise.all([closed, rollback])
    const db = await test.reopen()
    expect((await db.table<Thing>('things')).count()).toBe(4)
    await expectNothingLeft(db)
  })

  it('leaves each row in agreement with its entries, so that a check beside it finds nothing', async () => {
    await using test = await things()
    const { db, table } = test
    const tx = await db.begin()
    await tx.insertMany(table, many(20_000))
    const rollback = tx.rollback()
    await Promise.resolve()
    expect((await db.check()).problems).toEqual([])
    await rollback
  })

  it('may have a checkpoint in the middle, and is finished by recovery', async () => {
    await using test = await things()
    const tx = await test.db.begin()
    await tx.insertMany(test.table, many(20_000))
    await tx.updateRange(test.table, { lt: 100 }, (old) => ({ ...old, size: 77 }))
    const checkpoint = test.db.checkpoint()
    const rollback = tx.rollback().catch(() => {})
    await checkpoint
    const db = await test.crash('none')
    await rollback
    const table = await db.table<Thing>('things')
    expect(
      table
        .values()
        .toArray()
        .map(({ size }) => size),
    ).toEqual([5, 6, 5, 7])
    await expectNothingLeft(db)
  })
})

describe('a large value', () => {
  const MEBIBYTES = 20
  const value = (seed: number): Uint8Array => new Uint8Array(MEBIBYTES * 2 ** 20).map((_, i) => (i * 31 + seed) & 0xff)

  it('is written in slices, and what others write in between is not mixed up with it', async () => {
    await using test = await openTest({ cacheSize: 2 ** 26 })
    const { db } = test
    const blobs = await db.table<Uint8Array>('blobs', { value: 'binary' })
    const names = await db.table<string>('names')
    const big = value(1)
    let others = 0
    const turns = await turnsUntil(Promise.all([blobs.put('a', big), blobs.put('b', value(2))]), (turn) => {
      db.transactionSync((tx) => tx.put(names, turn, `name ${turn}`))
      others++
    })
    expect(turns).toBeGreaterThanOrEqual(MEBIBYTES)
    expect(Buffer.compare(blobs.get('a') as Uint8Array, big)).toBe(0)
    expect(Buffer.compare(blobs.get('b') as Uint8Array, value(2))).toBe(0)
    expect(names.count()).toBe(others)
    expect((await db.check()).problems).toEqual([])
  })

  it('is taken at its word: what becomes of the memory meanwhile does not matter', async () => {
    await using test = await openTest({ cacheSize: 2 ** 26 })
    const blobs = await test.db.table<Uint8Array>('blobs', { value: 'binary' })
    const given = value(3)
    const put = blobs.put('a', given)
    given.fill(0)
    await put
    expect(Buffer.compare(blobs.get('a') as Uint8Array, value(3))).toBe(0)
  })

  it('leaves no page behind when its transaction is ended half-way', async () => {
    await using test = await openTest({ cacheSize: 2 ** 26 })
    const { db } = test
    const blobs = await db.table<Uint8Array>('blobs', { value: 'binary' })
    const controller = new AbortController()
    const work = db.transaction((tx) => tx.put(blobs, 'a', value(4)), { signal: controller.signal })
    await standstill()
    controller.abort()
    expect(await outcomeOf(work)).toBe('ERR_ABORTED')
    expect(blobs.count()).toBe(0)
    await expectNothingLeft(db)

    void blobs.put('b', value(5)).catch(() => {})
    await standstill()
    const again = await test.reopen()
    expect((await again.table('blobs')).count()).toBe(0)
    await expectNothingLeft(again)
  })
})

it('a synchronous transaction does everything in its call', async () => {
  await using test = await things()
  const { db, table } = test
  expect(() =>
    db.transactionSync((tx) => {
      tx.insertMany(table, many(20_000))
      tx.updateRange(table, {}, (old) => ({ ...old, size: 1 }))
      throw new RangeError('no')
    }),
  ).toThrow('no')
  expect(table.count()).toBe(4)
  await expectNothingLeft(db)
})
