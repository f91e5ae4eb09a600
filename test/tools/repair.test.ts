import { expect, test } from 'vitest'
import type { NextkeyError } from '../../src/base/errors.js'
import { type Database, openWith } from '../../src/database.js'
import { inspectFiles } from '../../src/inspect-files.js'
import type { OpenOptions } from '../../src/options.js'
import type { Environment } from '../../src/platform/environment.js'
import { type RepairReport, repair } from '../../src/repair.js'
import { openTest, type TestDatabase } from '../support/open-test-database.js'
import type { SimulatedDisk } from '../support/simulated-disk.js'
import { simulatedEnvironment } from '../support/simulated-environment.js'

interface Item {
  id: number
  group: string
  text: string
}

const TEXT = 'lorem ipsum dolor sit amet '.repeat(8)

async function fill(db: Database): Promise<void> {
  const items = await db.table<Item>('items', { key: 'id', indexes: { group: { on: 'group' } } })
  const bare = await db.table('bare')
  await db.transaction(async (tx) => {
    for (let id = 0; id < 1500; id++) {
      await tx.put(items, { id, group: `g${id % 7}`, text: `${TEXT}${id}` })
      await tx.put(bare, id, { id, text: TEXT })
    }
    await tx.put(bare, 'long', 'x'.repeat(100_000))
  })
  await db.purge()
  await db.checkpoint()
}

async function contents(on: TestDatabase, directory: string): Promise<{ items: Map<number, Item>; bare: Map<unknown, unknown> }> {
  const db = await openWith(on.environment, directory, { logSegmentSize: 256 * 1024 })
  try {
    expect((await db.check()).problems).toEqual([])
    return {
      items: new Map((await db.table<Item>('items')).entries<number>()),
      bare: new Map((await db.table('bare')).entries()),
    }
  } finally {
    await db.close()
  }
}

/** The blocks of all pages of a tree, by level. */
function blocksOf(db: Database, table: string, index?: string): { leaves: number[]; inner: number[] } {
  const { catalog, pager } = db.engine
  const store = catalog.tableByName(table)
  const tree = index === undefined ? store?.clustered : store?.index(index)?.tree
  const found = { leaves: [] as number[], inner: [] as number[] }
  for (let page = 1; page < pager.map.nextPage; page++) {
    const block = pager.map.blockOf(page as never)
    if (block === 0) continue
    pager.beginOperation()
    const base = pager.fetch(page as never)
    const type = pager.u8[base + 8]
    if (type > 2 || pager.u32[(base + 28) >> 2] !== tree?.tree) continue
    if (type === 1) found.leaves.push(block)
    else found.inner.push(block)
  }
  return found
}

function flip(disk: SimulatedDisk, path: string, position: number): void {
  const file = disk.open(path)
  const byte = Buffer.alloc(1)
  file.readSync(byte, 0, 1, position)
  byte[0] ^= 0x10
  file.writeSync(byte, 0, 1, position)
  file.close()
}

/** What opening raises; undefined if it opens. */
async function refusalOf(environment: Environment, directory: string, options: OpenOptions = {}): Promise<string | undefined> {
  try {
    await (await openWith(environment, directory, options)).close()
    return undefined
  } catch (error) {
    return (error as NextkeyError).code
  }
}

async function repaired(on: TestDatabase): Promise<RepairReport> {
  return repair(on.environment, '/database', '/repaired')
}

