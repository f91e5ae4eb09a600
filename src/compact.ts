import { checkLongWork, type LongWorkOptions, mustGoOn } from './long-work.js'
import { Page } from './storage/page-format.js'
import type { Engine } from './txn/engine.js'

export interface CompactReport {
  /** Bytes of the data file before and after. */
  before: number
  after: number
}

/**
 * Gives free space back to the file system: each checkpoint moves pages from the end of the file into free blocks, until it shrinks no more.
 * Whatever ends it early, the database is whole: it is a series of checkpoints.
 */
export async function compact(engine: Engine, options: LongWorkOptions): Promise<CompactReport> {
  checkLongWork(options, 'compact()')
  const { allocator } = engine.pager
  const before = allocator.total
  // Blocks that the moved pages leave come free one checkpoint later: a round without gain is not the end.
  for (let total = Number.POSITIVE_INFINITY, round = 0; allocator.total < total || round < LEAST_ROUNDS; round++) {
    total = allocator.total
    engine.checkpoints.moveAllOfTail = true
    await engine.checkpoints.nextUnlessFull()
    options.onProgress?.({ done: before - allocator.total, total: Math.max(before - engine.pager.map.pageCount, 1) })
    mustGoOn(options.signal)
  }
  return { before: before * Page.Size, after: allocator.total * Page.Size }
}

const LEAST_ROUNDS = 3
