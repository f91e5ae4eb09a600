import { assert } from '../base/assert.js'
import type { LogPosition } from '../base/ids.js'
import type { File, FileSystem } from '../platform/file-system.js'
import { ioError, type LogFailure } from './failure.js'
import { encodeHeader, Header, NO_EPOCH, type SegmentHeader } from './log-format.js'
import { Segment, type SpareFile } from './segment.js'

/**
 * Where segments come from and where they go: blank files are made, spares get a header and become the next segments, segments
 * that are no longer needed become spares or are removed.
 *
 * RULE 1. A file gets its name `<n>.log` by a rename, once it is zero-written, has the header of a spare, and is synced.
 *   So a `.log` file without a readable header is damage, whenever it is found.
 * RULE 2. Headers become durable in the order of their sequence: one is written only when its predecessor's is durable. So
 *   a missing segment is damage, too.
 * RULE 3. No frame is written to a segment whose header is not durable. So a reader finds every segment that has frames.
 * RULE 4. A header is written once: a file that was to get it and failed is the end of the log, not replaced by another.
 *
 * The next segment is prepared in the background. Who needs it earlier prepares it inline; where the background is still zeroing
 * a file, that one is left alone (a late write of zeros would wipe out frames) and becomes a spare in the end.
 */
export class SegmentSupply {
  readonly #fileSystem: FileSystem
  readonly #directory: string
  readonly databaseId: Uint8Array
  readonly #segmentSize: number
  readonly #spareLimit: number
  readonly #failure: LogFailure

  /** The header to be written next, but for its length. Everything before its `first` has a segment. */
  #next: Omit<SegmentHeader, 'length'>
  /** Have their header, hold no frame yet; all but the newest are ready. */
  readonly #prepared: Segment[] = []
  readonly #spares: SpareFile[] = []
  /** Full and durable, oldest first. */
  readonly #closed: ClosedSegment[]
  #nextNumber: number
  #background: Promise<void> | undefined
  /** The sequence that the background could not prepare: it does not try again for that one. */
  #delayedAt = -1

