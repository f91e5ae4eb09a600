import { spawn } from 'node:child_process'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { systemEnvironment } from '../../src/platform/environment.js'
import { openTest } from '../support/open-test-database.js'
import { runTool } from '../support/run-tool.js'

test('another process learns of status and locks, and has a backup made', async () => {
  await using on = await openTest({ on: 'real', inspect: true })
  const items = await on.db.table('items', { key: 'id' })
  await items.insertMany([{ id: 1 }, { id: 2 }])
  const tx = await on.db.begin()
  await tx.get(items, 1, { lock: 'update' })
  const copy = mkdtempSync(join(tmpdir(), 'nextkey-copy-'))
  try {
    expect(await tool('status', on.directory)).toMatchObject({ exit: 0, stdout: expect.stringContaining('transactions     1 open') })
    const locks = await tool('locks', on.directory, '--json')
    expect(JSON.parse(locks.stdout)).toMatchObject({
      locks: [{ mode: 'IX' }, { table: 'items', key: 1, status: 'granted' }],
      latestDeadlock: null,
    })
    const backup = await tool('backup', on.directory, copy, '--json')
    expect(backup).toMatchObject({ exit: 0 })
    expect(JSON.parse(backup.stdout)).toMatchObject({ kind: 'full' })
    await tx.rollback()
    expect(await tool('backup', on.directory, copy)).toMatchObject({ exit: 0, stdout: expect.stringContaining('brought from checkpoint') })
    expect(await tool('dump', copy)).toMatchObject({ exit: 0, stdout: expect.stringContaining('{"id":2}') })
  } finally {
    rmSync(copy, { recursive: true })
  }
})

test('the socket is for this user, goes with the database, and is there only if it was asked for', async () => {
  await using on = await openTest({ on: 'real' })
  const refused = await runTool(systemEnvironment, ['status', on.directory])
  expect(refused).toMatchObject({ exit: 5, stderr: expect.stringContaining('inspect: true') })
  await on.reopen({ inspect: true })
  expect(readdirSync(on.directory)).toContain('nextkey.sock')
  await on.close()
  expect(readdirSync(on.directory)).not.toContain('nextkey.sock')
})

/** The built tool's program in a process of its own. */
function tool(...args: string[]): Promise<{ exit: number | null; stdout: string; stderr: string }> {
  const child = spawn(process.execPath, ['--import', 'tsx', 'src/cli/main.ts', ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
  const text = { stdout: '', stderr: '' }
  child.stdout.on('data', (chunk) => {
    text.stdout += chunk
  })
  child.stderr.on('data', (chunk) => {
    text.stderr += chunk
  })
  return new Promise((resolve) => child.on('close', (exit) => resolve({ exit, ...text })))
}
