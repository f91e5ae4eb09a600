import { assert } from '../base/assert.js'
import type { TrxId } from '../base/ids.js'
import { OrderedList } from '../base/ordered-list.js'
import type { Trx } from './trx.js'

/**
 * Transactions that have an id and have not ended, in the order of their ids, and found by them.
 *
 * The table is open-addressed, with room for twice as many; ids are given in sequence, so they hardly ever collide. A place that
 * becomes free is filled by those behind it that had to go past it.
 */
export class ActiveTransactions implements Iterable<Trx> {
  readonly #list: OrderedList<Trx> = new OrderedList()
  #places: (Trx | null)[] = new Array<Trx | null>(16).fill(null)
  #mask = 15

  get size(): number {
    return this.#list.size
  }

  /** The one with the lowest id. */
  get oldest(): Trx | null {
    return this.#list.first
  }

  get(trxId: TrxId): Trx | undefined {
    for (let at = (trxId % 4294967296) & this.#mask; ; at = (at + 1) & this.#mask) {
      const trx = this.#places[at]
      if (trx === null) return undefined
      if (trx.trxId === trxId) return trx
    }
  }

  has(trxId: TrxId): boolean {
    return this.get(trxId) !== undefined
  }

  /** Its id is above all that are here. */
  add(trx: Trx): void {
    assert(this.#list.last === null || this.#list.last.trxId < trx.trxId, 'transaction ids grow')
    this.#list.add(trx)
    if (this.#list.size * 2 > this.#mask) this.#grow()
    else this.#place(trx)
  }

  remove(trx: Trx): void {
    const places = this.#places
    const mask = this.#mask
    let hole = (trx.trxId % 4294967296) & mask
    while (places[hole] !== trx) {
      if (places[hole] === null) return
      hole = (hole + 1) & mask
    }
    this.#list.remove(trx)
    places[hole] = null
    for (let at = (hole + 1) & mask; ; at = (at + 1) & mask) {
      const other = places[at]
      if (other === null) return
      const home = (other.trxId % 4294967296) & mask
      // Whether its home lies behind the hole, seen from where it is.
      if (((at - home) & mask) < ((at - hole) & mask)) continue
      places[hole] = other
      places[at] = null
      hole = at
    }
  }

  [Symbol.iterator](): Iterator<Trx> {
    return this.#list[Symbol.iterator]()
  }

  #place(trx: Trx): void {
    let at = (trx.trxId % 4294967296) & this.#mask
    while (this.#places[at] !== null) at = (at + 1) & this.#mask
    this.#places[at] = trx
  }

  #grow(): void {
    this.#mask = this.#mask * 2 + 1
    this.#places = new Array<Trx | null>(this.#mask + 1).fill(null)
    for (const trx of this.#list) this.#place(trx)
  }
}
