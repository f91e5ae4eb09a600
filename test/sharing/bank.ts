import type { Database } from '../../src/database.js'
import type { Table } from '../../src/table.js'

/** Money only moves: whoever sees one state of the bank, whichever it is, sees the same sum. */
export interface Account {
  id: number
  branch: number
  balance: number
  memo: string
}

/** More pages than a reader's cache has frames. */
export const ACCOUNTS = 2_000
export const BALANCE = 100
export const BRANCHES = 20

export function openAccounts(db: Database): Promise<Table<Account>> {
  return db.table<Account>('accounts', { key: 'id', indexes: { branch: { on: 'branch' } } })
}

export function memo(length: number): string {
  return 'm'.repeat(length)
}
