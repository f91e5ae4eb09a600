import { describe, InvalidArgumentError } from './base/errors.js'
import type { Database } from './database.js'
import type { Range } from './range.js'
import type { Results } from './results.js'
import { insertInto, putInto } from './row-arguments.js'
import type { OnDuplicate } from './row-statements.js'
import type { IndexBuildOptions } from './schema-changes.js'
import type { SchemaChangeOptions } from './schema-locks.js'
import type { IndexOptions } from './table-options.js'
import { Want } from './txn/range-scan.js'
import type { TableDefinition, TableStore } from './txn/table-store.js'

/** A row to insert: its generated key may be left out. */
export type Row<R> = R extends object ? { [Field in keyof R]: R[Field] } | Omit<R, 'id'> : R

export interface InsertOptions<R = unknown> {
  /** What to do when a row with the same key, or the same key in a unique index, is there. Left out: DuplicateKeyError. */
  onDuplicate?: OnDuplicate<R>
  /** With 'replace': told each row that is removed to make place for the new one. */
  onReplaced?: (row: R) => void
  /** 'nowait': ERR_LOCK_NOT_AVAILABLE instead of a wait for a lock; a number: milliseconds per wait. */
  wait?: 'nowait' | number
}

/**
 * A table. Reads are synchronous and show what is committed; each write is a transaction of its own, and resolves when it is as
 * durable as the database was opened for. The same calls with a transaction first are on Transaction.
 *
 * Tables without a key path take the key beside the value: `put(key, value)`, `insert(key, value)`.
 */
export class Table<R = unknown> {
  readonly #db: Database
  readonly #store: TableStore

  /** @internal */
  constructor(db: Database, store: TableStore) {
    this.#db = db
    this.#store = store
  }

  /** The name it has now. */
  get name(): string {
    return this.#store.name
  }

  /** @internal The open table behind a handle of this database; undefined for anything else. */
  static storeOf(db: Database, table: object): TableStore | undefined {
    return #store in table && table.#db === db ? table.#store : undefined
  }

  /** The row with this key, or undefined. Raises ERR_INVALID_KEY. */
  get(key: unknown): R | undefined {
    return this.#db.reads.get(this.#db.storeOf(this), key, undefined) as R | undefined
  }

  has(key: unknown): boolean {
    return this.#db.reads.has(this.#db.storeOf(this), key, undefined)
  }

  /** The rows with these keys, in their order, all from one state; undefined where there is none. */
  getMany(keys: Iterable<unknown>): (R | undefined)[] {
    return this.#db.reads.getMany(this.#db.storeOf(this), keys, undefined) as (R | undefined)[]
  }

  values(range: Range = {}): Results<R> {
    return this.#db.results<R>(this, undefined, range, Want.Values)
  }

  keys<Key = unknown>(range: Range = {}): Results<Key> {
    return this.#db.results<Key>(this, undefined, range, Want.Keys)
  }

  entries<Key = unknown>(range: Range = {}): Results<[Key, R]> {
    return this.#db.results<[Key, R]>(this, undefined, range, Want.Entries)
  }

  [Symbol.iterator](): Results<R> {
    return this.values()
  }

  /** How many rows the range has. Counts by reading: in proportion to their number. */
  count(range: Range = {}): number {
    return this.#db.reads.count(this.#db.storeOf(this), undefined, range, undefined)
  }

  /** Reads through a secondary index. Raises ERR_NO_SUCH_INDEX. */
  index(name: string): Index<R> {
    this.#db.reads.index(this.#db.storeOf(this), name)
    return new Index<R>(this.#db, this, name)
  }

  /** Resolves to the row's key. Raises DuplicateKeyError, ConflictError, ERR_INVALID_ROW, ERR_INVALID_KEY … */
  insert(row: Row<R>, options?: InsertOptions<R>): Promise<unknown>
  insert(key: unknown, value: R, options?: InsertOptions<R>): Promise<unknown>
  insert(...args: unknown[]): Promise<unknown> {
    return this.#db.ends.autocommit(this, (trx) => insertInto(this.#db, trx, this, args))
  }

  /** Inserts all rows or none, in one statement. Resolves to their keys. */
  insertMany(rows: Iterable<Row<R>>, options?: InsertOptions<R>): Promise<unknown[]> {
    return this.#db.transaction((tx) => tx.insertMany(this, rows, options))
  }

  /**
   * Inserts rows as they come, all or none, in one transaction. Resolves to their number. While it runs, other inserts that need an
   * auto-increment value wait for it, unless the database was opened with autoIncrementLockMode 2.
   */
  insertFrom(rows: AsyncIterable<Row<R>> | Iterable<Row<R>>, options?: InsertOptions<R>): Promise<number> {
    return this.#db.transaction(async (tx) => (await tx.insertFrom(this, rows, options)).count)
  }

  /** Inserts the row, or replaces the one with the same key. Resolves to the key. */
  put(row: Row<R>): Promise<unknown>
  put(key: unknown, value: R): Promise<unknown>
  put(...args: unknown[]): Promise<unknown> {
    return this.#db.ends.autocommit(this, (trx) => putInto(this.#db, trx, this, args))
  }

  /** Changes some fields, or makes a new row of the old one. Resolves to whether there was one. */
  update(key: unknown, change: Partial<R> | ((row: R) => R)): Promise<boolean> {
    return this.#db.ends.autocommit(this, (trx) =>
      this.#db.statements.rows.update(trx, this.#db.storeOf(this), key, change as object, 'wait'),
    )
  }

