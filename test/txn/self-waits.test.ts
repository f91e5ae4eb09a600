import { describe, expect, it } from 'vitest'
import type { Database } from '../../src/database.js'
import { openTest } from '../support/open-test-database.js'
import type { SimulatedClock } from '../support/seeded.js'
import { expectNothingLeft, outcomeOf, row, standstill, things } from './things.js'

/** Waits that end only by a timeout: those for oneself, and what the timeout says of the others (D10). */

describe('a call inside the function of a transaction that holds the lock it waits for', () => {
  const held = (db: Database, test: Awaited<ReturnType<typeof things>>, call: () => Promise<unknown>): Promise<unknown> =>
    db.transaction(async (tx) => {
      await tx.update(test.table, 20, { size: 1 })
      await call()
    })

  it('is refused with ERR_SELF_WAIT, which names the transaction and where it began', async () => {
    await using test = await things({ detectSelfWaits: true })
    const { db, table } = test
    const work = held(db, test, () => table.update(20, { size: 2 }))
    await expect(work).rejects.toMatchObject({
      code: 'ERR_SELF_WAIT',
      retryable: false,
      details: { holders: [expect.stringMatching(/transaction \d+/)] },
    })
    await expect(work).rejects.toThrow(/held by transaction \d+ \(begun at .*self-waits\.test\.ts.*make the call through that transaction/)
    expect(table.get(20)).toMatchObject({ size: 6 })
    await expectNothingLeft(db)
  })

  it('also in another transaction begun there, managed or not', async () => {
    await using test = await things({ detectSelfWaits: true })
    const { db, table } = test
    expect(await outcomeOf(held(db, test, () => db.transaction((inner) => inner.delete(table, 20))))).toBe('ERR_SELF_WAIT')
    const byHand = held(db, test, async () => {
      await using inner = await db.begin()
      await inner.delete(table, 20)
    })
    expect(await outcomeOf(byHand)).toBe('ERR_SELF_WAIT')
    await expectNothingLeft(db)
  })

  it('also by way of a third one that waits for it', async () => {
    await using test = await things({ detectSelfWaits: true })
    const { db, table } = test
    const third = await db.begin()
    await third.update(table, 30, { size: 3 })
    let waiting: Promise<unknown> | undefined
    const enter = { now: (): void => {} }
    const outside = new Promise<void>((resolve) => {
      enter.now = resolve
    }).then(() => {
      waiting = third.update(table, 20, { size: 3 })
    })
    const work = held(db, test, async () => {
      enter.now()
      await outside
      await standstill()
      await table.update(30, { size: 2 })
    })
    await standstill()
    expect(await outcomeOf(work)).toBe('ERR_SELF_WAIT')
    await waiting
    await third.commit()
    await expectNothingLeft(db)
  })

  it("waits when what it waits for is somebody else's, or when it is the transaction's own", async () => {
    await using test = await things({ detectSelfWaits: true })
    const { db, table } = test
    const other = await db.begin()
    await other.update(table, 30, { size: 3 })
    const calls = held(db, test, async () => {
      await table.update(30, { size: 2 })
    })
    const own = db.transaction((tx) => tx.update(table, 30, { size: 4 }))
    expect([await outcomeOf(calls), await outcomeOf(own)]).toEqual(['waits', 'waits'])
    await other.commit()
    await Promise.all([calls, own])
    await expectNothingLeft(db)
  })

  it('waits out its time where it is not looked for: by default, but in development and tests', async () => {
    await using test = await things({ lockWaitTimeout: 100 })
    const { db, table } = test
    const work = held(db, test, () => table.update(20, { size: 2 }))
    expect(await outcomeOf(work)).toBe('waits')
    ;(test.environment.clock as SimulatedClock).advance(100)
    expect(await outcomeOf(work)).toBe('ERR_LOCK_WAIT_TIMEOUT')
    for (const [value, detects] of [
      ['test', true],
      ['development', true],
      ['production', false],
      [undefined, false],
    ] as const) {
      await using other = await openTest({ nodeEnv: value })
      const inside = await other.db.table('things', { key: 'id' })
      await inside.insert({ id: 1 })
      const nested = other.db.transaction(async (tx) => {
        await tx.put(inside, { id: 1, n: 1 })
        await inside.put({ id: 1, n: 2 })
      })
      expect(await outcomeOf(nested)).toBe(detects ? 'ERR_SELF_WAIT' : 'waits')
      ;(other.environment.clock as SimulatedClock).advance(50_000)
      await nested.catch(() => {})
    }
  })
})

describe('a wait that takes too long', () => {
  it('says who was in its way, and for how long that one has done nothing', async () => {
    await using test = await things({ lockWaitTimeout: 1_000 })
    const { db, table } = test
    const clock = test.environment.clock as SimulatedClock
    const messageOf = async (): Promise<string> => {
      const wait = table.update(20, { size: 2 }).then(
        () => 'done',
        (error: Error) => error.message,
      )
      await standstill()
      return wait
    }
    const holder = await db.begin()
    await holder.update(table, 20, { size: 1 })
    clock.advance(5_000)
    const before = messageOf()
    clock.advance(1_000)
    expect(await before).toContain(`held by transaction ${holder.id} (idle for 1000 ms or more)`)

    const after = messageOf()
    clock.advance(400)
    await holder.update(table, 10, { size: 1 })
    clock.advance(600)
    expect(await after).toContain(`held by transaction ${holder.id} (idle for 600 ms)`)

    const other = await db.begin()
    await other.update(table, 30, { size: 1 })
    const waiting = holder.update(table, 30, { size: 1 }, { wait: 60_000 })
    const behind = messageOf()
    clock.advance(1_000)
    expect(await behind).toContain(`held by transaction ${holder.id} (itself waiting for a lock)`)
    await other.commit()
    await waiting
    await holder.rollback()
    await expectNothingLeft(db)
  })
})

describe('a stream under way', () => {
  it('is a statement: neither a savepoint nor a commit may fall into it', async () => {
    await using test = await things()
    const { db, table } = test
    const tx = await db.begin()
    await tx.insert(table, row(1))
    let release = (): void => {}
    const gate = new Promise<void>((resolve) => {
      release = resolve
    })
    const stream = tx.insertFrom(
      table,
      (async function* () {
        yield row(2)
        await gate
        yield row(3)
      })(),
    )
    await standstill()
    expect(() => tx.savepoint()).toThrow(expect.objectContaining({ code: 'ERR_STATEMENT_PENDING' }))
    expect(await outcomeOf(tx.commit())).toBe('ERR_STATEMENT_PENDING')
    release()
    expect(await outcomeOf(stream)).toBe('ERR_TRANSACTION_ENDED')
    expect([...table.keys()]).toEqual([10, 20, 30, 40])
    await expectNothingLeft(db)
  })

  it('that fails undoes itself, and not the statement called before it', async () => {
    await using test = await things()
    const { db, table } = test
    const holder = await db.begin()
    await holder.update(table, 20, { size: 1 })
    const tx = await db.begin()
    const update = tx.update(table, 20, { size: 99 })
    const stream = tx.insertFrom(table, [row(1), row(10)])
    expect([await outcomeOf(update), await outcomeOf(stream)]).toEqual(['waits', 'waits'])
    await holder.commit()
    expect([await outcomeOf(update), await outcomeOf(stream)]).toEqual(['done', 'ERR_DUPLICATE_KEY'])
    await tx.commit()
    expect([table.get(1), table.get(20)]).toEqual([undefined, expect.objectContaining({ size: 99 })])
    await expectNothingLeft(db)
  })

  it('a savepoint may not fall into a statement that waits', async () => {
    await using test = await things()
    const { db, table } = test
    const holder = await db.begin()
    await holder.update(table, 20, { size: 1 })
    const tx = await db.begin()
    const waiting = tx.update(table, 20, { size: 2 })
    expect(() => tx.savepoint()).toThrow(expect.objectContaining({ code: 'ERR_STATEMENT_PENDING' }))
    await holder.commit()
    await waiting
    tx.savepoint()
    await tx.commit()
  })
})
