import { expect, test } from 'vitest'
import type { Database } from '../../src/database.js'
import { openTest, type TestDatabase } from '../support/open-test-database.js'
import { runTool, type ToolRun } from '../support/run-tool.js'
import type { SimulatedEnvironment } from '../support/simulated-environment.js'

/** A database of two tables, closed; its rows hold everything that a row may hold. */
async function prepared(): Promise<TestDatabase> {
  const on = await openTest()
  await fill(on.db)
  await on.close()
  return on
}

const EVERYTHING = {
  date: new Date(1e12),
  never: new Date(Number.NaN),
  big: -(2n ** 70n),
  bytes: new Uint8Array([0, 255, 7]),
  floats: new Float64Array([1.5, Number.NaN]),
  map: new Map<unknown, unknown>([[1n, { a: undefined }]]),
  set: new Set(['x', null]),
  numbers: [-0, Number.NaN, Number.POSITIVE_INFINITY, 1e300],
  half: '\ud800',
  taken: { $date: 'not a date' },
  $end: { tables: 1 },
  nested: { deep: [{ $undefined: 1 }] },
}

async function fill(db: Database): Promise<void> {
  const items = await db.table('items', {
    key: 'id',
    autoIncrement: true,
    indexes: { name: { on: 'name', unique: true }, byGroup: { on: ['group', 'id'] } },
  })
  await items.insertMany(Array.from({ length: 2500 }, (_, at) => ({ name: `n${at}`, group: at % 5, text: 'x'.repeat(at % 100) })))
  await items.setAutoIncrement(9000)
  const settings = await db.table('settings')
  await settings.put('everything', EVERYTHING)
  await settings.put(['compound', 7n, new Date(5)], 'text')
  await settings.put('table', { $table: { name: 'no' } })
  const blobs = await db.table('blobs', { value: 'binary' })
  await blobs.put(1, new Uint8Array(100_000).fill(9))
}

interface Stat {
  tables: { name: string; entries: number; problems: number; indexes: Stat['tables'] }[]
}

async function tool(on: TestDatabase, ...args: string[]): Promise<ToolRun> {
  return runTool(on.environment, args)
}

test('stat shows tables, indexes, log and checkpoint', async () => {
  await using on = await prepared()
  const { exit, stdout } = await tool(on, 'stat', '/database', '--json')
  expect(exit).toBe(0)
  expect(JSON.parse(stdout)).toMatchObject({
    directory: '/database',
    sealed: false,
    log: { since: { commits: 0 } },
    tables: [
      { name: 'blobs', entries: 1 },
      {
        name: 'items',
        entries: 2500,
        next: 9000,
        indexes: [
          { name: 'name', unique: true, entries: 2500 },
          { name: 'byGroup', on: ['group', 'id'] },
        ],
      },
      { name: 'settings', entries: 3 },
    ],
  })
  expect((await tool(on, 'stat', '/database')).stdout).toContain('2,500')
})

test('check ends with 0 if all is well, and with 1 if not, naming the place', async () => {
  await using on = await prepared()
  expect(await tool(on, 'check', '/database')).toMatchObject({ exit: 0 })
  damage(on, 20)
  const found = await tool(on, 'check', '/database', '--json')
  expect(found.exit).toBe(1)
  expect(JSON.parse(found.stdout)).toMatchObject({
    ok: false,
    problems: expect.arrayContaining([expect.stringMatching(/^page 18 at block 20 \(byte 327680\)/)]),
  })
})

test('stat does not pass over damage in silence: what it could not read it says it has not counted', async () => {
  await using on = await prepared()
  const before = JSON.parse((await tool(on, 'stat', '/database', '--json')).stdout) as Stat
  damage(on, 20)
  const { exit, stdout } = await tool(on, 'stat', '/database', '--json')
  expect(exit).toBe(1)
  const { tables } = JSON.parse(stdout) as Stat
  const all = ({ tables: found }: Stat): Stat['tables'] => found.flatMap((table) => [table, ...table.indexes])
  const hit = all({ tables }).filter(({ problems }) => problems > 0)
  expect(hit).toHaveLength(1)
  expect(hit[0]?.entries).toBeLessThan(all(before).find(({ name }) => name === hit[0]?.name)?.entries ?? 0)
  expect((await tool(on, 'stat', '/database')).stdout).toContain('Damage was met in 1 place, and is not counted: nextkey check tells more.')
})

