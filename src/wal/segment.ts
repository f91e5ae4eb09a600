import type { LogPosition } from '../base/ids.js'
import { encodeNumberSector } from '../base/number-sector.js'
import type { File, FileSystem } from '../platform/file-system.js'
import { encodeHeader, Header, type SegmentHeader, seedOf } from './log-format.js'

/** A file that may become a segment: it has its full size, is synced, and its name is durable. */
export interface SpareFile {
  readonly path: string
  /** Bytes, the header block included. */
  readonly size: number
}

/**
 * A segment being written.
 *
 * It is open twice. Linux reports a failed write-back once to each open file description, so a synchronous sync that runs while
 * an asynchronous one is under way must have one of its own: on a shared one the other might take the error, and this one
 * would acknowledge what never reached the disk. Both are opened before anything is written, as a description does not
 * report what failed before it existed.
 */
export class Segment {
  readonly path: string
  readonly size: number
  readonly header: SegmentHeader
  readonly first: LogPosition
  /** Position after the last byte of the body. */
  readonly end: LogPosition
  /** Checksum seed of the body's first byte. */
  readonly seed: number
  /** Header and name are on disk: frames may be written. */
  ready = false

  readonly #file: File
  readonly #inlineFile: File

  /** Opens the file; changes nothing. */
  constructor(fileSystem: FileSystem, spare: SpareFile, header: SegmentHeader) {
    this.path = spare.path
    this.size = spare.size
    this.header = header
    this.first = header.first
    this.end = (header.first + header.length) as LogPosition
    this.seed = seedOf(header)
    this.#file = fileSystem.open(spare.path)
    try {
      this.#inlineFile = fileSystem.open(spare.path)
    } catch (error) {
      this.#file.close()
      throw error
    }
  }

  /** The header is not on disk before a sync. */
  writeHeader(databaseId: Uint8Array): void {
    const block = new Uint8Array(Header.BlockSize)
    encodeHeader(block, this.header, databaseId)
    this.#file.writeSync(block, 0, Header.BlockSize, 0)
  }

  /** Leaves a number in the header block, over the one that is there. Not on disk before a sync. */
  writeMark(databaseId: Uint8Array, mark: number): void {
    const sector = encodeNumberSector(databaseId, mark)
    this.#file.writeSync(sector, 0, sector.length, Header.Mark)
  }

  /** Writes bytes of the body, the first of which has the given position. */
  write(bytes: Uint8Array, start: number, length: number, position: number): void {
    this.#file.writeSync(bytes, start, length, Header.BlockSize + (position - this.first))
  }

  sync(): Promise<void> {
    return this.#file.sync()
  }

  syncSync(): void {
    this.#inlineFile.syncSync()
  }

  close(): void {
    this.#file.close()
    this.#inlineFile.close()
  }
}
