import { describe, expect, it } from 'vitest'
import type { InsertOptions, Row, Table } from '../../src/table.js'
import type { Transaction } from '../../src/transaction.js'
import { openTest, type TestDatabase } from '../support/open-test-database.js'

/**
 * Whatever is refused or thrown in the midst of a statement, after however many of its rows: the statement is undone, nothing else is, and the
 * transaction goes on. Above all it is not taken for a change that stopped half-way, which closes the database.
 */
interface Item {
  id: number
  u: unknown
  group: number
  text: string
}

type Change = (row: Item) => Item
type Statement = (tx: Transaction, table: Table<Item>, rowsBefore: number) => Promise<unknown>

async function prepared(mode: 0 | 1 | 2): Promise<TestDatabase & { table: Table<Item> }> {
  const test = await openTest({ autoIncrementLockMode: mode })
  const table = await test.db.table<Item>('items', {
    key: 'id',
    autoIncrement: true,
    indexes: { u: { on: 'u', unique: true }, group: { on: 'group' } },
  })
  await table.insertMany([10, 20, 30, 40].map((u) => ({ u, group: 1, text: 'short' })))
  return Object.assign(test, { table })
}

/** Longer than a page. */
const LONG = 'long '.repeat(8000)

/** What is done to so many rows, and then this to the next. */
const thenAs = (rowsBefore: number, good: Change, last: Change): Change => {
  let at = 0
  return (row) => (at++ < rowsBefore ? good(row) : last(row))
}
const throws: Change = () => {
  throw new Error('of the user')
}

const CHANGES: Record<string, [good: Change, last: Change]> = {
  'a change that throws': [(row) => ({ ...row, group: 2, text: LONG }), throws],
  'a key that is none': [(row) => ({ ...row, group: 2 }), (row) => ({ ...row, u: Symbol('none') })],
  'a duplicate in an index': [(row) => ({ ...row, u: Number(row.u) + 1 }), (row) => ({ ...row, u: 40, text: LONG })],
  'a duplicate of the primary key': [(row) => ({ ...row, id: row.id + 100 }), (row) => ({ ...row, id: 4, text: LONG })],
}

const ROWS: Record<string, object> = {
  'a duplicate in an index': { u: 20, group: 3, text: LONG },
  'a duplicate of the primary key': { id: 4, u: 5, group: 3, text: LONG },
  'a key that is none': { u: Symbol('none'), group: 3, text: LONG },
}

const ON_DUPLICATE: Record<string, InsertOptions<Item> | undefined> = {
  'no rule for duplicates': undefined,
  'a rule that throws': { onDuplicate: throws },
  'a rule that makes another duplicate': { onDuplicate: (row) => ({ ...row, u: 30, text: LONG }) },
}

const STATEMENTS: [name: string, Statement][] = []
for (const [what, [good, last]] of Object.entries(CHANGES)) {
  STATEMENTS.push([`updateRange, ${what}`, (tx, table, before) => tx.updateRange(table, {}, thenAs(before, good, last))])
  STATEMENTS.push([
    `updateRange by an index, ${what}`,
    (tx, table, before) => tx.updateRange(table, { index: 'group' }, thenAs(before, good, last)),
  ])
}
for (const [what, row] of Object.entries(ROWS))
  for (const [how, options] of Object.entries(ON_DUPLICATE)) {
    const rows = (before: number): Row<Item>[] =>
      [...Array.from({ length: before }, (_, i) => ({ u: 1000 + i, group: 1, text: LONG })), row] as Row<Item>[]
    STATEMENTS.push([`insertMany, ${what}, ${how}`, (tx, table, before) => tx.insertMany(table, rows(before), options)])
    STATEMENTS.push([`insertFrom, ${what}, ${how}`, (tx, table, before) => tx.insertFrom(table, rows(before), options)])
  }
STATEMENTS.push([
  'deleteRange, a condition that throws',
  (tx, table, before) => {
    let at = 0
    return tx.deleteRange(table, { where: () => at++ < before || throws({} as Item) !== undefined })
  },
])

describe.each([0, 1, 2] as const)('in AUTO-INC mode %i', (mode) => {
  it.each(STATEMENTS)('%s', async (_, statement) => {
    for (const rowsBefore of [0, 1, 2]) {
      await using test = await prepared(mode)
      const { db, table } = test
      const tx = await db.begin()
      await tx.insert(table, { u: 1, group: 1, text: 'before' })
      const before = await tx.values(table).toArray()
      await expect(statement(tx, table, rowsBefore)).rejects.toThrow()
      expect(await tx.values(table).toArray()).toEqual(before)
      await tx.insert(table, { u: 2, group: 1, text: 'after' })
      await tx.commit()
      expect(table.count()).toBe(6)
    }
  })
})
