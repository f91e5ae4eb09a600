import { assert } from '../base/assert.js'
import { NextkeyError } from '../base/errors.js'
import type { LogPosition, PageId, TableId } from '../base/ids.js'
import type { LockOwner } from '../lock/lock-owner.js'
import type { Environment } from '../platform/environment.js'
import type { File } from '../platform/file-system.js'
import type { Checkpointer } from '../storage/checkpoint.js'
import type { Pager } from '../storage/pager.js'
import type { WriteAheadLog } from '../wal/write-ahead-log.js'
import type { Catalog } from './catalog.js'
import { CheckpointDriver } from './checkpoint-driver.js'
import { encodeCounter, encodeStructure, LogKind } from './log-records.js'
import { MetaKind } from './meta-tree.js'
import { Purge } from './purge.js'
import { PurgeDriver } from './purge-driver.js'
import { Rollback } from './rollback.js'
import { RowLocks } from './row-locks.js'
import type { RowReader } from './row-reader.js'
import { RowWriter } from './row-writer.js'
import { Schema } from './schema.js'
import type { SharedReader } from './shared-reader.js'
import type { TableStore } from './table-store.js'
import { type IsolationLevel, type Trx, TrxState, type UndoMark } from './trx.js'
import type { TrxSystem } from './trx-system.js'

export interface EngineOptions {
  cacheSize: number
  /** Log bytes after which a checkpoint begins. */
  checkpointBytes: number
  /** Milliseconds after which one begins if anything was committed. */
  checkpointInterval: number
  /** Milliseconds after which a read view that holds back purge is closed; undefined: never. */
  maxViewAge: number | undefined
  readOnly: boolean
}

/** What recovery hands over. */
export interface EngineParts {
  environment: Environment
  options: EngineOptions
  file: File
  pager: Pager
  checkpointer: Checkpointer
  system: TrxSystem
  reader: RowReader
  catalog: Catalog
  rootPage: PageId
}

/**
 * The core, put together: transactions over tables over pages and log. Everything here is synchronous but the promises that say when
 * something is durable. Users' handles, options and argument checks are the face's.
 *
 * E1. A commit appends its group to the log, then becomes visible, in one turn. Whoever saw it comes later in the same log.
 * E2. A failure in the middle of a change leaves pages that nobody may trust: the engine is then `broken`, and refuses even reads.
 *     A failure of a log or checkpoint write leaves memory whole: reads go on, changes are refused.
 */
export class Engine {
  readonly environment: Environment
  readonly options: EngineOptions
  readonly file: File
  readonly pager: Pager
  readonly system: TrxSystem
  readonly reader: RowReader
  readonly writer: RowWriter
  readonly rowLocks: RowLocks
  readonly catalog: Catalog
  readonly schema: Schema
  readonly checkpoints: CheckpointDriver
  readonly purging: PurgeDriver
  readonly #rollback: Rollback
  /** Undefined in a read-only engine. */
  wal: WriteAheadLog | undefined
  /** A change stopped half-way (E2). */
  broken: NextkeyError | undefined
  /** Log position after the newest commit: what a read of the newest state depends on. */
  lastCommit: LogPosition = 0 as LogPosition
  /** In a reader beside an owner: what moves it on. */
  shared: SharedReader | undefined
  /** A backup is under way: there is one at a time. */
  backingUp = false
  readonly #movedCounters: TableStore[] = []
  /** Log position after the newest counter: whoever ends may have been given its value, whoever logged it. */
  #countersThrough: LogPosition = 0 as LogPosition

  constructor(parts: EngineParts) {
    this.environment = parts.environment
    this.options = parts.options
    this.file = parts.file
    this.pager = parts.pager
    this.system = parts.system
    this.reader = parts.reader
    this.catalog = parts.catalog
    this.schema = new Schema(this.pager, this.system, this.reader, this.catalog)
    this.rowLocks = new RowLocks(this.pager, this.system, parts.environment.clock)
    this.rowLocks.locks.isTable = (name) => this.catalog.tableByName(name) !== undefined
    this.writer = new RowWriter(this.pager, this.system, this.reader, this.rowLocks)
    this.#rollback = new Rollback(this.pager, this.system, this.catalog, this.rowLocks)
    this.purging = new PurgeDriver(new Purge(this.pager, this.system, this.catalog, this.rowLocks), this)
    this.checkpoints = new CheckpointDriver(this, parts.checkpointer, parts.rootPage)
    this.catalog.onNewStructure = (table, id, fields) => this.#logStructure(table, id, fields)
  }

