import { expect, test } from 'vitest'
import type { NextkeyError } from '../../src/base/errors.js'
import type { Database } from '../../src/database.js'
import { openWith } from '../../src/database.js'
import { openChecked, openTest, type TestDatabase } from '../support/open-test-database.js'
import { simulatedEnvironment } from '../support/simulated-environment.js'

interface Item {
  id: number
  group: string
  text: string
}

const ITEMS = { key: 'id', indexes: { group: { on: 'group' } } } as const

function item(id: number, text: string): Item {
  return { id, group: `g${id % 7}`, text: text.repeat(1 + (id % 5)) }
}

async function fill(db: Database, from: number, to: number, text: string): Promise<void> {
  const items = await db.table<Item>('items', ITEMS)
  await db.transaction(async (tx) => {
    for (let id = from; id < to; id++) await tx.put(items, item(id, text))
  })
}

/** Everything in the database at `directory` of the same machine. */
async function contents(on: TestDatabase, directory: string): Promise<Item[]> {
  const db = await openChecked(on.environment, directory, { cacheSize: 4 * 2 ** 20, logSegmentSize: 256 * 1024 })
  try {
    return [...(await db.table<Item>('items')).values()]
  } finally {
    await db.close()
  }
}

/** Rewrites a part of the rows, and completes a checkpoint, whenever it is called. */
async function writeMeanwhile(db: Database): Promise<{ step(): void; readonly steps: number }> {
  const items = await db.table<Item>('items')
  const busy = {
    steps: 0,
    step: () => {
      const first = (busy.steps++ * 1500) % 7000
      db.transactionSync((tx) => {
        for (let id = first; id < first + 1000; id++) tx.put(items, item(id, `written meanwhile ${busy.steps} `))
      })
      db.engine.checkpoints.runSync()
    },
  }
  return busy
}

const LONG = 'lorem ipsum dolor sit amet, consectetur adipisici elit '.repeat(5)

async function rowsOf(db: Database): Promise<Item[]> {
  return [...(await db.table<Item>('items')).values()]
}

test('a copy opens, and equals the database at the time of the backup', async () => {
  await using on = await openTest()
  await fill(on.db, 0, 2000, 'lorem ipsum dolor sit amet ')
  const expected = await rowsOf(on.db)
  const report = await on.db.backup('/copy')
  expect(report).toMatchObject({ directory: '/copy', kind: 'full', since: undefined })
  expect(report.written).toBe(report.pages)
  await fill(on.db, 0, 500, 'changed ')
  expect(await contents(on, '/copy')).toEqual(expected)
})

test('a transaction that is open during the backup is not in the copy', async () => {
  await using on = await openTest()
  await fill(on.db, 0, 100, 'before ')
  const expected = await rowsOf(on.db)
  const items = await on.db.table<Item>('items')
  const tx = await on.db.begin()
  await tx.put(items, item(5, 'uncommitted '))
  await tx.delete(items, 6)
  await on.db.backup('/copy')
  await tx.commit()
  expect(await contents(on, '/copy')).toEqual(expected)
})

test('writers go on during the backup, and none of what they do is in the copy', async () => {
  await using on = await openTest({ cacheSize: 2 * 2 ** 20 })
  await fill(on.db, 0, 8000, LONG)
  const expected = await rowsOf(on.db)
  const busy = await writeMeanwhile(on.db)
  const report = await on.db.backup('/copy', { onProgress: busy.step })
  expect(busy.steps).toBeGreaterThan(5)
  expect(on.db.status().checkpoint.number).toBeGreaterThan(report.checkpoint + 5)
  expect(await contents(on, '/copy')).toEqual(expected)
  expect(on.db.engine.pager.allocator.keptByPin).toBe(0)
})

test('a second backup to the same directory writes only what changed', async () => {
  await using on = await openTest()
  await fill(on.db, 0, 20_000, 'lorem ipsum dolor sit amet ')
  const full = await on.db.backup('/copy')
  for (let round = 0; round < 4; round++) {
    await fill(on.db, round * 100, round * 100 + 100, `round ${round} `)
    const expected = await rowsOf(on.db)
    const report = await on.db.backup('/copy')
    expect(report).toMatchObject({ kind: 'incremental' })
    expect(report.written).toBeLessThan(full.pages / 3)
    const restored = simulatedEnvironment({ disk: on.disk.clone() })
    const db = await openWith(restored, '/copy', { readOnly: true })
    expect(await rowsOf(db)).toEqual(expected)
    expect((await db.check()).problems).toEqual([])
    await db.close()
    // Across openings, too.
    await on.reopen()
  }
})

