import { describe, expect, test } from 'vitest'
import { NextkeyError } from '../../src/base/errors.js'
import type { BlockNumber, PageId } from '../../src/base/ids.js'
import { type Database, openWith } from '../../src/database.js'
import type { OpenOptions } from '../../src/options.js'
import { Page, PageType } from '../../src/storage/page-format.js'
import type { Table } from '../../src/table.js'
import { openTest, type TestDatabase } from '../support/open-test-database.js'
import { Prng } from '../support/seeded.js'
import { simulatedEnvironment } from '../support/simulated-environment.js'

/** A reader without the lock, beside the owner of the directory: one checkpoint after another, each whole, never wrong data. */

interface Account {
  id: number
  owner: string
  balance: number
  note?: string
}

const SHARED: OpenOptions = { readOnly: true, unsafeShared: true, cacheSize: 2 ** 21 }

function openReader(owner: TestDatabase): Promise<Database> {
  return openWith(owner.environment, owner.directory, SHARED)
}

async function accounts(db: Database): Promise<Table<Account>> {
  return db.table<Account>('accounts', { key: 'id', indexes: { owner: { on: 'owner' } } })
}

function codeOf(work: () => unknown): unknown {
  try {
    work()
    return 'no error'
  } catch (error) {
    return error instanceof NextkeyError ? error.code : error
  }
}

async function rejectionOf(work: Promise<unknown>): Promise<unknown> {
  return work.then(
    () => 'no error',
    (error: unknown) => (error instanceof NextkeyError ? error.code : error),
  )
}

/** An owner with so many rows that the tree has inner pages, and long ones, and an old version that a transaction holds. */
async function fill(owner: TestDatabase, rows = 3000): Promise<Table<Account>> {
  const table = await accounts(owner.db)
  await table.insertMany(Array.from({ length: rows }, (_, id) => ({ id, owner: `o${id % 7}`, balance: 100, note: 'x'.repeat(100) })))
  await table.put({ id: rows, owner: 'long', balance: 100, note: 'y'.repeat(60_000) })
  return table
}

