/** A process that does one job: see job.mjs. */

import { makeRandom, permutation } from '../data/random.mjs'
import { initialBalance, keyMaker, makeRow } from '../data/rows.mjs'
import { importEngine } from '../engines/index.mjs'
import { variantOf } from '../engines/variants.mjs'
import { batchRows, putAll } from '../workloads/fill.mjs'
import { workloads } from '../workloads/index.mjs'
import { killedRows } from '../workloads/open.mjs'

process.once('disconnect', () => process.exit(1))
process.once('message', (message) => {
  perform(/** @type {import('./job.mjs').Job} */ (message)).then(
    (measurement) => answer({ measurement }),
    (error) => answer({ error: error instanceof Error ? (error.stack ?? error.message) : String(error) }),
  )
})

/** @param {import('./job.mjs').Answer} content */
function answer(content) {
  process.send?.(content, () => process.exit(content.error === undefined ? 0 : 1))
}

/**
 * @param {import('./job.mjs').Job} job
 * @returns {Promise<import('./measure.mjs').Measurement>}
 */
async function perform(job) {
  const variant = variantOf(job.variant)
  const engine = await importEngine(variant.engine)
  /** @type {import('../workloads/workload.mjs').Context['openStore']} */
  const openStore = (directory = job.directory) => engine.openStore(directory, variant)
  switch (job.task) {
    case 'measure': {
      const workload = workloads.find((candidate) => candidate.name === job.workload)
      if (workload === undefined) throw new Error(`there is no workload ${job.workload}`)
      return workload.run({ directory: job.directory, variant, openStore, rows: job.rows, timeMs: job.timeMs, seed: job.seed })
    }
    case 'load': {
      // Integer keys ascend; string keys arrive scattered, in the order of their row numbers.
      const store = await openStore()
      putAll(store, job.rows, keyMaker(job.keys))
      await store.close()
      return { value: job.rows, checked: 0 }
    }
    case 'rewrite and die': {
      const store = await openStore()
      const rows = killedRows(job.rows)
      const order = permutation(rows, makeRandom(job.seed))
      for (let start = 0; start < rows; start += batchRows) {
        const batch = Array.from(order.subarray(start, start + batchRows), (n) => makeRow(n, n, initialBalance(n) + 1))
        store.putBatch(batch, batch.length)
      }
      process.kill(process.pid, 'SIGKILL')
      return new Promise(() => {})
    }
  }
}
