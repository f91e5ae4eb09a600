import { AsyncLocalStorage } from 'node:async_hooks'
import type { LockOwner } from './lock/lock-owner.js'
import type { LockRequest } from './lock/lock-request.js'

/**
 * Knows which transaction's function a call is made in. A call that awaits, inside it, a lock that this transaction holds waits for
 * itself, which a graph of transactions does not show (D10). Node's AsyncLocalStorage slows down every promise of the process, so
 * this is for development and tests.
 */
export class SelfWaits {
  readonly #inside: AsyncLocalStorage<Enclosing> = new AsyncLocalStorage()

  /** Runs the function of a transaction. */
  run<T>(owner: LockOwner, work: () => T): T {
    return this.#inside.run({ owner, outer: this.#inside.getStore() }, work)
  }

  /** Whether this wait, begun here, is for a transaction in whose function it is, or for somebody who waits for that. */
  isSelfWait(request: LockRequest): boolean {
    const inside = this.#inside.getStore()
    if (inside === undefined) return false
    const seen = new Set<LockOwner>()
    for (const pending: LockRequest[] = [request]; ; ) {
      const next = pending.pop()
      if (next === undefined) return false
      const blockers: LockOwner[] = []
      next.collectBlockers(blockers)
      for (const blocker of blockers) {
        if (seen.has(blocker)) continue
        if (isInside(inside, blocker, request.owner)) return true
        seen.add(blocker)
        if (blocker.waiting !== null) pending.push(blocker.waiting)
      }
    }
  }
}

interface Enclosing {
  owner: LockOwner
  outer: Enclosing | undefined
}

/** A transaction's own statements wait for others, not for it. */
function isInside(inside: Enclosing, blocker: LockOwner, requester: LockOwner): boolean {
  for (let level: Enclosing | undefined = inside; level !== undefined; level = level.outer) {
    if (level.owner === blocker && blocker !== requester) return true
  }
  return false
}
