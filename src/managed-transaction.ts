import { NextkeyError } from './base/errors.js'
import type { Database } from './database.js'
import { ISOLATION_LEVELS } from './options.js'
import { Transaction } from './transaction.js'
import {
  checkTransactionOptions,
  type ManagedTransactionOptions,
  type TransactionCore,
  type TransactionOptions,
} from './transaction-core.js'

export type Work<T> = (tx: Transaction) => Promise<T> | T

/** Makes the transaction of one attempt. */
export type MakeCore = (options: TransactionOptions, signal: AbortSignal | undefined) => TransactionCore

/** Runs a function in a transaction, again and again if need be: see Database.transaction. */
export async function runManaged<T>(db: Database, makeCore: MakeCore, work: Work<T>, options: ManagedTransactionOptions): Promise<T> {
  db.mustBeOpen()
  checkTransactionOptions(options, MANAGED_OPTIONS, ISOLATION_LEVELS)
  const { retries = 0, signal } = options
  for (let attempt = 0; ; attempt++) {
    signal?.throwIfAborted()
    try {
      return await runOnce(makeCore(options, signal), work, signal)
    } catch (error) {
      if (attempt >= retries || !(error instanceof NextkeyError && error.retryable)) throw error
      await backOff(db, attempt)
    }
  }
}

async function runOnce<T>(core: TransactionCore, work: Work<T>, signal: AbortSignal | undefined): Promise<T> {
  const tx = new Transaction(core)
  try {
    const result = await core.db.watch.inside(core.trx.owner, () => work(tx))
    signal?.throwIfAborted()
    await tx.commit()
    return result
  } catch (error) {
    await core.db.ends.undo(core, 'was rolled back because its function threw')
    throw error
  }
}

async function backOff(db: Database, attempt: number): Promise<void> {
  const { clock } = db.engine.environment
  const delay = Math.min(LONGEST_BACK_OFF, 2 ** attempt)
  await new Promise<void>((resolve) => clock.setTimer(delay, resolve, true))
}

/** Options of begin() and transactionSync(). */
export const BEGIN_OPTIONS: ReadonlySet<string> = new Set(['isolation', 'snapshotNow', 'readOnly'])
const MANAGED_OPTIONS: ReadonlySet<string> = new Set([...BEGIN_OPTIONS, 'retries', 'signal'])
const LONGEST_BACK_OFF = 100
