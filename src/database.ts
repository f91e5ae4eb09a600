import { EventEmitter } from 'node:events'
import { type BackupOptions, type BackupReport, backUp } from './backup.js'
import { callSite } from './base/call-site.js'
import { InvalidArgumentError, NextkeyError } from './base/errors.js'
import { OrderedList } from './base/ordered-list.js'
import { type CompactReport, compact } from './compact.js'
import { asNextkeyError, lockDatabase, prepareDirectory } from './directory.js'
import { freeze } from './freeze.js'
import { type Inspector, withInspector } from './inspector.js'
import { describeTransaction, type Lock, listLocks, lockNames, type TransactionInfo } from './introspection.js'
import { warnOfLeaks } from './leaks.js'
import type { Deadlock } from './lock/deadlock.js'
import type { DirectoryLock } from './lock/directory-lock.js'
import { LockedTables, type TablesToLock } from './locked-tables.js'
import { checkLongWork, type LongWorkOptions, longWorkHooks } from './long-work.js'
import { BEGIN_OPTIONS, runManaged, type Work } from './managed-transaction.js'
import { listMetadataLocks, type MetadataLockInfo } from './metadata.js'
import { ISOLATION_LEVELS, type OpenOptions, type ResolvedOptions, recoveryOptions, resolveOptions } from './options.js'
import { type Environment, systemEnvironment } from './platform/environment.js'
import type { Range } from './range.js'
import { Reads } from './reads.js'
import { LoopView, type Results } from './results.js'
import { noSuchTable, SchemaChanges } from './schema-changes.js'
import type { CoarseWait, SchemaChangeOptions } from './schema-locks.js'
import { mustBeShared, SharedReads } from './shared-reads.js'
import { Snapshot } from './snapshot.js'
import { Statements } from './statements.js'
import { describeStatus, type Status } from './status.js'
import { SyncTransaction } from './sync-transaction.js'
import { Table } from './table.js'
import { mustMatch, resolveTableOptions, type TableOptions } from './table-options.js'
import { Transaction } from './transaction.js'
import { checkTransactionOptions, type ManagedTransactionOptions, TransactionCore, type TransactionOptions } from './transaction-core.js'
import { TransactionEnds } from './transaction-ends.js'
import { Turns } from './turns.js'
import { type CheckReport, checkDatabase } from './txn/check.js'
import type { Engine } from './txn/engine.js'
import type { Want } from './txn/range-scan.js'
import { closeDataFile, openEngine } from './txn/recovery.js'
import type { TableStore } from './txn/table-store.js'
import { TableUse } from './txn/table-use.js'
import { type WaitOptions, Waits } from './waits.js'
import { type DatabaseEvents, Watch } from './watch.js'

/**
 * Opens the database in a directory, making it if there is none, and recovers it if it was not closed.
 *
 * Raises ERR_DIRECTORY_LOCKED (somebody has it open), ERR_ANOTHER_WRITER (somebody opened it meanwhile, past the lock), ERR_NOT_A_DATABASE, ERR_FORMAT_VERSION, ERR_DAMAGED, ERR_LOG_DAMAGED,
 * ERR_NOT_FOUND (read-only, and nothing there), ERR_INVALID_ARGUMENT.
 */
export async function open(directory: string, options: OpenOptions = {}): Promise<Database> {
  return openWith(systemEnvironment, directory, options)
}

/** As `open`, with seams of the caller's: for tests. */
export async function openWith(environment: Environment, directory: string, options: OpenOptions = {}): Promise<Database> {
  const resolved = resolveOptions(options)
  const openedAt = callSite()
  const path = prepareDirectory(environment, directory, resolved.readOnly)
  const lock = resolved.unsafeShared ? undefined : await lockDatabase(environment, path, resolved, openedAt)
  try {
    const engine = await openEngine(environment, recoveryOptions(path, resolved))
    const db = new Database(engine, resolved, path, lock)
    return resolved.inspect ? await withInspector(db) : db
  } catch (error) {
    lock?.release()
    throw asNextkeyError(error, path)
  }
}

