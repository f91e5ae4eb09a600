import { assert } from '../base/assert.js'
import type { BlockNumber } from '../base/ids.js'

/**
 * Which blocks of the data file may be written (D3: nothing live is ever overwritten).
 *
 * A block is *live* while any map that could be read after a crash refers to it. Three kinds of maps exist: the durable one
 * (of the newest complete checkpoint), the frozen one (of the checkpoint under way), and the current one.
 *
 * Rules:
 * B1. A block given out since the last freeze, and not for the frozen map, is *young*: no frozen or durable map has it.
 *     Freed, it is reusable at once.
 * B2. Any other block freed before a freeze is in the durable map but not in the frozen one: reusable when that
 *     checkpoint is complete.
 * B3. Freed after a freeze, it may be in the frozen map as well: reusable when the *next* checkpoint is complete.
 *
 * B4. A block that an asynchronous write may still reach, though nobody waits for it (abandoned, see BackgroundRun; or the page cleaner's),
 *     is *held*: it is not reusable before that write has settled, whatever became of it meanwhile.
 *
 * B5. A *pin* keeps from reuse what the newest complete checkpoint refers to, block by block until each is unpinned: blocks that would
 *     be released meanwhile stay used. Used and not young is a superset of what that checkpoint's map has: whatever it has was in a
 *     frozen map, and nothing of it has been released.
 *
 * Proof of B3 from B1, B2: the freeze moves `freed` to `freedBeforeFreeze`; completing releases only the latter; so a
 * block freed during checkpoint n waits in `freed` for the freeze of n+1 and its completion. By then the durable map is
 * n+1's, which was frozen after the block had been freed.
 */
export class BlockAllocator {
  /** One bit per block: set = not available. */
  #used: Int32Array = new Int32Array(32)
  /** One bit per block: set = young (B1). */
  #young: Int32Array = new Int32Array(32)
  #total: number
  #usedCount: number
  #hand = 0
  /** No run of `RUN` free blocks was found in a whole pass, and nothing was released since. */
  #noLongRuns = false
  #freed: BlockNumber[] = []
  #freedBeforeFreeze: BlockNumber[] = []
  /** B4: held block → whether it was released meanwhile. A few batches at most. */
  readonly #held: Map<BlockNumber, boolean> = new Map()
  /** B5: one bit per pinned block, and per block that only its pin keeps. */
  #pinned: Int32Array | undefined
  #keptByPin: Int32Array = new Int32Array(0)
  #keptCount = 0

  /** Blocks that the running checkpoint, or the last one, has replaced by others: they come free when it is complete. */
  replacedByFrozen = 0
  /** Every hole is used, from the start of the file on, and any free tail is worth giving back (compact). */
  packing = false
  /** Length of the run that the last `allocate` returned. */
  runLength = 0

  /** `reserved` blocks at the start (the superblocks) are never given out. */
  constructor(reserved: number, total: number) {
    this.#total = 0
    this.#usedCount = 0
    this.#growTo(Math.max(total, reserved))
    for (let block = 0; block < reserved; block++) this.markUsed(block as BlockNumber)
  }

  /** Blocks in the file. */
  get total(): number {
    return this.#total
  }

  get usedCount(): number {
    return this.#usedCount
  }

  /** Blocks that wait for a checkpoint before they can be reused. */
  get waitingCount(): number {
    return this.#freed.length + this.#freedBeforeFreeze.length
  }

