/**
 * The part of the public API that the conformance runner and the history workloads use, as they use it. The adapters are written against these
 * shapes, so that what they ask of the product stands in one place; `loadFace` binds them to the engine.
 */
import type { Environment } from '../../src/platform/environment.js'

export type FaceIsolation = 'read-uncommitted' | 'read-committed' | 'repeatable-read' | 'serializable' | 'snapshot'
export type FaceRow = Record<string, unknown>

export interface FaceRange {
  readonly index?: string
  /** Equality on every column of the key or index: a value, or an array for a compound one. */
  readonly eq?: unknown
  /** With `eq` on a secondary index: the entry of this row alone. */
  readonly primaryKey?: unknown
  /** Equality on the first columns of a compound key. */
  readonly prefix?: readonly unknown[]
  readonly gt?: unknown
  readonly gte?: unknown
  readonly lt?: unknown
  readonly lte?: unknown
  readonly reverse?: boolean
  readonly limit?: number
  /** A condition no index helps with. */
  where?(row: FaceRow): boolean
}

export interface FaceWait {
  readonly wait?: 'nowait' | 'skip' | number
}

export interface FaceLocking extends FaceWait {
  readonly lock?: 'share' | 'update'
}

export type FaceUpdater = (row: FaceRow) => FaceRow

export interface FaceInsertOptions extends FaceWait {
  readonly onDuplicate?: 'ignore' | 'replace' | FaceUpdater
  /** Told each row that is removed to make place for a new one. */
  onReplaced?(row: FaceRow): void
}

export interface FaceInsertFromResult {
  readonly count: number
  /** Key of the first row inserted. */
  readonly firstKey: unknown
}

export interface FaceCursor<T> extends AsyncIterable<T> {
  toArray(): Promise<T[]>
}

/** How a schema change waits; `under`, table locks of the caller's. */
export interface FaceSchemaChange {
  readonly wait?: number
  readonly under?: FaceLockedTables
}

export interface FaceTable {
  readonly name: string
  truncate(options?: FaceSchemaChange): Promise<void>
  createIndex(name: string, definition: { on: string | readonly string[]; unique?: boolean }, options?: FaceSchemaChange): Promise<void>
  setAutoIncrement(next: number): Promise<void>
}

export interface FaceTransaction {
  /** As `db.locks()` names it. */
  readonly id: number
  get(table: FaceTable, key: unknown, options?: FaceLocking): Promise<FaceRow | undefined>
  values(table: FaceTable, range: FaceRange, options?: FaceLocking): FaceCursor<FaceRow>
  /** Index keys, from the index alone; locking, they lock the index alone. */
  keys(table: FaceTable, range: FaceRange, options?: FaceLocking): FaceCursor<unknown>
  /** Primary keys, from the index alone, in the order of `keys`. */
  primaryKeys(table: FaceTable, range: FaceRange, options?: FaceLocking): FaceCursor<unknown>
  insert(table: FaceTable, row: FaceRow, options?: FaceInsertOptions): Promise<unknown>
  /** One statement. Resolves to the rows' keys; undefined for one that was ignored, that of the row changed for one that was there. */
  insertMany(table: FaceTable, rows: readonly FaceRow[], options?: FaceInsertOptions): Promise<unknown[]>
  /** One statement, of rows not known beforehand. The source may read through this same transaction: that is part of the statement. */
  insertFrom(table: FaceTable, source: AsyncIterable<FaceRow>, options?: FaceWait): Promise<FaceInsertFromResult>
  /** Resolves to whether there was such a row. */
  update(table: FaceTable, key: unknown, change: FaceRow | FaceUpdater, options?: FaceWait): Promise<boolean>
  delete(table: FaceTable, key: unknown, options?: FaceWait): Promise<boolean>
  updateRange(table: FaceTable, range: FaceRange, change: FaceUpdater, options?: FaceWait): Promise<number>
  deleteRange(table: FaceTable, range: FaceRange, options?: FaceWait): Promise<number>
  savepoint(): unknown
  rollbackTo(savepoint: unknown): Promise<void>
  lockTable(table: FaceTable, mode: 'read' | 'write', options?: FaceWait): Promise<void>
  commit(): Promise<void>
  rollback(): Promise<void>
}

