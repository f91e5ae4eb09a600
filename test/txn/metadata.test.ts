import { describe, expect, it } from 'vitest'
import type { NextkeyError } from '../../src/base/errors.js'
import type { SimulatedClock } from '../support/seeded.js'
import { expectNothingLeft, outcomeOf, row, standstill, things } from './things.js'

/** How statements, transactions and schema changes wait for each other's metadata locks. */

describe('a statement', () => {
  it('keeps its table as it is to the end of the transaction, whatever it did there', async () => {
    await using test = await things()
    const { db, table } = test
    for (const use of [
      (tx: Awaited<ReturnType<typeof db.begin>>) => tx.get(table, 10),
      (tx: Awaited<ReturnType<typeof db.begin>>) => tx.count(table),
      (tx: Awaited<ReturnType<typeof db.begin>>) => tx.values(table).toArray(),
      (tx: Awaited<ReturnType<typeof db.begin>>) => tx.get(table, 10, { lock: 'share' }),
      (tx: Awaited<ReturnType<typeof db.begin>>) => tx.update(table, 99, { size: 1 }),
    ]) {
      const tx = await db.begin()
      await use(tx)
      const change = table.truncate({ wait: 100 })
      expect([String(use), await outcomeOf(change)]).toEqual([String(use), 'waits'])
      ;(test.environment.clock as SimulatedClock).advance(100)
      await expect(change).rejects.toMatchObject({ code: 'ERR_LOCK_WAIT_TIMEOUT', retryable: true })
      await tx.commit()
    }
    await expectNothingLeft(db)
  })

  it('holds SR for reading and locking in share, SW for changing and locking for update', async () => {
    await using test = await things()
    const { db, table } = test
    const modes: string[] = []
    for (const use of [
      (tx: Awaited<ReturnType<typeof db.begin>>) => tx.get(table, 10),
      (tx: Awaited<ReturnType<typeof db.begin>>) => tx.get(table, 10, { lock: 'share' }),
      (tx: Awaited<ReturnType<typeof db.begin>>) => tx.get(table, 10, { lock: 'update' }),
      (tx: Awaited<ReturnType<typeof db.begin>>) => tx.insert(table, row(50)),
    ]) {
      const tx = await db.begin()
      await use(tx)
      modes.push(
        db
          .metadataLocks()
          .map(({ transaction, object, mode }) => `${transaction === tx.id} ${mode} ${object}`)
          .join(),
      )
      await tx.rollback()
    }
    expect(modes).toEqual(['true SR things', 'true SR things', 'true SW things', 'true SW things'])
    await expectNothingLeft(db)
  })

  it('behind a schema change finds the table gone, or under its new name', async () => {
    await using test = await things()
    const { db, table } = test
    const reader = await db.begin()
    await reader.get(table, 10)
    const rename = db.renameTable('things', 'stuff')
    await standstill()
    const insert = table.insert(row(50))
    const late = await db.begin()
    const read = late.get(table, 20)
    expect([await outcomeOf(rename), await outcomeOf(insert), await outcomeOf(read)]).toEqual(['waits', 'waits', 'waits'])
    await reader.commit()
    await rename
    await insert
    expect((await read)?.id).toBe(20)
    expect(db.metadataLocks().map(({ mode, object }) => `${mode} ${object}`)).toContain('SR stuff')
    await late.commit()

    const again = await db.begin()
    await again.get(table, 10)
    const drop = db.dropTable('stuff')
    await standstill()
    const lost = table.insert(row(60))
    expect(await outcomeOf(lost)).toBe('waits')
    await again.commit()
    await drop
    await expect(lost).rejects.toMatchObject({ code: 'ERR_NO_SUCH_TABLE' })
    await expectNothingLeft(db)
  })

  it('that must not wait is refused at once', async () => {
    await using test = await things()
    const { db, table } = test
    using locked = await db.lockTables({ write: [table] })
    const tx = await db.begin()
    await expect(tx.update(table, 10, { size: 1 }, { wait: 'nowait' })).rejects.toMatchObject({ code: 'ERR_LOCK_NOT_AVAILABLE' })
    expect(() => db.transactionSync((sync) => sync.get(table, 10))).toThrow(expect.objectContaining({ code: 'ERR_LOCK_NOT_AVAILABLE' }))
    await tx.commit()
    locked.unlock()
    await expectNothingLeft(db)
  })

  it('waits for metadata as long as metadataLockTimeout says, and the error names the lock and who is in the way', async () => {
    await using test = await things({ metadataLockTimeout: 200 })
    const { db, table } = test
    const reader = await db.begin()
    await reader.get(table, 10)
    const drop = db.dropTable('things')
    await standstill()
    const insert = table.insert(row(50)).catch((error: unknown) => error as NextkeyError)
    await standstill()
    expect(db.metadataLocks().map(({ holder, mode, status, blockedBy }) => [holder, mode, status, blockedBy])).toEqual([
      ["drop of table 'things'", 'IX', 'granted', []],
      [`transaction ${reader.id}`, 'SR', 'granted', []],
      ["drop of table 'things'", 'X', 'waiting', [`transaction ${reader.id}`]],
      [expect.stringMatching(/^transaction \d+$/), 'SW', 'waiting', ["drop of table 'things'"]],
    ])
    expect(String(db.status())).toContain(
      `waiting          drop of table 'things' for X on table things, held back by transaction ${reader.id}`,
    )
    ;(test.environment.clock as SimulatedClock).advance(200)
    const error = await drop.catch((reason: unknown) => reason as NextkeyError)
    expect(error).toMatchObject({ code: 'ERR_LOCK_WAIT_TIMEOUT', details: { holders: [`transaction ${reader.id}`] } })
    expect((error as NextkeyError).message).toContain('X metadata lock on table things was not free in time')
    await insert
    await reader.commit()
    await expectNothingLeft(db)
  })
})

