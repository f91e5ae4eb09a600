import { describe, expect, it } from 'vitest'
import { crc32 } from '../../src/base/crc32.js'
import type { NextkeyError } from '../../src/base/errors.js'
import type { PageId, TreeId } from '../../src/base/ids.js'
import { formatDataFile, loadDataFile, readSuperblocks } from '../../src/storage/data-file.js'
import { FrameState, MIN_FRAMES } from '../../src/storage/frame-pool.js'
import { Page, PageType } from '../../src/storage/page-format.js'
import type { Pager } from '../../src/storage/pager.js'
import { SimulatedDisk } from '../support/simulated-disk.js'

const PATH = '/db/nextkey.db'

/** A pager whose asynchronous writes end when the test says so. */
function newPager(seed = 1): { disk: SimulatedDisk; pager: Pager } {
  const disk = new SimulatedDisk({ seed, completion: 'manual' })
  disk.makeDirectory('/db')
  const file = disk.open(PATH, { create: true })
  formatDataFile(file, { databaseId: new Uint8Array(16), ownerToken: new Uint8Array(16) })
  const [superblock] = readSuperblocks(file)
  return { disk, pager: loadDataFile(file, superblock, undefined, MIN_FRAMES * Page.Size, { ownerToken: new Uint8Array(16) }).pager }
}

function newPage(pager: Pager): PageId {
  pager.beginOperation()
  return pager.allocate(PageType.Leaf, 1 as TreeId)
}

function change(pager: Pager, page: PageId, stamp: number): void {
  pager.beginOperation()
  const base = pager.fetch(page)
  pager.willChange(base)
  pager.u32.fill(stamp, (base + Page.HeaderSize) >> 2, (base + Page.Size) >> 2)
}

/** Hands one dirty page to the cleaner. */
function clean(pager: Pager, page: PageId): void {
  const batch = pager.cleaner.take()
  if (batch === undefined) throw new Error('the cleaner is busy')
  const frame = pager.pool.frameOf[page]
  batch.add(frame)
  batch.stage(pager.pool, pager.allocator, pager.interval, true)
  pager.map.set(page, batch.blocks[0] as never, batch.checksums[0])
  pager.pool.state[frame] = FrameState.Cleaning
  pager.cleaner.begin(batch)
}

function stateOf(pager: Pager, page: PageId): FrameState {
  return pager.pool.state[pager.pool.frameOf[page]]
}

function isOnDisk(pager: Pager, page: PageId): boolean {
  const bytes = Buffer.alloc(Page.Size)
  pager.file.readSync(bytes, 0, Page.Size, pager.map.blockOf(page) * Page.Size)
  return (crc32(bytes, 0, Page.Size, 0) | 0) === pager.map.checksumOf(page)
}

async function completeOne(disk: SimulatedDisk): Promise<void> {
  disk.completeOne()
  await new Promise((resolve) => setImmediate(resolve))
}

describe('the page cleaner', () => {
  it('makes a page clean when the newest write of it is over, in whatever order the writes end', async () => {
    let olderFirst = 0
    for (let seed = 1; seed <= 20; seed++) {
      const { disk, pager } = newPager(seed)
      const page = newPage(pager)
      change(pager, page, 1)
      clean(pager, page)
      change(pager, page, 2)
      expect(stateOf(pager, page)).toBe(FrameState.Dirty)
      clean(pager, page)
      await completeOne(disk)
      if (!isOnDisk(pager, page)) olderFirst++
      expect(stateOf(pager, page)).toBe(isOnDisk(pager, page) ? FrameState.Clean : FrameState.Cleaning)
      await completeOne(disk)
      expect([stateOf(pager, page), isOnDisk(pager, page)]).toEqual([FrameState.Clean, true])
    }
    expect([olderFirst > 0, olderFirst < 20]).toEqual([true, true])
  })

  it('leaves a page dirty that changed while it was written', async () => {
    const { disk, pager } = newPager()
    const page = newPage(pager)
    clean(pager, page)
    change(pager, page, 1)
    await completeOne(disk)
    expect(stateOf(pager, page)).toBe(FrameState.Dirty)
  })

  it('keeps the block of a page that is gone until the write to it is over', async () => {
    const { disk, pager } = newPager()
    const page = newPage(pager)
    clean(pager, page)
    const block = pager.map.blockOf(page)
    expect(pager.isArriving(block)).toBe(true)
    pager.beginOperation()
    pager.free(page)
    expect(pager.allocator.isUsed(block)).toBe(true)
    await completeOne(disk)
    expect([pager.allocator.isUsed(block), pager.isArriving(block)]).toEqual([false, false])
  })

  it('takes no more while three batches are under way, and says when it does again', async () => {
    const { disk, pager } = newPager()
    for (let batch = 0; batch < 3; batch++) {
      expect(pager.cleaner.behind).toBeUndefined()
      clean(pager, newPage(pager))
    }
    expect(pager.cleaner.take()).toBeUndefined()
    const { behind } = pager.cleaner
    expect(behind).toBeInstanceOf(Promise)
    while (pager.cleaner.behind !== undefined) await completeOne(disk)
    expect(pager.cleaner.take()).toBeDefined()
    while (disk.pending > 0) await completeOne(disk)
    await behind
    await pager.cleaner.settled()
  })

  it('writes all that is under way again for who cannot wait; how those writes end is then of no concern', async () => {
    const { disk, pager } = newPager()
    const page = newPage(pager)
    change(pager, page, 3)
    clean(pager, page)
    disk.failAt({ on: 'write', nth: 2 })
    pager.cleaner.landSync()
    expect([stateOf(pager, page), isOnDisk(pager, page), disk.pending]).toEqual([FrameState.Clean, true, 1])
    expect(pager.allocator.holdsBack).toBe(true)
    await completeOne(disk)
    expect([pager.failure, pager.allocator.holdsBack]).toEqual([undefined, false])
  })

  it('closes the pager to changes when a write fails, and tells the checkpoint that waits for it', async () => {
    const { disk, pager } = newPager()
    clean(pager, newPage(pager))
    disk.failAt({ on: 'write' })
    const landed = pager.cleaner.landed().catch((error: NextkeyError) => error.code)
    await completeOne(disk)
    expect(await landed).toBe('ERR_POISONED')
    expect(() => newPage(pager)).toThrow(expect.objectContaining({ code: 'ERR_POISONED' }))
    expect(() => pager.cleaner.landSync()).toThrow(expect.objectContaining({ code: 'ERR_POISONED' }))
  })
})
