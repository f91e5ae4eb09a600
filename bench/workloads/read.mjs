import { makeRandom } from '../data/random.mjs'
import { initialBalance, isRow, makeKeys } from '../data/rows.mjs'
import { check, measure } from '../runner/measure.mjs'
import { goals, openWarm, readers } from './workload.mjs'

/**
 * Reading, synchronously on both sides. Every read inside the measured loop is added to a sum that is compared with the sum the rows
 * must give; a sample of whole rows is compared field by field afterwards.
 */

/** @typedef {(key: import('../engines/index.mjs').Key, row: import('../data/rows.mjs').Row) => void} Visitor */

const pointGoals = goals({ lmdb: 1.8, 'lmdb-shared': 1.3 })
const scanGoals = goals({ 'lmdb-shared': 2 })
const readsPerCall = 1000

/** @type {Pick<import('./workload.mjs').Workload, 'group' | 'unit' | 'variants' | 'readOnly' | 'guarantee'>} */
const reading = { group: 'Reading', unit: 'rate', variants: readers, readOnly: true, guarantee: 'reads' }

/** @type {import('./workload.mjs').Workload[]} */
export const readWorkloads = [
  {
    ...reading,
    name: 'read-integer',
    title: 'Random point reads, integer keys',
    image: 'integer',
    goals: pointGoals,
    run: (context) => pointReads(context, 'integer'),
  },
  {
    ...reading,
    name: 'read-string',
    title: 'Random point reads, string keys',
    image: 'string',
    goals: pointGoals,
    run: (context) => pointReads(context, 'string'),
  },
  { ...reading, name: 'read-missing', title: 'Point reads of missing string keys', image: 'string', run: missingReads },
  {
    ...reading,
    name: 'range-100',
    title: 'Ranges of 100 rows from a random key (rows/s)',
    image: 'integer',
    goals: scanGoals,
    run: ranges,
  },
  { ...reading, name: 'scan', title: 'Whole scan, key and row (rows/s)', image: 'integer', goals: scanGoals, run: scan },
]

/**
 * @param {import('./workload.mjs').Context} context
 * @param {import('../data/rows.mjs').KeyKind} kind
 */
async function pointReads(context, kind) {
  const store = await openWarm(context)
  const random = makeRandom(context.seed)
  const keys = makeKeys(kind, context.rows)
  const calls = 512
  const order = Int32Array.from({ length: calls * readsPerCall }, () => Math.floor(random() * context.rows))
  const keyAt = Array.from(order, (n) => keys[n])
  const sumOfCall = Float64Array.from({ length: calls }, (_, call) => {
    let sum = 0
    for (let i = call * readsPerCall; i < (call + 1) * readsPerCall; i++) sum += initialBalance(order[i])
    return sum
  })
  let call = 0
  let checked = 0
  const measurement = await measure({
    operations: readsPerCall,
    timeMs: context.timeMs,
    warmupMs: context.timeMs,
    run() {
      let sum = 0
      const first = call * readsPerCall
      for (let i = first; i < first + readsPerCall; i++) sum += store.get(keyAt[i])?.balance ?? Number.NaN
      check(sum === sumOfCall[call], `balances read by call ${call} sum to ${sum}, not ${sumOfCall[call]}`)
      checked += readsPerCall
      call = (call + 1) % calls
    },
  })
  for (let n = 0; n < context.rows; n += Math.max(1, Math.floor(context.rows / 1000))) {
    check(isRow(store.get(keys[n]), keys[n], n), `row ${n} is ${JSON.stringify(store.get(keys[n]))}`)
    checked++
  }
  await store.close()
  return { ...measurement, checked }
}

/** @param {import('./workload.mjs').Context} context */
async function missingReads(context) {
  const store = await openWarm(context)
  const random = makeRandom(context.seed)
  const keys = makeKeys('string', context.rows)
  // Between the keys that exist, not beyond them.
  const missing = Array.from({ length: 256 * readsPerCall }, () => `${keys[Math.floor(random() * context.rows)]}x`)
  let next = 0
  let checked = 0
  const measurement = await measure({
    operations: readsPerCall,
    timeMs: context.timeMs,
    warmupMs: context.timeMs,
    run() {
      let found = 0
      for (let i = next; i < next + readsPerCall; i++) if (store.get(missing[i]) !== undefined) found++
      check(found === 0, `${found} keys found that were never written`)
      checked += readsPerCall
      next = (next + readsPerCall) % missing.length
    },
  })
  await store.close()
  return { ...measurement, checked }
}

/** @param {import('./workload.mjs').Context} context */
async function ranges(context) {
  const store = await openWarm(context)
  const random = makeRandom(context.seed)
  const limit = 100
  const rangesPerCall = 20
  const starts = Int32Array.from({ length: 4096 * rangesPerCall }, () => Math.floor(random() * (context.rows - limit)))
  const sumBefore = runningSums(context.rows)
  let next = 0
  let checked = 0
  let expected = 0
  let sum = 0
  let inOrder = true
  /** @type {Visitor} */
  const visitor = (key, row) => {
    if (key !== expected++) inOrder = false
    sum += row.balance
  }
  const measurement = await measure({
    operations: rangesPerCall * limit,
    timeMs: context.timeMs,
    warmupMs: context.timeMs,
    run() {
      for (let i = next; i < next + rangesPerCall; i++) {
        const start = starts[i]
        expected = start
        sum = 0
        store.visit(start, limit, visitor)
        check(inOrder && expected === start + limit, `the range from ${start} is out of order or ended at ${expected}`)
        check(sum === sumBefore[start + limit] - sumBefore[start], `balances of the range from ${start} sum to ${sum}`)
      }
      checked += rangesPerCall * limit
      next = (next + rangesPerCall) % starts.length
    },
  })
  await store.close()
  return { ...measurement, checked }
}

/** @param {import('./workload.mjs').Context} context */
async function scan(context) {
  const store = await openWarm(context)
  const total = runningSums(context.rows)[context.rows]
  let expected = 0
  let sum = 0
  let inOrder = true
  /** @type {Visitor} */
  const visitor = (key, row) => {
    if (key !== expected++) inOrder = false
    sum += row.balance
  }
  let checked = 0
  const measurement = await measure({
    operations: context.rows,
    timeMs: context.timeMs,
    iterations: 2,
    warmupMs: 1,
    run() {
      expected = 0
      sum = 0
      store.visit(undefined, 0, visitor)
      check(inOrder && expected === context.rows, `the scan is out of order or met ${expected} rows of ${context.rows}`)
      check(sum === total, `balances of the scan sum to ${sum}, not ${total}`)
      checked += context.rows
    },
  })
  await store.close()
  return { ...measurement, checked }
}

/**
 * Element n is the sum of the balances of rows 0 … n − 1.
 * @param {number} rows
 */
function runningSums(rows) {
  const sums = new Float64Array(rows + 1)
  for (let n = 0; n < rows; n++) sums[n + 1] = sums[n] + initialBalance(n)
  return sums
}
