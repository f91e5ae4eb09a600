import { assert } from '../base/assert.js'
import { crc32 } from '../base/crc32.js'
import { anotherWriterIn, DamagedError, NextkeyError } from '../base/errors.js'
import type { BlockNumber, CheckpointNumber, FrameBase, PageId, TreeId } from '../base/ids.js'
import type { File } from '../platform/file-system.js'
import { AdaptiveHash } from './adaptive-hash.js'
import { BlockAllocator } from './block-allocator.js'
import { FramePool, FrameState } from './frame-pool.js'
import { PageCleaner } from './page-cleaner.js'
import { Page, type PageType } from './page-format.js'
import { PageMap } from './page-map.js'
import type { PageStore } from './page-store.js'
import { SpaceWait } from './space-wait.js'
import { SUPERBLOCKS } from './superblock.js'
import { WriteBatch } from './write-batch.js'

/**
 * The pager: pages by id, cached in a bounded pool, written to fresh blocks (D3, D4).
 *
 * States of a frame and who moves it:
 *
 *   Clean ──willChange──▶ Dirty ──freeze──▶ Frozen ──checkpoint──▶ Writing ──written──▶ Clean
 *   Dirty, Frozen ──about to be evicted──▶ Cleaning ──written──▶ Clean        ──evicted──▶ (written at once) ──▶ Empty
 *   Frozen ──willChange──▶ (its image is staged) ──▶ Dirty        Writing, Cleaning ──willChange──▶ Dirty
 *
 * P1. A frozen frame's bytes are on their way to the disk before they change: `willChange` hands the image to the page cleaner itself, with a
 *     few of its frozen neighbours, or writes them, if that is busy. (Copying all of them aside would cost memory in proportion to the dirty
 *     pages.)
 * P2. The place of a frame that is evicted dirty goes to the current map, of a frozen one to the frozen map.
 * P3. Only bytes copied to a staging buffer are ever handed to a write that is not over when the call returns.
 * P4. A failed write or sync of the data file poisons the pager: nothing is changed or written after it.
 */
export class Pager implements PageStore {
  readonly u8: Uint8Array
  readonly u16: Uint16Array
  readonly i32: Int32Array
  readonly u32: Uint32Array
  readonly buffer: Buffer
  readonly pool: FramePool
  readonly hash: AdaptiveHash
  map: PageMap
  allocator: BlockAllocator
  readonly file: File
  /** Number of the newest complete checkpoint. */
  completed: CheckpointNumber = 0 as CheckpointNumber
  /** Number of the last operation that changed, made or freed a page. */
  lastChange = -1
  /** Page writes that a full disk holds up. */
  readonly space: SpaceWait = new SpaceWait()
  /** The failure that closed the pager to changes. */
  failure: NextkeyError | undefined
  onFailure: ((failure: NextkeyError) => void) | undefined
  /** What it means that a block is not what the map says, where others may have written it; undefined: damage. */
  onMismatch: ((page: PageId, block: BlockNumber) => NextkeyError | undefined) | undefined
  /** Somebody else writes to the file (a shared reader's pager): a page younger than the checkpoint is not the one the map means. */
  besideOwner = false
  readonly counters: PagerCounters = { misses: 0, evictedDirty: 0, cleanedAhead: 0, blocksWritten: 0, frozenWrittenInline: 0 }

  /** Frames frozen by the running checkpoint, in the order it writes them; undefined when none runs. */
  #frozen: Int32Array | undefined
  #frozenAt = 0
  /** The batch of frozen pages whose asynchronous write is not over. */
  #underWay: WriteBatch | undefined
  #inline: WriteBatch = new WriteBatch(CLEANING_BATCH)
  readonly cleaner: PageCleaner
  /** Frames taken from other pages since the cleaner last looked for dirty ones. */
  #taken = 0

  constructor(file: File, cacheSize: number, blocksInFile: number) {
    this.pool = new FramePool(cacheSize)
    this.hash = new AdaptiveHash(cacheSize)
    this.u8 = this.pool.u8
    this.u16 = this.pool.u16
    this.i32 = this.pool.i32
    this.u32 = this.pool.u32
    this.buffer = this.pool.buffer
    this.file = file
    this.allocator = new BlockAllocator(SUPERBLOCKS, blocksInFile)
    this.map = new PageMap(this.allocator)
    this.cleaner = new PageCleaner(this)
  }

  /** Whether the operation under way has changed, made or freed a page: an error before that left everything as it was. */
  get changedInOperation(): boolean {
    return this.lastChange === this.pool.operation
  }

  beginOperation(): void {
    this.pool.beginOperation()
  }

