/**
 * Metadata locks: on tables by name, and on the scopes that stand for all of them. A name can be locked before there is a table of it.
 * Matrices and rules N1–N4 are in metadata-modes.ts. Further rules:
 *
 * N5  A lock is held for a duration, and one owner may hold modes of one object for several: the end of one leaves the others. What
 *     stands in others' way is the union. A request that is satisfied by what is held for another duration is granted at once and noted
 *     for its own: so the SW of a statement under LOCK TABLES … WRITE stays to the end of the transaction when the tables are unlocked.
 * N6  Rule G1 of the graph does not hold here, because there are two ranks (N2): a request's edges go to *every* waiting request it
 *     waits for. Schema changes do not queue by the thousand.
 * N7  A request that starts to wait may at once stand in the way of others that wait already (a pending X, of pending SR). Its owner is
 *     then marked as one somebody may wait for, before the search: so G2's proof holds, case (a) included.
 *
 * Names get small numbers. A number is good as long as somebody holds or awaits the lock, or a table has the name and nobody held X on
 * it since it was asked for. Whoever ends an X may have made the name vanish: then, idle, it is asked for, and forgotten if it has.
 */
import { fail } from '../base/assert.js'
import { Hold, HoldPool } from './hold-pool.js'
import type { LockOwner } from './lock-owner.js'
import { type LockInfo, LockResult } from './lock-request.js'
import { Duration, METADATA_LOCKS, MetadataLock } from './metadata-modes.js'
import { MetadataObject, MetadataRequest, metadataInfo } from './metadata-object.js'
import type { OwnerList } from './owner-list.js'
import type { WaitGraph } from './wait-graph.js'

const SCOPE_NAMES = ['', 'GLOBAL', 'COMMIT', 'TABLE LOCKS']
const ALL_MODES = (1 << METADATA_LOCKS) - 1

export class MetadataLocks {
  readonly holds: HoldPool = new HoldPool()
  /** Whether there is a table of this name. */
  isTable: (name: string) => boolean = () => false
  readonly #owners: OwnerList
  readonly #graph: WaitGraph
  readonly #objects: (MetadataObject | undefined)[] = SCOPE_NAMES.map((name, number) => new MetadataObject(number, name, true, true))
  readonly #byName: Map<string, MetadataObject> = new Map()
  readonly #freeNumbers: number[] = []

  constructor(owners: OwnerList, graph: WaitGraph) {
    this.#owners = owners
    this.#graph = graph
  }

  /** The number of a name, whether or not there is a table of it. */
  numberOf(name: string): number {
    const known = this.#byName.get(name)
    if (known !== undefined) return known.number
    const number = this.#freeNumbers.pop() ?? this.#objects.length
    const object = new MetadataObject(number, name, false, this.isTable(name))
    this.#objects[number] = object
    this.#byName.set(name, object)
    return number
  }

