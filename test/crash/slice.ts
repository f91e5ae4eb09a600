import { expect } from 'vitest'
import { runSeed } from './run.js'

// Databases are closed with transactions open all the time here: no need to hear of it.
process.removeAllListeners('warning')

/** Runs seeds from `from` on until so many crash points were looked at: deterministic, however fast the machine is. */
export async function crashSlice(from: number, points: number, schema: boolean = false): Promise<void> {
  let done = 0
  for (let seed = from; done < points; seed++) done += (await runSeed({ seed, density: 1, depth: 1, schema, points: points - done })).points
  expect(done).toBeGreaterThanOrEqual(points)
}

/** The slices of the two files together: 20,000 crash points, on two processors; about five minutes where a core does 35 a second. */
export const POINTS_PER_FILE = 10_000
export const SLICE_TIMEOUT_MS = 1_800_000
