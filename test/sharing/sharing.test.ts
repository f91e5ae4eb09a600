import { expect, it } from 'vitest'
import { share } from './sharing.js'

it('readers in other processes see whole states beside an owner that writes at full speed', async () => {
  const reports = await share({ seed: 1, seconds: 2, readers: 3 })
  expect(reports).toHaveLength(3)
  for (const { right, moved } of reports) {
    expect(right).toBeGreaterThan(2)
    expect(moved).toBeGreaterThan(2)
  }
}, 120_000)
