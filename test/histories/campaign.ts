/** Many rounds at one level, each from its own seed with its own mix, on a store of its own, judged one by one and summed up. */
import { Scheduler } from '../support/scheduler.js'
import { Prng } from '../support/seeded.js'
import { type Anomaly, AnomalyLog, FORBIDDEN, type Level } from './anomalies.js'
import { checkHistory } from './checker.js'
import type { History } from './history.js'
import type { NextkeyStoreOptions } from './nextkey-store.js'
import type { Store } from './store.js'
import { type Round, type RoundStatistics, runRound, type WorkloadOptions } from './workload.js'

export type OpenStore = (scheduler: Scheduler, options: NextkeyStoreOptions) => Promise<Store>

export interface CampaignOptions {
  readonly level: Level
  /** Seed of the first round; the next has the next number. */
  readonly seed: number
  /** At most this many clients. */
  readonly clients: number
  /** Transactions begun per round. */
  readonly roundSize: number
  /** Whether rounds may restart the store. */
  readonly restarts: boolean
  /** Asked before each round. */
  goOn(soFar: { readonly rounds: number; readonly committed: number }): boolean
}

export interface CampaignResult {
  readonly level: Level
  readonly rounds: number
  readonly statistics: RoundStatistics
  readonly anomalies: AnomalyLog
  /** Anomalies the level forbids, with the seed of the first round that showed each. */
  readonly forbidden: ReadonlyMap<Anomaly, number>
  /** Options that, with a seed, give a round again. */
  readonly again: string
}

type MixOptions = Pick<CampaignOptions, 'level' | 'clients' | 'roundSize' | 'restarts'>

/**
 * The mix of a round: from two clients to all of them, from hot to calm, with and without locking reads, restarts and short timeouts, in
 * memory or not, with many checkpoints or few.
 */
export function mixOf(options: MixOptions, seed: number): { readonly workload: WorkloadOptions; readonly store: NextkeyStoreOptions } {
  const prng = new Prng(seed).fork()
  const workload: WorkloadOptions = {
    seed,
    clients: 2 + prng.int(Math.max(1, options.clients - 1)),
    transactions: options.roundSize,
    maxOperations: 2 + prng.int(7),
    window: 2 + prng.int(12),
    aborts: prng.pick([0, 0.05, 0.2]),
    lockingReads: prng.pick([0, 0, 0.3]),
    predicates: prng.pick([0, 0.25, 0.5, 0.9]),
    pointScans: prng.pick([0.1, 0.3, 0.7]),
    undone: prng.pick([0, 0.1]),
    restarts: options.restarts && prng.bool() ? 1 + prng.int(2) : 0,
    attempts: 1 + prng.int(4),
  }
  const store: NextkeyStoreOptions = {
    level: options.level,
    restarts: (workload.restarts ?? 0) > 0,
    lockWaitTimeout: prng.pick([undefined, undefined, undefined, 50]),
    cacheSize: prng.pick([2, 4]) * 2 ** 20,
    checkpointBytes: prng.pick([2 ** 16, 2 ** 18, 2 ** 22]),
  }
  return { workload, store }
}

/** One round on a store of its own. The seed and the options decide every byte of it. `focus` stands before the mix. */
export async function playRound(
  openStore: OpenStore,
  options: MixOptions,
  seed: number,
  focus: Partial<WorkloadOptions> = {},
): Promise<Round> {
  const mix = mixOf(options, seed)
  const scheduler = new Scheduler(seed)
  const store = await scheduler.run(openStore(scheduler, mix.store))
  try {
    const round = await runRound(store, { ...mix.workload, ...focus }, scheduler)
    await scheduler.run(store.close())
    return round
  } catch (error) {
    // What a broken store says when it is closed is of no interest: it leaves nothing behind in this process.
    await scheduler.run(store.close()).catch(() => {})
    throw error
  }
}

/** What a history shows, looked at as one of this level. */
export function judge(history: History, level: Level): AnomalyLog {
  return checkHistory(history, { realTime: FORBIDDEN[level].has('realtime'), dirtyReads: level === 'read-uncommitted' }).anomalies
}

export async function runCampaign(openStore: OpenStore, options: CampaignOptions): Promise<CampaignResult> {
  const { level } = options
  const statistics: RoundStatistics = { committed: 0, aborted: 0, deadlocks: 0, conflicts: 0, timeouts: 0, cutOff: 0, restarts: 0 }
  const anomalies = new AnomalyLog()
  const forbidden = new Map<Anomaly, number>()
  const again = `--level ${level} --rounds 1 --clients ${options.clients} --round-size ${options.roundSize}${options.restarts ? '' : ' --no-restarts'}`
  let rounds = 0
  for (; options.goOn({ rounds, committed: statistics.committed }); rounds++) {
    const seed = options.seed + rounds
    let round: Round
    try {
      round = await playRound(openStore, options, seed)
    } catch (error) {
      throw new Error(`${(error as Error).message}\nagain with --seed ${seed} ${again}`, { cause: error })
    }
    for (const name of Object.keys(statistics) as (keyof RoundStatistics)[]) statistics[name] += round.statistics[name]
    const found = judge(round.history, level)
    anomalies.merge(found)
    for (const anomaly of found.forbiddenAt(level)) if (!forbidden.has(anomaly)) forbidden.set(anomaly, seed)
  }
  return { level, rounds, statistics, anomalies, forbidden, again }
}

/** What happened, in a few lines; what is forbidden with its first example and how to see it again. */
export function describeCampaign({ level, rounds, statistics, anomalies, forbidden, again }: CampaignResult): string {
  const { committed, aborted, deadlocks, conflicts, timeouts, cutOff, restarts } = statistics
  const allowed = anomalies.kinds.filter((anomaly) => !forbidden.has(anomaly))
  const lines = [
    `${level}: ${committed} committed in ${rounds} rounds; ${aborted} rolled back, ${deadlocks} deadlocks, ${conflicts} conflicts, ${timeouts} timeouts, ` +
      `${restarts} restarts (${cutOff} cut off)`,
    `  allowed and seen: ${allowed.length === 0 ? 'none' : allowed.map((anomaly) => `${anomaly} ≥ ${anomalies.count(anomaly)}`).join(', ')}`,
  ]
  for (const [anomaly, seed] of forbidden) {
    lines.push(`  FORBIDDEN: ${anomaly}, again with --seed ${seed} ${again}`, `    ${anomalies.examples(anomaly)[0]}`)
  }
  return lines.join('\n')
}
