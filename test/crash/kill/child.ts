import { writeSync } from 'node:fs'
import { NextkeyError } from '../../../src/base/errors.js'
import type { SyncTransaction } from '../../../src/sync-transaction.js'
import type { Transaction } from '../../../src/transaction.js'
import { Prng } from '../../support/seeded.js'
import { ACCOUNTS, type Bank, type Entry, FORBIDDEN, furnish, openBank, PLACES } from './bank.js'

/**
 * The process that is killed: `child.ts <directory> <seed>`. Its clients do transactions as fast as they can, for ever. It says what
 * it does through descriptor 3, by calls that return when the parent has it: `opening`, `open`, and `<client> <number>` for each
 * transaction that was acknowledged.
 */
async function main(directory: string, seed: number): Promise<void> {
  say('opening')
  const bank = await openBank(directory)
  await furnish(bank)
  const random = new Prng(seed)
  const clients = Array.from(bank.clients.values(), ({ id, last }) => new BankClient(bank, id, last, random.fork()))
  // What recovery has brought back is on disk.
  for (const { id, last } of clients) say(`${id} ${last}`)
  say('open')
  await Promise.all(clients.map((client) => client.run()))
}

class BankClient {
  readonly id: number
  last: number
  readonly #bank: Bank
  readonly #random: Prng

  constructor(bank: Bank, id: number, last: number, random: Prng) {
    this.#bank = bank
    this.id = id
    this.last = last
    this.#random = random
  }

  async run(): Promise<never> {
    for (;;) {
      const number = this.last + 1
      try {
        await this.#transact(number)
      } catch (error) {
        if (!(error instanceof NextkeyError && error.retryable)) throw error
        // Let whoever is in the way go on.
        await new Promise(setImmediate)
        continue
      }
      this.last = number
      say(`${this.id} ${number}`)
    }
  }

  async #transact(number: number): Promise<void> {
    const { db } = this.#bank
    const dice = this.#random.int(100)
    if (dice < 15) await this.#changeOfMind(number)
    else if (dice < 40) this.#atOnce(number)
    else if (dice < 60) await db.transaction((tx) => this.#transfer(tx, number))
    else {
      await using tx = await db.begin({ isolation: this.#random.pick(['repeatable-read', 'read-committed', 'serializable'] as const) })
      await this.#transfer(tx, number)
      await tx.commit()
      return
    }
    if (dice < 15) await db.transaction((tx) => this.#transfer(tx, number))
  }

  async #transfer(tx: Transaction, number: number): Promise<void> {
    const { accounts, ledger, queue, clients } = this.#bank
    const entry = this.#entry(number)
    await tx.insert(ledger, entry)
    if (this.#random.int(10) === 0) await this.#stumble(tx, entry)
    await tx.update(accounts, entry.from, (account) => ({ ...account, balance: account.balance - entry.amount }))
    if (this.#random.int(4) === 0) await new Promise(setImmediate)
    await tx.update(accounts, entry.to, (account) => ({ ...account, balance: account.balance + entry.amount }))
    await tx.insert(queue, { client: this.id, number })
    if (number > PLACES) await tx.delete(queue, [this.id, number - PLACES])
    await tx.put(clients, { id: this.id, last: number })
  }

  #atOnce(number: number): void {
    const { db, accounts, ledger, queue, clients } = this.#bank
    const entry = this.#entry(number)
    db.transactionSync((tx: SyncTransaction) => {
      tx.update(accounts, entry.from, (account) => ({ ...account, balance: account.balance - entry.amount }))
      tx.update(accounts, entry.to, (account) => ({ ...account, balance: account.balance + entry.amount }))
      tx.insert(ledger, entry)
      tx.insert(queue, { client: this.id, number })
      if (number > PLACES) tx.delete(queue, [this.id, number - PLACES])
      tx.put(clients, { id: this.id, last: number })
    })
  }

  /** A statement that fails, and one that is taken back: of neither anything may be left. */
  async #stumble(tx: Transaction, entry: Entry): Promise<void> {
    const { ledger, accounts } = this.#bank
    const savepoint = tx.savepoint()
    await tx.update(accounts, entry.from, (account) => ({ ...account, balance: FORBIDDEN, branch: 'nowhere' }))
    try {
      await tx.insert(ledger, { ...entry, amount: FORBIDDEN })
    } catch (error) {
      if (!(error instanceof NextkeyError && error.code === 'ERR_DUPLICATE_KEY')) throw error
    }
    await tx.rollbackTo(savepoint)
  }

  async #changeOfMind(number: number): Promise<void> {
    const { db, ledger, accounts } = this.#bank
    const entry = this.#entry(number)
    await using tx = await db.begin()
    await tx.insert(ledger, { ...entry, amount: FORBIDDEN })
    await tx.delete(accounts, entry.to)
    await tx.rollback()
  }

  #entry(number: number): Entry {
    const random = this.#random
    const from = 1 + random.int(ACCOUNTS)
    const to = 1 + ((from + random.int(ACCOUNTS - 1)) % ACCOUNTS)
    // Now and then longer than a page.
    const length = random.int(40) === 0 ? random.int(60_000) : random.int(200)
    return { client: this.id, number, from, to, amount: 1 + random.int(50), memo: 'memo '.repeat(length / 5) }
  }
}

function say(what: string): void {
  writeSync(3, `${what}\n`)
}

await main(process.argv[2], Number(process.argv[3]))