/** The same operations, synchronous; a lock that would have to wait throws at once. */
export interface FaceSyncTransaction {
  get(table: FaceTable, key: unknown, options?: FaceLocking): FaceRow | undefined
  primaryKeys(table: FaceTable, range: FaceRange, options?: FaceLocking): Iterable<unknown>
  insert(table: FaceTable, row: FaceRow): unknown
  update(table: FaceTable, key: unknown, change: FaceRow | FaceUpdater): boolean
  delete(table: FaceTable, key: unknown): boolean
}

export interface FaceSnapshot {
  get(table: FaceTable, key: unknown): FaceRow | undefined
  values(table: FaceTable, range: FaceRange): Iterable<FaceRow>
  close(): void
}

export interface FaceLock {
  readonly transaction: number
  readonly table: string
  readonly index?: string
  /** The index key; a value, or an array for a compound one. */
  readonly key?: unknown
  readonly primaryKey?: unknown
  readonly supremum?: boolean
  readonly mode: 'S' | 'X' | 'IS' | 'IX' | 'AUTO-INC'
  readonly kind: 'record' | 'gap' | 'next-key' | 'insert-intention' | 'table'
  readonly status: 'granted' | 'waiting'
}

export interface FaceMetadataLock {
  /** The transaction, or undefined for a statement outside any (DDL, freeze). */
  readonly transaction?: number
  readonly object: string
  readonly status: 'granted' | 'waiting'
}

export interface FaceTransactionOptions {
  readonly isolation?: FaceIsolation
  readonly snapshotNow?: boolean
  readonly readOnly?: boolean
}

/** Tables locked across transactions, which run under the locks. */
export interface FaceLockedTables {
  begin(options?: FaceTransactionOptions): Promise<FaceTransaction>
  unlock(): void
}

export interface FaceDatabase {
  table(
    name: string,
    definition: {
      key: string | readonly string[]
      autoIncrement?: boolean
      indexes?: Record<string, { on: string | readonly string[]; unique?: boolean }>
    },
  ): Promise<FaceTable>
  begin(options?: FaceTransactionOptions): Promise<FaceTransaction>
  transactionSync<T>(work: (tx: FaceSyncTransaction) => T, options?: FaceTransactionOptions): T
  snapshot(): FaceSnapshot
  locks(): FaceLock[]
  metadataLocks(): FaceMetadataLock[]
  lockTables(
    tables: { read: readonly FaceTable[]; write: readonly FaceTable[] },
    options?: { readonly wait?: number; readonly signal?: AbortSignal },
  ): Promise<FaceLockedTables>
  /** Resolves when nothing is left to purge but what an open view may need. */
  purge(): Promise<void>
  renameTable(from: string, to: string, options?: FaceSchemaChange): Promise<void>
  dropTable(name: string, options?: FaceSchemaChange): Promise<void>
  freeze(work: () => Promise<void>, options?: { readonly wait?: number; readonly signal?: AbortSignal }): Promise<void>
  close(): Promise<void>
}

export interface FaceOpenOptions {
  readonly isolation?: FaceIsolation
  readonly durability?: 'sync' | 'write' | 'lazy'
  readonly autoIncrementLockMode?: 0 | 1 | 2
  readonly cacheSize?: number
  readonly lockWaitTimeout?: number
  readonly logSegmentSize?: number
}

export interface Face {
  /** As `open`, with seams of the caller's. */
  openWith(environment: Environment, directory: string, options?: FaceOpenOptions): Promise<FaceDatabase>
}

/** The engine of this repository. Rejects when it cannot be loaded. */
export async function loadFace(): Promise<Face> {
  const module = (await import(new URL('../../src/database.ts', import.meta.url).href)) as Partial<Face>
  if (typeof module.openWith !== 'function') throw new Error('src/database.ts does not export openWith()')
  return module as Face
}