describe('what a reader beside the owner sees', () => {
  test('is the newest checkpoint: later commits show after refresh(), and only when a checkpoint has them', async () => {
    await using owner = await openTest()
    const mine = await accounts(owner.db)
    await mine.put({ id: 1, owner: 'a', balance: 1 })
    await owner.db.checkpoint()
    await mine.put({ id: 1, owner: 'b', balance: 2 })
    await using reader = await openReader(owner)
    const its = await accounts(reader)
    expect(its.get(1)).toEqual({ id: 1, owner: 'a', balance: 1 })
    expect(await reader.refresh()).toBe(false)
    await owner.db.checkpoint()
    expect(its.get(1)?.balance).toBe(1)
    expect(await reader.refresh()).toBe(true)
    expect(its.get(1)).toEqual({ id: 1, owner: 'b', balance: 2 })
    expect(its.index('owner').get('a')).toBeUndefined()
    expect(its.index('owner').get('b')).toEqual({ id: 1, owner: 'b', balance: 2 })
    expect(await reader.refresh()).toBe(false)
  })

  test('is nothing of transactions that were open at the checkpoint, in rows and indexes', async () => {
    await using owner = await openTest()
    const mine = await accounts(owner.db)
    await mine.insertMany([1, 2, 3].map((id) => ({ id, owner: 'a', balance: 100 })))
    const tx = await owner.db.begin()
    await tx.put(mine, { id: 1, owner: 'z', balance: 0 })
    await tx.delete(mine, 2)
    await tx.insert(mine, { id: 4, owner: 'a', balance: 5 })
    await owner.db.checkpoint()
    await using reader = await openReader(owner)
    const its = await accounts(reader)
    const before = [1, 2, 3].map((id) => ({ id, owner: 'a', balance: 100 }))
    expect([...its.values()]).toEqual(before)
    expect([...its.index('owner').values({ eq: 'a' })]).toEqual(before)
    expect(its.getMany([1, 4])).toEqual([before[0], undefined])
    using view = reader.snapshot()
    expect(view.count(its)).toBe(3)
    await tx.commit()
    await owner.db.checkpoint()
    expect(its.count()).toBe(3)
    await reader.refresh()
    expect([...its.keys()]).toEqual([1, 3, 4])
    expect([...its.index('owner').primaryKeys({ eq: 'z' })]).toEqual([1])
  })

  test('follows the schema: tables made, indexed, renamed, truncated and dropped; handles go on while their table does', async () => {
    await using owner = await openTest()
    const mine = await accounts(owner.db)
    const doomed = await owner.db.table('doomed', { key: 'id' })
    await doomed.put({ id: 1 })
    await mine.put({ id: 1, owner: 'a', balance: 7 })
    await owner.db.checkpoint()
    await using reader = await openReader(owner)
    const its = await accounts(reader)
    const gone = await reader.table('doomed')
    expect(reader.tables()).toEqual(['accounts', 'doomed'])
    await owner.db.dropTable('doomed')
    await mine.createIndex('balance', { on: 'balance' })
    await owner.db.renameTable('accounts', 'people')
    const made = await owner.db.table<{ id: number; shape: string }>('made', { key: 'id' })
    await made.put({ id: 1, shape: 'new' })
    await mine.put({ id: 2, owner: 'b', balance: 8, note: 'a structure of its own' })
    await owner.db.checkpoint()
    await reader.refresh()
    expect(reader.tables()).toEqual(['made', 'people'])
    expect(its.name).toBe('people')
    expect(its.index('balance').get(8)?.note).toBe('a structure of its own')
    expect(codeOf(() => gone.get(1))).toBe('ERR_NO_SUCH_TABLE')
    expect((await reader.table('made')).get(1)).toEqual({ id: 1, shape: 'new' })
    await mine.truncate()
    await mine.put({ id: 9, owner: 'c', balance: 1 })
    await owner.db.checkpoint()
    await reader.refresh()
    expect([...its.keys()]).toEqual([9])
  })

  test('passes db.check(), before and after it has moved on', async () => {
    await using owner = await openTest()
    const mine = await fill(owner, 500)
    const tx = await owner.db.begin()
    await tx.put(mine, { id: 1, owner: 'z', balance: 0 })
    await owner.db.checkpoint()
    await using reader = await openReader(owner)
    expect(await reader.check()).toMatchObject({ problems: [], tables: [{ name: 'accounts', rows: 501 }] })
    await mine.put({ id: 2, owner: 'z', balance: 0 })
    await owner.db.checkpoint()
    await reader.refresh()
    expect((await reader.check()).problems).toEqual([])
    await tx.rollback()
  })

  test('cannot be changed or locked, and nothing is written, no lock taken, whatever it does', async () => {
    await using owner = await openTest()
    const mine = await fill(owner, 200)
    await owner.db.checkpoint()
    await mine.put({ id: 1, owner: 'later', balance: 0 })
    await owner.db.checkpoint()
    const { openFiles } = simulatedLocks(owner)
    const { operations } = owner.disk
    const reader = await openReader(owner)
    const its = await accounts(reader)
    expect([...its.values()]).toHaveLength(201)
    expect(await rejectionOf(its.put({ id: 1, owner: 'me', balance: 1 }))).toBe('ERR_READ_ONLY')
    expect(await rejectionOf(reader.table('another', { key: 'id' }))).toBe('ERR_READ_ONLY')
    await reader.transaction(async (tx) => {
      expect(await rejectionOf(Promise.resolve(tx.get(its, 1, { lock: 'update' })))).toBe('ERR_READ_ONLY')
    })
    await reader.transaction(async (tx) => expect((await tx.get(its, 1))?.owner).toBe('later'), { isolation: 'serializable' })
    await reader.refresh()
    await reader.close()
    expect(owner.disk.operations).toBe(operations)
    expect(simulatedLocks(owner).openFiles).toBe(openFiles)
  })
})

