import { rmSync } from 'node:fs'
import { makeRandom, permutation } from '../data/random.mjs'
import { initialBalance, isRow, makeRow } from '../data/rows.mjs'
import { check, measureOnce } from '../runner/measure.mjs'
import { goals } from './workload.mjs'

/** Filling an empty database in transactions of 1,000 rows; the clock stops when everything is on disk. */

export const batchRows = 1000
const variants = ['nextkey', 'nextkey-lazy', 'lmdb', 'lmdb-shared', 'lmdb-nosync']

/** @type {import('./workload.mjs').Workload[]} */
export const fillWorkloads = [
  {
    name: 'fillseq',
    title: 'Fill, ascending integer keys, 1,000 rows a transaction',
    group: 'Loading',
    unit: 'rate',
    variants,
    image: 'none',
    guarantee: 'durable at the end',
    goals: goals({ lmdb: 1, 'lmdb-shared': 1 }),
    run: (context) => fill(context, (n) => n),
  },
  {
    name: 'fillrandom',
    title: 'Fill, integer keys in random order, 1,000 rows a transaction',
    group: 'Loading',
    unit: 'rate',
    variants,
    image: 'none',
    guarantee: 'durable at the end',
    goals: goals({ lmdb: 3, 'lmdb-shared': 3 }),
    run: (context) => {
      const order = permutation(context.rows, makeRandom(context.seed))
      return fill(context, (n) => order[n])
    },
  },
]

/**
 * @param {import('./workload.mjs').Context} context
 * @param {(n: number) => number} keyAt
 */
async function fill(context, keyAt) {
  // V8 compiles what fills the database while a small one beside it is filled.
  const rehearsal = await context.openStore(`${context.directory}-rehearsal`)
  putAll(
    rehearsal,
    Math.ceil(context.rows / 4),
    (n) => n,
    (n) => keyAt(n),
  )
  await rehearsal.close()
  rmSync(`${context.directory}-rehearsal`, { recursive: true, force: true })
  const store = await context.openStore()
  const measurement = await measureOnce(context.rows, async () => {
    putAll(store, context.rows, (n) => n, keyAt)
    await store.makeDurable()
  })
  measurement.checked = checkAll(store, context.rows, (n) => n)
  await store.close()
  return measurement
}

/**
 * Writes rows 0 … count − 1, as loaded, in batches.
 * @param {import('../engines/index.mjs').Store} store
 * @param {number} count
 * @param {(n: number) => number | string} keyOf
 * @param {(position: number) => number} [rowAt] which row comes at this position
 */
export function putAll(store, count, keyOf, rowAt = (n) => n) {
  const batch = new Array(Math.min(batchRows, count))
  for (let start = 0; start < count; start += batchRows) {
    const size = Math.min(batchRows, count - start)
    for (let i = 0; i < size; i++) {
      const n = rowAt(start + i)
      batch[i] = makeRow(keyOf(n), n, initialBalance(n))
    }
    store.putBatch(batch, size)
  }
}

/**
 * Every row, by a scan that must meet each exactly once, in ascending key order. Returns how many were compared.
 * @param {import('../engines/index.mjs').Store} store
 * @param {number} count
 * @param {(n: number) => number} keyOf integer keys only: the key is the row's number
 */
export function checkAll(store, count, keyOf) {
  let expected = 0
  store.visit(undefined, 0, (key, row) => {
    check(key === keyOf(expected) && isRow(row, key, expected), `row ${expected} of the scan is ${JSON.stringify(row)}`)
    expected++
  })
  check(expected === count, `${expected} rows where ${count} were written`)
  return count
}
