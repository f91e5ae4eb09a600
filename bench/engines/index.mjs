/**
 * The engines behind one small interface. An engine's module is imported only in the child process that measures it.
 *
 * @typedef {import('../data/rows.mjs').Row} Row
 * @typedef {number | string} Key
 *
 * @typedef {import('./variants.mjs').Variant} Variant
 *
 * @typedef {object} Store
 * @property {(key: Key) => Row | undefined} get synchronous point read
 * @property {(start: Key | undefined, limit: number, visitor: (key: Key, row: Row) => void) => void} visit rows from `start` on in key order; limit 0 = all rows
 * @property {(rows: Row[], count: number) => void} putBatch the first `count` rows in one transaction
 * @property {(row: Row) => Promise<void>} put one row, acknowledged as the variant promises
 * @property {(row: Row) => void} putSync
 * @property {(key: Key, amount: number) => Promise<void>} addBalance read-modify-write of one row
 * @property {(key: Key, amount: number) => void} addBalanceSync
 * @property {(from: Key, to: Key, amount: number) => Promise<void>} transfer reads and writes two rows in one transaction
 * @property {(from: Key, to: Key, amount: number, wait: () => Promise<void>) => Promise<void>} transferWaiting the same, awaiting `wait` between reads and writes
 * @property {() => Promise<void>} makeDurable everything acknowledged so far is on disk when this resolves
 * @property {() => Promise<void>} close
 *
 * @typedef {(directory: string, variant: Variant) => Promise<Store>} OpenStore
 */

/** Imports the engine of a variant; fails with advice when nextkey is not built. @param {string} engine */
export async function importEngine(engine) {
  try {
    return await import(`./${engine}.mjs`)
  } catch (error) {
    if (engine === 'nextkey' && error instanceof Error && 'code' in error && error.code === 'ERR_MODULE_NOT_FOUND')
      throw new Error('nextkey is not built; run `npm run build` first', { cause: error })
    throw error
  }
}
