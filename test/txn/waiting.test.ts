import { describe, expect, it } from 'vitest'
import type { NextkeyError } from '../../src/base/errors.js'
import type { Database } from '../../src/database.js'
import type { Table } from '../../src/table.js'
import type { Transaction } from '../../src/transaction.js'
import type { SimulatedClock } from '../support/seeded.js'
import { canUpdate, expectNothingLeft, outcomeOf, recordLocks, row, standstill, type Thing, things } from './things.js'

/** How statements wait for locks, refuse to wait, or die in a deadlock. */

describe('waiting', () => {
  it('is fair: whoever came first goes first, and no later one passes a conflicting earlier one', async () => {
    await using test = await things()
    const { db, table } = test
    const holder = await db.begin()
    await holder.get(table, 20, { lock: 'share' })
    const served: string[] = []
    const queue: Transaction[] = []
    for (const [name, lock] of [
      ['X1', 'update'],
      ['S1', 'share'],
      ['S2', 'share'],
      ['X2', 'update'],
      ['S3', 'share'],
    ] as const) {
      const tx = await db.begin({ isolation: 'read-committed' })
      queue.push(tx)
      void tx.get(table, 20, { lock }).then(() => served.push(name))
    }
    // S1 could share the row with its holder, but X1 was there before.
    await standstill()
    expect(served).toEqual([])
    await holder.commit()
    await standstill()
    expect(served).toEqual(['X1'])
    await queue[0].commit()
    await standstill()
    expect(served).toEqual(['X1', 'S1', 'S2'])
    await queue[1].commit()
    await standstill()
    expect(served).toEqual(['X1', 'S1', 'S2'])
    await queue[2].commit()
    await standstill()
    expect(served).toEqual(['X1', 'S1', 'S2', 'X2'])
    await queue[3].rollback()
    await standstill()
    expect(served).toEqual(['X1', 'S1', 'S2', 'X2', 'S3'])
    await queue[4].commit()
    await expectNothingLeft(db)
  })

  it('looks for a duplicate again after it waited for a gap: somebody may have inserted the key meanwhile', async () => {
    await using test = await things()
    const { db, table } = test
    const holder = await db.begin()
    // The gap between codes 200 and 300, which a search for a key that is not there locks.
    await holder.values(table, { index: 'code', gt: 210, lt: 290 }, { lock: 'update' }).toArray()
    const late = await db.begin()
    const insert = late.insert(table, row(50, { code: 250 }))
    expect(await outcomeOf(insert)).toBe('waits')
    await holder.insert(table, row(60, { code: 250 }))
    await holder.commit()
    expect(await outcomeOf(insert)).toBe('ERR_DUPLICATE_KEY')
    await late.rollback()
    await expectNothingLeft(db)
  })

  it('goes on where somebody ahead gives up', async () => {
    await using test = await things()
    const { db, table } = test
    const [holder, first, second] = [await db.begin(), await db.begin(), await db.begin()]
    await holder.get(table, 20, { lock: 'share' })
    const exclusive = first.get(table, 20, { lock: 'update', wait: 100 })
    const shared = second.get(table, 20, { lock: 'share' })
    expect([await outcomeOf(exclusive), await outcomeOf(shared)]).toEqual(['waits', 'waits'])
    ;(test.environment.clock as SimulatedClock).advance(100)
    expect([await outcomeOf(exclusive), await outcomeOf(shared)]).toEqual(['ERR_LOCK_WAIT_TIMEOUT', 'done'])
    for (const tx of [holder, first, second]) await tx.commit()
    await expectNothingLeft(db)
  })

  it('upgrades a shared lock: at once if alone, even past an exclusive one that waits; else when the others are gone', async () => {
    await using test = await things()
    const { db, table } = test
    const [a, b, c] = [await db.begin(), await db.begin(), await db.begin()]
    await a.get(table, 20, { lock: 'share' })
    const waiting = b.get(table, 20, { lock: 'update' })
    expect(await outcomeOf(waiting)).toBe('waits')
    expect(await outcomeOf(a.update(table, 20, { size: 1 }))).toBe('done')
    await a.commit()
    expect((await waiting)?.size).toBe(1)
    await b.commit()

    const [d, e] = [await db.begin(), await db.begin()]
    await d.get(table, 30, { lock: 'share' })
    await e.get(table, 30, { lock: 'share' })
    const upgrade = d.update(table, 30, { size: 2 })
    expect(await outcomeOf(upgrade)).toBe('waits')
    await e.commit()
    expect(await upgrade).toBe(true)
    for (const tx of [c, d]) await tx.rollback()
    await expectNothingLeft(db)
  })

  it('ends with the newest row: a locking read does not read the view', async () => {
    await using test = await things()
    const { db, table } = test
    const reader = await db.begin()
    expect((await reader.get(table, 20))?.size).toBe(6)
    const writer = await db.begin()
    await writer.update(table, 20, { size: 60 })
    const read = reader.get(table, 20, { lock: 'update' })
    expect(await outcomeOf(read)).toBe('waits')
    await writer.commit()
    expect((await read)?.size).toBe(60)
    expect((await reader.get(table, 20))?.size).toBe(6)
    expect((await reader.values(table, { eq: 20 }, { lock: 'share' }).toArray())[0].size).toBe(60)
    expect(await reader.update(table, 20, (thing) => ({ ...thing, size: thing.size + 1 }))).toBe(true)
    await reader.commit()
    expect(table.get(20)?.size).toBe(61)
  })

  it('searches again when what it waited for is gone', async () => {
    await using test = await things()
    const { db, table } = test
    const [a, b] = [await db.begin(), await db.begin()]
    await a.insert(table, row(25))
    const range = b.values(table, { gte: 22, lte: 28 }, { lock: 'update' }).toArray()
    expect(await outcomeOf(range)).toBe('waits')
    await a.rollback()
    expect(await range).toEqual([])
    // The gap that was the record's is locked now.
    expect(recordLocks(db, b)).toEqual(['X gap PRIMARY 30'])
    await b.rollback()
    await expectNothingLeft(db)
  })

  it('under read committed an update looks at the committed row first, a deletion waits', async () => {
    await using test = await things()
    const { db, table } = test
    const where = (thing: Thing) => thing.size === 7
    const a = await db.begin({ isolation: 'read-committed' })
    await a.update(table, 10, { size: 7 })
    const [b, c] = [await db.begin({ isolation: 'read-committed' }), await db.begin({ isolation: 'read-committed' })]
    expect(await outcomeOf(b.updateRange(table, { where }, (thing) => ({ ...thing, kind: 9 })))).toBe('done')
    expect(recordLocks(db, b)).toEqual(['X record PRIMARY 40'])
    await b.rollback()
    const deletion = c.deleteRange(table, { where })
    expect(await outcomeOf(deletion)).toBe('waits')
    await a.commit()
    expect(await deletion).toBe(2)
    await c.rollback()
  })
})

