import { dirname } from 'node:path'
import { assert } from '../base/assert.js'
import { DamagedError } from '../base/errors.js'
import type { LogPosition } from '../base/ids.js'
import type { Environment } from '../platform/environment.js'
import { type FailureListener, LogFailure, translatingErrors } from './failure.js'
import { Frame, Header, NO_EPOCH } from './log-format.js'
import { LogReader } from './log-reader.js'
import { type FoundFiles, type FoundSegment, findSegments } from './segment-chain.js'
import { SegmentSupply } from './segment-supply.js'
import { type Durability, WriteAheadLog } from './write-ahead-log.js'

/** What the log touches outside the process. */
export type LogEnvironment = Pick<Environment, 'fileSystem' | 'clock' | 'random' | 'processors'>

export interface LogOptions {
  /** Made if it is not there, when a log is begun; its parent must exist and be durable by name. */
  readonly directory: string
  /** 16 bytes; segments of other databases are left alone. */
  readonly databaseId: Uint8Array
  /** Default 'sync'. */
  readonly durability?: Durability
  /** Bytes of a segment file: a multiple of 4, at least 8 KiB. Default 16 MiB. */
  readonly segmentSize?: number
  /** Released segments kept to be used again, instead of being removed. Default 4. */
  readonly spareSegments?: number
  /** Called once when a write or sync has failed and the log takes no more commits. */
  readonly onFailure?: FailureListener
}

/** Gets a group: bytes[start, end) are valid during the call. */
export type GroupVisitor = (
  kind: number,
  bytes: Uint8Array,
  start: number,
  end: number,
  position: LogPosition,
  endPosition: LogPosition,
) => void

/**
 * Finds the log in a directory; changes nothing. Raises ERR_LOG_DAMAGED, ERR_FORMAT_VERSION, ERR_IO.
 * Read it, then begin a new one after it: a log that was read is never appended to (D9).
 */
export function openLog(environment: LogEnvironment, options: LogOptions): FoundLog {
  assert(options.databaseId.length === 16, 'a database id has 16 bytes')
  const { directory, databaseId } = options
  const files = translatingErrors('look for the write-ahead log', () => findSegments(environment.fileSystem, directory, databaseId))
  return new FoundLog(environment, options, files)
}

const DEFAULT_SEGMENT_SIZE = 16_777_216
const DEFAULT_SPARES = 4

export class FoundLog {
  readonly #environment: LogEnvironment
  readonly #options: LogOptions
  readonly #files: FoundFiles
  #reader: LogReader | undefined
  #begun = false
  /** What was read is on disk. */
  #durable = false

  /** @internal Use `openLog`. */
  constructor(environment: LogEnvironment, options: LogOptions, files: FoundFiles) {
    this.#environment = environment
    this.#options = options
    this.#files = files
  }

  get directory(): string {
    return this.#options.directory
  }

  /** Whether there is no log at all. */
  get empty(): boolean {
    return this.#files.chain.length === 0
  }

  /** The largest number that was left beside the log (`WriteAheadLog.mark`); 0 if none can be read. */
  get mark(): number {
    return this.#files.mark
  }

  /** The files that are the log, oldest first. */
  get segments(): readonly FoundSegment[] {
    return this.#files.chain
  }

  /**
   * A cursor over the groups from `from` on, which must be where one begins or the log ends.
   * Raises ERR_LOG_DAMAGED if the log does not reach back that far.
   */
  reader(from: LogPosition): LogReader {
    const { chain, missing } = this.#files
    const last = chain.at(-1)?.header
    if (last === undefined || chain[0].header.first > from || last.first + last.length < from) {
      const { directory } = this.#options
      const holds =
        last === undefined
          ? 'there is no log (one that was set apart has to be named, as walDirectory)'
          : `its files hold ${chain[0].header.first} to ${last.first + last.length}`
      const sequence = missing === undefined ? '' : `, the segment with sequence ${missing.sequence} is missing`
      throw new DamagedError(
        `the write-ahead log in ${directory} is needed from position ${from} on, but ${holds}${sequence}`,
        { directory, position: from, missing: missing?.sequence },
        'ERR_LOG_DAMAGED',
      )
    }
    this.#reader = new LogReader(this.#environment.fileSystem, chain, from)
    return this.#reader
  }

