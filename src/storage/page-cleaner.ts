import type { BlockNumber } from '../base/ids.js'
import { FrameState } from './frame-pool.js'
import type { Pager } from './pager.js'
import { WriteBatch } from './write-batch.js'

/**
 * Pages on their way to the disk beside the core: cold ones whose frames will be wanted soon, and frozen ones that are about to change. A
 * write in the turn that needs it would hold the event loop for as long as the operating system holds back whoever writes much
 * (some ten milliseconds at a time, measured).
 *
 * A batch is staged in one synchronous step: bytes copied, blocks given, map told. Then its frames are `Cleaning` until the write is over.
 *
 * Q1. A frame that is Cleaning must not leave memory: the disk may not have it yet. It may change, and is Dirty then.
 * Q2. The end of a write makes a frame Clean only if it is Cleaning and its version is the staged one. (It may have changed and be
 *     Cleaning again in a later batch: every change moves the version.)
 * Q3. The blocks of a batch are held (B4) from staging until the asynchronous write has settled, whatever becomes of their pages.
 * Q4. What was staged before or for a checkpoint has landed before the sync that makes the checkpoint's pages durable: it waits
 *     for all that is under way, or, driven synchronously, writes all of it again (`landSync`).
 * Q5. At most `BATCHES` are under way, but for what a full disk holds up (space-wait.ts). With none left the core writes inline, and asynchronous operations wait (`behind`).
 */
export class PageCleaner {
  /** Pages in a batch: all batches together are a small part of the pool. */
  readonly batchPages: number
  readonly #pager: Pager
  readonly #idle: WriteBatch[] = []
  #made = 0
  readonly #underWay: Set<PendingWrite> = new Set()

  constructor(pager: Pager) {
    this.#pager = pager
    this.batchPages = Math.min(MOST_PAGES, pager.pool.capacity >> 5)
  }

  /** An empty batch, to `begin` or to `giveBack`; undefined while no more may be under way. */
  take(): WriteBatch | undefined {
    const idle = this.#idle.pop()
    if (idle !== undefined || this.#made === BATCHES) return idle
    this.#made++
    return new WriteBatch(this.batchPages)
  }

  giveBack(batch: WriteBatch): void {
    batch.reset()
    this.#idle.push(batch)
  }

  /** Writes a staged batch, whose frames are Cleaning. `tried`: what a synchronous attempt has failed with. */
  begin(batch: WriteBatch, tried?: unknown): void {
    const { allocator } = this.#pager
    const write = new PendingWrite(batch)
    allocator.hold(write.blocks)
    this.#underWay.add(write)
    write.settled = this.#write(write, tried).finally(() => {
      allocator.unhold(write.blocks)
      this.#underWay.delete(write)
      this.giveBack(batch)
    })
  }

  /** While no more may be under way: resolves when one of them is over, however it ended. */
  get behind(): Promise<void> | undefined {
    if (this.#underWay.size < BATCHES) return undefined
    for (const { settled } of this.#underWay) return settled
    return undefined
  }

  /** Whether a write that is not over is to fill the block. */
  isArriving(block: BlockNumber): boolean {
    for (const { landed, blocks } of this.#underWay) if (!landed && blocks.includes(block)) return true
    return false
  }

  /** Resolves when everything that is under way now is over. Raises the failure that has closed the pager, if one has. */
  async landed(): Promise<void> {
    await this.settled()
    if (this.#pager.failure !== undefined) throw this.#pager.failure
  }

  /** The same without waiting for it: writes all of it again. Raises what a write raises, and ERR_POISONED. */
  landSync(): void {
    for (const write of this.#underWay) {
      if (write.landed) continue
      write.batch.writeSync(this.#pager.file)
      this.#land(write)
    }
    if (this.#pager.failure !== undefined) throw this.#pager.failure
  }

  /** Resolves when no write is under way, however they ended. */
  async settled(): Promise<void> {
    await Promise.all(Array.from(this.#underWay, (write) => write.settled))
  }

  async #write(write: PendingWrite, tried: unknown): Promise<void> {
    const { file } = this.#pager
    try {
      await this.#pager.space.write(
        () => write.batch.writeAtOnce(file),
        () => write.landed,
        tried,
      )
      if (!write.landed) this.#land(write)
    } catch (error) {
      // Of a batch that was written again meanwhile nothing depends on it.
      if (!write.landed) this.#pager.poison(error, `writing ${write.batch.count} pages to ${file.path}`)
    }
  }

  #land(write: PendingWrite): void {
    write.landed = true
    const { state, versions } = this.#pager.pool
    const { batch } = write
    for (let at = 0; at < batch.count; at++) {
      const frame = batch.frames[at]
      if (state[frame] === FrameState.Cleaning && versions[frame] === batch.versions[at]) state[frame] = FrameState.Clean
    }
  }
}

class PendingWrite {
  readonly batch: WriteBatch
  readonly blocks: readonly BlockNumber[]
  /** The operating system has it, by this write or by another of the same bytes. */
  landed = false
  settled!: Promise<void>

  constructor(batch: WriteBatch) {
    this.batch = batch
    this.blocks = Array.from(batch.blocks.subarray(0, batch.count)) as BlockNumber[]
  }
}

/** Batches under way at a time. */
const BATCHES = 3
/** 1 MiB. */
const MOST_PAGES = 64
