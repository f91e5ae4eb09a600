/**
 * The wait-for graph over everything that waits: record locks, table locks, and whatever else extends LockRequest. A
 * node is an owner; an owner waits with at most one request, whose blockers are its outgoing edges.
 *
 * Rules:
 * G1  A request's edges go to every conflicting holder and to the *nearest* conflicting request ahead of it.
 *     The earlier conflicting requests need no edge of their own: those of one class (see RequestClass) wait for the
 *     same locks, and the nearest one is behind them or waits for what they wait for, so whatever is reachable
 *     through them is reachable through it. (deadlocks/RC/waiter-behind-waiter has such an edge on its cycle.)
 * G2  A search runs when a request starts to wait, and only if somebody may be waiting for the requester: its owner's
 *     `mayBlock`, set when the owner holds something others queue for, cleared when it releases everything.
 *     PROOF that this finds every cycle. Take the edge that closes it; edges appear
 *     (a) when a request starts to wait: its owner is on the cycle, so somebody waits for that owner. Until now the
 *     owner did not wait itself, so it stands in the way by something it *holds*, `mayBlock` is set, and the search
 *     runs from its request;
 *     (b) when an owner is granted a lock others then wait for: it does not wait, so no cycle closes;
 *     (c) when an owner that waits is *given* a gap lock, inherited from an entry that was removed: the inserts that
 *     wait for this gap are searched from as well (`check`);
 *     (d) when an implicit lock of an owner that waits is made explicit: that is done before the first request it
 *     stands in the way of starts to wait, which is case (a).
 *     10,000 requests queueing for one row by owners nobody waits for cost no search at all.
 * G3  The graph is complete, so a cycle is found when it closes, also where MySQL, which keeps one edge per waiter,
 *     finds it when an edge changes. (deadlocks/RR/s-to-x-upgrade-three: at once, as MariaDB.)
 *
 * The victim:
 * V1  The lightest on the cycle: undo records + lock structures. On a tie the one that began to wait last, which is the
 *     requester when a request closed the cycle; then the one that waits for it, and so on round the cycle.
 *     (deadlocks/RR/two-rows-lighter-requester, deadlocks/RC/locks-only-vs-changes, deadlocks/RC/three-cycle)
 * V2  Lock structures are counted as InnoDB allocates them, with an index for a page: one per index, mode and kind,
 *     one per table lock, and one for every record request that had to wait, kept when it is granted or moved.
 *     Structures stay until the end of the transaction even when every lock in them was released. Implicit locks
 *     count nothing until they are made explicit.
 * V3  DDL and LOCK TABLES (`diesLast`) are victims only of a cycle that has nobody else.
 */
import { assert } from '../base/assert.js'
import { Deadlock } from './deadlock.js'
import { type LockNames, PLAIN_NAMES } from './lock-names.js'
import type { LockOwner } from './lock-owner.js'
import type { LockOutcome, LockRequest } from './lock-request.js'

export class WaitGraph {
  /** Switched off, only timeouts end a deadlock. */
  detection = true
  latestDeadlock: Deadlock | null = null
  onDeadlock: ((deadlock: Deadlock) => void) | null = null
  /** How reports of deadlocks call things. */
  names: LockNames = PLAIN_NAMES
  /** Requests that wait now. */
  waiting = 0
  #sequence = 0
  #search = 0
  /** Requests that were settled but not yet told. */
  #settled: LockRequest[] = []
  #delivering = false

  /**
   * The request, already in its queue, starts to wait; resolves the deadlocks this closes. Its status tells the result:
   * still waiting, its owner the victim, or granted, because a victim stood in its way.
   */
  begin(request: LockRequest): void {
    const owner = request.owner
    assert(owner.waiting === null, 'a lock owner started to wait while it was waiting')
    owner.waiting = request
    request.sequence = ++this.#sequence
    this.waiting++
    if (owner.mayBlock) this.check(request)
  }

  /** Looks for cycles through this waiting request, ending each by a victim, until there is none or it waits no more. */
  check(request: LockRequest): void {
    while (this.detection && request.status === 'waiting') {
      const cycle = this.#findCycle(request.owner)
      if (cycle === null) return
      const victim = chooseVictim(cycle)
      this.latestDeadlock = new Deadlock(cycle, victim, this.names)
      this.onDeadlock?.(this.latestDeadlock)
      const awaited = victim.waiting
      assert(awaited !== null, 'a deadlock victim does not wait')
      this.settle(awaited, 'deadlock')
      awaited.withdraw()
    }
  }

  /** Ends a wait. The owner is told by `deliver`. */
  settle(request: LockRequest, outcome: LockOutcome): void {
    assert(request.status === 'waiting', 'a lock request was settled twice')
    request.status = outcome
    request.owner.waiting = null
    this.waiting--
    this.#settled.push(request)
  }

  /** Tells the owners of settled requests. To be called when every table is consistent. */
  deliver(): void {
    assert(!this.#delivering, 'the callback of a lock request called into the lock system')
    if (this.#settled.length === 0) return
    this.#delivering = true
    const settled = this.#settled
    this.#settled = []
    try {
      for (const request of settled) request.onSettled?.(request.status as LockOutcome)
    } finally {
      this.#delivering = false
    }
  }

  /** The owners of a cycle through `start`, each waiting for the next and the last for the first; null if none. */
  #findCycle(start: LockOwner): LockOwner[] | null {
    const search = ++this.#search
    const path: LockOwner[] = [start]
    const edges: LockOwner[][] = [blockersOf(start)]
    const taken: number[] = [0]
    while (path.length > 0) {
      const top = path.length - 1
      if (taken[top] === edges[top].length) {
        path.pop()
        edges.pop()
        taken.pop()
        continue
      }
      const next = edges[top][taken[top]++]
      if (next === start) return path
      if (next.waiting === null || next.visited === search) continue
      next.visited = search
      path.push(next)
      edges.push(blockersOf(next))
      taken.push(0)
    }
    return null
  }
}

function blockersOf(owner: LockOwner): LockOwner[] {
  const blockers: LockOwner[] = []
  owner.waiting?.collectBlockers(blockers)
  return blockers
}

/** Rules V1 and V3. */
function chooseVictim(cycle: readonly LockOwner[]): LockOwner {
  const count = cycle.length
  let latest = 0
  for (let at = 1; at < count; at++) {
    if (sequenceOf(cycle[at]) > sequenceOf(cycle[latest])) latest = at
  }
  let victim = cycle[(latest + 1) % count]
  for (let step = 2; step <= count; step++) {
    const candidate = cycle[(latest + step) % count]
    if (isNoHeavier(candidate, victim)) victim = candidate
  }
  return victim
}

function isNoHeavier(candidate: LockOwner, than: LockOwner): boolean {
  if (candidate.diesLast !== than.diesLast) return than.diesLast
  return candidate.weight <= than.weight
}

function sequenceOf(owner: LockOwner): number {
  return owner.waiting === null ? 0 : owner.waiting.sequence
}