test.each(['jsonl', 'msgpack'])('what is dumped as %s and loaded again is the same, counters and definitions included', async (format) => {
  await using on = await prepared()
  const dumped = await tool(on, 'dump', '/database', '--format', format, '--output', '/dump')
  expect(dumped).toMatchObject({ exit: 0, stderr: 'Dumped 3 tables, 2,504 rows.\n' })
  expect(await tool(on, 'load', '/second', '/dump')).toMatchObject({ exit: 0 })
  const first = await tool(on, 'dump', '/database')
  const second = await tool(on, 'dump', '/second')
  expect(second.stdout).toBe(first.stdout)
  await on.reopen({})
  const settings = await on.db.table('settings')
  const { openWith } = await import('../../src/database.js')
  const copy = await openWith(on.environment, '/second', { logSegmentSize: 256 * 1024 })
  expect((await copy.table('settings')).get('everything')).toEqual(settings.get('everything'))
  expect((await copy.table('settings')).get('everything')).toEqual(EVERYTHING)
  expect((await copy.table('blobs')).get(1)).toEqual(new Uint8Array(100_000).fill(9))
  expect(await (await copy.table('items')).insert({ name: 'next', group: 1 })).toBe(9000)
  await copy.close()
})

test('a dump that was cut off is gone on with, and one that is cut off is not taken for whole', async () => {
  await using on = await prepared()
  for (const format of ['jsonl', 'msgpack']) {
    const whole = `/whole.${format}`
    await tool(on, 'dump', '/database', '--format', format, '--output', whole)
    const size = read(on, whole).length
    for (const cut of [10, 100_123, 150_000, 200_321, size - 20, size - 1]) {
      write(on, '/part', read(on, whole).subarray(0, cut))
      const loaded = await tool(on, 'load', `/cut-${format}-${cut}`, '/part', '--format', format)
      expect(loaded.exit).toBe(cut === size - 1 && format === 'jsonl' ? 0 : 4)
      const resumed = await tool(on, 'dump', '/database', '--format', format, '--output', '/part', '--resume')
      expect(resumed.exit).toBe(0)
      expect(read(on, '/part').equals(read(on, whole))).toBe(true)
      on.disk.remove('/part')
    }
  }
})

test('plain lines of JSON are loaded into a table that is named', async () => {
  await using on = await prepared()
  const lines = '{"id":1,"name":"one","group":1}\n\n{"id":9999,"name":"new","group":2}'
  expect(await runTool(on.environment, ['load', '/database', '--table', 'items'], lines)).toMatchObject({ exit: 0 })
  const db = await on.reopen()
  expect((await db.table('items')).get(9999)).toEqual({ id: 9999, name: 'new', group: 2 })
  expect((await db.table('items')).get(1)).toEqual({ id: 1, name: 'one', group: 1 })
  await on.close()
  const bad = await runTool(on.environment, ['load', '/database', '--table', 'items'], '{"id":1,"name":"n5","group":1}\n')
  expect(bad.exit).toBe(5)
  expect(bad.stderr).toContain('ERR_DUPLICATE_KEY')
  expect(bad.stderr).toContain('go on with --skip 0')
  expect(await runTool(on.environment, ['load', '/database'], lines)).toMatchObject({ exit: 2 })
  expect(await runTool(on.environment, ['load', '/database', '--table', 'nothing'], lines)).toMatchObject({ exit: 5 })
})

test('backup, restore and compact', async () => {
  await using on = await prepared()
  expect(await tool(on, 'backup', '/database', '/copy')).toMatchObject({ exit: 0 })
  const again = await tool(on, 'backup', '/database', '/copy', '--json')
  expect(JSON.parse(again.stdout)).toMatchObject({ kind: 'incremental' })
  expect(await tool(on, 'restore', '/copy', '/database')).toMatchObject({ exit: 2, stderr: expect.stringContaining('move it away first') })
  expect(await tool(on, 'restore', '/copy', '/restored')).toMatchObject({ exit: 0 })
  expect((await tool(on, 'dump', '/restored')).stdout).toBe((await tool(on, 'dump', '/database')).stdout)
  expect(await tool(on, 'compact', '/database')).toMatchObject({ exit: 0 })
  expect(await tool(on, 'check', '/database')).toMatchObject({ exit: 0 })
})

