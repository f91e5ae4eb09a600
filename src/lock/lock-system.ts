import { assert } from '../base/assert.js'
import type { TableId, TreeId } from '../base/ids.js'
import type { Deadlock } from './deadlock.js'
import { Inheritance } from './inheritance.js'
import { RecordLock, type TableLock } from './lock-modes.js'
import type { LockOwner } from './lock-owner.js'
import { type KeysWithin, recordLockInfos } from './lock-report.js'
import { type CancelReason, type LockInfo, type LockRequest, LockResult } from './lock-request.js'
import { MetadataLocks } from './metadata-locks.js'
import { Duration, type MetadataLock } from './metadata-modes.js'
import { OwnerList } from './owner-list.js'
import { RecordLocks } from './record-locks.js'
import type { ScanLock } from './scan-lock.js'
import { TableLocks } from './table-locks.js'
import { WaitGraph } from './wait-graph.js'

/**
 * The lock manager: record, table and metadata locks, and the one wait-for graph they share. It knows owners, index and table
 * numbers, tables' names, and key bytes; no trees, no rows, no transactions. Everything is synchronous and
 * deterministic; there are no promises and no timers inside.
 *
 * A call that asks for a lock answers with a LockResult. On `Waiting`, `owner.waiting` is the request: the caller sets
 * its `onSettled`, makes a promise and a timeout around it, and gives up with `cancel`. Callbacks run at the end of the
 * call that settled them, when everything is consistent; they resolve promises and do not call in again.
 *
 * The layer above tells of every entry that appears in or disappears from an index (`entryInserted`, `entryRemoved`),
 * makes implicit locks explicit before somebody waits for them (`makeExplicit`), and ends every owner with `releaseAll`.
 *
 * Keys are key[0, length) as stored in the index; the length SUPREMUM stands for the end of the index.
 */
export class LockSystem {
  readonly graph: WaitGraph = new WaitGraph()
  readonly #owners = new OwnerList()
  readonly #records = new RecordLocks(this.#owners, this.graph)
  readonly #tables = new TableLocks(this.#owners, this.graph)
  readonly #metadata = new MetadataLocks(this.#owners, this.graph)
  readonly #inheritance = new Inheritance(this.#records)

  /**
   * Locks one entry, or the gap before it. `mayWait` false: NotAvailable instead of Waiting (NOWAIT, SKIP LOCKED,
   * synchronous transactions). An insert intention that is granted leaves no lock; one that had to wait is to be asked
   * for again after a new search.
   */
  lockRecord(owner: LockOwner, index: TreeId, key: Uint8Array, length: number, lock: RecordLock, mayWait: boolean): LockResult {
    return this.#answer(this.#records.lock(owner, index, key, length, lock, mayWait))
  }

  /**
   * Before a change of an entry that leaves an implicit lock: nothing is stored if no other owner stands in the way; else as
   * `lockRecord` for the record in X.
   */
  lockImplicitly(owner: LockOwner, index: TreeId, key: Uint8Array, length: number, mayWait: boolean): LockResult {
    if (this.isIdle) return LockResult.Granted
    const result = this.#records.admit(owner, index, key, length, RecordLock.XRecord)
    if (result <= LockResult.AlreadyHeld) return result
    return this.lockRecord(owner, index, key, length, RecordLock.XRecord, mayWait)
  }

  /** Whether no record lock exists and nobody waits for one. */
  get isIdle(): boolean {
    return this.#records.table.live === 0 && this.#records.runs.count === 0
  }

  /** Locks the entry a scan came to; see ScanLock. */
  lockNext(scan: ScanLock, key: Uint8Array, length: number, mayWait: boolean): LockResult {
    return this.#answer(scan.next(this.#records, key, length, mayWait))
  }

  /** Gives back one lock before the end of the transaction: READ COMMITTED lets go of rows its predicate rejects. */
  unlockRecord(owner: LockOwner, index: TreeId, key: Uint8Array, length: number, lock: RecordLock): void {
    this.#records.unlock(owner, index, key, length, lock)
    this.graph.deliver()
  }

  /** The owner wrote this entry and so has an implicit X lock on it: now it is listed. To be called before others wait for it. */
  makeExplicit(owner: LockOwner, index: TreeId, key: Uint8Array, length: number): void {
    this.#records.makeExplicit(owner, index, key, length)
  }

  /** What the owner holds on an entry and the gap before it: a mask of `1 << RecordLock`. Implicit locks are not in it. */
  heldOn(owner: LockOwner, index: TreeId, key: Uint8Array, length: number): number {
    return this.#records.heldOn(owner, index, key, length)
  }

  /** An entry was put into an index, right before `successor`. */
  entryInserted(index: TreeId, key: Uint8Array, length: number, successor: Uint8Array, successorLength: number): void {
    this.#inheritance.inserted(index, key, length, successor, successorLength)
  }

  /** An entry was taken out of an index (not: delete-marked); `successor` came right after it. */
  entryRemoved(index: TreeId, key: Uint8Array, length: number, successor: Uint8Array, successorLength: number): void {
    this.#inheritance.removed(index, key, length, successor, successorLength)
    this.graph.deliver()
  }

  lockTable(owner: LockOwner, table: TableId, lock: TableLock, mayWait: boolean): LockResult {
    return this.#answer(this.#tables.lock(owner, table, lock, mayWait))
  }

  /** Whether anybody holds the table's AUTO-INC lock. */
  isAutoIncrementLocked(table: TableId): boolean {
    return this.#tables.isAutoIncrementLocked(table)
  }