  /** Refuses work that changes anything. Raises ERR_READ_ONLY, ERR_POISONED, ERR_INTERNAL. */
  mustWrite(): void {
    if (this.options.readOnly)
      throw new NextkeyError('ERR_READ_ONLY', 'the database was opened read-only: open it without readOnly to change it')
    this.mustRead()
    if (this.pager.failure !== undefined) throw this.pager.failure
    const failure = this.wal?.failure ?? this.pager.space.full
    if (failure !== undefined) throw failure
  }

  mustRead(): void {
    if (this.broken !== undefined) throw this.broken
  }

  /** What failed first and closed the database to writes; undefined while all is well. */
  get failure(): NextkeyError | undefined {
    return this.broken ?? this.pager.failure ?? this.wal?.failure
  }

  begin(isolation: IsolationLevel, owner?: LockOwner): Trx {
    return this.system.begin(isolation, owner)
  }

  /** Runs a change of pages that has no reason to fail. If it does, it stopped half-way, and the engine is broken (E2). */
  change<T>(work: () => T): T {
    try {
      return work()
    } catch (error) {
      throw this.break(error)
    }
  }

  /**
   * What became of an error in a row operation, whose steps check before they change (W1, W3 of RowWriter): raised in a step that has
   * changed nothing yet, be it a duplicate, a deadlock or a damaged page, it is the caller's, who undoes the steps before; else the
   * engine is broken.
   */
  judge(error: unknown): unknown {
    if (!this.pager.changedInOperation) return error
    return this.break(error)
  }

  break(cause: unknown): NextkeyError {
    this.broken ??=
      cause instanceof NextkeyError
        ? cause
        : new NextkeyError('ERR_INTERNAL', `a change stopped half-way: ${(cause as Error).message}`, { cause })
    this.pager.poison(cause, 'a change in the middle of which something')
    return this.broken
  }

