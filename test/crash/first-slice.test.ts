import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { runSeed } from './run.js'
import { crashSlice, POINTS_PER_FILE, SLICE_TIMEOUT_MS } from './slice.js'

/**
 * A seed beyond those of the slices that has found something. It means anything only while the workload draws as it did then: what was
 * found for good is a mutation (mutation/transaction-mutations.ts, ONCE_FOUND) and a test of its own.
 */
interface KeptSeed {
  readonly seed: number
  readonly found: string
}

const kept = JSON.parse(readFileSync(new URL('seeds.json', import.meta.url), 'utf8')) as KeptSeed[]

describe('after a crash at any I/O operation, what was acknowledged is there, and nothing in part', () => {
  for (const { seed, found } of kept) {
    it(`seed ${seed}, which found that ${found}`, async () => {
      expect((await runSeed({ seed, density: 1, depth: 1, points: Number.POSITIVE_INFINITY })).points).toBeGreaterThan(0)
    })
  }

  it(`at ${POINTS_PER_FILE} points`, () => crashSlice(1, POINTS_PER_FILE), SLICE_TIMEOUT_MS)
})
