import { parseArgs } from 'node:util'
import { invariants } from '../../src/base/assert.js'
import { FuzzFailure, fuzz } from './run.js'

/**
 * Damaged databases from the command line: one after another, from `--from` on, until there were so many or so many seconds are over; or one,
 * again exactly as it was.
 *
 *   npm run fuzz -- [--count N] [--for SECONDS] [--from SEED]
 *   npm run fuzz -- --seed SEED
 */
async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      seed: { type: 'string' },
      from: { type: 'string', default: '0' },
      count: { type: 'string', default: 'Infinity' },
      for: { type: 'string', default: 'Infinity' },
    },
  })
  invariants.enabled = true
  process.removeAllListeners('warning')
  const count = values.seed === undefined ? Number(values.count) : 1
  const begun = performance.now()
  const elapsed = (): number => (performance.now() - begun) / 1000
  try {
    const report = await fuzz(Number(values.seed ?? values.from), (done) => done < count && elapsed() < Number(values.for))
    const memory = Math.round(process.resourceUsage().maxRSS / 1024)
    console.log(
      `${JSON.stringify(report)}, ${elapsed().toFixed(1)} s, ${Math.round(report.databases / elapsed())}/s, at most ${memory} MiB of memory; all as it should be.`,
    )
    return 0
  } catch (error) {
    if (!(error instanceof FuzzFailure)) throw error
    console.error(error.message)
    return 1
  }
}

process.exitCode = await main()
