/**
 * What it costs to lock a range of 1,000,000 rows, beside reading it, and to queue for one row:
 * `npm run build && node bench/micro/ranges.mjs [ROWS]`. CPU time of one process, the best of five.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { open } from '../../dist/index.js'

const ROWS = Number(process.argv[2] ?? 1_000_000)
const ROUNDS = 5
const ROWS_PER_TRANSACTION = 1000

const directory = mkdtempSync(join(tmpdir(), 'nextkey-ranges-'))
const db = await open(directory, { durability: 'lazy', lockWaitTimeout: 600_000 })
const table = await db.table('rows', { key: 'id', indexes: { group: { on: 'group' } } })
for (let first = 0; first < ROWS; first += ROWS_PER_TRANSACTION) {
  db.transactionSync((tx) => {
    for (let id = first; id < Math.min(ROWS, first + ROWS_PER_TRANSACTION); id++) tx.insert(table, { id, group: id })
  })
}
await db.purge()

async function inTransaction(work) {
  const tx = await db.begin()
  const start = process.cpuUsage().user
  await work(tx)
  const spent = (process.cpuUsage().user - start) / 1000
  const { bytes } = db.engine.rowLocks.locks.counts()
  await tx.rollback()
  return { spent, bytes }
}

async function best(work) {
  let least = { spent: Number.POSITIVE_INFINITY, bytes: 0 }
  for (let round = 0; round < ROUNDS; round++) {
    const measured = await inTransaction(work)
    if (measured.spent < least.spent) least = measured
  }
  return least
}

async function compare(name, read, lock) {
  const plain = await best(read)
  const locked = await best(lock)
  const times = (locked.spent / plain.spent).toFixed(2)
  console.log(
    `${name.padEnd(32)} read ${plain.spent.toFixed(0)} ms, lock ${locked.spent.toFixed(0)} ms: ${times} ×, ${locked.bytes >> 10} KiB`,
  )
}

const update = { lock: 'update' }
const byGroup = { index: 'group' }
await compare(
  'rows by primary key',
  (tx) => tx.values(table).toArray(),
  (tx) => tx.values(table, {}, update).toArray(),
)
await compare(
  'rows by primary key, downwards',
  (tx) => tx.values(table, { reverse: true }).toArray(),
  (tx) => tx.values(table, { reverse: true }, update).toArray(),
)
await compare(
  'primary keys',
  (tx) => tx.keys(table).toArray(),
  (tx) => tx.keys(table, {}, update).toArray(),
)
await compare(
  'rows by an index',
  (tx) => tx.values(table, byGroup).toArray(),
  (tx) => tx.values(table, byGroup, update).toArray(),
)
await compare(
  'entries of an index, shared',
  (tx) => tx.keys(table, byGroup).toArray(),
  (tx) => tx.keys(table, byGroup, { lock: 'share' }).toArray(),
)

for (const waiters of [1_000, 10_000, 100_000]) {
  const begun = await Promise.all(Array.from({ length: waiters }, () => db.begin()))
  const start = process.cpuUsage().user
  await Promise.all(
    begun.map(async (tx, n) => {
      await tx.update(table, 0, { group: -n })
      await tx.commit()
    }),
  )
  const spent = process.cpuUsage().user - start
  console.log(`${waiters.toLocaleString('en')} transactions queueing for one row: ${(spent / waiters).toFixed(1)} µs each`)
}
await db.close()
rmSync(directory, { recursive: true })