describe('reads outside transactions', () => {
  it('never wait, and see what is committed, under the write lock of somebody else too', async () => {
    await using test = await things()
    const { db, table } = test
    using locked = await db.lockTables({ write: [table] })
    const tx = await locked.begin()
    await tx.update(table, 10, { size: 77 })
    using view = db.snapshot()
    expect([table.get(10)?.size, view.get(table, 10)?.size, [...table.values({ lte: 10 })].length]).toEqual([5, 5, 1])
    await tx.commit()
    expect([table.get(10)?.size, view.get(table, 10)?.size]).toEqual([77, 5])
  })
})

describe('a rollback to a savepoint', () => {
  it('lets go of tables first read since, unless rows or tables are locked', async () => {
    await using test = await things()
    const { db, table } = test
    const other = await db.table<{ id: number }>('other', { key: 'id' })
    const tx = await db.begin({ isolation: 'read-committed' })
    await tx.get(other, 1)
    const savepoint = tx.savepoint()
    await tx.get(table, 10)
    const change = table.truncate()
    expect(await outcomeOf(change)).toBe('waits')
    await tx.rollbackTo(savepoint)
    await change
    await tx.insert(other, { id: 1 })
    await tx.get(table, 10)
    await tx.rollbackTo(savepoint)
    const second = db.dropTable('things')
    expect(await outcomeOf(second)).toBe('waits')
    await tx.commit()
    await second
    await expectNothingLeft(db)
  })
})

