import { NextkeyError } from './base/errors.js'
import { asNextkeyError } from './directory.js'
import type { Environment } from './platform/environment.js'
import { readSuperblocks } from './storage/data-file.js'
import type { Superblock } from './storage/superblock.js'
import { LogKind } from './txn/log-records.js'
import { dataPath } from './txn/recovery.js'
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

/**
 * Looks more than once before it says that the log is damaged: whoever has the database open may have moved on between two looks.
 * Raises ERR_NOT_FOUND, ERR_NOT_A_DATABASE, ERR_FORMAT_VERSION, ERR_IO.
 */
export function inspectFiles(environment: Environment, directory: string, walDirectory: string = `${directory}/wal`): FilesReport {
  for (let look = 1; ; look++) {
    const report = inspectOnce(environment, directory, walDirectory)
    if (report.log.problem === undefined || look === LOOKS) return report
  }
}

function inspectOnce(environment: Environment, directory: string, walDirectory: string): FilesReport {
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

/** Also for the log alone. Raises as `inspectFiles`. */
export function superblocksOf(environment: Environment, directory: string): { superblocks: Superblock[]; size: number } {
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

const LOOKS = 3
