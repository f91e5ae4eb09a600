import { describe, expect, it } from 'vitest'
import type { Database } from '../../src/database.js'
import type { Table } from '../../src/table.js'
import { expectExact, outcomeAtLast, type Person, people, person, turn } from './people.js'
import { outcomeOf } from './things.js'

type Change = (db: Database, table: Table<Person>) => Promise<void>

const inTransaction =
  (work: (tx: Awaited<ReturnType<Database['begin']>>, table: Table<Person>) => Promise<void>, end: 'commit' | 'rollback'): Change =>
  async (db, table) => {
    const tx = await db.begin()
    await work(tx, table)
    // A part of the building passes while it is open.
    await turn(4)
    await tx[end]()
  }

const CHANGES: Record<string, Change> = {
  'a row inserted': async (_, table) => void (await table.insert(person(11, { name: 'new' }))),
  'a row deleted': async (_, table) => void (await table.delete(12)),
  'a key changed': async (_, table) => void (await table.update(12, { name: 'other' })),
  'another field changed': async (_, table) => void (await table.update(12, { city: 'Oslo' })),
  'a key changed there and back': async (_, table) => {
    await table.update(12, { name: 'other' })
    await table.update(12, { name: 'n5' })
  },
  'a row deleted, and inserted again': async (_, table) => {
    await table.delete(12)
    await table.insert(person(12, { name: 'again' }))
  },
  'a row that moves': async (_, table) => void (await table.update(12, { id: 3 })),
  'all rows changed': async (db, table) => {
    await db.transaction((tx) => tx.updateRange(table, {}, (row) => ({ ...row, name: `${row.name}'` })))
  },
  'all rows deleted': async (db, table) => void (await db.transaction((tx) => tx.deleteRange(table, {}))),
  'rows of which the last is null': async (_, table) => void (await table.update(20, { name: null })),
}
for (const end of ['commit', 'rollback'] as const) {
  Object.assign(CHANGES, {
    [`a key changed, open for a while, ${end}`]: inTransaction(async (tx, table) => void (await tx.update(table, 12, { name: 'x' })), end),
    [`many keys changed, open for a while, ${end}`]: inTransaction(
      async (tx, table) => void (await tx.updateRange(table, {}, (row) => ({ ...row, name: `${row.name}"` }))),
      end,
    ),
    [`a row deleted, open for a while, ${end}`]: inTransaction(async (tx, table) => void (await tx.delete(table, 12)), end),
    [`rows inserted, open for a while, ${end}`]: inTransaction(async (tx, table) => {
      await tx.insert(table, person(1))
      await tx.insert(table, person(21))
    }, end),
    [`a row deleted and inserted again, open for a while, ${end}`]: inTransaction(async (tx, table) => {
      await tx.delete(table, 12)
      await turn()
      await tx.insert(table, person(12, { name: 'y' }))
    }, end),
    [`half of it undone by a savepoint, ${end}`]: inTransaction(async (tx, table) => {
      await tx.update(table, 4, { name: 'kept' })
      const savepoint = tx.savepoint()
      await tx.update(table, 4, { name: 'undone' })
      await tx.update(table, 12, { name: 'undone' })
      await tx.delete(table, 14)
      await tx.insert(table, person(15))
      await turn()
      await tx.rollbackTo(savepoint)
    }, end),
    [`a statement that fails half-way, ${end}`]: inTransaction(async (tx, table) => {
      await tx.update(table, 12, { name: 'kept' })
      await expect(tx.update(table, 12, { name: 'not', mail: 'm2' })).rejects.toMatchObject({ code: 'ERR_DUPLICATE_KEY' })
      await expect(tx.insert(table, person(12))).rejects.toMatchObject({ code: 'ERR_DUPLICATE_KEY' })
    }, end),
  })
}

describe('an index built while others write is exact', () => {
  for (const [name, change] of Object.entries(CHANGES)) {
    it(`with ${name}, at every moment of it`, async () => {
      for (let moment = 0; moment < 13; moment++) {
        await using test = await people()
        const { db, table } = test
        const build = table.createIndex('name', { on: 'name' })
        await turn(moment)
        const changed = change(db, table)
        await build
        await changed
        await expectExact(db, table, 'name', 'name')
        await db.purge()
        await expectExact(db, table, 'name', 'name')
        const rows = table.values().toArray()
        await test.crash('none')
        const after = await test.db.table<Person>('people')
        expect(after.values().toArray()).toEqual(rows)
        await expectExact(test.db, after, 'name', 'name')
      }
    })
  }

  it('with a statement that waits between its row and the index while the backfill passes the row', async () => {
    const statements: Record<string, (table: Table<Person>) => Promise<unknown>> = {
      update: (table) => table.update(16, { mail: 'taken', name: 'changed' }),
      insert: (table) => table.insert(person(17, { mail: 'taken' })),
    }
    for (const statement of Object.values(statements)) {
      for (const end of ['commit', 'rollback'] as const) {
        await using test = await people()
        const { db, table } = test
        const build = table.createIndex('name', { on: 'name' })
        await turn(2)
        const holder = await db.begin()
        await holder.insert(table, person(1, { mail: 'taken' }))
        // The row is changed; the index of mails, which comes before, is waited for.
        const waiting = outcomeAtLast(statement(table))
        expect(await outcomeOf(waiting)).toBe('waits')
        await turn(15)
        await holder[end]()
        expect(await waiting).toBe(end === 'commit' ? 'ERR_DUPLICATE_KEY' : 'done')
        await build
        await expectExact(db, table, 'name', 'name')
      }
    }
  })

  it('with rows that lie in overflow chains', async () => {
    await using test = await people()
    const { db, table } = test
    for (const id of [4, 8, 12, 16]) await table.update(id, { city: 'x'.repeat(50_000) })
    const build = table.createIndex('city', { on: 'name' })
    await turn(3)
    await table.update(16, { name: 'long' })
    await build
    await expectExact(db, table, 'city', 'name')
  })
})
