import { assert } from '../base/assert.js'
import type { BlockNumber, PageId } from '../base/ids.js'
import type { BlockAllocator } from './block-allocator.js'
import { Page } from './page-format.js'

/**
 * Page id → block and checksum (D3). Two flat arrays hold the map; while a checkpoint runs they *are* the frozen map,
 * and everything that happens to the current one goes to a delta that is merged when the checkpoint is complete.
 *
 * M1. Without a checkpoint under way, the arrays are the current map.
 * M2. From freeze to completion the arrays change only through `setFrozen` (the checkpoint writes a frozen page), and the
 *     current map is the arrays overlaid by the delta.
 * M3. The chunks written by the checkpoint are made from the arrays alone, so what happened after the freeze is not in them.
 *
 * On disk the map is an array of 8-byte entries (block, checksum) in chunks of one block each; directory blocks list the
 * chunks in the same form; the superblock lists the directory blocks. A chunk without any page has block 0.
 */
export class PageMap {
  #block: Int32Array = new Int32Array(1024)
  #checksum: Int32Array = new Int32Array(1024)
  #nextPage = 1
  /** Ids below `nextPage` that no page has; the last is given out next. */
  #freeIds: PageId[] = []
  /** Per chunk: 1 if an entry changed since the chunk was written. */
  #dirtyChunks: Uint8Array = new Uint8Array(1)
  #deltaBlock: Map<PageId, BlockNumber> | undefined
  #deltaChecksum: Map<PageId, number> = new Map()
  #frozenNextPage = 0
  readonly #allocator: BlockAllocator

  constructor(allocator: BlockAllocator) {
    this.#allocator = allocator
  }

  get nextPage(): PageId {
    return this.#nextPage as PageId
  }

  /** Pages that exist. */
  get pageCount(): number {
    return this.#nextPage - 1 - this.#freeIds.length
  }

  /** Pages of the frozen map, in the next-page sense: what the superblock records. */
  get frozenNextPage(): PageId {
    return this.#frozenNextPage as PageId
  }

  /** Bytes this map keeps in memory. */
  get memory(): number {
    return this.#block.byteLength * 2 + this.#freeIds.length * 8 + (this.#deltaBlock?.size ?? 0) * 80
  }

  newId(): PageId {
    const reused = this.#freeIds.pop()
    if (reused !== undefined) return reused
    const id = this.#nextPage++
    assert(id < 0x7fffffff, 'the database has as many pages as ids allow')
    this.#ensure(this.#nextPage)
    return id as PageId
  }

