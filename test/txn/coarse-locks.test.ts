import { describe, expect, it } from 'vitest'
import type { Transaction } from '../../src/transaction.js'
import type { SimulatedClock } from '../support/seeded.js'
import { canUpdate, expectNothingLeft, outcomeOf, row, standstill, things } from './things.js'

/** LOCK TABLES, inside transactions and across them, and the freeze. */

const objectsOf = (db: Awaited<ReturnType<typeof things>>['db']): string[] =>
  db.metadataLocks().map(({ mode, object, status }) => `${mode} ${object}${status === 'waiting' ? ', waiting' : ''}`)

describe('tx.lockTable', () => {
  it("'read' lets others read and lock in share, and keeps out changes", async () => {
    await using test = await things()
    const { db, table } = test
    const tx = await db.begin()
    await tx.lockTable(table, 'read')
    expect(objectsOf(db)).toEqual(['IX TABLE LOCKS', 'SRO things'])
    expect(db.locks().map(({ mode, kind }) => `${mode} ${kind}`)).toEqual(['S table'])
    const other = await db.begin()
    expect((await other.get(table, 10, { lock: 'share' }))?.id).toBe(10)
    const update = other.update(table, 10, { size: 1 })
    expect(await outcomeOf(update)).toBe('waits')
    await tx.commit()
    await update
    await other.commit()
    await expectNothingLeft(db)
  })

  it("'write' keeps out everybody else, and rows need no locks of their own", async () => {
    await using test = await things()
    const { db, table } = test
    const tx = await db.begin()
    await tx.lockTable(table, 'write')
    await tx.lockTable(table, 'write')
    const other = await db.begin()
    expect(await outcomeOf(other.get(table, 10))).toBe('waits')
    await tx.updateRange(table, {}, (thing) => ({ ...thing, size: 0 }))
    await tx.commit()
    await other.commit()
    expect(table.get(10)?.size).toBe(0)
    await expectNothingLeft(db)
  })

  it('is given back by unlockTables, but for what the transaction has done meanwhile', async () => {
    await using test = await things()
    const { db, table } = test
    const other = await db.table<{ id: number }>('other', { key: 'id' })
    const tx = await db.begin()
    await tx.lockTable(table, 'write')
    await tx.lockTable(other, 'read')
    await tx.update(table, 10, { size: 1 })
    const waiting = other.insert({ id: 1 })
    expect(await outcomeOf(waiting)).toBe('waits')
    await tx.unlockTables()
    await waiting
    expect(objectsOf(db)).toEqual(['SW things'])
    expect(db.locks().flatMap(({ mode, kind }) => (kind === 'table' ? [mode] : []))).toEqual(['IX'])
    expect([await canUpdate(db, table, 10), await canUpdate(db, table, 20)]).toEqual([false, true])
    const drop = db.dropTable('things')
    expect(await outcomeOf(drop)).toBe('waits')
    await tx.rollback()
    await drop
    await expectNothingLeft(db)
  })

  it('that is not to be had leaves no trace', async () => {
    await using test = await things()
    const { db, table } = test
    const holder = await db.begin()
    await holder.update(table, 10, { size: 1 })
    const tx = await db.begin()
    await expect(tx.lockTable(table, 'write', { wait: 'nowait' })).rejects.toMatchObject({ code: 'ERR_LOCK_NOT_AVAILABLE' })
    const late = tx.lockTable(table, 'read', { wait: 50 })
    await standstill()
    ;(test.environment.clock as SimulatedClock).advance(50)
    await expect(late).rejects.toMatchObject({ code: 'ERR_LOCK_WAIT_TIMEOUT' })
    expect(objectsOf(db)).toEqual(['SW things'])
    await holder.commit()
    await tx.commit()
    await expectNothingLeft(db)
  })

  it('takes a table, nothing else', async () => {
    await using test = await things()
    const tx = await test.db.begin()
    await expect(tx.lockTable(test.table, 'exclusive' as never)).rejects.toMatchObject({ code: 'ERR_INVALID_ARGUMENT' })
    await expect(tx.lockTable({} as never, 'read')).rejects.toMatchObject({ code: 'ERR_INVALID_ARGUMENT' })
    await tx.rollback()
    await expectNothingLeft(test.db)
  })
})

