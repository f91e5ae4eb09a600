import { parseArgs } from 'node:util'
import { invariants } from '../../src/base/assert.js'
import { FuzzFailure, fuzz } from './run.js'

const HELP = `Damages databases, in one to three places of data, page map, superblocks and log, and opens, checks, reads and repairs each: what is
read was there, or a typed error names the place; nothing hangs, and memory keeps in proportion.

  npm run fuzz -- [options]

  --for SECONDS   how long (without it and without --count: until something is found)
  --count N       until so many databases were damaged
  --from SEED     the first seed (default 0); the next ones follow
  --seed SEED     this one alone, exactly as it was: what a failure tells you to do
  --help          this text

Exit code: 0 when all is as it should be, 1 when it is not.`

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      seed: { type: 'string' },
      from: { type: 'string', default: '0' },
      count: { type: 'string', default: 'Infinity' },
      for: { type: 'string', default: 'Infinity' },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help) {
    console.log(HELP)
    return 0
  }
  invariants.enabled = true
  process.removeAllListeners('warning')
  const count = values.seed === undefined ? Number(values.count) : 1
  const begun = performance.now()
  const elapsed = (): number => (performance.now() - begun) / 1000
  const from = Number(values.seed ?? values.from)
  let nextLine = SECONDS_PER_LINE
  const goesOn = (done: number): boolean => {
    if (elapsed() > nextLine) {
      nextLine += SECONDS_PER_LINE
      console.error(`${done} databases as they should be, ${Math.round(done / elapsed())}/s; seed ${from + done} is next`)
    }
    return done < count && elapsed() < Number(values.for)
  }
  try {
    const report = await fuzz(from, goesOn)
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

const SECONDS_PER_LINE = 30

process.exitCode = await main()
