import type { Engine } from './engine.js'
import type { Purge } from './purge.js'

/** Runs purge in slices from the event loop, and inline when the history outruns it (D1). */
export class PurgeDriver {
  readonly #purge: Purge
  readonly #engine: Engine
  #scheduled = false
  #stopped = false
  #cancelTimer: (() => void) | undefined
  /** Set while a timer will look for views that are too old. */
  #cancelWatch: (() => void) | undefined

  constructor(purge: Purge, engine: Engine) {
    this.#purge = purge
    this.#engine = engine
  }

  get hasWork(): boolean {
    return this.#purge.hasWork
  }

  /**
   * Something ended that may have held purge back, or made work for it. It begins a little later: what many transactions leave is
   * purged together, and rows that are deleted and written again are not removed in between.
   */
  poke(): void {
    if (this.#engine.options.maxViewAge !== undefined && this.#cancelWatch === undefined) this.#watch()
    if (this.#scheduled || this.#stopped || this.#engine.options.readOnly || !this.#purge.hasWork) return
    this.#scheduled = true
    this.#cancelTimer = this.#engine.environment.clock.setTimer(DELAY_MS, () => void this.#run())
  }

  /** Purges inline while the history is longer than the event loop should have let it become. */
  payDebts(): void {
    if (this.#engine.system.history.length <= HISTORY_BOUND) return
    this.#expireViews()
    if (this.#canRun()) this.#step(INLINE_RECORDS)
  }

  /** Purges what no view forbids, for one slice. */
  payAll(): void {
    const { clock } = this.#engine.environment
    for (const until = clock.now() + SLICE_MS; this.#canRun(); ) {
      this.#step(RECORDS_PER_STEP)
      if (clock.now() > until) return
    }
  }

  stop(): void {
    this.#stopped = true
    this.#cancelWatch?.()
    this.#cancelTimer?.()
  }

  /** Looks again when the oldest view will be too old, as long as there is something to purge and somebody in its way. */
  #watch(): void {
    const { system, environment, options } = this.#engine
    const { oldestView } = system
    if (oldestView === undefined || system.history.length === 0 || this.#stopped) return
    const delay = oldestView.madeAt + (options.maxViewAge as number) - environment.clock.now()
    this.#cancelWatch = environment.clock.setTimer(Math.max(0, delay), () => {
      this.#cancelWatch = undefined
      this.#expireViews()
      this.poke()
    })
  }

  /** Closes views that have reached maxViewAge; their owners are told when they next read. */
  #expireViews(): void {
    const { system, environment, options } = this.#engine
    if (options.maxViewAge === undefined) return
    const bound = environment.clock.now() - options.maxViewAge
    for (let oldest = system.oldestView; oldest !== undefined && oldest.madeAt <= bound; oldest = system.oldestView) {
      oldest.expired = true
      system.closeView(oldest)
    }
  }

  async #run(): Promise<void> {
    const { clock } = this.#engine.environment
    while (this.#canRun() && !this.#stopped) {
      const until = clock.now() + SLICE_MS
      try {
        while (this.#purge.hasWork && clock.now() < until) this.#step(RECORDS_PER_STEP)
      } catch {
        break // the engine is broken and says so to whoever calls next
      }
      await clock.macrotask()
    }
    this.#scheduled = false
  }

  #canRun(): boolean {
    return this.#engine.failure === undefined && !this.#engine.pager.space.isFull && this.#purge.hasWork
  }

  #step(records: number): void {
    this.#engine.change(() => this.#purge.step(records))
  }
}

/** Committed transactions that may wait for purge before their successors lend a hand. */
const HISTORY_BOUND = 2000
/** Per statement: more than one statement adds. */
const INLINE_RECORDS = 32
const RECORDS_PER_STEP = 32
const SLICE_MS = 2
const DELAY_MS = 10
