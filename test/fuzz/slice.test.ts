import { expect, test } from 'vitest'
import { fuzz } from './run.js'
import seeds from './seeds.json' with { type: 'json' }

const CASES = 400
const SLICE_TIMEOUT_MS = 600_000

// Databases are closed after damage was met in the middle of things: no need to hear of it.
process.removeAllListeners('warning')

test(`${CASES} damaged databases are opened, checked, read and repaired`, { timeout: SLICE_TIMEOUT_MS }, async () => {
  const report = await fuzz(0, (done) => done < CASES)
  expect(report.databases).toBe(CASES)
  // Neither is every damage fatal, nor none.
  expect(report.opened).toBeGreaterThan(CASES / 4)
  expect(report.opened).toBeLessThan(CASES)
  expect(report.clean).toBeLessThan(report.opened)
  expect(report.repaired).toBeGreaterThan(report.opened)
})

test('every seed that once found something', { timeout: SLICE_TIMEOUT_MS }, async () => {
  for (const seed of seeds) await fuzz(seed, (done) => done < 1)
})
