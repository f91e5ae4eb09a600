import { describe, expect, it } from 'vitest'
import type { Database } from '../../src/database.js'
import type { Table } from '../../src/table.js'
import type { TestDatabase } from '../support/open-test-database.js'
import { expectExact, outcomeAtLast, type Person, people, person, turn } from './people.js'
import { outcomeOf } from './things.js'

/** How the building of an index ends when it does not end well, and that nothing is left of it then. */

const UNIQUE = { on: 'name', unique: true }

/** People whose names differ. */
async function named(): Promise<TestDatabase & { table: Table<Person> }> {
  const test = await people()
  for (const { id } of test.table.values().toArray()) await test.table.update(id, { name: `n${id}` })
  await test.db.purge()
  return test
}

/** No tree, no page, no lock, no maintenance: and the same index can be made. */
async function expectNothingLeft(test: TestDatabase & { table: Table<Person> }, pages: number): Promise<void> {
  const { db, table } = test
  expect(table.definition.indexes.map((index) => index.name)).toEqual(['mail'])
  expect(() => table.index('name')).toThrow(expect.objectContaining({ code: 'ERR_NO_SUCH_INDEX' }))
  expect(db.metadataLocks()).toEqual([])
  expect(db.locks()).toEqual([])
  await db.purge()
  expect(db.status().file.pages).toBeLessThanOrEqual(pages + UNDO_PAGES)
  expect((await db.check()).problems).toEqual([])
  db.engine.schema.rowsPerSlice = 100
  await table.createIndex('name', { on: 'name' })
  await expectExact(db, table, 'name', 'name')
}

/** That are kept for later transactions. */
const UNDO_PAGES = 4

describe('a duplicate', () => {
  it('in the table ends the building of a unique index, and is named', async () => {
    await using test = await named()
    const { db, table } = test
    await table.update(18, { name: 'n4' })
    await db.purge()
    const { pages } = db.status().file
    const error = await table.createIndex('name', UNIQUE).catch((caught: unknown) => caught)
    expect(error).toMatchObject({
      code: 'ERR_DUPLICATE_KEY',
      table: 'people',
      index: 'name',
      key: 'n4',
      existing: 4,
      details: { second: 18 },
    })
    expect((error as Error).message).toContain(
      "index 'name' of table 'people' cannot be unique: the rows 4 and 18 both have the key \"n4\"",
    )
    await expectNothingLeft(test, pages)
  })

  it('of nulls is none', async () => {
    await using test = await named()
    for (const id of [4, 6, 18]) await test.table.update(id, { name: null })
    const build = test.table.createIndex('name', UNIQUE)
    await turn(5)
    await test.table.update(20, { name: null })
    await test.table.insert(person(1, { name: null }))
    await build
    await expectExact(test.db, test.table, 'name', 'name')
  })

  it('written meanwhile ends the building, never the writer, at whichever moment', async () => {
    const writers: Record<string, (db: Database, table: Table<Person>) => Promise<unknown>> = {
      insert: (_, table) => table.insert(person(15, { name: 'n10' })),
      'update of an earlier row': (_, table) => table.update(4, { name: 'n14' }),
      'update of a later row': (_, table) => table.update(18, { name: 'n6' }),
      'a transaction that is open for a while': (db, table) =>
        db.transaction(async (tx) => {
          await tx.update(table, 2, { name: 'n12' })
          await turn(3)
          await tx.insert(table, person(1, { name: 'n12' }))
          await turn(3)
        }),
      'a rollback': async (db, table) => {
        const tx = await db.begin()
        await tx.delete(table, 8)
        await table.insert(person(9, { name: 'n8' }))
        await turn(2)
        await tx.rollback()
      },
      'a rollback to a savepoint': async (db, table) => {
        const tx = await db.begin()
        const savepoint = tx.savepoint()
        await tx.update(table, 8, { name: 'else' })
        await table.insert(person(9, { name: 'n8' }))
        await turn(2)
        await tx.rollbackTo(savepoint)
        await tx.commit()
      },
    }
    for (const [name, write] of Object.entries(writers)) {
      for (let moment = 1; moment < 11; moment++) {
        await using test = await named()
        const { db, table } = test
        const { pages } = db.status().file
        const build = outcomeAtLast(table.createIndex('name', UNIQUE))
        await turn(moment)
        await write(db, table)
        expect([name, moment, await build]).toEqual([name, moment, 'ERR_DUPLICATE_KEY'])
        await expectNothingLeft(test, pages)
      }
    }
  })

  it('that a transaction makes and removes again is none', async () => {
    for (let moment = 1; moment < 11; moment++) {
      await using test = await named()
      const { db, table } = test
      const build = table.createIndex('name', UNIQUE)
      await turn(moment)
      const tx = await db.begin()
      await tx.update(table, 6, { name: 'n16' })
      await turn()
      await tx.update(table, 16, { name: 'n6' })
      await turn()
      await tx.insert(table, person(7, { name: 'n2' }))
      await tx.delete(table, 7)
      await tx.commit()
      await build
      await expectExact(db, table, 'name', 'name')
      await expect(table.insert(person(21, { name: 'n6' }))).rejects.toMatchObject({ code: 'ERR_DUPLICATE_KEY', index: 'name' })
    }
  })
})