describe('pages that the owner has used again', () => {
  test.each([
    ['leaf', PageType.Leaf],
    ['inner', PageType.Inner],
    ['overflow', PageType.Overflow],
    ['extent', PageType.Extent],
    ['undo', PageType.Undo],
  ])('are noticed: a snapshot that meets a reused %s page is gone, whatever lies there now', async (_name, type) => {
    for (const what of ['zeros', 'torn', 'another page', 'younger'] as const) {
      await using owner = await openTest()
      const mine = await fill(owner)
      const tx = await owner.db.begin()
      await tx.put(mine, { id: 5, owner: 'z', balance: 0 })
      await owner.db.checkpoint()
      await using reader = await openReader(owner)
      const its = await accounts(reader)
      await mine.put({ id: 1, owner: 'later', balance: 1 })
      await owner.db.checkpoint()
      const victims = pagesOf(owner, reader).filter((page) => page.type === type && !page.cached)
      expect(victims.length).toBeGreaterThan(0)
      using view = reader.snapshot()
      const kept = victims.map(({ block }) => overwrite(owner, block, what))
      const reads = [
        (): unknown => view.values(its).toArray(),
        (): unknown => view.values(its, { index: 'owner' }).toArray(),
        (): unknown => view.count(its),
        (): unknown => view.get(its, 5),
      ]
      expect(reads.map(codeOf)).toContain('ERR_SNAPSHOT_GONE')
      for (const read of reads) expect(['ERR_SNAPSHOT_GONE', 'no error']).toContain(codeOf(read))
      for (const restore of kept) restore()
      await tx.rollback()
    }
  })

  test('make a single get move on to the newest checkpoint, and end every view', async () => {
    await using owner = await openTest()
    const mine = await fill(owner)
    await owner.db.checkpoint()
    await using reader = await openReader(owner)
    const its = await accounts(reader)
    using view = reader.snapshot()
    const loop = its.values()
    expect(loop.next().value?.id).toBe(0)
    await useBlocksAgain(owner, mine)
    expect(codeOf(() => view.values(its).toArray())).toBe('ERR_SNAPSHOT_GONE')
    expect(its.get(2980)?.balance).toBe(12)
    expect(its.getMany([0, 1500, 2980]).map((row) => row?.balance)).toEqual([12, 12, 12])
    expect(its.index('owner').get('again')?.balance).toBe(12)
    expect(codeOf(() => view.get(its, 1))).toBe('ERR_SNAPSHOT_GONE')
    expect(codeOf(() => [...loop])).toBe('ERR_SNAPSHOT_GONE')
  })

  test('end a loop with an error that is worth trying again: the next loop has moved on by itself', async () => {
    await using owner = await openTest()
    const mine = await fill(owner)
    await owner.db.checkpoint()
    await using reader = await openReader(owner)
    const its = await accounts(reader)
    await useBlocksAgain(owner, mine)
    const error = await Promise.resolve()
      .then(() => its.values().toArray())
      .catch((reason: unknown) => reason)
    expect(error).toMatchObject({ code: 'ERR_SNAPSHOT_GONE', retryable: true })
    const changed = its.index('owner').values({ eq: 'again' }).toArray()
    expect(changed).toHaveLength(150)
    expect(new Set(changed.map(({ balance }) => balance))).toEqual(new Set([12]))
    const sum = await reader.transaction(async (tx) => tx.count(its), { retries: 3 })
    expect(sum).toBe(3001)
  })

  test('are no problems that db.check() finds: it says that the checkpoint is gone', async () => {
    await using owner = await openTest()
    const mine = await fill(owner)
    await owner.db.checkpoint()
    await using reader = await openReader(owner)
    await useBlocksAgain(owner, mine)
    const outcome = await reader.check().catch((error: unknown) => error)
    expect(outcome).toMatchObject({ code: 'ERR_SNAPSHOT_GONE', retryable: true })
    expect((await reader.check()).problems).toEqual([])
  })

  test('are no damage that db.backup() finds, either', async () => {
    await using owner = await openTest()
    const mine = await fill(owner)
    await owner.db.checkpoint()
    await using reader = await openReader(owner)
    await useBlocksAgain(owner, mine)
    const outcome = await reader.backup('/copy').catch((error: unknown) => error)
    expect(outcome).toMatchObject({ code: 'ERR_SNAPSHOT_GONE', retryable: true })
    expect(owner.disk.list('/copy')).not.toContain('nextkey.db')
    await reader.backup('/copy')
    await using copy = await openWith(owner.environment, '/copy', { readOnly: true })
    expect((await accounts(copy)).get(2980)?.balance).toBe(12)
  })

  test('are told from damage: without a newer checkpoint a page that does not match is damaged', async () => {
    await using owner = await openTest()
    await fill(owner)
    await owner.db.checkpoint()
    await using reader = await openReader(owner)
    const its = await accounts(reader)
    const victims = pagesOf(owner, reader).filter(({ type, cached }) => type === PageType.Leaf && !cached)
    const kept = victims.map(({ block }) => overwrite(owner, block, 'zeros'))
    expect(codeOf(() => its.values().toArray())).toBe('ERR_DAMAGED')
    for (const restore of kept) restore()
    expect(its.values().toArray()).toHaveLength(3001)
  })

  test('a superblock that rots under a reader is damage, not the state before it', async () => {
    await using owner = await openTest()
    await fill(owner)
    await owner.db.checkpoint()
    await using reader = await openReader(owner)
    await (await accounts(owner.db)).update(0, { balance: 7 })
    await owner.db.checkpoint()
    const restore = overwrite(owner, (owner.db.status().checkpoint.number & 1) as BlockNumber, 'zeros')
    expect(await rejectionOf(reader.refresh())).toBe('ERR_DAMAGED')
    expect(await rejectionOf(openReader(owner))).toBe('ERR_DAMAGED')
    restore()
    await reader.refresh()
    expect((await accounts(reader)).get(0)?.balance).toBe(7)
  })

  test('a superblock that rots while the one before it is an older image of itself is damage, too: the log has its number', async () => {
    await using owner = await openTest()
    await fill(owner)
    await owner.db.checkpoint()
    const { number } = owner.db.status().checkpoint
    // The image from before it got its witness.
    const withoutWitness = overwrite(owner, (number & 1) as BlockNumber, 'same')
    await (await accounts(owner.db)).update(0, { balance: 7 })
    await owner.db.checkpoint()
    withoutWitness()
    const restore = overwrite(owner, ((number + 1) & 1) as BlockNumber, 'zeros')
    expect(await rejectionOf(openReader(owner))).toBe('ERR_DAMAGED')
    restore()
    await using reader = await openReader(owner)
    expect((await accounts(reader)).get(0)?.balance).toBe(7)
  })

  test('never show wrong data: sums over a bank that the owner never stops moving money in', async () => {
    let gone = 0
    let right = 0
    for (let seed = 1; seed <= 3; seed++) {
      await using owner = await openTest({ seed, cacheSize: 2 ** 21 })
      const mine = await accounts(owner.db)
      // More pages than the reader has frames.
      const count = 2000
      await mine.insertMany(Array.from({ length: count }, (_, id) => ({ id, owner: `o${id % 50}`, balance: 100, note: 'n'.repeat(1500) })))
      await owner.db.checkpoint()
      await using reader = await openReader(owner)
      const its = await accounts(reader)
      const random = new Prng(seed)
      const open = await owner.db.begin()
      await open.put(mine, { id: 0, owner: 'open', balance: 1_000_000 })
      const move = async (): Promise<void> => {
        const from = 1 + random.int(count - 1)
        const to = 1 + random.int(count - 1)
        if (from === to) return
        await owner.db.transaction(async (tx) => {
          await tx.update(mine, from, (row) => ({ ...row, balance: row.balance - 1, owner: `o${random.int(50)}` }))
          await tx.update(mine, to, (row) => ({ ...row, balance: row.balance + 1 }))
        })
      }
      const look = (read: () => Account[]): void => {
        try {
          const rows = read()
          expect(rows).toHaveLength(count)
          expect(rows.reduce((sum, { balance }) => sum + balance, 0)).toBe(count * 100)
          right++
        } catch (error) {
          if ((error as NextkeyError).code !== 'ERR_SNAPSHOT_GONE') throw error
          gone++
        }
      }
      for (let round = 0; round < 40; round++) {
        for (let moves = random.int(60); moves >= 0; moves--) await move()
        if (random.int(3) > 0) await owner.db.checkpoint()
        if (random.int(4) === 0) await reader.refresh()
        look(() => its.values().toArray())
        look(() => its.index('owner').values().toArray())
        expect(its.get(0)?.balance).toBe(100)
      }
      await open.rollback()
    }
    expect(gone).toBeGreaterThan(10)
    expect(right).toBeGreaterThan(10)
  })
})

