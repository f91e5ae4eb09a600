import assert from 'node:assert/strict'
import { NextkeyError, open } from '../../src/index.js'
import { Prng } from '../support/seeded.js'
import { ACCOUNTS, type Account, BALANCE, openAccounts } from './bank.js'

/**
 * `reader.ts <directory> <seed> <seconds>`: looks at the bank beside its owner, for so long and until it has seen enough; then says, as
 * JSON, how often it saw a whole state, checked one, was told that one is gone, and moved on. Anything else ends it with an error.
 */
const [directory, seed, seconds] = process.argv.slice(2) as [string, string, string]
const random = new Prng(Number(seed))
const end = performance.now() + Number(seconds) * 1000
const ENOUGH = 3
const report = { right: 0, checked: 0, gone: 0, moved: 0, gets: 0 }
await using db = await open(directory, { readOnly: true, unsafeShared: true, cacheSize: 2 ** 21 })
const accounts = await openAccounts(db)

const looks: (() => Iterable<Account>)[] = [
  () => accounts.values(),
  () => accounts.values({ reverse: true }),
  () => accounts.index('branch').values(),
  () => accounts.getMany(Array.from({ length: ACCOUNTS }, (_, id) => id)) as Account[],
]

while (performance.now() < end || report.right < ENOUGH || report.moved < ENOUGH) {
  const look = looks[random.int(looks.length)] as () => Iterable<Account>
  await attempt(() => {
    let sum = 0
    let count = 0
    for (const { balance } of look()) {
      sum += balance
      count++
    }
    assert.deepEqual({ sum, count }, { sum: ACCOUNTS * BALANCE, count: ACCOUNTS })
    report.right++
  })
  await attempt(() => {
    using view = db.snapshot()
    const sum = view
      .values(accounts)
      .toArray()
      .reduce((total, { balance }) => total + balance, 0)
    assert.equal(sum, view.count(accounts) * BALANCE)
    report.right++
  })
  for (let gets = 0; gets < 20; gets++, report.gets++) assert.equal(accounts.get(random.int(ACCOUNTS)) !== undefined, true)
  assert.equal(accounts.get(0)?.balance, BALANCE)
  await attempt(async () => {
    if (await db.refresh()) report.moved++
  })
  if (random.int(4) > 0) continue
  await attempt(async () => {
    const { problems } = await db.check()
    assert.deepEqual(problems, [])
    report.checked++
  })
}
process.stdout.write(`${JSON.stringify(report)}\n`)

async function attempt(work: () => unknown): Promise<void> {
  try {
    await work()
  } catch (error) {
    if (!(error instanceof NextkeyError && error.code === 'ERR_SNAPSHOT_GONE' && error.retryable)) throw error
    report.gone++
  }
}
