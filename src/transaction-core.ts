import { describe, InvalidArgumentError, NextkeyError } from './base/errors.js'
import { KeyBuffer } from './codec/key-encoding.js'
import type { Database } from './database.js'
import { insertOptions } from './insert-options.js'
import { LockMode } from './lock/lock-modes.js'
import { IdleSince, type LockOwner } from './lock/lock-owner.js'
import { LockResult } from './lock/lock-request.js'
import { MetadataLock } from './lock/metadata-modes.js'
import { encodeRange, type Range } from './range.js'
import type { Results } from './results.js'
import { insertInto, putInto } from './row-arguments.js'
import { encodeTableKey } from './row-statements.js'
import type { Target } from './statements.js'
import { TransactionTableLocks } from './transaction-table-locks.js'
import { StatementValues } from './txn/auto-increment.js'
import type { LockRange } from './txn/locking-scan.js'
import { finish, type Outcome, Remaining, type Steps } from './txn/outcome.js'
import { Want } from './txn/range-scan.js'
import type { ReadView } from './txn/read-view.js'
import type { Visibility } from './txn/row-reader.js'
import type { IndexStore, TableStore } from './txn/table-store.js'
import type { Use } from './txn/table-use.js'
import { type IsolationLevel, markOf, type Trx, TrxState, type UndoMark } from './txn/trx.js'
import { undoInSlices } from './undoing.js'
import { policyOf, type WaitOption } from './wait-option.js'

export interface TransactionOptions {
  isolation?: IsolationLevel
  /** Makes the read view at once instead of at the first consistent read (START TRANSACTION WITH CONSISTENT SNAPSHOT). Default false. */
  snapshotNow?: boolean
  /** Refuses writes and locking reads. Default false. */
  readOnly?: boolean
}

export interface ManagedTransactionOptions extends TransactionOptions {
  /** How many more times to try after a deadlock or conflict. Default 0. */
  retries?: number
  signal?: AbortSignal
}

export interface TransactionRange extends Range {
  /** Index to read through; left out, the primary key. */
  index?: string
  /** With `eq` on a secondary index: the entry of the row with this key alone. */
  primaryKey?: unknown
  /** Rows that do not match are left out. Under READ COMMITTED and below, locking statements let go of them again. */
  where?: (row: never) => boolean
}

export interface LockOptions extends WaitOption {
  /** 'share': others may read the row, and lock it so, but not change it; 'update': it is this transaction's to change. */
  lock?: 'share' | 'update'
}

/** A point to which a transaction can be rolled back. */
export interface Savepoint {
  readonly mark: UndoMark
  /** The transaction had done nothing yet: neither locked, nor written, nor read. */
  readonly atBeginning: boolean
  /** The metadata locks it held. */
  readonly metadata: readonly number[]
  readonly number: number
}

/**
 * What all forms of a transaction share: the core transaction, its state, its reads and writes, as steps.
 * @internal
 */
export class TransactionCore {
  readonly db: Database
  readonly trx: Trx
  readonly readOnly: boolean
  readonly signal: AbortSignal | undefined
  readonly #isolation: IsolationLevel
  #tableLocks: TransactionTableLocks | undefined
  /** Said to whoever uses the transaction after its end. */
  ended: string | undefined
  /** Its neighbours among the open ones. */
  before: TransactionCore | null = null
  after: TransactionCore | null = null
  /** When it began, by the monotonic clock, ms; undefined for one that ends within the call it began in. */
  begunAt: number | undefined
  /** Somebody was told that it is open for long. */
  isKnownLong = false
  /** It is being rolled back, and still among the open ones. */
  #isUndoing = false
  #savepoints = 0
  /** Without those that a rollback to an earlier one has undone. */
  #validSavepoints: Savepoint[] = []

