import { getEventListeners } from 'node:events'
import { describe, expect, it } from 'vitest'
import type { NextkeyError } from '../../src/base/errors.js'
import type { Transaction } from '../../src/transaction.js'
import type { SimulatedClock } from '../support/seeded.js'
import { expectNothingLeft, outcomeOf, recordLocks, row, standstill, type Thing, things } from './things.js'

/** However a transaction ends, or part of it is undone: which locks stay, and that nothing is left behind. */

const sizes = (rows: Iterable<Thing>): number[] => Array.from(rows, (thing) => thing.size)

describe('a transaction that fails leaves no lock, no view and no undo:', () => {
  it('its function throws', async () => {
    await using test = await things()
    const { db, table } = test
    const work = db.transaction(async (tx) => {
      await tx.values(table).toArray()
      await tx.updateRange(table, { index: 'kind', gte: 0 }, (thing) => ({ ...thing, size: 0 }))
      await tx.insert(table, row(50, { code: 500 }))
      throw new Error('enough')
    })
    await expect(work).rejects.toThrow('enough')
    expect(sizes(table.values())).toEqual([5, 6, 5, 7])
    await expectNothingLeft(db)
  })

  it('its function throws while a statement of it waits: the statement fails, and never comes to write', async () => {
    await using test = await things()
    const { db, table } = test
    const holder = await db.begin()
    await holder.update(table, 20, { size: 1 })
    let forgotten: Promise<unknown> = Promise.resolve()
    const work = db.transaction(async (tx) => {
      await tx.update(table, 10, { size: 2 })
      forgotten = tx.update(table, 20, { size: 2 })
      expect(await outcomeOf(forgotten)).toBe('waits')
      throw new Error('enough')
    })
    await expect(work).rejects.toThrow('enough')
    expect(await outcomeOf(forgotten)).toBe('ERR_TRANSACTION_ENDED')
    await holder.commit()
    await standstill()
    expect(sizes(table.values())).toEqual([5, 1, 5, 7])
    await expectNothingLeft(db)
  })

  it('it is rolled back in the same turn in which its wait ends', async () => {
    await using test = await things()
    const { db, table } = test
    const holder = await db.begin()
    await holder.update(table, 20, { size: 1 })
    let wake: () => void = () => {}
    let forgotten: Promise<unknown> = Promise.resolve()
    const work = db.transaction(async (tx) => {
      forgotten = tx.update(table, 20, { size: 2 })
      await new Promise<void>((resolve) => {
        wake = resolve
      })
      throw new Error('enough')
    })
    expect(await outcomeOf(forgotten)).toBe('waits')
    // The function goes on before the statement that was granted its lock does.
    wake()
    const rolledBack = holder.rollback()
    expect([await outcomeOf(work), await outcomeOf(forgotten)]).toEqual(['Error: enough', 'ERR_TRANSACTION_ENDED'])
    await rolledBack
    expect(sizes(table.values())).toEqual([5, 6, 5, 7])
    await expectNothingLeft(db)
  })

  it('it is committed while a statement of it waits', async () => {
    await using test = await things()
    const { db, table } = test
    const [holder, tx] = [await db.begin(), await db.begin()]
    await holder.update(table, 20, { size: 1 })
    await tx.update(table, 10, { size: 2 })
    const waiting = tx.update(table, 20, { size: 2 })
    const commit = tx.commit()
    expect([await outcomeOf(waiting), await outcomeOf(commit)]).toEqual(['waits', 'waits'])
    await holder.commit()
    expect([await outcomeOf(waiting), await outcomeOf(commit)]).toEqual(['done', 'ERR_STATEMENT_PENDING'])
    expect(sizes(table.values())).toEqual([5, 1, 5, 7])
    await expectNothingLeft(db)
  })

  it('a wait of it times out, and it gives up', async () => {
    await using test = await things()
    const { db, table } = test
    const holder = await db.begin()
    await holder.get(table, 35, { lock: 'update' })
    const work = db.transaction(async (tx) => {
      await tx.update(table, 10, { size: 2 })
      await tx.insertMany(table, [row(5, { code: 50 }), row(35)], { wait: 30 } as never)
    })
    expect(await outcomeOf(work)).toBe('waits')
    ;(test.environment.clock as SimulatedClock).advance(30)
    expect(await outcomeOf(work)).toBe('ERR_LOCK_WAIT_TIMEOUT')
    await holder.commit()
    expect(sizes(table.values())).toEqual([5, 6, 5, 7])
    await expectNothingLeft(db)
  })

  it('its signal fires while it waits', async () => {
    await using test = await things()
    const { db, table } = test
    const clock = test.environment.clock as SimulatedClock
    const holder = await db.begin()
    await holder.update(table, 20, { size: 1 })
    const timers = clock.pendingTimers
    const abort = new AbortController()
    const work = db.transaction(
      async (tx) => {
        await tx.update(table, 10, { size: 2 })
        await tx.update(table, 20, { size: 2 })
      },
      { signal: abort.signal, retries: 3 },
    )
    expect(await outcomeOf(work)).toBe('waits')
    expect([clock.pendingTimers, getEventListeners(abort.signal, 'abort')]).toEqual([timers + 1, [expect.any(Function)]])
    abort.abort()
    expect(await outcomeOf(work)).toBe('ERR_ABORTED')
    expect([clock.pendingTimers, getEventListeners(abort.signal, 'abort')]).toEqual([timers, []])
    await holder.commit()
    expect(sizes(table.values())).toEqual([5, 1, 5, 7])
    await expectNothingLeft(db)
  })

  it('its signal had fired before', async () => {
    await using test = await things()
    const { db, table } = test
    let ran = false
    const work = db.transaction(
      (tx) => {
        ran = true
        return tx.get(table, 10, { lock: 'update' })
      },
      { signal: AbortSignal.abort(new Error('too late')) },
    )
    await expect(work).rejects.toThrow('too late')
    expect(ran).toBe(false)
    await expectNothingLeft(db)
  })

  it('it leaves its scope, or a loop over locking results is broken off', async () => {
    await using test = await things()
    const { db, table } = test
    {
      await using tx = await db.begin()
      for await (const thing of tx.values(table, { gte: 20 }, { lock: 'update' })) if (thing.id === 30) break
      expect(recordLocks(db, tx)).toEqual(['X record PRIMARY 20', 'X next-key PRIMARY 30'])
    }
    await expectNothingLeft(db)
  })

  it('a condition or a change of it throws', async () => {
    await using test = await things()
    const { db, table } = test
    const tx = await db.begin({ isolation: 'read-committed' })
    const change = (thing: Thing): Thing => {
      if (thing.id === 30) throw new RangeError('not this one')
      return { ...thing, size: 0 }
    }
    await expect(tx.updateRange(table, {}, change)).rejects.toThrow('not this one')
    const where = (thing: Thing): boolean => change(thing).size === 1
    await expect(tx.deleteRange(table, { where })).rejects.toThrow('not this one')
    await tx.commit()
    expect(sizes(table.values())).toEqual([5, 6, 5, 7])
    await expectNothingLeft(db)
  })
})

