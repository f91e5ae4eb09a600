import { describe, expect, it } from 'vitest'
import { type Anomaly, AnomalyLog, FORBIDDEN, type Level } from './anomalies.js'
import { checkHistory } from './checker.js'
import { main } from './main.js'
import { ToyStore, type ToySwitches } from './toy-engine.js'
import { runRound, type WorkloadOptions } from './workload.js'

const ROUND: WorkloadOptions = { seed: 1, clients: 12, transactions: 400, aborts: 0.1 }
const SEEDS = [1, 2, 3]

/** What the checker finds in a few rounds against a store with these switches. */
async function anomaliesOf(switches: ToySwitches, options: Partial<WorkloadOptions> = {}): Promise<AnomalyLog> {
  const log = new AnomalyLog()
  for (const seed of SEEDS) {
    const { history } = await runRound(new ToyStore(switches), { ...ROUND, ...options, seed })
    log.merge(checkHistory(history, { realTime: true }).anomalies)
  }
  return log
}

const ENGINES: readonly { readonly level: Level; readonly switches: ToySwitches; readonly shows: readonly Anomaly[] }[] = [
  {
    level: 'read-uncommitted',
    switches: { reads: 'dirty' },
    shows: ['G1a', 'G1b', 'G1c', 'G-single', 'G2-item', 'G2', 'lost-update', 'non-repeatable-read'],
  },
  { level: 'read-committed', switches: { reads: 'committed' }, shows: ['G-single', 'G2-item', 'G2', 'lost-update', 'non-repeatable-read'] },
  { level: 'repeatable-read', switches: { reads: 'snapshot' }, shows: ['G-single', 'G2-item', 'G2', 'lost-update', 'moved-snapshot'] },
  { level: 'snapshot', switches: { reads: 'snapshot', firstCommitterWins: true }, shows: ['G2-item', 'G2'] },
  { level: 'serializable', switches: { reads: 'locking' }, shows: [] },
]

describe.each(ENGINES)('a store at $level', ({ level, switches, shows }) => {
  it('shows its anomalies and none that the level forbids', async () => {
    const log = await anomaliesOf(switches)
    expect(log.forbiddenAt(level).map((anomaly) => `${anomaly}: ${log.examples(anomaly)[0]}`)).toEqual([])
    expect(shows.filter((anomaly) => !log.has(anomaly))).toEqual([])
  })
})

describe('a store with something taken away', () => {
  it.each<[string, Level, ToySwitches, Anomaly]>([
    ['write locks', 'read-uncommitted', { reads: 'dirty', writeLocks: false }, 'G0'],
    ['undo', 'read-uncommitted', { reads: 'locking', forgetsToUndo: true }, 'G1a'],
    ['the conflict check of snapshot', 'snapshot', { reads: 'snapshot' }, 'lost-update'],
    ['read locks', 'serializable', { reads: 'committed' }, 'G2-item'],
    ['predicate locks', 'serializable', { reads: 'locking', groupLocks: false }, 'G2'],
    ['current reads of writers', 'repeatable-read', { reads: 'snapshot', writesFromReads: true }, 'lost-write'],
  ])('%s is found out', async (_, level, switches, anomaly) => {
    const log = await anomaliesOf(switches)
    expect(log.kinds).toContain(anomaly)
    if (anomaly !== 'G1a') expect(FORBIDDEN[level]).toContain(anomaly)
  })
})

describe('a round', () => {
  it('is the same whenever the seed is the same', async () => {
    const run = async (seed: number) => (await runRound(new ToyStore({ reads: 'locking' }), { ...ROUND, seed })).history.transactions
    expect(await run(5)).toEqual(await run(5))
    expect(await run(5)).not.toEqual(await run(6))
  })

  it('of a hundred clients has deadlocks, voluntary aborts and commits', async () => {
    const { statistics } = await runRound(new ToyStore({ reads: 'locking' }), { ...ROUND, clients: 100 })
    expect(statistics.committed).toBeGreaterThan(200)
    expect(statistics.deadlocks).toBeGreaterThan(0)
    expect(statistics.aborted).toBeGreaterThan(0)
  })

  it('covers lists, registers, groups and locking reads', async () => {
    const { history } = await runRound(new ToyStore({ reads: 'locking' }), { ...ROUND, lockingReads: 0.5 })
    const ops = history.transactions.flatMap((transaction) => transaction.ops)
    const kinds = new Set(ops.map((op) => op.f))
    expect([...kinds].sort()).toEqual(['append', 'enter', 'leave', 'read', 'readList', 'scan', 'write'])
    expect(ops.some((op) => 'locking' in op && op.locking)).toBe(true)
  })

  it('fails with a message when clients wait for ever', async () => {
    const store = new ToyStore({ reads: 'locking' })
    const begin = store.begin.bind(store)
    store.begin = async () => {
      const tx = await begin()
      tx.commit = () => new Promise(() => {})
      return tx
    }
    await expect(runRound(store, ROUND)).rejects.toThrow('no client can move')
  })
})

describe('the checker', () => {
  it('judges a history of many thousands of transactions in one go', async () => {
    const { history } = await runRound(new ToyStore({ reads: 'committed' }), { ...ROUND, clients: 50, transactions: 10_000 })
    const log = checkHistory(history, { realTime: true }).anomalies
    expect(log.forbiddenAt('read-committed')).toEqual([])
    expect(log.has('G2-item')).toBe(true)
  })
})

describe('the command', () => {
  async function run(argv: string[], switches: ToySwitches) {
    const printed: string[] = []
    const complaints: string[] = []
    const open = async () => new ToyStore(switches)
    const code = await main(argv, open, { print: (text) => printed.push(text), complain: (text) => complaints.push(text) })
    return { code, printed: printed.join('\n'), complaints: complaints.join('\n') }
  }
  const brief = ['--seed', '3', '--rounds', '2', '--round-size', '200', '--clients', '20']

  it('exits with 0 and names what is allowed and seen', async () => {
    const { code, printed } = await run([...brief, '--level', 'read-committed'], { reads: 'committed' })
    expect(printed).toMatch(/^read-committed: \d+ committed in 2 rounds/)
    expect(printed).toContain('allowed and seen: ')
    expect(printed).toContain('lost-update ≥ ')
    expect(code).toBe(0)
  })

  it('exits with 1 and says how to see it again when something forbidden is seen', async () => {
    const { code, printed } = await run([...brief, '--level', 'serializable'], { reads: 'committed' })
    expect(code).toBe(1)
    expect(printed).toMatch(
      /FORBIDDEN: G-single, again with --seed [34] --level serializable --rounds 1 --clients 20 --round-size 200\n {4}T\d+ –/,
    )
  })

  it('exits with 2 when it cannot run', async () => {
    expect((await run(['--level', 'perfect'], { reads: 'locking' })).complaints).toContain('unknown level perfect')
    expect((await run(['--seed', 'x'], { reads: 'locking' })).code).toBe(2)
  })
})