  fetch(page: PageId): FrameBase {
    const pool = this.pool
    const frame = pool.frameOf[page]
    if (frame >= 0) {
      pool.stamps[frame] = pool.operation
      return (frame << Page.Shift) as FrameBase
    }
    return this.#miss(page)
  }

  holds(base: FrameBase): boolean {
    const pool = this.pool
    const frame = base >>> Page.Shift
    if (pool.pageOf[frame] === 0) return false
    pool.stamps[frame] = pool.operation
    return true
  }

  willChange(base: FrameBase): void {
    const pool = this.pool
    const frame = base >>> Page.Shift
    if (pool.state[frame] !== FrameState.Dirty) this.#prepareChange(frame)
    pool.versions[frame] = (pool.versions[frame] + 1) | 0
    this.lastChange = pool.operation
  }

  version(base: FrameBase): number {
    return this.pool.versions[base >>> Page.Shift]
  }

  allocate(type: PageType, tree: TreeId): PageId {
    this.#mustBeWritable()
    const frame = this.#takeFrame()
    this.lastChange = this.pool.operation
    const page = this.map.newId()
    this.pool.assign(frame, page, FrameState.Dirty)
    const base = frame << Page.Shift
    this.u8.fill(0, base, base + Page.Size)
    this.u32[(base + Page.Id) >> 2] = page
    this.u8[base + Page.Type] = type
    this.u32[(base + Page.Tree) >> 2] = tree
    return page
  }

  free(page: PageId): void {
    this.#mustBeWritable()
    this.lastChange = this.pool.operation
    const frame = this.pool.frameOf[page]
    if (frame >= 0) {
      if (this.pool.state[frame] === FrameState.Frozen) this.#writeFrozenWith(frame)
      this.pool.unassign(frame)
      this.pool.giveBack(frame)
    }
    this.map.remove(page)
  }

  /**
   * Takes over the map of another checkpoint, in a reader, which has no dirty pages. Pages that are where they were stay in memory.
   */
  moveTo(checkpoint: CheckpointNumber, map: PageMap, allocator: BlockAllocator): void {
    const { pool, map: before } = this
    for (let frame = 0; frame < pool.capacity; frame++) {
      const page = pool.pageOf[frame] as PageId
      if (page === 0) continue
      const stays = page < map.nextPage && map.blockOf(page) === before.blockOf(page) && map.checksumOf(page) === before.checksumOf(page)
      if (stays) continue
      pool.unassign(frame)
      pool.giveBack(frame)
    }
    this.map = map
    this.allocator = allocator
    this.completed = checkpoint
  }

  /** Closes the pager to changes (P4). Returns the failure, the first one if there are several. */
  poison(cause: unknown, doing: string): NextkeyError {
    if (this.failure === undefined) {
      this.failure =
        anotherWriterIn(cause) ??
        new NextkeyError(
          'ERR_POISONED',
          `${doing} failed: the database takes no more writes; close and reopen it to recover what was acknowledged`,
          { cause, details: { file: this.file.path } },
        )
      this.onFailure?.(this.failure)
    }
    return this.failure
  }

  // ── for the checkpoint ────────────────────────────────────────────────────────────────────────────────────────────

