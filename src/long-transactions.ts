import type { OrderedList } from './base/ordered-list.js'
import type { Clock } from './platform/clock.js'
import type { TransactionCore } from './transaction-core.js'

/**
 * Notices, once for each, transactions that stay open for long. One timer looks when the oldest unnoticed one will have been open long
 * enough; it runs only while somebody listens and transactions are open, and does not keep the process alive.
 */
export class LongTransactions {
  readonly #clock: Clock
  readonly #longest: number
  /** In the order in which they began. */
  readonly #open: OrderedList<TransactionCore>
  readonly #report: (core: TransactionCore) => void
  #listening = false
  #cancelTimer: (() => void) | undefined

  /** @param longest Milliseconds. */
  constructor(clock: Clock, longest: number, open: OrderedList<TransactionCore>, report: (core: TransactionCore) => void) {
    this.#clock = clock
    this.#longest = longest
    this.#open = open
    this.#report = report
  }

  /** A transaction that may outlast the call has begun. */
  begun(core: TransactionCore): void {
    core.begunAt = this.#clock.now()
    if (this.#listening && this.#cancelTimer === undefined) this.#set(this.#longest)
  }

  /** Somebody wants to know. */
  listen(): void {
    this.#listening = true
    this.#look()
  }

  stop(): void {
    this.#listening = false
    this.#cancelTimer?.()
    this.#cancelTimer = undefined
  }

  #set(delay: number): void {
    this.#cancelTimer = this.#clock.setTimer(delay, () => this.#look())
  }

  #look(): void {
    this.#cancelTimer?.()
    this.#cancelTimer = undefined
    const bound = this.#clock.now() - this.#longest
    for (const core of this.#open) {
      if (core.begunAt === undefined || core.isKnownLong) continue
      if (core.begunAt > bound) {
        this.#set(core.begunAt - bound)
        return
      }
      core.isKnownLong = true
      this.#report(core)
    }
  }
}
