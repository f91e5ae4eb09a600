/**
 * Decides, from a seed, which client goes next. Clients ask for a turn before each call; one turn (now and then a few) is given at a time, and
 * everything that can go on without a turn goes on before the next one is given. So a store that does no real I/O repeats an interleaving exactly.
 */
import { setImmediate as macrotask } from 'node:timers/promises'
import type { Prng } from '../support/seeded.js'

const MAX_BURST = 3

export class Scheduler {
  readonly #prng: Prng
  readonly #waiting: (() => void)[] = []
  #turns = 0

  constructor(prng: Prng) {
    this.#prng = prng
  }

  /** Turns given so far: the logical clock of a run. */
  get turns(): number {
    return this.#turns
  }

  turn(): Promise<void> {
    return new Promise((resolve) => this.#waiting.push(resolve))
  }

  /**
   * Gives turns until `work` is done. Rejects with its error, or when nothing has moved for `patience` ms: somebody waits for ever.
   */
  async drive(work: Promise<unknown>, patience: number): Promise<void> {
    let done = false
    const finished = work.finally(() => {
      done = true
    })
    finished.catch(() => {})
    let moved = performance.now()
    while (!done) {
      for (let burst = 1 + this.#prng.int(MAX_BURST); burst > 0 && this.#waiting.length > 0; burst--) {
        this.#give()
        moved = performance.now()
      }
      await macrotask()
      if (performance.now() - moved > patience) throw new Error(`no client has moved for ${patience} ms`)
    }
    await finished
  }

  #give(): void {
    const i = this.#prng.int(this.#waiting.length)
    const last = this.#waiting.pop() as () => void
    const chosen = i < this.#waiting.length ? this.#waiting[i] : last
    if (chosen !== last) this.#waiting[i] = last
    this.#turns++
    chosen()
  }
}
