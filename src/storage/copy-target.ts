import { assert } from '../base/assert.js'
import type { BlockNumber, CheckpointNumber, PageId } from '../base/ids.js'
import type { File } from '../platform/file-system.js'
import { BlockAllocator } from './block-allocator.js'
import { readDirectory, readMapBlock } from './data-file.js'
import { Page } from './page-format.js'
import { CHUNK_ENTRIES } from './page-map.js'
import { encodeSuperblock, type MapReference, SUPERBLOCKS, type Superblock } from './superblock.js'
import { WriteBatch } from './write-batch.js'

/**
 * A data file that is a copy of a checkpoint, being made or brought up to date.
 *
 * K1. It is changed as a checkpoint changes a data file: new images go to blocks that the superblock in force does not lead to, and
 *     become the copy by the switch to the other superblock. Until then an older copy is whole.
 * K2. A superblock is written only after everything it leads to was synced. So one that can be read is good, and sealed: no log has
 *     to say that its checkpoint is complete.
 * K3. The superblock in force may be in the page cache alone, if the sync of an earlier attempt failed. It is written and
 *     synced again before any block it does not lead to is used.
 */
export class CopyTarget {
  /** The checkpoint it holds before it is brought up to date; 0: none. */
  readonly base: CheckpointNumber
  readonly #file: File
  readonly #allocator: BlockAllocator
  readonly #batch: WriteBatch = new WriteBatch(COPY_BATCH)
  readonly #pages: number[] = []
  #blocks: Int32Array = new Int32Array(CHUNK_ENTRIES)
  #checksums: Int32Array = new Int32Array(CHUNK_ENTRIES)

  /** @param present The sealed superblock in force; undefined for an empty file. Raises ERR_DAMAGED. */
  constructor(file: File, present: Superblock | undefined) {
    this.#file = file
    this.#allocator = new BlockAllocator(SUPERBLOCKS, present === undefined ? SUPERBLOCKS : Math.ceil(file.size() / Page.Size))
    this.base = present?.checkpoint ?? (0 as CheckpointNumber)
    if (present === undefined) return
    assert(present.sealed === true, 'only a sealed copy is brought up to date')
    for (const { block } of present.directory) this.#allocator.markUsed(block)
    readDirectory(file, present).forEach((reference, chunk) => {
      if (reference.block !== 0) this.#load(chunk, reference)
    })
    const { directory, ...fields } = present
    file.writeSync(encodeSuperblock({ ...fields, directory }), 0, Page.Size, (present.checkpoint & 1) * Page.Size)
    file.syncSync()
  }

  /** Checksum of the image that the copy has of a page now; undefined if it has none. */
  checksumOf(page: PageId): number | undefined {
    return page < this.#blocks.length && this.#blocks[page] !== 0 ? this.#checksums[page] : undefined
  }