test('log shows commits, structures, counters and checkpoints', async () => {
  await using on = await prepared()
  await on.reopen()
  await (await on.db.table('settings')).put('new', { field: 1 })
  const entries = (await tool(on, 'log', '/database', '--json')).stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { kind: string; changes?: unknown[] })
  expect(new Set(entries.map(({ kind }) => kind))).toEqual(new Set(['checkpoint', 'commit', 'counter', 'structure']))
  expect(entries.at(-1)).toMatchObject({ kind: 'commit', changes: [{ operation: 'put', key: ['new'] }] })
  expect((await tool(on, 'log', '/database', '--changes')).stdout).toContain('put    table')
})

test('--wait tells who is waited for, and goes on when that one has closed', async () => {
  await using on = await prepared()
  await on.reopen()
  const { clock } = on.environment as SimulatedEnvironment
  const waiting = tool(on, 'compact', '/database', '--wait', '5')
  await clock.advanceAsync(200)
  await on.close()
  await clock.advanceAsync(100)
  const { exit, stderr } = await waiting
  expect(exit).toBe(0)
  expect(stderr).toMatch(/^The database is open in this process since .*: waiting up to 5 s for it\.\n$/)
})

test('who writes needs the lock, who looks does not', async () => {
  await using on = await prepared()
  await on.reopen()
  for (const args of [
    ['dump', '/database'],
    ['compact', '/database'],
    ['backup', '/database', '/copy'],
    ['load', '/database'],
    ['check', '/database', '--recover'],
  ]) {
    expect(await tool(on, ...args)).toMatchObject({ exit: 3, stderr: expect.stringContaining('ERR_DIRECTORY_LOCKED') })
  }
  for (const args of [
    ['stat', '/database'],
    ['check', '/database'],
    ['log', '/database'],
    ['dump', '/database', '--read-only'],
  ]) {
    expect(await tool(on, ...args)).toMatchObject({ exit: 0 })
  }
})

test('a directory without a database is left as it is', async () => {
  await using on = await prepared()
  on.disk.makeDirectory('/empty')
  for (const command of ['stat', 'check', 'log', 'dump', 'compact', 'status', 'locks']) {
    expect(await tool(on, command, '/empty', '--json')).toMatchObject({ exit: 5, stdout: expect.stringContaining('ERR_NOT_FOUND') })
  }
  expect(on.disk.list('/empty')).toEqual([])
})

test('wrong arguments end with 2, help with 0', async () => {
  await using on = await prepared()
  expect(await tool(on, 'stat')).toMatchObject({ exit: 2, stderr: expect.stringContaining("missing required argument 'directory'") })
  expect(await tool(on, 'dumb', '/database')).toMatchObject({ exit: 2, stderr: expect.stringContaining('Did you mean dump?') })
  expect(await tool(on, 'dump', '/database', '--format', 'xml')).toMatchObject({ exit: 2 })
  expect(await tool(on, 'load', '/database', '--skip', '-1')).toMatchObject({ exit: 2 })
  expect(await tool(on, 'dump', '/database', '--resume')).toMatchObject({ exit: 2 })
  expect(await tool(on, '--help')).toMatchObject({ exit: 0, stdout: expect.stringContaining('Exit status:') })
  expect(await tool(on, 'help', 'backup')).toMatchObject({ exit: 0, stdout: expect.stringContaining('The copy is a database') })
})

function damage(on: TestDatabase, block: number): void {
  const file = on.disk.open('/database/nextkey.db')
  file.writeSync(Buffer.from('damage'), 0, 6, block * 16384 + 8000)
  file.close()
}

function read(on: TestDatabase, path: string): Buffer {
  const file = on.disk.open(path)
  const bytes = Buffer.alloc(file.size())
  file.readSync(bytes, 0, bytes.length, 0)
  file.close()
  return bytes
}

function write(on: TestDatabase, path: string, bytes: Buffer): void {
  const file = on.disk.open(path, { create: true })
  file.writeSync(bytes, 0, bytes.length, 0)
  file.close()
}
