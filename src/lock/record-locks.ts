/**
 * Record locks: who gets one now, who waits, and who is next. Names of modes and rules M1–M7: lock-modes.ts.
 *
 * Requests:
 * Q1  A request whose owner already holds what satisfies it takes no lock (M6). It never waits, whatever the queue.
 *     (waits/RR/queue/holder-s-requests-again-not-queued)
 * Q2  A request waits if it conflicts with a lock another owner holds on the key, in a hold or through a run, or with a
 *     request that already waits for the key. So nobody starves: S waits behind a waiting X.
 *     (waits/RR/queue/x-waits-then-new-s-waits-behind; a waiting next-key request already keeps inserts out of its gap:
 *     waits/RR/queue/next-key-waits-for-record-then-gap)
 * Q3  Upgrade. A request for X on the record by an owner that holds S there does not wait for *X requests that wait*:
 *     those cannot be granted before this owner lets go, so waiting for them would be a deadlock for nothing. Locks
 *     others hold, and S requests that wait, still count. (deadlocks/SER/same-row-x-s-waiter-then-holder-x on
 *     MySQL; with a second S holder it waits: waits/RC/upgrade/s-to-x-waits-for-other-s)
 *     Insert intentions get no such exception: the insert would split the gap under a request that waits for it.
 * Q4  An insert intention that need not wait leaves no lock. One that waited and was granted leaves none either: it is
 *     no ticket, the caller searches and asks again. By M5 nobody could tell, except by its lock structure (V2).
 * Q5  Waiting requests are granted in the order they came, each as soon as Q2 and Q3, applied to the locks held and the
 *     requests ahead, let it. So a wake-up never lets a request pass a conflicting one ahead of it.
 *     How that is done without asking everybody: wake-up.ts.
 */
import { assert } from '../base/assert.js'
import type { TreeId } from '../base/ids.js'
import { Hold } from './hold-pool.js'
import { keyBytes, PackedKey, SUPREMUM } from './lock-key.js'
import {
  bypassed,
  CONFLICTS,
  gapPartOf,
  isNextKey,
  LockKind,
  RECORD_LOCKS,
  RecordBits,
  RecordLock,
  recordPartOf,
  SATISFIES,
} from './lock-modes.js'
import type { LockOwner } from './lock-owner.js'
import { type LockInfo, LockResult } from './lock-request.js'
import { growAlone, type LockRun, LockRuns } from './lock-runs.js'
import type { OwnerList } from './owner-list.js'
import { RecordLockRequest, RecordQueue, recordLockInfo } from './record-queue.js'
import { Rec, RecordTable } from './record-table.js'
import type { WaitGraph } from './wait-graph.js'
import { WakeUp } from './wake-up.js'

export class RecordLocks {
  readonly table: RecordTable = new RecordTable()
  readonly runs: LockRuns = new LockRuns()
  readonly owners: OwnerList
  readonly graph: WaitGraph
  /** Queues by number; 0 is none. */
  readonly queues: (RecordQueue | null)[] = [null]
  readonly #freeQueues: number[] = []
  readonly #key = new PackedKey()
  readonly #walkKey = new PackedKey()
  /** Runs that cover the key in hand. */
  readonly #covering: LockRun[] = []
  readonly #wakeUp = new WakeUp(this)

  constructor(owners: OwnerList, graph: WaitGraph) {
    this.owners = owners
    this.graph = graph
  }

  lock(owner: LockOwner, index: TreeId, key: Uint8Array, length: number, requested: RecordLock, mayWait: boolean): LockResult {
    const packed = this.#key.pack(index, key, length)
    const lock = length === SUPREMUM ? onSupremum(requested) : requested
    const record = this.table.find(index, packed)
    if (record === 0 && this.runs.count === 0) {
      if (lock !== RecordLock.XInsertIntention) this.grant(owner, index, packed, 0, 1 << lock)
      return LockResult.Granted
    }
    this.findCovering(index, packed)
    const admission = this.#admit(owner, record, lock)
    if (admission === LockResult.Granted) {
      if (lock !== RecordLock.XInsertIntention) this.grant(owner, index, packed, record, 1 << lock)
      return LockResult.Granted
    }
    if (admission === LockResult.AlreadyHeld) {
      this.#addMissingGap(owner, index, packed, record, lock)
      return LockResult.AlreadyHeld
    }
    return mayWait ? this.#wait(owner, index, packed, record, lock) : LockResult.NotAvailable
  }