  /** Dirty frames become the frozen set, the map the frozen map. One synchronous step. */
  freeze(): void {
    this.#mustBeWritable()
    assert(this.#frozen === undefined, 'two checkpoints at once')
    const { state, pageOf, capacity } = this.pool
    const frames: number[] = []
    for (let frame = 0; frame < capacity; frame++) {
      if (state[frame] !== FrameState.Dirty) continue
      state[frame] = FrameState.Frozen
      frames.push(frame)
    }
    this.#frozen = Int32Array.from(frames).sort((a, b) => pageOf[a] - pageOf[b])
    this.#frozenAt = 0
    this.allocator.freeze()
    this.map.freeze()
  }

  /** Number of the checkpoint that will hold what is changed now. */
  get interval(): number {
    return this.completed + (this.#frozen === undefined ? 1 : 2)
  }

  /** Stages the next frozen pages for an asynchronous write; false when none are left. */
  stageFrozen(batch: WriteBatch): boolean {
    const frozen = this.#frozen as Int32Array
    batch.reset()
    while (this.#frozenAt < frozen.length && !batch.isFull) {
      const frame = frozen[this.#frozenAt++]
      if (this.pool.state[frame] === FrameState.Frozen) batch.add(frame)
    }
    if (batch.count === 0) return false
    this.#place(batch, true)
    for (let at = 0; at < batch.count; at++) this.pool.state[batch.frames[at]] = FrameState.Writing
    this.#underWay = batch
    return true
  }

  /** The staged batch is on its way through the operating system. */
  wroteFrozen(batch: WriteBatch): void {
    this.#underWay = undefined
    for (let at = 0; at < batch.count; at++) {
      const frame = batch.frames[at]
      if (this.pool.state[frame] === FrameState.Writing) this.pool.state[frame] = FrameState.Clean
    }
  }

  /** The checkpoint is durable: its predecessor's blocks become available. */
  completeCheckpoint(number: CheckpointNumber): void {
    this.completed = number
    this.#frozen = undefined
    this.allocator.completed()
    this.map.merge()
  }

  get checkpointing(): boolean {
    return this.#frozen !== undefined
  }

  /** Whether a write that is not over is to fill the block. (Its frame may be dirty again: its state does not tell.) */
  isArriving(block: BlockNumber): boolean {
    if (this.cleaner.isArriving(block)) return true
    const batch = this.#underWay
    if (batch === undefined) return false
    for (let at = 0; at < batch.count; at++) if (batch.blocks[at] === block) return true
    return false
  }

  // ── inside ────────────────────────────────────────────────────────────────────────────────────────────────────────

  #mustBeWritable(): void {
    if (this.failure !== undefined) throw this.failure
  }

  #prepareChange(frame: number): void {
    this.#mustBeWritable()
    const { state } = this.pool
    assert(state[frame] !== FrameState.Empty, 'a change to a frame without a page')
    if (state[frame] === FrameState.Frozen) this.#writeFrozenWith(frame)
    state[frame] = FrameState.Dirty
  }

  /** P1: writes a frozen frame, and the frozen ones the checkpoint would write next. */
  #writeFrozenWith(frame: number): void {
    const frozen = this.#frozen as Int32Array
    const ahead = this.cleaner.take()
    const batch = ahead ?? this.#inline
    batch.reset()
    batch.add(frame)
    const most = Math.min(INLINE_NEIGHBOURS, batch.capacity)
    for (let at = this.#frozenAt; at < frozen.length && batch.count < most; at++) {
      this.#frozenAt = at + 1
      if (frozen[at] !== frame && this.pool.state[frozen[at]] === FrameState.Frozen) batch.add(frozen[at])
    }
    if (ahead !== undefined) this.#writeAhead(batch, true)
    else {
      this.counters.frozenWrittenInline += batch.count
      this.#writeInline(batch, true)
    }
  }

