import { existsSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { TreeCursor } from '../src/storage/tree-cursor.js'
import { DatabaseProblems, openTest } from './support/open-test-database.js'

interface City {
  id: number
  name: string
}

const CITY = { key: 'id', indexes: { name: { on: 'name' } } } as const

describe('a test database', () => {
  test('keeps what was committed when it is reopened', async () => {
    await using database = await openTest()
    const cities = await database.db.table<City>('cities', CITY)
    await cities.insert({ id: 1, name: 'Ur' })
    const db = await database.reopen()
    expect((await db.table<City>('cities')).get(1)).toEqual({ id: 1, name: 'Ur' })
  })

  test.each(['none', 'all', 'random', 'torn', 'kill'] as const)('keeps what was acknowledged in a crash (%s)', async (mode) => {
    await using database = await openTest()
    const cities = await database.db.table<City>('cities', CITY)
    await cities.insert({ id: 1, name: 'Ur' })
    const db = await database.crash(mode)
    expect((await db.table<City>('cities')).get(1)).toEqual({ id: 1, name: 'Ur' })
  })

  test('fails at close when an index lacks an entry, even if the test itself closes the database', async () => {
    const database = await openTest()
    const cities = await database.db.table<City>('cities', CITY)
    await cities.insert({ id: 1, name: 'Ur' })
    const { engine } = database.db
    const index = database.db.storeOf(cities).indexes[0]
    engine.change(() => {
      engine.pager.beginOperation()
      const key = new Uint8Array(4096)
      const cursor = new TreeCursor(index.tree)
      cursor.first()
      const length = cursor.copyKey(key)
      index.tree.find(key, length)
      index.tree.remove()
    })
    await expect(database.db.close()).rejects.toBeInstanceOf(DatabaseProblems)
  })

  test('on a real disk leaves nothing behind', async () => {
    const database = await openTest({ on: 'real' })
    await database.db.table<City>('cities', CITY)
    expect(existsSync(database.directory)).toBe(true)
    await database[Symbol.asyncDispose]()
    expect(existsSync(database.directory)).toBe(false)
  })
})
