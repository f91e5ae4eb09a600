import type { LockOwner } from './lock-owner.js'
import type { LockInfo } from './lock-request.js'
import type { MetadataLocks } from './metadata-locks.js'
import {
  type Duration,
  METADATA_LOCKS,
  type MetadataLock,
  metadataModeName,
  OBJECT_GRANTED,
  OBJECT_PENDING,
  OBJECT_SATISFIES,
  SCOPE_GRANTED,
  SCOPE_PENDING,
  SCOPE_SATISFIES,
} from './metadata-modes.js'
import { QueuedRequest, RequestQueue } from './request-queue.js'

/** The scopes, by number; tables' numbers come after them. */
export const enum Scope {
  /** Every change of anything, by statements and schema changes alike: IX. A freeze takes S. */
  Global = 1,
  /** Every commit of changes: IX. */
  Commit = 2,
  /** Every LOCK TABLES in force: IX. A freeze passes through it in S. */
  TableLocks = 3,
}

/** Something that can be locked: a table's name, or a scope. */
export class MetadataObject {
  readonly number: number
  readonly name: string
  readonly isScope: boolean
  firstHold = 0
  /** Owners that hold each mode, for whatever duration. */
  readonly granted: Int32Array = new Int32Array(METADATA_LOCKS)
  readonly queue: RequestQueue<MetadataRequest> = new RequestQueue()
  /** A table has this name, as far as is known. */
  named: boolean

  constructor(number: number, name: string, isScope: boolean, named: boolean) {
    this.number = number
    this.name = name
    this.isScope = isScope
    this.named = named
  }

  get isIdle(): boolean {
    return this.firstHold === 0 && this.queue.head === null
  }

  /** Whether an owner that holds `own` may have this lock now (N1, N2). */
  admits(lock: MetadataLock, own: number): boolean {
    if ((this.pendingConflicts(lock) & this.queue.mask) !== 0) return false
    const conflicts = this.conflicts(lock)
    for (let mode = 0; mode < METADATA_LOCKS; mode++) {
      if ((conflicts & (1 << mode)) !== 0 && this.granted[mode] > ((own >> mode) & 1)) return false
    }
    return true
  }

  /** Whether whoever asked for it might have this lock now: nobody but one owner is in the way. */
  mightAdmit(lock: MetadataLock): boolean {
    if ((this.pendingConflicts(lock) & this.queue.mask) !== 0) return false
    const conflicts = this.conflicts(lock)
    for (let mode = 0; mode < METADATA_LOCKS; mode++) if ((conflicts & (1 << mode)) !== 0 && this.granted[mode] > 1) return false
    return true
  }

  /** Whether one that waits now waits for a new request of this mode, too. */
  holdsBack(lock: MetadataLock): boolean {
    const { mask } = this.queue
    for (let waiting = 0; waiting < METADATA_LOCKS; waiting++) {
      if ((mask & (1 << waiting)) !== 0 && (this.pendingConflicts(waiting) & (1 << lock)) !== 0) return true
    }
    return false
  }

  conflicts(lock: MetadataLock): number {
    return this.isScope ? SCOPE_GRANTED[lock] : OBJECT_GRANTED[lock]
  }

  pendingConflicts(lock: MetadataLock): number {
    return this.isScope ? SCOPE_PENDING[lock] : OBJECT_PENDING[lock]
  }

  satisfying(lock: MetadataLock): number {
    return this.isScope ? SCOPE_SATISFIES[lock] : OBJECT_SATISFIES[lock]
  }
}

export class MetadataRequest extends QueuedRequest<MetadataRequest> {
  readonly object: MetadataObject
  readonly duration: Duration
  readonly #locks: MetadataLocks

  constructor(owner: LockOwner, object: MetadataObject, lock: MetadataLock, duration: Duration, locks: MetadataLocks) {
    super(owner, lock)
    this.object = object
    this.duration = duration
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
    return { ...metadataInfo(this.owner, this.object, this.lock), status: 'waiting', blockedBy }
  }

  describeBlocking(blocker: LockOwner): LockInfo[] {
    return this.#locks.describeBlocking(this, blocker)
  }
}

/** A granted lock. */
export function metadataInfo(owner: LockOwner, object: MetadataObject, lock: MetadataLock): LockInfo {
  return {
    owner,
    table: null,
    index: null,
    key: null,
    supremum: false,
    object: object.name,
    mode: metadataModeName(lock),
    kind: object.isScope ? 'scope' : 'metadata',
    status: 'granted',
    blockedBy: [],
  }
}