  /** Has the first segment ready. Raises ERR_DISK_FULL, ERR_IO. */
  constructor(options: SupplyOptions, failure: LogFailure) {
    this.#fileSystem = options.fileSystem
    this.#directory = options.directory
    this.databaseId = options.databaseId
    this.#segmentSize = options.segmentSize
    this.#spareLimit = options.spareSegments
    this.#failure = failure
    this.#next = options.next
    this.#closed = [...options.closed]
    this.#nextNumber = options.nextNumber
    const usable = options.unneeded.filter((file) => file.size === this.#segmentSize)
    if (usable.length > 0) this.#spares.push(usable[0])
    try {
      this.#prepareNow()
    } catch (error) {
      for (const segment of this.#prepared) segment.close()
      throw error
    }
    for (const file of options.unneeded) if (file !== usable[0]) this.recycle(file)
  }

  /** Bytes in the body of a segment. */
  get bodyLength(): number {
    return this.#segmentSize - Header.BlockSize
  }

  /** Bytes of all files the supply knows, without those being written. */
  get totalSize(): number {
    let size = this.#prepared.length * this.#segmentSize
    for (const file of this.#spares) size += file.size
    for (const file of this.#closed) size += file.size
    return size
  }

  get spareCount(): number {
    return this.#spares.length
  }

  /** Segments that hold log no longer being written. */
  get closedCount(): number {
    return this.#closed.length
  }

  get preparedCount(): number {
    return this.#prepared.length
  }

  /**
   * Has segments ready for everything before `through`.
   * Raises ERR_DISK_FULL if there is no room, ERR_IO if no file can be made, ERR_POISONED: nothing has been accepted then.
   */
  reserve(through: number): void {
    try {
      while (this.#next.first < through) this.#prepareNow()
    } catch (error) {
      throw this.#failure.happened ? this.#failure.poisoned() : error
    }
  }

  /** Prepares the next segment in the background, if that is not done or under way yet. A full disk only delays that. */
  prepareAhead(): void {
    if (this.#prepared.length > 0 || this.#background !== undefined || this.#delayedAt === this.#next.sequence) return
    this.#background = this.#prepareInBackground().finally(() => {
      this.#background = undefined
    })
  }

  /** The next segment, ready to be written. It must have been reserved. Raises ERR_COMMIT_UNKNOWN. */
  take(): Segment {
    const segment = this.#prepared.shift()
    assert(segment !== undefined, 'a segment is reserved before it is taken')
    try {
      this.#makeReady(segment)
    } catch {
      segment.close()
      throw this.#failure.commitUnknown()
    }
    return segment
  }

  /** A segment that is full and durable. */
  retire(segment: Segment): void {
    segment.close()
    this.#closed.push(segment)
  }

  /** Recycles or removes the segments that lie wholly before `position`. */
  release(position: number): void {
    let count = 0
    while (count < this.#closed.length && this.#closed[count].end <= position) this.recycle(this.#closed[count++])
    this.#closed.splice(0, count)
  }

  /** Takes over a file of the log that nobody needs any more. */
  recycle(file: SpareFile): void {
    if (file.size !== this.#segmentSize || this.#spares.length >= this.#spareLimit) {
      try {
        this.#fileSystem.remove(file.path)
        return
      } catch {
        // It stays as one spare too many, or as a stale file for the next opening to find, if its size is of no use.
        if (file.size !== this.#segmentSize) return
      }
    }
    this.#spares.push({ path: file.path, size: file.size })
  }

  /** Waits for the background and closes what was prepared. */
  async close(): Promise<void> {
    await this.#background
    for (const segment of this.#prepared) segment.close()
    this.#prepared.length = 0
  }

  #prepareNow(): void {
    this.#failure.check()
    const newest = this.#prepared.at(-1)
    if (newest !== undefined) this.#makeReady(newest)
    let segment: Segment
    try {
      if (this.#spares.length === 0) this.#spares.push(this.#makeBlankSync())
      segment = this.#openNext()
    } catch (error) {
      throw ioError(`prepare a segment of the write-ahead log in ${this.#directory}`, error)
    }
    this.#begin(segment)
    this.#makeReady(segment)
  }

  async #prepareInBackground(): Promise<void> {
    const { sequence } = this.#next
    let segment: Segment
    try {
      if (this.#spares.length === 0) this.#spares.push(await this.#makeBlank())
      // Somebody may have been caught out meanwhile and prepared it inline.
      if (this.#next.sequence !== sequence || this.#failure.happened) return
      segment = this.#openNext()
    } catch {
      this.#delayedAt = sequence
      return
    }
    try {
      this.#begin(segment)
      await segment.sync()
      segment.ready = true
    } catch (error) {
      this.#failure.happen('begin a segment', error)
    }
  }

  /** Opens a spare as the next segment; if that fails nothing has happened. */
  #openNext(): Segment {
    const spare = this.#spares[this.#spares.length - 1]
    const segment = new Segment(this.#fileSystem, spare, { ...this.#next, length: spare.size - Header.BlockSize })
    this.#spares.pop()
    return segment
  }

  /** Writes its header. */
  #begin(segment: Segment): void {
    const { sequence, epoch } = segment.header
    this.#prepared.push(segment)
    this.#next = { sequence: sequence + 1, epoch, first: segment.end, predecessorSequence: sequence, predecessorEpoch: epoch }
    try {
      segment.writeHeader(this.databaseId)
    } catch (error) {
      this.#failure.happen('begin a segment', error)
      throw error
    }
  }

  #makeReady(segment: Segment): void {
    if (segment.ready) return
    try {
      segment.syncSync()
    } catch (error) {
      this.#failure.happen('begin a segment', error)
      throw error
    }
    segment.ready = true
  }

  /** Makes a file that can become a segment. The two forms differ only in who waits. */
  #makeBlankSync(): SpareFile {
    const blank = new BlankFile(this.#fileSystem, this.#directory, this.#nextNumber++, this.#segmentSize, this.databaseId)
    try {
      while (blank.remaining > 0) blank.file.writeSync(blank.chunk, 0, blank.chunkLength, blank.advance())
      blank.file.syncSync()
      const spare = blank.finish()
      this.#fileSystem.syncDirectorySync(this.#directory)
      return spare
    } catch (error) {
      blank.discard()
      throw error
    }
  }

  async #makeBlank(): Promise<SpareFile> {
    const blank = new BlankFile(this.#fileSystem, this.#directory, this.#nextNumber++, this.#segmentSize, this.databaseId)
    try {
      while (blank.remaining > 0) await blank.file.write(blank.chunk, 0, blank.chunkLength, blank.advance())
      await blank.file.sync()
      const spare = blank.finish()
      await this.#fileSystem.syncDirectory(this.#directory)
      return spare
    } catch (error) {
      blank.discard()
      throw error
    }
  }
}

export interface SupplyOptions {
  readonly fileSystem: FileSystem
  readonly directory: string
  readonly databaseId: Uint8Array
  /** Bytes of a segment file, header block included. */
  readonly segmentSize: number
  /** How many released files are kept to be used again. */
  readonly spareSegments: number
  /** The first header to be written. */
  readonly next: Omit<SegmentHeader, 'length'>
  /** Older segments whose log may still be needed, oldest first. */
  readonly closed: readonly ClosedSegment[]
  /** Files whose contents nobody needs. They go only once the first header is durable: until then they are the log's end. */
  readonly unneeded: readonly SpareFile[]
  /** Number for the name of the next file. */
  readonly nextNumber: number
}

export interface ClosedSegment extends SpareFile {
  /** Position after the last byte of log it holds. */
  readonly end: number
}

const SEGMENT_SUFFIX = '.log'
/** A file still being zeroed. */
export const STAGED_SUFFIX = '.new'

/** Zeros to write from. Never changed, so all asynchronous writes may share them. */
const ZEROS: Uint8Array = new Uint8Array(1_048_576)

/** A file on its way to become a spare: the header of one, then zeros, really written, so that later syncs touch no metadata. */
class BlankFile {
  readonly file: File
  readonly #fileSystem: FileSystem
  readonly #staged: string
  readonly #path: string
  readonly #size: number
  readonly #header: Uint8Array
  #at = 0

  constructor(fileSystem: FileSystem, directory: string, number: number, size: number, databaseId: Uint8Array) {
    this.#fileSystem = fileSystem
    this.#staged = `${directory}/${number}${STAGED_SUFFIX}`
    this.#path = `${directory}/${number}${SEGMENT_SUFFIX}`
    this.#size = size
    this.#header = new Uint8Array(Header.BlockSize)
    encodeHeader(this.#header, { ...SPARE, length: size - Header.BlockSize }, databaseId)
    this.file = fileSystem.open(this.#staged, { create: true })
  }

  get remaining(): number {
    return this.#size - this.#at
  }

  /** What to write next, at the place `advance` returns. */
  get chunk(): Uint8Array {
    return this.#at === 0 ? this.#header : ZEROS
  }

  get chunkLength(): number {
    return Math.min(this.chunk.length, this.remaining)
  }

  advance(): number {
    const at = this.#at
    this.#at += this.chunkLength
    return at
  }

  /** Gives it its name, which is not durable yet. */
  finish(): SpareFile {
    this.file.close()
    this.#fileSystem.rename(this.#staged, this.#path)
    return { path: this.#path, size: this.#size }
  }

  /** Gives back the space, as far as that is possible. */
  discard(): void {
    this.file.close()
    for (const path of [this.#staged, this.#path]) {
      try {
        if (this.#fileSystem.exists(path)) this.#fileSystem.remove(path)
      } catch {
        // The next opening finds it and removes it.
      }
    }
  }
}

const SPARE: Omit<SegmentHeader, 'length'> = {
  sequence: 0,
  epoch: NO_EPOCH,
  first: 0 as LogPosition,
  predecessorSequence: 0,
  predecessorEpoch: NO_EPOCH,
}
