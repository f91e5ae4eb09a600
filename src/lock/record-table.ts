/**
 * Where record locks live: a hash table from (index, key) to a *record*, which heads the list of holds on that key and
 * may have a queue of waiting requests. Everything is rows of typed arrays; an uncontended lock is one record, one
 * hold and its key's words, and no object.
 *
 * A record exists exactly while its key has a hold or a queue. Record 0 is none.
 */
import type { TreeId } from '../base/ids.js'
import { Hold, HoldPool } from './hold-pool.js'
import { MAX_KEY_LENGTH, type PackedKey, wordsOf } from './lock-key.js'
import type { LockOwner } from './lock-owner.js'
import { WordArena } from './word-arena.js'

export const enum Rec {
  Hash = 0,
  Index = 1,
  /** Place of the key's words in the arena; 0 when it has none. */
  Key = 2,
  /** Bytes of the key, or SUPREMUM. */
  Length = 3,
  /** Newest hold. While the record is free: the next free record. */
  FirstHold = 4,
  /** Number of its queue; 0 = nobody waits. */
  Queue = 5,
  /** Mask of every lock that is held, and maybe of some that are not any more: what is missing in it nobody holds. */
  Held = 6,
  Stride = 7,
}

/** A slot of the hash table: the hash, and the record or 0. Linear probing; kept at most half full. */
const enum Slot {
  Hash = 0,
  Record = 1,
  Stride = 2,
}

const INITIAL_RECORDS = 1024

export class RecordTable {
  rows: Int32Array = new Int32Array(INITIAL_RECORDS * Rec.Stride)
  readonly holds: HoldPool = new HoldPool()
  readonly keys: WordArena = new WordArena(MAX_KEY_LENGTH / 4)
  /** Records there are. */
  live = 0
  #slots = new Int32Array(2 * INITIAL_RECORDS * Slot.Stride)
  #slotMask = 2 * INITIAL_RECORDS - 1
  #end = 1
  #free = 0

  /** Bytes of memory in use. */
  get bytes(): number {
    return this.rows.byteLength + this.holds.rows.byteLength + this.keys.words.byteLength + this.#slots.byteLength
  }

