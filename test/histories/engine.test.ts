import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import type { Anomaly, Level } from './anomalies.js'
import { judge, playRound, runCampaign } from './campaign.js'
import { findOut, MUTATIONS } from './mutations.js'
import { hideLeaks, NextkeyStore } from './nextkey-store.js'

hideLeaks()

/** Seeds that once found something, with the options of their rounds: played again for ever. */
const SEEDS = JSON.parse(readFileSync(new URL('seeds.json', import.meta.url), 'utf8')) as {
  readonly level: Level
  readonly seed: number
  readonly clients: number
  readonly roundSize: number
  readonly found: string
}[]

/** What InnoDB shows at each level, and nothing beyond. */
const SHOWN: readonly (readonly [Level, readonly Anomaly[]])[] = [
  ['read-uncommitted', ['G1a', 'G1b', 'G1c', 'non-repeatable-read', 'lost-update', 'moved-snapshot', 'G-single', 'G2-item', 'G2']],
  ['read-committed', ['non-repeatable-read', 'lost-update', 'moved-snapshot', 'G-single', 'G2-item', 'G2']],
  ['repeatable-read', ['lost-update', 'moved-snapshot', 'G-single', 'G2-item', 'G2']],
  ['snapshot', ['G2-item', 'G2']],
  ['serializable', []],
]

describe.each(SHOWN)('the engine at %s', (level, shows) => {
  it('shows its anomalies and none that the level forbids', async () => {
    const goOn = ({ rounds }: { rounds: number }) => rounds < 6
    const { anomalies, forbidden, statistics } = await runCampaign(NextkeyStore.open, {
      level,
      seed: 1,
      clients: 40,
      roundSize: 500,
      restarts: true,
      goOn,
    })
    expect([...forbidden].map(([anomaly, seed]) => `${anomaly}, seed ${seed}: ${anomalies.examples(anomaly)[0]}`)).toEqual([])
    // Looked for only where no simpler cycle explains a history, so it comes and goes.
    expect(anomalies.kinds.filter((anomaly) => anomaly !== 'G-nonadjacent').sort()).toEqual([...shows].sort())
    expect(statistics.deadlocks).toBeGreaterThan(0)
    expect(statistics.restarts).toBeGreaterThan(0)
  })
})

describe('a seed', () => {
  const play = (seed: number) =>
    playRound(NextkeyStore.open, { level: 'repeatable-read', clients: 30, roundSize: 300, restarts: true }, seed)

  it('repeats a history byte for byte', async () => {
    const [one, again] = [await play(7), await play(7)]
    expect(JSON.stringify(again.history.transactions)).toBe(JSON.stringify(one.history.transactions))
    expect(again.statistics).toEqual(one.statistics)
    expect(one.statistics.restarts).toBeGreaterThan(0)
  })

  it('that is another gives another history', async () => {
    const [one, other] = [await play(7), await play(8)]
    expect(JSON.stringify(other.history.transactions)).not.toBe(JSON.stringify(one.history.transactions))
  })
})

describe('seeds that once found something', () => {
  it.each(SEEDS)('$level, $seed: $found', async ({ level, seed, clients, roundSize }) => {
    const { history } = await playRound(NextkeyStore.open, { level, clients, roundSize, restarts: true }, seed)
    expect(judge(history, level).forbiddenAt(level)).toEqual([])
  })
})

describe('an engine with something taken away is found out', () => {
  it.each(MUTATIONS)('$name, at $level', async (mutation) => {
    expect(await findOut(mutation, { seed: 1, rounds: 200, roundSize: 300, clients: 30 })).toBeDefined()
  })

  it('and, with everything in its place again, is clean', async () => {
    for (const level of ['read-committed', 'repeatable-read', 'serializable'] as const) {
      const whole = { name: 'nothing', without: 'nothing', level, apply: () => {} }
      expect(await findOut(whole, { seed: 1, rounds: 2, roundSize: 300, clients: 30 })).toBeUndefined()
    }
  })
})
