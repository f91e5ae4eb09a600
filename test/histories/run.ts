/**
 * `npm run histories -- --seed N --for SECONDS --level L`: random transactions against the engine, their histories checked. Exit code 0: no level
 * shows what it forbids; 1: one does; 2: could not run.
 */
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { loadFace } from '../conformance/nextkey-face.js'
import { LEVELS, type Level } from './anomalies.js'
import { describeCampaign, runCampaign } from './campaign.js'
import { NextkeyStore, type NextkeyStoreOptions } from './nextkey-store.js'
import type { Store } from './store.js'

const HELP = `npm run histories -- [options]

Runs random interactive transactions and checks their histories for the anomalies each isolation level forbids.

  --level L         one level; may be repeated. Default: all of ${LEVELS.join(', ')}
  --seed N          seed of the first round (default: from the clock); round n has seed N + n
  --for SECONDS     how long, over all levels (default 10)
  --rounds N        this many rounds per level, instead
  --clients N       at most this many concurrent transactions, up to 100 (default 100)
  --transactions N  transactions per round (default 2000)
  --no-restarts     never crash and reopen between
  --help            this text

Exit code: 0 when nothing forbidden was seen, 1 when something was, 2 when it could not run.`

const MAX_CLIENTS = 100

interface Settings {
  readonly levels: readonly Level[]
  readonly seed: number
  readonly seconds: number
  readonly rounds: number | undefined
  readonly clients: number
  readonly transactions: number
  readonly restarts: boolean
}

interface Io {
  readonly print: (text: string) => void
  readonly complain: (text: string) => void
}

export async function main(argv: readonly string[], openStore: (options: NextkeyStoreOptions) => Promise<Store>, io: Io): Promise<number> {
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
    let clean = true
    for (const level of settings.levels) clean = (await runLevel(level, settings, openStore, io)) && clean
    return clean ? 0 : 1
  } catch (error) {
    io.complain(error instanceof Error ? (error.stack ?? error.message) : String(error))
    return 2
  }
}

async function runLevel(
  level: Level,
  settings: Settings,
  openStore: (options: NextkeyStoreOptions) => Promise<Store>,
  io: Io,
): Promise<boolean> {
  const { seed, clients, transactions, restarts, rounds, seconds, levels } = settings
  const store = await openStore({ level, seed, restarts })
  const end = performance.now() + (seconds * 1000) / levels.length
  const goOn = (done: number) => (rounds === undefined ? done === 0 || performance.now() < end : done < rounds)
  try {
    const result = await runCampaign(store, { level, seed, clients, transactions, restarts, goOn })
    io.print(describeCampaign(result))
    return result.forbidden.size === 0
  } catch (error) {
    throw new Error(`${level}, rounds from seed ${seed} on: ${(error as Error).message}`, { cause: error })
  } finally {
    await store.close()
  }
}

function parse(argv: readonly string[]): Settings | undefined {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      level: { type: 'string', multiple: true },
      seed: { type: 'string' },
      for: { type: 'string' },
      rounds: { type: 'string' },
      clients: { type: 'string' },
      transactions: { type: 'string' },
      'no-restarts': { type: 'boolean' },
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
    rounds: values.rounds === undefined ? undefined : count('rounds', values.rounds, 1),
    clients: Math.min(MAX_CLIENTS, count('clients', values.clients ?? String(MAX_CLIENTS), 1)),
    transactions: count('transactions', values.transactions ?? '2000', 1),
    restarts: values['no-restarts'] !== true,
  }
}

function count(name: string, text: string, least: number): number {
  const value = Number(text)
  if (!Number.isFinite(value) || value < least) throw new Error(`--${name} takes a number from ${least} on, not ${text}`)
  return value
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const io: Io = { print: (text) => process.stdout.write(`${text}\n`), complain: (text) => process.stderr.write(`${text}\n`) }
  process.exitCode = await main(process.argv.slice(2), async (options) => NextkeyStore.open(await loadFace(), options), io)
}
