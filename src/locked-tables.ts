import { InvalidArgumentError, NextkeyError } from './base/errors.js'
import type { Database } from './database.js'
import type { LockOwner } from './lock/lock-owner.js'
import { MetadataLock } from './lock/metadata-modes.js'
import { Scope } from './lock/metadata-object.js'
import { BEGIN_OPTIONS, runManaged, type Work } from './managed-transaction.js'
import { ISOLATION_LEVELS } from './options.js'
import { type CoarseWait, checkCoarseWait, SchemaLocks } from './schema-locks.js'
import type { Table } from './table.js'
import { Transaction } from './transaction.js'
import { checkTransactionOptions, type ManagedTransactionOptions, TransactionCore, type TransactionOptions } from './transaction-core.js'
import { TrxState } from './txn/trx.js'

/** A table, whatever its rows are. */
export type AnyTable = Pick<Table, 'name' | 'definition'>

export interface TablesToLock {
  /** Nobody changes these while they are locked. */
  read?: readonly AnyTable[]
  /** Nobody else changes these, locks rows of them, or reads them in a transaction. */
  write?: readonly AnyTable[]
}

/**
 * Tables that are locked across transactions (LOCK TABLES): until `unlock()`, whatever its transactions do. They run one at a time, by
 * `begin` and `transaction`, and are the only ones that can use the tables; they may use other tables too.
 */
export class LockedTables {
  readonly #db: Database
  readonly #locks: SchemaLocks
  /** The last transaction begun. */
  #core: TransactionCore | undefined
  #unlocked = false
  /** A schema change is under way. */
  #changing = false

  private constructor(db: Database, locks: SchemaLocks) {
    this.#db = db
    this.#locks = locks
    locks.owner.keepsExplicit = true
  }

  /** @internal Use `db.lockTables`. */
  static async lock(db: Database, { read = [], write = [] }: TablesToLock, options: CoarseWait): Promise<LockedTables> {
    checkCoarseWait(options, 'lockTables()')
    const wanted = [
      ...read.map((table) => ({ table, lock: MetadataLock.SRO as const })),
      ...write.map((table) => ({ table, lock: MetadataLock.SNRW as const })),
    ]
    if (wanted.length === 0) throw new InvalidArgumentError('lockTables() takes tables to lock, as { read: […], write: […] }')
    const named = wanted.map((each) => ({ ...each, name: db.storeOf(each.table).name }))
    // In one order, so that two of them never wait for each other; a table given twice is locked in its stronger mode first.
    named.sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : b.lock - a.lock))
    const locks = new SchemaLocks(db, `LOCK TABLES ${named.map(({ name }) => name).join(', ')}`, options)
    try {
      if (write.length > 0) await locks.change()
      await locks.lockScope(Scope.TableLocks, MetadataLock.IX)
      for (const { table, lock } of named) await locks.lockTable(table, lock)
    } catch (error) {
      locks.release()
      throw error
    }
    return new LockedTables(db, locks)
  }

  /** A transaction of the caller's to end; the tables stay locked. Raises ERR_TRANSACTION_OPEN while another one is. */
  async begin(options: TransactionOptions = {}): Promise<Transaction> {
    checkTransactionOptions(options, BEGIN_OPTIONS, ISOLATION_LEVELS)
    return new Transaction(this.#makeCore(options, undefined))
  }

  /** As `db.transaction`, under these locks. */
  transaction<T>(work: Work<T>, options: ManagedTransactionOptions = {}): Promise<T> {
    return runManaged(this.#db, (own, signal) => this.#makeCore(own, signal), work, options)
  }

  /** Gives the tables back. Raises ERR_TRANSACTION_OPEN while a transaction under these locks is. */
  unlock(): void {
    this.#mustBeIdle('the tables cannot be unlocked')
    this.#unlocked = true
    this.#locks.owner.keepsExplicit = false
    this.#locks.release()
  }

  /** Rolls back a transaction that is still open, and unlocks. */
  [Symbol.dispose](): void {
    this.#core?.rollback('was rolled back when its table locks left their scope')
    if (!this.#unlocked) this.unlock()
  }

  /** @internal A schema change under these locks: they wait for it, and lend it their owner. Raises as `begin` does. */
  beginChange(db: Database): LockOwner {
    if (db !== this.#db) throw new InvalidArgumentError('the table locks are of another database')
    this.#mustBeLocked()
    this.#changing = true
    return this.#locks.owner
  }

  /** @internal */
  endChange(): void {
    this.#changing = false
  }

  #makeCore(options: TransactionOptions, signal: AbortSignal | undefined): TransactionCore {
    this.#db.mustBeOpen()
    this.#mustBeLocked()
    this.#core = new TransactionCore(this.#db, options, signal, this.#locks.owner)
    return this.#core
  }

  #mustBeLocked(): void {
    if (this.#unlocked) throw new NextkeyError('ERR_TRANSACTION_ENDED', 'these tables were unlocked: lock them again')
    this.#mustBeIdle('no other can begin')
  }

  #mustBeIdle(what: string): void {
    if (this.#changing)
      throw new NextkeyError('ERR_TRANSACTION_OPEN', `${what} while a schema change under the same table locks is under way`)
    const state = this.#core?.trx.state
    if (state === TrxState.Active || state === TrxState.Committing)
      throw new NextkeyError('ERR_TRANSACTION_OPEN', `${what} while a transaction under the same table locks is open: end it first`)
  }
}
