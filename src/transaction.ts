import { describe, InvalidArgumentError, LockNotAvailableError, NextkeyError } from './base/errors.js'
import { KeyBuffer } from './codec/key-encoding.js'
import type { Database } from './database.js'
import { LockMode, TableLock } from './lock/lock-modes.js'
import type { LockRequest } from './lock/lock-request.js'
import { encodeRange, type Range } from './range.js'
import { shapeOf } from './reads.js'
import type { Results } from './results.js'
import { encodeTableKey, type Target } from './statements.js'
import type { InsertOptions, Row, Table } from './table.js'
import type { LockRange } from './txn/locking-scan.js'
import { Want } from './txn/range-scan.js'
import type { ReadView } from './txn/read-view.js'
import type { Steps, WaitPolicy } from './txn/row-locks.js'
import type { Visibility } from './txn/row-reader.js'
import type { IndexStore, TableStore } from './txn/table-store.js'
import { type IsolationLevel, markOf, type Trx, TrxState, type UndoMark } from './txn/trx.js'

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

export interface WaitOption {
  /** 'nowait': ERR_LOCK_NOT_AVAILABLE instead of a wait; 'skip': leaves out rows that are locked; a number: milliseconds per wait. */
  wait?: 'nowait' | 'skip' | number
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
  /** Said to whoever uses the transaction after its end. */
  ended: string | undefined
  #savepoints = 0
  /** Without those that a rollback to an earlier one has undone. */
  #validSavepoints: Savepoint[] = []

