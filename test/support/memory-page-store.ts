import { crc32 } from 'node:zlib'
import type { FrameBase, PageId, TreeId } from '../../src/base/ids.js'
import { AdaptiveHash } from '../../src/storage/adaptive-hash.js'
import { Page, type PageType } from '../../src/storage/page-format.js'
import type { PageStore } from '../../src/storage/page-store.js'

export interface MemoryPageStoreOptions {
  /** Default 96. */
  frames?: number
  /**
   * Checks the rules of PageStore and keeps the pages apart from the frames: at each `beginOperation` frames are evicted,
   * overwritten with 0xDB and used again for other pages. Default true; false is for benchmarks: nothing is ever evicted.
   */
  strict?: boolean
  /** Which share of the frames a `beginOperation` evicts, 0 … 1. Default 0.5. */
  restlessness?: number
}

/** At most this many pages may be touched by one operation ("a few dozen"). */
const OPERATION_LIMIT = 64
const POISON = 0xdb

/** Takes most keys for the same: hints mostly lead to another one, in another tree, or to a page that is there no more. */
class CollidingHash extends AdaptiveHash {
  override hashOf(_tree: TreeId, key: Uint8Array, length: number): number {
    return key[length - 1] & 3
  }
}

/**
 * PageStore in memory that breaks the promises it may break, and checks those of its user:
 * no page changes unannounced, none is touched after it was freed or its frame let go, none is freed twice.
 */
export class MemoryPageStore implements PageStore {
  readonly u8: Uint8Array
  readonly u16: Uint16Array
  readonly i32: Int32Array
  readonly u32: Uint32Array
  readonly buffer: Buffer
  readonly hash: AdaptiveHash

  /** Pages touched by the operation that touched most. */
  widestOperation = 0

  private readonly strict: boolean
  private readonly restlessness: number
  /** Page id → frame number + 1. */
  private frameOfPage: Int32Array = new Int32Array(1024)
  private readonly pageOfFrame: Int32Array
  private readonly versions: Float64Array
  private readonly freeFrames: number[] = []
  private readonly freePages: PageId[] = []
  private nextPage = 1
  private lastVersion = 0
  private live = 0

  /** Strict only. */
  private readonly evicted: Map<PageId, Uint8Array> = new Map()
  private readonly exists: Set<PageId> = new Set()
  private readonly checksums: Map<number, number> = new Map()
  private readonly announced: Set<number> = new Set()
  private readonly touched: Set<number> = new Set()
  private seed = 1

  constructor(options: MemoryPageStoreOptions = {}) {
    const frames = options.frames ?? 96
    this.strict = options.strict ?? true
    this.restlessness = options.restlessness ?? 0.5
    const bytes = new ArrayBuffer(frames * Page.Size)
    this.hash = this.strict ? new CollidingHash(bytes.byteLength) : new AdaptiveHash(bytes.byteLength)
    this.u8 = new Uint8Array(bytes)
    this.u16 = new Uint16Array(bytes)
    this.i32 = new Int32Array(bytes)
    this.u32 = new Uint32Array(bytes)
    this.buffer = Buffer.from(bytes)
    this.pageOfFrame = new Int32Array(frames)
    this.versions = new Float64Array(frames)
    for (let frame = frames - 1; frame >= 0; frame--) this.freeFrames.push(frame)
    if (this.strict) this.u8.fill(POISON)
  }

  /** Pages allocated and not freed. */
  get livePages(): number {
    return this.live
  }

  beginOperation(): void {
    if (!this.strict) return
    this.endOperation()
    for (const frame of Array.from(this.checksums.keys())) if (this.random() < this.restlessness) this.evict(frame)
  }

  fetch(page: PageId): FrameBase {
    const known = this.frameOfPage[page]
    if (!this.strict) return ((known - 1) << Page.Shift) as FrameBase
    if (!this.exists.has(page)) throw new Error(`page ${page} was fetched and does not exist`)
    let frame = known - 1
    if (frame < 0) {
      frame = this.takeFrame(page)
      this.u8.set(this.evicted.get(page) as Uint8Array, frame << Page.Shift)
      this.evicted.delete(page)
      this.checksums.set(frame, this.checksum(frame))
    }
    this.touch(frame)
    return (frame << Page.Shift) as FrameBase
  }