describe('opening a reader beside an owner', () => {
  test('takes a database: not a missing directory, an empty one, a strange file, or one that is being made', async () => {
    const environment = simulatedEnvironment()
    const { fileSystem } = environment
    const opening = (): Promise<unknown> => rejectionOf(openWith(environment, '/d', SHARED))
    expect(await opening()).toBe('ERR_NOT_FOUND')
    fileSystem.makeDirectory('/d')
    expect(await opening()).toBe('ERR_NOT_FOUND')
    let seen: Promise<unknown> | undefined
    // From the moment at which the data file has its name to the first checkpoint.
    fileSystem.onOperation = () => {
      if (seen === undefined && fileSystem.exists('/d/nextkey.db')) seen = opening()
    }
    const db = await openWith(environment, '/d', { cacheSize: 2 ** 21, logSegmentSize: 65536 })
    expect(await seen).toBe('ERR_NOT_FOUND')
    await db.close()
    const file = fileSystem.open('/d/nextkey.db')
    file.writeSync(Buffer.alloc(2 * Page.Size), 0, 2 * Page.Size, 0)
    file.close()
    expect(await opening()).toBe('ERR_NOT_A_DATABASE')
  })

  test('works while the directory is recovered: it shows the newest checkpoint there is', async () => {
    await using owner = await openTest()
    const mine = await accounts(owner.db)
    await mine.put({ id: 1, owner: 'a', balance: 1 })
    await owner.db.checkpoint()
    await mine.put({ id: 1, owner: 'a', balance: 2 })
    const seen: unknown[] = []
    const readings: Promise<void>[] = []
    const look = async (): Promise<void> => {
      await using reader = await openReader(owner)
      seen.push((await accounts(reader)).get(1)?.balance)
    }
    await owner.crash('kill', { onRecovery: () => void readings.push(look()) })
    await Promise.all(readings)
    expect(readings.length).toBeGreaterThan(0)
    for (const balance of seen) expect([1, 2]).toContain(balance)
    await look()
    expect(seen.at(-1)).toBe(2)
  })

  test('is what refresh() is for, and nothing else', async () => {
    await using owner = await openTest()
    expect(await rejectionOf(owner.db.refresh())).toBe('ERR_INVALID_ARGUMENT')
  })
})

