/** `npm run bench`: see runner/options.mjs for what it takes, runner/job.mjs for how it measures. */
import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { variantOf } from './engines/variants.mjs'
import { renderChart } from './report/chart.mjs'
import { renderJson } from './report/json.mjs'
import { renderMarkdown } from './report/markdown.mjs'
import { formatValue, makeSection } from './report/report.mjs'
import { summarize } from './report/statistics.mjs'
import { renderTerminal } from './report/terminal.mjs'
import { removeDirectory } from './runner/directory.mjs'
import { Images } from './runner/images.mjs'
import { runJob } from './runner/job.mjs'
import { describeMachine } from './runner/machine.mjs'
import { help, parseOptions } from './runner/options.mjs'
import { Progress } from './runner/progress.mjs'

const resultsDirectory = fileURLToPath(new URL('results/', import.meta.url))

try {
  const options = parseOptions(process.argv.slice(2))
  if (options === undefined) process.stdout.write(help)
  else await main(options)
} catch (error) {
  process.stderr.write(`\n${error instanceof Error ? error.message : String(error)}\n`)
  process.exitCode = 1
}

/** @param {import('./runner/options.mjs').Options} options */
async function main(options) {
  const root = mkdtempSync(join(options.directory, 'nextkey-bench-'))
  const removeOnSignal = () => {
    removeDirectory(root)
    process.exit(130)
  }
  process.once('SIGINT', removeOnSignal).once('SIGTERM', removeOnSignal)
  try {
    const machine = describeMachine(root)
    const sections = await measureAll(
      options,
      new Images({ root, rows: options.rows, seed: options.seed, cpu: machine.pinnedTo }),
      machine.pinnedTo,
    )
    const { rows, rounds, timeMs, seed, quick } = options
    const report = { date: new Date().toISOString().slice(0, 10), machine, settings: { rows, rounds, timeMs, seed, quick }, sections }
    if (options.write) writeResults(report)
    process.stdout.write(options.json ? renderJson(report) : renderTerminal(report))
  } finally {
    removeDirectory(root)
  }
}

/**
 * Every chosen workload, round by round, engine after engine within a round.
 * @param {import('./runner/options.mjs').Options} options
 * @param {Images} images
 * @param {number | undefined} cpu
 */
async function measureAll(options, images, cpu) {
  const { rows, timeMs, seed } = options
  const plan = options.workloads
    .map((workload) => ({ workload, variants: workload.variants.filter((id) => options.variants.includes(id)) }))
    .filter(({ variants }) => variants.length > 0)
  const progress = new Progress(plan.reduce((sum, { variants }) => sum + variants.length * options.rounds, 0))
  try {
    const sections = []
    for (const { workload, variants } of plan) {
      /** @type {Record<string, import('./runner/measure.mjs').Measurement[]>} */
      const measurements = Object.fromEntries(variants.map((id) => [id, []]))
      for (let round = 0; round < options.rounds; round++) {
        for (const id of variants) {
          const variant = variantOf(id)
          progress.begin(`${workload.name}, ${variant.label}, round ${round + 1} of ${options.rounds}`)
          /** @param {string} directory @returns {import('./runner/job.mjs').Job} */
          const job = (directory) => ({
            task: 'measure',
            workload: workload.name,
            variant: id,
            directory,
            rows,
            timeMs,
            seed: seed + round,
          })
          const measurement = await images.withDirectory(workload, variant, (directory) => runJob(job(directory), cpu, options.profiles))
          measurements[id].push(measurement)
          progress.end(`${workload.name}, ${variant.label}: ${formatValue(workload.unit, measurement.value)}`)
        }
      }
      sections.push(
        makeSection(
          workload,
          variants.map((id) => summarize(workload.name, id, measurements[id])),
        ),
      )
    }
    return sections
  } finally {
    progress.close()
  }
}

/** @param {import('./report/report.mjs').Report} report */
function writeResults(report) {
  mkdirSync(resultsDirectory, { recursive: true })
  writeFileSync(join(resultsDirectory, 'results.md'), renderMarkdown(report))
  writeFileSync(join(resultsDirectory, 'results.json'), renderJson(report))
  writeFileSync(join(resultsDirectory, 'chart.svg'), renderChart(report))
}
