import { describe, expect, it } from 'vitest'
import { NextkeyError } from '../../src/base/errors.js'
import { type Database, openWith } from '../../src/database.js'
import type { OpenOptions } from '../../src/options.js'
import { GuardedFileSystem } from '../../src/platform/guarded-file-system.js'
import { Page } from '../../src/storage/page-format.js'
import { abandon } from '../support/open-test-database.js'
import { SimulatedDisk } from '../support/simulated-disk.js'
import { simulatedEnvironment } from '../support/simulated-environment.js'

const DIRECTORY = '/database'
const DATA = `${DIRECTORY}/nextkey.db`

/** On a machine of its own, as far as locks go: as if somebody had removed the lock's file. */
function open(disk: SimulatedDisk, seed: number, options: OpenOptions = {}): Promise<Database> {
  return openWith(simulatedEnvironment({ disk, seed }), DIRECTORY, { cacheSize: 2 ** 21, logSegmentSize: 65_536, ...options })
}

async function codeOf(work: () => Promise<unknown>): Promise<string | undefined> {
  try {
    await work()
  } catch (error) {
    if (error instanceof NextkeyError) return error.code
    throw error
  }
  return undefined
}

async function twoOwners(): Promise<{ disk: SimulatedDisk; first: Database; second: Database }> {
  const disk = new SimulatedDisk({ seed: 1 })
  const first = await open(disk, 1)
  await (await first.table<{ id: number }>('t', { key: 'id' })).put({ id: 1 })
  return { disk, first, second: await open(disk, 2) }
}

describe('an opening that another one came after', () => {
  it('is told so by whatever would write, and by a commit that its fate is not known', async () => {
    const { first, second } = await twoOwners()
    const table = await first.table<{ id: number }>('t')
    expect(await codeOf(() => table.put({ id: 2 }))).toBe('ERR_COMMIT_UNKNOWN')
    for (const work of [() => table.put({ id: 3 }), () => first.checkpoint(), () => first.table('u', { key: 'id' }), () => first.compact()])
      expect(await codeOf(work)).toBe('ERR_ANOTHER_WRITER')
    expect(() => first.transactionSync((tx) => tx.put(table, { id: 3 }))).toThrow(/opened for writing in this process since 2026/)
    expect(table.get(1)).toEqual({ id: 1 })
    const other = await second.table<{ id: number }>('t')
    await other.put({ id: 4 })
    expect(Array.from(other.keys())).toEqual([1, 4])
    await first.close()
    await second.close()
  })

  it('closes without a word if it has nothing to write, and says what is the matter if it has', async () => {
    const { disk, first, second } = await twoOwners()
    expect(await codeOf(() => first.close())).toBe('ERR_ANOTHER_WRITER')
    await second.close()
    const third = await open(disk, 3)
    const fourth = await open(disk, 4)
    await third.close()
    await fourth.close()
  })

  it('never shows what the other one has written: the right rows, or ERR_ANOTHER_WRITER', async () => {
    const disk = new SimulatedDisk({ seed: 1 })
    const first = await open(disk, 1)
    const rows = await first.table<{ id: number; pad: string }>('t', { key: 'id' })
    const pad = 'p'.repeat(3_000)
    await rows.insertMany(Array.from({ length: 2_000 }, (_, id) => ({ id, pad })))
    await first.checkpoint()
    const second = await open(disk, 2)
    const others = await second.table<{ id: number; pad: string }>('t')
    for (let round = 0; round < 3; round++) {
      await second.transaction(async (tx) => {
        for (let id = 0; id < 2_000; id++) await tx.put(others, { id, pad: `${round}`.repeat(3_000) })
      })
      await second.checkpoint()
    }
    let refused = 0
    for (let id = 0; id < 2_000; id++) {
      const code = await codeOf(async () => expect(rows.get(id)).toEqual({ id, pad }))
      if (code === 'ERR_ANOTHER_WRITER') refused++
      else expect(code).toBeUndefined()
    }
    expect(refused).toBeGreaterThan(1_000)
    await first.close()
    await second.close()
  })

  it('may be what a backup was copied over', async () => {
    const { disk, first, second } = await twoOwners()
    await first.close().catch(() => {})
    const file = disk.open(DATA)
    const old = Buffer.alloc(Page.Size)
    file.writeSync(old, 0, Page.Size, 0)
    file.close()
    const table = await second.table<{ id: number }>('t')
    const error = await table.put({ id: 2 }).catch((reason: unknown) => reason)
    expect(error).toMatchObject({ code: 'ERR_COMMIT_UNKNOWN', cause: { code: 'ERR_ANOTHER_WRITER' } })
    expect(String(error)).toContain('opened for writing elsewhere; who has it is not known')
    await abandon(second, disk)
  })
})

describe('what an opening claims', () => {
  it('is a database: another file of that name is left as it is', async () => {
    const disk = new SimulatedDisk({ seed: 1 })
    disk.makeDirectory(DIRECTORY)
    const file = disk.open(DATA, { create: true })
    const content = Buffer.alloc(3 * Page.Size, 'precious')
    file.writeSync(content, 0, content.length, 0)
    expect(await codeOf(() => open(disk, 1))).toBe('ERR_NOT_A_DATABASE')
    const after = Buffer.alloc(content.length)
    file.readSync(after, 0, after.length, 0)
    expect(after.equals(content)).toBe(true)
  })

  it('is not what a reader shows', async () => {
    const { first, second } = await twoOwners()
    const reader = await open(first.engine.environment.fileSystem as SimulatedDisk, 3, { readOnly: true })
    await reader.close()
    await (await second.table<{ id: number }>('t')).put({ id: 2 })
    await first.close().catch(() => {})
    await second.close()
  })
})

describe('a guarded file system', () => {
  it('looks before everything that changes something, and changes nothing if it may not', async () => {
    const disk = new SimulatedDisk({ seed: 1 })
    disk.makeDirectory('/d')
    const there = disk.open('/d/there', { create: true })
    there.writeSync(Buffer.from('abc'), 0, 3, 0)
    let may = true
    const guarded = new GuardedFileSystem(disk, () => {
      if (!may) throw new Error('no')
    })
    const file = guarded.open('/d/there')
    const one = Buffer.from('x')
    const changes: Record<string, () => unknown> = {
      write: () => file.write(one, 0, 1, 0),
      writeSync: () => file.writeSync(one, 0, 1, 1),
      truncate: () => file.truncate(2),
      create: () => guarded.open('/d/new', { create: true }),
      makeDirectory: () => guarded.makeDirectory('/e'),
      rename: () => guarded.rename('/d/new', '/d/renamed'),
      remove: () => guarded.remove('/d/renamed'),
    }
    may = false
    const before = disk.operations
    for (const [name, change] of Object.entries(changes)) await expect((async () => change())(), name).rejects.toThrow('no')
    expect(disk.operations).toBe(before)
    may = true
    for (const change of Object.values(changes)) await change()
    expect(disk.list('/d')).toEqual(['there'])
    const bytes = Buffer.alloc(3)
    expect(file.readSync(bytes, 0, 3, 0)).toBe(2)
    expect(bytes.toString('latin1', 0, 2)).toBe('xx')
  })
})
