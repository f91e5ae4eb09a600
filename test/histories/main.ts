/** The work of `npm run histories`; run.ts starts it, bundled. */
import { parseArgs } from 'node:util'
import { LEVELS, type Level } from './anomalies.js'
import { describeCampaign, type OpenStore, runCampaign } from './campaign.js'
import { findOut, MUTATIONS } from './mutations.js'
import { hideLeaks, NextkeyStore } from './nextkey-store.js'

const HELP = `npm run histories -- [options]

Runs random interactive transactions on a simulated machine and checks their histories for the anomalies each isolation level
forbids. A seed decides everything: what the transactions do, who goes on when, how fast the disk is, when timers fire.

  --level L         one level; may be repeated. Default: all of ${LEVELS.join(', ')}
  --seed N          seed of the first round (default: from the clock); round n has seed N + n
  --for SECONDS     how long, over all levels (default 10)
  --transactions N  until so many have committed at each level, instead
  --rounds N        this many rounds per level, instead
  --round-size N    transactions per round, which is one history (default 2000)
  --clients N       at most this many concurrent transactions, up to 100 (default 100)
  --no-restarts     never crash and reopen between
  --mutations       instead: takes something away from the engine, one thing after the other, and says how each was found out
  --help            this text

Exit code: 0 when nothing forbidden was seen, 1 when something was, 2 when it could not run.`

const MAX_CLIENTS = 100

interface Settings {
  readonly levels: readonly Level[]
  readonly seed: number
  readonly seconds: number
  readonly transactions: number | undefined
  readonly rounds: number | undefined
  readonly roundSize: number
  readonly clients: number
  readonly restarts: boolean
  readonly mutations: boolean
}

export interface Io {
  readonly print: (text: string) => void
  readonly complain: (text: string) => void
}

export async function main(argv: readonly string[], openStore: OpenStore, io: Io): Promise<number> {
  let settings: Settings | undefined
  try {
    settings = parse(argv)
  } catch (error) {
    io.complain(`${(error as Error).message}\n\n${HELP}`)
    return 2
  }
  if (settings === undefined) {
    io.print(HELP)
    return 0
  }
  try {
    if (settings.mutations) return await runMutations(settings, io)
    let clean = true
    for (const level of settings.levels) clean = (await runLevel(level, settings, openStore, io)) && clean
    return clean ? 0 : 1
  } catch (error) {
    io.complain(error instanceof Error ? `${error.stack ?? error.message}\n${String((error.cause as Error)?.stack ?? '')}` : String(error))
    return 2
  }
}

async function runLevel(level: Level, settings: Settings, openStore: OpenStore, io: Io): Promise<boolean> {
  const { seed, clients, transactions, roundSize, restarts, rounds, seconds, levels } = settings
  const end = performance.now() + (seconds * 1000) / levels.length
  const goOn = (soFar: { rounds: number; committed: number }) => {
    if (rounds !== undefined) return soFar.rounds < rounds
    if (transactions !== undefined) return soFar.committed < transactions
    return soFar.rounds === 0 || performance.now() < end
  }
  const result = await runCampaign(openStore, { level, seed, clients, roundSize, restarts, goOn })
  io.print(describeCampaign(result))
  return result.forbidden.size === 0
}

/** False unless every mutation was found out. */
async function runMutations({ seed, rounds = 200, roundSize, clients }: Settings, io: Io): Promise<number> {
  let found = 0
  for (const mutation of MUTATIONS) {
    const finding = await findOut(mutation, { seed, rounds, roundSize, clients })
    if (finding !== undefined) found++
    const how = finding === undefined ? 'NOT FOUND' : `round ${finding.rounds}, seed ${finding.seed}: ${finding.by}`
    io.print(`${mutation.name} (${mutation.level})\n  without ${mutation.without}\n  ${how}`)
  }
  return found === MUTATIONS.length ? 0 : 1
}

function parse(argv: readonly string[]): Settings | undefined {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      level: { type: 'string', multiple: true },
      seed: { type: 'string' },
      for: { type: 'string' },
      transactions: { type: 'string' },
      rounds: { type: 'string' },
      'round-size': { type: 'string' },
      clients: { type: 'string' },
      'no-restarts': { type: 'boolean' },
      mutations: { type: 'boolean' },
      help: { type: 'boolean' },
    },
  })
  if (values.help === true) return undefined
  const levels = values.level ?? LEVELS
  for (const level of levels) if (!(LEVELS as readonly string[]).includes(level)) throw new Error(`unknown level ${level}`)
  return {
    levels: levels as readonly Level[],
    seed: count('seed', values.seed ?? String(Date.now() % 2 ** 31), 0),
    seconds: count('for', values.for ?? '10', 0),
    transactions: values.transactions === undefined ? undefined : count('transactions', values.transactions, 1),
    rounds: values.rounds === undefined ? undefined : count('rounds', values.rounds, 1),
    roundSize: count('round-size', values['round-size'] ?? '2000', 1),
    clients: Math.min(MAX_CLIENTS, count('clients', values.clients ?? String(MAX_CLIENTS), 1)),
    restarts: values['no-restarts'] !== true,
    mutations: values.mutations === true,
  }
}

function count(name: string, text: string, least: number): number {
  const value = Number(text)
  if (!Number.isFinite(value) || value < least) throw new Error(`--${name} takes a number from ${least} on, not ${text}`)
  return value
}

/** Runs the command on the engine. */
export async function start(): Promise<void> {
  hideLeaks()
  const io: Io = { print: (text) => process.stdout.write(`${text}\n`), complain: (text) => process.stderr.write(`${text}\n`) }
  process.exitCode = await main(process.argv.slice(2), NextkeyStore.open, io)
}