  /** A cursor over all that the files hold: their first may begin in the midst of a group, which is passed over. There must be a log. */
  readerFromOldest(): LogReader {
    const { chain } = this.#files
    assert(chain.length > 0, 'there is a log to be read')
    return new LogReader(this.#environment.fileSystem, chain, chain[0].header.first, true)
  }

  /** Reads all groups from `from` on and returns where the log ends. Raises ERR_LOG_DAMAGED. */
  read(from: LogPosition, visitor: GroupVisitor): LogPosition {
    const reader = this.reader(from)
    try {
      while (reader.next()) visitor(reader.kind, reader.bytes, reader.start, reader.end, reader.position, reader.endPosition)
    } finally {
      reader.close()
    }
    return reader.tail as LogPosition
  }

  /**
   * Begins a new log at `position`: where reading ended, or anywhere if there is no log. When this returns, what was read
   * and the new segment are on disk; a crash at any moment before leaves the log as it was found.
   *
   * Raises ERR_DISK_FULL and ERR_IO; the log can then be opened again.
   */
  startNew(position: LogPosition): WriteAheadLog {
    return translatingErrors('begin a new write-ahead log', () => this.#startNew(position))
  }

  #startNew(position: LogPosition): WriteAheadLog {
    const { fileSystem, random } = this.#environment
    const { directory, databaseId, segmentSize = DEFAULT_SEGMENT_SIZE, spareSegments = DEFAULT_SPARES } = this.#options
    const { chain, stale, neverUsed, highestSequence, nextNumber } = this.#files
    assert(
      segmentSize % Frame.Alignment === 0 && segmentSize >= 2 * Header.BlockSize,
      'a segment is a multiple of 4 bytes and at least 8 KiB',
    )
    assert(chain.length === 0 || this.#reader?.tail === position, 'a new log begins where reading the old one ended')
    assert(!this.#begun, 'a log is followed by one other: open it again after a failure')
    this.#begun = true
    const kept = chain.filter((segment) => segment.header.first < position)
    const closed = this.#segmentsThrough(position)
    fileSystem.makeDirectory(directory)
    fileSystem.syncDirectorySync(dirname(directory))
    for (const path of neverUsed) fileSystem.remove(path)
    this.#makeDurable(position)
    const epoch = new Uint8Array(8)
    random.fill(epoch)
    const next = {
      sequence: highestSequence + 1,
      epoch: Buffer.from(epoch).toString('hex'),
      first: position,
      predecessorSequence: kept.at(-1)?.header.sequence ?? 0,
      predecessorEpoch: kept.at(-1)?.header.epoch ?? NO_EPOCH,
    }
    const unneeded = [...chain.slice(kept.length), ...stale]
    const failure = new LogFailure()
    const supply = new SegmentSupply(
      { fileSystem, directory, databaseId, segmentSize, spareSegments, next, closed, unneeded, nextNumber },
      failure,
    )
    const log = new WriteAheadLog(supply, this.#environment, failure, this.#options.durability ?? 'sync', position)
    if (this.#options.onFailure !== undefined) failure.listen(this.#options.onFailure)
    return log
  }

  /**
   * What was read is on disk when this returns: before anything is built on it, such as a checkpoint that begins where it ends.
   * Raises ERR_DISK_FULL and ERR_IO.
   */
  makeDurable(position: LogPosition): void {
    translatingErrors('sync the write-ahead log that was read', () => this.#makeDurable(position))
  }

  /**
   * Writes again what was read and is not proven to be on disk, and syncs it. What a dead process wrote may be in the page cache
   * alone; and if a sync of it has failed, the cache holds it as clean, so that only new writes bring it to the disk.
   */
  #makeDurable(position: LogPosition): void {
    if (this.#reader === undefined || this.#durable) return
    const from = this.#reader.provenThrough
    const chunk = new Uint8Array(Math.min(COPY_CHUNK, Math.max(0, position - from)))
    for (const { path, first, end } of this.#segmentsThrough(position)) {
      if (end <= from) continue
      const file = this.#environment.fileSystem.open(path)
      try {
        for (let at = Math.max(first, from); at < end; at += chunk.length) {
          const offset = Header.BlockSize + (at - first)
          const length = file.readSync(chunk, 0, Math.min(chunk.length, end - at), offset)
          file.writeSync(chunk, 0, length, offset)
        }
        file.syncSync()
      } finally {
        file.close()
      }
    }
    this.#durable = true
  }

  /** The segments that hold log before `position`, and which part of it. */
  #segmentsThrough(position: LogPosition): { path: string; size: number; first: LogPosition; end: LogPosition }[] {
    const kept = this.#files.chain.filter((segment) => segment.header.first < position)
    return kept.map(({ path, size, header }, i) => ({ path, size, first: header.first, end: kept[i + 1]?.header.first ?? position }))
  }
}

const COPY_CHUNK = 1_048_576