describe('a row that can have no key in it', () => {
  it('ends the building, be it there before or written meanwhile; the writer goes on', async () => {
    await using test = await named()
    const { db, table } = test
    await db.purge()
    const { pages } = db.status().file
    const build = outcomeAtLast(table.createIndex('name', { on: 'name' }))
    await turn(3)
    await table.update(4, { name: { first: 'a' } as never })
    expect(table.get(4)?.name).toEqual({ first: 'a' })
    expect(await build).toBe('ERR_INVALID_KEY')
    const again = await table.createIndex('name', { on: 'name' }).catch((error: unknown) => error)
    expect(again).toMatchObject({ code: 'ERR_INVALID_KEY' })
    await table.update(4, { name: 'n4' })
    await expectNothingLeft(test, pages)
  })
})

describe('the signal of a building', () => {
  it('ends it at any moment, with writers at work, and leaves nothing', async () => {
    for (let moment = 0; moment < 12; moment++) {
      await using test = await named()
      const { db, table } = test
      const { pages } = db.status().file
      const abort = new AbortController()
      const build = outcomeAtLast(table.createIndex('name', { on: 'name' }, { signal: abort.signal }))
      await turn(2)
      const open = await db.begin()
      await open.update(table, 6, { name: 'open' })
      await turn(moment)
      const savepoint = open.savepoint()
      await open.delete(table, 18)
      abort.abort()
      expect(await build).toBe('ERR_ABORTED')
      // What it did to the index before is undone without it.
      await open.rollbackTo(savepoint)
      await open.update(table, 4, { name: 'after' })
      if (moment % 2 === 0) await open.commit()
      else await open.rollback()
      await expectNothingLeft(test, pages)
    }
  })

  it('lets a statement go on that is half-way through a row', async () => {
    await using test = await named()
    const { db, table } = test
    const { pages } = db.status().file
    const abort = new AbortController()
    const build = outcomeAtLast(table.createIndex('name', { on: 'name' }, { signal: abort.signal }))
    await turn(3)
    const holder = await db.begin()
    await holder.insert(table, person(1, { mail: 'taken' }))
    const waiting = outcomeAtLast(table.update(16, { mail: 'taken', name: 'changed' }))
    expect(await outcomeOf(waiting)).toBe('waits')
    abort.abort()
    expect(await build).toBe('ERR_ABORTED')
    await holder.rollback()
    expect(await waiting).toBe('done')
    await expectNothingLeft(test, pages)
  })

  it('ends its waiting for others, at the beginning and at the end', async () => {
    await using test = await named()
    const { db, table } = test
    const { pages } = db.status().file
    for (const turns of [0, 3]) {
      const abort = new AbortController()
      const before = await db.begin()
      if (turns === 0) await before.get(table, 2)
      const build = outcomeAtLast(table.createIndex('name', { on: 'name' }, { signal: abort.signal }))
      await turn(turns)
      if (turns > 0) await before.get(table, 2)
      await turn(20)
      expect(db.metadataLocks().filter((lock) => lock.status === 'waiting')).toMatchObject([{ mode: 'X' }])
      abort.abort()
      expect(await build).toBe('ERR_ABORTED')
      await before.commit()
    }
    await expectNothingLeft(test, pages)
  })

  it('that has fired already lets nothing begin', async () => {
    await using test = await named()
    await expect(test.table.createIndex('name', { on: 'name' }, { signal: AbortSignal.abort() })).rejects.toMatchObject({
      code: 'ERR_ABORTED',
    })
  })
})

