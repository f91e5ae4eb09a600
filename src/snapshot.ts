import { callSite } from './base/call-site.js'
import { SnapshotGoneError } from './base/errors.js'
import type { Database } from './database.js'
import type { Results } from './results.js'
import type { Table } from './table.js'
import type { TransactionRange } from './transaction-core.js'
import { Want } from './txn/range-scan.js'
import type { ReadView } from './txn/read-view.js'

/**
 * One state of the database, to read from for as long as it is open: synchronous, never waiting, blocking nobody. It keeps
 * everything that was deleted or replaced since from being purged, so close it: `using view = db.snapshot()`.
 */
export class Snapshot {
  readonly #db: Database
  readonly #view: ReadView

  /** @internal */
  constructor(db: Database, view: ReadView) {
    this.#db = db
    this.#view = view
    view.madeBy = callSite()
  }

  get<R>(table: Table<R>, key: unknown): R | undefined {
    this.#mustBeOpen()
    return this.#db.reads.get(this.#db.storeOf(table), key, this.#view) as R | undefined
  }

  has<R>(table: Table<R>, key: unknown): boolean {
    this.#mustBeOpen()
    return this.#db.reads.has(this.#db.storeOf(table), key, this.#view)
  }

  values<R>(table: Table<R>, range: TransactionRange = {}): Results<R> {
    return this.#results<R>(table, range, Want.Values)
  }

  keys<R, Key = unknown>(table: Table<R>, range: TransactionRange = {}): Results<Key> {
    return this.#results<Key>(table, range, Want.Keys)
  }

  entries<R, Key = unknown>(table: Table<R>, range: TransactionRange = {}): Results<[Key, R]> {
    return this.#results<[Key, R]>(table, range, Want.Entries)
  }

  count<R>(table: Table<R>, range: TransactionRange = {}): number {
    this.#mustBeOpen()
    const { index: indexName, ...bounds } = range
    const store = this.#db.storeOf(table)
    return this.#db.reads.count(store, indexName === undefined ? undefined : this.#db.reads.index(store, indexName), bounds, this.#view)
  }

  close(): void {
    if (this.#view.closed) return
    this.#db.engine.system.closeView(this.#view)
    this.#db.engine.purging.poke()
  }

  [Symbol.dispose](): void {
    this.close()
  }

  #results<T>(table: object, range: TransactionRange, want: Want): Results<T> {
    this.#mustBeOpen()
    const { index: indexName, ...bounds } = range
    const store = this.#db.storeOf(table)
    const index = indexName === undefined ? undefined : this.#db.reads.index(store, indexName)
    return this.#db.reads.results<T>(store, index, bounds, want, () => ({
      view: this.#view,
      check: () => this.#mustBeOpen(),
      release: () => {},
    }))
  }

  #mustBeOpen(): void {
    this.#db.mustBeOpen()
    this.#view.mustLast()
    if (this.#view.closed) throw new SnapshotGoneError('this snapshot was closed: make another one')
  }
}