  /**
   * Like `lock`, for a key that the caller will cover by a run: nothing is stored when it is granted or held. The packed
   * key stays in `scratch`. Waiting never happens here: NotAvailable.
   */
  admit(owner: LockOwner, index: TreeId, key: Uint8Array, length: number, lock: RecordLock): LockResult {
    const packed = this.#key.pack(index, key, length)
    const record = this.table.find(index, packed)
    if (record !== 0 && this.table.rows[record * Rec.Stride + Rec.Queue] !== 0) owner.mayBlock = true
    this.findCovering(index, packed)
    return this.#admit(owner, record, lock)
  }

  /**
   * The common case of a scan: nobody has anything to do with the entry, and the run is the only one of its index. Then it now ends there.
   * False, and nothing has happened, if it is not so, or the entry is not beyond the run's end.
   */
  growAlone(run: LockRun, key: Uint8Array, length: number, downwards: boolean): boolean {
    const packed = this.#key.pack(run.index, key, length)
    return this.table.find(run.index, packed) === 0 && growAlone(run, packed, downwards)
  }

  get scratch(): PackedKey {
    return this.#key
  }

  /** Starts a run at an entry that was just locked. */
  startRun(owner: LockOwner, index: TreeId, lock: RecordLock, key: Uint8Array, length: number): LockRun {
    if (owner.slot === 0) this.owners.add(owner)
    return this.runs.start(owner, index, 1 << lock, this.#key.pack(index, key, length))
  }

  /** Gives back one lock of one entry; the locks of a run covering it too. */
  unlock(owner: LockOwner, index: TreeId, key: Uint8Array, length: number, lock: RecordLock): void {
    const packed = this.#key.pack(index, key, length)
    const record = this.table.find(index, packed)
    this.findCovering(index, packed)
    for (const run of this.#covering) {
      if (run.owner === owner && run.bit === 1 << lock) this.runs.cutOut(run, packed)
    }
    if (record === 0) return
    const hold = owner.slot === 0 ? 0 : this.table.holdOf(record, owner)
    if (hold !== 0) {
      const holds = this.table.holds.rows
      holds[hold * Hold.Stride + Hold.Mask] &= ~(1 << lock)
      if (holds[hold * Hold.Stride + Hold.Mask] === 0) this.table.removeHold(hold, owner)
    }
    this.settleRecord(record)
  }

  /** An implicit X lock on the record, of an owner that wrote it, becomes explicit. */
  makeExplicit(owner: LockOwner, index: TreeId, key: Uint8Array, length: number): void {
    const packed = this.#key.pack(index, key, length)
    const record = this.table.find(index, packed)
    this.findCovering(index, packed)
    if ((this.heldMask(owner, record) & SATISFIES[RecordLock.XRecord]) !== 0) return
    this.grant(owner, index, packed, record, RecordBits.XRecord)
  }

  /** Mask of what the owner holds on a key, through runs too. */
  heldOn(owner: LockOwner, index: TreeId, key: Uint8Array, length: number): number {
    const packed = this.#key.pack(index, key, length)
    this.findCovering(index, packed)
    return this.heldMask(owner, this.table.find(index, packed))
  }

  /** Releases up to `limit` locks and runs, newest first; returns how many are left of the limit: > 0 when all are gone. */
  release(owner: LockOwner, limit: number): number {
    let left = limit
    const { holds } = this.table
    for (; left > 0 && owner.firstRecordHold !== 0; left--) {
      const hold = owner.firstRecordHold
      const record = holds.rows[hold * Hold.Stride + Hold.Resource]
      this.table.removeHold(hold, owner)
      this.settleRecord(record)
    }
    for (; left > 0 && owner.firstRun !== null; left--) this.#releaseRun(owner.firstRun)
    return left
  }

  /** A waiting request, settled by the caller, leaves its queue. */
  withdraw(request: RecordLockRequest): void {
    const queue = request.queue
    queue.leave(request)
    request.owner.structures--
    this.settleRecord(queue.record)
  }

  /** Adds locks of one type to what the owner holds. `record` is the key's, or 0 if it has none. */
  grant(owner: LockOwner, index: TreeId, key: PackedKey, record: number, mask: number): void {
    owner.noteStructure(structureOf(index, mask, key.length))
    this.give(owner, record === 0 ? this.table.add(index, key) : record, mask)
  }

  /** Adds locks to what the owner holds on a record. */
  give(owner: LockOwner, record: number, mask: number): void {
    if (owner.slot === 0) this.owners.add(owner)
    const table = this.table
    const hold = table.holdOf(record, owner)
    if (hold === 0) table.addHold(record, owner, mask)
    else table.widen(hold, mask)
    if (table.rows[record * Rec.Stride + Rec.Queue] !== 0) owner.mayBlock = true
  }

  /** Grants what can be granted after a lock on the record went away, and forgets the record if nothing is left of it. */
  settleRecord(record: number): void {
    const at = record * Rec.Stride
    const queue = this.queues[this.table.rows[at + Rec.Queue]]
    if (queue !== null) {
      this.#wakeUp.wake(queue)
      if (queue.head !== null) return
      this.#dropQueue(record)
    }
    if (this.table.rows[at + Rec.FirstHold] === 0) this.table.remove(record)
  }

  /** Mask of what the owner holds on the record and through the runs found last. */
  heldMask(owner: LockOwner, record: number): number {
    let mask = 0
    if (record !== 0 && owner.slot !== 0) {
      const hold = this.table.holdOf(record, owner)
      if (hold !== 0) mask = this.table.holds.rows[hold * Hold.Stride + Hold.Mask]
    }
    for (const run of this.#covering) if (run.owner === owner) mask |= run.bit
    return mask
  }

  /** Finds the runs that cover a key. The list is reused by the next call. */
  findCovering(index: TreeId, key: PackedKey): readonly LockRun[] {
    if (this.#covering.length > 0) this.#covering.length = 0
    if (this.runs.count > 0 && key.length !== SUPREMUM) this.runs.stab(index, key, this.#covering)
    return this.#covering
  }

  /** The same for the key of a record. */
  findCoveringRecord(record: number): readonly LockRun[] {
    if (this.#covering.length > 0) this.#covering.length = 0
    if (this.runs.count === 0 || this.#lengthOf(record) === SUPREMUM) return this.#covering
    const index = this.table.rows[record * Rec.Stride + Rec.Index] as TreeId
    return this.findCovering(index, this.table.loadKey(record, this.#walkKey))
  }

  queueOf(record: number): RecordQueue | null {
    return record === 0 ? null : this.queues[this.table.rows[record * Rec.Stride + Rec.Queue]]
  }

  /** Empties the queue, telling everybody that the entry is gone. */
  moveAll(record: number): void {
    const queue = this.queueOf(record)
    if (queue === null) return
    for (let request = queue.head; request !== null; request = request.behind) {
      queue.leave(request)
      request.owner.keepStructure(structureOf(request.index, 1 << request.lock, this.#lengthOf(record)))
      this.graph.settle(request, 'moved')
    }
    this.#dropQueue(record)
  }

  collectBlockers(request: RecordLockRequest, into: LockOwner[]): void {
    const record = request.queue.record
    const conflicts = CONFLICTS[request.lock]
    const holds = this.table.holds.rows
    for (let hold = this.table.rows[record * Rec.Stride + Rec.FirstHold]; hold !== 0; hold = holds[hold * Hold.Stride + Hold.Next]) {
      if ((holds[hold * Hold.Stride + Hold.Mask] & conflicts) === 0) continue
      const holder = this.owners.at(holds[hold * Hold.Stride + Hold.Owner])
      if (holder !== request.owner) into.push(holder)
    }
    for (const run of this.findCoveringRecord(record)) {
      if ((run.bit & conflicts) !== 0 && run.owner !== request.owner) into.push(run.owner)
    }
    const ahead = this.#nearestAhead(request)
    if (ahead !== null) into.push(ahead.owner)
  }

  describeBlocking(request: RecordLockRequest, blocker: LockOwner): LockInfo[] {
    const record = request.queue.record
    this.findCoveringRecord(record)
    const mask = this.heldMask(blocker, record) & CONFLICTS[request.lock]
    const found: LockInfo[] = []
    const key = this.keyOf(record)
    for (let lock = 0; lock < RECORD_LOCKS; lock++) {
      if ((mask & (1 << lock)) !== 0) found.push(recordLockInfo(blocker, request.index, key, lock))
    }
    const awaited = blocker.waiting
    if (found.length === 0 && awaited !== null) found.push(awaited.describe())
    return found
  }

  /** The key of a record; null for the supremum. */
  keyOf(record: number): Uint8Array | null {
    const length = this.#lengthOf(record)
    if (length === SUPREMUM) return null
    return keyBytes(this.table.keys.words, this.table.rows[record * Rec.Stride + Rec.Key], length)
  }

  #lengthOf(record: number): number {
    return this.table.rows[record * Rec.Stride + Rec.Length]
  }

  /** Granted, AlreadyHeld or NotAvailable, for the runs found last; stores nothing (rules Q1–Q3). */
  #admit(owner: LockOwner, record: number, lock: RecordLock): LockResult {
    const held = this.heldMask(owner, record)
    if (held !== 0 && lock !== RecordLock.XInsertIntention) {
      const satisfying = SATISFIES[lock] | (isNextKey(lock) ? SATISFIES[recordPartOf(lock)] : 0)
      if ((held & satisfying) !== 0) return LockResult.AlreadyHeld
    }
    return this.#isBlocked(owner, record, lock, held) ? LockResult.NotAvailable : LockResult.Granted
  }

  /** M6: a next-key request by an owner that holds the record part takes the gap part, if it lacks that. */
  #addMissingGap(owner: LockOwner, index: TreeId, key: PackedKey, record: number, lock: RecordLock): void {
    if (!isNextKey(lock)) return
    const gap = gapPartOf(lock)
    if ((this.heldMask(owner, record) & SATISFIES[gap]) === 0) this.grant(owner, index, key, record, 1 << gap)
  }

  #isBlocked(owner: LockOwner, record: number, lock: RecordLock, held: number): boolean {
    const conflicts = CONFLICTS[lock]
    if (conflicts === 0) return false
    if (record !== 0) {
      if (this.table.isHeldByOthers(record, conflicts, owner)) return true
      const queue = this.queueOf(record)
      if (queue !== null && (queue.mask & conflicts & ~bypassed(lock, held)) !== 0) return true
    }
    for (const run of this.#covering) if ((run.bit & conflicts) !== 0 && run.owner !== owner) return true
    return false
  }

  #wait(owner: LockOwner, index: TreeId, key: PackedKey, found: number, lock: RecordLock): LockResult {
    if (owner.slot === 0) this.owners.add(owner)
    const record = found === 0 ? this.table.add(index, key) : found
    const queue = this.queueOf(record) ?? this.#makeQueue(record)
    const request = new RecordLockRequest(owner, index, queue, lock, this)
    queue.join(request)
    owner.structures++
    this.graph.begin(request)
    return request.result
  }

  /** Rule G2: everybody who holds something here may be waited for from now on. */
  #makeQueue(record: number): RecordQueue {
    const number = this.#freeQueues.pop() ?? this.queues.length
    const queue = new RecordQueue(record)
    this.queues[number] = queue
    this.table.rows[record * Rec.Stride + Rec.Queue] = number
    const holds = this.table.holds.rows
    for (let hold = this.table.rows[record * Rec.Stride + Rec.FirstHold]; hold !== 0; hold = holds[hold * Hold.Stride + Hold.Next]) {
      this.owners.at(holds[hold * Hold.Stride + Hold.Owner]).mayBlock = true
    }
    for (const run of this.#covering) run.owner.mayBlock = true
    return queue
  }

  #dropQueue(record: number): void {
    const at = record * Rec.Stride + Rec.Queue
    const number = this.table.rows[at]
    this.table.rows[at] = 0
    this.queues[number] = null
    this.#freeQueues.push(number)
  }

  #releaseRun(run: LockRun): void {
    this.runs.remove(run)
    for (let number = 1; number < this.queues.length; number++) {
      const queue = this.queues[number]
      if (queue === null || this.table.rows[queue.record * Rec.Stride + Rec.Index] !== run.index) continue
      if (this.#lengthOf(queue.record) === SUPREMUM) continue
      if (run.covers(this.table.loadKey(queue.record, this.#walkKey))) this.settleRecord(queue.record)
    }
  }

  /** The request's turn has come. */
  grantWaiting(request: RecordLockRequest): void {
    const { owner, queue, lock } = request
    queue.leave(request)
    owner.keepStructure(structureOf(request.index, 1 << lock, this.#lengthOf(queue.record)))
    if (lock !== RecordLock.XInsertIntention) this.give(owner, queue.record, 1 << lock)
    this.graph.settle(request, 'granted')
  }

  #nearestAhead(request: RecordLockRequest): RecordLockRequest | null {
    const conflicts = CONFLICTS[request.lock] & ~bypassed(request.lock, this.heldMask(request.owner, request.queue.record))
    let ahead = request.ahead
    while (ahead !== null && ((1 << ahead.lock) & conflicts) === 0) ahead = ahead.ahead
    return ahead
  }
}

/** Rule M7. */
function onSupremum(lock: RecordLock): RecordLock {
  assert(lock !== RecordLock.SRecord && lock !== RecordLock.XRecord, 'the supremum has no record to lock')
  return isNextKey(lock) ? gapPartOf(lock) : lock
}

/** Rule V2: index and type in one number. On the supremum a gap lock shares the structure of next-key locks, as in InnoDB. */
export function structureOf(index: TreeId, mask: number, length: number): number {
  const lock = 31 - Math.clz32(mask)
  return index * RECORD_LOCKS + (length === SUPREMUM && lock >> 1 === LockKind.Gap ? lock + 2 : lock)
}
