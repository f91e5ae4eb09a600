import type { Clock } from '../../src/platform/clock.js'
import type { Random } from '../../src/platform/random.js'

/**
 * Chance and time that a seed and a test decide.
 *
 * A small fast generator (sfc32: 128 bits of state, period beyond 2^64 for practical purposes, passes PractRand). Equal
 * seeds give equal sequences on every machine; `fork` gives an independent generator whose sequence does not change
 * when the parent is later asked for more.
 */
export class Prng {
  #a: number
  #b: number
  #c: number
  #counter = 1

  constructor(seed: number) {
    // Splitmix32 spreads neighbouring seeds apart; seeds beyond 32 bits count in full.
    let state = (seed ^ Math.floor(seed / 2 ** 32)) | 0
    const scramble = (): number => {
      state = (state + 0x9e3779b9) | 0
      let z = state
      z = Math.imul(z ^ (z >>> 16), 0x21f0aaad)
      z = Math.imul(z ^ (z >>> 15), 0x735a2d97)
      return (z ^ (z >>> 15)) | 0
    }
    this.#a = scramble()
    this.#b = scramble()
    this.#c = scramble()
    for (let i = 0; i < 12; i++) this.next()
  }

  /** 32 random bits, unsigned. */
  next(): number {
    const sum = (this.#a + this.#b + this.#counter) | 0
    this.#counter = (this.#counter + 1) | 0
    this.#a = this.#b ^ (this.#b >>> 9)
    this.#b = (this.#c + (this.#c << 3)) | 0
    this.#c = (((this.#c << 21) | (this.#c >>> 11)) + sum) | 0
    return sum >>> 0
  }

  /** An integer in 0 … n−1; n at most 2^32. */
  int(n: number): number {
    return Math.floor((this.next() / 2 ** 32) * n)
  }

  /** A number in 0 ≤ x < 1. */
  float(): number {
    return this.next() / 2 ** 32
  }

  /** True with the given probability. */
  bool(probability = 0.5): boolean {
    return this.next() / 2 ** 32 < probability
  }

  pick<T>(items: ArrayLike<T>): T {
    if (items.length === 0) throw new RangeError('pick from an empty list')
    return items[this.int(items.length)] as T
  }

  /** Shuffles in place; returns its argument. */
  shuffle<T>(items: T[]): T[] {
    for (let i = items.length - 1; i > 0; i--) {
      const j = this.int(i + 1)
      const item = items[i] as T
      items[i] = items[j] as T
      items[j] = item
    }
    return items
  }

  fill(bytes: Uint8Array): void {
    for (let i = 0; i < bytes.length; i++) bytes[i] = this.next()
  }

  fork(): Prng {
    return new Prng(this.next() * 2 ** 20 + (this.next() >>> 12))
  }
}

/** The seam to randomness, from a seed. */
export function seededRandom(seed: number): Random {
  const prng = new Prng(seed)
  return { fill: (bytes) => prng.fill(bytes) }
}

interface Timer {
  readonly due: number
  readonly order: number
  readonly callback: () => void
}

/**
 * A clock that stands still until a test moves it. Timers fire inside `advance`, in the order of their due times (equal ones in
 * the order they were set), each with the clock at its due time; timers set meanwhile fire too if they fall due.
 * `macrotask` is a real one: it needs no `advance`, and whatever the event loop has ready gets its turn before.
 */
export class SimulatedClock implements Clock {
  #now = 0
  #order = 0
  #timers: Timer[] = []
  readonly #epoch: number

  /** @param epoch Wall time at the start, ms since 1970. */
  constructor(epoch: number = Date.UTC(2026, 0, 1)) {
    this.#epoch = epoch
  }

  now(): number {
    return this.#now
  }

  wallTime(): number {
    return this.#epoch + this.#now
  }

  setTimer(delay: number, callback: () => void): () => void {
    const timer: Timer = { due: this.#now + Math.max(0, delay), order: this.#order++, callback }
    this.#timers.push(timer)
    return () => {
      this.#timers = this.#timers.filter((other) => other !== timer)
    }
  }

  macrotask(): Promise<void> {
    return new Promise((resolve) => setImmediate(resolve))
  }

  /** Timers set and neither fired nor cancelled. */
  get pendingTimers(): number {
    return this.#timers.length
  }

  /** Moves time on, firing what falls due. Promises the timers settle run only after this call returns. */
  advance(ms: number): void {
    const end = this.#now + ms
    let fired: boolean
    do fired = this.#fireNext(end)
    while (fired)
    this.#now = end
  }

  /** Moves time to the next timer, and fires it; false if there is none. */
  advanceToNext(): boolean {
    return this.#fireNext(Number.POSITIVE_INFINITY)
  }

  /** As `advance`, but with a macrotask after each timer (and before the first), so that what awaits it goes on at its time. */
  async advanceAsync(ms: number): Promise<void> {
    const end = this.#now + ms
    do await this.macrotask()
    while (this.#fireNext(end))
    this.#now = end
  }

  #fireNext(end: number): boolean {
    let next: Timer | undefined
    for (const timer of this.#timers) {
      if (timer.due > end) continue
      if (next === undefined || timer.due < next.due || (timer.due === next.due && timer.order < next.order)) next = timer
    }
    if (next === undefined) return false
    this.#timers.splice(this.#timers.indexOf(next), 1)
    this.#now = Math.max(this.#now, next.due)
    next.callback()
    return true
  }
}
