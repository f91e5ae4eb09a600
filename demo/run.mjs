/**
 * `npm start`: the whole story on real data, in under a minute. Load, ask, transfer, kill, recover; every claim is checked as it is made.
 *
 * Options: --keep leaves the database where it is and says where.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { open } from 'nextkey'
import { accountCount, expectedSum, foundBank, openBank, randomOrder, sumOfBalances, transfer } from './bank.mjs'
import { ask, load, readCities } from './cities.mjs'
import { killAndRecover } from './crash.mjs'
import { count, duration, explain, failedVerdicts, heading, say, show, verdict } from './terminal.mjs'

const kills = 3
const { keep } = parseArgs({ options: { keep: { type: 'boolean', default: false } } }).values
const root = mkdtempSync(join(tmpdir(), 'nextkey-demo-'))
const directory = join(root, 'database')
const started = performance.now()
for (const signal of /** @type {const} */ (['SIGINT', 'SIGTERM'])) {
  process.once(signal, () => {
    cleanUp()
    process.exit(130)
  })
}

try {
  await main()
} catch (error) {
  process.exitCode = 1
  say(`\nThe demo stopped: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`)
} finally {
  cleanUp()
}

function cleanUp() {
  if (keep) say(`\nThe database is in ${directory}`)
  else rmSync(root, { recursive: true, force: true })
}

async function main() {
  say('nextkey: an embedded transactional key-value store. This demo loads real data, asks, changes and crashes it.')

  heading(1, 'Load a data set')
  explain('   Places of GeoNames with more than 1,000 inhabitants (geonames.org, CC BY 4.0).')
  const source = readCities()
  const db = await open(directory)
  try {
    const tables = await load(db, source)

    heading(2, 'Ask through the indexes')
    explain('   Each question is asked twice and the second time is shown, when the code is compiled and the pages are in memory.')
    ask(tables, source)

    heading(3, 'Many transactions at once')
    await transferConcurrently(db)
  } finally {
    await db.close()
  }

  heading(4, 'Kill it in the middle')
  explain(
    `   Another process goes on transferring, 32 transactions open at a time. A file outside the database notes each transfer once it is`,
  )
  explain(`   acknowledged. The process is killed with SIGKILL, ${kills} times, and what it left is opened and checked.`)
  explain('   (This shows a crash of the process. Loss of power is another matter: npm test crashes a simulated disk at every write.)')
  for (let i = 0; i < kills; i++) {
    await killAndRecover(directory, join(root, 'acknowledged'))
    if (i < kills - 1) say()
  }

  const failed = failedVerdicts()
  say(
    `\n${failed === 0 ? 'Everything held' : `${failed} ${failed === 1 ? 'claim' : 'claims'} did not hold`}, in ${duration(performance.now() - started)}.`,
  )
  say(
    'Read next: README.md for the ten-line example, docs/guarantees.md for what survives what, docs/architecture.md for how. npm run bench compares it with lmdb.',
  )
  if (failed > 0) process.exitCode = 1
}

/** @param {import('nextkey').Database} db */
async function transferConcurrently(db) {
  const bank = await openBank(db)
  await foundBank(bank)
  const clients = 64
  const transfersPerClient = 50
  const waitMs = 2
  explain(
    `   ${clients} clients transfer money between ${accountCount} accounts, each waiting ${waitMs} ms in the middle as if for another service.`,
  )
  show('await db.transaction(async (tx) => {')
  show('  await tx.update(accounts, from, (a) => ({ ...a, balance: a.balance - amount }))')
  show(`  await somethingSlow()                        // ${clients - 1} other transactions go on meanwhile`)
  show('  await tx.update(accounts, to, (a) => ({ ...a, balance: a.balance + amount }))')
  show('}, { retries: 1000 })                          // who meets an account in use is tried again')
  let attempts = 0
  const begun = performance.now()
  await Promise.all(
    Array.from({ length: clients }, async () => {
      for (let i = 0; i < transfersPerClient; i++) {
        const done = await transfer(db, bank, randomOrder(), () => sleep(waitMs))
        attempts += done.attempts
      }
    }),
  )
  const elapsed = performance.now() - begun
  const transfers = clients * transfersPerClient
  say(
    `   ${count(transfers)} transfers committed in ${duration(elapsed)}, ${count(attempts - transfers)} attempts repeated after a conflict; one at a time, the waits alone are ${duration(transfers * waitMs)}`,
  )
  verdict(bank.ledger.count() === transfers, `the ledger has ${count(transfers)} entries`)
  const sum = sumOfBalances(bank)
  verdict(sum === expectedSum, `the accounts still hold ${count(sum)} together`)
}
