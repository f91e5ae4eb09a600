import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Readable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import { Prng } from '../../support/seeded.js'
import { ACCOUNTS, type Bank, CLIENTS, FORBIDDEN, OPENING_BALANCE, openBank, PLACES } from './bank.js'

/**
 * Real processes on a real disk, killed with SIGKILL at random moments: while they open and recover, and while they work. After one or
 * more kills the bank is opened, at once, and must hold exactly what its clients were told, and perhaps, of each, the one transaction
 * that was under way.
 */
export interface KillSettings {
  readonly seed: number
  readonly seconds: number
  readonly kills: number
}

export interface KillReport {
  kills: number
  /** Of these, while the process was opening the bank. */
  whileOpening: number
  /** Times the bank was looked at. */
  verified: number
  /** Acknowledged, over all banks. */
  transactions: number
}

export class KillFailure extends Error {
  override readonly name = 'KillFailure'
}

export async function killLoop({ seed, seconds, kills }: KillSettings): Promise<KillReport> {
  const random = new Prng(seed)
  const end = performance.now() + seconds * 1000
  const total: KillReport = { kills: 0, whileOpening: 0, verified: 0, transactions: 0 }
  while (total.kills < kills && performance.now() < end) {
    const directory = mkdtempSync(join(tmpdir(), 'nextkey-kill-'))
    const round = new Round(directory, random.fork(), total)
    try {
      while (round.transactions < MOST_TRANSACTIONS && total.kills < kills && performance.now() < end) await round.next()
      await round.verify()
      total.transactions += round.transactions
    } catch (error) {
      throw new KillFailure(
        `seed ${seed}, kill ${total.kills}: ${(error as Error).message}\nWhat was left: ${directory}\nTo try again: npm run crash -- --kill --seed ${seed}`,
        { cause: error },
      )
    }
    rmSync(directory, { recursive: true })
  }
  return total
}

/** The life of one bank. */
class Round {
  readonly #directory: string
  readonly #random: Prng
  readonly #total: KillReport
  /** Number of the newest transaction that each client was told of. */
  readonly #acknowledged: Map<number, number> = new Map()
  /** Kills since the bank was verified: each may have let one more of each client survive. */
  #unverified = 0

  constructor(directory: string, random: Prng, total: KillReport) {
    this.#directory = directory
    this.#random = random
    this.#total = total
  }

  /** Transactions that were acknowledged. */
  get transactions(): number {
    let sum = 0
    for (const number of this.#acknowledged.values()) sum += number
    return sum
  }

  /** Lets a process work for a while, kills it, and often looks at what is left. */
  async next(): Promise<void> {
    const random = this.#random
    const whileOpening = random.int(4) === 0
    const delay = whileOpening ? random.int(LONGEST_OPENING_MS) : random.int(random.bool() ? 60 : LONGEST_WORK_MS)
    const child = spawn(process.execPath, ['--import', 'tsx', CHILD, this.#directory, `${random.next()}`], {
      stdio: ['ignore', 'ignore', 'pipe', 'pipe'],
    })
    const life = new ChildLife(child, this.#acknowledged)
    await life.said(whileOpening ? 'opening' : 'open')
    await new Promise((resolve) => setTimeout(resolve, delay))
    child.kill('SIGKILL')
    await life.over()
    this.#total.kills++
    if (whileOpening) this.#total.whileOpening++
    this.#unverified++
    if (random.int(3) > 0) await this.verify()
  }

  async verify(): Promise<void> {
    // The lock must be free: its holder is dead.
    const bank = await openBank(this.#directory)
    try {
      verifyBank(bank, this.#acknowledged, this.#unverified)
      // Recovery has put on disk what it has shown: none of it may go any more.
      for (const { id, last } of bank.clients.values()) this.#acknowledged.set(id, last)
      const { problems } = await bank.db.check()
      must(problems.length === 0, `db.check() finds:\n  ${problems.join('\n  ')}`)
    } finally {
      await bank.db.close()
    }
    this.#unverified = 0
    this.#total.verified++
  }
}

/** A child process, and what it says. */
class ChildLife {
  readonly #end: Promise<void>
  readonly #said: Map<string, () => void> = new Map()
  readonly #heard: Set<string> = new Set()
  #died: (error: Error) => void = () => {}

  constructor(child: ChildProcess, acknowledged: Map<number, number>) {
    let complaint = ''
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      complaint += text
    })
    createInterface({ input: child.stdio[3] as Readable }).on('line', (line) => {
      const [client, number] = line.split(' ')
      if (number !== undefined) acknowledged.set(Number(client), Number(number))
      this.#heard.add(line)
      this.#said.get(line)?.()
    })
    this.#end = new Promise((resolve, reject) => {
      // When its pipes are at their end, too: all that it said was heard.
      child.on('close', (code, signal) => {
        if (signal === 'SIGKILL') return resolve()
        const error = new Error(`the process ended by itself, with ${signal ?? code}:\n${complaint}`)
        this.#died(error)
        reject(error)
      })
    })
    this.#end.catch(() => {})
  }