  constructor(db: Database, options: TransactionOptions, signal?: AbortSignal) {
    this.db = db
    this.signal = signal
    this.readOnly = options.readOnly === true
    this.#isolation = options.isolation ?? db.options.isolation
    this.trx = db.engine.begin(this.#isolation)
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
    this.trx.view ??= this.db.engine.system.openView(this.trx.trxId)
    return this.trx.view
  }

  /** One statement, atomic. A deadlock or a conflict ends the transaction; whatever else is raised undoes the statement alone. */
  *statement<T>(work: () => Steps<T>): Steps<T> {
    this.mustBeOpen()
    if (this.#isolation === 'snapshot') this.visibility()
    try {
      return yield* this.db.statements.atomically(this.trx, work())
    } catch (error) {
      if (error instanceof NextkeyError && ENDING.has(error.code)) this.rollback(`was rolled back: ${error.code}`)
      throw error
    } finally {
      if (this.#isolation === 'read-committed' && this.trx.view !== undefined) {
        this.db.engine.system.closeView(this.trx.view)
        this.trx.view = undefined
      }
    }
  }

  /** The lock a read takes: as asked for, or, under SERIALIZABLE, shared. */
  lockMode(options: LockOptions): LockMode | undefined {
    const { lock } = options
    if (lock !== undefined && lock !== 'share' && lock !== 'update')
      throw new InvalidArgumentError(`lock is 'share' or 'update', not ${describe(lock)}`, { lock })
    if (lock === undefined) return this.#isolation === 'serializable' ? LockMode.S : undefined
    this.mustWrite()
    return lock === 'update' ? LockMode.X : LockMode.S
  }

  mustWrite(): void {
    if (this.readOnly) throw new NextkeyError('ERR_READ_ONLY', 'this transaction was begun read-only: it neither writes nor locks')
  }

  *get(table: object, key: unknown, options: LockOptions): Steps<unknown> {
    const store = this.db.storeOf(table)
    const mode = this.lockMode(options)
    if (mode === undefined) return this.db.reads.get(store, key, this.visibility())
    return yield* this.db.statements.get(this.trx, store, key, mode, policyOf(options))
  }

  *count(table: object, range: TransactionRange): Steps<number> {
    const mode = this.lockMode({})
    if (mode !== undefined) return (yield* this.db.statements.collect(this.trx, this.target(table, range, {}), mode, Want.Keys)).length
    const { index: indexName, where: _, primaryKey: __, ...bounds } = range
    const store = this.db.storeOf(table)
    const index = indexName === undefined ? undefined : this.db.reads.index(store, indexName)
    return this.db.reads.count(store, index, bounds, this.visibility())
  }

  *insert(table: object, args: unknown[]): Steps<unknown> {
    this.mustWrite()
    return yield* this.db.insertInto(this.trx, table, args)
  }

  *insertStreamed(table: object, args: unknown[]): Steps<unknown> {
    this.mustWrite()
    return yield* this.db.insertInto(this.trx, table, args, true)
  }

  *insertMany(table: object, rows: Iterable<unknown>, options: unknown): Steps<unknown[]> {
    this.mustWrite()
    const keys: unknown[] = []
    for (const row of rows) keys.push(yield* this.db.insertInto(this.trx, table, [row, options]))
    return keys
  }

  *put(table: object, args: unknown[]): Steps<unknown> {
    this.mustWrite()
    return yield* this.db.putInto(this.trx, table, args)
  }

  *update(table: object, key: unknown, change: object, options: WaitOption): Steps<boolean> {
    this.mustWrite()
    return yield* this.db.statements.update(this.trx, this.db.storeOf(table), key, change, policyOf(options))
  }

  *delete(table: object, key: unknown, options: WaitOption): Steps<boolean> {
    this.mustWrite()
    return yield* this.db.statements.delete(this.trx, this.db.storeOf(table), key, policyOf(options))
  }

  *updateRange(table: object, range: TransactionRange, change: (row: never) => unknown, options: WaitOption): Steps<number> {
    this.mustWrite()
    return yield* this.db.statements.updateRange(this.trx, this.target(table, range, options), change)
  }

  *deleteRange(table: object, range: TransactionRange, options: WaitOption): Steps<number> {
    this.mustWrite()
    return yield* this.db.statements.deleteRange(this.trx, this.target(table, range, options))
  }

  *lockTable(table: object, mode: 'read' | 'write'): Steps<void> {
    if (mode !== 'read' && mode !== 'write')
      throw new InvalidArgumentError(`a table is locked for 'read' or 'write', not ${describe(mode)}`)
    yield* this.db.engine.rowLocks.table(this.trx, this.db.storeOf(table).id, mode === 'read' ? TableLock.S : TableLock.X)
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
    const savepoint: Savepoint = { mark: markOf(this.trx), atBeginning, number: ++this.#savepoints }
    this.#validSavepoints.push(savepoint)
    return savepoint
  }

  /** Undoes what was done since the savepoint, which stays valid. */
  *rollbackTo(savepoint: Savepoint): Steps<void> {
    const at = this.#validSavepoints.indexOf(savepoint)
    if (at < 0) {
      throw new NextkeyError('ERR_NO_SUCH_SAVEPOINT', 'the savepoint is not of this transaction, or an earlier rollback has undone it')
    }
    this.#validSavepoints.length = at + 1
    if (savepoint.atBeginning) this.db.engine.restart(this.trx)
    else this.db.engine.undoTo(this.trx, savepoint.mark)
    yield* NO_WAITS
  }

  end(how: string): void {
    this.ended = how
    this.db.unregister(this)
  }

  rollback(how: string): void {
    if (this.ended !== undefined) return
    this.end(how)
    const { waiting } = this.trx.owner
    if (waiting !== null) this.db.engine.rowLocks.locks.cancel(waiting, 'closed')
    if (this.trx.state === TrxState.Active) this.db.engine.rollback(this.trx)
  }
}

/** What a statement waits for that need not wait. */
const NO_WAITS: readonly LockRequest[] = []

/** After these the transaction is over: what it read or locked no longer holds. */
const ENDING: ReadonlySet<string> = new Set(['ERR_DEADLOCK', 'ERR_CONFLICT'])

/** A range as locking statements take it, with the entry of one row alone if a primary key is given. */
function encodeLockRange(bounds: Range, primaryKey: unknown, store: TableStore, index: IndexStore | undefined): LockRange {
  const range = encodeRange(bounds, shapeOf(store, index))
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

export function policyOf(options: WaitOption): WaitPolicy {
  const { wait } = options
  if (wait === undefined || wait === 'nowait' || wait === 'skip') return wait ?? 'wait'
  if (typeof wait === 'number' && wait >= 0) return 'wait'
  throw new InvalidArgumentError(`wait is 'nowait', 'skip' or a number of milliseconds, not ${describe(wait)}`, { wait })
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

  /** As `db.locks()` and errors name it. */
  get id(): number {
    return this.#core.trx.number
  }

  /** The row with this key: as the isolation level shows it, or, with a lock, the newest. */
  get<R>(table: Table<R>, key: unknown, options: LockOptions = {}): Promise<R | undefined> {
    return this.#run(() => this.#core.get(table, key, options), options) as Promise<R | undefined>
  }

  async has<R>(table: Table<R>, key: unknown, options: LockOptions = {}): Promise<boolean> {
    return (await this.get(table, key, options)) !== undefined
  }

  count<R>(table: Table<R>, range: TransactionRange = {}): Promise<number> {
    return this.#run(() => this.#core.count(table, range), {})
  }

  /** Rows of a range, by the primary key or an index: from one view, or, with a lock, the newest. */
  values<R>(table: Table<R>, range: TransactionRange = {}, options: LockOptions = {}): AsyncResults<R> {
    return this.#results<R>(table, range, options, Want.Values)
  }

  /** Index keys, from the index alone; with a shared lock, it alone is locked. */
  keys<R, Key = unknown>(table: Table<R>, range: TransactionRange = {}, options: LockOptions = {}): AsyncResults<Key> {
    return this.#results<Key>(table, range, options, Want.Keys)
  }

  primaryKeys<R, Key = unknown>(table: Table<R>, range: TransactionRange = {}, options: LockOptions = {}): AsyncResults<Key> {
    return this.#results<Key>(table, range, options, Want.PrimaryKeys)
  }

  insert<R>(table: Table<R>, row: Row<R>, options?: InsertOptions<R>): Promise<unknown>
  insert<R>(table: Table<R>, key: unknown, value: R, options?: InsertOptions<R>): Promise<unknown>
  insert(table: object, ...args: unknown[]): Promise<unknown> {
    return this.#run(() => this.#core.insert(table, args), waitOf(args))
  }

  /** Inserts all rows or none, as one statement. Resolves to their keys, as `insert` does to each. */
  insertMany<R>(table: Table<R>, rows: Iterable<Row<R>>, options?: InsertOptions<R>): Promise<unknown[]> {
    return this.#run(() => this.#core.insertMany(table, rows, options), options ?? {})
  }

  /** Inserts rows as they come, all or none. What the source does in this transaction happens in between. */
  async insertFrom<R>(
    table: Table<R>,
    source: AsyncIterable<Row<R>> | Iterable<Row<R>>,
    options?: InsertOptions<R>,
  ): Promise<{ count: number; firstKey: unknown }> {
    const mark = this.#core.savepoint()
    const { trx } = this.#core
    let count = 0
    let firstKey: unknown
    trx.streams = true
    try {
      for await (const row of source) {
        const key = await this.#run(() => this.#core.insertStreamed(table, [row, options]), options ?? {})
        if (key === undefined) continue
        if (count++ === 0) firstKey = key
      }
    } catch (error) {
      if (this.#core.ended === undefined) await this.rollbackTo(mark)
      throw error
    } finally {
      trx.streams = false
      this.#core.db.statements.releaseAutoIncrement(trx)
    }
    return { count, firstKey }
  }

  put<R>(table: Table<R>, row: Row<R>): Promise<unknown>
  put<R>(table: Table<R>, key: unknown, value: R): Promise<unknown>
  put(table: object, ...args: unknown[]): Promise<unknown> {
    return this.#run(() => this.#core.put(table, args), {})
  }

  update<R>(table: Table<R>, key: unknown, change: Partial<R> | ((row: R) => R), options: WaitOption = {}): Promise<boolean> {
    return this.#run(() => this.#core.update(table, key, change as object, options), options)
  }

  delete<R>(table: Table<R>, key: unknown, options: WaitOption = {}): Promise<boolean> {
    return this.#run(() => this.#core.delete(table, key, options), options)
  }

  /** Changes every row of the range that matches `where`; resolves to their number. */
  updateRange<R>(table: Table<R>, range: TransactionRange, change: (row: R) => R, options: WaitOption = {}): Promise<number> {
    return this.#run(() => this.#core.updateRange(table, range, change as (row: never) => unknown, options), options)
  }

  /** Deletes every row of the range that matches `where`; resolves to their number. */
  deleteRange<R>(table: Table<R>, range: TransactionRange, options: WaitOption = {}): Promise<number> {
    return this.#run(() => this.#core.deleteRange(table, range, options), options)
  }

  /** Locks the whole table until the transaction ends: 'read', nobody changes it; 'write', nobody else locks or changes anything in it. */
  lockTable<R>(table: Table<R>, mode: 'read' | 'write'): Promise<void> {
    return this.#run(() => this.#core.lockTable(table, mode), {})
  }

  /** Raises ERR_STATEMENT_PENDING while a statement is under way. */
  savepoint(): Savepoint {
    this.#mustBeIdle('a savepoint')
    return this.#core.savepoint()
  }

  rollbackTo(savepoint: Savepoint): Promise<void> {
    return this.#run(() => this.#core.rollbackTo(savepoint), {})
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
      throw new NextkeyError(
        'ERR_STATEMENT_PENDING',
        'commit() was called while a statement of the transaction was under way: await every statement; the transaction was rolled back',
      )
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

  #results<T>(table: object, range: TransactionRange, options: LockOptions, want: Want): AsyncResults<T> {
    this.#core.mustBeOpen()
    const mode = this.#core.lockMode(options)
    if (mode === undefined) return new AsyncResults(async () => this.#core.results<T>(table, range, want))
    const target = this.#core.target(table, range, options)
    const { statements } = this.#core.db
    const core = this.#core
    return new AsyncResults(
      () => this.#run(() => statements.collect(core.trx, target, mode, want), options) as Promise<T[]>,
      () => {
        const rows = statements.oneByOne(core.trx, target, mode, want)
        return () => this.#run(() => rows.next(), options) as Promise<IteratorResult<T, undefined>>
      },
    )
  }

  #mustBeIdle(what: string): void {
    if (this.#pending > 0)
      throw new NextkeyError(
        'ERR_STATEMENT_PENDING',
        `${what} was asked for while a statement of the transaction is under way: await it first`,
      )
  }

  /** Runs a statement: now, if none is under way, else when its turn comes. What need not wait happens in this call. */
  async #run<T>(work: () => Steps<T>, options: WaitOption): Promise<T> {
    const { db } = this.#core
    let release: (() => void) | undefined
    const turn = this.#last
    if (turn !== undefined) {
      release = this.#begin()
      await turn
    }
    try {
      const steps = this.#core.statement(work)
      const first = steps.next()
      let result: T
      if (first.done === true) result = first.value
      else {
        release ??= this.#begin()
        result = await db.waits.finish(steps, first.value, { timeout: timeoutOf(options, db), signal: this.#core.signal })
      }
      // Without a turn of the event loop now and then, a long chain of awaits would starve every timer (D1).
      const pause = db.pause()
      if (pause !== undefined) {
        release ??= this.#begin()
        await pause
      }
      return result
    } finally {
      release?.()
    }
  }

  /** The statement takes its place in the queue; the function returned ends it. */
  #begin(): () => void {
    let done = noop
    const over = new Promise<void>((resolve) => {
      done = resolve
    })
    this.#last = over
    this.#pending++
    return () => {
      this.#pending--
      if (this.#last === over) this.#last = undefined
      done()
    }
  }
}

function timeoutOf({ wait }: WaitOption, db: Database): number {
  return typeof wait === 'number' ? wait : db.options.lockWaitTimeout
}

function waitOf(args: unknown[]): WaitOption {
  const last = args.at(-1)
  return typeof last === 'object' && last !== null && 'wait' in last && args.length > 1 ? (last as WaitOption) : {}
}

/**
 * Results whose rows are awaited, because a locking read may have to wait. `toArray()` is one statement; a `for await` loop over a
 * locking read locks row by row as it goes.
 */
export class AsyncResults<T> implements AsyncIterable<T> {
  readonly #read: () => Promise<Results<T> | T[]>
  readonly #iterate: (() => () => Promise<IteratorResult<T, undefined>>) | undefined

  /** @internal */
  constructor(read: () => Promise<Results<T> | T[]>, iterate?: () => () => Promise<IteratorResult<T, undefined>>) {
    this.#read = read
    this.#iterate = iterate
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<T, void, void> {
    if (this.#iterate === undefined) {
      for (const row of await this.#read()) yield row
      return
    }
    const next = this.#iterate()
    for (let result = await next(); result.done !== true; result = await next()) yield result.value
  }

  async toArray(): Promise<T[]> {
    const rows = await this.#read()
    return Array.isArray(rows) ? rows : rows.toArray()
  }
}

/** The synchronous form: everything happens in the call, and what would have to wait throws ERR_LOCK_NOT_AVAILABLE. */
export class SyncTransaction {
  readonly #core: TransactionCore

  /** @internal */
  constructor(core: TransactionCore) {
    this.#core = core
    core.trx.mayWait = false
  }

  get<R>(table: Table<R>, key: unknown, options: LockOptions = {}): R | undefined {
    return this.#run(() => this.#core.get(table, key, options)) as R | undefined
  }

  has<R>(table: Table<R>, key: unknown, options: LockOptions = {}): boolean {
    return this.get(table, key, options) !== undefined
  }

  values<R>(table: Table<R>, range: TransactionRange = {}, options: LockOptions = {}): Iterable<R> & { toArray(): R[] } {
    return this.#results<R>(table, range, options, Want.Values)
  }

  keys<R, Key = unknown>(table: Table<R>, range: TransactionRange = {}, options: LockOptions = {}): Iterable<Key> & { toArray(): Key[] } {
    return this.#results<Key>(table, range, options, Want.Keys)
  }

  primaryKeys<R, Key = unknown>(
    table: Table<R>,
    range: TransactionRange = {},
    options: LockOptions = {},
  ): Iterable<Key> & { toArray(): Key[] } {
    return this.#results<Key>(table, range, options, Want.PrimaryKeys)
  }

  insert<R>(table: Table<R>, row: Row<R>, options?: InsertOptions<R>): unknown
  insert<R>(table: Table<R>, key: unknown, value: R, options?: InsertOptions<R>): unknown
  insert(table: object, ...args: unknown[]): unknown {
    return this.#run(() => this.#core.insert(table, args))
  }

  insertMany<R>(table: Table<R>, rows: Iterable<Row<R>>, options?: InsertOptions<R>): unknown[] {
    return this.#run(() => this.#core.insertMany(table, rows, options))
  }

  put<R>(table: Table<R>, row: Row<R>): unknown
  put<R>(table: Table<R>, key: unknown, value: R): unknown
  put(table: object, ...args: unknown[]): unknown {
    return this.#run(() => this.#core.put(table, args))
  }

  update<R>(table: Table<R>, key: unknown, change: Partial<R> | ((row: R) => R)): boolean {
    return this.#run(() => this.#core.update(table, key, change as object, {}))
  }

  delete<R>(table: Table<R>, key: unknown): boolean {
    return this.#run(() => this.#core.delete(table, key, {}))
  }

  updateRange<R>(table: Table<R>, range: TransactionRange, change: (row: R) => R): number {
    return this.#run(() => this.#core.updateRange(table, range, change as (row: never) => unknown, {}))
  }

  deleteRange<R>(table: Table<R>, range: TransactionRange): number {
    return this.#run(() => this.#core.deleteRange(table, range, {}))
  }

  savepoint(): Savepoint {
    return this.#core.savepoint()
  }

  rollbackTo(savepoint: Savepoint): void {
    this.#run(() => this.#core.rollbackTo(savepoint))
  }

  #results<T>(table: object, range: TransactionRange, options: LockOptions, want: Want): Results<T> {
    const mode = this.#core.lockMode(options)
    if (mode === undefined) return this.#core.results<T>(table, range, want)
    const target = this.#core.target(table, range, options)
    const rows = this.#run(() => this.#core.db.statements.collect(this.#core.trx, target, mode, want)) as T[]
    return Object.assign(rows[Symbol.iterator](), { toArray: () => rows }) as never
  }

  #run<T>(work: () => Steps<T>): T {
    const next = this.#core.statement(work).next()
    this.#core.db.engine.checkpoints.advanceIfOverdue()
    if (next.done !== true) throw new LockNotAvailableError()
    return next.value
  }
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

function noop(): void {}
