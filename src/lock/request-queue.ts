import type { LockOwner } from './lock-owner.js'
import { LockRequest } from './lock-request.js'

/** Most kinds of lock there are in one queue. */
const LOCK_KINDS = 11

/** A request that stands in a queue. `lock` is a RecordLock, a TableLock or a MetadataLock: a number below LOCK_KINDS. */
export abstract class QueuedRequest<Self extends QueuedRequest<Self>> extends LockRequest {
  readonly lock: number
  ahead: Self | null = null
  behind: Self | null = null

  constructor(owner: LockOwner, lock: number) {
    super(owner)
    this.lock = lock
  }
}

/** The requests that wait for one thing, in the order in which they began to. */
export class RequestQueue<Request extends QueuedRequest<Request>> {
  head: Request | null = null
  tail: Request | null = null
  /** Mask of the locks requested. */
  mask = 0
  readonly #counts = new Int32Array(LOCK_KINDS)

  join(request: Request): void {
    request.ahead = this.tail
    if (this.tail === null) this.head = request
    else this.tail.behind = request
    this.tail = request
    this.#counts[request.lock]++
    this.mask |= 1 << request.lock
  }

  /** `request.behind` still leads on to the rest of the queue afterwards. */
  leave(request: Request): void {
    if (request.ahead === null) this.head = request.behind
    else request.ahead.behind = request.behind
    if (request.behind === null) this.tail = request.ahead
    else request.behind.ahead = request.ahead
    if (--this.#counts[request.lock] === 0) this.mask &= ~(1 << request.lock)
  }
}