  #miss(page: PageId): FrameBase {
    const block = page > 0 && page < this.map.nextPage ? this.map.blockOf(page) : 0
    if (block === 0) throw this.#damaged(page, 0, 'no block holds the page')
    this.counters.misses++
    const frame = this.#takeFrame()
    const base = frame << Page.Shift
    try {
      this.#read(page, block as BlockNumber, base)
    } catch (error) {
      this.pool.giveBack(frame)
      throw error
    }
    this.pool.assign(frame, page, FrameState.Clean)
    return base as FrameBase
  }

  #read(page: PageId, block: BlockNumber, base: number): void {
    let got: number
    try {
      got = this.file.readSync(this.u8, base, Page.Size, block * Page.Size)
    } catch (cause) {
      throw new NextkeyError('ERR_IO', `cannot read block ${block} of ${this.file.path}: ${(cause as Error).message}`, {
        cause,
        details: { block, page },
      })
    }
    const what = this.#mismatch(page, base, got)
    if (what !== undefined) throw this.onMismatch?.(page, block) ?? this.#damaged(page, block, what)
  }

  /** In what way the bytes read are not the page that the map says is there. */
  #mismatch(page: PageId, base: number, got: number): string | undefined {
    if (got !== Page.Size) return `the file ends after ${got} of its ${Page.Size} bytes`
    const checksum = crc32(this.u8, base, base + Page.Size, 0) | 0
    if (checksum !== this.map.checksumOf(page)) return 'the checksum does not match the page map'
    if (this.u32[(base + Page.Id) >> 2] !== page) return 'the block holds another page'
    if (this.besideOwner && this.u32[(base + Page.Interval) >> 2] > this.completed) return 'the page is younger than the page map'
    return undefined
  }

  #damaged(page: PageId, block: number, what: string): DamagedError {
    const place = block === 0 ? '' : ` at block ${block} (byte ${block * Page.Size})`
    return new DamagedError(`page ${page}${place} of ${this.file.path} is damaged: ${what}`, { file: this.file.path, page, block, what })
  }

  #takeFrame(): number {
    const empty = this.pool.takeEmpty()
    if (empty >= 0) return empty
    let frame = this.pool.nextCold()
    if (this.pool.state[frame] !== FrameState.Clean && !this.space.isFull) this.#clean(frame)
    if (this.pool.state[frame] !== FrameState.Clean) frame = this.#cleanFrame()
    this.pool.unassign(frame)
    if (++this.#taken >= this.cleaner.batchPages >> 2) this.#cleanAhead()
    return frame
  }

  /** With a full disk (N1): a frame that needs no write. */
  #cleanFrame(): number {
    for (let looked = 0; looked < this.pool.capacity; looked++) {
      const frame = this.pool.nextCold()
      if (this.pool.state[frame] === FrameState.Clean) return frame
    }
    throw this.poison(this.space.full, 'making room in the cache')
  }

  /** Hands dirty frames that the clock hand will come to, and would take, to the cleaner. */
  #cleanAhead(): void {
    this.#taken = 0
    if (this.failure !== undefined || this.space.isFull) return
    this.#cleanAheadOf(FrameState.Dirty)
    if (this.#frozen !== undefined) this.#cleanAheadOf(FrameState.Frozen)
  }

  #cleanAheadOf(kind: FrameState.Dirty | FrameState.Frozen): void {
    const { pool, cleaner } = this
    const batch = cleaner.take()
    if (batch === undefined) return
    const reach = Math.min(pool.capacity >> 2, CLEANING_REACH)
    for (let step = 0, frame = pool.hand; step < reach && !batch.isFull; step++, frame = frame + 1 === pool.capacity ? 0 : frame + 1) {
      if (pool.state[frame] === kind && pool.isColdDirty(frame)) batch.add(frame)
    }
    if (batch.count < batch.capacity >> 2) cleaner.giveBack(batch)
    else {
      this.counters.cleanedAhead += batch.count
      this.#writeAhead(batch, kind === FrameState.Frozen)
    }
  }

  /** Writes out a dirty frame and, in the same write, cold dirty ones that the clock hand would meet next. */
  #clean(first: number): void {
    const { pool } = this
    this.#mustBeWritable()
    const wanted = pool.state[first]
    const batch = this.#inline
    batch.reset()
    batch.add(first)
    const reach = Math.min(pool.capacity - 1, CLEANING_REACH)
    for (let step = 0, frame = pool.hand; step < reach && !batch.isFull; step++, frame = frame + 1 === pool.capacity ? 0 : frame + 1) {
      if (frame !== first && pool.state[frame] === wanted && pool.isColdDirty(frame)) batch.add(frame)
    }
    this.counters.evictedDirty += batch.count
    this.#writeInline(batch, wanted === FrameState.Frozen)
  }

  #writeInline(batch: WriteBatch, frozen: boolean): void {
    this.#place(batch, frozen)
    try {
      batch.writeSync(this.file)
    } catch (error) {
      if (!this.space.mayWait(error)) throw this.poison(error, `writing ${batch.count} pages to ${this.file.path}`)
      // N2.
      this.#inline = new WriteBatch(batch.capacity)
      this.#writeStaged(batch, error)
      return
    }
    for (let at = 0; at < batch.count; at++) this.pool.state[batch.frames[at]] = FrameState.Clean
  }

  #writeAhead(batch: WriteBatch, frozen: boolean): void {
    this.#place(batch, frozen)
    this.#writeStaged(batch)
  }

  #writeStaged(batch: WriteBatch, tried?: unknown): void {
    for (let at = 0; at < batch.count; at++) this.pool.state[batch.frames[at]] = FrameState.Cleaning
    this.cleaner.begin(batch, tried)
  }

  /** Copies the batch's frames to its staging buffer, gives them blocks, and tells the map (P2, P3). */
  #place(batch: WriteBatch, frozen: boolean): void {
    const { pool, map } = this
    const interval = frozen ? this.completed + 1 : this.interval
    batch.stage(pool, this.allocator, interval, !frozen)
    for (let at = 0; at < batch.count; at++) {
      const page = pool.pageOf[batch.frames[at]] as PageId
      if (frozen) map.setFrozen(page, batch.blocks[at] as BlockNumber, batch.checksums[at])
      else map.set(page, batch.blocks[at] as BlockNumber, batch.checksums[at])
    }
    this.counters.blocksWritten += batch.count
  }
}

export interface PagerCounters {
  misses: number
  /** Pages written because their frame was needed. */
  evictedDirty: number
  /** Pages written because their frame would be needed soon. */
  cleanedAhead: number
  blocksWritten: number
  /** Frozen pages written inline because somebody wanted to change them. */
  frozenWrittenInline: number
}

/** Pages written inline together, when the page cleaner did not come by in time: a quarter of a MiB. */
const CLEANING_BATCH = 16
/** How far from the clock hand to look for them. */
const CLEANING_REACH = 512
/** Frozen pages written together when one of them is about to change: a quarter of a MiB, about 0.1 ms. */
const INLINE_NEIGHBOURS = 16