describe('db.lockTables', () => {
  it('holds tables over any number of transactions, with nobody in between', async () => {
    await using test = await things()
    const { db, table } = test
    const locked = await db.lockTables({ write: [table] })
    const outside = table.update(10, { size: 50 })
    expect(await outcomeOf(outside)).toBe('waits')
    await locked.transaction((tx) => tx.update(table, 10, { size: 1 }))
    expect([table.get(10)?.size, await outcomeOf(outside)]).toEqual([1, 'waits'])
    const tx = await locked.begin()
    await tx.update(table, 10, { size: 2 })
    await tx.rollback()
    expect([table.get(10)?.size, await outcomeOf(outside)]).toEqual([1, 'waits'])
    locked.unlock()
    await outside
    expect(table.get(10)?.size).toBe(50)
    await expectNothingLeft(db)
  })

  it('runs one transaction at a time', async () => {
    await using test = await things()
    const { db, table } = test
    const locked = await db.lockTables({ read: [table] })
    const tx = await locked.begin()
    const open = { code: 'ERR_TRANSACTION_OPEN' }
    await expect(locked.begin()).rejects.toMatchObject(open)
    expect(() => locked.unlock()).toThrow(expect.objectContaining(open))
    await expect(table.createIndex('size', { on: 'size' }, { under: locked })).rejects.toMatchObject(open)
    await tx.commit()
    locked.unlock()
    await expect(locked.begin()).rejects.toMatchObject({ code: 'ERR_TRANSACTION_ENDED' })
    await expectNothingLeft(db)
  })

  it('rolls back and unlocks when it leaves its scope', async () => {
    await using test = await things()
    const { db, table } = test
    {
      using locked = await db.lockTables({ write: [table] })
      const tx = await locked.begin()
      await tx.delete(table, 10)
    }
    expect(table.count()).toBe(4)
    await expectNothingLeft(db)
  })

  it('keeps the tables when a transaction under them is the victim of a deadlock', async () => {
    await using test = await things()
    const { db, table } = test
    const other = await db.table<{ id: number; n: number }>('other', { key: 'id' })
    await other.insertMany([
      { id: 1, n: 1 },
      { id: 2, n: 1 },
    ])
    const locked = await db.lockTables({ write: [table] })
    const rival = await db.lockTables({ write: [await db.table('third', { key: 'id' })] })
    const [a, b] = [await locked.begin(), await rival.begin()]
    await a.update(other, 1, { n: 2 })
    await b.update(other, 2, { n: 2 })
    await b.insert(other, { id: 3, n: 3 })
    const first = a.update(other, 2, { n: 3 })
    expect(await outcomeOf(first)).toBe('waits')
    const second = b.update(other, 1, { n: 3 })
    await expect(first).rejects.toMatchObject({ code: 'ERR_DEADLOCK' })
    await second
    await b.commit()
    expect(await outcomeOf(table.insert(row(50)))).toBe('waits')
    rival.unlock()
    locked.unlock()
    await standstill()
    expect(table.count()).toBe(5)
    await expectNothingLeft(db)
  })

  it('lets the tables be changed as such: emptied, filled anew, and seen only then', async () => {
    await using test = await things()
    const { db, table } = test
    const locked = await db.lockTables({ write: [table] })
    const reader = await db.begin({ isolation: 'read-committed' })
    const read = reader.count(table)
    expect(await outcomeOf(read)).toBe('waits')
    await table.truncate({ under: locked })
    await table.createIndex('size', { on: 'size' }, { under: locked })
    await table.dropIndex('kind', { under: locked })
    await locked.transaction((tx) => tx.insertMany(table, [row(1, { size: 9 }), row(2)]))
    expect(objectsOf(db)).toEqual(['IX GLOBAL', 'IX TABLE LOCKS', 'SNRW things', 'SR things, waiting'])
    expect(await outcomeOf(read)).toBe('waits')
    locked.unlock()
    expect(await read).toBe(2)
    expect(table.index('size').get(9)?.id).toBe(1)
    await reader.commit()
    await expectNothingLeft(db)
  })

  it('lets a table be dropped and renamed', async () => {
    await using test = await things()
    const { db, table } = test
    using locked = await db.lockTables({ write: [table] })
    await db.renameTable('things', 'stuff', { under: locked })
    await db.dropTable('stuff', { under: locked })
    expect(db.tables()).toEqual([])
    locked.unlock()
    await expectNothingLeft(db)
  })

  it('waits for all or has none', async () => {
    await using test = await things()
    const { db, table } = test
    const other = await db.table('other', { key: 'id' })
    const holder = await db.begin()
    await holder.update(table, 10, { size: 1 })
    const late = db.lockTables({ write: [other], read: [table] }, { wait: 100 })
    await standstill()
    expect(objectsOf(db)).toContain('SNRW other')
    ;(test.environment.clock as SimulatedClock).advance(100)
    await expect(late).rejects.toMatchObject({ code: 'ERR_LOCK_WAIT_TIMEOUT' })
    await holder.commit()
    await expectNothingLeft(db)
  })

  it('refuses what it does not understand before it locks anything', async () => {
    await using test = await things()
    const { db, table } = test
    const invalid = { code: 'ERR_INVALID_ARGUMENT' }
    await expect(db.lockTables({})).rejects.toMatchObject(invalid)
    await expect(db.lockTables({ write: [table, {} as never] })).rejects.toMatchObject(invalid)
    await expect(db.lockTables({ write: [table] }, { wait: -1 })).rejects.toMatchObject(invalid)
    await expect(db.lockTables({ write: [table] }, { wiat: 1 } as never)).rejects.toMatchObject(invalid)
    await expectNothingLeft(db)
  })
})

