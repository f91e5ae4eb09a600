import { NextkeyError } from './base/errors.js'
import type { LogPosition } from './base/ids.js'
import { decodeCompound } from './codec/key-encoding.js'
import { asNextkeyError } from './directory.js'
import type { Environment } from './platform/environment.js'
import { readSuperblocks } from './storage/data-file.js'
import type { Superblock } from './storage/superblock.js'
import { COMMIT_HEADER, LogKind } from './txn/log-records.js'
import { dataPath } from './txn/recovery.js'
import { readRedo } from './txn/redo-buffer.js'
import { type FoundLog, openLog } from './wal/open-log.js'

export { dataPath } from './txn/recovery.js'

/** What the files of a database say without its being opened: beside a running application, or when it cannot be opened. */
export interface FilesReport {
  dataFile: string
  size: number
  databaseId: string
  /** The superblocks that are whole, the newest first. */
  superblocks: { block: number; checkpoint: number; logPosition: number; pages: number; sealed: boolean; owner: string }[]
  log: {
    directory: string
    segments: { file: string; sequence: number; epoch: string; first: number; end: number; size: number }[]
    /** From the newest superblock's position on: what an opening would replay. Undefined if it cannot be read; `problem` says why. */
    since: { commits: number; groups: number; bytes: number } | undefined
    problem: string | undefined
  }
}

/** Raises ERR_NOT_FOUND, ERR_NOT_A_DATABASE, ERR_FORMAT_VERSION, ERR_IO. */
export function inspectFiles(environment: Environment, directory: string, walDirectory: string = `${directory}/wal`): FilesReport {
  const { superblocks, size } = superblocksOf(environment, directory)
  const databaseId = superblocks[0].databaseId
  const log: FilesReport['log'] = { directory: walDirectory, segments: [], since: undefined, problem: undefined }
  try {
    const found = openLog(environment, { directory: walDirectory, databaseId })
    log.segments = found.segments.map(({ path, size: fileSize, header: { sequence, epoch, first, length } }) => {
      return { file: path, sequence, epoch, first, end: first + length, size: fileSize }
    })
    log.since = found.empty && superblocks[0].sealed === true ? { commits: 0, groups: 0, bytes: 0 } : countFrom(found, superblocks)
  } catch (error) {
    if (!(error instanceof NextkeyError)) throw asNextkeyError(error, directory)
    log.problem = error.message
  }
  return {
    dataFile: dataPath(directory),
    size,
    databaseId: Buffer.from(databaseId).toString('hex'),
    superblocks: superblocks.map(({ checkpoint, logPosition, nextPage, sealed, ownerToken }) => ({
      block: checkpoint & 1,
      checkpoint,
      logPosition,
      pages: nextPage - 1,
      sealed: sealed === true,
      owner: Buffer.from(ownerToken).toString('hex'),
    })),
    log,
  }
}

export interface LogOptions {
  walDirectory?: string
  /** Position to begin at: between two groups. Default: where the log's oldest file begins. */
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

/** The groups of the log, one after another. Raises ERR_LOG_DAMAGED where acknowledged groups cannot be read, and as inspectFiles. */
export function* readLogEntries(environment: Environment, directory: string, options: LogOptions = {}): Generator<LogEntry, void, void> {
  const { superblocks } = superblocksOf(environment, directory)
  const { walDirectory = `${directory}/wal` } = options
  const found = openLog(environment, { directory: walDirectory, databaseId: superblocks[0].databaseId })
  if (found.empty) return
  const reader = found.reader((options.from ?? found.segments[0].header.first) as LogPosition)
  try {
    while (reader.next()) {
      yield describeGroup(reader.kind, reader.bytes, reader.start, reader.end, reader.position, reader.endPosition)
    }
  } finally {
    reader.close()
  }
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

function superblocksOf(environment: Environment, directory: string): { superblocks: Superblock[]; size: number } {
  const { fileSystem } = environment
  const path = dataPath(directory)
  if (!fileSystem.exists(path)) {
    throw new NextkeyError('ERR_NOT_FOUND', `there is no database in ${directory}: no file nextkey.db`, { details: { directory } })
  }
  try {
    const file = fileSystem.open(path, { readOnly: true })
    try {
      const superblocks = readSuperblocks(file)
      if (superblocks.length > 0) return { superblocks, size: file.size() }
      throw new NextkeyError('ERR_DAMAGED', `neither superblock of ${path} can be read`, { details: { file: path, what: 'superblocks' } })
    } finally {
      file.close()
    }
  } catch (error) {
    throw asNextkeyError(error, directory)
  }
}

function countFrom(found: FoundLog, superblocks: readonly Superblock[]): { commits: number; groups: number; bytes: number } {
  const reader = found.reader(superblocks[0].logPosition)
  let commits = 0
  let groups = 0
  try {
    for (; reader.next(); groups++) if (reader.kind === LogKind.Commit) commits++
    return { commits, groups, bytes: (reader.tail as number) - superblocks[0].logPosition }
  } finally {
    reader.close()
  }
}
