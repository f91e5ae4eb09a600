import { expect } from 'vitest'
import { NextkeyError } from '../../src/base/errors.js'
import type { Database } from '../../src/database.js'
import type { Table } from '../../src/table.js'
import type { Transaction } from '../../src/transaction.js'
import { type OpenTestOptions, openTest, type TestDatabase } from '../support/open-test-database.js'

/** A table of four things with an index of each kind, and what tests of locks ask of a database. */

export interface Thing {
  id: number
  code: number | null
  kind: number
  size: number
}

export const DEFINITION = { key: 'id', indexes: { code: { on: 'code', unique: true }, kind: { on: 'kind' } } } as const
export const THINGS: readonly Thing[] = [
  { id: 10, code: 100, kind: 1, size: 5 },
  { id: 20, code: 200, kind: 2, size: 6 },
  { id: 30, code: 300, kind: 2, size: 5 },
  { id: 40, code: 400, kind: 4, size: 7 },
]

export async function things(options: OpenTestOptions = {}): Promise<TestDatabase & { table: Table<Thing> }> {
  const test = await openTest(options)
  const table = await test.db.table<Thing>('things', DEFINITION)
  await table.insertMany(THINGS)
  return Object.assign(test, { table })
}

/** The record locks of a transaction, in the order of the index: `X next-key kind 2/20`. */
export function recordLocks(db: Database, tx: Transaction): string[] {
  const locks = db.locks().filter((lock) => lock.transaction === tx.id && lock.kind !== 'table')
  const order = (lock: (typeof locks)[number]): number => (lock.supremum ? 1e6 : (lock.key as number) * 1000 + Number(lock.primaryKey ?? 0))
  locks.sort((a, b) =>
    a.index === b.index
      ? order(a) - order(b)
      : a.index === 'PRIMARY'
        ? 1
        : b.index === 'PRIMARY'
          ? -1
          : (a.index as string) < (b.index as string)
            ? -1
            : 1,
  )
  return locks.map(({ mode, kind, index, key, primaryKey, supremum, status }) => {
    const place = supremum ? 'above all' : primaryKey === undefined ? String(key) : `${key}/${primaryKey}`
    return `${mode} ${kind} ${index} ${place}${status === 'waiting' ? ', waiting' : ''}`
  })
}

/** What has become of a promise by the time nothing moves any more: 'waits', 'done', or the code of its error. */
export async function outcomeOf(promise: Promise<unknown>): Promise<string> {
  let outcome = 'waits'
  promise.then(
    () => {
      outcome = 'done'
    },
    (error: unknown) => {
      outcome = error instanceof NextkeyError ? error.code : String(error)
    },
  )
  await standstill()
  return outcome
}

export async function standstill(): Promise<void> {
  for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve))
}

/** Whether another transaction could insert the row now. */
export async function canInsert(db: Database, table: Table<Thing>, row: Thing): Promise<boolean> {
  const probe = await db.begin({ isolation: 'read-committed' })
  const outcome = await outcomeOf(probe.insert(table, row, { wait: 'nowait' }))
  await probe.rollback()
  expect(['done', 'ERR_LOCK_NOT_AVAILABLE']).toContain(outcome)
  return outcome === 'done'
}

export async function canUpdate(db: Database, table: Table<Thing>, id: number): Promise<boolean> {
  const probe = await db.begin({ isolation: 'read-committed' })
  const outcome = await outcomeOf(probe.update(table, id, { size: 99 }, { wait: 'nowait' }))
  await probe.rollback()
  expect(['done', 'ERR_LOCK_NOT_AVAILABLE']).toContain(outcome)
  return outcome === 'done'
}

/** No lock, no wait, no view, no open transaction, and nothing to purge but what is committed. */
export async function expectNothingLeft(db: Database): Promise<void> {
  const nothing = { owners: 0, records: 0, recordHolds: 0, runs: 0, tableHolds: 0, metadataHolds: 0, waiting: 0 }
  expect(db.engine.rowLocks.locks.counts()).toMatchObject(nothing)
  expect([...db.locks(), ...db.metadataLocks()]).toEqual([])
  expect(db.transactions()).toEqual([])
  await db.purge()
  const { transactions, purge } = db.status()
  expect({ ...transactions, ...purge }).toMatchObject({ open: 0, active: 0, historyLength: 0, views: 0 })
  expect((await db.check()).problems).toEqual([])
}

export const row = (id: number, values: Partial<Thing> = {}): Thing => ({ id, code: null, kind: 0, size: 0, ...values })
