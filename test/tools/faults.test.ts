import { describe, expect, test } from 'vitest'
import { openWith } from '../../src/database.js'
import { runTool, type ToolRun } from '../support/run-tool.js'
import { Prng } from '../support/seeded.js'
import { type CrashMode, SimulatedDisk } from '../support/simulated-disk.js'
import { simulatedEnvironment } from '../support/simulated-environment.js'

/**
 * Every command, with every single I/O call of it failing, and the machine dying at every operation: the database that it works on is
 * afterwards what it was, and so is an older copy; what was being made is whole or not there; and who ran the command is told.
 */
interface Subject {
  name: string
  args: string[]
  /** Said when it fails. */
  says: string
  /** What the command was to make, as a database: it must be whole if it is there. */
  makes?: string
  /** Databases other than the source that must stay good. */
  keeps?: string
}

const SUBJECTS: Subject[] = [
  { name: 'stat', args: ['stat', '/database'], says: 'ERR_' },
  { name: 'check', args: ['check', '/database'], says: 'ERR_' },
  { name: 'log', args: ['log', '/database'], says: 'ERR_' },
  { name: 'dump', args: ['dump', '/database', '-o', '/dumped'], says: 'The database is as it was.' },
  { name: 'compact', args: ['compact', '/database'], says: 'The database is whole' },
  { name: 'backup', args: ['backup', '/database', '/new'], says: 'The database is as it was', makes: '/new' },
  { name: 'backup, again', args: ['backup', '/database', '/copy'], says: 'so is an older copy', keeps: '/copy' },
  { name: 'restore', args: ['restore', '/copy', '/new'], says: 'The copy is as it was', makes: '/new', keeps: '/copy' },
  { name: 'load', args: ['load', '/database', '/rows'], says: 'rows that are there are replaced' },
  { name: 'repair', args: ['repair', '/database', '/new'], says: 'The damaged database is as it was' },
]

/** A database of 300 rows, closed; a copy of its 200 first rows; a dump that writes rows that are there. */
async function prepare(): Promise<SimulatedDisk> {
  const disk = new SimulatedDisk({ seed: 1 })
  const db = await openWith(simulatedEnvironment({ disk }), '/database', OPTIONS)
  const items = await db.table('items', { key: 'id', indexes: { group: { on: 'group' } } })
  await items.insertMany(rows(0, 200))
  await db.backup('/copy')
  await items.insertMany(rows(200, 300))
  await db.close()
  const { stdout } = await runTool(simulatedEnvironment({ disk: disk.clone() }), ['dump', '/database'])
  const file = disk.open('/rows', { create: true })
  file.writeSync(Buffer.from(stdout), 0, Buffer.byteLength(stdout), 0)
  file.syncSync()
  file.close()
  disk.syncDirectorySync('/')
  return disk
}

function rows(from: number, to: number): { id: number; group: number; text: string }[] {
  return Array.from({ length: to - from }, (_, at) => ({ id: from + at, group: at % 5, text: 'x'.repeat(((from + at) * 37) % 500) }))
}

/** How many rows the database has; raises if it is not whole, or they are not the rows that were written. */
async function rowsIn(disk: SimulatedDisk, directory: string): Promise<number> {
  const db = await openWith(simulatedEnvironment({ disk }), directory, OPTIONS)
  try {
    expect((await db.check()).problems).toEqual([])
    const found = [...(await db.table('items')).values()]
    expect(found).toEqual(rows(0, found.length).map((row, at) => (at < 200 ? row : { ...row, group: (at - 200) % 5 })))
    return found.length
  } finally {
    await db.close()
  }
}

async function judge(subject: Subject, left: SimulatedDisk, run: ToolRun | undefined): Promise<void> {
  const { makes, keeps, says } = subject
  if (run !== undefined && run.exit === 1) expect(run.stdout).toMatch(/problem|Lost/)
  else if (run !== undefined && run.exit !== 0) {
    expect(run.stderr).toMatch(/ERR_(IO|DISK_FULL|POISONED|COMMIT_UNKNOWN|DAMAGED|LOG_DAMAGED)/)
    expect(run.stderr).toContain(says)
  }
  expect(await rowsIn(left.clone(), '/database')).toBe(300)
  if (keeps !== undefined) expect([200, 300]).toContain(await rowsIn(left.clone(), keeps))
  if (makes !== undefined && left.exists(`${makes}/nextkey.db`)) expect([200, 300]).toContain(await rowsIn(left.clone(), makes))
  if (makes !== undefined && run?.exit === 0) expect(left.exists(`${makes}/nextkey.db`)).toBe(true)
}

describe.each(SUBJECTS)('$name', (subject) => {
  test.each(['EIO', 'ENOSPC'])('with every I/O call failing with %s', { timeout: TIMEOUT_MS }, async (code) => {
    const prepared = await prepare()
    const calls = await count(prepared, subject, 'calls')
    let failed = 0
    for (let nth = 1; nth <= calls; nth += Math.max(1, Math.floor(calls / MOST_CASES))) {
      const disk = prepared.clone()
      disk.failAt({ on: 'any', nth, code, times: nth % 2 === 0 ? 1 : Number.POSITIVE_INFINITY })
      const run = await runTool(simulatedEnvironment({ disk }), subject.args)
      disk.clearFaults()
      if (run.exit !== 0) failed++
      await judge(subject, disk.clone(), run)
      await judge(subject, disk.crash(new Prng(nth), 'none'), undefined)
    }
    expect(failed).toBeGreaterThan(3)
  })

  test('with the machine dying at every operation', { timeout: TIMEOUT_MS }, async () => {
    const prepared = await prepare()
    const operations = await count(prepared, subject, 'operations')
    // The last operations switch from old to new: they are looked at from many sides.
    const every = Math.max(1, Math.floor(operations / MOST_CASES))
    for (let nth = 1; nth <= operations; nth++) {
      const late = nth > operations - LATE
      if (nth % every !== 0 && !late) continue
      const disk = prepared.clone()
      disk.crashAfter(nth)
      await runTool(simulatedEnvironment({ disk }), subject.args).catch(() => {})
      const random = new Prng(nth)
      for (const mode of late ? LATE_MODES : [random.pick(MODES)]) await judge(subject, disk.crash(random, mode), undefined)
    }
  })
})

async function count(prepared: SimulatedDisk, subject: Subject, what: 'calls' | 'operations'): Promise<number> {
  const disk = prepared.clone()
  const before = disk[what]
  const run = await runTool(simulatedEnvironment({ disk }), subject.args)
  expect(run.exit).toBe(0)
  await judge(subject, disk, run)
  return disk[what] - before
}

const OPTIONS = { cacheSize: 2 * 2 ** 20, logSegmentSize: 65536 }
/** Of each kind and command; more calls than that are sampled evenly. */
const MOST_CASES = Number(process.env['NEXTKEY_FAULT_CASES'] ?? 8)
const MODES: CrashMode[] = ['none', 'all', 'torn', 'random']
const LATE_MODES: CrashMode[] = [...MODES, 'random', 'random', 'random', 'random']
/** Operations at the end of a command. */
const LATE = 6
const TIMEOUT_MS = 600_000
