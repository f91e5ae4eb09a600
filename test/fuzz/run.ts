import { Prng } from '../support/seeded.js'
import { type Base, makeBase } from './base.js'
import { damage } from './damage.js'
import { judge, type Outcome } from './judge.js'

export interface FuzzReport {
  databases: number
  opened: number
  clean: number
  repaired: number
  whole: number
}

/** What went wrong, and how to repeat it. */
export class FuzzFailure extends Error {
  override readonly name = 'FuzzFailure'
}

/** Cases of one base database: enough that making it does not count, few enough that there are many bases. */
const CASES_PER_BASE = 200

/** Damages databases one after another: case n belongs to base n / 200, and is decided by its number alone. */
export async function fuzz(first: number, goOn: (done: number) => boolean): Promise<FuzzReport> {
  const report: FuzzReport = { databases: 0, opened: 0, clean: 0, repaired: 0, whole: 0 }
  let base: Base | undefined
  for (let seed = first; goOn(report.databases); seed++) {
    const number = Math.floor(seed / CASES_PER_BASE)
    if (base?.seed !== number) base = await makeBase(number)
    const outcome = await runCase(base, seed)
    report.databases++
    for (const name of ['opened', 'clean', 'repaired', 'whole'] as const) if (outcome[name]) report[name]++
  }
  return report
}

async function runCase(base: Base, seed: number): Promise<Outcome> {
  const disk = base.disk.clone()
  const told = damage(base, disk, new Prng(seed))
  try {
    return await judge(base, disk)
  } catch (error) {
    throw new FuzzFailure(
      `seed ${seed}:\n  ${told.join('\n  ')}\n${(error as Error).stack}\nTo repeat it: npm run fuzz -- --seed ${seed}`,
      { cause: error },
    )
  }
}
