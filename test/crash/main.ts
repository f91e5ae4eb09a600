import { parseArgs } from 'node:util'
import { invariants } from '../../src/base/assert.js'
import { RunFailure, type RunReport, runSeed } from './run.js'

/**
 * The crash suite from the command line: seed after seed, from `--from` on, until so many points were looked at or so many seconds
 * are over; or one seed, again exactly as it was.
 *
 *   npm run crash -- [--points N] [--for SECONDS] [--from SEED] [--density N] [--depth N] [--verbose]
 *   npm run crash -- --seed SEED
 */
async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      seed: { type: 'string' },
      from: { type: 'string', default: '1' },
      points: { type: 'string', default: 'Infinity' },
      for: { type: 'string', default: 'Infinity' },
      density: { type: 'string', default: '1' },
      depth: { type: 'string', default: '1' },
      verbose: { type: 'boolean', default: false },
    },
  })
  // As in the tests.
  invariants.enabled = true
  // Databases are closed with transactions open all the time here: no need to hear of it.
  process.removeAllListeners('warning')
  const one = values.seed !== undefined
  const campaign = {
    from: Number(values.seed ?? values.from),
    seeds: one ? 1 : Number.POSITIVE_INFINITY,
    points: Number(values.points),
    seconds: Number(values.for),
    density: Number(values.density),
    depth: Number(values.depth),
    verbose: values.verbose,
  }
  return runCampaign(campaign)
}

interface Campaign {
  readonly from: number
  readonly seeds: number
  readonly points: number
  readonly seconds: number
  readonly density: number
  readonly depth: number
  readonly verbose: boolean
}

async function runCampaign({ from, seeds, points, seconds, density, depth, verbose }: Campaign): Promise<number> {
  const begun = performance.now()
  const total: Record<string, number> = {}
  let seed = from
  let done = 0
  const elapsed = (): number => (performance.now() - begun) / 1000
  try {
    for (; seed < from + seeds && done < points && elapsed() < seconds; seed++) {
      const report: RunReport = await runSeed({ seed, density, depth, points: points - done })
      done += report.points
      if (verbose) console.log(JSON.stringify(report))
      for (const [what, count] of Object.entries(report)) total[what] = (total[what] ?? 0) + (count as number)
    }
  } catch (error) {
    if (!(error instanceof RunFailure)) throw error
    console.error(
      `${error.message}\n\nFound by crash point ${done + error.points} of seeds ${from} to ${seed}, after ${elapsed().toFixed(1)} s.`,
    )
    return 1
  }
  delete total['seed']
  console.log(
    `${done} crash points in ${seed - from} seed(s), ${elapsed().toFixed(1)} s, ${Math.round(done / elapsed())} points/s; all as they should be.`,
  )
  console.log(
    Object.entries(total)
      .map(([what, count]) => `${count} ${what}`)
      .join(', '),
  )
  return 0
}

process.exitCode = await main()
