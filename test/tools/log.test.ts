import { expect, test } from 'vitest'
import { type LogEntry, readLogEntries } from '../../src/log-entries.js'
import { openTest, type TestDatabase } from '../support/open-test-database.js'
import { runTool } from '../support/run-tool.js'

/** Groups of about 25 KiB in segments of 60 KiB: most segments begin in the midst of a group. */
async function openBusy(): Promise<TestDatabase & { write: (commits: number) => Promise<void> }> {
  const on = await openTest({ logSegmentSize: 65_536 })
  const table = await on.db.table('rows', { key: 'id' })
  let id = 0
  const write = async (commits: number): Promise<void> => {
    for (let commit = 0; commit < commits; commit++) await table.put({ id: id++, text: 'x'.repeat(25_000) })
  }
  return Object.assign(on, { write })
}

function mustFollow(entries: readonly LogEntry[]): void {
  for (const [at, entry] of entries.entries()) if (at > 0) expect(entry.position).toBe(entries[at - 1]?.end)
}

test('a log whose oldest file begins in the midst of a group is shown from the first whole one on', async () => {
  await using on = await openBusy()
  for (let round = 0; round < 8; round++) {
    await on.write(5 + round)
    await on.db.checkpoint()
    await on.write(5)
    const entries = [...readLogEntries(on.environment, '/database')]
    expect(entries.length).toBeGreaterThanOrEqual(5)
    mustFollow(entries)
    expect(entries.at(-1)).toMatchObject({ kind: 'commit', end: on.db.status().log?.end })
  }
  expect((await runTool(on.environment, ['log', '/database'])).exit).toBe(0)
})

test('the log can be read while its owner writes on', async () => {
  await using on = await openBusy()
  await on.write(5)
  const entries: LogEntry[] = []
  for (const entry of readLogEntries(on.environment, '/database')) {
    entries.push(entry)
    await on.write(1)
  }
  expect(entries.length).toBeGreaterThan(5)
  mustFollow(entries)
})

test('what its owner released meanwhile is gone, not damaged', async () => {
  await using on = await openBusy()
  await on.write(30)
  const reading = readLogEntries(on.environment, '/database')
  const { value } = reading.next()
  expect(value).toMatchObject({ position: expect.any(Number) })
  await on.db.checkpoint()
  await on.write(60)
  expect(() => [...reading]).toThrow(expect.objectContaining({ code: 'ERR_SNAPSHOT_GONE', retryable: true }))
  mustFollow([...readLogEntries(on.environment, '/database')])
})

test('a position that the log does not reach back to, or at which no group begins, is refused, with one that would do', async () => {
  await using on = await openBusy()
  await on.write(30)
  await on.db.checkpoint()
  await on.write(5)
  const [first] = [...readLogEntries(on.environment, '/database')]
  const { exit, stderr } = await runTool(on.environment, ['log', '/database', '--from', '0'])
  expect(exit).toBe(2)
  expect(stderr).toMatch(/ERR_INVALID_ARGUMENT: the files in \/database\/wal hold the log from position \d+ on, not from 0/)
  const inside = await runTool(on.environment, ['log', '/database', '--from', String(Number(first?.position) + 4)])
  expect(inside).toMatchObject({ exit: 2, stdout: '' })
  expect(inside.stderr).toContain(`the one around it goes from ${first?.position} to ${first?.end}`)
  const from = String(first?.position)
  expect((await runTool(on.environment, ['log', '/database', '--from', from])).stdout).toContain(from)
})
