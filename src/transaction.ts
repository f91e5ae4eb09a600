import { InvalidArgumentError, NextkeyError } from './base/errors.js'
import type { Database } from './database.js'
import type { Range } from './range.js'
import type { Results } from './results.js'
import type { InsertOptions, Row, Table } from './table.js'
import { Want } from './txn/range-scan.js'
import type { ReadView } from './txn/read-view.js'
import type { Visibility } from './txn/row-reader.js'
import { type IsolationLevel, markOf, type Trx, TrxState, type UndoMark } from './txn/trx.js'

export interface TransactionOptions {
  isolation?: IsolationLevel
  /** Makes the read view at once instead of at the first consistent read (START TRANSACTION WITH CONSISTENT SNAPSHOT). Default false. */
  snapshotNow?: boolean
}

export interface ManagedTransactionOptions extends TransactionOptions {
  /** How many more times to try after a deadlock or conflict. Default 0. */
  retries?: number
  signal?: AbortSignal
}

export interface TransactionRange extends Range {
  /** Index to read through; left out, the primary key. */
  index?: string
}

/** A point to which a transaction can be rolled back. */
export interface Savepoint {
  readonly mark: UndoMark
  readonly number: number
}

/**
 * What all forms of a transaction share: the core transaction, its state, its reads and writes, synchronously.
 * @internal
 */
export class TransactionCore {
  readonly db: Database
  readonly trx: Trx
  readonly #isolation: IsolationLevel
  /** Said to whoever uses the transaction after its end. */
  ended: string | undefined
  #savepoints = 0
  /** Savepoints that a rollback to an earlier one has undone. */
  #validSavepoints: Savepoint[] = []