/** Changes every leaf again and again, so that what earlier checkpoints have is written over. */
async function useBlocksAgain(owner: TestDatabase, table: Table<Account>): Promise<void> {
  for (let round = 1; round <= 12; round++) {
    await owner.db.transaction(async (tx) => {
      for (let id = 0; id < 3000; id += 20) await tx.update(table, id, { owner: round % 2 === 0 ? 'again' : 'o1', balance: round })
    })
    await owner.db.checkpoint()
  }
}

interface PlacedPage {
  page: PageId
  block: BlockNumber
  type: PageType
  cached: boolean
}

/** Every page of the checkpoint that the reader shows. */
function pagesOf(owner: TestDatabase, reader: Database): PlacedPage[] {
  const { map, pool } = reader.engine.pager
  const file = owner.disk.open(`${owner.directory}/nextkey.db`, { readOnly: true })
  const pages: PlacedPage[] = []
  const bytes = Buffer.alloc(Page.Size)
  for (let page = 1 as PageId; page < map.nextPage; page++) {
    const block = map.blockOf(page)
    if (block === 0) continue
    file.readSync(bytes, 0, Page.Size, block * Page.Size)
    pages.push({ page, block, type: bytes[Page.Type] as PageType, cached: (pool.frameOf[page] ?? -1) >= 0 })
  }
  file.close()
  return pages
}

/** Writes over a block as an owner might; returns what takes it back. */
function overwrite(owner: TestDatabase, block: BlockNumber, how: 'same' | 'zeros' | 'torn' | 'another page' | 'younger'): () => void {
  const file = owner.disk.open(`${owner.directory}/nextkey.db`)
  const before = Buffer.alloc(Page.Size)
  file.readSync(before, 0, Page.Size, block * Page.Size)
  const bytes = Buffer.from(before)
  if (how === 'zeros') bytes.fill(0)
  if (how === 'torn') bytes.fill(1, Page.Size - 512)
  if (how === 'another page') bytes.writeUInt32LE(bytes.readUInt32LE(0) + 1, 0)
  if (how === 'younger') bytes.writeUInt32LE(bytes.readUInt32LE(4) + 9, 4)
  file.writeSync(bytes, 0, Page.Size, block * Page.Size)
  return () => {
    file.writeSync(before, 0, Page.Size, block * Page.Size)
    file.close()
  }
}

function simulatedLocks(owner: TestDatabase): { openFiles: number } {
  return { openFiles: (owner.environment.directoryLocker as unknown as { openFiles: number }).openFiles }
}
