import { crc32 } from '../base/crc32.js'
import { DamagedError } from '../base/errors.js'
import type { PageId } from '../base/ids.js'
import type { File } from '../platform/file-system.js'
import { readDirectory, readMapBlock } from './data-file.js'
import { Page } from './page-format.js'
import { CHUNK_ENTRIES } from './page-map.js'
import { type MapReference, SUPERBLOCKS, type Superblock } from './superblock.js'

/**
 * The pages of a checkpoint as far as they can be read for certain: from a block that has the checksum which a page map tells. What is wrong
 * with the others is said, and nothing of them is used.
 *
 * L1. A page is taken only if its bytes have the checksum of its entry in the map of the checkpoint itself, or
 * L2. where that piece of the map is lost, in the map of the checkpoint before, and no block of the file claims to hold a younger image of
 *     it. (The younger image is nowhere overwritten while its checkpoint is the newest; it may be damaged as well, though: then its page id
 *     or number most likely is not, and if they are, the older image passes for the newest. Two pieces of damage must meet for that.)
 */
export class SalvagedPages {
  readonly file: File
  readonly superblock: Superblock
  /** What of the map cannot be read, one sentence each. */
  readonly problems: string[] = []
  readonly #blocks: Int32Array
  readonly #checksums: Int32Array
  /** Pages that were found by L2. */
  recovered = 0
  /** Page ids of which nothing is known: [from, to). */
  readonly unknown: [from: number, to: number][] = []

  constructor(file: File, superblock: Superblock, older: Superblock | undefined) {
    this.file = file
    this.superblock = superblock
    this.#blocks = new Int32Array(superblock.nextPage)
    this.#checksums = new Int32Array(superblock.nextPage)
    this.#chunks(superblock).forEach((reference, chunk) => {
      if (reference === undefined) this.#lose(chunk)
      else if (reference.block !== 0 && !this.#load(reference, chunk, (page, block, checksum) => this.#set(page, block, checksum)))
        this.#lose(chunk)
    })
    if (this.unknown.length > 0 && older !== undefined) this.#recover(older)
  }

  get nextPage(): PageId {
    return this.superblock.nextPage
  }

  /** Whether the checkpoint has the page, readable or not, as far as is known. */
  has(page: PageId): boolean {
    return page > 0 && page < this.#blocks.length && this.#blocks[page] !== 0
  }

  /** Reads the page's image into 16 KiB of memory; returns what is wrong, or undefined. */
  read(page: PageId, into: Uint8Array): string | undefined {
    if (!this.has(page)) return `page ${page} is nowhere`
    const block = this.#blocks[page]
    const what = this.#readBlock(block, into)
      ? (crc32(into, 0, Page.Size, 0) | 0) !== this.#checksums[page]
        ? 'the checksum does not match the page map'
        : u32(into, Page.Id) !== page
          ? 'the block holds another page'
          : undefined
      : 'it cannot be read'
    return what === undefined ? undefined : `page ${page} at block ${block} (byte ${block * Page.Size}): ${what}`
  }

  #readBlock(block: number, into: Uint8Array): boolean {
    try {
      return this.file.readSync(into, 0, Page.Size, block * Page.Size) === Page.Size
    } catch {
      return false
    }
  }

  /** Where the chunks lie; undefined where that cannot be read. */
  #chunks(superblock: Superblock): (MapReference | undefined)[] {
    const count = Math.ceil(superblock.nextPage / CHUNK_ENTRIES)
    return superblock.directory
      .flatMap((reference, piece): (MapReference | undefined)[] => {
        const part = { ...superblock, directory: [reference] }
        const entries = Math.min(CHUNK_ENTRIES, count - piece * CHUNK_ENTRIES)
        try {
          return readDirectory(this.file, part)
        } catch (error) {
          this.#note(error)
          return new Array<undefined>(Math.max(entries, 0)).fill(undefined)
        }
      })
      .slice(0, count)
  }

  #load(reference: MapReference, chunk: number, visit: (page: number, block: number, checksum: number) => void): boolean {
    let bytes: Buffer
    try {
      bytes = readMapBlock(this.file, reference, 'page map chunk')
    } catch (error) {
      this.#note(error)
      return false
    }
    for (let entry = 0; entry < CHUNK_ENTRIES; entry++) {
      const page = chunk * CHUNK_ENTRIES + entry
      const block = bytes.readInt32LE(entry * 8)
      if (block > 0 && page < this.#blocks.length) visit(page, block, bytes.readInt32LE(entry * 8 + 4))
    }
    return true
  }

  /** L2. */
  #recover(older: Superblock): void {
    const youngest = this.#scan()
    const lost = this.unknown.splice(0)
    const chunks = this.#chunks(older)
    for (const [from, to] of lost) {
      const reference = chunks[from / CHUNK_ENTRIES]
      const found =
        reference !== undefined &&
        reference.block !== 0 &&
        this.#load(reference, from / CHUNK_ENTRIES, (page, block, checksum) => {
          const claim = youngest.get(page)
          // Nothing is sure of pages whose newest image lies elsewhere, or was made since.
          if (claim !== undefined && claim.block === block) {
            this.#set(page, block, checksum)
            this.recovered++
          }
        })
      this.unknown.push([from, to])
      if (found)
        this.problems.push(
          `the entries of pages ${from} to ${to - 1} were taken from the map of checkpoint ${older.checkpoint}, as far as no younger images of them exist`,
        )
    }
  }

  /** By page: the block with its youngest image that this checkpoint may have. */
  #scan(): Map<number, { block: number; interval: number }> {
    const youngest = new Map<number, { block: number; interval: number }>()
    const head = new Uint8Array(Page.HeaderSize)
    const blocks = Math.floor(this.file.size() / Page.Size)
    for (let block = SUPERBLOCKS; block < blocks; block++) {
      if (this.file.readSync(head, 0, Page.HeaderSize, block * Page.Size) !== Page.HeaderSize) break
      const page = u32(head, Page.Id)
      const interval = u32(head, Page.Interval)
      if (page === 0 || page >= this.#blocks.length || interval > this.superblock.checkpoint) continue
      const other = youngest.get(page)
      if (other === undefined || interval > other.interval) youngest.set(page, { block, interval })
    }
    return youngest
  }

  #lose(chunk: number): void {
    this.unknown.push([chunk * CHUNK_ENTRIES, Math.min((chunk + 1) * CHUNK_ENTRIES, this.#blocks.length)])
  }

  #set(page: number, block: number, checksum: number): void {
    this.#blocks[page] = block
    this.#checksums[page] = checksum
  }

  #note(error: unknown): void {
    if (!(error instanceof DamagedError)) throw error
    if (!this.problems.includes(error.message)) this.problems.push(error.message)
  }
}

function u32(bytes: Uint8Array, at: number): number {
  return (bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16) | (bytes[at + 3] << 24)) >>> 0
}
