import { assert } from '../base/assert.js'

/** Words the arena starts with, and shrinks back to when everything was released. */
const INITIAL_WORDS = 1 << 12

/**
 * Memory for keys: blocks of 32-bit words out of one growing array. Released blocks are kept in one list per size and
 * reused for the same size; when nothing is allocated any more, a grown arena shrinks. Locks come and go in whole
 * transactions, so sizes repeat and the lists do not fragment.
 */
export class WordArena {
  words: Int32Array = new Int32Array(INITIAL_WORDS)
  /** FREE[size]: the first released block of that size, linked through its first word; 0 = none. */
  readonly #free: Int32Array
  /** 0 is no block. */
  #end = 1
  #live = 0

  constructor(largestBlock: number) {
    this.#free = new Int32Array(largestBlock + 1)
  }

  /** Position of `size` words, 1 … the largest block. Their content is undefined. */
  allocate(size: number): number {
    assert(size > 0 && size < this.#free.length, 'a lock key is longer than any index entry can be')
    this.#live++
    const released = this.#free[size]
    if (released !== 0) {
      this.#free[size] = this.words[released]
      return released
    }
    const at = this.#end
    this.#end += size
    if (this.#end > this.words.length) this.#grow()
    return at
  }

  release(at: number, size: number): void {
    this.words[at] = this.#free[size]
    this.#free[size] = at
    if (--this.#live === 0 && this.words.length > INITIAL_WORDS) this.#shrink()
  }

  #grow(): void {
    let length = this.words.length
    while (length < this.#end) length *= 2
    const grown = new Int32Array(length)
    grown.set(this.words)
    this.words = grown
  }

  #shrink(): void {
    this.#end = 1
    this.#free.fill(0)
    this.words = new Int32Array(INITIAL_WORDS)
  }
}
