import { assert, fail } from '../base/assert.js'
import { InvalidArgumentError } from '../base/errors.js'
import type { FrameBase, PageId } from '../base/ids.js'
import { Page } from './page-format.js'

/** What a frame holds. The order matters to nobody; `Dirty` is the one state in which a change needs no preparation. */
export const enum FrameState {
  /** No page. */
  Empty = 0,
  /** As the current map has it on disk. */
  Clean = 1,
  /** Changed since it was last written. */
  Dirty = 2,
  /** Dirty when the running checkpoint began, unchanged since, not written yet. */
  Frozen = 3,
  /** As Clean, but the checkpoint's write of it is under way: it must not leave memory, the disk may not have it yet. */
  Writing = 4,
  /** As Writing, by the page cleaner. */
  Cleaning = 5,
}

/**
 * The buffer pool's memory: frames of one page each in a single slab, and which page lies in which (D4).
 * No JavaScript object exists per frame. Bounded by `capacity`; memory is touched, lowest frames first, only as it is needed.
 *
 * Eviction is a clock. Each fetch stamps the frame with the number of the operation; a frame is cold if it was not
 * stamped since the hand came round last. Frames stamped by the operation under way are never taken (rule 1 of PageStore).
 */
export class FramePool {
  readonly capacity: number
  readonly u8: Uint8Array
  readonly u16: Uint16Array
  readonly i32: Int32Array
  readonly u32: Uint32Array
  readonly buffer: Buffer
  readonly state: Uint8Array
  /** Page in each frame. */
  readonly pageOf: Int32Array
  /** Moves whenever a frame's bytes change or it gets another page. Wraps; only equality counts. */
  readonly versions: Int32Array
  readonly stamps: Int32Array
  /** Frame of each page, −1 if it is not in memory. Grows with the page ids. */
  frameOf: Int32Array = new Int32Array(1024).fill(-1)
  operation = 1

  #untouched = 0
  readonly #empty: number[] = []
  #hand = 0
  #coldBefore = 0
  #lastRound = 0

  constructor(cacheSize: number) {
    const capacity = Math.floor(cacheSize / Page.Size)
    if (!(capacity >= MIN_FRAMES && capacity <= MAX_FRAMES)) {
      throw new InvalidArgumentError(
        `cacheSize must be between ${MIN_FRAMES * Page.Size} and ${MAX_FRAMES * Page.Size} bytes, not ${cacheSize}; beyond that the operating system's cache serves`,
        { cacheSize },
      )
    }
    const memory = new ArrayBuffer(capacity * Page.Size)
    this.capacity = capacity
    this.u8 = new Uint8Array(memory)
    this.u16 = new Uint16Array(memory)
    this.i32 = new Int32Array(memory)
    this.u32 = new Uint32Array(memory)
    this.buffer = Buffer.from(memory)
    this.state = new Uint8Array(capacity)
    this.pageOf = new Int32Array(capacity)
    this.versions = new Int32Array(capacity)
    this.stamps = new Int32Array(capacity)
  }

  /** Frames that hold a page. */
  get used(): number {
    return this.#untouched - this.#empty.length
  }

  beginOperation(): void {
    if (this.operation === 0x7fffffff) this.#restartStamps()
    this.operation++
  }

  /** A frame without a page, or −1 when the pool is full. */
  takeEmpty(): number {
    const frame = this.#empty.pop()
    if (frame !== undefined) return frame
    return this.#untouched < this.capacity ? this.#untouched++ : -1
  }

  assign(frame: number, page: PageId, state: FrameState): void {
    if (page >= this.frameOf.length) this.#ensurePages(page + 1)
    this.frameOf[page] = frame
    this.pageOf[frame] = page
    this.state[frame] = state
    this.stamps[frame] = this.operation
    this.versions[frame] = (this.versions[frame] + 1) | 0
  }

  /** Takes the page out of its frame, which is empty but reserved for the caller. */
  unassign(frame: number): void {
    assert(this.state[frame] !== FrameState.Empty, 'an empty frame has no page to lose')
    this.frameOf[this.pageOf[frame]] = -1
    this.pageOf[frame] = 0
    this.state[frame] = FrameState.Empty
    this.versions[frame] = (this.versions[frame] + 1) | 0
  }

  giveBack(frame: number): void {
    this.#empty.push(frame)
  }

  /** The next cold frame from the clock hand; it may be dirty. */
  nextCold(): number {
    for (let looked = 0; looked < this.capacity * 3; looked++) {
      const frame = this.#hand
      if (++this.#hand === this.capacity) {
        this.#hand = 0
        this.#coldBefore = this.#lastRound
        this.#lastRound = this.operation
      }
      const state = this.state[frame]
      if (state === FrameState.Empty || state >= FrameState.Writing) continue
      // After a whole round without a cold frame anything goes but the operation's own.
      const limit = looked >= this.capacity ? this.operation : this.#coldBefore
      if (this.stamps[frame] < limit) return frame
    }
    return fail(`one operation uses more than the ${this.capacity} frames of the buffer pool`)
  }

  /** Whether a frame near the hand is worth writing out with others: dirty, and not used since the hand came by. */
  isColdDirty(frame: number): boolean {
    const state = this.state[frame]
    return (state === FrameState.Dirty || state === FrameState.Frozen) && this.stamps[frame] < Math.max(this.#coldBefore, 1)
  }

  get hand(): number {
    return this.#hand
  }

  base(frame: number): FrameBase {
    return (frame << Page.Shift) as FrameBase
  }

  #ensurePages(pages: number): void {
    const larger = new Int32Array(Math.max(pages, this.frameOf.length * 2)).fill(-1)
    larger.set(this.frameOf)
    this.frameOf = larger
  }

  #restartStamps(): void {
    this.stamps.fill(0)
    this.operation = 1
    this.#coldBefore = 0
    this.#lastRound = 0
  }
}

/** Enough for the pages of one operation, whatever it is. */
export const MIN_FRAMES = 128
/** Byte offsets in the slab stay small integers. */
export const MAX_FRAMES: number = 2 ** 31 / Page.Size - 1
