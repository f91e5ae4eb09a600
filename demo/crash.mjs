import { spawn } from 'node:child_process'
import { readFileSync, statSync, writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { open } from 'nextkey'
import { accountsOffTheLedger, expectedSum, openBank, sumOfBalances } from './bank.mjs'
import { count, duration, say, verdict } from './terminal.mjs'

const childPath = fileURLToPath(new URL('crash-child.mjs', import.meta.url))
/** How long the victim may take to acknowledge its first transfers. */
const patienceMs = 20_000

/**
 * Lets another process transfer money, kills it in the middle, opens what it left and checks it. The database is closed on entry and on return.
 * @param {string} directory
 * @param {string} acknowledgements where the victim writes what was acknowledged
 */
export async function killAndRecover(directory, acknowledgements) {
  writeFileSync(acknowledgements, '')
  const child = spawn(process.execPath, [childPath, directory, acknowledgements], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
  const ended = new Promise((resolve) => child.once('exit', (code, signal) => resolve(signal ?? `status ${code}`)))
  await waitForAcknowledgements(acknowledgements, child)
  await sleep(300 + Math.random() * 500)
  child.kill('SIGKILL')
  const end = await ended
  const acknowledged = readFileSync(acknowledgements, 'utf8').split('\n').filter(Boolean).map(Number)
  say(`   process ${child.pid} ended by ${end}; it had been told of ${count(acknowledged.length)} committed transfers`)

  const started = performance.now()
  const db = await open(directory)
  try {
    say(`   opened again in ${duration(performance.now() - started)}, recovery included`)
    const bank = await openBank(db)
    const missing = acknowledged.filter((id) => !bank.ledger.has(id))
    verdict(end === 'SIGKILL' && acknowledged.length > 0, 'it was killed at work, without a chance to close anything')
    verdict(
      missing.length === 0,
      `every acknowledged transfer is in the ledger${missing.length > 0 ? `: ${count(missing.length)} are not` : ''}`,
    )
    const sum = sumOfBalances(bank)
    verdict(sum === expectedSum, `the accounts hold ${count(sum)} together, as on the first day`)
    const wrong = accountsOffTheLedger(bank)
    verdict(
      wrong.length === 0,
      `no transfer survived in part: every balance is what the ledger makes it${wrong.length > 0 ? ` (not so: accounts ${wrong.join(', ')})` : ''}`,
    )
    const report = await db.check()
    verdict(report.problems.length === 0, 'db.check() finds every page, row and index entry in order')
  } finally {
    await db.close()
  }
}

/**
 * @param {string} path
 * @param {import('node:child_process').ChildProcess} child
 */
async function waitForAcknowledgements(path, child) {
  const deadline = performance.now() + patienceMs
  while (statSync(path).size === 0) {
    if (child.exitCode !== null) throw new Error(`the transferring process ended by itself with status ${child.exitCode}`)
    if (performance.now() > deadline) {
      child.kill('SIGKILL')
      throw new Error(`the transferring process acknowledged nothing within ${duration(patienceMs)}`)
    }
    await sleep(20)
  }
}
