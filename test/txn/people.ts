import { expect } from 'vitest'
import { NextkeyError } from '../../src/base/errors.js'
import type { Database } from '../../src/database.js'
import type { Table } from '../../src/table.js'
import { type OpenTestOptions, openTest, type TestDatabase } from '../support/open-test-database.js'

/**
 * A table whose indexes are built while others write: so slowly, a row for a turn of the event loop, that something can be done at each
 * moment of it.
 */
export interface Person {
  id: number
  name: string | null
  city: string
  mail: string
}

export const person = (id: number, values: Partial<Person> = {}): Person => ({
  id,
  name: `n${id % 7}`,
  city: 'Rome',
  mail: `m${id}`,
  ...values,
})
const IDS = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]

/** Ten rows under even keys, and an index with unique keys. */
export async function people(options: OpenTestOptions = {}): Promise<TestDatabase & { table: Table<Person> }> {
  const test = await openTest(options)
  const table = await test.db.table<Person>('people', { key: 'id', indexes: { mail: { on: 'mail', unique: true } } })
  await table.insertMany(IDS.map((id) => person(id * 2)))
  test.db.engine.schema.rowsPerSlice = 1
  return Object.assign(test, { table })
}

export async function turn(turns = 1): Promise<void> {
  for (let count = 0; count < turns; count++) await new Promise((resolve) => setImmediate(resolve))
}

/** What the index holds is what the rows say. */
export async function expectExact(db: Database, table: Table<Person>, index: string, field: keyof Person): Promise<void> {
  const rows = table.values().toArray()
  const wanted = rows.map((row) => [row[field] ?? null, row.id]).sort(byKeyThenId)
  const found = table
    .index(index)
    .entries()
    .toArray()
    .map(([key, row]) => [key, row.id])
  expect(found).toEqual(wanted)
  expect((await db.check()).problems).toEqual([])
}

function byKeyThenId(a: unknown[], b: unknown[]): number {
  if (a[0] === b[0]) return (a[1] as number) - (b[1] as number)
  if (a[0] === null) return -1
  if (b[0] === null) return 1
  return (a[0] as string) < (b[0] as string) ? -1 : 1
}

/** 'done', or the code of the error: for promises that are looked at later. */
export function outcomeAtLast(promise: Promise<unknown>): Promise<string> {
  return promise.then(
    () => 'done',
    (error: unknown) => (error instanceof NextkeyError ? error.code : String(error)),
  )
}
