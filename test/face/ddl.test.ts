import { describe, expect, it } from 'vitest'
import { openTest } from '../support/open-test-database.js'

interface City {
  id: number
  name: string
  people: number
}

const DEFINITION = { key: 'id', autoIncrement: true, indexes: { name: { on: 'name', unique: true } } } as const

async function cities() {
  const test = await openTest()
  const table = await test.db.table<City>('cities', DEFINITION)
  await table.insertMany([
    { name: 'Rome', people: 28 },
    { name: 'Oslo', people: 7 },
  ])
  return Object.assign(test, { table })
}

describe('a dropped table', () => {
  it('is gone, for its handles too, and its name is free', async () => {
    await using test = await cities()
    const { db, table } = test
    await db.dropTable('cities')
    expect(db.tables()).toEqual([])
    expect(() => table.get(1)).toThrow(expect.objectContaining({ code: 'ERR_NO_SUCH_TABLE' }))
    await expect(table.insert({ name: 'Bari', people: 3 })).rejects.toMatchObject({ code: 'ERR_NO_SUCH_TABLE' })
    await expect(db.dropTable('cities')).rejects.toMatchObject({ code: 'ERR_NO_SUCH_TABLE' })
    const again = await db.table<City>('cities', { key: 'name' })
    await again.insert({ id: 1, name: 'Rome', people: 1 })
    expect([again.count(), again.definition.key]).toEqual([1, 'name'])
    expect(() => table.count()).toThrow(expect.objectContaining({ code: 'ERR_NO_SUCH_TABLE' }))
  })

  it('gives all its pages back, those of long values too', async () => {
    await using test = await cities()
    const { db } = test
    await db.purge()
    const { pages } = db.status().file
    const big = await db.table('big', { key: 'id', indexes: { text: { on: 'head' } } })
    for (let id = 0; id < 200; id++) await big.put({ id, head: `h${id}`, text: 'x'.repeat(id % 4 === 0 ? 40_000 : 400) })
    for (let id = 0; id < 200; id += 7) await big.delete(id)
    expect(db.status().file.pages).toBeGreaterThan(pages + 100)
    await db.dropTable('big')
    await db.purge()
    expect(db.status().file.pages).toBeLessThanOrEqual(pages + 8)
    expect((await db.check()).problems).toEqual([])
  })
})

describe('a renamed table', () => {
  it('is the same table: handles, rows, indexes and counter go on', async () => {
    await using test = await cities()
    const { db, table } = test
    await db.renameTable('cities', 'towns')
    expect([db.tables(), table.name, table.get(1)?.name]).toEqual([['towns'], 'towns', 'Rome'])
    expect(await table.insert({ name: 'Bari', people: 3 })).toBe(3)
    expect(await db.table('towns')).toBe(table)
    await expect(table.insert({ name: 'Rome', people: 1 })).rejects.toMatchObject({ table: 'towns', index: 'name' })
    const other = await db.table<City>('cities', DEFINITION)
    expect([other.count(), other === table]).toEqual([0, false])
    await expect(db.renameTable('towns', 'cities')).rejects.toMatchObject({ code: 'ERR_TABLE_EXISTS' })
    await expect(db.renameTable('villages', 'hamlets')).rejects.toMatchObject({ code: 'ERR_NO_SUCH_TABLE' })
    await test.crash('all')
    expect([test.db.tables(), (await test.db.table('towns')).count()]).toEqual([['cities', 'towns'], 3])
  })
})

describe('a truncated table', () => {
  it('is empty, and counts from 1 again, after a crash too', async () => {
    await using test = await cities()
    await test.table.truncate()
    expect([test.table.count(), test.table.index('name').get('Rome')]).toEqual([0, undefined])
    expect(await test.table.insert({ name: 'Rome', people: 28 })).toBe(1)
    await test.table.truncate()
    await test.crash('none')
    const table = await test.db.table<City>('cities', DEFINITION)
    expect(table.count()).toBe(0)
    expect(await table.insert({ name: 'Oslo', people: 7 })).toBe(1)
  })
})

describe('an index', () => {
  it('can be made and dropped, and survives a crash from then on', async () => {
    await using test = await cities()
    await test.table.createIndex('people', { on: 'people' })
    expect(test.table.index('people').keys().toArray()).toEqual([7, 28])
    await expect(test.table.createIndex('people', { on: 'name' })).rejects.toMatchObject({ code: 'ERR_INDEX_EXISTS' })
    await test.crash('none')
    const table = await test.db.table<City>('cities')
    expect(table.index('people').get(28)?.name).toBe('Rome')
    await table.dropIndex('people')
    expect(() => table.index('people')).toThrow(expect.objectContaining({ code: 'ERR_NO_SUCH_INDEX' }))
    await expect(table.dropIndex('people')).rejects.toMatchObject({ code: 'ERR_NO_SUCH_INDEX' })
    await test.crash('none')
    expect((await test.db.table('cities')).definition.indexes.map((index) => index.name)).toEqual(['name'])
  })
})