  /** Gives back one table lock: AUTO-INC at the end of its statement, LOCK TABLES at UNLOCK TABLES. */
  unlockTable(owner: LockOwner, table: TableId, lock: TableLock): void {
    this.#tables.unlock(owner, table, lock)
    this.graph.deliver()
  }

  /** Gives up a wait: the request ends with `reason`. Does nothing if it is over already. */
  cancel(request: LockRequest, reason: CancelReason): void {
    if (request.status !== 'waiting') return
    request.wanted = request.describe()
    this.graph.settle(request, reason)
    request.withdraw()
    this.graph.deliver()
  }

  /**
   * Releases what the owner holds, up to `limit` record locks and runs; true when everything is released. The owner may
   * then be used anew. In slices, others are granted locks as they become free.
   */
  releaseAll(owner: LockOwner, limit: number = Number.POSITIVE_INFINITY): boolean {
    if (owner.slot === 0) return true
    assert(owner.waiting === null, 'a lock owner released its locks while it was waiting')
    const done = this.#records.release(owner, limit) > 0
    if (done) {
      this.#tables.releaseAll(owner)
      if (owner.keepsExplicit) this.#releaseTransaction(owner)
      else this.#releaseMetadata(owner)
    }
    this.graph.deliver()
    return done
  }

  #releaseMetadata(owner: LockOwner): void {
    this.#metadata.releaseAll(owner)
    this.#owners.remove(owner)
    owner.reset()
  }

  #releaseTransaction(owner: LockOwner): void {
    this.#metadata.unlockAll(owner, Duration.Statement)
    this.#metadata.unlockAll(owner, Duration.Transaction)
    if (owner.firstMetadataHold !== 0) owner.startAnew()
    else this.#releaseMetadata(owner)
  }

  // ── metadata locks ────────────────────────────────────────────────────────────────────────────────────────────────

  /** The number by which a table's name is locked, whether or not there is such a table; scopes have fixed ones. */
  metadataObject(name: string): number {
    return this.#metadata.numberOf(name)
  }

  /** Told how to find out whether there is a table of a name: numbers of names that are gone are used again. */
  set isTable(isTable: (name: string) => boolean) {
    this.#metadata.isTable = isTable
  }

  /** Locks a table's name or a scope. Held in a weaker mode already, this is an upgrade. */
  lockMetadata(owner: LockOwner, object: number, lock: MetadataLock, duration: Duration, mayWait: boolean): LockResult {
    return this.#answer(this.#metadata.lock(owner, object, lock, duration, mayWait))
  }

  /** Whether an owner that holds nothing there would be given the lock at once. */
  isMetadataFree(object: number, lock: MetadataLock): boolean {
    return this.#metadata.isFree(object, lock)
  }

  /** Mask, of 1 << MetadataLock, of what the owner holds for the duration. */
  metadataHeld(owner: LockOwner, object: number, duration: Duration): number {
    return this.#metadata.heldFor(owner, object, duration)
  }

  /** Gives back what is held for the duration on one object, but for `keep`, a mask of 1 << MetadataLock. */
  unlockMetadata(owner: LockOwner, object: number, duration: Duration, keep = 0): void {
    this.#metadata.unlock(owner, object, duration, keep)
    this.graph.deliver()
  }

  /** Gives back everything that is held for the duration, of an owner that goes on. */
  unlockAllMetadata(owner: LockOwner, duration: Duration): void {
    this.#metadata.unlockAll(owner, duration)
    this.graph.deliver()
  }

  /** What the transaction's metadata locks are now, for `releaseMetadataSince`. */
  metadataMark(owner: LockOwner): readonly number[] {
    return this.#metadata.heldInTransaction(owner)
  }

  /**
   * Rollback to a savepoint gives back the metadata locks taken since, if the transaction holds no lock on tables or rows: then nothing
   * is left by which a schema change could come between it and what it has done.
   */
  releaseMetadataSince(owner: LockOwner, mark: readonly number[]): void {
    if (owner.firstRecordHold !== 0 || owner.firstRun !== null || owner.firstTableHold !== 0) return
    this.#metadata.releaseSince(owner, mark)
    this.graph.deliver()
  }

  /** Every metadata lock held or awaited, scopes first. */
  metadataLocks(): Iterable<LockInfo> {
    return this.#metadata
  }

  /** Every table and record lock held or awaited. Runs are listed entry by entry. */
  *locks(keysWithin: KeysWithin): Generator<LockInfo> {
    yield* this.#tables
    yield* recordLockInfos(this.#records, keysWithin)
  }

  /** Owners that hold or await something. */
  owners(): Iterable<LockOwner> {
    return this.#owners
  }

  get latestDeadlock(): Deadlock | null {
    return this.graph.latestDeadlock
  }

  /** What there is to know about size: records locked singly, holds on them, runs, requests that wait, bytes of tables. */
  counts(): LockCounts {
    const { table, runs } = this.#records
    return {
      owners: this.#owners.size,
      records: table.live,
      recordHolds: table.holds.live,
      runs: runs.count,
      tableHolds: this.#tables.holds.live,
      metadataHolds: this.#metadata.holds.live,
      waiting: this.graph.waiting,
      bytes: table.bytes + this.#tables.holds.rows.byteLength + this.#metadata.holds.rows.byteLength,
    }
  }

  #answer(result: LockResult): LockResult {
    this.graph.deliver()
    return result
  }
}

export interface LockCounts {
  owners: number
  records: number
  recordHolds: number
  runs: number
  tableHolds: number
  metadataHolds: number
  waiting: number
  bytes: number
}