  /** Locks an object for a duration. Held already in a weaker mode, this is an upgrade. */
  lock(owner: LockOwner, number: number, lock: MetadataLock, duration: Duration, mayWait: boolean): LockResult {
    const object = this.#object(number)
    const hold = this.#holdOf(owner, number)
    if ((this.#heldFor(hold, duration) & object.satisfying(lock)) !== 0) return LockResult.AlreadyHeld
    const held = this.#union(hold)
    if ((held & object.satisfying(lock)) === 0 && !object.admits(lock, held)) {
      return mayWait ? this.#wait(owner, object, lock, duration) : LockResult.NotAvailable
    }
    this.#give(owner, object, lock, duration)
    return LockResult.Granted
  }

  /** Whether a request of an owner that holds nothing would be granted at once. */
  isFree(number: number, lock: MetadataLock): boolean {
    return this.#object(number).admits(lock, 0)
  }

  /** Mask of the modes an owner holds on an object for a duration. */
  heldFor(owner: LockOwner, number: number, duration: Duration): number {
    return this.#heldFor(this.#holdOf(owner, number), duration)
  }

  /** Gives back what the owner holds on the object for the duration, but for the modes to keep: a downgrade. */
  unlock(owner: LockOwner, number: number, duration: Duration, keep: number): void {
    const hold = this.#holdOf(owner, number)
    if (hold !== 0) this.#reduce(owner, hold, duration, keep & this.#heldFor(hold, duration))
  }

  /** Gives back everything held for the duration. */
  unlockAll(owner: LockOwner, duration: Duration): void {
    for (let hold = owner.firstMetadataHold; hold !== 0; ) {
      const next = this.holds.rows[hold * Hold.Stride + Hold.OwnerNext]
      this.#reduce(owner, hold, duration, 0)
      hold = next
    }
  }

  releaseAll(owner: LockOwner): void {
    while (owner.firstMetadataHold !== 0) {
      const hold = owner.firstMetadataHold
      const object = this.#object(this.holds.rows[hold * Hold.Stride + Hold.Resource])
      discount(object, this.#union(hold))
      this.#removeHold(owner, object, hold)
      this.#wake(object)
    }
    owner.lastMetadata = 0
  }

  /** What the owner holds to the end of its transaction: pairs of number and mask, for `releaseSince`. */
  heldInTransaction(owner: LockOwner): number[] {
    const held: number[] = []
    const { rows } = this.holds
    for (let hold = owner.firstMetadataHold; hold !== 0; hold = rows[hold * Hold.Stride + Hold.OwnerNext]) {
      held.push(rows[hold * Hold.Stride + Hold.Resource], this.#heldFor(hold, Duration.Transaction))
    }
    return held
  }

  /** Gives back what the transaction has locked since `before` was listed by `heldInTransaction`. */
  releaseSince(owner: LockOwner, before: readonly number[]): void {
    for (let hold = owner.firstMetadataHold; hold !== 0; ) {
      const at = hold * Hold.Stride
      const next = this.holds.rows[at + Hold.OwnerNext]
      const pair = before.findIndex((value, i) => i % 2 === 0 && value === this.holds.rows[at + Hold.Resource])
      this.#reduce(owner, hold, Duration.Transaction, pair < 0 ? 0 : before[pair + 1] & this.#heldFor(hold, Duration.Transaction))
      hold = next
    }
  }

  collectBlockers(request: MetadataRequest, into: LockOwner[]): void {
    const { object, owner } = request
    const conflicts = object.conflicts(request.lock)
    const rows = this.holds.rows
    for (let hold = object.firstHold; hold !== 0; hold = rows[hold * Hold.Stride + Hold.Next]) {
      if ((this.#union(hold) & conflicts) === 0) continue
      const holder = this.#owners.at(rows[hold * Hold.Stride + Hold.Owner])
      if (holder !== owner) into.push(holder)
    }
    const pending = object.pendingConflicts(request.lock)
    if ((pending & object.queue.mask) === 0) return
    for (let other = object.queue.head; other !== null; other = other.behind) {
      if (other !== request && ((1 << other.lock) & pending) !== 0) into.push(other.owner)
    }
  }

  describeBlocking(request: MetadataRequest, blocker: LockOwner): LockInfo[] {
    const { object } = request
    const mask = this.#union(this.#holdOf(blocker, object.number)) & object.conflicts(request.lock)
    const found: LockInfo[] = []
    for (let lock = 0; lock < METADATA_LOCKS; lock++) if ((mask & (1 << lock)) !== 0) found.push(metadataInfo(blocker, object, lock))
    const awaited = blocker.waiting
    if (found.length === 0 && awaited !== null) found.push(awaited.describe())
    return found
  }

  /** A waiting request, settled by the caller, leaves its queue. */
  withdraw(request: MetadataRequest): void {
    request.object.queue.leave(request)
    this.#wake(request.object)
  }

  /** Every lock held or awaited, scopes first. */
  *[Symbol.iterator](): Generator<LockInfo> {
    for (const object of this.#objects) {
      if (object === undefined) continue
      const { rows } = this.holds
      for (let hold = object.firstHold; hold !== 0; hold = rows[hold * Hold.Stride + Hold.Next]) {
        const owner = this.#owners.at(rows[hold * Hold.Stride + Hold.Owner])
        const mask = this.#union(hold)
        for (let lock = 0; lock < METADATA_LOCKS; lock++) if ((mask & (1 << lock)) !== 0) yield metadataInfo(owner, object, lock)
      }
      for (let request = object.queue.head; request !== null; request = request.behind) yield request.describe()
    }
  }

  #wait(owner: LockOwner, object: MetadataObject, lock: MetadataLock, duration: Duration): LockResult {
    if (owner.slot === 0) this.#owners.add(owner)
    const { queue } = object
    if (queue.tail === null) this.#markHolders(object)
    else if (object.holdsBack(lock)) owner.mayBlock = true // N7
    const request = new MetadataRequest(owner, object, lock, duration, this)
    queue.join(request)
    this.#graph.begin(request)
    return request.result
  }

  /** Rule G2. */
  #markHolders(object: MetadataObject): void {
    const { rows } = this.holds
    for (let hold = object.firstHold; hold !== 0; hold = rows[hold * Hold.Stride + Hold.Next]) {
      this.#owners.at(rows[hold * Hold.Stride + Hold.Owner]).mayBlock = true
    }
  }

  #give(owner: LockOwner, object: MetadataObject, lock: MetadataLock, duration: Duration): void {
    if (owner.slot === 0) this.#owners.add(owner)
    let hold = this.#holdOf(owner, object.number)
    if (hold === 0) {
      hold = this.holds.add(object.number, owner.slot, 0, object.firstHold, owner.firstMetadataHold)
      this.holds.rows[hold * Hold.Stride + Hold.Explicit] = 0
      object.firstHold = hold
      owner.firstMetadataHold = hold
    }
    if ((this.#union(hold) & (1 << lock)) === 0) object.granted[lock]++
    this.#setHeldFor(hold, duration, this.#heldFor(hold, duration) | (1 << lock))
    if (lock === MetadataLock.X) object.named = false
    if (object.queue.head !== null) owner.mayBlock = true
    if (duration === Duration.Transaction) {
      owner.lastMetadata = object.number
      owner.lastMetadataMask = this.#heldFor(hold, duration)
    }
  }

  /** Of what the hold has for the duration, only `keep` is kept. */
  #reduce(owner: LockOwner, hold: number, duration: Duration, keep: number): void {
    const held = this.#heldFor(hold, duration)
    if (held === keep) return
    const object = this.#object(this.holds.rows[hold * Hold.Stride + Hold.Resource])
    const before = this.#union(hold)
    this.#setHeldFor(hold, duration, keep)
    const after = this.#union(hold)
    owner.lastMetadata = 0
    if (after === before) return
    discount(object, before & ~after)
    if (after === 0) this.#removeHold(owner, object, hold)
    this.#wake(object)
  }

  #removeHold(owner: LockOwner, object: MetadataObject, hold: number): void {
    object.firstHold = this.holds.unlink(hold, object.firstHold)
    owner.firstMetadataHold = this.holds.unlinkFromOwner(hold, owner.firstMetadataHold)
    this.holds.free(hold)
  }

  /** Grants what can be granted now, in the order in which it was asked for (N3: one walk is enough). */
  #wake(object: MetadataObject): void {
    let request = object.queue.head
    while (request !== null && this.#anyoneMightGo(object)) {
      const next: MetadataRequest | null = request.behind
      const { owner } = request
      if (object.admits(request.lock, this.#union(this.#holdOf(owner, object.number)))) {
        object.queue.leave(request)
        this.#give(owner, object, request.lock, request.duration)
        this.#graph.settle(request, 'granted')
      }
      request = next
    }
    if (!object.named && object.isIdle && !object.isScope) this.#forgetIfGone(object)
  }

  #anyoneMightGo(object: MetadataObject): boolean {
    const { mask } = object.queue
    for (let lock = 0; lock < METADATA_LOCKS; lock++) if ((mask & (1 << lock)) !== 0 && object.mightAdmit(lock)) return true
    return false
  }

  #forgetIfGone(object: MetadataObject): void {
    object.named = this.isTable(object.name)
    if (object.named) return
    this.#byName.delete(object.name)
    this.#objects[object.number] = undefined
    this.#freeNumbers.push(object.number)
  }

  /** Owners hold few; tables have many holders. */
  #holdOf(owner: LockOwner, number: number): number {
    const { rows } = this.holds
    let hold = owner.firstMetadataHold
    while (hold !== 0 && rows[hold * Hold.Stride + Hold.Resource] !== number) hold = rows[hold * Hold.Stride + Hold.OwnerNext]
    return hold
  }

