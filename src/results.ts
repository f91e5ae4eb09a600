import type { Engine } from './txn/engine.js'
import type { RangeScan } from './txn/range-scan.js'
import type { ReadView } from './txn/read-view.js'

/**
 * Results of a range read: iterable once, lazily, all from one consistent view. Rows are decoded in batches; what is written while
 * the loop runs, by anybody, does not show.
 *
 * The view is held until the loop ends, in whatever way; a result that is never looped over holds nothing. One that is left
 * half-way without `return()` is noticed by the database when it is collected or closed.
 */
export class Results<T> implements IterableIterator<T> {
  readonly #engine: Engine
  readonly #limit: number
  readonly #open: () => ResultSource
  #source: ResultSource | undefined
  #batch: T[] = []
  #at = 0
  #given = 0
  #batchSize = FIRST_BATCH
  #ended = false
  #matches: ((row: unknown) => boolean) | undefined

  /** @internal */
  constructor(engine: Engine, limit: number | undefined, open: () => ResultSource) {
    this.#engine = engine
    this.#limit = limit ?? Number.POSITIVE_INFINITY
    // Who says how many rows are wanted gets them in one batch.
    if (limit !== undefined) this.#batchSize = Math.min(LARGEST_BATCH, Math.max(FIRST_BATCH, limit))
    this.#open = open
  }

  [Symbol.iterator](): this {
    return this
  }

  next(): IteratorResult<T, undefined> {
    if (this.#at === this.#batch.length && !this.#refill()) {
      this.#end()
      return { done: true, value: undefined }
    }
    return { done: false, value: this.#batch[this.#at++] }
  }

  return(): IteratorResult<T, undefined> {
    this.#end()
    return { done: true, value: undefined }
  }

  [Symbol.dispose](): void {
    this.#end()
  }

  /** @internal Only what matches is delivered, and counts towards the limit. */
  keep(matches: (row: unknown) => boolean): void {
    this.#matches = matches
  }

  /** The rest, as an array. */
  toArray(): T[] {
    const rows = this.#batch.slice(this.#at)
    this.#at = this.#batch.length
    this.#batchSize = LARGEST_BATCH
    while (this.#refill()) for (const row of this.#batch) rows.push(row)
    this.#end()
    return rows
  }

  #refill(): boolean {
    if (this.#ended) return false
    // With a condition a batch may hold more than its matches: they are cut below.
    const want =
      this.#matches === undefined ? Math.min(this.#batchSize, this.#limit - this.#given) : this.#limit > this.#given ? this.#batchSize : 0
    if (want <= 0) return false
    this.#engine.mustRead()
    this.#source ??= this.#open()
    if (this.#source.scan.done) return false
    this.#source.check()
    let batch: T[] = []
    do {
      this.#source.scan.fill(batch, want, this.#matches === undefined && want === this.#limit - this.#given)
      if (this.#matches !== undefined) batch = batch.filter(this.#matches)
    } while (batch.length === 0 && !this.#source.scan.done)
    if (batch.length > this.#limit - this.#given) batch.length = this.#limit - this.#given
    this.#batch = batch
    this.#at = 0
    this.#given += batch.length
    this.#batchSize = Math.min(LARGEST_BATCH, this.#batchSize * 2)
    if (this.#source.scan.done || this.#given >= this.#limit) this.#source.release()
    return batch.length > 0
  }

  #end(): void {
    this.#ended = true
    this.#batch = []
    this.#at = 0
    this.#source?.release()
  }
}

/** A scan and the view it looks through. */
export interface ResultSource {
  scan: RangeScan
  /** Throws if the results may no longer be read: closed database, ended transaction, closed snapshot. */
  check(): void
  /** The view is not needed any more; called more than once. */
  release(): void
}

/** A view of its own for one loop, given back when the loop ends. */
export class LoopView {
  readonly view: ReadView
  readonly #engine: Engine

  constructor(engine: Engine, view: ReadView) {
    this.#engine = engine
    this.view = view
  }

  release(): void {
    if (this.view.closed) return
    this.#engine.system.closeView(this.view)
    this.#engine.purging.poke()
  }
}

/** Rows decoded at a time: few at first, for loops that stop early. */
const FIRST_BATCH = 16
const LARGEST_BATCH = 256