  /** Resolves to whether there was a row. */
  delete(key: unknown): Promise<boolean> {
    return this.#db.ends.autocommit(this, (trx) => this.#db.statements.rows.delete(trx, this.#db.storeOf(this), key, 'wait'))
  }

  /**
   * Sets the next auto-increment value, or, if that is in use, the one after the largest key. May go back: to values that rows have
   * had which are no more. Waits until no other transaction that has changed the table is open. Raises ERR_INVALID_ARGUMENT.
   */
  setAutoIncrement(next: number): Promise<void> {
    const store = this.#db.storeOf(this)
    if (!store.definition.autoIncrement) throw new InvalidArgumentError(`table '${this.name}' was made without autoIncrement`)
    if (!(Number.isSafeInteger(next) && next > 0))
      throw new InvalidArgumentError(`the next auto-increment value is a whole number from 1, not ${describe(next)}`, { next })
    return this.#db.ends.autocommit(this, (trx) => this.#db.statements.rows.setAutoIncrement(trx, store, next))
  }

  /**
   * Builds an index while the table is read and written. It waits for open transactions on the table at the beginning and at the end; when it
   * resolves, the index survives a crash, and is part of the definition. Raises DuplicateKeyError if two rows have the same key
   * in a unique one, ERR_INDEX_EXISTS, ERR_INVALID_KEY, ERR_LOCK_WAIT_TIMEOUT, ERR_ABORTED; then nothing of it is left.
   */
  async createIndex(name: string, options: IndexOptions, work: IndexBuildOptions = {}): Promise<void> {
    await this.#db.schemaChanges.createIndex(this.#db.storeOf(this), name, options, work)
  }

  /** Drops the index, when no open transaction has the table in use. Raises ERR_NO_SUCH_INDEX, ERR_LOCK_WAIT_TIMEOUT. */
  async dropIndex(name: string, options: SchemaChangeOptions = {}): Promise<void> {
    await this.#db.schemaChanges.dropIndex(this.#db.storeOf(this), name, options)
  }

  /**
   * Removes all rows at once, when no open transaction has the table in use; auto-increment begins at 1 again. Unlike deleteRange it is no part
   * of a transaction and cannot be rolled back. Raises ERR_LOCK_WAIT_TIMEOUT.
   */
  async truncate(options: SchemaChangeOptions = {}): Promise<void> {
    await this.#db.schemaChanges.truncate(this.#db.storeOf(this), options)
  }

  /** Key, indexes and the rest, as it is now. */
  get definition(): Readonly<TableDefinition> {
    return this.#db.storeOf(this).definition
  }
}

/** A secondary index, to read through. */
export class Index<R = unknown> {
  readonly name: string
  readonly #db: Database
  readonly #table: Table<R>

  /** @internal */
  constructor(db: Database, table: Table<R>, name: string) {
    this.#db = db
    this.#table = table
    this.name = name
  }

  /** The first row with this index key. Raises ERR_INVALID_KEY, also for the first elements of a compound key only: use values({ prefix }). */
  get(key: unknown): R | undefined {
    const store = this.#db.storeOf(this.#table)
    const index = this.#db.reads.index(store, this.name)
    const parts = index.definition.on.length
    if (parts > 1 && Array.isArray(key) && key.length !== parts) {
      throw new InvalidArgumentError(
        `a key of index '${this.name}' has ${parts} elements, not ${key.length}: use values({ prefix })`,
        { key },
        'ERR_INVALID_KEY',
      )
    }
    return this.#db.reads.getByIndex(store, index, key, undefined) as R | undefined
  }

  values(range: Range = {}): Results<R> {
    return this.#db.results<R>(this.#table, this.name, range, Want.Values)
  }

  /** Index keys. Reads the index alone, but for entries of rows being changed. */
  keys<Key = unknown>(range: Range = {}): Results<Key> {
    return this.#db.results<Key>(this.#table, this.name, range, Want.Keys)
  }

  primaryKeys<Key = unknown>(range: Range = {}): Results<Key> {
    return this.#db.results<Key>(this.#table, this.name, range, Want.PrimaryKeys)
  }

  /** [index key, row]. */
  entries<Key = unknown>(range: Range = {}): Results<[Key, R]> {
    return this.#db.results<[Key, R]>(this.#table, this.name, range, Want.Entries)
  }

  count(range: Range = {}): number {
    const store = this.#db.storeOf(this.#table)
    return this.#db.reads.count(store, this.#db.reads.index(store, this.name), range, undefined)
  }
}