  // ── undoing ───────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Undoes some `changes` changes made since the mark, and the row at hand; true when none is left. */
  undoStep(trx: Trx, mark: UndoMark | undefined, changes: number): boolean {
    return this.change(() => this.#rollback.step(trx, mark, changes))
  }

  /** Back to the transaction's very beginning: everything is undone, no lock and no view is left, and it goes on. */
  restart(trx: Trx): void {
    this.undoStep(trx, undefined, Number.POSITIVE_INFINITY)
    trx.redo.clear()
    if (trx.view !== undefined) this.system.closeView(trx.view)
    trx.view = undefined
    this.rowLocks.locks.releaseAll(trx.owner)
  }

  /** Ends the transaction; everything it did is undone already. */
  finishRollback(trx: Trx): void {
    this.#logCountersOfRollback(trx)
    this.change(() => this.system.finishRollback(trx))
    this.#endOf(trx)
  }

  rollback(trx: Trx): void {
    if (this.broken === undefined && this.pager.failure === undefined) {
      this.undoStep(trx, undefined, Number.POSITIVE_INFINITY)
      this.finishRollback(trx)
    } else this.abandon(trx)
  }

  /** With the database closed to changes nothing can be undone: recovery will. What it has changed is locked for good. */
  abandon(trx: Trx): void {
    const { failure } = this
    if (trx.hasLog && failure !== undefined) this.rowLocks.close(() => failure)
    trx.state = TrxState.RolledBack
    this.#endOf(trx)
  }

  // ── committing ────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Whether the transaction is too big for the log, and commits by checkpoint. */
  isBig(trx: Trx): boolean {
    return trx.redo.dropped
  }

  /**
   * Commits: appends the redo, makes the changes visible (E1). Returns the log position that must be durable before the commit
   * may be acknowledged; for a read-only transaction that of the newest commit it may have seen.
   * Raises ERR_DISK_FULL, ERR_POISONED or ERR_COMMIT_UNKNOWN; the transaction is then still to be rolled back.
   */
  commit(trx: Trx): LogPosition {
    assert(!trx.redo.dropped, 'a big transaction commits by checkpoint')
    if (!trx.redo.isEmpty) {
      this.mustWrite()
      const wal = this.wal as WriteAheadLog
      const { bytes, length } = trx.redo
      wal.reserve(length + this.#movedCounters.length * COUNTER_BYTES, 1 + this.#movedCounters.length)
      this.#logCounters()
      new DataView(bytes.buffer).setFloat64(0, trx.trxId, true)
      this.lastCommit = trx.commitPosition = wal.append(LogKind.Commit, bytes, 0, length)
    } else {
      this.#logCounters()
      trx.commitPosition = Math.max(this.lastCommit, this.#countersThrough) as LogPosition
    }
    this.change(() => this.system.finishCommit(trx))
    this.#endOf(trx)
    return trx.commitPosition
  }

  /** Commits a big transaction: resolves when a checkpoint that holds it is complete. */
  async commitByCheckpoint(trx: Trx): Promise<void> {
    this.mustWrite()
    this.#logCounters()
    trx.state = TrxState.Committing
    await this.checkpoints.next()
    this.#finishBig(trx)
  }

  commitByCheckpointSync(trx: Trx): void {
    this.mustWrite()
    this.#logCounters()
    trx.state = TrxState.Committing
    this.checkpoints.runSync()
    this.#finishBig(trx)
  }

  #finishBig(trx: Trx): void {
    trx.commitPosition = (this.wal as WriteAheadLog).durableThrough
    this.lastCommit = Math.max(this.lastCommit, trx.commitPosition) as LogPosition
    this.change(() => this.system.finishCommit(trx))
    this.#endOf(trx)
  }

  #endOf(trx: Trx): void {
    this.system.recycle(trx)
    this.rowLocks.locks.releaseAll(trx.owner)
    if (trx.view !== undefined) this.system.closeView(trx.view)
    trx.view = undefined
    this.purging.poke()
  }

  // ── beside transactions ───────────────────────────────────────────────────────────────────────────────────────────

  /** The table's restart counter was moved; it is in the log at the end of whichever transaction ends next. */
  counterMoved(table: TableStore): void {
    if (!this.#movedCounters.includes(table)) this.#movedCounters.push(table)
  }

  /** Sets what the table gives out next, now and after a restart, be it less than before. */
  setCounter(table: TableStore, next: number): void {
    table.counter = next
    table.restartCounter = next
    this.counterMoved(table)
  }

  /** Whether there were any to log. */
  #logCounters(): boolean {
    if (this.#movedCounters.length === 0 || this.wal === undefined || this.wal.poisoned) return false
    for (let table = this.#movedCounters.at(-1); table !== undefined; table = this.#movedCounters.at(-1)) {
      if (!table.dropped) {
        const record = encodeCounter(table.id, table.restartCounter)
        this.wal.append(LogKind.Counter, record, 0, record.length)
        this.storeCounter(table)
      }
      this.#movedCounters.pop()
    }
    this.#countersThrough = this.wal.end
    return true
  }

  /** A rollback has nothing else to log. Whoever awaits it awaits `commitPosition`; where nobody does, the log is on its way to disk. */
  #logCountersOfRollback(trx: Trx): void {
    try {
      const logged = this.#logCounters()
      trx.commitPosition = this.#countersThrough
      if (logged) this.wal?.commitDurability(trx.commitPosition)?.catch(() => {})
    } catch {
      // No room in the log, or it failed: what is not in it stays in the list for the transaction that ends next.
    }
  }

  storeCounter(table: TableStore): void {
    const value = Buffer.alloc(8)
    value.writeDoubleLE(table.restartCounter)
    this.change(() => this.catalog.meta.set(MetaKind.Counter, table.id, 0, value))
  }

  #logStructure(table: TableId, id: number, fields: readonly string[]): void {
    this.mustWrite()
    const wal = this.wal as WriteAheadLog
    const json = Buffer.from(JSON.stringify(fields), 'utf8')
    const record = encodeStructure(table, id, json)
    wal.append(LogKind.Structure, record, 0, record.length)
    this.change(() => this.catalog.meta.set(MetaKind.Structure, table, id, json))
    // The change is whole: what the row that made it raises later stopped nothing half-way.
    this.pager.beginOperation()
  }

  /** For asynchronous operations: a promise to wait for if work outruns a checkpoint or the writing of pages. */
  overdue(): Promise<void> | undefined {
    const { cleaner, space } = this.pager
    const wait = space.isFull ? undefined : (this.checkpoints.overdue() ?? cleaner.behind)
    // Whoever waits is let go when the disk is full, to be refused (N1).
    return wait === undefined ? undefined : space.orFull(wait)
  }

  /** After each statement: debts that background work has run up are paid inline (D1). */
  payDebts(): void {
    this.purging.payDebts()
    this.checkpoints.payDebts()
  }
}

const COUNTER_BYTES = 12