test('of a database that is not damaged everything is saved, the commits in its log included', async () => {
  await using on = await openTest()
  await fill(on.db)
  const items = await on.db.table<Item>('items')
  await items.update(3, { text: 'changed in the log' })
  await items.delete(4)
  await items.insert({ id: 9000, group: 'new', text: 'in the log' })
  const expected = { items: new Map(items.entries<number>()), bare: new Map((await on.db.table('bare')).entries()) }
  const open = await on.db.begin()
  await open.update(items, 5, { text: 'never committed' })
  await open.delete(items, 6)
  await on.db.checkpoint()
  await items.update(7, { text: 'after the checkpoint' })
  expected.items.set(7, items.get(7) as Item)
  const disk = on.disk.clone()
  await open.rollback()
  const report = await repair(simulatedEnvironment({ disk }), '/database', '/repaired')
  expect(report.losses).toMatchObject({ pages: [], tables: [], structure: [], log: [] })
  expect(report.commits).toBe(1)
  await using other = await openTest({ disk })
  await other.close()
  expect(await contents(other, '/repaired')).toEqual(expected)
})

test('a lost leaf costs its rows, and no others; an index names them', async () => {
  await using on = await openTest()
  await fill(on.db)
  const expected = {
    items: new Map((await on.db.table<Item>('items')).entries<number>()),
    bare: new Map((await on.db.table('bare')).entries()),
  }
  const { leaves } = blocksOf(on.db, 'items')
  const bare = blocksOf(on.db, 'bare')
  await on.close()
  flip(on.disk, '/database/nextkey.db', leaves[3] * 16384 + 7000)
  flip(on.disk, '/database/nextkey.db', bare.leaves[2] * 16384 + 7000)
  const { losses } = await repaired(on)
  const { items, bare: saved } = await contents(on, '/repaired')
  const lost = [...expected.items.keys()].filter((key) => !items.has(key))
  expect(lost.length).toBeGreaterThan(20)
  expect(lost.length).toBeLessThan(100)
  const lostItems = losses.tables.find(({ name }) => name === 'items')
  expect(lostItems?.rows.map(({ key }) => key).sort((a, b) => Number(a) - Number(b))).toEqual(lost)
  expect(lostItems).toMatchObject({ known: lost.length, ranges: [{ after: lost[0] - 1, before: (lost.at(-1) as number) + 1 }] })
  const lostBare = [...expected.bare.keys()].filter((key) => !saved.has(key)) as number[]
  expect(losses.tables.find(({ name }) => name === 'bare')).toMatchObject({
    known: 0,
    ranges: [{ after: lostBare[0] - 1, before: (lostBare.at(-1) as number) + 1 }],
  })
  expect(losses.pages.map(({ of }) => of).sort()).toEqual(["table 'bare'", "table 'items'"])
  for (const [key, row] of items) expect(row).toEqual(expected.items.get(key))
  for (const [key, row] of saved) expect(row).toEqual(expected.bare.get(key))
})

test('lost inner pages and index pages cost nothing', async () => {
  await using on = await openTest()
  await fill(on.db)
  const expected = {
    items: new Map((await on.db.table<Item>('items')).entries<number>()),
    bare: new Map((await on.db.table('bare')).entries()),
  }
  const blocks = [...blocksOf(on.db, 'items').inner, ...blocksOf(on.db, 'bare').inner, ...blocksOf(on.db, 'items', 'group').leaves]
  await on.close()
  expect(blocks.length).toBeGreaterThan(3)
  for (const block of blocks) flip(on.disk, '/database/nextkey.db', block * 16384 + 100)
  const { losses } = await repaired(on)
  expect(losses.tables).toEqual([])
  expect(losses.pages).toHaveLength(blocks.length)
  expect(await contents(on, '/repaired')).toEqual(expected)
})

test('rows that the log writes again are not lost; what comes after damage in the log is', async () => {
  await using on = await openTest()
  await fill(on.db)
  const items = await on.db.table<Item>('items')
  const { leaves } = blocksOf(on.db, 'items')
  for (let id = 0; id < 1500; id++) await items.put({ id, group: 'again', text: `again ${id}` })
  const disk = on.disk.clone()
  flip(disk, '/database/nextkey.db', leaves[3] * 16384 + 7000)
  const environment = simulatedEnvironment({ disk })
  const { losses } = await repair(environment, '/database', '/repaired')
  expect(losses.tables.flatMap(({ rows }) => rows)).toEqual([])
  const db = await openWith(environment, '/repaired', { logSegmentSize: 256 * 1024 })
  expect([...(await db.table<Item>('items')).values()].map(({ text }) => text)).toEqual(
    Array.from({ length: 1500 }, (_, id) => `again ${id}`),
  )
  await db.close()
})

