import { makeRandom } from '../data/random.mjs'
import { initialBalance, isRow, makeRow } from '../data/rows.mjs'
import { directoryUse } from '../runner/directory.mjs'
import { check } from '../runner/measure.mjs'
import { batchRows } from './fill.mjs'
import { goals, readers } from './workload.mjs'

/** Disk space, as allocated, of the closed database: log, lock and data files together. */

/** @type {import('./workload.mjs').Workload[]} */
export const sizeWorkloads = [
  {
    name: 'size-filled',
    title: 'Size after loading in scattered order (string keys)',
    group: 'Size',
    unit: 'bytes',
    variants: readers,
    image: 'string',
    readOnly: true,
    guarantee: 'none',
    goals: goals({}),
    run: async (context) => sizeOf(context, 0),
  },
  {
    name: 'size-churned',
    title: 'Size after updating half of the rows at random',
    group: 'Size',
    unit: 'bytes',
    variants: readers,
    image: 'integer',
    guarantee: 'none',
    run: churn,
  },
]

/** @param {import('./workload.mjs').Context} context */
async function churn(context) {
  const store = await context.openStore()
  const random = makeRandom(context.seed)
  const balances = Int32Array.from({ length: context.rows }, (_, n) => initialBalance(n))
  const updates = Math.floor(context.rows / 2)
  const batch = new Array(batchRows)
  for (let done = 0; done < updates; done += batchRows) {
    for (let i = 0; i < batchRows; i++) {
      const n = Math.floor(random() * context.rows)
      batch[i] = makeRow(n, n, ++balances[n])
    }
    store.putBatch(batch, batchRows)
  }
  await store.close()
  const measurement = sizeOf(context, context.rows)
  const reopened = await context.openStore()
  for (let n = 0; n < context.rows; n++)
    check(isRow(reopened.get(n), n, n, balances[n]), `row ${n} is ${JSON.stringify(reopened.get(n))}, balance must be ${balances[n]}`)
  await reopened.close()
  return measurement
}

/**
 * @param {import('./workload.mjs').Context} context
 * @param {number} checked
 */
function sizeOf(context, checked) {
  const use = directoryUse(context.directory)
  return { value: use.total, checked, extra: use.files }
}