  remove(page: PageId): void {
    if (page < this.#blocks.length) this.#blocks[page] = 0
  }

  /** Takes a page's image for the next write; true when that should be now. The bytes may change afterwards. */
  add(page: PageId, bytes: Buffer, at: number): boolean {
    bytes.copy(this.#batch.staging, this.#pages.length * Page.Size, at, at + Page.Size)
    this.#pages.push(page)
    return this.#pages.length === COPY_BATCH
  }

  /** Writes what was taken. */
  async write(): Promise<void> {
    const pages = this.#pages
    if (pages.length === 0) return
    await this.#writeBatch(pages.length)
    for (const [at, page] of pages.entries()) this.#set(page, this.#batch.blocks[at], this.#batch.checksums[at])
    pages.length = 0
  }

  /** Writes map and superblock (K2): from here on the file is a copy of that checkpoint. */
  async finish(superblock: Superblock): Promise<void> {
    await this.write()
    assert(this.base === 0 || (this.base & 1) !== (superblock.checkpoint & 1), 'the superblock in force is not written over')
    const chunks = await this.#writePieces(Math.ceil(superblock.nextPage / CHUNK_ENTRIES), (chunk) => this.#encodeChunk(chunk, superblock))
    const directory = await this.#writePieces(Math.ceil(chunks.length / CHUNK_ENTRIES), (piece) => encodeReferences(chunks, piece))
    await this.#file.sync()
    const blocks = this.#endOf(superblock, [...chunks, ...directory])
    const sealed = encodeSuperblock({ ...superblock, sealed: true, blocks, directory })
    this.#file.writeSync(sealed, 0, Page.Size, (superblock.checkpoint & 1) * Page.Size)
    await this.#file.sync()
    if (this.#file.size() > blocks * Page.Size) this.#file.truncate(blocks * Page.Size)
  }

  #load(chunk: number, reference: MapReference): void {
    this.#allocator.markUsed(reference.block)
    const bytes = readMapBlock(this.#file, reference, 'page map chunk')
    for (let entry = 0; entry < CHUNK_ENTRIES; entry++) {
      const block = bytes.readInt32LE(entry * 8)
      if (block === 0) continue
      this.#allocator.markUsed(block as BlockNumber)
      this.#set((chunk * CHUNK_ENTRIES + entry) as PageId, block, bytes.readInt32LE(entry * 8 + 4))
    }
  }

  #set(page: PageId | number, block: number, checksum: number): void {
    if (page >= this.#blocks.length) {
      const capacity = Math.max(page + 1, this.#blocks.length * 2)
      const blocks = new Int32Array(capacity)
      blocks.set(this.#blocks)
      this.#blocks = blocks
      const checksums = new Int32Array(capacity)
      checksums.set(this.#checksums)
      this.#checksums = checksums
    }
    this.#blocks[page] = block
    this.#checksums[page] = checksum
  }

  #encodeChunk(chunk: number, { nextPage }: Superblock): Buffer | undefined {
    const out = Buffer.alloc(Page.Size)
    let any = false
    for (let entry = 0; entry < CHUNK_ENTRIES; entry++) {
      const page = chunk * CHUNK_ENTRIES + entry
      if (page >= nextPage || page >= this.#blocks.length || this.#blocks[page] === 0) continue
      any = true
      out.writeInt32LE(this.#blocks[page], entry * 8)
      out.writeInt32LE(this.#checksums[page], entry * 8 + 4)
    }
    return any ? out : undefined
  }

  /** Writes blocks of the map; one that is not needed gets the reference "nowhere". */
  async #writePieces(count: number, encode: (piece: number) => Buffer | undefined): Promise<MapReference[]> {
    const references: MapReference[] = []
    for (let piece = 0; piece < count; piece++) {
      const bytes = encode(piece)
      if (bytes === undefined) references.push({ block: 0 as BlockNumber, checksum: 0 })
      else {
        bytes.copy(this.#batch.staging, 0)
        await this.#writeBatch(1)
        references.push({ block: this.#batch.blocks[0] as BlockNumber, checksum: this.#batch.checksums[0] })
      }
    }
    return references
  }

  async #writeBatch(count: number): Promise<void> {
    this.#batch.sealPages(count, this.#allocator, false)
    await this.#batch.write(this.#file, () => false)
  }

  /** Blocks in the file, without free ones at its end. */
  #endOf({ nextPage }: Superblock, map: readonly MapReference[]): number {
    let last = SUPERBLOCKS - 1
    for (let page = 1; page < Math.min(nextPage, this.#blocks.length); page++) if (this.#blocks[page] > last) last = this.#blocks[page]
    for (const { block } of map) if (block > last) last = block
    return last + 1
  }
}

function encodeReferences(chunks: readonly MapReference[], piece: number): Buffer {
  const out = Buffer.alloc(Page.Size)
  chunks.slice(piece * CHUNK_ENTRIES, (piece + 1) * CHUNK_ENTRIES).forEach(({ block, checksum }, entry) => {
    out.writeUInt32LE(block, entry * 8)
    out.writeInt32LE(checksum | 0, entry * 8 + 4)
  })
  return out
}

/** Pages in one write: 1 MiB. */
export const COPY_BATCH = 64
