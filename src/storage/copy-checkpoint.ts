import { crc32 } from '../base/crc32.js'
import { DamagedError, NextkeyError } from '../base/errors.js'
import type { BlockNumber, PageId } from '../base/ids.js'
import type { File } from '../platform/file-system.js'
import type { CopyTarget } from './copy-target.js'
import { readDirectory, readMapBlock } from './data-file.js'
import { Page } from './page-format.js'
import { CHUNK_ENTRIES } from './page-map.js'
import type { MapReference, Superblock } from './superblock.js'

/**
 * Copies the pages of one checkpoint while the database goes on (D3, D15). The caller keeps its blocks from reuse and lets go of each
 * one when `copied` names it.
 *
 * Every page is read and verified, whether the copy needs it or not: a copy that misses a damaged page would be found out too late. A page
 * is written only if its image is younger than the copy: a page keeps the number of the checkpoint that first held its image, and
 * the image of a number up to the copy's own was in that checkpoint too.
 */
export interface CopySource {
  readonly file: File
  readonly superblock: Superblock
  /** The block is not needed any more. */
  copied(block: BlockNumber): void
}

export interface CopyHooks {
  /** Between two slices of a few milliseconds. May throw, to end it. */
  pause(): Promise<void>
  /** Pages looked at, of so many page ids. */
  onProgress(done: number, total: number): void
}

export interface CopyFigures {
  /** Pages the checkpoint has, and those among them that were written. */
  pages: number
  written: number
}

/** Raises ERR_DAMAGED if a page or a piece of the map is not what it should be, and what reading and writing raise. */
export async function copyCheckpoint(source: CopySource, target: CopyTarget, hooks: CopyHooks): Promise<CopyFigures> {
  const { file, superblock } = source
  const job = new CopyJob(source, target)
  const chunks = readDirectory(file, superblock)
  for (let chunk = 0; chunk < chunks.length; chunk++) {
    const first = chunk * CHUNK_ENTRIES
    const entries = chunks[chunk].block === 0 ? undefined : readChunk(source, chunks[chunk])
    for (let entry = 0; entry < CHUNK_ENTRIES && first + entry < superblock.nextPage; entry++) {
      const page = (first + entry) as PageId
      if (page === 0) continue
      if (job.copy(page, entries, entry)) await target.write()
      if (page % PAGES_PER_SLICE !== 0) continue
      hooks.onProgress(page, superblock.nextPage - 1)
      await hooks.pause()
    }
  }
  for (const { block } of superblock.directory) source.copied(block)
  hooks.onProgress(superblock.nextPage - 1, superblock.nextPage - 1)
  await target.finish(superblock)
  return job.figures
}

function readChunk(source: CopySource, reference: MapReference): Buffer {
  const entries = readMapBlock(source.file, reference, 'page map chunk')
  source.copied(reference.block)
  return entries
}

class CopyJob {
  readonly figures: CopyFigures = { pages: 0, written: 0 }
  readonly #source: CopySource
  readonly #target: CopyTarget
  readonly #bytes: Buffer = Buffer.allocUnsafeSlow(Page.Size)

  constructor(source: CopySource, target: CopyTarget) {
    this.#source = source
    this.#target = target
  }

  /** True if the target should write now. */
  copy(page: PageId, entries: Buffer | undefined, entry: number): boolean {
    const block = entries === undefined ? 0 : entries.readInt32LE(entry * 8)
    if (entries === undefined || block === 0) {
      this.#target.remove(page)
      return false
    }
    const checksum = entries.readInt32LE(entry * 8 + 4)
    this.#read(page, block as BlockNumber, checksum)
    this.#source.copied(block as BlockNumber)
    this.figures.pages++
    if (this.#bytes.readUInt32LE(Page.Interval) <= this.#target.base) {
      if (this.#target.checksumOf(page) === checksum) return false
      throw new NextkeyError(
        'ERR_BACKUP_MISMATCH',
        `page ${page} has not changed since the copy was made, and yet the copy has another: the copy is not of this database; make a new one elsewhere`,
        { details: { page } },
      )
    }
    this.figures.written++
    return this.#target.add(page, this.#bytes, 0)
  }

  #read(page: PageId, block: BlockNumber, checksum: number): void {
    const { file } = this.#source
    const bytes = this.#bytes
    const got = file.readSync(bytes, 0, Page.Size, block * Page.Size)
    const what =
      got !== Page.Size
        ? `the file ends after ${got} of its ${Page.Size} bytes`
        : (crc32(bytes, 0, Page.Size, 0) | 0) !== checksum
          ? 'the checksum does not match the page map'
          : bytes.readUInt32LE(Page.Id) !== page
            ? 'the block holds another page'
            : undefined
    if (what === undefined) return
    throw new DamagedError(
      `page ${page} at block ${block} (byte ${block * Page.Size}) of ${file.path} is damaged: ${what}; the copy is not complete, and what it held before is as it was`,
      { file: file.path, page, block, what },
    )
  }
}

/** 1 MiB read and checked: about a millisecond from the operating system's cache. */
const PAGES_PER_SLICE = 64
