import { guaranteeOf, rivals, variantOf } from '../engines/variants.mjs'
import { timesBetter } from './statistics.mjs'

/**
 * The results, arranged once for every output: workloads in order, their lines, ratios against each lmdb variant, and goals.
 *
 * @typedef {object} ReportLine
 * @property {import('./statistics.mjs').Line} line
 * @property {import('../engines/variants.mjs').Variant} variant
 * @property {Record<string, number | undefined>} ratios by rival; empty for the rivals themselves
 * @property {string} guarantee
 *
 * @typedef {object} GoalResult
 * @property {string} workload
 * @property {string} variant
 * @property {string} against
 * @property {number} atLeast
 * @property {number} reached
 *
 * @typedef {object} Section
 * @property {import('../workloads/workload.mjs').Workload} workload
 * @property {ReportLine[]} lines
 * @property {GoalResult[]} goals
 *
 * @typedef {object} Report
 * @property {string} date
 * @property {ReturnType<typeof import('../runner/machine.mjs').describeMachine>} machine
 * @property {{ rows: number, rounds: number, timeMs: number, seed: number, quick: boolean }} settings
 * @property {Section[]} sections
 */

/**
 * @param {import('../workloads/workload.mjs').Workload} workload
 * @param {import('./statistics.mjs').Line[]} lines
 * @returns {Section}
 */
export function makeSection(workload, lines) {
  /** @param {string} id */
  const lineOf = (id) => lines.find((line) => line.variant === id)
  return {
    workload,
    lines: lines.map((line) => {
      const variant = variantOf(line.variant)
      const against = variant.engine === 'nextkey' ? rivals : []
      return {
        line,
        variant,
        ratios: Object.fromEntries(against.map((rival) => [rival, timesBetter(workload.unit, line, lineOf(rival))])),
        guarantee: guaranteeOf(variant, workload.guarantee),
      }
    }),
    goals: (workload.goals ?? []).flatMap((goal) => {
      const reached = timesBetter(workload.unit, lineOf(goal.variant), lineOf(goal.against))
      return reached === undefined ? [] : [{ workload: workload.name, ...goal, reached }]
    }),
  }
}

/**
 * @param {import('../workloads/workload.mjs').Unit} unit
 * @param {number} value
 */
export function formatValue(unit, value) {
  if (unit === 'bytes') return `${significant(value / 1e6)} MB`
  if (unit === 'milliseconds') return `${significant(value)} ms`
  if (value >= 1e6) return `${significant(value / 1e6)} M/s`
  return value >= 1e3 ? `${significant(value / 1e3)} k/s` : `${significant(value)} /s`
}

/** @param {number | undefined} ratio */
export function formatRatio(ratio) {
  return ratio === undefined ? '' : `${significant(ratio)} ×`
}

/**
 * Lowest to highest round; empty when there was only one.
 * @param {import('../workloads/workload.mjs').Unit} unit
 * @param {import('./statistics.mjs').Line} line
 */
export function formatSpread(unit, line) {
  return line.rounds.length === 1 ? '' : `${formatValue(unit, line.min)} – ${formatValue(unit, line.max)}`
}

/** Three significant digits, without an exponent. @param {number} value */
function significant(value) {
  if (value >= 1000) return Math.round(value).toString()
  return value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2)
}

/** @param {Report} report */
export function describeRun({ machine, settings }) {
  const processor = machine.pinnedTo === undefined ? 'not pinned to one processor (no taskset)' : 'each measurement pinned to one processor'
  return [
    `${machine.cpu}, ${machine.memoryGiB} GiB, ${machine.system}, Node ${machine.node}; nextkey ${machine.nextkey}, lmdb ${machine.lmdb}.`,
    `${settings.rows.toLocaleString('en')} rows, median of ${settings.rounds} ${settings.rounds === 1 ? 'round' : 'interleaved rounds'}, seed ${settings.seed}; ${processor}, each in a process of its own.`,
    ...(machine.inMemory
      ? [
          'The databases were in a file system in memory, where syncing costs nothing: figures of durable commits mean little. Choose another place with --dir.',
        ]
      : []),
    ...(settings.quick ? ['A --quick run: it shows that everything works; the figures mean nothing.'] : []),
  ]
}
