import { tmpdir } from 'node:os'
import { parseArgs } from 'node:util'
import { variants } from '../engines/variants.mjs'
import { workloads } from '../workloads/index.mjs'

/**
 * @typedef {object} Options
 * @property {number} rows
 * @property {number} rounds
 * @property {number} timeMs
 * @property {number} seed
 * @property {string} directory
 * @property {boolean} json
 * @property {boolean} quick
 * @property {string | undefined} profiles
 * @property {boolean} write whether bench/results is written
 * @property {import('../workloads/workload.mjs').Workload[]} workloads
 * @property {string[]} variants
 */

const defaults = { rows: 1_000_000, rounds: 3, timeMs: 1000, seed: 1 }
const quickDefaults = { rows: 2_000, rounds: 1, timeMs: 5, seed: 1 }
/** Enough for a quick run to go through every workload with every engine. */
const quickVariants = ['nextkey', 'lmdb-shared', 'bare']

export const help = `Usage: npm run bench -- [options]

Compares nextkey with lmdb on the same work in the same run. Each measurement is a process of its own, pinned to one
processor where taskset exists; engines alternate within every round. A full run takes about half an hour.

  --quick            small sizes, one round, fewer variants: shows that everything works, measures nothing
  --only NAME        only workloads whose name contains NAME; may be repeated
  --engines LIST     comma-separated variants, default all: ${variants.map((v) => v.id).join(', ')}
  --rows N           rows in each database (default ${defaults.rows.toLocaleString('en')})
  --rounds N         rounds, of which the median is shown (default ${defaults.rounds})
  --time MS          length of one measurement, and of its warm-up (default ${defaults.timeMs})
  --seed N           seed of keys and operations (default ${defaults.seed})
  --dir PATH         where databases are made and removed again (default: the system's temporary directory)
  --profile PATH     write a CPU profile of every measurement into this directory, and what V8 deoptimized (figures get worse)
  --json             print the results as JSON instead of a table
  --help

Results go to bench/results (results.md, results.json, chart.svg), except with --quick, --only, --engines or --profile.

Workloads:
${workloads.map((w) => `  ${w.name.padEnd(16)} ${w.title}`).join('\n')}
`

/**
 * @param {string[]} args
 * @returns {Options | undefined} undefined when help was asked for
 */
export function parseOptions(args) {
  const { values } = parseArgs({
    args,
    options: {
      quick: { type: 'boolean', default: false },
      only: { type: 'string', multiple: true, default: [] },
      engines: { type: 'string' },
      rows: { type: 'string' },
      rounds: { type: 'string' },
      time: { type: 'string' },
      seed: { type: 'string' },
      dir: { type: 'string' },
      profile: { type: 'string' },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help) return undefined
  const base = values.quick ? quickDefaults : defaults
  const chosen = workloads.filter((workload) => values.only.length === 0 || values.only.some((name) => workload.name.includes(name)))
  if (chosen.length === 0) throw new Error(`no workload is called ${values.only.join(' or ')}; see --help`)
  const engines = values.engines?.split(',') ?? (values.quick ? quickVariants : variants.map((variant) => variant.id))
  const unknown = engines.find((id) => !variants.some((variant) => variant.id === id))
  if (unknown !== undefined) throw new Error(`no engine variant is called '${unknown}'; see --help`)
  return {
    rows: wholeNumber('--rows', values.rows, base.rows, 1000),
    rounds: wholeNumber('--rounds', values.rounds, base.rounds, 1),
    timeMs: wholeNumber('--time', values.time, base.timeMs, 1),
    seed: wholeNumber('--seed', values.seed, base.seed, 0),
    directory: values.dir ?? tmpdir(),
    profiles: values.profile,
    json: values.json,
    quick: values.quick,
    write: !values.quick && values.only.length === 0 && values.engines === undefined && values.profile === undefined,
    workloads: chosen,
    variants: engines,
  }
}

/**
 * @param {string} name
 * @param {string | undefined} text
 * @param {number} fallback
 * @param {number} least
 */
function wholeNumber(name, text, fallback, least) {
  if (text === undefined) return fallback
  const value = Number(text.replaceAll('_', ''))
  if (!Number.isSafeInteger(value) || value < least) throw new Error(`${name} must be a whole number of at least ${least}, not '${text}'`)
  return value
}
