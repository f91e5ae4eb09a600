import * as fs from 'node:fs'
import * as path from 'node:path'
import { NextkeyError } from '../base/errors.js'

/**
 * The seam to the operating system's file locks, apart from FileSystem because a lock belongs to a real descriptor.
 * `src/lock/directory-lock.ts` decides what is locked, how long to wait and what to say; here is only the mechanism.
 */
export interface DirectoryLocker {
  /**
   * Opens the directory's lock file, making it if it can be made; with `readOnly` one that can only be read will do.
   * Errors of the operating system are passed on as they are. Throws ERR_LOCK_UNSUPPORTED if this runtime has no locks.
   */
  open(directory: string, readOnly: boolean): Promise<LockFile>
}

/**
 * An open lock file. Its lock belongs to this opening of it: it excludes every other one, in another process, thread or
 * in this very process, and ends at `close` or with the process, however that ends.
 */
export interface LockFile {
  /** The directory, free of symbolic links. */
  readonly directory: string
  /** Tries once: false if another opening holds it. Shared locks tolerate each other. Throws ERR_LOCK_UNSUPPORTED. */
  tryLock(shared: boolean): boolean
  /** What the holder wrote last; '' if nothing can be read. */
  readNote(): string
  /** Replaces the note, as far as the medium can be written: it is for messages only, and fails silently. */
  writeNote(note: string): void
  /** Ends the lock and closes the file, which stays: a removed lock file would let two holders in. */
  close(): void
}

const LOCK_FILE_NAME = 'nextkey.lock'
const NOTE_LIMIT = 4096

/**
 * Kernel locks by way of `fs-native-extensions`: OFD locks on Linux, flock on macOS, LockFileEx on Windows. All belong to the open file
 * description and not, like POSIX locks, to the process, so a second opening in one process is excluded as well.
 */
export const nativeDirectoryLocker: DirectoryLocker = {
  async open(directory, readOnly) {
    const locks = await loadNativeLocks()
    const realDirectory = fs.realpathSync(directory)
    return new NativeLockFile(locks, realDirectory, openLockFile(path.join(realDirectory, LOCK_FILE_NAME), readOnly))
  },
}

type NativeLocks = typeof import('fs-native-extensions')

/** Loaded on first use: Deno is ended by the very attempt. */
async function loadNativeLocks(): Promise<NativeLocks> {
  if ('Deno' in globalThis) throw unsupported('Deno cannot load the native addon that takes it', undefined)
  try {
    return await import('fs-native-extensions')
  } catch (error) {
    throw unsupported(`its native addon does not load on ${process.platform}-${process.arch}`, error)
  }
}

function openLockFile(file: string, readOnly: boolean): number {
  try {
    return fs.openSync(file, fs.constants.O_RDWR | fs.constants.O_CREAT, 0o666)
  } catch (error) {
    if (!readOnly || !REFUSED_WRITING.has((error as NodeJS.ErrnoException).code ?? '')) throw error
    try {
      return fs.openSync(file, fs.constants.O_RDONLY)
    } catch {
      // There is none, and it cannot be made: the first error says why.
      throw error
    }
  }
}

const REFUSED_WRITING = new Set(['EACCES', 'EPERM', 'EROFS'])

class NativeLockFile implements LockFile {
  readonly directory: string
  readonly #locks: NativeLocks
  readonly #fd: number
  #closed = false

  constructor(locks: NativeLocks, directory: string, fd: number) {
    this.#locks = locks
    this.directory = directory
    this.#fd = fd
  }

  tryLock(shared: boolean): boolean {
    try {
      // Windows' locks keep others from reading what they cover, so there one byte far behind the note stands for the file.
      if (process.platform === 'win32') return this.#locks.tryLock(this.#fd, 2 ** 30, 1, { shared })
      return this.#locks.tryLock(this.#fd, 0, 0, { shared })
    } catch (error) {
      throw unsupported(`the file system of ${this.directory} cannot take it (${(error as Error).message})`, error)
    }
  }

  readNote(): string {
    try {
      const bytes = Buffer.alloc(NOTE_LIMIT)
      return bytes.toString('utf8', 0, fs.readSync(this.#fd, bytes, 0, NOTE_LIMIT, 0))
    } catch {
      return ''
    }
  }

  writeNote(note: string): void {
    try {
      fs.ftruncateSync(this.#fd, 0)
      fs.writeSync(this.#fd, note, 0, 'utf8')
    } catch {
      // A full or read-only medium: the lock holds without a note.
    }
  }

  close(): void {
    if (this.#closed) return
    this.#closed = true
    fs.closeSync(this.#fd)
  }
}

function unsupported(reason: string, cause: unknown): NextkeyError {
  return new NextkeyError(
    'ERR_LOCK_UNSUPPORTED',
    `the directory lock cannot be taken: ${reason}. Without it nothing keeps a second process from damaging the database; to open all the same, pass { unsafeShared: true }`,
    { cause },
  )
}
