import { describe, InvalidArgumentError, NextkeyError } from './base/errors.js'
import { isDiskFull } from './base/system-errors.js'
import { type DirectoryLock, type LockWait, lockDirectory, lockWithLog } from './lock/directory-lock.js'
import type { Environment } from './platform/environment.js'

/** The path of the directory, which exists then. Raises ERR_INVALID_ARGUMENT, ERR_NOT_FOUND, and as mustBeOurs. */
export function prepareDirectory(environment: Environment, directory: unknown, readOnly: boolean): string {
  if (typeof directory !== 'string' || directory === '')
    throw new InvalidArgumentError(`open() takes the path of a directory, not ${describe(directory)}`)
  const path = directory.length > 1 && directory.endsWith('/') ? directory.slice(0, -1) : directory
  if (!readOnly) mustBeOurs(environment, path)
  else if (!environment.fileSystem.exists(path))
    throw new NextkeyError('ERR_NOT_FOUND', `there is no directory ${path}`, { details: { directory: path } })
  return path
}

/** Of those that `open` takes. */
interface LockingOptions {
  readOnly: boolean
  walDirectory?: string | undefined
  waitForLock?: number
  onLockWait?: ((wait: LockWait) => void) | undefined
}

/**
 * The lock of the database in this directory, and that of its log's directory if it was set apart. Raises ERR_DIRECTORY_LOCKED, ERR_LOCK_UNSUPPORTED,
 * ERR_IO, ERR_DISK_FULL, and whatever `onLockWait` does.
 */
export async function lockDatabase(
  environment: Environment,
  path: string,
  options: LockingOptions,
  openedAt?: string,
): Promise<DirectoryLock> {
  const { fileSystem, directoryLocker: locker, clock } = environment
  const { walDirectory, waitForLock: waitMs = 0, readOnly, onLockWait: onWait } = options
  const lockOptions = { locker, clock, waitMs, readOnly, onWait, ...(openedAt === undefined ? {} : { openedAt }) }
  if (walDirectory === undefined) return lockDirectory(path, lockOptions)
  if (!fileSystem.exists(walDirectory)) {
    // A reader will be told that there is no log.
    if (readOnly) return lockDirectory(path, lockOptions)
    makeDirectory(environment, walDirectory)
  }
  return lockWithLog(path, walDirectory, lockOptions)
}

/** Makes the directory, unless something else lives there. Raises ERR_NOT_A_DATABASE, ERR_IO, ERR_DISK_FULL. */
function mustBeOurs(environment: Environment, path: string): void {
  const { fileSystem } = environment
  let names: string[]
  try {
    names = fileSystem.list(path)
  } catch (cause) {
    if ((cause as { code?: unknown }).code !== 'ENOENT') throw asNextkeyError(cause, path)
    makeDirectory(environment, path)
    return
  }
  if (names.includes('nextkey.db')) return
  const strangers = names.filter((name) => !OUR_NAMES.has(name))
  if (strangers.length === 0) return
  throw new NextkeyError(
    'ERR_NOT_A_DATABASE',
    `${path} holds other files (${strangers.slice(0, 3).join(', ')}${strangers.length > 3 ? ', …' : ''}) and no database: give nextkey a directory of its own`,
    { details: { directory: path, found: strangers } },
  )
}

function makeDirectory({ fileSystem }: Environment, path: string): void {
  try {
    fileSystem.makeDirectory(path)
  } catch (cause) {
    throw asNextkeyError(cause, path)
  }
}

/** An error of the operating system, met while opening, in our words. */
export function asNextkeyError(error: unknown, path: string): unknown {
  if (error instanceof NextkeyError) return error.code === 'ERR_POISONED' && isFullBeneath(error) ? noSpaceToOpen(error, path) : error
  const code = (error as { code?: unknown } | null)?.code
  if (typeof code !== 'string') return error
  return new NextkeyError(
    isDiskFull(error) ? 'ERR_DISK_FULL' : 'ERR_IO',
    `cannot open the database in ${path}: ${(error as Error).message}`,
    {
      cause: error,
      details: { directory: path },
    },
  )
}

function isFullBeneath(error: Error): boolean {
  for (let cause: unknown = error; cause instanceof Error; cause = cause.cause) if (isDiskFull(cause)) return true
  return false
}

function noSpaceToOpen(error: NextkeyError, path: string): NextkeyError {
  return new NextkeyError(
    'ERR_DISK_FULL',
    `cannot open the database in ${path}: the disk is full, and opening writes a checkpoint and begins a new log file. Nothing is lost; free some space, or open it with { readOnly: true }`,
    { retryable: true, cause: error, details: { directory: path } },
  )
}

/** What an opening that was interrupted may have left. */
const OUR_NAMES = new Set(['nextkey.lock', 'nextkey.db.new', 'nextkey.sock', 'wal'])