describe('when the disk fails under a transaction, which then cannot be undone,', () => {
  it('nobody gets its locks, and with them changes that will not be there after recovery', async () => {
    await using test = await things()
    const { db, table } = test
    const [holder, waiter] = [await db.begin(), await db.begin()]
    await holder.delete(table, 20)
    const waiting = [waiter.update(table, 20, { size: 1 }), waiter.delete(table, 30)]
    test.disk.failAt({ on: 'write', nth: 1, times: 1, code: 'EIO', path: 'nextkey.db' })
    expect(await outcomeOf(db.checkpoint())).toBe('ERR_POISONED')
    await holder.rollback()
    expect(await Promise.all(waiting.map(outcomeOf))).toEqual(['ERR_POISONED', 'ERR_POISONED'])
    expect(await outcomeOf(db.transaction((tx) => tx.get(table, 20, { lock: 'share' })))).toBe('ERR_POISONED')
    expect(sizes(table.values())).toEqual([5, 6, 5, 7])
    const reopened = await test.crash('none')
    expect(sizes((await reopened.table<Thing>('things')).values())).toEqual([5, 6, 5, 7])
  })
})

describe('closing the database', () => {
  it('rolls back what was left behind and fails what waits, whoever waits for whom', async () => {
    await using test = await things()
    const { db, table } = test
    const [holder, waiter] = [await db.begin(), await db.begin()]
    await holder.update(table, 20, { size: 1 })
    await holder.get(table, 35, { lock: 'update' })
    await waiter.update(table, 10, { size: 2 })
    const waiting = [
      waiter.update(table, 20, { size: 2 }),
      table.update(20, { size: 3 }),
      table.insert(row(35)),
      db.transaction(async (tx) => {
        await tx.insert(table, row(5))
        await tx.delete(table, 10)
      }),
      waiter.update(table, 40, { size: 2 }),
    ]
    const view = db.snapshot()
    expect(await Promise.all(waiting.map(outcomeOf))).toEqual(['waits', 'waits', 'waits', 'waits', 'waits'])
    const closed = db.close()
    const outcomes = await Promise.allSettled(waiting)
    expect(outcomes.map((outcome) => (outcome.status === 'rejected' ? (outcome.reason as NextkeyError).code : 'done'))).toEqual([
      'ERR_CLOSED',
      'ERR_CLOSED',
      'ERR_CLOSED',
      'ERR_CLOSED',
      'ERR_TRANSACTION_ENDED',
    ])
    await closed
    expect(db.engine.rowLocks.locks.counts()).toMatchObject({ owners: 0, recordHolds: 0, tableHolds: 0, waiting: 0 })
    expect(db.engine.system.active.size).toBe(0)
    view.close()
    await test.reopen()
    const again = await test.db.table<Thing>('things')
    expect(again.keys().toArray()).toEqual([10, 20, 30, 40])
    expect(sizes(again.values())).toEqual([5, 6, 5, 7])
    await expectNothingLeft(test.db)
  })

  it('or being killed leaves no lock to the next opener', async () => {
    await using test = await things()
    const { db, table } = test
    const tx = await db.begin()
    await tx.updateRange(table, {}, (thing) => ({ ...thing, size: 0 }))
    await db.flush()
    await test.crash('kill')
    const again = await test.db.table<Thing>('things')
    expect(sizes(again.values())).toEqual([5, 6, 5, 7])
    expect(await again.update(20, { size: 8 })).toBe(true)
    await expectNothingLeft(test.db)
  })
})

