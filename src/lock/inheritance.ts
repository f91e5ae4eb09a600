/**
 * What happens to locks when entries come and go. Gaps are named by the entry that ends them, so an insert splits a gap
 * and a removal joins two; locks follow. (Pages play no part: D11.)
 *
 * I1  Insert: every lock on the gap before the successor, held there as gap or next-key or through a next-key run, is
 *     copied onto the new entry as a gap lock: the gap below the new entry stays locked by everybody who had locked
 *     the whole. The inserting owner's own locks too. At the supremum every lock is on the gap.
 *     Requests that wait for a next-key lock on the successor count as well; the insert got past them only if they
 *     are compatible with it. (gaps/RC/inherit/dup-waiter-on-rolled-back-insert: S gap on 15 and 20)
 * I2  Removal (purge, rollback of an insert): every lock on the entry, on the record or on the gap, held or *waited
 *     for*, becomes a gap lock of its mode on the successor, granted at once: gap locks wait for nothing. Insert
 *     intentions are not inherited. (gaps/RR/inherit/purge-middle-two-gaps, gaps/SER/inherit/waiter-on-rolled-back-insert)
 * I3  Requests that wait for a removed entry end with `moved`: the caller searches again and asks for what it finds
 *     there. (gaps/RC/inherit/dup-waiter-on-rolled-back-insert-uq: it goes on where it was)
 * I4  READ COMMITTED: an owner that takes no gap locks inherits none by I2, *unless* the statement it is in checks a
 *     constraint (`inheritsAll`: a duplicate check or upsert found or waits for an entry, until the statement ends), for
 *     the insert that follows relies on the check. So a plain waiter on a rolled-back insert ends up with nothing
 *     (gaps/RC/inherit/waiter-on-rolled-back-insert), a duplicate check with S gap
 *     (gaps/RC/inherit/dup-waiter-on-rolled-back-insert). I1 holds for everybody.
 * I5  An inherited lock that the owner has already in the same mode on that gap is not taken twice.
 *
 * FACT. I2 lets an owner get a gap lock while it waits for something else, ahead of inserts that wait for that gap. Its
 * lock is a new edge from a waiting owner's point of view, so each such insert is checked for deadlock (G2).
 */
import { assert, invariants } from '../base/assert.js'
import type { TreeId } from '../base/ids.js'
import { Hold } from './hold-pool.js'
import { PackedKey, SUPREMUM } from './lock-key.js'
import { asGap, gapPart, RecordBits, RecordLock } from './lock-modes.js'
import type { LockOwner } from './lock-owner.js'
import type { RecordLocks } from './record-locks.js'
import { Rec } from './record-table.js'

export class Inheritance {
  readonly #locks: RecordLocks
  readonly #entry = new PackedKey()
  readonly #successor = new PackedKey()

  constructor(locks: RecordLocks) {
    this.#locks = locks
  }

  /** An entry appeared before `successor`. */
  inserted(index: TreeId, key: Uint8Array, length: number, successor: Uint8Array, successorLength: number): void {
    const locks = this.#locks
    if (locks.table.live === 0 && locks.runs.count === 0) return
    const next = this.#successor.pack(index, successor, successorLength)
    const donor = locks.table.find(index, next)
    if (donor === 0 && locks.runs.count === 0) return
    const entry = this.#entry.pack(index, key, length)
    this.#assertNew(index, entry)
    this.#cutRuns(index, entry)
    if (donor !== 0) this.#inheritGapsOf(donor, index, entry)
    for (const run of locks.findCovering(index, next).slice()) this.#inherit(run.owner, index, entry, gapPart(run.bit))
  }

  /** An entry disappeared; `successor` follows where it was. */
  removed(index: TreeId, key: Uint8Array, length: number, successor: Uint8Array, successorLength: number): void {
    const locks = this.#locks
    if (locks.table.live === 0 && locks.runs.count === 0) return
    const entry = this.#entry.pack(index, key, length)
    const next = this.#successor.pack(index, successor, successorLength)
    for (const run of locks.findCovering(index, entry).slice()) this.#bequeath(run.owner, index, next, run.bit)
    const record = locks.table.find(index, entry)
    if (record === 0) return
    this.#bequeathAll(record, index, next)
    locks.moveAll(record)
    this.#forget(record)
    this.#checkInserts(locks.table.find(index, next))
  }

