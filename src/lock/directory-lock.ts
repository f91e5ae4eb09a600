import { DirectoryLockedError, type ErrorCode, NextkeyError } from '../base/errors.js'
import { isDiskFull } from '../base/system-errors.js'
import type { Clock } from '../platform/clock.js'
import type { DirectoryLocker, LockFile } from '../platform/directory-locker.js'
import { describeSelf, type Holder, isThisProcess, nameHolder, parseHolder } from '../platform/holder.js'

/**
 * One owner per directory (D15).
 *
 * Rules:
 * 1. The kernel's lock on the lock file alone decides. What the file says is for messages: it may be out of date, cut or missing.
 * 2. Whoever writes holds the lock alone; read-only openings share it among themselves. So "somebody has it open" needs
 *    no counting, and ends with the holder's last descriptor: on close, exit, crash or kill -9.
 * 3. Where the lock cannot be taken for want of support, opening is refused. Another mechanism would not see this one.
 * 4. The lock file is never removed.
 */
export interface DirectoryLock {
  /** The directory, free of symbolic links. */
  readonly directory: string
  /** Lets the next one in. A second call does nothing. */
  release(): void
}

export interface DirectoryLockOptions {
  locker: DirectoryLocker
  clock: Clock
  /** How long to go on trying while somebody else has it, in ms. Default 0: one attempt. */
  waitMs?: number
  /** Where the caller opened the database, for the message others get. */
  openedAt?: string
  /** Shares the directory with other readers. Default false. */
  readOnly?: boolean
  /** Called when somebody else has it, and after every further attempt in vain. What it raises ends the wait. */
  onWait?: ((wait: LockWait) => void) | undefined
}

/** A wait for a directory that somebody else has. */
export interface LockWait {
  directory: string
  /** Milliseconds so far, and until it is given up. */
  waited: number
  left: number
  /** Who has it, as far as that is known. */
  holder: Readonly<Holder>
  /** The same in words: "in process 4711 on web1 (/srv/app.js in /srv) since …". */
  held: string
}

const RETRY_INTERVAL_MS = 50

/**
 * Takes the lock of an existing directory. Throws DirectoryLockedError if somebody else has it all the time that was given;
 * ERR_LOCK_UNSUPPORTED if it cannot be taken here; ERR_IO or ERR_DISK_FULL if the lock file cannot be opened.
 */
export async function lockDirectory(path: string, options: DirectoryLockOptions): Promise<DirectoryLock> {
  const { locker, readOnly = false } = options
  return takeLock(await openLockFile(locker, path, readOnly), options, '')
}

/**
 * The same for a database whose log lies in a directory of its own: both, or none. They may be one and the same, by whatever path. Whoever has one has a
 * database there, so two databases do not share a log's directory either.
 */
export async function lockWithLog(path: string, logDirectory: string, options: DirectoryLockOptions): Promise<DirectoryLock> {
  const { locker, clock, waitMs = 0, readOnly = false } = options
  const deadline = clock.now() + waitMs
  const lock = await lockDirectory(path, options)
  try {
    const file = await openLockFile(locker, logDirectory, readOnly)
    if (file.directory === lock.directory) {
      file.close()
      return lock
    }
    const logLock = await takeLock(file, { ...options, waitMs: Math.max(0, deadline - clock.now()) }, 'the log directory ')
    return new BothLocks(lock, logLock)
  } catch (error) {
    lock.release()
    throw error
  }
}

/** `role`: what the directory is, for messages. */
async function takeLock(file: LockFile, options: DirectoryLockOptions, role: string): Promise<DirectoryLock> {
  const { clock, waitMs = 0, openedAt, readOnly = false, onWait } = options
  try {
    const begun = clock.now()
    while (!file.tryLock(readOnly)) {
      const waited = clock.now() - begun
      if (waited >= waitMs) throw refusal(file, waitMs, role)
      onWait?.(describeWait(file, waited, waitMs - waited))
      await sleep(clock, Math.min(RETRY_INTERVAL_MS, waitMs - waited))
    }
  } catch (error) {
    file.close()
    throw error
  }
  file.writeNote(JSON.stringify(describeSelf(clock, readOnly, openedAt)))
  return new HeldLock(file)
}

function describeWait(file: LockFile, waited: number, left: number): LockWait {
  const holder = parseHolder(file.readNote())
  return { directory: file.directory, waited, left, holder, held: nameHolder(holder) }
}

class BothLocks implements DirectoryLock {
  readonly directory: string
  readonly #locks: readonly DirectoryLock[]

  constructor(...locks: readonly DirectoryLock[]) {
    this.directory = locks[0].directory
    this.#locks = locks
  }

  release(): void {
    for (const lock of this.#locks) lock.release()
  }
}

class HeldLock implements DirectoryLock {
  readonly directory: string
  readonly #file: LockFile
  #released = false

  constructor(file: LockFile) {
    this.directory = file.directory
    this.#file = file
  }

  release(): void {
    if (this.#released) return
    this.#released = true
    this.#file.writeNote('')
    this.#file.close()
  }
}

/** Somebody waits for the lock, so the process stays alive for it. */
function sleep(clock: Clock, ms: number): Promise<void> {
  return new Promise((resolve) => clock.setTimer(ms, resolve, true))
}

async function openLockFile(locker: DirectoryLocker, path: string, readOnly: boolean): Promise<LockFile> {
  try {
    return await locker.open(path, readOnly)
  } catch (error) {
    if (error instanceof NextkeyError) throw error
    const { code = '', message } = error as NodeJS.ErrnoException
    const [ours, remedy] = isDiskFull(error) ? (['ERR_DISK_FULL', ''] as const) : openError(code, readOnly)
    throw new NextkeyError(ours, `the lock file in ${path} cannot be opened: ${message}${remedy}`, { cause: error })
  }
}

/** What it means for the caller, and what it can do. */
function openError(code: string, readOnly: boolean): [ErrorCode, string] {
  if (!NOT_FOR_WRITING.has(code)) return ['ERR_IO', '']
  return [
    'ERR_LOCK_UNSUPPORTED',
    readOnly ? '; to read it without the lock, pass { readOnly: true, unsafeShared: true }' : '; to read it only, pass { readOnly: true }',
  ]
}

/** The medium, or who owns the files, does not let us make or change one. */
const NOT_FOR_WRITING = new Set(['EACCES', 'EPERM', 'EROFS'])

function refusal(file: LockFile, waitMs: number, role: string): DirectoryLockedError {
  const holder = parseHolder(file.readNote())
  const waited = waitMs > 0 ? ` (waited ${Math.round(waitMs)} ms)` : ''
  return new DirectoryLockedError(`${role}${file.directory} is already open ${nameHolder(holder)}${waited}. ${advice(holder, waitMs)}`, {
    ...holder,
  })
}

function advice(holder: Holder, waitMs: number): string {
  if (isThisProcess(holder)) return 'Close it first, or share the one that is open'
  if (waitMs > 0) return 'Close it there first'
  return 'Close it there first, or pass { waitForLock: ms } to wait for it'
}
