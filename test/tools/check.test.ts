import { expect, test } from 'vitest'
import type { Database } from '../../src/database.js'
import { openTest } from '../support/open-test-database.js'

interface Item {
  id: number
  group: string
  text: string
}

const ITEMS = { key: 'id', indexes: { group: { on: 'group' } } } as const

async function fill(db: Database, count: number, text = 'lorem ipsum dolor sit amet '): Promise<void> {
  const items = await db.table<Item>('items', ITEMS)
  await db.transaction(async (tx) => {
    for (let id = 0; id < count; id++) await tx.put(items, { id, group: `g${id % 7}`, text: text.repeat(5) })
  })
}

test('a check counts rows, entries, pages and blocks', async () => {
  await using on = await openTest()
  await fill(on.db, 3000)
  await on.db.purge()
  await on.db.checkpoint()
  const report = await on.db.check()
  expect(report.problems).toEqual([])
  expect(report.tables).toMatchObject([{ name: 'items', rows: 3000, indexes: [{ name: 'group', entries: 3000 }] }])
  expect(report.tables[0].fill).toBeGreaterThan(0.5)
  expect(report.blocks).toBe(report.pages?.total)
})

test('a block that is damaged on disk is found even if its page is in memory', async () => {
  await using on = await openTest()
  await fill(on.db, 3000)
  await on.db.checkpoint()
  const file = on.disk.open('/database/nextkey.db')
  const { map } = on.db.engine.pager
  const page = Array.from({ length: map.nextPage }, (_, id) => id).find((id) => id > 20 && map.blockOf(id as never) !== 0) as number
  const place = map.blockOf(page as never) * 16384 + 5000
  const byte = Buffer.alloc(1)
  file.readSync(byte, 0, 1, place)
  byte[0] ^= 4
  file.writeSync(byte, 0, 1, place)
  const { problems } = await on.db.check()
  expect(problems).toHaveLength(1)
  expect(problems[0]).toContain(`page ${page} at block `)
  byte[0] ^= 4
  file.writeSync(byte, 0, 1, place)
  file.close()
})

test('writers may go on during a check: nothing false is reported, and page owners are not counted', async () => {
  // Time stands still, so slices end by the work done in them; and a write, which awaits no disk, fits between two of them.
  await using on = await openTest({ cacheSize: 2 * 2 ** 20, durability: 'lazy' })
  await fill(on.db, 70_000, 'lorem ')
  const items = await on.db.table<Item>('items')
  const waiting = await on.db.begin()
  await waiting.update(items, 1, { text: 'held' })
  const blocked = items.update(1, { group: 'waits' })
  let over = false
  const check = on.db.check().finally(() => {
    over = true
  })
  let writes = 0
  for (; !over; writes++) {
    await items.put({ id: 1000 + ((writes * 10_037) % 70_000), group: `h${writes % 5}`, text: 'changed '.repeat(writes % 300) })
    if (writes % 3 === 0) await items.delete(1000 + ((writes * 10_031) % 70_000))
    await on.environment.clock.macrotask()
  }
  const report = await check
  await waiting.commit()
  await blocked
  expect(report.problems).toEqual([])
  expect(report.pages).toBeUndefined()
  expect(writes).toBeGreaterThan(3)
})

test('a check tells how far it is, and ends when it is told to', async () => {
  await using on = await openTest({ on: 'real' })
  await fill(on.db, 10_000)
  const seen: number[] = []
  await on.db.check({ onProgress: ({ done, total }) => seen.push(done / total) })
  expect(seen.at(-1)).toBe(1)
  expect(seen).toEqual([...seen].sort((a, b) => a - b))
  const controller = new AbortController()
  const ended = on.db.check({ signal: controller.signal, onProgress: () => controller.abort() })
  await expect(ended).rejects.toMatchObject({ code: 'ERR_ABORTED' })
})
