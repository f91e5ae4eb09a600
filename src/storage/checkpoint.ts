import type { BlockNumber, CheckpointNumber, LogPosition, PageId } from '../base/ids.js'
import type { Effect } from './background-run.js'
import { Page } from './page-format.js'
import { CHUNK_ENTRIES } from './page-map.js'
import type { Pager } from './pager.js'
import { encodeSuperblock, encodeWitness, type MapReference, Witness } from './superblock.js'
import { WriteBatch } from './write-batch.js'

/**
 * A shadow checkpoint (D3): frozen pages to free blocks, then the changed pieces of the map, then one of two superblocks.
 *
 * C1. The freeze is one synchronous step, at one log position P. What the checkpoint writes is what was there then.
 * C2. Order, whatever the durability level: pages and map → sync → log synced through P → superblock → sync → the log says
 *     "checkpoint complete", durably → the superblock before bears witness to it → blocks and log segments are released.
 * C3. Anything that fails poisons the pager: a sync is never tried again, a superblock never written after it.
 * C4. Pages are written asynchronously in batches of 1 MiB from staging buffers, one in flight; the superblock is written
 *     synchronously: a late asynchronous write of an old superblock over a newer one could never be told from damage.
 * C5. The data file is synced now and then on the way: commits must sync the log meanwhile, and would wait behind all that
 *     the operating system had gathered (a hundred milliseconds, measured).
 */
export interface CheckpointInfo {
  /** P. */
  logPosition: LogPosition
  /** First page of the root record, written by the caller before the freeze. */
  rootPage: PageId
  /** Makes the log durable through P. */
  logDurable: Effect
  /** Makes "checkpoint `number` is complete" durable in the log. */
  markComplete(number: CheckpointNumber): Effect
  /** The checkpoint is complete and its predecessor's blocks are released. */
  completed(number: CheckpointNumber): void
}

/** What the superblock says of the database for all its life. */
export interface DatabaseIdentity {
  databaseId: Uint8Array
  ownerToken: Uint8Array
  /** What superblocks bear of it (OwnerClaim.bytes); none in a file of which nobody is the owner. */
  claim?: Uint8Array
}

export class Checkpointer {
  readonly #pager: Pager
  readonly identity: DatabaseIdentity
  /** On-disk places of the map's chunks and of the directory blocks that list them. */
  readonly #chunks: MapReference[]
  #directory: MapReference[]

  constructor(pager: Pager, identity: DatabaseIdentity, chunks: MapReference[], directory: MapReference[]) {
    this.#pager = pager
    this.identity = identity
    this.#chunks = chunks
    this.#directory = directory
  }

  /**
   * Freezes now (C1) and returns the steps that remain. The generator yields its effects; it must be driven to its end, or the
   * pager poisoned.
   */
  begin(info: CheckpointInfo): Generator<Effect, void, void> {
    this.#pager.freeze()
    return this.#guarded(info)
  }

