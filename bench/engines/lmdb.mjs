import { closeSync, fdatasyncSync, openSync } from 'node:fs'
import { join } from 'node:path'
import { open } from 'lmdb'

/**
 * lmdb, in the forms its users have. For each kind of work the fastest documented call is used; on this machine, one core:
 * - batches: `transactionSync` with `put` inside (1.5 µs a row; `batch` the same, `put` × 1000 and one await 1.7, `transaction` 1.7);
 * - one write at a time: `putSync` or `transactionSync` (210 µs; `await put` 270, `await transaction` 300);
 * - many clients: `await put`, which lmdb gathers into one transaction per event turn; read and write together need `transaction`.
 * With the defaults a write is acknowledged after fdatasync and a synchronous write of the meta page (seen with strace), in every form.
 *
 * @typedef {import('../data/rows.mjs').Row} Row
 */

/** @type {import('./index.mjs').OpenStore} */
export async function openStore(directory, variant) {
  const { sharedStructures, noSync } = variant.options
  const db = open(directory, {
    ...(sharedStructures === true && { sharedStructuresKey: Symbol.for('structures') }),
    ...(noSync === true && { noSync: true }),
  })
  return {
    get: (key) => db.get(key),
    visit(start, limit, visitor) {
      for (const { key, value } of db.getRange(limit === 0 ? {} : { ...(start !== undefined && { start }), limit }))
        visitor(/** @type {import('./index.mjs').Key} */ (key), value)
    },
    putBatch(rows, count) {
      db.transactionSync(() => {
        for (let i = 0; i < count; i++) db.put(rows[i].id, rows[i])
      })
    },
    async put(row) {
      await db.put(row.id, row)
    },
    putSync(row) {
      db.putSync(row.id, row)
    },
    async addBalance(key, amount) {
      await db.transaction(() => addBalance(key, amount))
    },
    addBalanceSync(key, amount) {
      db.transactionSync(() => addBalance(key, amount))
    },
    async transfer(from, to, amount) {
      await db.transaction(() => {
        addBalance(from, -amount)
        addBalance(to, amount)
      })
    },
    async transferWaiting(from, to, amount, wait) {
      await db.transaction(async () => {
        const source = db.get(from)
        const target = db.get(to)
        await wait()
        db.put(from, { ...source, balance: source.balance - amount })
        db.put(to, { ...target, balance: target.balance + amount })
      })
    },
    async makeDurable() {
      await db.flushed
      if (noSync === true) syncFile(directory)
    },
    close: () => db.close(),
  }

  /**
   * @param {number | string} key
   * @param {number} amount
   */
  function addBalance(key, amount) {
    const row = db.get(key)
    db.put(key, { ...row, balance: row.balance + amount })
  }
}

/** @param {string} directory */
function syncFile(directory) {
  const fd = openSync(join(directory, 'data.mdb'), 'r+')
  try {
    fdatasyncSync(fd)
  } finally {
    closeSync(fd)
  }
}
