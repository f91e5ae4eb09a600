import { assert } from '../base/assert.js'
import { crc32 } from '../base/crc32.js'
import type { File } from '../platform/file-system.js'
import type { BlockAllocator } from './block-allocator.js'
import type { FramePool } from './frame-pool.js'
import { Page } from './page-format.js'

/**
 * Up to `capacity` pages on their way to the disk: copied from their frames into a staging buffer, stamped with their birth
 * interval, checksummed, and given blocks in runs as long as can be had. The frames may change as soon as `stage` returns.
 */
export class WriteBatch {
  readonly capacity: number
  count = 0
  /** Frames in the batch, by ascending page once staged. */
  readonly frames: Int32Array
  readonly blocks: Int32Array
  readonly checksums: Int32Array
  /** Versions of the frames when they were staged. */
  readonly versions: Int32Array
  readonly staging: Buffer

  constructor(capacity: number) {
    this.capacity = capacity
    this.frames = new Int32Array(capacity)
    this.blocks = new Int32Array(capacity)
    this.checksums = new Int32Array(capacity)
    this.versions = new Int32Array(capacity)
    this.staging = Buffer.allocUnsafeSlow(capacity * Page.Size)
  }

  get isFull(): boolean {
    return this.count === this.capacity
  }

  reset(): void {
    this.count = 0
  }

  add(frame: number): void {
    assert(this.count < this.capacity, 'the write batch is full')
    this.frames[this.count++] = frame
  }

  stage(pool: FramePool, allocator: BlockAllocator, interval: number, young: boolean): void {
    const { pageOf } = pool
    // Neighbouring ids tend to be neighbours in a tree: lay them side by side.
    if (this.count > 1) this.frames.subarray(0, this.count).sort((a, b) => pageOf[a] - pageOf[b])
    for (let at = 0; at < this.count; at++) {
      const from = this.frames[at] << Page.Shift
      const to = at << Page.Shift
      assert(pool.u32[(from + Page.Id) >> 2] === pageOf[this.frames[at]], 'a frame does not hold the page it is said to hold')
      pool.buffer.copy(this.staging, to, from, from + Page.Size)
      this.versions[at] = pool.versions[this.frames[at]]
      this.staging.writeUInt32LE(interval >>> 0, to + Page.Interval)
    }
    this.sealPages(this.count, allocator, young)
  }

  /** Gives the first `count` pages of the staging buffer blocks and checksums. */
  sealPages(count: number, allocator: BlockAllocator, young: boolean): void {
    this.count = count
    for (let at = 0; at < count; ) {
      const first = allocator.allocate(count - at, young)
      for (let block = first as number, end = first + allocator.runLength; block < end; block++, at++) {
        this.blocks[at] = block
        this.checksums[at] = crc32(this.staging, at << Page.Shift, (at + 1) << Page.Shift, 0)
      }
    }
  }

  writeSync(file: File): void {
    for (let at = 0; at < this.count; ) {
      const run = this.#runAt(at)
      file.writeSync(this.staging, at << Page.Shift, run << Page.Shift, this.blocks[at] * Page.Size)
      at += run
    }
  }

  /** Stops between two runs once `isAbandoned` says that the batch was written synchronously meanwhile. */
  async write(file: File, isAbandoned: () => boolean): Promise<void> {
    for (let at = 0; at < this.count && !isAbandoned(); ) {
      const run = this.#runAt(at)
      await file.write(this.staging, at << Page.Shift, run << Page.Shift, this.blocks[at] * Page.Size)
      at += run
    }
  }

  /** The same with all runs under way at a time: one turn of the event loop ends them. Settles when all are over. */
  async writeAtOnce(file: File): Promise<void> {
    const writes: Promise<void>[] = []
    for (let at = 0; at < this.count; ) {
      const run = this.#runAt(at)
      writes.push(file.write(this.staging, at << Page.Shift, run << Page.Shift, this.blocks[at] * Page.Size))
      at += run
    }
    for (const outcome of await Promise.allSettled(writes)) if (outcome.status === 'rejected') throw outcome.reason
  }

  /** Pages from `at` on whose blocks follow one another. */
  #runAt(at: number): number {
    let run = 1
    while (at + run < this.count && this.blocks[at + run] === this.blocks[at] + run) run++
    return run
  }
}
