import { expect, it } from 'vitest'
import { interrupt } from './interrupt.js'

it('a command that is killed or interrupted leaves whole databases, and can be gone on with', async () => {
  const reports = await interrupt({ seed: 1, seconds: 0, rows: 2000 })
  expect(reports.map(({ through }) => through)).toEqual(reports.map(() => 1))
  expect(reports.reduce((sum, { killed, ended }) => sum + killed + ended, 0)).toBeGreaterThan(0)
}, 600_000)
