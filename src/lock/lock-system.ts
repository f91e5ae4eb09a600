import { assert } from '../base/assert.js'
import type { TableId, TreeId } from '../base/ids.js'
import type { Deadlock } from './deadlock.js'
import { Inheritance } from './inheritance.js'
import { RecordLock, type TableLock } from './lock-modes.js'
import type { LockOwner } from './lock-owner.js'
import { type KeysWithin, recordLockInfos } from './lock-report.js'
import { type CancelReason, type LockInfo, type LockRequest, LockResult } from './lock-request.js'
import { OwnerList } from './owner-list.js'
import { RecordLocks } from './record-locks.js'
import type { ScanLock } from './scan-lock.js'
import { TableLocks } from './table-locks.js'
import { WaitGraph } from './wait-graph.js'

/**
 * The lock manager: record and table locks, and the wait-for graph they and whatever else waits share. It knows owners,
 * index and table numbers, and key bytes; no trees, no rows, no transactions. Everything is synchronous and
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

  /** Gives back one table lock: AUTO-INC at the end of its statement, LOCK TABLES at UNLOCK TABLES. */
  unlockTable(owner: LockOwner, table: TableId, lock: TableLock): void {
    this.#tables.unlock(owner, table, lock)
    this.graph.deliver()
  }

  /** Gives up a wait: the request ends with `reason`. Does nothing if it is over already. */
  cancel(request: LockRequest, reason: CancelReason): void {
    if (request.status !== 'waiting') return
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
      this.#owners.remove(owner)
      owner.reset()
    }
    this.graph.deliver()
    return done
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
      waiting: this.graph.waiting,
      bytes: table.bytes + this.#tables.holds.rows.byteLength,
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
  waiting: number
  bytes: number
}
