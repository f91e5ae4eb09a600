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
 *
 * An effect that fails throws at the generator's `yield`: what leaves the generator is what `done` rejects with.
 */
export interface Effect {
  runSync(): void
  runAsync(): Promise<void>
  /** Called if the asynchronous form was begun and then overtaken. */
  abandoned?(): void
  /** Whether what the synchronous form has failed with is worth waiting for, as the asynchronous form does. */
  mayWait?(error: unknown): boolean
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

  /** Does `effects` effects inline, of work that was started; leaves to the event loop one that has to wait. Throws as advanceSync. */
  help(effects: number): void {
    this.#advance(effects, true)
  }

  /** Does all effects inline. Throws what a step makes of an effect that fails, or throws itself. */
  advanceSync(): void {
    this.#advance(Number.POSITIVE_INFINITY, false)
  }

  #advance(effects: number, mayLeave: boolean): void {
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
      } catch (error) {
        if (mayLeave && effect.mayWait?.(error) === true) {
          // Nothing of it has happened that its asynchronous form, under way or to be begun by `#drive`, would not do again.
          this.#pending = effect
          this.#inFlight = overtaken
          return
        }
        this.#stepWithError(error)
        continue
      }
      if (overtaken) effect.abandoned?.()
      this.#step()
    }
  }

  async #drive(): Promise<void> {
    try {
      if (this.#pending === undefined && !this.finished) this.#step()
      while (!this.finished) {
        const effect = this.#pending as Effect
        this.#inFlight = true
        let failure: { error: unknown } | undefined
        try {
          await effect.runAsync()
        } catch (error) {
          failure = { error }
        }
        // Overtaken: somebody else did this effect again and moved on, or failed, and has reported that. What is pending now is
        // still ours to drive.
        if (this.finished) return
        if (this.#pending !== effect) continue
        this.#pending = undefined
        this.#inFlight = false
        if (failure === undefined) this.#step()
        else this.#stepWithError(failure.error)
      }
    } catch {
      // `done` was rejected with it.
    }
  }

  #step(): void {
    this.#take(() => this.#steps.next())
  }

  /** The steps learn of an effect's failure where they yielded it, and say what it means to the outside. */
  #stepWithError(error: unknown): void {
    this.#take(() => this.#steps.throw(error))
  }

  #take(resume: () => IteratorResult<Effect, void>): void {
    try {
      const next = resume()
      if (next.done === true) {
        this.finished = true
        this.#resolve()
      } else this.#pending = next.value
    } catch (error) {
      this.finished = true
      this.#pending = undefined
      this.#reject(error)
      throw error
    }
  }
}
