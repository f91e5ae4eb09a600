import { initialBalance, isRow } from '../data/rows.mjs'
import { check, measureOnce } from '../runner/measure.mjs'
import { readers } from './workload.mjs'

/** From `open` to the first row read, in a process that has just started; the files are in the operating system's cache. */

/** Of the image 'killed': this share of the rows is written once more, in batches, before the process is killed. */
export const killedShare = 0.1

/** @type {import('./workload.mjs').Workload[]} */
export const openWorkloads = [
  {
    name: 'open-closed',
    title: 'Time to open after a clean close',
    group: 'Opening',
    unit: 'milliseconds',
    variants: readers,
    image: 'integer',
    guarantee: 'none',
    run: (context) => openAndRead(context, (n) => initialBalance(n)),
  },
  {
    name: 'open-killed',
    title: 'Time to open after SIGKILL, a tenth of the rows just rewritten',
    group: 'Opening',
    unit: 'milliseconds',
    variants: readers,
    image: 'killed',
    guarantee: 'writes',
    run: (context) => openAndRead(context, (n) => initialBalance(n) + (n < killedRows(context.rows) ? 1 : 0)),
  },
]

/** @param {number} rows */
export function killedRows(rows) {
  return Math.floor(rows * killedShare)
}

/**
 * @param {import('./workload.mjs').Context} context
 * @param {(n: number) => number} balanceOf
 */
async function openAndRead(context, balanceOf) {
  /** @type {import('../engines/index.mjs').Store[]} */
  const opened = []
  const measurement = await measureOnce(1, async () => {
    const store = await context.openStore()
    opened.push(store)
    check(store.get(0) !== undefined, 'row 0 is missing')
  })
  const [store] = opened
  for (let n = 0; n < context.rows; n++) check(isRow(store.get(n), n, n, balanceOf(n)), `row ${n} is ${JSON.stringify(store.get(n))}`)
  await store.close()
  return { ...measurement, value: 1000 / measurement.value, checked: context.rows }
}
