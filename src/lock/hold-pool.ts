/**
 * Holds: "owner O has the locks in this mask on resource R", as rows of one Int32Array. A hold is in two doubly linked
 * lists at once: that of its resource and that of its owner. Both lists are newest first; their heads are kept by the
 * resource and by the owner. Hold 0 is none.
 */
export const enum Hold {
  Resource = 0,
  /** Slot of the owner. */
  Owner = 1,
  Mask = 2,
  /** Neighbours in the resource's list. */
  Previous = 3,
  Next = 4,
  /** Neighbours in the owner's list. */
  OwnerPrevious = 5,
  OwnerNext = 6,
  /** Metadata locks: mask of the modes held until they are given back. */
  Explicit = 7,
  Stride = 8,
}

const INITIAL_HOLDS = 1024

export class HoldPool {
  rows: Int32Array = new Int32Array(INITIAL_HOLDS * Hold.Stride)
  /** Holds there are. */
  live = 0
  #end = 1
  /** Released holds, linked through Next. */
  #free = 0

  /** A hold at the head of both lists, given what the heads are so far. The caller makes it the new head. */
  add(resource: number, owner: number, mask: number, first: number, ownerFirst: number): number {
    let hold = this.#free
    if (hold !== 0) {
      this.#free = this.rows[hold * Hold.Stride + Hold.Next]
    } else {
      hold = this.#end++
      if (this.#end * Hold.Stride > this.rows.length) this.#grow()
    }
    this.live++
    const rows = this.rows
    const at = hold * Hold.Stride
    rows[at + Hold.Resource] = resource
    rows[at + Hold.Owner] = owner
    rows[at + Hold.Mask] = mask
    rows[at + Hold.Previous] = 0
    rows[at + Hold.Next] = first
    rows[at + Hold.OwnerPrevious] = 0
    rows[at + Hold.OwnerNext] = ownerFirst
    if (first !== 0) rows[first * Hold.Stride + Hold.Previous] = hold
    if (ownerFirst !== 0) rows[ownerFirst * Hold.Stride + Hold.OwnerPrevious] = hold
    return hold
  }

  /** Takes the hold out of its resource's list; returns the head of that list. */
  unlink(hold: number, first: number): number {
    const rows = this.rows
    const previous = rows[hold * Hold.Stride + Hold.Previous]
    const next = rows[hold * Hold.Stride + Hold.Next]
    if (next !== 0) rows[next * Hold.Stride + Hold.Previous] = previous
    if (previous === 0) return next
    rows[previous * Hold.Stride + Hold.Next] = next
    return first
  }

  /** Takes the hold out of its owner's list; returns the head of that list. */
  unlinkFromOwner(hold: number, first: number): number {
    const rows = this.rows
    const previous = rows[hold * Hold.Stride + Hold.OwnerPrevious]
    const next = rows[hold * Hold.Stride + Hold.OwnerNext]
    if (next !== 0) rows[next * Hold.Stride + Hold.OwnerPrevious] = previous
    if (previous === 0) return next
    rows[previous * Hold.Stride + Hold.OwnerNext] = next
    return first
  }

  /** The hold, unlinked from both lists, may be reused. */
  free(hold: number): void {
    if (--this.live === 0) {
      this.#end = 1
      this.#free = 0
      if (this.rows.length > INITIAL_HOLDS * Hold.Stride) this.rows = new Int32Array(INITIAL_HOLDS * Hold.Stride)
      return
    }
    this.rows[hold * Hold.Stride + Hold.Next] = this.#free
    this.#free = hold
  }

  #grow(): void {
    const grown = new Int32Array(2 * this.rows.length)
    grown.set(this.rows)
    this.rows = grown
  }
}
