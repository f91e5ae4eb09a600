import type { Database } from '../../../src/database.js'
import { open } from '../../../src/index.js'
import type { Table } from '../../../src/table.js'

/**
 * The bank of the kill loop. Each transaction of a client, numbered from 1, moves money between two accounts, writes that into the
 * ledger, takes its place in a queue that its eighth-but-last transaction leaves, and notes its number. So all of it is known from the
 * numbers alone: what is there of a client is what its transactions 1 … last did, whole.
 */
export interface Account {
  id: number
  branch: string
  balance: number
}

export interface Entry {
  client: number
  number: number
  from: number
  to: number
  amount: number
  memo: string
}

export interface Place {
  client: number
  number: number
}

export interface Client {
  id: number
  last: number
}

export interface Bank {
  readonly db: Database
  readonly accounts: Table<Account>
  readonly ledger: Table<Entry>
  readonly queue: Table<Place>
  readonly clients: Table<Client>
}

export const ACCOUNTS = 30
export const CLIENTS = 6
export const OPENING_BALANCE = 1_000
/** Places that a client has in the queue. */
export const PLACES = 8
/** The amount of entries that are rolled back: nobody must ever see one. */
export const FORBIDDEN = -1

/** Small segments, cache and checkpoints: the more there is to interrupt. The lock must be free at once. */
export async function openBank(directory: string): Promise<Bank> {
  const db = await open(directory, {
    durability: 'sync',
    cacheSize: 2 * 2 ** 20,
    logSegmentSize: 131_072,
    checkpointBytes: 262_144,
    checkpointInterval: 200,
    waitForLock: 0,
  })
  return {
    db,
    accounts: await db.table<Account>('accounts', { key: 'id', indexes: { branch: { on: 'branch' }, balance: { on: 'balance' } } }),
    ledger: await db.table<Entry>('ledger', {
      key: ['client', 'number'],
      indexes: { from: { on: 'from' }, to: { on: ['to', 'amount'] }, receipt: { on: ['number', 'client'], unique: true } },
    }),
    queue: await db.table<Place>('queue', { key: ['client', 'number'], indexes: { number: { on: 'number' } } }),
    clients: await db.table<Client>('clients', { key: 'id' }),
  }
}

/** All of it in one transaction; nothing if that was done before. */
export async function furnish({ db, accounts, clients }: Bank): Promise<void> {
  if (accounts.count() > 0) return
  await db.transaction(async (tx) => {
    for (let id = 1; id <= ACCOUNTS; id++) await tx.insert(accounts, { id, branch: `branch-${id % 4}`, balance: OPENING_BALANCE })
    for (let id = 1; id <= CLIENTS; id++) await tx.insert(clients, { id, last: 0 })
  })
}