  /** @param owner Whose metadata locks are the transaction's too, under LOCK TABLES. */
  constructor(db: Database, options: TransactionOptions, signal?: AbortSignal, owner?: LockOwner) {
    this.db = db
    this.signal = signal
    this.readOnly = options.readOnly === true || db.engine.shared !== undefined
    this.#isolation = options.isolation ?? db.options.isolation
    this.trx = db.engine.begin(this.#isolation, owner)
    // Below REPEATABLE READ a view is for one statement.
    if (options.snapshotNow === true && this.trx.takesGapLocks) this.trx.view = db.engine.system.openView(this.trx.trxId)
    db.register(this)
  }

  mustBeOpen(): void {
    if (this.ended !== undefined) {
      throw new NextkeyError('ERR_TRANSACTION_ENDED', `this transaction ${this.ended}: begin another one`)
    }
    this.db.mustBeOpen()
  }

  /** What a consistent read of this transaction shows; a READ COMMITTED view is for one statement, and closed at its end. */
  visibility(): Visibility {
    if (this.#isolation === 'read-uncommitted') return 'newest'
    const { trx } = this
    if (trx.view === undefined) trx.view = this.db.engine.system.openView(trx.trxId)
    else trx.view.mustLast()
    return trx.view
  }

  /**
   * One statement, atomic, and under the metadata lock for what it does to the table. A deadlock or a conflict ends the transaction;
   * whatever else is raised undoes the statement alone. With 'nowait', nothing in it waits: for a row, a gap, an index entry or the table.
   */
  statement<T>(work: () => Outcome<T>, wait?: WaitOption['wait'], table?: object, use: Use = MetadataLock.SR): Outcome<T> {
    this.mustBeOpen()
    const { trx } = this
    const { mayWait } = trx
    if (wait === 'nowait') trx.mayWait = false
    trx.owner.idleSince = IdleSince.Busy
    const mark = this.db.statements.mark(trx)
    try {
      const taken = table === undefined ? LockResult.AlreadyHeld : this.db.tableUse.try(trx, this.db.storeOf(table), use)
      const outcome =
        taken > LockResult.AlreadyHeld ? new Remaining(this.#useLater(work, table as object, use, taken)) : this.#perform(work)
      if (outcome instanceof Remaining) return new Remaining(this.#goOn(outcome.steps, mark, mayWait))
      this.db.engine.payDebts()
      this.#endStatement(mayWait)
      return outcome
    } catch (caught) {
      return new Remaining(this.#fail(mark, mayWait, caught))
    }
  }

  #perform<T>(work: () => Outcome<T>): Outcome<T> {
    if (this.#isolation === 'snapshot') this.visibility()
    return work()
  }

  *#useLater<T>(work: () => Outcome<T>, table: object, use: Use, taken: LockResult): Steps<T> {
    yield* this.db.tableUse.wait(this.trx, () => this.db.storeOf(table), use, taken)
    return yield* finish(this.#perform(work))
  }

  *#goOn<T>(steps: Steps<T>, mark: UndoMark, mayWait: boolean): Steps<T> {
    try {
      const result = yield* steps
      this.db.engine.payDebts()
      return result
    } catch (caught) {
      throw yield* this.#undoFailed(mark, caught)
    } finally {
      this.#endStatement(mayWait)
    }
  }

  *#fail(mark: UndoMark, mayWait: boolean, caught: unknown): Steps<never> {
    try {
      throw yield* this.#undoFailed(mark, caught)
    } finally {
      this.#endStatement(mayWait)
    }
  }

  /** Undoes the statement, or the whole transaction, for what was raised in it; returns what its caller is told. */
  *#undoFailed(mark: UndoMark, caught: unknown): Steps<unknown> {
    const error = yield* this.db.statements.undo(this.trx, mark, caught)
    if (error instanceof NextkeyError && ENDING.has(error.code)) yield* this.rollbackInSlices(`was rolled back: ${error.code}`)
    return error
  }

  #endStatement(mayWait: boolean): void {
    const { trx } = this
    this.db.statements.end(trx)
    if (trx.streams === 0) this.db.tableUse.endStatement(trx)
    trx.owner.idleSince = trx.owner.mayBlock ? this.db.engine.environment.clock.now() : IdleSince.Before
    trx.mayWait = mayWait
    if (this.#isolation === 'read-committed' && trx.view !== undefined) {
      this.db.engine.system.closeView(trx.view)
      trx.view = undefined
    }
  }

  /** The lock a read takes: as asked for, or, under SERIALIZABLE, shared. */
  lockMode(options: LockOptions): LockMode | undefined {
    const { lock } = options
    if (lock !== undefined && lock !== 'share' && lock !== 'update')
      throw new InvalidArgumentError(`lock is 'share' or 'update', not ${describe(lock)}`, { lock })
    // Beside an owner one checkpoint is read, in which nobody writes.
    if (lock === undefined) return this.#isolation === 'serializable' && this.db.engine.shared === undefined ? LockMode.S : undefined
    this.mustWrite()
    return lock === 'update' ? LockMode.X : LockMode.S
  }

  mustWrite(): void {
    if (this.readOnly) throw new NextkeyError('ERR_READ_ONLY', 'this transaction was begun read-only: it neither writes nor locks')
  }

  get(table: object, key: unknown, options: LockOptions): Outcome<unknown> {
    const store = this.db.storeOf(table)
    const mode = this.lockMode(options)
    if (mode === undefined) return this.db.reads.get(store, key, this.visibility())
    return this.db.statements.rows.get(this.trx, store, key, mode, policyOf(options))
  }

  count(table: object, range: TransactionRange): Outcome<number> {
    const mode = this.lockMode({})
    if (mode !== undefined) return new Remaining(this.db.statements.count(this.trx, this.target(table, range, {}), mode))
    if (range.where !== undefined) return this.results(table, range, Want.Values).toArray().length
    const { index: indexName, where: _, primaryKey: __, ...bounds } = range
    const store = this.db.storeOf(table)
    const index = indexName === undefined ? undefined : this.db.reads.index(store, indexName)
    return this.db.reads.count(store, index, bounds, this.visibility())
  }

  insert(table: object, args: unknown[]): Outcome<unknown> {
    this.mustWrite()
    return insertInto(this.db, this.trx, table, args)
  }

  /** For the rows of one insert, all with these options, whose generated keys come from `values`. */
  rowInserter(table: object, options: unknown, values: StatementValues): (row: unknown) => Outcome<unknown> {
    this.mustWrite()
    const store = this.db.storeOf(table)
    const resolved = insertOptions(options, values)
    return (row) => this.db.statements.rows.insert(this.trx, store, row, undefined, resolved)
  }

  insertMany(table: object, rows: Iterable<unknown>, options: unknown): Outcome<unknown[]> {
    return new Remaining(this.#insertMany(table, rows, options))
  }

  *#insertMany(table: object, rows: Iterable<unknown>, options: unknown): Steps<unknown[]> {
    const known = Array.isArray(rows) ? (rows as unknown[]) : Array.from(rows)
    const insert = this.rowInserter(table, options, new StatementValues(known.length))
    return yield* this.db.statements.each(this.trx, known, insert)
  }

  put(table: object, args: unknown[]): Outcome<unknown> {
    this.mustWrite()
    return putInto(this.db, this.trx, table, args)
  }

  update(table: object, key: unknown, change: object, options: WaitOption): Outcome<boolean> {
    this.mustWrite()
    return this.db.statements.rows.update(this.trx, this.db.storeOf(table), key, change, policyOf(options))
  }

  delete(table: object, key: unknown, options: WaitOption): Outcome<boolean> {
    this.mustWrite()
    return this.db.statements.rows.delete(this.trx, this.db.storeOf(table), key, policyOf(options))
  }

  updateRange(table: object, range: TransactionRange, change: (row: never) => unknown, options: WaitOption): Outcome<number> {
    this.mustWrite()
    return new Remaining(this.db.statements.updateRange(this.trx, this.target(table, range, options), change))
  }

  deleteRange(table: object, range: TransactionRange, options: WaitOption): Outcome<number> {
    this.mustWrite()
    return new Remaining(this.db.statements.deleteRange(this.trx, this.target(table, range, options)))
  }

  /** LOCK TABLES within the transaction: the metadata lock first, which waits, then the table's lock, which then need not. */
  lockTable(table: object, mode: 'read' | 'write'): Outcome<void> {
    if (mode !== 'read' && mode !== 'write')
      throw new InvalidArgumentError(`a table is locked for 'read' or 'write', not ${describe(mode)}`)
    this.#tableLocks ??= new TransactionTableLocks(this.db, this.trx)
    return new Remaining(this.#tableLocks.lock(table, mode))
  }

  unlockTables(): void {
    this.#tableLocks?.unlock()
  }

  target(table: object, range: TransactionRange, options: WaitOption): Target {
    const { index: indexName, where, primaryKey, ...bounds } = range
    const store = this.db.storeOf(table)
    const index = indexName === undefined ? undefined : this.db.reads.index(store, indexName)
    return {
      table: store,
      index,
      range: encodeLockRange(bounds, primaryKey, store, index),
      reverse: bounds.reverse === true,
      where,
      policy: policyOf(options),
      limit: bounds.limit ?? Number.POSITIVE_INFINITY,
    }
  }

  /** What a read does to its table. */
  useOf({ lock }: LockOptions): Use {
    return lock === 'update' ? MetadataLock.SW : MetadataLock.SR
  }

  results<R>(table: object, range: TransactionRange, want: Want): Results<R> {
    this.mustBeOpen()
    const store = this.db.storeOf(table)
    const { index: indexName, where, primaryKey: _, ...bounds } = range
    const index = indexName === undefined ? undefined : this.db.reads.index(store, indexName)
    const uncommitted = this.#isolation === 'read-uncommitted'
    const results = this.db.reads.results<R>(store, index, bounds, want, () => {
      // One view for the whole loop, whatever the level: under READ COMMITTED the loop is the statement.
      const own: ReadView | undefined = this.#isolation === 'read-committed' ? this.db.engine.system.openView(this.trx.trxId) : undefined
      return {
        view: uncommitted ? 'newest' : (own ?? this.visibility()),
        check: () => this.mustBeOpen(),
        release: () => {
          if (own !== undefined && !own.closed) this.db.engine.system.closeView(own)
        },
      }
    })
    if (where !== undefined) results.keep(where as (row: unknown) => boolean)
    return results
  }

  savepoint(): Savepoint {
    this.mustBeOpen()
    const { view, owner, hasLog } = this.trx
    const atBeginning = view === undefined && owner.slot === 0 && !hasLog
    const metadata = this.db.engine.rowLocks.locks.metadataMark(owner)
    const savepoint: Savepoint = { mark: markOf(this.trx), atBeginning, metadata, number: ++this.#savepoints }
    this.#validSavepoints.push(savepoint)
    return savepoint
  }

  /** Undoes what was done since the savepoint, which stays valid. */
  rollbackTo(savepoint: Savepoint): Outcome<void> {
    const at = this.#validSavepoints.indexOf(savepoint)
    if (at < 0) {
      throw new NextkeyError('ERR_NO_SUCH_SAVEPOINT', 'the savepoint is not of this transaction, or an earlier rollback has undone it')
    }
    this.#validSavepoints.length = at + 1
    return new Remaining(this.#undoTo(savepoint))
  }

  *#undoTo({ atBeginning, mark, metadata }: Savepoint): Steps<void> {
    const { engine } = this.db
    yield* undoInSlices(engine, this.trx, atBeginning ? undefined : mark)
    this.mustBeOpen()
    if (atBeginning) engine.restart(this.trx)
    else engine.rowLocks.locks.releaseMetadataSince(this.trx.owner, metadata)
  }

  end(how: string): void {
    if (this.ended === undefined) this.db.unregister(this)
    this.ended = how
  }

  /** Undoes everything now, be it under way in slices. */
  rollback(how: string): void {
    if (!this.#isUndoing && !this.#beginRollback(how)) return
    this.#finishRollback()
  }

  /** The same in slices. Others are refused meanwhile, and closing the database finishes it. */
  *rollbackInSlices(how: string): Steps<void> {
    if (!this.#beginRollback(how)) return
    const { engine } = this.db
    if (this.trx.state === TrxState.Active && engine.failure === undefined) yield* undoInSlices(engine, this.trx, undefined)
    if (this.#isUndoing) this.#finishRollback()
  }

  #beginRollback(how: string): boolean {
    if (this.ended !== undefined) return false
    this.ended = how
    this.#isUndoing = true
    const { waiting } = this.trx.owner
    if (waiting !== null) this.db.engine.rowLocks.locks.cancel(waiting, 'closed')
    return true
  }

  #finishRollback(): void {
    this.#isUndoing = false
    this.db.unregister(this)
    if (this.trx.state === TrxState.Active) this.db.engine.rollback(this.trx)
  }
}

/** After these the transaction is over: what it read or locked no longer holds. */
const ENDING: ReadonlySet<string> = new Set(['ERR_DEADLOCK', 'ERR_CONFLICT'])

/** A range as locking statements take it, with the entry of one row alone if a primary key is given. */
function encodeLockRange(bounds: Range, primaryKey: unknown, store: TableStore, index: IndexStore | undefined): LockRange {
  const range = encodeRange(bounds, (index ?? store).shape)
  if (primaryKey === undefined) return range
  if (bounds.eq === undefined || index === undefined) throw new InvalidArgumentError('primaryKey goes with eq on a secondary index')
  const key = new KeyBuffer()
  encodeTableKey(store, primaryKey, key)
  const lower = Buffer.concat([range.lower.subarray(0, range.lowerLength), key.bytes.subarray(0, key.length + 8)])
  const length = range.lowerLength + key.length
  const upper = Buffer.from(lower)
  upper[length] = 0xff
  return { ...range, whole: false, lower, lowerLength: length, upper, upperLength: length + 1 }
}

/** Checks the options of transaction(), begin() and transactionSync(). */
export function checkTransactionOptions(options: ManagedTransactionOptions, known: ReadonlySet<string>, levels: readonly string[]): void {
  for (const [name, value] of Object.entries(options)) {
    if (!known.has(name))
      throw new InvalidArgumentError(`a transaction has no option '${name}'; there are ${[...known].join(', ')}`, { option: name })
    if (name === 'isolation' && value !== undefined && !levels.includes(value as string)) {
      throw new InvalidArgumentError(`isolation must be one of ${levels.join(', ')}, not '${String(value)}'`, { option: name, value })
    }
  }
  const { retries } = options
  if (retries !== undefined && !(Number.isInteger(retries) && retries >= 0))
    throw new InvalidArgumentError(`retries is a whole number from 0, not ${String(retries)}`, { retries })
}
