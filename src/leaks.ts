import type { OrderedList } from './base/ordered-list.js'
import type { TransactionCore } from './transaction-core.js'
import type { ReadView } from './txn/read-view.js'

/** Says, as a process warning, what was still open when a database was closed: each is a forgotten commit, close or loop. */
export function warnOfLeaks(directory: string, transactions: OrderedList<TransactionCore>, views: OrderedList<ReadView>): void {
  const ofTransactions = new Set(Array.from(transactions, (core) => core.trx.view))
  const others = [...views].filter((view) => !ofTransactions.has(view))
  const snapshots = others.filter((view) => view.madeBy !== undefined)
  const parts = [
    count(transactions.size, 'transaction'),
    count(snapshots.length, 'snapshot', ` (${snapshots.map((view) => view.madeBy).join('; ')})`),
    count(others.length - snapshots.length, 'range read'),
  ].filter((part) => part !== '')
  if (parts.length === 0) return
  process.emitWarning(`the database in ${directory} was closed with ${parts.join(', ')} still open: transactions were rolled back`, {
    type: 'NextkeyWarning',
    code: 'NEXTKEY_LEAK',
  })
}

function count(number: number, what: string, places = ''): string {
  return number === 0 ? '' : `${number} ${what}${number === 1 ? '' : 's'}${places}`
}
