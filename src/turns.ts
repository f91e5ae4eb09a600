import type { Clock } from './platform/clock.js'

/**
 * Counts asynchronous operations, and says when one must end in a macrotask: past 5 ms or 1,000 operations without. A loop of awaits on
 * resolved promises would otherwise starve every timer and every I/O completion (D1).
 */
export class Turns {
  readonly #clock: Clock
  #operations = 0
  #last: number

  constructor(clock: Clock) {
    this.#clock = clock
    this.#last = clock.now()
  }

  /** To be called once per operation: a macrotask to await, or undefined. */
  next(): Promise<void> | undefined {
    if (++this.#operations < OPERATIONS_PER_TURN) {
      // The clock is looked at now and then only.
      if ((this.#operations & 15) !== 0 || this.#clock.now() - this.#last < MS_PER_TURN) return undefined
    }
    this.#operations = 0
    return this.#clock.macrotask().then(() => {
      this.#last = this.#clock.now()
    })
  }
}

const OPERATIONS_PER_TURN = 1000
const MS_PER_TURN = 5
