import { open } from '../../src/index.js'
import { Prng } from '../support/seeded.js'
import { ACCOUNTS, BALANCE, BRANCHES, memo, openAccounts } from './bank.js'

/**
 * `owner.ts <directory> <seed>`: moves money as fast as it can, with a checkpoint every few milliseconds, until its standard input ends.
 * A transaction that is never committed makes every checkpoint one that holds what nobody may see.
 */
const [directory, seed] = process.argv.slice(2) as [string, string]
const random = new Prng(Number(seed))
const db = await open(directory, {
  durability: 'write',
  cacheSize: 2 ** 21,
  checkpointBytes: 65_536,
  checkpointInterval: 10,
  logSegmentSize: 262_144,
})
const accounts = await openAccounts(db)
await accounts.insertMany(Array.from({ length: ACCOUNTS }, (_, id) => ({ id, branch: id % BRANCHES, balance: BALANCE, memo: memo(1_500) })))
const hidden = await db.begin()
await hidden.put(accounts, { id: 0, branch: 0, balance: 1_000_000, memo: 'nobody sees this' })
await db.checkpoint()
process.stdout.write('ready\n')

let over = false
process.stdin.resume().on('end', () => {
  over = true
})
while (!over) {
  const from = 1 + random.int(ACCOUNTS - 1)
  const to = 1 + ((from + random.int(ACCOUNTS - 2)) % (ACCOUNTS - 1))
  if (from === to) continue
  await db.transaction(async (tx) => {
    await tx.update(accounts, from, (row) => ({ ...row, balance: row.balance - 1, branch: random.int(BRANCHES) }))
    await tx.update(accounts, to, (row) => ({ ...row, balance: row.balance + 1, memo: memo(1_000 + random.int(1_000)) }))
  })
}
await hidden.rollback()
await db.close()