  constructor(db: Database, options: TransactionOptions) {
    this.db = db
    this.#isolation = options.isolation ?? db.options.isolation
    this.trx = db.engine.begin(this.#isolation)
    if (options.snapshotNow === true) this.trx.view = db.engine.system.openView(this.trx.trxId)
    db.register(this)
  }

  mustBeOpen(): void {
    if (this.ended !== undefined) {
      throw new NextkeyError('ERR_TRANSACTION_ENDED', `this transaction ${this.ended}: begin another one`)
    }
    this.db.mustBeOpen()
  }

  /** What a consistent read of this transaction shows; a READ COMMITTED view is for one statement, and closed by `endStatement`. */
  visibility(): Visibility {
    if (this.#isolation === 'read-uncommitted') return 'newest'
    this.trx.view ??= this.db.engine.system.openView(this.trx.trxId)
    return this.trx.view
  }

  endStatement(): void {
    if (this.#isolation !== 'read-committed' || this.trx.view === undefined) return
    this.db.engine.system.closeView(this.trx.view)
    this.trx.view = undefined
  }

  statement<T>(work: () => T): T {
    this.mustBeOpen()
    try {
      return work()
    } finally {
      this.endStatement()
    }
  }

  /** A statement whose caller cannot wait for a checkpoint that work outruns. */
  statementSync<T>(work: () => T): T {
    const result = this.statement(work)
    this.db.engine.checkpoints.advanceIfOverdue()
    return result
  }

  results<R>(table: Table<R>, range: TransactionRange, want: Want): Results<R> {
    this.mustBeOpen()
    const store = this.db.storeOf(table)
    const { index: indexName, ...bounds } = range
    const index = indexName === undefined ? undefined : this.db.reads.index(store, indexName)
    return this.db.reads.results<R>(store, index, bounds, want, () => {
      // One view for the whole loop, whatever the level: under READ COMMITTED the loop is the statement.
      const own: ReadView | undefined = this.#isolation === 'read-committed' ? this.db.engine.system.openView(this.trx.trxId) : undefined
      return {
        view: own ?? this.visibility(),
        check: () => this.mustBeOpen(),
        release: () => {
          if (own !== undefined && !own.closed) this.db.engine.system.closeView(own)
        },
      }
    })
  }

  savepoint(): Savepoint {
    this.mustBeOpen()
    const savepoint: Savepoint = { mark: markOf(this.trx), number: ++this.#savepoints }
    this.#validSavepoints.push(savepoint)
    return savepoint
  }

  /** Undoes what was done since the savepoint, which stays valid. */
  rollbackTo(savepoint: Savepoint): void {
    this.mustBeOpen()
    const at = this.#validSavepoints.indexOf(savepoint)
    if (at < 0) {
      throw new NextkeyError('ERR_NO_SUCH_SAVEPOINT', 'the savepoint is not of this transaction, or an earlier rollback has undone it')
    }
    this.#validSavepoints.length = at + 1
    this.db.engine.undoTo(this.trx, savepoint.mark)
  }

  end(how: string): void {
    this.ended = how
    this.db.unregister(this)
  }

  rollback(how: string): void {
    if (this.ended !== undefined) return
    this.end(how)
    if (this.trx.state === TrxState.Active) this.db.engine.rollback(this.trx)
  }
}

/**
 * An interactive transaction: any number of them may be under way at once, each isolated from the others across every await.
 * Its statements run one at a time, in the order in which they were called.
 */
export class Transaction {
  readonly #core: TransactionCore
  /** Settles when the last statement called so far is over; undefined while none is under way. */
  #last: Promise<void> | undefined
  #pending = 0

  /** @internal */
  constructor(core: TransactionCore) {
    this.#core = core
  }

  /** The row with this key, as the isolation level shows it. */
  get<R>(table: Table<R>, key: unknown): Promise<R | undefined> {
    return this.#run(() => this.#core.db.reads.get(this.#core.db.storeOf(table), key, this.#core.visibility()) as R | undefined)
  }

  has<R>(table: Table<R>, key: unknown): Promise<boolean> {
    return this.#run(() => this.#core.db.reads.has(this.#core.db.storeOf(table), key, this.#core.visibility()))
  }

  count<R>(table: Table<R>, range: TransactionRange = {}): Promise<number> {
    const { index: indexName, ...bounds } = range
    return this.#run(() => {
      const store = this.#core.db.storeOf(table)
      const index = indexName === undefined ? undefined : this.#core.db.reads.index(store, indexName)
      return this.#core.db.reads.count(store, index, bounds, this.#core.visibility())
    })
  }

  /** Rows of a range, by the primary key or an index, from one view. */
  values<R>(table: Table<R>, range: TransactionRange = {}): AsyncResults<R> {
    return new AsyncResults(this.#core.results(table, range, Want.Values))
  }

  insert<R>(table: Table<R>, row: Row<R>, options?: InsertOptions<R>): Promise<unknown>
  insert<R>(table: Table<R>, key: unknown, value: R, options?: InsertOptions<R>): Promise<unknown>
  insert(table: object, ...args: unknown[]): Promise<unknown> {
    return this.#run(() => this.#core.db.insertInto(this.#core.trx, table, args))
  }

  put<R>(table: Table<R>, row: Row<R>): Promise<unknown>
  put<R>(table: Table<R>, key: unknown, value: R): Promise<unknown>
  put(table: object, ...args: unknown[]): Promise<unknown> {
    return this.#run(() => this.#core.db.putInto(this.#core.trx, table, args))
  }

  update<R>(table: Table<R>, key: unknown, change: Partial<R> | ((row: R) => R)): Promise<boolean> {
    return this.#run(() => this.#core.db.statements.update(this.#core.trx, this.#core.db.storeOf(table), key, change as object))
  }

  delete<R>(table: Table<R>, key: unknown): Promise<boolean> {
    return this.#run(() => this.#core.db.statements.delete(this.#core.trx, this.#core.db.storeOf(table), key))
  }

  /** Raises ERR_STATEMENT_PENDING while a statement is under way. */
  savepoint(): Savepoint {
    this.#mustBeIdle('a savepoint')
    return this.#core.savepoint()
  }

  rollbackTo(savepoint: Savepoint): Promise<void> {
    return this.#run(() => this.#core.rollbackTo(savepoint))
  }

  /**
   * Makes the changes permanent; resolves when they are as durable as the database was opened for.
   * A statement still under way, which nobody can have awaited, is waited for; then the transaction is rolled back with
   * ERR_STATEMENT_PENDING.
   */
  async commit(): Promise<void> {
    this.#core.mustBeOpen()
    if (this.#pending > 0) {
      await this.#last
      this.#core.rollback('was rolled back: it was committed while a statement was under way')
      throw new NextkeyError('ERR_STATEMENT_PENDING', 'commit() was called while a statement of the transaction was under way: await every statement; the transaction was rolled back')
    }
    await this.#core.db.commit(this.#core)
  }

  async rollback(): Promise<void> {
    await this.#last
    this.#core.mustBeOpen()
    this.#core.rollback('was rolled back')
  }

  /** Rolls back unless it has ended. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#last
    this.#core.rollback('was rolled back when it left its scope')
  }

  #mustBeIdle(what: string): void {
    if (this.#pending > 0) throw new NextkeyError('ERR_STATEMENT_PENDING', `${what} was asked for while a statement of the transaction is under way: await it first`)
  }

  /** Runs now if nothing is under way, else when its turn comes. */
  async #run<T>(work: () => T): Promise<T> {
    if (this.#pending === 0) {
      const result = this.#core.statement(work)
      // Without a turn of the event loop now and then, a long chain of awaits would starve every timer (D1).
      const pause = this.#core.db.pause()
      if (pause !== undefined) {
        this.#pending++
        this.#last = pause
        await pause
        this.#pending--
      }
      return result
    }
    this.#pending++
    const turn = (this.#last as Promise<void>).then(() => this.#core.statement(work))
    this.#last = turn.then(noop, noop)
    try {
      return await turn
    } finally {
      this.#pending--
    }
  }
}

/** Results whose rows are awaited, because a locking read may have to wait. */
export class AsyncResults<T> implements AsyncIterable<T> {
  readonly #results: Results<T>

  /** @internal */
  constructor(results: Results<T>) {
    this.#results = results
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<T, void, void> {
    try {
      for (const row of this.#results) yield row
    } finally {
      this.#results.return()
    }
  }

  async toArray(): Promise<T[]> {
    return this.#results.toArray()
  }
}

/** The synchronous form: everything happens in the call, and what would have to wait throws. */
export class SyncTransaction {
  readonly #core: TransactionCore

  /** @internal */
  constructor(core: TransactionCore) {
    this.#core = core
  }

  get<R>(table: Table<R>, key: unknown): R | undefined {
    return this.#core.statementSync(() => this.#core.db.reads.get(this.#core.db.storeOf(table), key, this.#core.visibility()) as R | undefined)
  }

  has<R>(table: Table<R>, key: unknown): boolean {
    return this.#core.statementSync(() => this.#core.db.reads.has(this.#core.db.storeOf(table), key, this.#core.visibility()))
  }

  values<R>(table: Table<R>, range: TransactionRange = {}): Results<R> {
    return this.#core.results(table, range, Want.Values)
  }

  insert<R>(table: Table<R>, row: Row<R>, options?: InsertOptions<R>): unknown
  insert<R>(table: Table<R>, key: unknown, value: R, options?: InsertOptions<R>): unknown
  insert(table: object, ...args: unknown[]): unknown {
    return this.#core.statementSync(() => this.#core.db.insertInto(this.#core.trx, table, args))
  }

  put<R>(table: Table<R>, row: Row<R>): unknown
  put<R>(table: Table<R>, key: unknown, value: R): unknown
  put(table: object, ...args: unknown[]): unknown {
    return this.#core.statementSync(() => this.#core.db.putInto(this.#core.trx, table, args))
  }

  update<R>(table: Table<R>, key: unknown, change: Partial<R> | ((row: R) => R)): boolean {
    return this.#core.statementSync(() => this.#core.db.statements.update(this.#core.trx, this.#core.db.storeOf(table), key, change as object))
  }

  delete<R>(table: Table<R>, key: unknown): boolean {
    return this.#core.statementSync(() => this.#core.db.statements.delete(this.#core.trx, this.#core.db.storeOf(table), key))
  }

  savepoint(): Savepoint {
    return this.#core.savepoint()
  }

  rollbackTo(savepoint: Savepoint): void {
    this.#core.rollbackTo(savepoint)
  }
}

/** Checks the options of transaction(), begin() and transactionSync(). */
export function checkTransactionOptions(options: ManagedTransactionOptions, known: ReadonlySet<string>, levels: readonly string[]): void {
  for (const [name, value] of Object.entries(options)) {
    if (!known.has(name)) throw new InvalidArgumentError(`a transaction has no option '${name}'; there are ${[...known].join(', ')}`, { option: name })
    if (name === 'isolation' && value !== undefined && !levels.includes(value as string)) {
      throw new InvalidArgumentError(`isolation must be one of ${levels.join(', ')}, not '${String(value)}'`, { option: name, value })
    }
  }
  const { retries } = options
  if (retries !== undefined && !(Number.isInteger(retries) && retries >= 0)) throw new InvalidArgumentError(`retries is a whole number from 0, not ${String(retries)}`, { retries })
}

function noop(): void {}