  /** The record of this key, or 0. */
  find(index: TreeId, key: PackedKey): number {
    const slots = this.#slots
    const mask = this.#slotMask
    const hash = key.hash
    for (let slot = hash & mask; ; slot = (slot + 1) & mask) {
      const record = slots[slot * Slot.Stride + Slot.Record]
      if (record === 0) return 0
      if (slots[slot * Slot.Stride + Slot.Hash] === hash && this.#is(record, index, key)) return record
    }
  }

  /** Makes the record of a key that has none. */
  add(index: TreeId, key: PackedKey): number {
    let record = this.#free
    if (record !== 0) {
      this.#free = this.rows[record * Rec.Stride + Rec.FirstHold]
    } else {
      record = this.#end++
      if (this.#end * Rec.Stride > this.rows.length) this.#grow()
    }
    const rows = this.rows
    const at = record * Rec.Stride
    rows[at + Rec.Hash] = key.hash
    rows[at + Rec.Index] = index
    rows[at + Rec.Key] = this.#store(key)
    rows[at + Rec.Length] = key.length
    rows[at + Rec.FirstHold] = 0
    rows[at + Rec.Queue] = 0
    rows[at + Rec.Held] = 0
    if (2 * ++this.live > this.#slotMask) this.#rehash(2 * (this.#slotMask + 1))
    this.#place(record, key.hash)
    return record
  }

  /** Forgets a record that has neither holds nor a queue. */
  remove(record: number): void {
    const rows = this.rows
    const at = record * Rec.Stride
    const words = wordsOf(rows[at + Rec.Length])
    if (words > 0) this.keys.release(rows[at + Rec.Key], words)
    this.#vacate(record)
    rows[at + Rec.FirstHold] = this.#free
    this.#free = record
    if (--this.live === 0 && rows.length > INITIAL_RECORDS * Rec.Stride) this.#shrink()
  }

  /** The hold of this owner on the record, or 0. It is in both their lists: the shorter one ends the search. */
  holdOf(record: number, owner: LockOwner): number {
    const rows = this.holds.rows
    const slot = owner.slot
    let onRecord = this.rows[record * Rec.Stride + Rec.FirstHold]
    let ofOwner = owner.firstRecordHold
    while (onRecord !== 0 && ofOwner !== 0) {
      if (rows[onRecord * Hold.Stride + Hold.Owner] === slot) return onRecord
      if (rows[ofOwner * Hold.Stride + Hold.Resource] === record) return ofOwner
      onRecord = rows[onRecord * Hold.Stride + Hold.Next]
      ofOwner = rows[ofOwner * Hold.Stride + Hold.OwnerNext]
    }
    return 0
  }

  /** Adds locks to a hold. */
  widen(hold: number, mask: number): void {
    const rows = this.holds.rows
    rows[hold * Hold.Stride + Hold.Mask] |= mask
    this.rows[rows[hold * Hold.Stride + Hold.Resource] * Rec.Stride + Rec.Held] |= mask
  }

  /** Whether an owner but this one holds one of the locks on the record. */
  isHeldByOthers(record: number, mask: number, owner: LockOwner): boolean {
    const at = record * Rec.Stride
    if ((this.rows[at + Rec.Held] & mask) === 0) return false
    const rows = this.holds.rows
    let held = 0
    for (let hold = this.rows[at + Rec.FirstHold]; hold !== 0; hold = rows[hold * Hold.Stride + Hold.Next]) {
      if ((rows[hold * Hold.Stride + Hold.Mask] & mask) !== 0 && rows[hold * Hold.Stride + Hold.Owner] !== owner.slot) return true
      held |= rows[hold * Hold.Stride + Hold.Mask]
    }
    this.rows[at + Rec.Held] = held
    return false
  }

  addHold(record: number, owner: LockOwner, mask: number): number {
    const first = record * Rec.Stride + Rec.FirstHold
    const hold = this.holds.add(record, owner.slot, mask, this.rows[first], owner.firstRecordHold)
    this.rows[first] = hold
    this.rows[record * Rec.Stride + Rec.Held] |= mask
    owner.firstRecordHold = hold
    return hold
  }

  removeHold(hold: number, owner: LockOwner): void {
    const first = this.holds.rows[hold * Hold.Stride + Hold.Resource] * Rec.Stride + Rec.FirstHold
    this.rows[first] = this.holds.unlink(hold, this.rows[first])
    owner.firstRecordHold = this.holds.unlinkFromOwner(hold, owner.firstRecordHold)
    this.holds.free(hold)
  }

  /** The record's key, packed. */
  loadKey(record: number, into: PackedKey): PackedKey {
    const at = record * Rec.Stride
    return into.load(this.keys.words, this.rows[at + Rec.Key], this.rows[at + Rec.Length], this.rows[at + Rec.Hash])
  }

  /** Every record there is. */
  all(): number[] {
    const records: number[] = []
    for (let slot = 0; slot <= this.#slotMask; slot++) {
      const record = this.#slots[slot * Slot.Stride + Slot.Record]
      if (record !== 0) records.push(record)
    }
    return records
  }

  #is(record: number, index: TreeId, key: PackedKey): boolean {
    const rows = this.rows
    const at = record * Rec.Stride
    if (rows[at + Rec.Index] !== index || rows[at + Rec.Length] !== key.length) return false
    const own = this.keys.words
    const from = rows[at + Rec.Key]
    const words = key.words
    for (let word = 0; word < key.wordCount; word++) if (own[from + word] !== words[word]) return false
    return true
  }

  #store(key: PackedKey): number {
    const count = key.wordCount
    if (count === 0) return 0
    const at = this.keys.allocate(count)
    const own = this.keys.words
    for (let word = 0; word < count; word++) own[at + word] = key.words[word]
    return at
  }

  #place(record: number, hash: number): void {
    const slots = this.#slots
    const mask = this.#slotMask
    let slot = hash & mask
    while (slots[slot * Slot.Stride + Slot.Record] !== 0) slot = (slot + 1) & mask
    slots[slot * Slot.Stride + Slot.Hash] = hash
    slots[slot * Slot.Stride + Slot.Record] = record
  }

  /** Empties the record's slot and closes the gap, so that probing never has to pass deleted slots. */
  #vacate(record: number): void {
    const slots = this.#slots
    const mask = this.#slotMask
    let gap = this.rows[record * Rec.Stride + Rec.Hash] & mask
    while (slots[gap * Slot.Stride + Slot.Record] !== record) gap = (gap + 1) & mask
    for (let slot = (gap + 1) & mask; slots[slot * Slot.Stride + Slot.Record] !== 0; slot = (slot + 1) & mask) {
      const home = slots[slot * Slot.Stride + Slot.Hash] & mask
      // May move into the gap unless its home lies cyclically after the gap, up to where it is.
      if (((slot - home) & mask) < ((slot - gap) & mask)) continue
      slots[gap * Slot.Stride + Slot.Hash] = slots[slot * Slot.Stride + Slot.Hash]
      slots[gap * Slot.Stride + Slot.Record] = slots[slot * Slot.Stride + Slot.Record]
      gap = slot
    }
    slots[gap * Slot.Stride + Slot.Record] = 0
  }

  #rehash(slotCount: number): void {
    const old = this.#slots
    this.#slots = new Int32Array(slotCount * Slot.Stride)
    this.#slotMask = slotCount - 1
    for (let at = 0; at < old.length; at += Slot.Stride) {
      const record = old[at + Slot.Record]
      if (record !== 0) this.#place(record, old[at + Slot.Hash])
    }
  }

  #grow(): void {
    const grown = new Int32Array(2 * this.rows.length)
    grown.set(this.rows)
    this.rows = grown
  }

  /** Back to the initial size: nothing is locked, and something big was. */
  #shrink(): void {
    this.#end = 1
    this.#free = 0
    this.rows = new Int32Array(INITIAL_RECORDS * Rec.Stride)
    this.#slots = new Int32Array(2 * INITIAL_RECORDS * Slot.Stride)
    this.#slotMask = 2 * INITIAL_RECORDS - 1
  }
}
