/**
 * Who is next when a record lock went away (rule Q5), without asking everybody. Requests fall into three classes that
 * wait for the same locks (RequestClass), and for each class it is enough to know whether no owner, one owner or several
 * hold something in its way. A walk down the queue ends as soon as no class present can still be granted: where
 * 10,000 requests for X wait, the first two end it.
 */
import { Hold } from './hold-pool.js'
import { bypassed, CLASS, CLASS_CONFLICTS, CLASS_MEMBERS, CONFLICTS, RecordLock, RequestClass } from './lock-modes.js'
import type { LockOwner } from './lock-owner.js'
import type { RecordLocks } from './record-locks.js'
import { RecordLockRequest, type RecordQueue } from './record-queue.js'
import { Rec } from './record-table.js'

/** No owner, or several; otherwise the one owner's slot. */
const NOBODY = 0
const SEVERAL = -1

export class WakeUp {
  readonly #locks: RecordLocks
  /** By RequestClass: NOBODY, SEVERAL, or the slot of the only owner in the way. */
  readonly #inTheWay = new Int32Array(3)

  constructor(locks: RecordLocks) {
    this.#locks = locks
  }

  /** Grants what can be granted now, in order. */
  wake(queue: RecordQueue): void {
    this.#look(queue)
    let ahead = 0
    let request = queue.head
    while (request !== null) {
      const next: RecordLockRequest | null = request.behind
      if (this.#canBeGranted(request, ahead)) {
        this.#locks.grantWaiting(request)
        if (request.lock !== RecordLock.XInsertIntention) this.#note(request.owner.slot, 1 << request.lock)
      } else {
        ahead |= 1 << request.lock
        if (!this.#anyoneElse(queue, ahead)) return
      }
      request = next
    }
  }

  #canBeGranted(request: RecordLockRequest, ahead: number): boolean {
    const inTheWay = this.#inTheWay[CLASS[request.lock]]
    if (inTheWay !== NOBODY && inTheWay !== request.owner.slot) return false
    const conflicting = ahead & CONFLICTS[request.lock]
    if (conflicting === 0) return true
    const record = request.queue.record
    this.#locks.findCoveringRecord(record)
    return (conflicting & ~bypassed(request.lock, this.#locks.heldMask(request.owner, record))) === 0
  }

  /** Whether a request of some class present in the queue could still be granted, given what waits ahead. */
  #anyoneElse(queue: RecordQueue, ahead: number): boolean {
    for (let kind = RequestClass.SharedRecord; kind <= RequestClass.Insert; kind++) {
      if ((queue.mask & CLASS_MEMBERS[kind]) === 0) continue
      const inTheWay = this.#inTheWay[kind]
      if (inTheWay === NOBODY && (ahead & CLASS_CONFLICTS[kind]) === 0) return true
      // The only owner in the way is not in its own way, and may pass those ahead by Q3.
      if (inTheWay > 0 && isWaitingIn(this.#locks.owners.at(inTheWay), queue)) return true
    }
    return false
  }

  #look(queue: RecordQueue): void {
    this.#inTheWay.fill(NOBODY)
    const record = queue.record
    const holds = this.#locks.table.holds.rows
    for (let hold = this.#locks.table.rows[record * Rec.Stride + Rec.FirstHold]; hold !== 0; hold = holds[hold * Hold.Stride + Hold.Next]) {
      this.#note(holds[hold * Hold.Stride + Hold.Owner], holds[hold * Hold.Stride + Hold.Mask])
      if (this.#allBlocked(queue)) return
    }
    for (const run of this.#locks.findCoveringRecord(record)) this.#note(run.owner.slot, run.bit)
  }

  #allBlocked(queue: RecordQueue): boolean {
    for (let kind = RequestClass.SharedRecord; kind <= RequestClass.Insert; kind++) {
      if ((queue.mask & CLASS_MEMBERS[kind]) !== 0 && this.#inTheWay[kind] !== SEVERAL) return false
    }
    return true
  }

  #note(slot: number, mask: number): void {
    const inTheWay = this.#inTheWay
    for (let kind = RequestClass.SharedRecord; kind <= RequestClass.Insert; kind++) {
      if ((mask & CLASS_CONFLICTS[kind]) !== 0 && inTheWay[kind] !== slot) inTheWay[kind] = inTheWay[kind] === NOBODY ? slot : SEVERAL
    }
  }
}

function isWaitingIn(owner: LockOwner, queue: RecordQueue): boolean {
  return owner.waiting instanceof RecordLockRequest && owner.waiting.queue === queue
}
