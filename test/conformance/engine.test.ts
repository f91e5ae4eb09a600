import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { loadScenarios } from './format.js'
import { nextkeyAdapter } from './nextkey-adapter.js'
import { loadFace } from './nextkey-face.js'
import { isDisagreement, runGroups } from './runner.js'

/** Groups of which every scenario agrees with MySQL 9.7. Those of metadata locks are run by `npm run conformance`. */
const GROUPS = [
  'autoinc',
  'combos',
  'deadlocks',
  'gapexample',
  'gaps',
  'hermitage',
  'insertselect',
  'nextkey',
  'random',
  'scans',
  'strings',
  'unique',
  'visibility',
  'waits',
]

/** What needs metadata locks or TRUNCATE, which there are none of yet. */
const EXCEPTIONS: ReadonlySet<string> = new Set([
  'deadlocks/SER/lock-tables-plus-row',
  'autoinc/mode0/truncate-resets',
  'autoinc/mode1/truncate-resets',
  'autoinc/mode2/truncate-resets',
])

describe('what real servers did, this engine does', async () => {
  const groups = loadScenarios(fileURLToPath(new URL('../golden/public', import.meta.url))).filter(({ group }) => GROUPS.includes(group))
  const adapter = nextkeyAdapter(await loadFace())
  for (const { group, scenarios } of groups) {
    it(`in every scenario of group ${group}`, async () => {
      const [{ results }] = await runGroups(adapter, [{ group, scenarios }])
      const disagreeing = results.filter(isDisagreement).map(({ scenario }) => scenario.id)
      expect(disagreeing.filter((id) => !EXCEPTIONS.has(id))).toEqual([])
      expect(results.filter(({ status }) => status === 'agrees').length).toBeGreaterThan(results.length * 0.9)
    })
  }
})
