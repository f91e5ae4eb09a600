/**
 * `npm run coarse -- [options]`: random statements, transactions, schema changes, LOCK TABLES and freezes, against each other, on a
 * simulated machine on which a seed decides everything.
 */
import { parseArgs } from 'node:util'
import { hideLeaks } from '../histories/nextkey-store.js'
import { runRound } from './round.js'

const HELP = `Random row changes, schema changes, LOCK TABLES, freezes and auto-increment inserts of many clients at once, with crashes. Each
round checks that nobody waits for ever or to a timeout, that no lock is left, that indexes agree with rows, and that what is locked stays as it is.

  --seed N        seed of the first round (default 1); round n has seed N + n
  --for SECONDS   how long (default 10)
  --operations N  until so many operations were done, instead
  --round-size N  operations per round (default 1000)
  --verbose       what became of the operations, too
  --help          this text

Exit code: 0 all is well, 1 something was violated, 2 bad options.`

interface Settings {
  seed: number
  seconds: number
  operations: number | undefined
  roundSize: number
  verbose: boolean
}

function parse(argv: readonly string[]): Settings | undefined {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      seed: { type: 'string', default: '1' },
      for: { type: 'string', default: '10' },
      operations: { type: 'string' },
      'round-size': { type: 'string', default: '1000' },
      verbose: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help) return undefined
  const number = (name: string, text: string): number => {
    const value = Number(text)
    if (!(value >= 0) || text.trim() === '') throw new Error(`--${name} takes a number, not '${text}'`)
    return value
  }
  return {
    seed: number('seed', values.seed),
    seconds: number('for', values.for),
    operations: values.operations === undefined ? undefined : number('operations', values.operations),
    roundSize: number('round-size', values['round-size']),
    verbose: values.verbose,
  }
}

async function main(argv: readonly string[]): Promise<number> {
  let settings: Settings | undefined
  try {
    settings = parse(argv)
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n\n${HELP}\n`)
    return 2
  }
  if (settings === undefined) {
    process.stdout.write(`${HELP}\n`)
    return 0
  }
  try {
    await runRounds(settings)
    return 0
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n`)
    // Databases of the round that went wrong are still open, on machines that will never do anything again.
    process.removeAllListeners('exit')
    return 1
  }
}

async function runRounds({ seed, seconds, operations: wanted, roundSize, verbose }: Settings): Promise<void> {
  const until = performance.now() + seconds * 1000
  const outcomes = new Map<string, number>()
  let [rounds, operations, crashes] = [0, 0, 0]
  while (wanted === undefined ? performance.now() < until : operations < wanted) {
    const result = await runRound(seed + rounds++, roundSize)
    operations += result.operations
    if (result.crashed) crashes++
    for (const [what, count] of result.outcomes) outcomes.set(what, (outcomes.get(what) ?? 0) + count)
  }
  process.stdout.write(`${operations} operations in ${rounds} rounds from seed ${seed}, ${crashes} of them with a crash: all is well\n`)
  if (!verbose) return
  for (const [what, count] of [...outcomes].sort()) process.stdout.write(`${String(count).padStart(8)}  ${what}\n`)
}

hideLeaks()
process.exitCode = await main(process.argv.slice(2))