test('the copy of a copy that was restored and went its own way is refused', async () => {
  await using on = await openTest()
  await fill(on.db, 0, 100, 'one ')
  await on.db.backup('/copy')
  await on.db.backup('/other')
  const db = await openChecked(on.environment, '/copy', { logSegmentSize: 256 * 1024 })
  await fill(db, 0, 10, 'elsewhere ')
  await expect(on.db.backup('/copy')).rejects.toMatchObject({ code: 'ERR_DIRECTORY_LOCKED' })
  await db.checkpoint()
  await db.backup('/third')
  await db.close()
  await expect(on.db.backup('/copy')).rejects.toMatchObject({ code: 'ERR_BACKUP_MISMATCH' })
  for (let n = 0; n < 3; n++) await on.db.checkpoint()
  // The same database id, and a checkpoint number that this one has passed.
  await expect(on.db.backup('/third')).rejects.toMatchObject({
    code: 'ERR_BACKUP_MISMATCH',
    message: expect.stringContaining('does not belong to the past of this database'),
  })
  expect(await on.db.backup('/other')).toMatchObject({ kind: 'incremental' })
})

test('another database, or a directory of other things, is left alone', async () => {
  await using on = await openTest()
  await using other = await openTest({ disk: on.disk.clone(), seed: 7 })
  await fill(on.db, 0, 10, 'one ')
  await on.db.backup('/copy')
  void other
  const stranger = await openChecked(on.environment, '/stranger', { logSegmentSize: 256 * 1024 })
  await fill(stranger, 0, 10, 'two ')
  await expect(stranger.backup('/copy')).rejects.toMatchObject({ code: 'ERR_BACKUP_MISMATCH' })
  await stranger.close()
  on.disk.makeDirectory('/photos')
  on.disk.open('/photos/cat.jpg', { create: true }).close()
  await expect(on.db.backup('/photos')).rejects.toMatchObject({ code: 'ERR_INVALID_ARGUMENT' })
  expect(on.disk.list('/photos')).toEqual(['cat.jpg'])
})

test('an aborted backup leaves no copy, and pins nothing', async () => {
  await using on = await openTest()
  await fill(on.db, 0, 20_000, 'lorem ipsum dolor sit amet ')
  const controller = new AbortController()
  const backup = on.db.backup('/copy', {
    signal: controller.signal,
    onProgress: ({ done }) => {
      if (done > 0) controller.abort()
    },
  })
  await expect(backup).rejects.toMatchObject({ code: 'ERR_ABORTED' })
  expect(on.disk.list('/copy')).not.toContain('nextkey.db')
  expect(await on.db.backup('/copy')).toMatchObject({ kind: 'full' })
})

test('a copy whose log was removed after it was opened is damaged, not older', async () => {
  await using on = await openTest()
  await fill(on.db, 0, 100, 'one ')
  await on.db.backup('/copy')
  const db = await openChecked(on.environment, '/copy', { logSegmentSize: 256 * 1024 })
  await fill(db, 0, 10, 'elsewhere ')
  await db.close()
  for (const name of on.disk.list('/copy/wal')) on.disk.remove(`/copy/wal/${name}`)
  const refusal = await openWith(on.environment, '/copy', { logSegmentSize: 256 * 1024 }).then(
    (opened) => opened.close(),
    (error: NextkeyError) => error.code,
  )
  expect(refusal).toBe('ERR_LOG_DAMAGED')
})

test('the backup keeps no more from reuse than it has still to copy', async () => {
  await using on = await openTest({ cacheSize: 2 * 2 ** 20 })
  await fill(on.db, 0, 8000, LONG)
  const { allocator } = on.db.engine.pager
  const busy = await writeMeanwhile(on.db)
  let most = 0
  await on.db.backup('/copy', {
    onProgress: ({ done, total }) => {
      busy.step()
      most = Math.max(most, allocator.keptByPin)
      expect(allocator.keptByPin).toBeLessThanOrEqual(total - done + 2)
    },
  })
  expect(most).toBeGreaterThan(50)
})
