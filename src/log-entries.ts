import { InvalidArgumentError, NextkeyError, SnapshotGoneError } from './base/errors.js'
import type { LogPosition } from './base/ids.js'
import { decodeCompound } from './codec/key-encoding.js'
import { superblocksOf } from './inspect-files.js'
import type { Environment } from './platform/environment.js'
import { COMMIT_HEADER, LogKind } from './txn/log-records.js'
import { readRedo } from './txn/redo-buffer.js'
import type { LogReader } from './wal/log-reader.js'
import { type FoundLog, openLog } from './wal/open-log.js'

export interface LogOptions {
  walDirectory?: string
  /** Position at which a group begins. Default: the first one in the log's oldest file. */
  from?: number
}

/** One group of the log. Rows are not decoded: their structures may be anywhere. */
export interface LogEntry {
  position: number
  end: number
  kind: 'commit' | 'counter' | 'structure' | 'checkpoint' | 'unknown'
  bytes: number
  transaction?: number
  changes?: { operation: 'put' | 'delete'; table: number; key: unknown[]; rowBytes: number }[]
  table?: number
  next?: number
  structure?: number
  fields?: string[]
  checkpoint?: number
}

/**
 * The groups of the log, one after another; also beside an owner who goes on writing.
 *
 * What such an owner is writing, or uses again, looks like damage for a moment. So what looks like it is looked at again, from the group on that was
 * read last; it is damage if it is still there.
 *
 * Raises ERR_LOG_DAMAGED where acknowledged groups cannot be read, ERR_SNAPSHOT_GONE if the owner released what was to be read next,
 * ERR_INVALID_ARGUMENT if the log does not reach back to `from` or no group begins there, and as inspectFiles.
 */
export function* readLogEntries(environment: Environment, directory: string, options: LogOptions = {}): Generator<LogEntry, void, void> {
  const { databaseId } = superblocksOf(environment, directory).superblocks[0]
  const { walDirectory = `${directory}/wal` } = options
  let position = options.from as LogPosition | undefined
  let last: LogPosition | undefined
  for (let looks = 1; ; looks++) {
    let reader: LogReader | undefined
    try {
      const found = openLog(environment, { directory: walDirectory, databaseId })
      if (found.empty) return
      mustReach(found, position, last)
      if (last === undefined && position !== undefined) mustBeginAt(found, position)
      reader = position === undefined ? found.readerFromOldest() : found.reader(position)
      while (reader.next()) {
        position = last = reader.endPosition
        looks = 0
        yield describeGroup(reader.kind, reader.bytes, reader.start, reader.end, reader.position, reader.endPosition)
      }
      return
    } catch (error) {
      if (!mayPass(error) || looks >= LOOKS) throw error
    } finally {
      reader?.close()
    }
  }
}

function mustReach({ segments, directory }: FoundLog, position: LogPosition | undefined, last: LogPosition | undefined): void {
  const [{ header: oldest }] = segments
  const { header: newest } = segments[segments.length - 1]
  const end = newest.first + newest.length
  if (position === undefined || (position >= oldest.first && position <= end)) return
  if (last !== undefined) {
    throw new SnapshotGoneError(
      `the owner of the database has released the log through position ${oldest.first} while it was being read, at ${last}: begin again`,
      { directory, position: last, oldest: oldest.first },
    )
  }
  throw new InvalidArgumentError(`the files in ${directory} hold the log from position ${oldest.first} on, not from ${position}`, {
    directory,
    position,
    oldest: oldest.first,
    end,
  })
}

/** Reading from the midst of a group looks like damage. If what lies before is damaged, nobody knows. */
function mustBeginAt(found: FoundLog, position: LogPosition): void {
  const reader = found.readerFromOldest()
  try {
    if (reader.position > position) return
    while (reader.endPosition < position) if (!reader.next()) return
    if (reader.endPosition === position) return
  } catch (error) {
    if (mayPass(error)) return
    throw error
  } finally {
    reader.close()
  }
  throw new InvalidArgumentError(
    `no group of the log begins at position ${position}: the one around it goes from ${reader.position} to ${reader.endPosition}`,
    { position, group: reader.position, end: reader.endPosition },
  )
}

/** Whether it may be a matter of the moment: a file that is being written, used again, or has just been removed. */
function mayPass(error: unknown): boolean {
  return error instanceof NextkeyError && (error.code === 'ERR_LOG_DAMAGED' || error.code === 'ERR_IO')
}

function describeGroup(kind: number, bytes: Uint8Array, start: number, end: number, position: number, endPosition: number): LogEntry {
  const entry = { position, end: endPosition, bytes: end - start }
  const view = new DataView(bytes.buffer, bytes.byteOffset + start, end - start)
  if (kind === LogKind.Commit) {
    const changes: LogEntry['changes'] = []
    readRedo(bytes, start + COMMIT_HEADER, end, {
      put: (table, source, keyStart, keyEnd, rowStart, rowEnd) =>
        void changes.push({ operation: 'put', table, key: decodeCompound(source, keyStart, keyEnd), rowBytes: rowEnd - rowStart }),
      delete: (table, source, keyStart, keyEnd) =>
        void changes.push({ operation: 'delete', table, key: decodeCompound(source, keyStart, keyEnd), rowBytes: 0 }),
    })
    return { ...entry, kind: 'commit', transaction: view.getFloat64(0, true), changes }
  }
  if (kind === LogKind.Counter) return { ...entry, kind: 'counter', table: view.getUint32(0, true), next: view.getFloat64(4, true) }
  if (kind === LogKind.Structure) {
    const fields = JSON.parse(Buffer.from(bytes.buffer, bytes.byteOffset + start + 8, end - start - 8).toString('utf8')) as string[]
    return { ...entry, kind: 'structure', table: view.getUint32(0, true), structure: view.getUint32(4, true), fields }
  }
  if (kind === LogKind.Checkpoint) return { ...entry, kind: 'checkpoint', checkpoint: view.getFloat64(0, true) }
  return { ...entry, kind: 'unknown' }
}

/** At the same place, before it is called damage. */
const LOOKS = 3