export class Database extends EventEmitter<DatabaseEvents> {
  readonly directory: string
  /** @internal */
  readonly engine: Engine
  /** @internal */
  readonly options: ResolvedOptions
  /** @internal */
  readonly statements: Statements
  /** @internal */
  readonly reads: Reads
  /** @internal */
  readonly ends: TransactionEnds
  /** @internal */
  readonly waits: Waits
  /** @internal */
  readonly watch: Watch
  /** @internal */
  readonly schemaChanges: SchemaChanges
  /** @internal */
  readonly tableUse: TableUse
  /** @internal */
  inspector: Inspector | undefined
  readonly #lock: DirectoryLock | undefined
  readonly #handles: Map<TableStore, Table> = new Map()
  readonly #transactions: OrderedList<TransactionCore> = new OrderedList()
  #closing: Promise<void> | undefined
  readonly #turns: Turns
  /** Asynchronous work that close() waits for. */
  readonly #working: Set<Promise<unknown>> = new Set()
  readonly #exitHook: () => void

  /** @internal Use `open`. */
  constructor(engine: Engine, options: ResolvedOptions, directory: string, lock: DirectoryLock | undefined) {
    super()
    this.engine = engine
    this.options = options
    this.directory = directory
    this.#lock = lock
    this.statements = new Statements(engine, options.autoIncrementLockMode)
    this.reads = engine.shared === undefined ? new Reads(engine) : new SharedReads(engine, engine.shared)
    this.watch = new Watch(this, engine, options, this.#transactions)
    this.ends = new TransactionEnds(this)
    this.waits = new Waits(engine, this.watch.selfWaits)
    this.schemaChanges = new SchemaChanges(this)
    this.tableUse = new TableUse(engine.rowLocks)
    engine.rowLocks.locks.graph.names = lockNames(engine)
    this.#turns = new Turns(engine.environment.clock)
    // What is committed but not yet on disk, under 'write' and 'lazy', is made durable when the process ends in an orderly way.
    this.#exitHook = () => {
      if (engine.wal !== undefined && !engine.wal.poisoned) engine.wal.syncNow()
    }
    if (!options.readOnly) process.on('exit', this.#exitHook)
  }

  // ── tables ────────────────────────────────────────────────────────────────────────────────────────────────────────

  /**
   * The table of this name, made if it is not there. With a definition, one that is there must have the same: ERR_TABLE_MISMATCH
   * names the difference; indexes added by createIndex() are none. Without, whatever is there will do.
   */
  async table<R = unknown>(name: string, options?: TableOptions): Promise<Table<R>> {
    this.mustBeOpen()
    const shape = resolveTableOptions(name, options ?? {})
    let store = this.engine.catalog.tableByName(name)
    store ??= await this.schemaChanges.createTable(shape)
    if (options !== undefined) mustMatch(shape, store.definition)
    let handle = this.#handles.get(store)
    if (handle === undefined) {
      handle = new Table(this, store)
      this.#handles.set(store, handle)
    }
    return handle as Table<R>
  }

  /** Names of the tables there are. */
  tables(): string[] {
    this.mustBeOpen()
    return this.engine.catalog.tables().map((table) => table.name)
  }

  /** @internal The open table behind a handle. Raises ERR_CLOSED, ERR_NO_SUCH_TABLE, ERR_INVALID_ARGUMENT. */
  storeOf(table: object): TableStore {
    if (this.#closing !== undefined) this.mustBeOpen()
    const store = Table.storeOf(this, table)
    if (store === undefined) throw new InvalidArgumentError('this is not a table of this database: use what db.table() gave')
    if (store.dropped) throw noSuchTable(store.name)
    return store
  }

  /**
   * Drops the table, when no open transaction has it in use. Handles to it are dead: ERR_NO_SUCH_TABLE. Its pages are freed in the background.
   * Raises ERR_NO_SUCH_TABLE, ERR_LOCK_WAIT_TIMEOUT.
   */
  async dropTable(name: string, options: SchemaChangeOptions = {}): Promise<void> {
    this.mustBeOpen()
    this.#handles.delete(await this.schemaChanges.dropTable(name, options))
  }

  /**
   * Gives the table another name, when no open transaction has it in use. Handles to it go on.
   * Raises ERR_NO_SUCH_TABLE, ERR_TABLE_EXISTS, ERR_LOCK_WAIT_TIMEOUT.
   */
  async renameTable(from: string, to: string, options: SchemaChangeOptions = {}): Promise<void> {
    this.mustBeOpen()
    await this.schemaChanges.renameTable(from, to, options)
  }

  // ── transactions ──────────────────────────────────────────────────────────────────────────────────────────────────

  /** A transaction of the caller's to end: by commit(), rollback(), or, with `await using`, by leaving its scope. */
  async begin(options: TransactionOptions = {}): Promise<Transaction> {
    this.mustBeOpen()
    checkTransactionOptions(options, BEGIN_OPTIONS, ISOLATION_LEVELS)
    return new Transaction(new TransactionCore(this, options))
  }

  /**
   * Runs the function in a transaction, which is committed when it returns and rolled back when it throws. With `retries`, a
   * retryable error (deadlock, conflict) starts it anew, with a new transaction object, after a pause that grows.
   */
  async transaction<T>(work: Work<T>, options: ManagedTransactionOptions = {}): Promise<T> {
    return runManaged(this, (own, signal) => new TransactionCore(this, own, signal), work, options)
  }

  /** Runs the function in a transaction within this call: the fastest form. It must not be async. */
  transactionSync<T>(work: (tx: SyncTransaction) => T, options: TransactionOptions = {}): T {
    this.mustBeOpen()
    checkTransactionOptions(options, BEGIN_OPTIONS, ISOLATION_LEVELS)
    const core = new TransactionCore(this, options)
    this.engine.checkpoints.advanceIfOverdue()
    try {
      const result = work(new SyncTransaction(core))
      if (typeof (result as { then?: unknown } | null | undefined)?.then === 'function') {
        throw new InvalidArgumentError(
          'the function given to transactionSync() returned a promise: use transaction(), this one was rolled back',
        )
      }
      core.mustBeOpen()
      if (this.tableUse.mustAskToCommit(core.trx)) this.tableUse.askToCommit(core.trx).next()
      this.ends.commitSync(core)
      return result
    } catch (error) {
      core.end('was rolled back because its function threw')
      this.ends.giveUp(core.trx)
      throw error
    }
  }

  /** One state of the database, to read from several tables. */
  snapshot(): Snapshot {
    this.mustBeOpen()
    return new Snapshot(this, this.engine.system.openView(0 as never))
  }

  /** @internal */
  register(core: TransactionCore): void {
    this.#transactions.add(core)
  }

  /** @internal */
  unregister(core: TransactionCore): void {
    this.#transactions.remove(core)
  }

  /** @internal How long to wait for locks: as the database says, or for as many milliseconds as the caller does. */
  timeouts(wait?: unknown, signal?: AbortSignal): WaitOptions {
    const { lockWaitTimeout, metadataLockTimeout } = this.options
    if (typeof wait === 'number') return { timeout: wait, metadataTimeout: wait, signal }
    return { timeout: lockWaitTimeout, metadataTimeout: metadataLockTimeout, signal }
  }

  /** @internal A range read that shows what is committed when its loop begins. */
  results<T>(table: object, indexName: string | undefined, range: Range, want: Want): Results<T> {
    const store = this.storeOf(table)
    const index = indexName === undefined ? undefined : this.reads.index(store, indexName)
    return this.reads.results<T>(store, index, range, want, () => {
      const loop = new LoopView(this.engine, this.engine.system.openView(0 as never))
      return { view: loop.view, check: () => this.mustBeOpen(), release: () => loop.release() }
    })
  }

  // ── coarse locks ──────────────────────────────────────────────────────────────────────────────────────────────────

  /**
   * Locks tables until they are unlocked, whatever the transactions under the locks do (LOCK TABLES). Waits for open transactions on them.
   * Raises ERR_LOCK_WAIT_TIMEOUT, ERR_DEADLOCK, ERR_NO_SUCH_TABLE, ERR_ABORTED.
   */
  lockTables(tables: TablesToLock, options: CoarseWait = {}): Promise<LockedTables> {
    return LockedTables.lock(this, tables, options)
  }

  /**
   * Runs the function while nobody changes anything (FLUSH TABLES WITH READ LOCK): statements that change rows, commits of transactions
   * that have, and schema changes wait; reads go on. The function must not wait for any of them: it would wait for itself.
   * Raises ERR_LOCK_WAIT_TIMEOUT, ERR_DEADLOCK, ERR_ABORTED, and whatever the function does.
   */
  freeze<T>(work: () => Promise<T> | T, options: CoarseWait = {}): Promise<T> {
    return freeze(this, work, options)
  }

  /** Every metadata lock held or waited for. */
  metadataLocks(): MetadataLockInfo[] {
    return listMetadataLocks(this.engine)
  }

  // ── the whole database ────────────────────────────────────────────────────────────────────────────────────────────

  /** Everything acknowledged so far is on disk when this resolves, whatever the durability. */
  async flush(): Promise<void> {
    this.mustBeOpen()
    await this.track(this.engine.wal?.flush() ?? Promise.resolve())
  }

  /** Writes everything so far into the data file, so that recovery has no log to read. */
  async checkpoint(): Promise<void> {
    this.mustBeOpen()
    await this.track(this.engine.checkpoints.nextUnlessFull())
  }

  /**
   * In a reader opened with `unsafeShared` and `readOnly`: moves on to the owner's newest checkpoint. Open snapshots, transactions and loops
   * are gone then: ERR_SNAPSHOT_GONE. Resolves to whether there was a newer one. Raises ERR_INVALID_ARGUMENT elsewhere.
   */
  async refresh(): Promise<boolean> {
    this.mustBeOpen()
    return mustBeShared(this.engine).refresh()
  }

  /** Gives free space back to the file system, moving pages from the end of the file into free blocks. Raises ERR_ABORTED. */
  async compact(options: LongWorkOptions = {}): Promise<CompactReport> {
    this.mustBeOpen()
    return this.track(compact(this.engine, options))
  }

  /** Copies the database, as it is now, to another directory, while it is in use; or brings a copy there up to date: see backup.ts. */
  async backup(directory: string, options: BackupOptions = {}): Promise<BackupReport> {
    this.mustBeOpen()
    return this.track(backUp(this.engine, directory, options))
  }

  /** Checks every block, page, entry and version, in slices. Resolves to what is wrong, and some figures. Raises ERR_ABORTED. */
  async check(options: LongWorkOptions = {}): Promise<CheckReport> {
    this.mustBeOpen()
    checkLongWork(options, 'check()')
    return this.track(checkDatabase(this.engine, longWorkHooks(options, this)))
  }

  /** Every lock held or waited for, table locks first. */
  locks(): Lock[] {
    return listLocks(this.engine)
  }

  /** Transactions that are open. */
  transactions(): TransactionInfo[] {
    return Array.from(this.#transactions, (core) => describeTransaction(this.engine, core))
  }

  /** The last deadlock, with every transaction, lock and wait in it; `String()` of it reads like InnoDB's. */
  get latestDeadlock(): Deadlock | undefined {
    return this.engine.rowLocks.locks.latestDeadlock ?? undefined
  }

  /** Resolves when nothing is left to purge but what an open view may need. Raises ERR_DISK_FULL. */
  async purge(): Promise<void> {
    this.mustBeOpen()
    while (this.engine.purging.hasWork && this.engine.failure === undefined) {
      const { full } = this.engine.pager.space
      if (full !== undefined) throw full
      this.engine.purging.payAll()
      await this.engine.environment.clock.macrotask()
    }
  }

  status(): Status {
    return describeStatus(this.engine, this.#transactions.size)
  }

  /**
   * Ends everything: transactions still open are rolled back, the log is flushed, a checkpoint written, the lock released.
   * A second call gets the same promise. What failed before does not fail again here: recovery will see to it.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  async #close(): Promise<void> {
    const { engine } = this
    warnOfLeaks(this.directory, this.#transactions, engine.system.views)
    engine.pager.space.giveUp()
    try {
      engine.rowLocks.close(() => new NextkeyError('ERR_CLOSED', 'the database was closed while the statement was waiting for a lock'))
      for (const core of Array.from(this.#transactions)) core.rollback('was rolled back: the database was closed')
      this.ends.giveUpWaiting()
      await Promise.allSettled(this.#working)
      this.watch.stop()
      engine.purging.stop()
      await engine.checkpoints.stop()
      if (!this.options.readOnly && engine.failure === undefined) await engine.checkpoints.finish()
    } finally {
      process.off('exit', this.#exitHook)
      await this.inspector?.close()
      await engine.wal?.close().catch(() => {})
      await closeDataFile(engine.file)
      this.#lock?.release()
    }
  }

  /** @internal */
  get isClosing(): boolean {
    return this.#closing !== undefined
  }

  /** @internal Raises ERR_CLOSED. */
  mustBeOpen(): void {
    if (this.#closing !== undefined) throw new NextkeyError('ERR_CLOSED', `the database in ${this.directory} is closed: open it again`)
  }

  /** @internal What an asynchronous operation awaits before it ends: a turn of the event loop, or a checkpoint that work outruns (D1). */
  pause(): Promise<void> | undefined {
    return this.engine.overdue() ?? this.#turns.next()
  }

  /** @internal Whatever close() waits for. */
  async track<T>(work: Promise<T>): Promise<T> {
    this.#working.add(work)
    try {
      return await work
    } finally {
      this.#working.delete(work)
    }
  }
}
