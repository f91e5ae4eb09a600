import { anotherWriterIn, NextkeyError } from '../base/errors.js'
import { isDiskFull } from '../base/system-errors.js'

/** Gets the ERR_POISONED, or ERR_ANOTHER_WRITER, that later calls will get. */
export type FailureListener = (error: NextkeyError) => void

/**
 * The first failed write or sync closes the log for good (D16). After it the page cache may show what the disk has not got, so
 * nothing is tried again: whoever waits learns that the fate of its commit is unknown, later calls that the log is closed.
 */
export class LogFailure {
  #error: NextkeyError | undefined
  readonly #listeners: FailureListener[] = []

  get happened(): boolean {
    return this.#error !== undefined
  }

  /** Listeners run once, in the order they came, when the log fails. */
  listen(listener: FailureListener): void {
    this.#listeners.push(listener)
  }

  /** Closes the log; only the first call counts. `deed` completes "could not …". That there is another writer is its own story. */
  happen(deed: string, cause: unknown): void {
    if (this.#error !== undefined) return
    this.#error =
      anotherWriterIn(cause) ??
      new NextkeyError(
        'ERR_POISONED',
        `the write-ahead log could not ${deed}: ${messageOf(cause)}; it takes no more commits, reopen the database to recover`,
        { cause },
      )
    for (const listener of this.#listeners) listener(this.#error)
  }

  /** Raises ERR_POISONED, or ERR_ANOTHER_WRITER, if the log has failed. */
  check(): void {
    if (this.#error !== undefined) throw this.poisoned()
  }

  /** For a commit that was in the log, or half in it, when it failed. */
  commitUnknown(): NextkeyError {
    const cause = this.#error?.cause ?? this.#error
    return new NextkeyError(
      'ERR_COMMIT_UNKNOWN',
      `the write-ahead log failed (${messageOf(cause)}) before this commit was known to be on disk: it may or may not survive; reopen the database to find out`,
      { cause },
    )
  }

  /** For whatever comes later. A new error for each caller: its stack says who asked. */
  poisoned(): NextkeyError {
    const { code = 'ERR_POISONED', message = '', cause, details } = this.#error ?? {}
    return new NextkeyError(code, message, { cause, ...(details === undefined ? {} : { details }) })
  }
}

/** Runs what touches files outside the commit path; raises ERR_DISK_FULL or ERR_IO for errors of the operating system. */
export function translatingErrors<T>(deed: string, work: () => T): T {
  try {
    return work()
  } catch (error) {
    throw isSystemError(error) ? ioError(deed, error) : error
  }
}

/** `deed` completes "could not …". */
export function ioError(deed: string, cause: unknown): NextkeyError {
  const writer = anotherWriterIn(cause)
  if (writer !== undefined) return writer
  const message = `could not ${deed}: ${messageOf(cause)}`
  if (isDiskFull(cause)) return new NextkeyError('ERR_DISK_FULL', `${message}; free some space and try again`, { retryable: true, cause })
  return new NextkeyError('ERR_IO', message, { cause })
}

function isSystemError(error: unknown): boolean {
  return error instanceof Error && !(error instanceof NextkeyError) && typeof (error as { code?: unknown }).code === 'string'
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
