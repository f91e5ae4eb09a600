import { describe, expect, it } from 'vitest'
import { runRound } from './round.js'

/** A slice of `npm run coarse`: see there. */

describe('row changes, schema changes, LOCK TABLES and freezes against each other', () => {
  it('leave nobody waiting, nothing locked, and everything in agreement', async () => {
    const done = new Set<string>()
    let [operations, crashes] = [0, 0]
    for (let seed = 1000; seed < 1012; seed++) {
      const result = await runRound(seed, 500)
      operations += result.operations
      if (result.crashed) crashes++
      for (const what of result.outcomes.keys()) done.add(what)
    }
    expect(operations).toBeGreaterThan(4000)
    expect(crashes).toBeGreaterThan(0)
    // It is about nothing if these do not happen.
    for (const what of ['freeze done', 'LOCK TABLES done', 'lockTable done', 'drop done', 'rename done', 'dropIndex done', 'createIndex'])
      expect([what, [...done].some((outcome) => outcome.startsWith(what))]).toEqual([what, true])
    expect([...done].filter((what) => what.endsWith('ERR_DEADLOCK')).length).toBeGreaterThan(5)
  })

  it('go the same way for the same seed', async () => {
    const [first, again, other] = [await runRound(3, 300), await runRound(3, 300), await runRound(4, 300)]
    expect([again.digest, again.operations]).toEqual([first.digest, first.operations])
    expect(other.digest).not.toBe(first.digest)
  })
})
