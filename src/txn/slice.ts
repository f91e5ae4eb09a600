import type { Clock } from '../platform/clock.js'

/**
 * What long work yields between two of its slices, in place of a lock to wait for: the event loop is to have a turn (D1). Only work on
 * behalf of transactions whose calls are asynchronous does (`trx.inSlices`).
 */
export const PAUSE: unique symbol = Symbol('pause')

/** Says when a slice of long work is over: after 1,000 units, of some microseconds each, or 5 ms. */
export class Slice {
  readonly #clock: Clock
  #units = 0
  /** When it began, or was first looked at; undefined before. */
  #since: number | undefined

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** To be asked after each unit of work; once true, another slice begins. */
  isOver(units: number = 1): boolean {
    const before = this.#units
    this.#units += units
    if (this.#units < UNITS_PER_SLICE) {
      // The clock is looked at now and then only.
      if (before >> 4 === this.#units >> 4) return false
      const now = this.#clock.now()
      this.#since ??= now
      if (now - this.#since < MS_PER_SLICE) return false
    }
    this.#units = 0
    this.#since = undefined
    return true
  }
}

const UNITS_PER_SLICE = 1_000
const MS_PER_SLICE = 5
