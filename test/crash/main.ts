import { parseArgs } from 'node:util'
import { invariants } from '../../src/base/assert.js'
import { runCampaign } from './campaign.js'
import { KillFailure, killLoop } from './kill/kill-loop.js'
import { mutate } from './mutation/mutate.js'

const HELP = `npm run crash -- [options]

Runs seeded workloads on a simulated machine and lets it die at every I/O operation: the power goes, with unsynced writes lost,
reordered and torn, or the process is killed. What is left is opened and looked at: every acknowledged commit is there, nothing is
there in part, db.check() is clean, auto-increment values do not come back; of some, the recovery is crashed as well, a call fails
while they are opened, a block goes bad, and work goes on.

  --for SECONDS     how long (without it and without --points: until something is found)
  --points N        until so many crash points were looked at
  --from SEED       the first seed (default 1); the next ones follow
  --seed SEED       this seed alone, exactly as it was before: what a failure tells you to do
  --density N       crash points per I/O operation, times N (default 1)
  --depth N         how deep crashes of recoveries of crashes go (default 1)
  --schema          clients also drop, rename and truncate tables, and make and drop indexes
  --verbose         a line of figures for each seed

npm run crash -- --kill [--seed N] [--for SECONDS]

Real processes on a real disk instead: clients of a bank, killed with SIGKILL while they open it and while they work, for 60 seconds
unless --for says otherwise. After the kills the bank is opened at once (its lock must be free) and compared with what the clients were told.
The seed decides what they do and how long they live, but not what the machine makes of it: a failure need not come again. So what
was left is kept, and its place printed.

npm run crash -- --mutate [NAME …] [--points N] [--from SEED]

Breaks the engine on purpose, in a copy, in each of the ways listed in test/crash/mutation, and says what the simulated crashes
find of it within 15,000 points, unless --points says otherwise. Exit code 1 if they miss one. test/crash/mutation/README.md has the table.

What a failure prints: the crash point (seed, generation, the I/O operation before which the machine died, and how much of the
unsynced writes survived; after an arrow, what was done with it), what is wrong, what the seed has made of the database's options,
the last statements of all clients and the last I/O operations before the crash. Next: repeat it by its seed; mend it, with a test of
its own; add the fault to the mutations, and the seed to test/crash/seeds.json if it lies beyond those that CI tries anyway.

Exit code: 0 when all is as it should be, 1 when it is not, 2 when it could not run.`

async function main(argv: readonly string[]): Promise<number> {
  let parsed: ReturnType<typeof parse>
  try {
    parsed = parse(argv)
  } catch (error) {
    console.error(`${(error as Error).message}\n\n${HELP}`)
    return 2
  }
  const { values, positionals } = parsed
  if (values.help) {
    console.log(HELP)
    return 0
  }
  // As in the tests.
  invariants.enabled = true
  // Databases are closed with transactions open all the time here: no need to hear of it.
  process.removeAllListeners('warning')
  const seconds = number(values.for)
  if (values.mutate) {
    const missed = await mutate(
      { names: positionals, points: number(values.points) ?? 15_000, from: number(values.from) ?? 1 },
      console.log,
    )
    return missed === 0 ? 0 : 1
  }
  if (values.kill) return kill(number(values.seed) ?? 1, seconds ?? 60)
  const one = number(values.seed)
  const good = await runCampaign({
    from: one ?? number(values.from) ?? 1,
    seeds: one === undefined ? Number.POSITIVE_INFINITY : 1,
    points: number(values.points) ?? Number.POSITIVE_INFINITY,
    seconds: seconds ?? Number.POSITIVE_INFINITY,
    density: number(values.density) ?? 1,
    depth: number(values.depth) ?? 1,
    schema: values.schema,
    verbose: values.verbose,
  })
  return good ? 0 : 1
}

function parse(argv: readonly string[]): {
  values: { [name in (typeof NUMBERS)[number]]?: string } & { [name in (typeof SWITCHES)[number]]: boolean }
  positionals: string[]
} {
  const options = {
    ...Object.fromEntries(NUMBERS.map((name) => [name, { type: 'string' as const }])),
    ...Object.fromEntries(SWITCHES.map((name) => [name, { type: 'boolean' as const, default: false }])),
  }
  const parsed = parseArgs({ args: [...argv], options, allowPositionals: argv.includes('--mutate') })
  for (const name of NUMBERS) {
    const value = parsed.values[name]
    if (value !== undefined && !(Number(value) >= 0)) throw new Error(`--${name} takes a number, not '${value}'`)
  }
  return parsed as never
}

const NUMBERS = ['seed', 'from', 'points', 'for', 'density', 'depth'] as const
const SWITCHES = ['kill', 'mutate', 'schema', 'verbose', 'help'] as const

function number(value: string | undefined): number | undefined {
  return value === undefined ? undefined : Number(value)
}

async function kill(seed: number, seconds: number): Promise<number> {
  try {
    const { kills, whileOpening, verified, transactions } = await killLoop({ seed, seconds, kills: Number.POSITIVE_INFINITY })
    console.log(
      `${kills} kills (${whileOpening} while opening), ${transactions} transactions acknowledged, looked at ${verified} times; all as it should be.`,
    )
    return 0
  } catch (error) {
    if (!(error instanceof KillFailure)) throw error
    console.error(error.message)
    return 1
  }
}

process.exitCode = await main(process.argv.slice(2))
