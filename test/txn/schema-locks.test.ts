import { describe, expect, it } from 'vitest'
import type { Database } from '../../src/database.js'
import { outcomeOf, row, standstill, type Thing, things } from './things.js'

/** What schema changes wait for, and who waits for them. */

const CHANGES: Record<string, (db: Database) => Promise<unknown>> = {
  'a drop': (db) => db.dropTable('things'),
  'a renaming': (db) => db.renameTable('things', 'others'),
  'a truncation': async (db) => (await db.table<Thing>('things')).truncate(),
  'the creation of an index': async (db) => (await db.table<Thing>('things')).createIndex('size', { on: 'size' }),
  'the drop of an index': async (db) => (await db.table<Thing>('things')).dropIndex('kind'),
}

describe.each(Object.entries(CHANGES))('%s', (_, change) => {
  it('waits for open transactions that have used the table, and is seen waiting', async () => {
    for (const use of ['reads', 'writes'] as const) {
      await using test = await things()
      const { db, table } = test
      const tx = await db.begin()
      if (use === 'reads') await tx.get(table, 10)
      else await tx.update(table, 10, { size: 9 })
      const changed = change(db)
      expect(await outcomeOf(changed)).toBe('waits')
      const waiting = db.metadataLocks().filter((lock) => lock.status === 'waiting')
      expect(waiting).toMatchObject([{ mode: 'X', blockedBy: [expect.stringContaining(String(tx.id))] }])
      // Whoever comes now waits behind it, but reads outside transactions never wait.
      const behind = table.insert(row(50))
      behind.catch(() => {})
      expect(await outcomeOf(behind)).toBe('waits')
      expect(table.get(10)).toBeDefined()
      await tx.commit()
      await changed
      await standstill()
      expect(db.metadataLocks()).toEqual([])
    }
  })

  it('gives up after a time, and nothing has happened', async () => {
    await using test = await things({ metadataLockTimeout: 1000 })
    const { db, table } = test
    const before = JSON.stringify(table.definition)
    const tx = await db.begin()
    await tx.get(table, 10)
    const changed = change(db)
    changed.catch(() => {})
    await standstill()
    await advance(test.environment.clock, 1001)
    await expect(changed).rejects.toMatchObject({ code: 'ERR_LOCK_WAIT_TIMEOUT', retryable: true })
    expect(await tx.get(table, 20)).toMatchObject({ id: 20 })
    await tx.insert(table, row(60))
    await tx.commit()
    expect([db.tables(), JSON.stringify(table.definition), table.count()]).toEqual([['things'], before, 5])
  })

  it('ends with the database', async () => {
    await using test = await things()
    const tx = await test.db.begin()
    await tx.get(test.table, 10)
    const changed = change(test.db)
    changed.catch(() => {})
    await standstill()
    await test.close()
    await expect(changed).rejects.toMatchObject({ code: 'ERR_CLOSED' })
    await test.reopen()
    expect(test.db.tables()).toEqual(['things'])
  })
})

async function advance(clock: unknown, ms: number): Promise<void> {
  await (clock as { advanceAsync(ms: number): Promise<void> }).advanceAsync(ms)
}

describe('a statement that waited for a schema change goes on with what there is then', () => {
  it('after a truncation: in the empty table, with keys from 1 on', async () => {
    await using test = await things()
    const { db } = test
    const numbers = await db.table<{ id: number; n: number }>('numbers', { key: 'id', autoIncrement: true, indexes: { n: { on: 'n' } } })
    await numbers.insertMany([{ n: 1 }, { n: 2 }])
    const tx = await db.begin()
    await tx.get(numbers, 1)
    const truncated = numbers.truncate()
    await standstill()
    const inserts = [numbers.insert({ n: 3 }), numbers.insert({ n: 4 })]
    const updated = numbers.update(1, { n: 9 })
    await standstill()
    await tx.commit()
    await truncated
    expect(await Promise.all(inserts)).toEqual([1, 2])
    expect([await updated, numbers.index('n').keys().toArray()]).toEqual([true, [4, 9]])
  })

  it('after a drop: the table is not there', async () => {
    await using test = await things()
    const { db, table } = test
    const tx = await db.begin()
    await tx.get(table, 10)
    const dropped = db.dropTable('things')
    await standstill()
    const insert = table.insert(row(50))
    const other = await db.begin()
    const read = other.get(table, 10)
    for (const late of [insert, read]) late.catch(() => {})
    await standstill()
    await tx.commit()
    await dropped
    await expect(insert).rejects.toMatchObject({ code: 'ERR_NO_SUCH_TABLE' })
    await expect(read).rejects.toMatchObject({ code: 'ERR_NO_SUCH_TABLE' })
    await other.rollback()
    expect(db.metadataLocks()).toEqual([])
  })

  it('after a renaming: the same table, locked by its new name', async () => {
    await using test = await things()
    const { db, table } = test
    const tx = await db.begin()
    await tx.get(table, 10)
    const renamed = db.renameTable('things', 'others')
    await standstill()
    const late = await db.begin()
    const insert = late.insert(table, row(50))
    await standstill()
    await tx.commit()
    await renamed
    await insert
    const dropped = db.dropTable('others')
    expect(await outcomeOf(dropped)).toBe('waits')
    await late.commit()
    await dropped
    expect(db.tables()).toEqual([])
  })

  it('after an index was made or dropped: every row is in every index', async () => {
    await using test = await things()
    const { db, table } = test
    const tx = await db.begin()
    await tx.get(table, 10)
    const created = table.createIndex('size', { on: 'size' })
    await standstill()
    const first = table.insert(row(50, { size: 50 }))
    await standstill()
    await tx.commit()
    await created
    await first
    const again = await db.begin()
    await again.get(table, 10)
    const dropped = table.dropIndex('kind')
    await standstill()
    const second = table.insert(row(60, { size: 60 }))
    await standstill()
    await again.commit()
    await dropped
    await second
    expect(table.index('size').keys().toArray()).toEqual([5, 5, 6, 7, 50, 60])
    expect((await db.check()).problems).toEqual([])
  })
})

