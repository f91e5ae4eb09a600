import { RunFailure, type RunReport, runSeed } from './run.js'

/** Seed after seed, until so many crash points were looked at or so many seconds are over. */
export interface Campaign {
  readonly from: number
  readonly seeds: number
  readonly points: number
  readonly seconds: number
  readonly density: number
  readonly depth: number
  /** Whether clients also change the schema. */
  readonly schema: boolean
  readonly verbose: boolean
}

/** Returns whether all was as it should be; tells of what was not. */
export async function runCampaign({ from, seeds, points, seconds, density, depth, schema, verbose }: Campaign): Promise<boolean> {
  const begun = performance.now()
  const total: Record<string, number> = {}
  let seed = from
  let done = 0
  const elapsed = (): number => (performance.now() - begun) / 1000
  const inTime = (): boolean => elapsed() < seconds
  try {
    for (; seed < from + seeds && done < points && inTime(); seed++) {
      const report: RunReport = await runSeed({ seed, density, depth, schema, points: points - done, inTime })
      done += report.points
      if (verbose) console.log(JSON.stringify(report))
      for (const [what, count] of Object.entries(report)) total[what] = (total[what] ?? 0) + (count as number)
    }
  } catch (error) {
    if (!(error instanceof RunFailure)) throw error
    console.error(
      `${error.message}\n\nFound by crash point ${done + error.points} of seeds ${from} to ${seed}, after ${elapsed().toFixed(1)} s.`,
    )
    return false
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
  return true
}
