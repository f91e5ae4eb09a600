/**
 * Rounds into medians, medians into ratios.
 *
 * @typedef {object} Line one variant in one workload
 * @property {string} workload
 * @property {string} variant
 * @property {number[]} rounds values in the workload's unit
 * @property {number} median
 * @property {number} min
 * @property {number} max
 * @property {number} checked results compared with what they must be, all rounds
 * @property {number} [p50] µs per operation, median of rounds
 * @property {number} [p99]
 * @property {Record<string, number>} [extra]
 */

/** @param {number[]} values not empty */
export function median(values) {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
}

/**
 * @param {string} workload
 * @param {string} variant
 * @param {import('../runner/measure.mjs').Measurement[]} measurements one per round
 * @returns {Line}
 */
export function summarize(workload, variant, measurements) {
  const rounds = measurements.map((measurement) => measurement.value)
  /** @param {'p50' | 'p99'} name */
  const percentile = (name) => (measurements[0][name] === undefined ? {} : { [name]: median(measurements.map((m) => m[name] ?? 0)) })
  return {
    workload,
    variant,
    rounds,
    median: median(rounds),
    min: Math.min(...rounds),
    max: Math.max(...rounds),
    checked: measurements.reduce((sum, m) => sum + m.checked, 0),
    ...percentile('p50'),
    ...percentile('p99'),
    ...(measurements[0].extra && { extra: measurements[0].extra }),
  }
}

/**
 * How many times better than a rival a variant is: above 1 is better, whatever the unit.
 * @param {import('../workloads/workload.mjs').Unit} unit
 * @param {Line | undefined} line
 * @param {Line | undefined} rival
 * @returns {number | undefined}
 */
export function timesBetter(unit, line, rival) {
  if (line === undefined || rival === undefined) return undefined
  return unit === 'rate' ? line.median / rival.median : rival.median / line.median
}