describe('schema changes of one table', () => {
  it('come one after another', async () => {
    await using test = await things()
    const { db, table } = test
    await Promise.all([
      table.createIndex('size', { on: 'size' }),
      table.createIndex('both', { on: ['size', 'kind'] }),
      table.dropIndex('kind'),
      db.renameTable('things', 'others'),
      table.truncate(),
    ])
    expect([db.tables(), table.definition.indexes.map((index) => index.name)]).toEqual([['others'], ['code', 'size', 'both']])
    await table.insert(row(1, { size: 3 }))
    await test.crash('none')
    const others = await test.db.table<Thing>('others')
    expect(others.index('size').get(3)?.id).toBe(1)
  })

  it('of which one makes the table: whoever comes second gets it', async () => {
    await using test = await things()
    const [one, two] = await Promise.all([test.db.table('twin', { key: 'id' }), test.db.table('twin', { key: 'id' })])
    expect(one).toBe(two)
    await expect(Promise.all([test.db.table('other', { key: 'id' }), test.db.table('other', { key: 'name' })])).rejects.toMatchObject({
      code: 'ERR_TABLE_MISMATCH',
    })
  })

  it('two renamings that meet wait, and do not lock each other out', async () => {
    await using test = await things()
    const { db } = test
    await db.table('b', { key: 'id' })
    const outcomes = await Promise.allSettled([db.renameTable('things', 'c'), db.renameTable('b', 'things'), db.renameTable('c', 'b')])
    expect(outcomes.map((outcome) => outcome.status)).toEqual(['fulfilled', 'fulfilled', 'fulfilled'])
    expect(db.tables()).toEqual(['b', 'things'])
  })
})

describe('a view never shows what a schema change has made as if it had always been so', () => {
  const changed = expect.objectContaining({ code: 'ERR_TABLE_CHANGED', retryable: true })

  it('a table made after it', async () => {
    await using test = await things()
    const { db, table } = test
    using view = db.snapshot()
    const tx = await db.begin({ snapshotNow: true })
    const late = await db.table<Thing>('late', { key: 'id' })
    await late.insert(row(1))
    expect(() => view.get(late, 1)).toThrow(changed)
    expect(() => view.values(late).toArray()).toThrow(changed)
    expect(() => view.count(late)).toThrow(changed)
    await expect(tx.get(late, 1)).rejects.toEqual(changed)
    await expect(tx.values(late).toArray()).rejects.toEqual(changed)
    expect(view.get(table, 10)).toBeDefined()
    // A lock shows the newest row, and so do other levels.
    expect(await tx.get(late, 1, { lock: 'share' })).toMatchObject({ id: 1 })
    await tx.commit()
    using newer = db.snapshot()
    expect(newer.get(late, 1)).toBeDefined()
  })

  it('a table truncated after it', async () => {
    await using test = await things()
    const { db, table } = test
    using view = db.snapshot()
    await table.truncate()
    await table.insert(row(10))
    expect(() => view.get(table, 10)).toThrow(changed)
    expect(() => view.has(table, 10)).toThrow(changed)
    expect(() => view.values(table, { index: 'kind' }).toArray()).toThrow(changed)
    using newer = db.snapshot()
    expect(newer.values(table).toArray()).toHaveLength(1)
  })

  it('an index made after it; the table itself it shows', async () => {
    await using test = await things()
    const { db, table } = test
    await table.update(10, { size: 50 })
    using view = db.snapshot()
    await table.update(10, { size: 51 })
    await table.createIndex('size', { on: 'size' })
    expect(() => view.values(table, { index: 'size' }).toArray()).toThrow(changed)
    expect(view.get(table, 10)).toMatchObject({ size: 50 })
    using newer = db.snapshot()
    await table.update(10, { size: 52 })
    expect(newer.keys(table, { index: 'size' }).toArray()).toEqual([5, 6, 7, 51])
  })

  it('a table that was renamed it shows as before', async () => {
    await using test = await things()
    using view = test.db.snapshot()
    await test.table.update(10, { size: 99 })
    await test.db.renameTable('things', 'others')
    expect(view.get(test.table, 10)).toMatchObject({ size: 5 })
  })

  it('a loop over rows ends with an error when its table is truncated or dropped, or its index', async () => {
    for (const change of [
      (db: Database) => db.dropTable('things'),
      async (db: Database) => (await db.table('things')).truncate(),
      async (db: Database) => (await db.table('things')).dropIndex('kind'),
    ]) {
      await using test = await things()
      const { db, table } = test
      await table.insertMany(Array.from({ length: 200 }, (_, at) => row(at + 100, { kind: at })))
      const loop = table.index('kind').values()
      for (let count = 0; count < 10; count++) expect(loop.next().done).toBe(false)
      await change(db)
      expect(() => {
        for (const _ of loop);
      }).toThrow(changed)
      loop.return()
      await db.purge()
      expect((await db.check()).problems).toEqual([])
    }
  })

  it('what it might have read stays until it is closed, and is freed then', async () => {
    await using test = await things()
    const { db, table } = test
    await table.insertMany(Array.from({ length: 2000 }, (_, at) => row(at + 100, { kind: at })))
    await db.purge()
    const before = db.status().file.pages
    const view = db.snapshot()
    await table.truncate()
    await db.purge()
    expect(db.status().file.pages).toBeGreaterThan(before)
    view.close()
    await db.purge()
    expect(db.status().file.pages).toBeLessThan(before / 2)
  })
})