describe('not waiting', () => {
  it('nowait fails at once, and leaves the transaction as it was', async () => {
    await using test = await things()
    const { db, table } = test
    const [a, b] = [await db.begin(), await db.begin()]
    await a.update(table, 20, { size: 0 })
    await b.update(table, 10, { size: 1 })
    const nowait = { wait: 'nowait' } as const
    const attempts = [
      () => b.get(table, 20, { lock: 'update', ...nowait }),
      () => b.values(table, {}, { lock: 'share', ...nowait }).toArray(),
      () => b.update(table, 20, { size: 2 }, nowait),
      () => b.delete(table, 20, nowait),
      () => b.insert(table, row(20), nowait),
      () => b.deleteRange(table, { index: 'kind', eq: 2 }, nowait),
    ]
    for (const attempt of attempts) expect(await outcomeOf(attempt())).toBe('ERR_LOCK_NOT_AVAILABLE')
    await a.commit()
    expect(await outcomeOf(attempts[2]())).toBe('done')
    await b.commit()
    expect([table.get(10)?.size, table.get(20)?.size]).toEqual([1, 2])
    await expectNothingLeft(db)
  })

  it('nowait holds for tables and index entries, too', async () => {
    await using test = await things()
    const { db, table } = test
    const [a, b] = [await db.begin(), await db.begin()]
    await a.primaryKeys(table, { index: 'kind', eq: 2 }, { lock: 'share' }).toArray()
    expect(await outcomeOf(b.update(table, 20, { size: 9 }, { wait: 'nowait' }))).toBe('done')
    expect(await outcomeOf(b.update(table, 20, { kind: 9 }, { wait: 'nowait' }))).toBe('ERR_LOCK_NOT_AVAILABLE')
    await a.commit()
    await b.commit()
    const c = await db.begin()
    await c.lockTable(table, 'write')
    const d = await db.begin()
    expect(await outcomeOf(d.get(table, 10, { lock: 'share', wait: 'nowait' }))).toBe('ERR_LOCK_NOT_AVAILABLE')
    await c.commit()
    await d.commit()
  })

  it('does not look like damage: db.check() knows rows that are being changed', async () => {
    await using test = await things()
    const { db, table } = test
    const changes: ((tx: Transaction) => Promise<unknown>)[] = [
      (tx) => tx.update(table, 20, { kind: 9 }),
      (tx) => tx.delete(table, 20),
      (tx) => tx.insert(table, { ...row(25, { kind: 3 }), padding: 'x'.repeat(100_000) } as Thing),
      (tx) => tx.put(table, { ...row(35), padding: 'x'.repeat(100_000) } as Thing),
    ]
    for (const change of changes) {
      const [a, b] = [await db.begin(), await db.begin()]
      await a.primaryKeys(table, { index: 'kind', gte: 2 }, { lock: 'share' }).toArray()
      await a.get(table, 35, { lock: 'share' })
      const changed = change(b)
      expect(await outcomeOf(changed)).toBe('waits')
      expect((await db.check()).problems).toEqual([])
      await a.commit()
      await changed
      await b.rollback()
      await expectNothingLeft(db)
    }
  })

  it('skip leaves out rows that are locked: a queue that many take from', async () => {
    await using test = await things()
    const { db, table } = test
    const workers = [await db.begin(), await db.begin(), await db.begin()]
    const taken: number[][] = []
    for (const worker of workers)
      taken.push((await worker.values(table, { limit: 2 }, { lock: 'update', wait: 'skip' }).toArray()).map((thing) => thing.id))
    expect(taken).toEqual([[10, 20], [30, 40], []])
    expect(await workers[2].get(table, 10, { lock: 'update', wait: 'skip' })).toBeUndefined()
    for (const worker of workers) await worker.commit()
    await expectNothingLeft(db)
  })

  it('a timeout names the holder that was in the way, also one that has locked a range', async () => {
    await using test = await things()
    const { db, table } = test
    await table.insertMany(Array.from({ length: 40 }, (_, n) => row(1000 + n)))
    const holder = await db.begin()
    await holder.values(table, { gte: 1000 }, { lock: 'update' }).toArray()
    const waiter = await db.begin()
    const waiting = waiter.update(table, 1030, { size: 1 }, { wait: 100 })
    await standstill()
    const { clock } = test.environment
    ;(clock as SimulatedClock).advance(100)
    await expect(waiting).rejects.toThrow(`held by transaction ${holder.id} (idle for 100 ms or more):`)
    await waiter.rollback()
    await holder.rollback()
    await expectNothingLeft(db)
  })

  it('a timeout undoes the statement, not the transaction, and names the holder', async () => {
    await using test = await things()
    const { db, table } = test
    const clock = test.environment.clock as SimulatedClock
    const [a, b] = [await db.begin(), await db.begin()]
    await a.update(table, 30, { size: 0 })
    await b.update(table, 10, { size: 1 })
    const all = b.updateRange(table, {}, (thing) => ({ ...thing, size: 99 }))
    expect(await outcomeOf(all)).toBe('waits')
    clock.advance(49_999)
    expect(await outcomeOf(all)).toBe('waits')
    clock.advance(1)
    const error = await all.catch((caught: unknown) => caught as NextkeyError)
    expect(error).toMatchObject({ code: 'ERR_LOCK_WAIT_TIMEOUT', retryable: true })
    expect((error as NextkeyError).message).toContain(`held by transaction ${a.id}`)
    // What the statement changed is undone and stays locked.
    expect([(await b.get(table, 10))?.size, (await b.get(table, 20))?.size]).toEqual([1, 6])
    expect(await canUpdate(db, table, 20)).toBe(false)
    await b.commit()
    await a.rollback()
    expect(
      table
        .values()
        .toArray()
        .map((thing) => thing.size),
    ).toEqual([1, 6, 5, 7])
    await expectNothingLeft(db)
  })

  it('each wait has its own time, given by the statement or the database', async () => {
    await using test = await things()
    const db = await test.reopen({ lockWaitTimeout: 1000 })
    const table = await db.table<Thing>('things')
    const clock = test.environment.clock as SimulatedClock
    const [a, b, c, d] = [await db.begin(), await db.begin(), await db.begin(), await db.begin()]
    await a.update(table, 20, { size: 0 })
    const waits = [
      b.update(table, 20, { size: 1 }, { wait: 200 }),
      c.update(table, 20, { size: 1 }),
      table.delete(20),
      d.delete(table, 20, { wait: 3000 }),
    ]
    const outcomes = () => Promise.all(waits.map(outcomeOf))
    expect(await outcomes()).toEqual(['waits', 'waits', 'waits', 'waits'])
    clock.advance(200)
    expect(await outcomes()).toEqual(['ERR_LOCK_WAIT_TIMEOUT', 'waits', 'waits', 'waits'])
    clock.advance(800)
    expect(await outcomes()).toEqual(['ERR_LOCK_WAIT_TIMEOUT', 'ERR_LOCK_WAIT_TIMEOUT', 'ERR_LOCK_WAIT_TIMEOUT', 'waits'])
    await a.commit()
    expect(await waits[3]).toBe(true)
    for (const tx of [b, c, d]) await tx.rollback()
    await expectNothingLeft(db)
  })

  it('a synchronous transaction never waits, and is undone', async () => {
    await using test = await things()
    const { db, table } = test
    const a = await db.begin()
    await a.get(table, 25, { lock: 'update' })
    expect(() =>
      db.transactionSync((tx) => {
        tx.update(table, 10, { size: 1 })
        tx.insert(table, row(25))
      }),
    ).toThrow(expect.objectContaining({ code: 'ERR_LOCK_NOT_AVAILABLE', retryable: true }))
    expect(table.get(10)?.size).toBe(5)
    await a.commit()
    await expectNothingLeft(db)
  })
})