test('a truncated table does not get its rows back from the log', async () => {
  await using on = await openTest()
  await fill(on.db)
  const items = await on.db.table<Item>('items')
  await items.put({ id: 77, group: 'log', text: 'before the truncation' })
  await items.truncate()
  await items.put({ id: 1, group: 'log', text: 'after' })
  await on.db.renameTable('bare', 'renamed')
  const disk = on.disk.clone()
  const environment = simulatedEnvironment({ disk })
  const { losses } = await repair(environment, '/database', '/repaired')
  expect(losses).toMatchObject({ pages: [], tables: [], log: [] })
  const db = await openWith(environment, '/repaired', { logSegmentSize: 256 * 1024 })
  expect(db.tables()).toEqual(['items', 'renamed'])
  expect([...(await db.table<Item>('items')).keys()]).toEqual([1])
  expect((await db.table('renamed')).count()).toBe(1501)
  await db.close()
})

test('a log that ends before the newest superblock says it was on disk is damaged, not short; the checkpoint itself is saved', async () => {
  await using on = await openTest()
  await fill(on.db)
  const items = await on.db.table<Item>('items')
  await items.insert({ id: 9000, group: 'new', text: 'acknowledged, and in a checkpoint' })
  await on.db.checkpoint()
  const disk = on.disk.clone()
  for (const name of disk.list('/database/wal')) {
    const file = disk.open(`/database/wal/${name}`)
    file.writeSync(Buffer.alloc(file.size() - 4096), 0, file.size() - 4096, 4096)
    file.close()
  }
  const environment = simulatedEnvironment({ disk })
  for (const readOnly of [false, true]) {
    expect(await refusalOf(environment, '/database', { readOnly, logSegmentSize: 256 * 1024 })).toBe('ERR_LOG_DAMAGED')
  }
  const { losses } = await repair(environment, '/database', '/repaired')
  expect(losses).toMatchObject({
    pages: [],
    tables: [],
    structure: [],
    log: [expect.stringContaining('was written when it was on disk through')],
  })
  const db = await openWith(environment, '/repaired', { logSegmentSize: 256 * 1024 })
  expect((await db.table<Item>('items')).get(9000)).toEqual(items.get(9000))
  await db.close()
})

test('a database that lost its only checkpoint is saved from its log', async () => {
  await using on = await openTest()
  const items = await on.db.table<Item>('items', { key: 'id' })
  for (let id = 1; id <= 20; id++) await items.insert({ id, group: 'g', text: TEXT })
  const disk = on.disk.clone()
  const { superblocks } = inspectFiles(on.environment, '/database')
  expect(superblocks.map(({ checkpoint }) => checkpoint)).toEqual([2, 1])
  // Every page that the checkpoint has, the root record among them.
  const size = disk.open('/database/nextkey.db', { readOnly: true }).size()
  for (let position = 2 * 16_384; position < size; position += 16_384) flip(disk, '/database/nextkey.db', position + 100)
  const environment = simulatedEnvironment({ disk })
  expect(await refusalOf(environment, '/database', { logSegmentSize: 256 * 1024 })).toBe('ERR_DAMAGED')
  const { losses } = await repair(environment, '/database', '/repaired')
  expect(losses.structure.join('\n')).toMatch(/checkpoint 2.* the state is that of checkpoint 1, and what the log has after it/s)
  const db = await openWith(environment, '/repaired', { logSegmentSize: 256 * 1024 })
  const saved = await db.table<Item>('items')
  expect(Array.from(saved.values())).toEqual(Array.from(items.values()))
  await db.close()
})
