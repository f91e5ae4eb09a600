import { open } from 'nextkey'

/**
 * nextkey, from the built package, at each of its durability levels.
 * @typedef {import('../data/rows.mjs').Row} Row
 */

/** A transaction that meets a row somebody else is changing is tried again. */
const retries = { retries: 1000 }

/** @type {import('./index.mjs').OpenStore} */
export async function openStore(directory, variant) {
  const db = await open(directory, variant.options)
  /** @type {import('nextkey').Table<Row>} */
  const table = await db.table('rows', { key: 'id' })
  return {
    get: (key) => table.get(key),
    visit(start, limit, visitor) {
      /** @type {import('nextkey').Results<[import('./index.mjs').Key, Row]>} */
      const entries = table.entries(limit === 0 ? {} : { gte: start, limit })
      for (const [key, row] of entries) visitor(key, row)
    },
    putBatch(rows, count) {
      db.transactionSync((tx) => {
        for (let i = 0; i < count; i++) tx.put(table, rows[i])
      })
    },
    async put(row) {
      await table.put(row)
    },
    putSync(row) {
      db.transactionSync((tx) => tx.put(table, row))
    },
    async addBalance(key, amount) {
      await table.update(key, (row) => ({ ...row, balance: row.balance + amount }))
    },
    addBalanceSync(key, amount) {
      db.transactionSync((tx) => tx.update(table, key, (row) => ({ ...row, balance: row.balance + amount })))
    },
    async transfer(from, to, amount) {
      await db.transaction(async (tx) => {
        await tx.update(table, from, (row) => ({ ...row, balance: row.balance - amount }))
        await tx.update(table, to, (row) => ({ ...row, balance: row.balance + amount }))
      }, retries)
    },
    async transferWaiting(from, to, amount, wait) {
      await db.transaction(async (tx) => {
        await tx.get(table, from)
        await tx.get(table, to)
        await wait()
        await tx.update(table, from, (row) => ({ ...row, balance: row.balance - amount }))
        await tx.update(table, to, (row) => ({ ...row, balance: row.balance + amount }))
      }, retries)
    },
    makeDurable: () => db.flush(),
    close: () => db.close(),
  }
}
