import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { loadScenarios } from './format.js'
import { nextkeyAdapter } from './nextkey-adapter.js'
import { loadFace } from './nextkey-face.js'
import { isDisagreement, runGroups } from './runner.js'

/** Every scenario of these groups agrees with MySQL 9.7, but for those that have no counterpart (not-applicable.ts). */
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
  'tablelocks',
  'unique',
  'visibility',
  'waits',
]

describe('what real servers did, this engine does', async () => {
  const groups = loadScenarios(fileURLToPath(new URL('../golden/public', import.meta.url))).filter(({ group }) => GROUPS.includes(group))
  const adapter = nextkeyAdapter(await loadFace())
  for (const { group, scenarios } of groups) {
    it(`in every scenario of group ${group}`, async () => {
      const [{ results }] = await runGroups(adapter, [{ group, scenarios }])
      const disagreeing = results.filter(isDisagreement).map(({ scenario }) => scenario.id)
      expect(disagreeing).toEqual([])
      expect(results.filter(({ status }) => status === 'agrees').length).toBeGreaterThan(results.length * 0.7)
    })
  }
})
