import type { CommitNumber, PageId, TrxId } from '../base/ids.js'

/**
 * Committed transactions whose undo may still be needed by a view or has work for purge, in commit order: the history list.
 * The list itself is chained through the undo log headers, so a checkpoint holds it; this is its image in memory: a ring of
 * four numbers per transaction, no objects. Pages and offsets leave it as integers: V8 keeps what comes out of a Float64Array as a
 * heap number, and code that takes small integers is thrown out at every one of them, compiled again, and thrown out again.
 */
export class History {
  #ring: Float64Array = new Float64Array(64 * FIELDS)
  #head = 0
  #length = 0

  get length(): number {
    return this.#length
  }

  /** Bytes in memory. */
  get memory(): number {
    return this.#ring.byteLength
  }

  push(trxId: TrxId, commitNumber: CommitNumber, page: PageId, offset: number): void {
    if (this.#length * FIELDS === this.#ring.length) this.#grow()
    const at = this.#slot(this.#length++)
    this.#ring[at] = trxId
    this.#ring[at + 1] = commitNumber
    this.#ring[at + 2] = page
    this.#ring[at + 3] = offset
  }

  shift(): void {
    this.#head = (this.#head + FIELDS) % this.#ring.length
    this.#length--
  }

  trxIdAt(index: number): TrxId {
    return this.#ring[this.#slot(index)] as TrxId
  }

  commitNumberAt(index: number): CommitNumber {
    return this.#ring[this.#slot(index) + 1] as CommitNumber
  }

  pageAt(index: number): PageId {
    return (this.#ring[this.#slot(index) + 2] >>> 0) as PageId
  }

  offsetAt(index: number): number {
    return this.#ring[this.#slot(index) + 3] >>> 0
  }

  /** Whether the transaction is still in the list. A linear look: only rollback to a deleted state asks. */
  has(trxId: TrxId): boolean {
    for (let index = 0; index < this.#length; index++) if (this.trxIdAt(index) === trxId) return true
    return false
  }

  #slot(index: number): number {
    return (this.#head + index * FIELDS) % this.#ring.length
  }

  #grow(): void {
    const larger = new Float64Array(this.#ring.length * 2)
    larger.set(this.#ring.subarray(this.#head))
    larger.set(this.#ring.subarray(0, this.#head), this.#ring.length - this.#head)
    this.#ring = larger
    this.#head = 0
  }
}

const FIELDS = 4