describe('a deadlock', () => {
  /** A and B each update a row, then want the other's. A does first, and has written more. */
  async function cross(db: Database, table: Table<Thing>) {
    const [a, b] = [await db.begin(), await db.begin()]
    await a.update(table, 10, { size: 100 })
    await a.update(table, 40, { size: 100 })
    await b.update(table, 20, { size: 200 })
    const survivor = a.update(table, 20, { size: 101 })
    expect(await outcomeOf(survivor)).toBe('waits')
    return { a, b, survivor, victim: b.update(table, 10, { size: 201 }) }
  }

  it('rolls back the lightest, whole, and lets the other one go on', async () => {
    await using test = await things()
    const { db, table } = test
    const { a, b, survivor, victim } = await cross(db, table)
    expect(await outcomeOf(victim)).toBe('ERR_DEADLOCK')
    expect(await survivor).toBe(true)
    expect(await outcomeOf(b.get(table, 10))).toBe('ERR_TRANSACTION_ENDED')
    await a.commit()
    expect(
      table
        .values()
        .toArray()
        .map((thing) => thing.size),
    ).toEqual([100, 101, 5, 100])
    await expectNothingLeft(db)
  })

  it('is an error that carries the cycle, an event, and a report that can be read', async () => {
    await using test = await things()
    const { db, table } = test
    const events: unknown[] = []
    db.on('deadlock', (deadlock) => events.push(deadlock))
    const { a, b, victim } = await cross(db, table)
    const error = (await victim.catch((caught: unknown) => caught)) as NextkeyError
    await standstill()
    const deadlock = db.latestDeadlock
    expect(error).toMatchObject({ code: 'ERR_DEADLOCK', retryable: true, details: { deadlock } })
    expect(events).toEqual([deadlock])
    expect(deadlock?.participants.map(({ owner, undoRecords }) => [owner.id, undoRecords])).toEqual([
      [b.id, 1],
      [a.id, 2],
    ])
    expect(deadlock?.victim).toBe(0)
    const report = String(deadlock)
    for (const line of [
      `*** (1) TRANSACTION ${b.id}`,
      'X record lock on things.PRIMARY key 20',
      'X record lock on things.PRIMARY key 10, waiting',
      '*** WE ROLL BACK TRANSACTION (1)',
    ]) {
      expect(report).toContain(line)
    }
    expect(error.message).toContain(report)
    await a.rollback()
  })

  it('tells its listeners when the locks can be looked at and taken', async () => {
    await using test = await things()
    const { db, table } = test
    const seen: string[] = []
    db.on('deadlock', () => {
      seen.push(...db.locks().map((lock) => lock.status))
      db.transactionSync((tx) => tx.get(table, 30, { lock: 'update' }))
    })
    const { a, survivor, victim } = await cross(db, table)
    expect([await outcomeOf(victim), await outcomeOf(survivor)]).toEqual(['ERR_DEADLOCK', 'done'])
    // The victim's locks are gone, and the survivor has what it waited for.
    expect(new Set(seen)).toEqual(new Set(['granted']))
    await a.rollback()
    await expectNothingLeft(db)
  })

  it('is found across gaps, through indexes, and among three', async () => {
    await using test = await things()
    const { db, table } = test
    const [a, b] = [await db.begin(), await db.begin()]
    await a.get(table, 25, { lock: 'update' })
    await b.get(table, 26, { lock: 'update' })
    const insert = a.insert(table, row(25))
    expect(await outcomeOf(insert)).toBe('waits')
    expect(await outcomeOf(b.insert(table, row(26)))).toBe('ERR_DEADLOCK')
    await insert
    await a.rollback()

    const [c, d] = [await db.begin(), await db.begin()]
    await c.get(table, 10, { lock: 'update' })
    const throughIndex = d.values(table, { index: 'kind', eq: 1 }, { lock: 'update' }).toArray()
    expect(await outcomeOf(throughIndex)).toBe('waits')
    // It has written; the other has only locked, and dies.
    expect(await outcomeOf(c.update(table, 10, { kind: 3 }))).toBe('done')
    expect(await outcomeOf(throughIndex)).toBe('ERR_DEADLOCK')
    await c.rollback()

    const ring = [await db.begin(), await db.begin(), await db.begin()]
    for (const [at, tx] of ring.entries()) await tx.update(table, 10 * (at + 1), { size: 0 })
    const steps = [ring[0].update(table, 20, { size: 1 }), ring[1].update(table, 30, { size: 1 }), ring[2].update(table, 10, { size: 1 })]
    expect(await Promise.all(steps.map(outcomeOf))).toEqual(['waits', 'done', 'ERR_DEADLOCK'])
    expect(db.latestDeadlock?.participants).toHaveLength(3)
    await ring[1].rollback()
    await steps[0]
    await ring[0].rollback()
    await expectNothingLeft(db)
  })

  it('of two that both upgrade a shared lock leaves one of them', async () => {
    await using test = await things()
    const { db, table } = test
    const [a, b] = [await db.begin(), await db.begin()]
    for (const tx of [a, b]) await tx.get(table, 20, { lock: 'share' })
    const first = a.update(table, 20, { size: 1 })
    expect(await outcomeOf(first)).toBe('waits')
    expect(await outcomeOf(b.update(table, 20, { size: 2 }))).toBe('ERR_DEADLOCK')
    expect(await first).toBe(true)
    await a.commit()
    expect(table.get(20)?.size).toBe(1)
  })

  it('is tried again by a managed transaction that has retries', async () => {
    await using test = await things({ on: 'real' })
    const { db, table } = test
    let attempts = 0
    const transfer = (from: number, to: number, retries: number) =>
      db.transaction(
        async (tx) => {
          attempts++
          await tx.update(table, from, (thing) => ({ ...thing, size: thing.size - 1 }))
          await standstill()
          await tx.update(table, to, (thing) => ({ ...thing, size: thing.size + 1 }))
        },
        { retries },
      )
    await Promise.all([transfer(10, 20, 5), transfer(20, 10, 5)])
    expect(attempts).toBe(3)
    expect([table.get(10)?.size, table.get(20)?.size]).toEqual([5, 6])
    const results = await Promise.allSettled([transfer(10, 20, 0), transfer(20, 10, 0)])
    expect(results.map((result) => (result.status === 'rejected' ? (result.reason as NextkeyError).code : 'done')).sort()).toEqual([
      'ERR_DEADLOCK',
      'done',
    ])
    await expectNothingLeft(db)
  })
})