  allocate(type: PageType, tree: TreeId): PageId {
    const page = this.freePages.pop() ?? (this.nextPage++ as PageId)
    if (page >= this.frameOfPage.length) {
      const longer = new Int32Array(this.frameOfPage.length * 2)
      longer.set(this.frameOfPage)
      this.frameOfPage = longer
    }
    const frame = this.takeFrame(page)
    const base = frame << Page.Shift
    this.u8.fill(0, base, base + Page.Size)
    this.u32[(base + Page.Id) >> 2] = page
    this.u8[base + Page.Type] = type
    this.u32[(base + Page.Tree) >> 2] = tree
    this.live++
    if (this.strict) {
      this.exists.add(page)
      this.checksums.set(frame, this.checksum(frame))
      this.touch(frame)
    }
    return page
  }

  free(page: PageId): void {
    const frame = this.frameOfPage[page] - 1
    this.live--
    this.frameOfPage[page] = 0
    this.freePages.push(page)
    if (this.strict) {
      if (!this.exists.delete(page)) throw new Error(`page ${page} was freed and does not exist`)
      this.evicted.delete(page)
    }
    if (frame < 0) return
    if (this.strict) this.checkUnannounced(frame)
    // Bytes and version stay, as they may: both move when the frame takes another page.
    this.forgetFrame(frame)
  }

  holds(base: FrameBase): boolean {
    const frame = base >> Page.Shift
    if (this.frameOfPage[this.pageOfFrame[frame]] !== frame + 1) return false
    if (this.strict) this.touch(frame)
    return true
  }

  willChange(base: FrameBase): void {
    const frame = base >> Page.Shift
    this.versions[frame] = ++this.lastVersion
    if (!this.strict) return
    if (!this.touched.has(frame)) throw new Error(`frame ${frame} was announced as changing without being fetched in this operation`)
    this.checkUnannounced(frame)
    this.announced.add(frame)
  }

  version(base: FrameBase): number {
    return this.versions[base >> Page.Shift]
  }

  /** Checks that nothing changed that was not announced since the operation began. */
  endOperation(): void {
    for (const frame of this.checksums.keys()) {
      this.checkUnannounced(frame)
      if (this.announced.has(frame)) this.checksums.set(frame, this.checksum(frame))
    }
    this.widestOperation = Math.max(this.widestOperation, this.touched.size)
    this.announced.clear()
    this.touched.clear()
  }

  private checkUnannounced(frame: number): void {
    if (this.announced.has(frame)) return
    if (this.checksum(frame) !== this.checksums.get(frame))
      throw new Error(`page ${this.pageOfFrame[frame]} was changed without willChange`)
  }

  private touch(frame: number): void {
    this.touched.add(frame)
    if (this.touched.size > OPERATION_LIMIT) throw new Error(`one operation touches more than ${OPERATION_LIMIT} pages`)
  }

  private takeFrame(page: PageId): number {
    if (this.freeFrames.length === 0 && this.strict) {
      const idle = [...this.checksums.keys()].filter((frame) => !this.touched.has(frame))
      if (idle.length > 0) this.evict(idle[Math.floor(this.random() * idle.length)])
    }
    // Strict: the frame that was free longest or shortest, so that pages wander.
    const frame = this.strict && this.random() < 0.5 ? this.freeFrames.shift() : this.freeFrames.pop()
    if (frame === undefined) throw new Error('the memory page store has no frame left')
    this.pageOfFrame[frame] = page
    this.frameOfPage[page] = frame + 1
    this.versions[frame] = ++this.lastVersion
    return frame
  }

  private evict(frame: number): void {
    const page = this.pageOfFrame[frame] as PageId
    const base = frame << Page.Shift
    this.evicted.set(page, this.u8.slice(base, base + Page.Size))
    this.frameOfPage[page] = 0
    this.u8.fill(POISON, base, base + Page.Size)
    this.versions[frame] = ++this.lastVersion
    this.forgetFrame(frame)
  }

  private forgetFrame(frame: number): void {
    this.freeFrames.push(frame)
    this.checksums.delete(frame)
    this.announced.delete(frame)
    this.touched.delete(frame)
  }

  private checksum(frame: number): number {
    return crc32(this.u8.subarray(frame << Page.Shift, (frame + 1) << Page.Shift))
  }

  /** xorshift: which frames move is the same in every run. */
  private random(): number {
    this.seed ^= this.seed << 13
    this.seed ^= this.seed >>> 17
    this.seed ^= this.seed << 5
    return (this.seed >>> 0) / 2 ** 32
  }
}
