/**
 * What a workload is. `run` executes in a child process of its own, once per engine variant and round.
 *
 * @typedef {'rate' | 'bytes' | 'milliseconds'} Unit rates are operations per second, higher is better; bytes and milliseconds, lower is better
 *
 * @typedef {object} Context
 * @property {string} directory the database: empty, a copy of an image, or the image itself for workloads that only read
 * @property {import('../engines/variants.mjs').Variant} variant
 * @property {(directory?: string) => Promise<import('../engines/index.mjs').Store>} openStore
 * @property {number} rows rows in the image, or to be written
 * @property {number} timeMs how long one measurement lasts
 * @property {number} seed
 *
 * @typedef {object} Goal how many times better than a rival this project wants to be
 * @property {string} variant
 * @property {string} against
 * @property {number} atLeast
 *
 * @typedef {object} Workload
 * @property {string} name for `--only`
 * @property {string} title
 * @property {string} group
 * @property {Unit} unit
 * @property {string[]} variants
 * @property {'none' | 'integer' | 'string' | 'killed'} image what the directory holds at the start
 * @property {boolean} [readOnly] runs on the image itself, not on a copy
 * @property {'reads' | 'writes' | 'transactions' | 'interactive' | 'durable at the end' | 'none'} guarantee
 * @property {Goal[]} [goals]
 * @property {(context: Context) => Promise<import('../runner/measure.mjs').Measurement>} run
 */

/**
 * Opens the database and reads all of it once, so that what is measured is an engine at work and not the operating system's cache filling
 * the engine's. (Starting cold is measured by the workloads that open.)
 * @param {Context} context
 */
export async function openWarm(context) {
  const store = await context.openStore()
  let rows = 0
  store.visit(undefined, 0, () => rows++)
  if (rows !== context.rows) throw new Error(`wrong data: the database has ${rows} rows, not ${context.rows}`)
  return store
}

export const readers = ['nextkey', 'lmdb', 'lmdb-shared']
export const writers = ['nextkey', 'nextkey-write', 'nextkey-lazy', 'lmdb', 'lmdb-shared', 'lmdb-nosync']

/**
 * Goals of one variant against several rivals.
 * @param {Record<string, number>} byRival
 * @param {string} [variant]
 * @returns {Goal[]}
 */
export function goals(byRival, variant = 'nextkey') {
  return Object.entries(byRival).map(([against, atLeast]) => ({ variant, against, atLeast }))
}