  #union(hold: number): number {
    if (hold === 0) return 0
    const { rows } = this.holds
    const shorter = rows[hold * Hold.Stride + Hold.Mask]
    return (shorter & ALL_MODES) | (shorter >> METADATA_LOCKS) | rows[hold * Hold.Stride + Hold.Explicit]
  }

  #heldFor(hold: number, duration: Duration): number {
    if (hold === 0) return 0
    const { rows } = this.holds
    if (duration === Duration.Explicit) return rows[hold * Hold.Stride + Hold.Explicit]
    const shorter = rows[hold * Hold.Stride + Hold.Mask]
    return duration === Duration.Transaction ? shorter & ALL_MODES : shorter >> METADATA_LOCKS
  }

  #setHeldFor(hold: number, duration: Duration, mask: number): void {
    const { rows } = this.holds
    const at = hold * Hold.Stride
    if (duration === Duration.Explicit) rows[at + Hold.Explicit] = mask
    else if (duration === Duration.Transaction) rows[at + Hold.Mask] = (rows[at + Hold.Mask] & ~ALL_MODES) | mask
    else rows[at + Hold.Mask] = (rows[at + Hold.Mask] & ALL_MODES) | (mask << METADATA_LOCKS)
  }

  #object(number: number): MetadataObject {
    return this.#objects[number] ?? fail(`no metadata lock has the number ${number}`)
  }
}

/** An owner holds these modes no more. */
function discount(object: MetadataObject, modes: number): void {
  for (let left = modes; left !== 0; left &= left - 1) object.granted[31 - Math.clz32(left & -left)]--
}