describe('a building', () => {
  it('waits at its end for the transactions that are open then; others wait behind it', async () => {
    await using test = await named()
    const { db, table } = test
    const build = table.createIndex('name', { on: 'name' })
    await turn(2)
    const open = await db.begin()
    await open.update(table, 6, { name: 'open' })
    await turn(20)
    const late = table.insert(person(1))
    expect(await outcomeOf(late)).toBe('waits')
    expect(await outcomeOf(build)).toBe('waits')
    expect(() => table.index('name')).toThrow(expect.objectContaining({ code: 'ERR_NO_SUCH_INDEX' }))
    await open.rollback()
    await build
    await late
    await expectExact(db, table, 'name', 'name')
  })

  it('ends with the database, at any moment, and leaves nothing to the next opening', async () => {
    for (let moment = 0; moment < 14; moment += 2) {
      await using test = await named()
      const { pages } = test.db.status().file
      const build = outcomeAtLast(test.table.createIndex('name', { on: 'name' }))
      await turn(moment)
      await test.close()
      expect(['ERR_CLOSED', 'done']).toContain(await build)
      await test.reopen()
      const table = await test.db.table<Person>('people')
      if ((await build) === 'done') await expectExact(test.db, table, 'name', 'name')
      else await expectNothingLeft(Object.assign(test, { table }), pages)
    }
  })

  it('of which a crash leaves a part leaves nothing', async () => {
    for (let moment = 0; moment < 12; moment += 3) {
      await using test = await named()
      const { pages } = test.db.status().file
      void outcomeAtLast(test.table.createIndex('name', { on: 'name' }))
      await turn(moment)
      // The checkpoint holds what there is of the index, and what an open transaction did to it.
      const open = await test.db.begin()
      await open.updateRange(test.table, {}, (old) => ({ ...old, name: `${old.name}!` }))
      await test.db.checkpoint()
      await test.crash('none')
      const table = await test.db.table<Person>('people')
      expect(table.get(4)?.name).toBe('n4')
      await expectNothingLeft(Object.assign(test, { table }), pages)
    }
  })

  it('tells how far it is', async () => {
    await using test = await named()
    const seen: { done: number; total: number }[] = []
    await test.table.createIndex('name', { on: 'name' }, { onProgress: (progress) => seen.push(progress) })
    expect(seen.map(({ done }) => done)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 10])
    expect(seen.at(-1)).toEqual({ done: 10, total: 10 })
    for (const { done, total } of seen) expect(total).toBeGreaterThanOrEqual(done)
  })

  it('whose checkpoint fails says so; the database takes no more writes, and after reopening there is no index', async () => {
    await using test = await named()
    const { table } = test
    test.disk.failAt({ on: 'sync', path: 'nextkey.db' })
    await expect(table.createIndex('name', { on: 'name' })).rejects.toMatchObject({ code: 'ERR_POISONED' })
    await expect(table.insert(person(1))).rejects.toMatchObject({ code: 'ERR_POISONED' })
    expect(table.count()).toBe(10)
    await test.crash('none')
    const again = await test.db.table<Person>('people')
    expect(again.definition.indexes.map((index) => index.name)).toEqual(['mail'])
  })
})
