import type { TableId, TreeId } from '../base/ids.js'
import type { LockKindName, LockModeName } from './lock-modes.js'
import type { LockOwner } from './lock-owner.js'
import type { MetadataModeName } from './metadata-modes.js'

/** Why the caller gave up a wait. */
export type CancelReason = 'timeout' | 'aborted' | 'closed' | 'self-wait'

/**
 * How a wait ended: `granted`; `deadlock`, the owner was chosen as victim and is to be rolled back; `moved`, the entry
 * waited for is gone and the caller searches again; or the reason given to `cancel`.
 */
export type LockOutcome = 'granted' | 'deadlock' | 'moved' | CancelReason

/** What became of a call that asks for a lock. The order matters: up to AlreadyHeld the caller has what it asked for. */
export const enum LockResult {
  /** Granted, and was not held before: a caller that need not keep it may give it back with `unlock`. */
  Granted = 0,
  AlreadyHeld = 1,
  /** `owner.waiting` is the request. */
  Waiting = 2,
  /** It would have to wait and was told not to. */
  NotAvailable = 3,
  /** It would have to wait, which closed a deadlock, and the requester is the victim. */
  Deadlock = 4,
}

/** One lock, held or waited for, as people see it. */
export interface LockInfo {
  owner: LockOwner
  /** Table locks only. */
  table: TableId | null
  /** Record locks only. */
  index: TreeId | null
  /** Null on the supremum and for table locks. */
  key: Uint8Array | null
  supremum: boolean
  /** Metadata locks only: the table's name, or the scope's. */
  object: string | null
  mode: LockModeName | MetadataModeName
  kind: LockKindName
  status: 'granted' | 'waiting'
  /** Of a waiting request: the owners it waits for. */
  blockedBy: readonly LockOwner[]
}

/**
 * A request that waits: a node's outgoing edges in the wait-for graph. Only requests that wait are objects. Every kind
 * of lock that can be waited for has a subclass; the graph knows nothing else of it.
 */
export abstract class LockRequest {
  readonly owner: LockOwner
  status: 'waiting' | LockOutcome = 'waiting'
  /** Order in which waits began, over all kinds of locks. */
  sequence = 0
  /** Milliseconds it had waited when it was given up because of that. */
  waited = 0
  /**
   * Called once, when the wait ends, at the end of the call that ended it. Must not call into the lock system: it
   * resolves a promise, and the owner goes on, or is rolled back, in a later turn.
   */
  onSettled: ((outcome: LockOutcome) => void) | null = null
  /** Of a wait that was given up: what it waited for, and whom, at that moment. */
  wanted: LockInfo | null = null

  constructor(owner: LockOwner) {
    this.owner = owner
  }

  /** What the call that made this request returns once the wait has begun. */
  get result(): LockResult {
    if (this.status === 'waiting') return LockResult.Waiting
    return this.status === 'granted' ? LockResult.Granted : LockResult.Deadlock
  }

  /** Appends the owners this request waits for: conflicting holders, and the nearest conflicting waiter (rule G1). */
  abstract collectBlockers(into: LockOwner[]): void

  /** Leaves the queue, ungranted; those behind may pass. */
  abstract withdraw(): void

  abstract describe(): LockInfo

  /** What `blocker` holds or awaits that stands in this request's way. */
  abstract describeBlocking(blocker: LockOwner): LockInfo[]
}