  said(what: string): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#died = reject
      if (this.#heard.has(what)) resolve()
      this.#said.set(what, resolve)
    })
  }

  over(): Promise<void> {
    return this.#end
  }
}

function verifyBank(bank: Bank, acknowledged: ReadonlyMap<number, number>, kills: number): void {
  const balances = new Map<number, number>()
  if (bank.accounts.count() === 0) {
    must(
      [...acknowledged.values()].every((number) => number === 0),
      'the bank is empty',
    )
    return
  }
  for (let id = 1; id <= ACCOUNTS; id++) balances.set(id, OPENING_BALANCE)
  const clients = [...bank.clients.values()]
  must(clients.length === CLIENTS, `there are ${clients.length} clients, not ${CLIENTS}`)
  for (const { id, last } of clients) {
    const told = acknowledged.get(id) ?? 0
    must(last >= told, `client ${id} was told of transaction ${told}, but the last one that is there is ${last}`)
    must(last <= told + kills, `client ${id} has done ${last} transactions, but was told of ${told} only, and died ${kills} time(s) since`)
    verifyClient(bank, id, last, balances)
  }
  must(bank.ledger.count() === clients.reduce((sum, { last }) => sum + last, 0), 'the ledger has entries of nobody')
  verifyAccounts(bank, balances)
}

/** Entries 1 … last, and the places of the last few, are there, and nothing else. Adds up the money. */
function verifyClient({ ledger, queue }: Bank, id: number, last: number, balances: Map<number, number>): void {
  let number = 0
  for (const entry of ledger.values({ prefix: [id] })) {
    number++
    must(entry.number === number, `of client ${id} entry ${number} is missing: ${entry.number} comes next`)
    must(entry.amount !== FORBIDDEN, `entry ${number} of client ${id} was rolled back, and is there`)
    must(entry.memo === 'memo '.repeat(entry.memo.length / 5), `the memo of entry ${number} of client ${id} is damaged`)
    balances.set(entry.from, (balances.get(entry.from) as number) - entry.amount)
    balances.set(entry.to, (balances.get(entry.to) as number) + entry.amount)
  }
  must(number === last, `client ${id} has ${number} entries, but has done ${last} transactions`)
  const places = Array.from(queue.values({ prefix: [id] }), (place) => place.number)
  const wanted = Array.from({ length: Math.min(PLACES, last) }, (_, at) => Math.max(0, last - PLACES) + 1 + at)
  must(`${places}` === `${wanted}`, `client ${id} has the places ${places}, not ${wanted}`)
}

function verifyAccounts({ accounts, ledger }: Bank, balances: ReadonlyMap<number, number>): void {
  let sum = 0
  for (const { id, branch, balance } of accounts.values()) {
    must(branch === `branch-${id % 4}`, `account ${id} is of ${branch}`)
    must(balance === balances.get(id), `account ${id} has ${balance}, but its entries come to ${balances.get(id)}`)
    sum += balance
  }
  must(accounts.count() === ACCOUNTS, `there are ${accounts.count()} accounts, not ${ACCOUNTS}`)
  must(sum === ACCOUNTS * OPENING_BALANCE, `there is ${sum} in all accounts, not ${ACCOUNTS * OPENING_BALANCE}`)
  const byBalance = Array.from(accounts.index('balance').values(), ({ balance }) => balance)
  must(`${byBalance}` === `${[...balances.values()].sort((a, b) => a - b)}`, 'the index of balances has others than the accounts')
  must(ledger.index('receipt').count() === ledger.count(), 'the ledger and its receipts differ')
}

function must(condition: boolean, otherwise: string): asserts condition {
  if (!condition) throw new Error(otherwise)
}

const CHILD = fileURLToPath(new URL('child.ts', import.meta.url))
const LONGEST_OPENING_MS = 40
const LONGEST_WORK_MS = 500
/** A larger bank takes longer to look at than it is worth. */
const MOST_TRANSACTIONS = 20_000