  *#guarded(info: CheckpointInfo): Generator<Effect, void, void> {
    try {
      yield* this.#steps(info)
    } catch (error) {
      throw this.#pager.poison(error, `checkpoint ${this.#pager.completed + 1}`)
    }
  }

  *#steps(info: CheckpointInfo): Generator<Effect, void, void> {
    const pager = this.#pager
    const number = (pager.completed + 1) as CheckpointNumber
    let batch = new WriteBatch(CHECKPOINT_BATCH)
    for (let batches = 1; pager.stageFrozen(batch); batches++) {
      const write = new BatchWrite(pager, batch)
      yield write
      pager.wroteFrozen(batch)
      // The staging buffer of an overtaken write is still being read.
      if (write.overtaken) batch = new WriteBatch(CHECKPOINT_BATCH)
      if (batches % BATCHES_PER_SYNC === 0) yield new SyncFile(pager)
    }
    yield* this.#writeMap()
    yield new WritesLanded(pager)
    yield new SyncFile(pager)
    yield info.logDurable
    const blocks = pager.allocator.total
    const superblock = encodeSuperblock({
      ...this.identity,
      checkpoint: number,
      logPosition: info.logPosition,
      nextPage: pager.map.frozenNextPage,
      rootPage: info.rootPage,
      blocks,
      directory: this.#directory,
    })
    pager.file.writeSync(superblock, 0, Page.Size, (number & 1) * Page.Size)
    yield new SyncFile(pager)
    yield info.markComplete(number)
    const before = ((number - 1) & 1) * Page.Size
    pager.file.writeSync(
      encodeWitness(this.identity.databaseId, number, this.identity.claim ?? NO_CLAIM),
      0,
      Witness.Size,
      before + Witness.Offset,
    )
    pager.completeCheckpoint(number)
    this.#trimFile()
    info.completed(number)
  }

  /** Chunks with changed entries, then the directory blocks that list them. */
  *#writeMap(): Generator<Effect, void, void> {
    const { map, allocator } = this.#pager
    const count = map.frozenChunks
    const stale = new Set<number>()
    let pieces = new MapPieces(this.#pager)
    for (let chunk = 0; chunk < count; chunk++) {
      if (!map.isChunkDirty(chunk) && chunk < this.#chunks.length) continue
      stale.add(Math.floor(chunk / CHUNK_ENTRIES))
      const before = this.#chunks[chunk]
      if (before !== undefined && before.block !== 0) allocator.freeFromFrozen(before.block)
      if (map.encodeChunk(chunk, pieces.batch.staging, pieces.nextOffset)) {
        this.#chunks[chunk] = pieces.add()
        if (pieces.full) {
          yield pieces.seal()
          pieces = new MapPieces(this.#pager)
        }
      } else this.#chunks[chunk] = NOWHERE
    }
    if (!pieces.empty) yield pieces.seal()
    yield* this.#writeDirectory(stale)
  }

  *#writeDirectory(stale: Set<number>): Generator<Effect, void, void> {
    const directory = [...this.#directory]
    let pieces = new MapPieces(this.#pager)
    for (const index of stale) {
      const before = directory[index]
      if (before !== undefined) this.#pager.allocator.freeFromFrozen(before.block)
      const { staging } = pieces.batch
      const at = pieces.nextOffset
      staging.fill(0, at, at + Page.Size)
      for (let entry = 0; entry < CHUNK_ENTRIES; entry++) {
        const chunk = this.#chunks[index * CHUNK_ENTRIES + entry]
        if (chunk === undefined) break
        staging.writeUInt32LE(chunk.block, at + entry * 8)
        staging.writeInt32LE(chunk.checksum | 0, at + entry * 8 + 4)
      }
      directory[index] = pieces.add()
      if (pieces.full) {
        yield pieces.seal()
        pieces = new MapPieces(this.#pager)
      }
    }
    if (!pieces.empty) yield pieces.seal()
    this.#directory = directory
  }

  /** Gives a long free tail of the file back. */
  #trimFile(): void {
    const { allocator, file } = this.#pager
    const tail = allocator.freeTail
    const worth = allocator.packing ? tail > 0 : tail >= MIN_TAIL && tail * 8 >= allocator.total
    if (worth) file.truncate(allocator.trimTail() * Page.Size)
  }

  /** Blocks the map itself occupies. */
  get mapBlocks(): number {
    return this.#chunks.filter((chunk) => chunk.block !== 0).length + this.#directory.length
  }
}

/** Chunks or directory blocks gathered for one write. */
class MapPieces {
  readonly batch: WriteBatch = new WriteBatch(MAP_BATCH)
  readonly #pager: Pager
  readonly #references: MapReference[] = []

  constructor(pager: Pager) {
    this.#pager = pager
  }

  get empty(): boolean {
    return this.#references.length === 0
  }

  get full(): boolean {
    return this.#references.length === MAP_BATCH
  }

  get nextOffset(): number {
    return this.#references.length * Page.Size
  }

  /** The piece at `nextOffset` is written; the reference gets its place when the batch is sealed. */
  add(): MapReference {
    const reference: MapReference = { block: 0 as BlockNumber, checksum: 0 }
    this.#references.push(reference)
    return reference
  }

  seal(): Effect {
    this.batch.sealPages(this.#references.length, this.#pager.allocator, false)
    this.#references.forEach((reference, at) => {
      reference.block = this.batch.blocks[at] as BlockNumber
      reference.checksum = this.batch.checksums[at] | 0
    })
    return new BatchWrite(this.#pager, this.batch)
  }
}

class BatchWrite implements Effect {
  overtaken = false
  readonly #pager: Pager
  readonly #batch: WriteBatch
  #settled: Promise<void> | undefined

  constructor(pager: Pager, batch: WriteBatch) {
    this.#pager = pager
    this.#batch = batch
  }

  runSync(): void {
    this.#batch.writeSync(this.#pager.file)
  }

  runAsync(): Promise<void> {
    const isOver = (): boolean => this.overtaken
    this.#settled = this.#pager.space.write(() => this.#batch.write(this.#pager.file, isOver), isOver)
    return this.#settled
  }

  mayWait(error: unknown): boolean {
    return this.#pager.space.mayWait(error)
  }

  /** Rule B4 of the block allocator: the asynchronous write may still land. */
  abandoned(): void {
    this.overtaken = true
    const { allocator } = this.#pager
    const blocks = Array.from(this.#batch.blocks.subarray(0, this.#batch.count)) as BlockNumber[]
    allocator.hold(blocks)
    const release = (): void => allocator.unhold(blocks)
    this.#settled?.then(release, release)
  }
}

/** Q4 of the page cleaner. */
class WritesLanded implements Effect {
  readonly #pager: Pager

  constructor(pager: Pager) {
    this.#pager = pager
  }

  runSync(): void {
    this.#pager.cleaner.landSync()
  }

  runAsync(): Promise<void> {
    return this.#pager.cleaner.landed()
  }
}

class SyncFile implements Effect {
  readonly #pager: Pager

  constructor(pager: Pager) {
    this.#pager = pager
  }

  runSync(): void {
    this.#pager.file.syncSync()
  }

  runAsync(): Promise<void> {
    return this.#pager.file.sync()
  }
}

const NO_CLAIM: Uint8Array = new Uint8Array(0)
const NOWHERE: MapReference = { block: 0 as BlockNumber, checksum: 0 }
/** Pages in one asynchronous write: 1 MiB, copied and checksummed in about 0.4 ms. */
const CHECKPOINT_BATCH = 64
/** 2 MiB. */
const BATCHES_PER_SYNC = 2
const MAP_BATCH = 16
/** A tail shorter than 1 MiB is not worth a truncation, unless that was asked for. */
const MIN_TAIL = 64