  /** At opening: the durable map refers to this block. */
  markUsed(block: BlockNumber): void {
    if (block >= this.#total) this.#growTo(block + 1)
    const bit = 1 << (block & 31)
    assert((this.#used[block >>> 5] & bit) === 0, `block ${block} is referred to twice`)
    this.#used[block >>> 5] |= bit
    this.#usedCount++
  }

  /** At opening: a checkpoint that may still be needed refers to the block, the durable map does not (0: no block). */
  reserveUntilCheckpoint(block: BlockNumber): void {
    if (block === 0 || block >= this.#total || this.isUsed(block)) return
    this.markUsed(block)
    this.#freed.push(block)
  }

  isUsed(block: BlockNumber): boolean {
    return block < this.#total && (this.#used[block >>> 5] & (1 << (block & 31))) !== 0
  }

  /**
   * Gives out a run of 1 … `want` neighbouring blocks: the first is returned, `runLength` says how many.
   * Long runs are worth having (16 KiB at random costs ten times what it does in sequence): the file rather grows than hands
   * out single holes, but only while the holes are few: they are used when they amount to a quarter of what is live.
   */
  allocate(want: number, young: boolean): BlockNumber {
    let start = this.packing ? this.#scan(this.#hand, this.#total, 1, want) : this.#findLongRun(want)
    if (start < 0) start = this.#extend(want)
    for (let block = start, end = start + this.runLength; block < end; block++) {
      const bit = 1 << (block & 31)
      this.#used[block >>> 5] |= bit
      if (young) this.#young[block >>> 5] |= bit
    }
    this.#usedCount += this.runLength
    this.#hand = start + this.runLength
    return start as BlockNumber
  }

  /** Packs from now on. Each time it is called the hand begins at the start of the file again. */
  pack(): void {
    this.packing = true
    this.#hand = 0
  }

  /** The current map no longer refers to the block. */
  free(block: BlockNumber): void {
    const bit = 1 << (block & 31)
    assert((this.#used[block >>> 5] & bit) !== 0, `block ${block} is freed but not in use`)
    if ((this.#young[block >>> 5] & bit) !== 0) this.#release(block)
    else this.#freed.push(block)
  }

  /** The frozen map replaced the block by another: B2 holds for it although the freeze has passed. */
  freeFromFrozen(block: BlockNumber): void {
    this.#freedBeforeFreeze.push(block)
    this.replacedByFrozen++
  }

  /** A checkpoint freezes the map: all young blocks are in it now. */
  freeze(): void {
    assert(this.#freedBeforeFreeze.length === 0, 'a freeze while the checkpoint before is not complete')
    this.#young.fill(0)
    this.replacedByFrozen = 0
    const empty = this.#freedBeforeFreeze
    this.#freedBeforeFreeze = this.#freed
    this.#freed = empty
    // Writing near the start lets the tail of a file with much free space empty itself.
    if (this.#total > this.#usedCount * 2) this.#hand = 0
  }

  /** The checkpoint is complete: what only its predecessor referred to becomes available. */
  completed(): void {
    for (const block of this.#freedBeforeFreeze) this.#release(block)
    this.#freedBeforeFreeze = []
    this.#noLongRuns = false
  }

  /** B4: keeps these blocks from reuse until `unhold`. */
  hold(blocks: readonly BlockNumber[]): void {
    for (const block of blocks) this.#held.set(block, false)
  }

  unhold(blocks: readonly BlockNumber[]): void {
    for (const block of blocks) {
      const released = this.#held.get(block) === true
      this.#held.delete(block)
      if (released) this.#release(block)
    }
  }

  /** B5. Raises an internal error if there is a pin. */
  pin(): void {
    assert(this.#pinned === undefined, 'one pin at a time')
    this.#pinned = this.#used.map((word, index) => word & ~this.#young[index])
    this.#keptByPin = new Int32Array(this.#pinned.length)
  }

  unpin(block: BlockNumber): void {
    const pinned = this.#pinned as Int32Array
    const bit = 1 << (block & 31)
    assert((pinned[block >>> 5] & bit) !== 0, `block ${block} is unpinned but not pinned`)
    pinned[block >>> 5] &= ~bit
    if ((this.#keptByPin[block >>> 5] & bit) !== 0) {
      this.#keptCount--
      this.#release(block)
    }
  }

  /** Ends the pin, whatever is still pinned. */
  unpinAll(): void {
    const kept = this.#keptByPin
    const pinned = this.#pinned as Int32Array
    this.#pinned = undefined
    for (let block = 0; block < kept.length * 32; block++) {
      const bit = 1 << (block & 31)
      if ((kept[block >>> 5] & pinned[block >>> 5] & bit) !== 0) this.#release(block as BlockNumber)
    }
    this.#keptByPin = new Int32Array(0)
    this.#keptCount = 0
  }

  /** Whether blocks are held for late writes (B4). */
  get holdsBack(): boolean {
    return this.#held.size > 0
  }

  /** Blocks that nothing but the pin keeps from reuse. */
  get keptByPin(): number {
    return this.#keptCount
  }

  /** Forgets free blocks at the end of the file; returns the new total, for truncation. */
  trimTail(): number {
    let end = this.#total
    while (end > 0 && (this.#used[(end - 1) >>> 5] & (1 << ((end - 1) & 31))) === 0) end--
    this.#total = end
    if (this.#hand > end) this.#hand = 0
    return end
  }

  /** Free blocks at the end of the file. */
  get freeTail(): number {
    let end = this.#total
    while (end > 0 && (this.#used[(end - 1) >>> 5] & (1 << ((end - 1) & 31))) === 0) end--
    return this.#total - end
  }

  #release(block: BlockNumber): void {
    if (this.#held.size > 0 && this.#held.has(block)) {
      this.#held.set(block, true)
      return
    }
    const bit = 1 << (block & 31)
    if (this.#pinned !== undefined && (this.#pinned[block >>> 5] & bit) !== 0) {
      this.#keptByPin[block >>> 5] |= bit
      this.#keptCount++
      return
    }
    this.#used[block >>> 5] &= ~bit
    this.#young[block >>> 5] &= ~bit
    this.#usedCount--
  }

  #findLongRun(want: number): number {
    const long = Math.min(want, RUN)
    const start = this.#noLongRuns ? -1 : this.#findRun(long, want)
    if (start >= 0) return start
    if (long === RUN) this.#noLongRuns = true
    const live = this.#usedCount - this.waitingCount
    return this.#total - this.#usedCount > (live >> 2) + SLACK ? this.#findRun(1, want) : -1
  }

  /** First run of at least `least` free blocks, from the hand round; takes up to `most` of it. */
  #findRun(least: number, most: number): number {
    const found = this.#scan(this.#hand, this.#total, least, most)
    return found >= 0 || this.#hand === 0 ? found : this.#scan(0, Math.min(this.#total, this.#hand + least), least, most)
  }

  #scan(from: number, to: number, least: number, most: number): number {
    const used = this.#used
    let run = 0
    for (let block = from; block < to; ) {
      const word = used[block >>> 5]
      if (word === -1 && (block & 31) === 0) {
        if (run >= least) return this.#took(block - run, run)
        run = 0
        block += 32
        continue
      }
      if ((word & (1 << (block & 31))) === 0) {
        run++
        if (run === most) return this.#took(block + 1 - run, run)
      } else {
        if (run >= least) return this.#took(block - run, run)
        run = 0
      }
      block++
    }
    return run >= least ? this.#took(Math.min(to, this.#total) - run, run) : -1
  }

  #took(start: number, length: number): number {
    this.runLength = length
    return start
  }

  #extend(want: number): number {
    const start = this.#total
    this.#growTo(start + want)
    this.runLength = want
    return start
  }

  #growTo(total: number): void {
    const words = (total + 31) >>> 5
    if (words > this.#used.length) {
      const capacity = Math.max(words, this.#used.length * 2)
      this.#used = grown(this.#used, capacity)
      this.#young = grown(this.#young, capacity)
    }
    this.#total = total
  }
}

function grown(array: Int32Array, length: number): Int32Array {
  const larger = new Int32Array(length)
  larger.set(array)
  return larger
}

/** Blocks in a run worth looking for: a quarter of a MiB. */
const RUN = 16
/** Blocks a small file may have free before single holes are used. */
const SLACK = 64
