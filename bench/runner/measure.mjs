import { Bench } from 'tinybench'

/**
 * One measurement by tinybench, after a warm-up in which V8 compiles what is run: `run` performs `operations` operations per call, and is called until `timeMs` has passed and at least
 * `iterations` calls were made. The rate is operations over the whole time spent in calls, so stalls count in full; the
 * percentiles are of single calls, per operation.
 *
 * @typedef {object} Measurement
 * @property {number} value operations per second, bytes or milliseconds, as the workload's unit says
 * @property {number} checked how many results were compared with what they must be
 * @property {number} [calls]
 * @property {number} [p50] µs per operation
 * @property {number} [p99] µs per operation
 * @property {Record<string, number>} [extra]
 *
 * @param {{ operations: number, run: () => unknown, async?: boolean, timeMs: number, iterations?: number, warmupMs?: number }} work
 * @returns {Promise<Measurement>}
 */
export async function measure({ operations, run, async = false, timeMs, iterations = 5, warmupMs = 0 }) {
  const bench = new Bench({
    time: timeMs,
    iterations,
    warmup: warmupMs > 0,
    warmupTime: warmupMs,
    warmupIterations: 2,
    throws: true,
  })
  // tinybench reads what a function returns as instructions; `run` may return what it likes.
  bench.add(
    'work',
    async
      ? async () => {
          await run()
        }
      : () => {
          run()
        },
    { async },
  )
  globalThis.gc?.()
  await bench.run()
  const result = bench.tasks[0].result
  if (!('latency' in result)) throw new Error(`no measurement: ${result.state}`)
  const perOperation = 1000 / operations
  return {
    value: operations / (result.latency.mean / 1000),
    checked: 0,
    calls: bench.tasks[0].runs,
    p50: result.latency.p50 * perOperation,
    p99: result.latency.p99 * perOperation,
  }
}

/** One call, timed: for work that cannot be repeated in the same place, such as filling an empty database. @param {number} operations @param {() => Promise<void>} run */
export function measureOnce(operations, run) {
  return measure({ operations, run, async: true, timeMs: 0, iterations: 1 })
}

/**
 * A benchmark that read wrong data has measured nothing.
 * @param {boolean} condition
 * @param {string} what
 */
export function check(condition, what) {
  if (!condition) throw new Error(`wrong data: ${what}`)
}
