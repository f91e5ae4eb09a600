import type { TreeId } from '../base/ids.js'
import { type RecordLock, recordKindName, recordModeName } from './lock-modes.js'
import type { LockOwner } from './lock-owner.js'
import type { LockInfo } from './lock-request.js'
import type { RecordLocks } from './record-locks.js'
import { QueuedRequest, RequestQueue } from './request-queue.js'

/** The requests that wait for one record. */
export class RecordQueue extends RequestQueue<RecordLockRequest> {
  readonly record: number

  constructor(record: number) {
    super()
    this.record = record
  }
}

/** A request that waits for a record lock. */
export class RecordLockRequest extends QueuedRequest<RecordLockRequest> {
  readonly index: TreeId
  readonly queue: RecordQueue
  readonly #locks: RecordLocks

  constructor(owner: LockOwner, index: TreeId, queue: RecordQueue, lock: RecordLock, locks: RecordLocks) {
    super(owner, lock)
    this.index = index
    this.queue = queue
    this.#locks = locks
  }

  collectBlockers(into: LockOwner[]): void {
    this.#locks.collectBlockers(this, into)
  }

  withdraw(): void {
    this.#locks.withdraw(this)
  }

  describe(): LockInfo {
    const blockedBy: LockOwner[] = []
    this.collectBlockers(blockedBy)
    return { ...recordLockInfo(this.owner, this.index, this.#locks.keyOf(this.queue.record), this.lock), status: 'waiting', blockedBy }
  }

  describeBlocking(blocker: LockOwner): LockInfo[] {
    return this.#locks.describeBlocking(this, blocker)
  }
}

/** A granted lock; the key is null on the supremum. */
export function recordLockInfo(owner: LockOwner, index: TreeId, key: Uint8Array | null, lock: RecordLock): LockInfo {
  return {
    owner,
    table: null,
    index,
    key,
    supremum: key === null,
    object: null,
    mode: recordModeName(lock),
    kind: recordKindName(lock),
    status: 'granted',
    blockedBy: [],
  }
}
