/** Many rounds at one level, each from its own seed with its own mix, judged one by one and summed up. */
import { Prng } from '../support/seeded.js'
import { type Anomaly, AnomalyLog, FORBIDDEN, type Level } from './anomalies.js'
import { checkHistory } from './checker.js'
import type { Store } from './store.js'
import { type RoundStatistics, runRound, type WorkloadOptions } from './workload.js'

export interface CampaignOptions {
  readonly level: Level
  /** Seed of the first round; the next has the next number. */
  readonly seed: number
  /** At most this many clients. */
  readonly clients: number
  /** Transactions begun per round. */
  readonly transactions: number
  /** Whether rounds may restart the store. */
  readonly restarts: boolean
  /** Asked before each round. */
  goOn(roundsDone: number): boolean
}

export interface CampaignResult {
  readonly level: Level
  readonly rounds: number
  readonly statistics: RoundStatistics
  readonly anomalies: AnomalyLog
  /** Anomalies the level forbids, with the seed of the first round that showed each. */
  readonly forbidden: ReadonlyMap<Anomaly, number>
}

/** The mix of a round: from two clients to all of them, from hot to calm, with and without locking reads and restarts. */
export function mixOf(options: Pick<CampaignOptions, 'clients' | 'transactions' | 'restarts'>, seed: number): WorkloadOptions {
  const prng = new Prng(seed).fork()
  return {
    seed,
    clients: 2 + prng.int(Math.max(1, options.clients - 1)),
    transactions: options.transactions,
    maxOperations: 2 + prng.int(7),
    window: 2 + prng.int(12),
    aborts: prng.pick([0, 0.05, 0.2]),
    lockingReads: prng.pick([0, 0, 0.3]),
    predicates: prng.pick([0, 0.25, 0.5]),
    restarts: options.restarts && prng.bool() ? 1 + prng.int(2) : 0,
    attempts: 1 + prng.int(4),
  }
}

export async function runCampaign(store: Store, options: CampaignOptions): Promise<CampaignResult> {
  const { level } = options
  const statistics: RoundStatistics = { committed: 0, aborted: 0, deadlocks: 0, conflicts: 0, timeouts: 0, cutOff: 0, restarts: 0 }
  const anomalies = new AnomalyLog()
  const forbidden = new Map<Anomaly, number>()
  let rounds = 0
  while (options.goOn(rounds)) {
    const seed = options.seed + rounds++
    const round = await runRound(store, mixOf(options, seed))
    for (const name of Object.keys(statistics) as (keyof RoundStatistics)[]) statistics[name] += round.statistics[name]
    const found = checkHistory(round.history, {
      realTime: FORBIDDEN[level].has('realtime'),
      dirtyReads: level === 'read-uncommitted',
    }).anomalies
    anomalies.merge(found)
    for (const anomaly of found.forbiddenAt(level)) if (!forbidden.has(anomaly)) forbidden.set(anomaly, seed)
  }
  return { level, rounds, statistics, anomalies, forbidden }
}

/** What happened, in a few lines; what is forbidden with its first example and how to see it again. */
export function describeCampaign({ level, rounds, statistics, anomalies, forbidden }: CampaignResult): string {
  const { committed, aborted, deadlocks, conflicts, timeouts, cutOff, restarts } = statistics
  const allowed = anomalies.kinds.filter((anomaly) => !forbidden.has(anomaly))
  const lines = [
    `${level}: ${committed} committed in ${rounds} rounds; ${aborted} rolled back, ${deadlocks} deadlocks, ${conflicts} conflicts, ${timeouts} timeouts, ` +
      `${restarts} restarts (${cutOff} cut off)`,
    `  allowed and seen: ${allowed.length === 0 ? 'none' : allowed.map((anomaly) => `${anomaly} ≥ ${anomalies.count(anomaly)}`).join(', ')}`,
  ]
  for (const [anomaly, seed] of forbidden) {
    lines.push(`  FORBIDDEN: ${anomaly}, again with --level ${level} --seed ${seed} --rounds 1`, `    ${anomalies.examples(anomaly)[0]}`)
  }
  return lines.join('\n')
}