  /** Block the current map has for a page; 0 if it was never written. */
  blockOf(page: PageId): BlockNumber {
    const moved = this.#deltaBlock?.get(page)
    return moved === undefined ? (this.#block[page] as BlockNumber) : moved
  }

  checksumOf(page: PageId): number {
    return this.#deltaBlock?.has(page) ? (this.#deltaChecksum.get(page) as number) : this.#checksum[page]
  }

  /** The current map gets a new place for the page (its content changed after the freeze, if there is one). */
  set(page: PageId, block: BlockNumber, checksum: number): void {
    const delta = this.#deltaBlock
    if (delta === undefined) {
      this.#free(this.#block[page])
      this.#put(page, block, checksum)
    } else {
      // A block only the delta knew is young and free at once; the array's own stays, the frozen map has it.
      this.#free(delta.get(page) ?? 0)
      delta.set(page, block)
      this.#deltaChecksum.set(page, checksum)
    }
  }

  /** The frozen image of a page was given a place (M2). */
  setFrozen(page: PageId, block: BlockNumber, checksum: number): void {
    assert(this.#deltaBlock !== undefined, 'a frozen page without a checkpoint')
    const before = this.#block[page]
    if (before !== 0) this.#allocator.freeFromFrozen(before as BlockNumber)
    this.#put(page, block, checksum)
  }

  /** The page is gone from the current map; its id may be used again at once. */
  remove(page: PageId): void {
    this.set(page, 0 as BlockNumber, 0)
    this.#freeIds.push(page)
  }

  /** Starts the delta. Returns the chunks whose entries may differ from those on disk once the frozen pages are written. */
  freeze(): void {
    assert(this.#deltaBlock === undefined, 'a freeze while another checkpoint is under way')
    this.#deltaBlock = new Map()
    this.#deltaChecksum = new Map()
    this.#frozenNextPage = this.#nextPage
  }

  /** The checkpoint is complete: the delta becomes part of the arrays. */
  merge(): void {
    const delta = this.#deltaBlock
    assert(delta !== undefined, 'a merge without a checkpoint')
    this.#deltaBlock = undefined
    for (const [page, block] of delta) {
      this.#free(this.#block[page])
      this.#put(page, block, this.#deltaChecksum.get(page) as number)
    }
    this.#deltaChecksum = new Map()
  }

  /** Number of chunks the frozen map has. */
  get frozenChunks(): number {
    return Math.ceil(this.#frozenNextPage / CHUNK_ENTRIES)
  }

  isChunkDirty(chunk: number): boolean {
    return this.#dirtyChunks[chunk] === 1
  }

  /** Writes a chunk's bytes; false if no page lies in it. The chunk counts as clean from now on. */
  encodeChunk(chunk: number, out: Buffer, at: number): boolean {
    this.#dirtyChunks[chunk] = 0
    let any = false
    const first = chunk * CHUNK_ENTRIES
    for (let entry = 0; entry < CHUNK_ENTRIES; entry++) {
      const page = first + entry
      const block = page < this.#frozenNextPage ? this.#block[page] : 0
      if (block !== 0) any = true
      out.writeInt32LE(block, at + entry * 8)
      out.writeInt32LE(block === 0 ? 0 : this.#checksum[page], at + entry * 8 + 4)
    }
    return any
  }

  /** At opening: takes the entries of a chunk read from disk and marks their blocks as used. */
  loadChunk(chunk: number, bytes: Buffer, nextPage: PageId): void {
    this.#ensure(nextPage)
    const first = chunk * CHUNK_ENTRIES
    for (let entry = 0; entry < CHUNK_ENTRIES && first + entry < nextPage; entry++) {
      const block = bytes.readInt32LE(entry * 8)
      if (block === 0) continue
      this.#block[first + entry] = block
      this.#checksum[first + entry] = bytes.readInt32LE(entry * 8 + 4)
      this.#allocator.markUsed(block as BlockNumber)
    }
  }

  /** At opening, when all chunks are loaded. Lower ids are given out first: the map stays short. */
  finishLoading(nextPage: PageId): void {
    this.#ensure(nextPage)
    this.#nextPage = Math.max(1, nextPage)
    for (let page = nextPage - 1; page >= 1; page--) if (this.#block[page] === 0) this.#freeIds.push(page as PageId)
  }

  /** Calls back for each page whose block in the current map is at or beyond `from`. */
  pagesBeyond(from: number, visit: (page: PageId) => boolean): void {
    assert(this.#deltaBlock === undefined, 'pages are moved between checkpoints only')
    for (let page = 1; page < this.#nextPage; page++) {
      if (this.#block[page] >= from && !visit(page as PageId)) return
    }
  }

  #put(page: PageId, block: BlockNumber, checksum: number): void {
    this.#block[page] = block
    this.#checksum[page] = checksum
    this.#dirtyChunks[(page / CHUNK_ENTRIES) | 0] = 1
  }

  #free(block: number): void {
    if (block !== 0) this.#allocator.free(block as BlockNumber)
  }

  #ensure(pages: number): void {
    if (pages <= this.#block.length) return
    const capacity = Math.max(pages, this.#block.length * 2)
    const block = new Int32Array(capacity)
    block.set(this.#block)
    this.#block = block
    const checksum = new Int32Array(capacity)
    checksum.set(this.#checksum)
    this.#checksum = checksum
    const chunks = new Uint8Array(Math.ceil(capacity / CHUNK_ENTRIES))
    chunks.set(this.#dirtyChunks)
    this.#dirtyChunks = chunks
  }
}

/** 8-byte entries in a block. */
export const CHUNK_ENTRIES: number = Page.Size / 8