describe('the trap of MySQL 5.1, LOCK TABLES against changes already in the engine,', () => {
  it('is no deadlock where the changes go on under the lock they have', async () => {
    await using test = await things()
    const { db, table } = test
    const writer = await db.begin()
    await writer.update(table, 10, { size: 1 })
    const locker = await db.begin()
    const lock = locker.lockTable(table, 'write')
    expect(await outcomeOf(lock)).toBe('waits')
    await writer.update(table, 20, { size: 2 })
    await writer.commit()
    await lock
    await locker.commit()
    await expectNothingLeft(db)
  })

  it('is a deadlock, found at once, when the lock is asked for while a change waits for the one who asks', async () => {
    await using test = await things()
    const { db, table } = test
    const locker = await db.begin()
    await locker.update(table, 10, { size: 1 })
    const writer = await db.begin()
    const update = writer.update(table, 10, { size: 2 })
    expect(await outcomeOf(update)).toBe('waits')
    const lock = locker.lockTable(table, 'write')
    await expect(update).rejects.toMatchObject({ code: 'ERR_DEADLOCK' })
    await lock
    expect(db.latestDeadlock?.format()).toContain('SNRW metadata lock on table things')
    await locker.commit()
    expect(table.get(10)?.size).toBe(1)
    await expectNothingLeft(db)
  })

  it('and when a change comes to wait for one who waits for the lock', async () => {
    await using test = await things()
    const { db, table } = test
    const locker = await db.begin()
    await locker.update(table, 10, { size: 1 })
    const writer = await db.begin()
    await writer.update(table, 20, { size: 2 })
    const lock = locker.lockTable(table, 'write')
    expect(await outcomeOf(lock)).toBe('waits')
    await expect(writer.update(table, 10, { size: 3 })).rejects.toMatchObject({ code: 'ERR_DEADLOCK' })
    await lock
    await locker.commit()
    expect([table.get(10)?.size, table.get(20)?.size]).toEqual([1, 6])
    await expectNothingLeft(db)
  })

  it('and across two tables, whoever closes it: the one who locks tables dies last', async () => {
    await using test = await things()
    const { db, table } = test
    const other = await db.table<{ id: number; n: number }>('other', { key: 'id' })
    await other.insert({ id: 1, n: 1 })
    for (const lockerFirst of [true, false]) {
      const locker = await db.begin()
      const writer = await db.begin()
      await writer.update(other, 1, { n: 2 })
      await locker.lockTable(table, 'write')
      const update = () => locker.update(other, 1, { n: 3 })
      const intrude = () => writer.update(table, 10, { size: 9 })
      const first = lockerFirst ? update() : intrude()
      expect(await outcomeOf(first)).toBe('waits')
      const second = lockerFirst ? intrude() : update()
      await expect(lockerFirst ? second : first).rejects.toMatchObject({ code: 'ERR_DEADLOCK' })
      await (lockerFirst ? first : second)
      await locker.rollback()
    }
    await expectNothingLeft(db)
  })
})

describe('a schema change', () => {
  it('in a deadlock with a reader that wants to write wins', async () => {
    await using test = await things()
    const { db, table } = test
    const tx = await db.begin()
    await tx.get(table, 10)
    const truncate = table.truncate()
    expect(await outcomeOf(truncate)).toBe('waits')
    expect((await tx.get(table, 20))?.id).toBe(20)
    await expect(tx.update(table, 10, { size: 1 })).rejects.toMatchObject({ code: 'ERR_DEADLOCK' })
    await truncate
    expect(table.count()).toBe(0)
    await expectNothingLeft(db)
  })

  it('that waits is ended by its signal, and those behind it go on', async () => {
    await using test = await things()
    const { db, table } = test
    const tx = await db.begin()
    await tx.get(table, 10)
    const controller = new AbortController()
    const drop = db.dropTable('things', { signal: controller.signal })
    await standstill()
    const insert = table.insert(row(50))
    expect([await outcomeOf(drop), await outcomeOf(insert)]).toEqual(['waits', 'waits'])
    controller.abort()
    await expect(drop).rejects.toMatchObject({ code: 'ERR_ABORTED' })
    await insert
    await tx.commit()
    await expectNothingLeft(db)
  })

  it('that waits when the database is closed ends with it', async () => {
    const test = await things()
    const { db, table } = test
    const tx = await db.begin()
    await tx.get(table, 10)
    const drop = db.dropTable('things')
    const lock = db.lockTables({ write: [table] })
    expect([await outcomeOf(drop), await outcomeOf(lock)]).toEqual(['waits', 'waits'])
    const closing = test.close()
    await expect(drop).rejects.toMatchObject({ code: 'ERR_CLOSED' })
    await expect(lock).rejects.toMatchObject({ code: 'ERR_CLOSED' })
    await closing
  })
})