describe('db.freeze', () => {
  it('keeps back changes, commits of changes and schema changes; reads go on', async () => {
    await using test = await things()
    const { db, table } = test
    const writer = await db.begin()
    await writer.update(table, 10, { size: 1 })
    const reader = await db.begin()
    await reader.get(table, 10)
    const pending: Promise<unknown>[] = []
    const result = await db.freeze(async () => {
      await reader.get(table, 20, { lock: 'share' })
      await reader.commit()
      pending.push(table.insert(row(50)), table.delete(20), writer.commit(), db.table('new'), table.createIndex('size', { on: 'size' }))
      const locking = await db.begin()
      pending.push(locking.get(table, 30, { lock: 'update' }).then(() => locking.commit()))
      const outcomes = []
      for (const each of pending) outcomes.push(await outcomeOf(each))
      expect(outcomes).toEqual(pending.map(() => 'waits'))
      expect(() => db.transactionSync((tx) => tx.insert(table, row(60)))).toThrow(
        expect.objectContaining({ code: 'ERR_LOCK_NOT_AVAILABLE' }),
      )
      expect([table.count(), table.get(10)?.size]).toEqual([4, 5])
      return 'frozen'
    })
    expect(result).toBe('frozen')
    await Promise.all(pending)
    expect([table.count(), table.get(10)?.size]).toEqual([4, 1])
    await expectNothingLeft(db)
  })

  it('does not keep back the commit of a transaction all of whose changes were undone', async () => {
    await using test = await things()
    const { db, table } = test
    const undone = await db.begin()
    await undone.get(table, 10)
    const savepoint = undone.savepoint()
    await undone.update(table, 10, { size: 1 })
    await undone.rollbackTo(savepoint)
    await db.freeze(() => undone.commit())
    await expectNothingLeft(db)
  })

  it('waits for statements under way and for table locks, not for open transactions', async () => {
    await using test = await things()
    const { db, table } = test
    const holder = await db.begin()
    await holder.update(table, 10, { size: 1 })
    const statement = table.update(10, { size: 2 })
    const locked = await db.lockTables({ read: [await db.table('other', { key: 'id' })] })
    let frozen = false
    const freezing = db.freeze(() => {
      frozen = true
    })
    await standstill()
    expect(objectsOf(db)).toContain('S GLOBAL, waiting')
    await holder.commit()
    await statement
    await standstill()
    expect([frozen, objectsOf(db)]).toEqual([false, ['S GLOBAL', 'IX TABLE LOCKS', 'S TABLE LOCKS, waiting', 'SRO other']])
    locked.unlock()
    await freezing
    expect(frozen).toBe(true)
    await expectNothingLeft(db)
  })

  it('in a deadlock is found, and goes on: a statement that waits for one who waits for the freeze', async () => {
    await using test = await things()
    const { db, table } = test
    const holder = await db.begin()
    await holder.update(table, 10, { size: 1 })
    const statement = table.update(10, { size: 2 })
    let frozen = false
    const freezing = db.freeze(() => {
      frozen = true
    })
    await standstill()
    expect(frozen).toBe(false)
    // The freeze waits for the statement, that for the holder, and the holder's next change for the freeze.
    const change = holder.update(table, 20, { size: 1 })
    await expect(statement).rejects.toMatchObject({ code: 'ERR_DEADLOCK' })
    await change
    await holder.commit()
    await freezing
    expect(frozen).toBe(true)
    await expectNothingLeft(db)
  })

  it('waits for a statement, not for its transaction: neither for one it has waited for', async () => {
    await using test = await things()
    const { db, table } = test
    const holder = await db.begin()
    await holder.update(table, 10, { size: 1 })
    const tx = await db.begin()
    const statement = tx.update(table, 10, { size: 2 })
    await standstill()
    const freezing = db.freeze(() => {})
    await standstill()
    await holder.commit()
    await statement
    await freezing
    // The transaction is still open; so it is when its statement has waited for a freeze.
    let late: Promise<boolean> | undefined
    await db.freeze(async () => {
      late = tx.update(table, 20, { size: 2 })
      expect(await outcomeOf(late)).toBe('waits')
    })
    await late
    await db.freeze(() => {})
    await tx.commit()
    await expectNothingLeft(db)
  })

  it('ends when its function throws', async () => {
    await using test = await things()
    const { db, table } = test
    const failure = new Error('copying failed')
    await expect(
      db.freeze(() => {
        throw failure
      }),
    ).rejects.toBe(failure)
    await table.insert(row(50))
    await expectNothingLeft(db)
  })

  it('can be had by several at once, and ends with the last', async () => {
    await using test = await things()
    const { db, table } = test
    const ends: (() => void)[] = []
    const freezes = [1, 2].map(() => db.freeze(() => new Promise<void>((resolve) => ends.push(resolve))))
    await standstill()
    const insert = table.insert(row(50))
    ends[0]()
    await freezes[0]
    expect(await outcomeOf(insert)).toBe('waits')
    ends[1]()
    await insert
    await expectNothingLeft(db)
  })

  it('that is not to be had in time leaves everybody as they were', async () => {
    await using test = await things()
    const { db, table } = test
    const locked = await db.lockTables({ write: [table] })
    const freezing = db.freeze(() => {}, { wait: 100 })
    await standstill()
    const insert = (await db.table<{ id: number }>('things')).insert({ id: 50 } as never)
    ;(test.environment.clock as SimulatedClock).advance(100)
    await expect(freezing).rejects.toMatchObject({ code: 'ERR_LOCK_WAIT_TIMEOUT' })
    locked.unlock()
    await insert
    await expectNothingLeft(db)
  })

  it('keeps a commit back: given up in time it is rolled back', async () => {
    await using test = await things({ metadataLockTimeout: 100 })
    const { db, table } = test
    const writer: Transaction = await db.begin()
    await writer.update(table, 10, { size: 1 })
    await db.freeze(async () => {
      const commit = writer.commit()
      expect(await outcomeOf(commit)).toBe('waits')
      ;(test.environment.clock as SimulatedClock).advance(100)
      await expect(commit).rejects.toMatchObject({ code: 'ERR_LOCK_WAIT_TIMEOUT' })
      await expect(writer.get(table, 10)).rejects.toMatchObject({ code: 'ERR_TRANSACTION_ENDED' })
    })
    expect(table.get(10)?.size).toBe(5)
    await expectNothingLeft(db)
  })

  it('waits for a stream of rows as for one statement', async () => {
    await using test = await things()
    const { db, table } = test
    let go: () => void = () => {}
    const gate = new Promise<void>((resolve) => (go = resolve))
    async function* rows() {
      yield row(50)
      await gate
      yield row(60)
    }
    const stream = table.insertFrom(rows())
    await standstill()
    let frozen = false
    const freezing = db.freeze(() => {
      frozen = true
    })
    await standstill()
    expect(frozen).toBe(false)
    go()
    await Promise.all([stream, freezing])
    expect([frozen, table.count()]).toEqual([true, 6])
    await expectNothingLeft(db)
  })

  it('refuses a change inside its function, which would wait for itself, where such waits are looked for', async () => {
    await using test = await things({ detectSelfWaits: true })
    const { db, table } = test
    const writer = await db.begin()
    await writer.update(table, 10, { size: 1 })
    await db.freeze(async () => {
      expect(await outcomeOf(table.insert(row(50)))).toBe('ERR_SELF_WAIT')
      expect(await outcomeOf(db.dropTable('things'))).toBe('ERR_SELF_WAIT')
      expect(await outcomeOf(writer.commit())).toBe('ERR_SELF_WAIT')
    })
    await expectNothingLeft(db)
  })

  it('refuses what it does not understand', async () => {
    await using test = await things()
    await expect(test.db.freeze(undefined as never)).rejects.toMatchObject({ code: 'ERR_INVALID_ARGUMENT' })
    await expect(test.db.freeze(() => {}, { wait: 'long' } as never)).rejects.toMatchObject({ code: 'ERR_INVALID_ARGUMENT' })
  })
})
