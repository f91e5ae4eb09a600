import { parseArgs } from 'node:util'
import { invariants } from '../../src/base/assert.js'
import { type RunReport, runSeed } from './run.js'

/** npm run crash: seeds one after another, until time or points are used up; or one seed, exactly. */
async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      seed: { type: 'string' },
      for: { type: 'string' },
      points: { type: 'string' },
      density: { type: 'string', default: '1' },
      depth: { type: 'string', default: '1' },
      from: { type: 'string', default: '1' },
    },
  })
  invariants.enabled = true
  const common = { density: Number(values.density), depth: Number(values.depth) }
  if (values.seed !== undefined) {
    console.log(await runSeed({ ...common, seed: Number(values.seed) }))
    return
  }
  const begun = performance.now()
  let points = 0
  const wanted = Number(values.points ?? 'Infinity')
  const until = begun + Number(values.for ?? 'Infinity') * 1000
  for (let seed = Number(values.from); points < wanted && performance.now() < until; seed++) {
    const report: RunReport = await runSeed({ ...common, seed, points: wanted - points })
    points += report.points
    console.log(JSON.stringify(report), Math.round((performance.now() - begun) / 1000), Math.round((points * 1e6) / process.cpuUsage().user))
  }
}

await main()