  /** Rule R3. */
  #cutRuns(index: TreeId, entry: PackedKey): void {
    for (const run of this.#locks.findCovering(index, entry)) this.#locks.runs.cutOut(run, entry)
  }

  /** Rule I1. */
  #inheritGapsOf(donor: number, index: TreeId, entry: PackedKey): void {
    const locks = this.#locks
    const table = locks.table
    let hold = table.rows[donor * Rec.Stride + Rec.FirstHold]
    while (hold !== 0) {
      const at = hold * Hold.Stride
      const mask = gapPart(table.holds.rows[at + Hold.Mask])
      const next = table.holds.rows[at + Hold.Next]
      if (mask !== 0) this.#inherit(locks.owners.at(table.holds.rows[at + Hold.Owner]), index, entry, mask)
      hold = next
    }
    const queue = locks.queueOf(donor)
    for (let request = queue === null ? null : queue.head; request !== null; request = request.behind) {
      this.#inherit(request.owner, index, entry, gapPart(1 << request.lock))
    }
  }

  /** Rules I2 and I4, for everybody who holds or awaits something on the record. */
  #bequeathAll(record: number, index: TreeId, heir: PackedKey): void {
    const locks = this.#locks
    const table = locks.table
    let hold = table.rows[record * Rec.Stride + Rec.FirstHold]
    while (hold !== 0) {
      const at = hold * Hold.Stride
      const next = table.holds.rows[at + Hold.Next]
      this.#bequeath(locks.owners.at(table.holds.rows[at + Hold.Owner]), index, heir, table.holds.rows[at + Hold.Mask])
      hold = next
    }
    const queue = locks.queueOf(record)
    for (let request = queue === null ? null : queue.head; request !== null; request = request.behind) {
      if (request.lock !== RecordLock.XInsertIntention) this.#bequeath(request.owner, index, heir, 1 << request.lock)
    }
  }

  #bequeath(owner: LockOwner, index: TreeId, heir: PackedKey, mask: number): void {
    if (owner.takesGapLocks || owner.inheritsAll) this.#inherit(owner, index, heir, asGap(mask))
  }

  /** Gives the owner the gap locks in `gaps`, those it lacks (rule I5). */
  #inherit(owner: LockOwner, index: TreeId, heir: PackedKey, gaps: number): void {
    if (gaps === 0) return
    const locks = this.#locks
    const held = this.#heldOn(owner, index, heir)
    if ((gaps & RecordBits.SGap) !== 0 && (held & RecordBits.OnGapS) === 0) {
      locks.grant(owner, index, heir, locks.table.find(index, heir), RecordBits.SGap)
    }
    if ((gaps & RecordBits.XGap) !== 0 && (held & RecordBits.OnGapX) === 0) {
      locks.grant(owner, index, heir, locks.table.find(index, heir), RecordBits.XGap)
    }
  }

  #heldOn(owner: LockOwner, index: TreeId, key: PackedKey): number {
    this.#locks.findCovering(index, key)
    return this.#locks.heldMask(owner, this.#locks.table.find(index, key))
  }

  #forget(record: number): void {
    const locks = this.#locks
    const table = locks.table
    for (let hold = table.rows[record * Rec.Stride + Rec.FirstHold]; hold !== 0; hold = table.rows[record * Rec.Stride + Rec.FirstHold]) {
      table.removeHold(hold, locks.owners.at(table.holds.rows[hold * Hold.Stride + Hold.Owner]))
    }
    table.remove(record)
  }

  /** The FACT above. */
  #checkInserts(heir: number): void {
    const queue = this.#locks.queueOf(heir)
    if (queue === null || (queue.mask & RecordBits.InsertIntention) === 0) return
    const inserts = []
    for (let request = queue.head; request !== null; request = request.behind) {
      if (request.lock === RecordLock.XInsertIntention) inserts.push(request)
    }
    for (const request of inserts) this.#locks.graph.check(request)
  }

  #assertNew(index: TreeId, entry: PackedKey): void {
    if (!invariants.enabled) return
    assert(entry.length !== SUPREMUM, 'the supremum cannot be inserted')
    assert(this.#locks.table.find(index, entry) === 0, 'an entry was inserted that has locks already')
  }
}
