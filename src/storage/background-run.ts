/**
 * Long work as a state machine with an asynchronous and a synchronous driver (D1).
 *
 * The work is a generator that yields *effects*: things that take time outside the core (a write, a sync). Between two
 * yields it runs as one synchronous step. `start` drives it from the event loop; `advanceSync` drives it inline, by whoever
 * added to the work, when the loop gets no turn.
 *
 * Both may meet: when an effect is under way asynchronously and somebody advances inline, the effect is done *again*,
 * synchronously, and the asynchronous completion is ignored when it arrives. Hence every effect must be idempotent, and what
 * it reads must stay unchanged until both are through: staging buffers of abandoned effects are not reused (`abandoned`).
 */
export interface Effect {
  runSync(): void
  runAsync(): Promise<void>
  /** Called if the asynchronous form was begun and then overtaken. */
  abandoned?(): void
}

export class BackgroundRun {
  readonly done: Promise<void>
  finished = false
  readonly #steps: Generator<Effect, void, void>
  #pending: Effect | undefined
  /** The pending effect is under way asynchronously. */
  #inFlight = false
  #resolve!: () => void
  #reject!: (error: unknown) => void

  constructor(steps: Generator<Effect, void, void>) {
    this.#steps = steps
    this.done = new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
    })
    // Whoever cares awaits `done`; a failure also reaches the database by its own way.
    this.done.catch(() => {})
  }

  /** Begins to drive the work from the event loop. */
  start(): this {
    void this.#drive()
    return this
  }

  /** Does `effects` effects, or all, inline. Throws what a step throws. */
  advanceSync(effects: number = Number.POSITIVE_INFINITY): void {
    for (let count = 0; count < effects && !this.finished; count++) {
      if (this.#pending === undefined) {
        this.#step()
        continue
      }
      const effect = this.#pending
      const overtaken = this.#inFlight
      this.#pending = undefined
      this.#inFlight = false
      try {
        effect.runSync()
        if (overtaken) effect.abandoned?.()
      } catch (error) {
        this.#fail(error)
        throw error
      }
      this.#step()
    }
  }

  async #drive(): Promise<void> {
    if (this.#pending === undefined && !this.finished) {
      try {
        this.#step()
      } catch {
        return
      }
    }
    while (!this.finished) {
      const effect = this.#pending as Effect
      this.#inFlight = true
      try {
        await effect.runAsync()
      } catch (error) {
        // An overtaken effect's failure is the synchronous one's to report: it did the same work again.
        if (this.#pending === effect) this.#fail(error)
      }
      if (this.finished) return
      // Overtaken: somebody else moved on. What is pending now is still ours to drive.
      if (this.#pending !== effect) continue
      this.#pending = undefined
      this.#inFlight = false
      try {
        this.#step()
      } catch {
        return
      }
    }
  }

  #step(): void {
    try {
      const next = this.#steps.next()
      if (next.done === true) {
        this.finished = true
        this.#resolve()
      } else this.#pending = next.value
    } catch (error) {
      this.#fail(error)
      throw error
    }
  }

  #fail(error: unknown): void {
    if (this.finished) return
    this.finished = true
    this.#pending = undefined
    this.#steps.return()
    this.#reject(error)
  }
}
