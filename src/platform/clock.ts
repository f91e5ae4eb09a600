/**
 * The seam to time. Nothing else in src/ may call Date.now, performance.now, setTimeout or setImmediate.
 */
export interface Clock {
  /** Milliseconds, monotonic, fractional. */
  now(): number
  /** Milliseconds since 1970. */
  wallTime(): number
  /**
   * Calls `callback` once after `delay` ms; returns a function that cancels it. A timer keeps the process alive only with
   * `keepAlive`: where a caller awaits it and nothing else may be under way. Default false.
   */
  setTimer(delay: number, callback: () => void, keepAlive?: boolean): () => void
  /** Resolves in a later macrotask: timers and I/O completions get their turn before. */
  macrotask(): Promise<void>
}

export const systemClock: Clock = {
  now: () => performance.now(),
  wallTime: () => Date.now(),
  setTimer(delay, callback, keepAlive = false) {
    const timer = setTimeout(callback, delay)
    if (!keepAlive) timer.unref()
    return () => clearTimeout(timer)
  },
  macrotask: () => new Promise((resolve) => setImmediate(resolve)),
}