describe('undoing a part', () => {
  it('back to the beginning releases every lock and the view', async () => {
    await using test = await things()
    const { db, table } = test
    const tx = await db.begin()
    const beginning = tx.savepoint()
    await tx.get(table, 10)
    await tx.get(table, 20, { lock: 'update' })
    await tx.insert(table, row(25))
    await tx.rollbackTo(beginning)
    expect(db.locks()).toEqual([])
    expect(db.status().purge.views).toBe(0)
    // It goes on, with a new view.
    await table.update(10, { size: 50 })
    expect((await tx.get(table, 10))?.size).toBe(50)
    await tx.commit()
    await expectNothingLeft(db)
  })

  it('back to a later savepoint keeps what was locked, and the gaps of rows inserted since', async () => {
    await using test = await things()
    const { db, table } = test
    for (const [isolation, gaps] of [
      ['repeatable-read', ['X gap code 300/30', 'X gap kind 1/10']],
      ['read-committed', []],
    ] as const) {
      const tx = await db.begin({ isolation })
      await tx.get(table, 10, { lock: 'share' })
      const later = tx.savepoint()
      await tx.update(table, 40, { size: 0 })
      await tx.insert(table, row(25, { code: 250 }))
      await tx.rollbackTo(later)
      const rows =
        gaps.length === 0
          ? ['S record PRIMARY 10', 'X record PRIMARY 40']
          : ['S record PRIMARY 10', 'X gap PRIMARY 30', 'X record PRIMARY 40']
      expect(recordLocks(db, tx)).toEqual([...gaps, ...rows])
      expect((await tx.get(table, 40))?.size).toBe(7)
      await tx.rollback()
    }
    await expectNothingLeft(db)
  })

  it('a statement that fails in the middle leaves the rows before it locked as gaps', async () => {
    await using test = await things()
    const { db, table } = test
    const tx = await db.begin()
    expect(await outcomeOf(tx.insertMany(table, [row(15), row(35), row(20)]))).toBe('ERR_DUPLICATE_KEY')
    expect(recordLocks(db, tx).filter((lock) => lock.includes('PRIMARY'))).toEqual([
      'S record PRIMARY 20',
      'X gap PRIMARY 20',
      'X gap PRIMARY 40',
    ])
    expect(table.keys().toArray()).toEqual([10, 20, 30, 40])
    await tx.commit()
    await expectNothingLeft(db)
  })
})

describe('purge', () => {
  it('turns the lock on a row it removes into one on the gap that is left', async () => {
    await using test = await things()
    const { db, table } = test
    const view = db.snapshot()
    await table.delete(20)
    const tx = await db.begin()
    expect(await tx.get(table, 20, { lock: 'update' })).toBeUndefined()
    expect(recordLocks(db, tx)).toEqual(['X record PRIMARY 20'])
    view.close()
    await db.purge()
    expect(recordLocks(db, tx)).toEqual(['X gap PRIMARY 30'])
    expect(await outcomeOf(table.insert(row(20)))).toBe('waits')
    await tx.commit()
    await standstill()
    expect(table.get(20)).toBeDefined()
    await expectNothingLeft(db)
  })
})

describe('many locks', () => {
  it('of one scan are kept as a run, listed one by one, and gone at the end', async () => {
    await using test = await things()
    const { db } = test
    const many = await db.table<{ id: number; size: number }>('many', { key: 'id' })
    await many.insertMany(Array.from({ length: 2000 }, (_, id) => ({ id, size: 0 })))
    const ends: ((tx: Transaction) => Promise<void>)[] = [(tx) => tx.commit(), (tx) => tx.rollback()]
    for (const end of ends) {
      const tx = await db.begin()
      expect(await tx.updateRange(many, {}, (thing) => ({ ...thing, size: thing.size + 1 }))).toBe(2000)
      expect(db.engine.rowLocks.locks.counts()).toMatchObject({ runs: 1 })
      expect(db.engine.rowLocks.locks.counts().recordHolds).toBeLessThan(20)
      expect(recordLocks(db, tx)).toHaveLength(2001)
      const blocked = many.update(1500, { size: 9 })
      expect(await outcomeOf(blocked)).toBe('waits')
      await end(tx)
      await blocked
      await expectNothingLeft(db)
    }
    expect([many.get(0)?.size, many.get(1500)?.size]).toEqual([1, 9])
  })
})
