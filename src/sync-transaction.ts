import { LockNotAvailableError } from './base/errors.js'
import { MetadataLock } from './lock/metadata-modes.js'
import type { Results } from './results.js'
import type { InsertOptions, Row, Table } from './table.js'
import type { LockOptions, Savepoint, TransactionCore, TransactionRange } from './transaction-core.js'
import { type Outcome, Remaining, type Steps } from './txn/outcome.js'
import { Want } from './txn/range-scan.js'
import type { Use } from './txn/table-use.js'

/** The synchronous form: everything happens in the call, and what would have to wait throws ERR_LOCK_NOT_AVAILABLE. */
export class SyncTransaction {
  readonly #core: TransactionCore

  /** @internal */
  constructor(core: TransactionCore) {
    this.#core = core
    core.trx.mayWait = false
  }

  get<R>(table: Table<R>, key: unknown, options: LockOptions = {}): R | undefined {
    return this.#run(() => this.#core.get(table, key, options), table, this.#core.useOf(options)) as R | undefined
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
    return this.#run(() => this.#core.insert(table, args), table, MetadataLock.SW)
  }

  insertMany<R>(table: Table<R>, rows: Iterable<Row<R>>, options?: InsertOptions<R>): unknown[] {
    return this.#run(() => this.#core.insertMany(table, rows, options), table, MetadataLock.SW)
  }

  put<R>(table: Table<R>, row: Row<R>): unknown
  put<R>(table: Table<R>, key: unknown, value: R): unknown
  put(table: object, ...args: unknown[]): unknown {
    return this.#run(() => this.#core.put(table, args), table, MetadataLock.SW)
  }

  update<R>(table: Table<R>, key: unknown, change: Partial<R> | ((row: R) => R)): boolean {
    return this.#run(() => this.#core.update(table, key, change as object, {}), table, MetadataLock.SW)
  }

  delete<R>(table: Table<R>, key: unknown): boolean {
    return this.#run(() => this.#core.delete(table, key, {}), table, MetadataLock.SW)
  }

  updateRange<R>(table: Table<R>, range: TransactionRange, change: (row: R) => R): number {
    return this.#run(() => this.#core.updateRange(table, range, change as (row: never) => unknown, {}), table, MetadataLock.SW)
  }

  deleteRange<R>(table: Table<R>, range: TransactionRange): number {
    return this.#run(() => this.#core.deleteRange(table, range, {}), table, MetadataLock.SW)
  }

  savepoint(): Savepoint {
    return this.#core.savepoint()
  }

  rollbackTo(savepoint: Savepoint): void {
    this.#run(() => this.#core.rollbackTo(savepoint))
  }

  #results<T>(table: object, range: TransactionRange, options: LockOptions, want: Want): Results<T> {
    const mode = this.#core.lockMode(options)
    const core = this.#core
    if (mode === undefined) return this.#run(() => core.results<T>(table, range, want), table)
    const { statements } = core.db
    const collect = (): Outcome<unknown[]> => new Remaining(statements.collect(core.trx, core.target(table, range, options), mode, want))
    const rows = this.#run(collect, table, core.useOf(options)) as T[]
    return Object.assign(rows[Symbol.iterator](), { toArray: () => rows }) as never
  }

  #run<T>(work: () => Outcome<T>, table?: object, use?: Use): T {
    const outcome = this.#core.statement(work, undefined, table, use)
    const result = outcome instanceof Remaining ? withoutWaiting(outcome.steps) : outcome
    this.#core.db.engine.checkpoints.advanceIfOverdue()
    return result
  }
}

function withoutWaiting<T>(steps: Steps<T>): T {
  const { done, value } = steps.next()
  if (done !== true) throw new LockNotAvailableError()
  return value
}
