import type { Database } from '../database.js'
import { NextkeyError, type OpenOptions } from '../index.js'
import { dataPath, openWith } from '../tools.js'
import type { CommonOptions, Context, Exit } from './context.js'
import { type Style, styleFor } from './output.js'
import { Progress } from './progress.js'

/** One run of a command: opens databases, speaks to people or programs. */
export class Session {
  readonly context: Context
  readonly options: CommonOptions
  /** For what goes to standard output. */
  readonly style: Style

  constructor(context: Context, options: CommonOptions) {
    this.context = context
    this.options = options
    this.style = styleFor(context.stdout)
  }

  /** The result: as JSON with --json, else as text. */
  async result(value: unknown, text: () => string): Promise<void> {
    await this.context.stdout.write(this.options.json === true ? `${JSON.stringify(value, null, 2)}\n` : `${text()}\n`)
  }

  /** A word about how things go, beside the result. */
  async note(text: string): Promise<void> {
    if (this.options.quiet !== true) await this.context.stderr.write(`${text}\n`)
  }

  progress(label: string): Progress {
    const { stderr } = this.context
    return new Progress(label, this.options.quiet === true || !stderr.isTerminal ? undefined : stderr.stream)
  }

  /** Runs long work under a progress bar and with Ctrl-C. */
  async long<T>(
    label: string,
    work: (options: { onProgress: (p: { done: number; total: number }) => void; signal: AbortSignal }) => Promise<T>,
  ): Promise<T> {
    const progress = this.progress(label)
    try {
      return await work({ onProgress: ({ done, total }) => progress.update(done, total), signal: this.context.signal })
    } finally {
      progress.stop()
    }
  }

  /** Opens a database that must be there, with the lock, to change it; recovers it if that is needed. */
  async change<T>(directory: string, work: (db: Database) => Promise<T>, options: OpenOptions = {}): Promise<T> {
    this.mustExist(directory)
    return this.#with(directory, { ...this.#waiting(), ...options }, work)
  }

  /** The same, where a database is made if there is none. */
  async changeOrMake<T>(directory: string, work: (db: Database) => Promise<T>): Promise<T> {
    return this.#with(directory, this.#waiting(), work)
  }

  /**
   * Opens a database to look at it: nothing is changed. Beside a running application it shows the newest checkpoint; what the application
   * writes over meanwhile is noticed, so `work` is tried again with a newer one; unless what it has done by then cannot be taken back.
   */
  async look<T>(directory: string, work: (db: Database) => Promise<T>, mayBeginAnew: () => boolean = () => true): Promise<T> {
    this.mustExist(directory)
    let opened = false
    try {
      return await this.#with(directory, { readOnly: true }, (db) => {
        opened = true
        return work(db)
      })
    } catch (error) {
      // Another directory may be locked as well: that of a copy.
      if (opened || !(error instanceof NextkeyError && error.code === 'ERR_DIRECTORY_LOCKED')) throw error
    }
    await this.note('The database is in use: this shows its newest checkpoint.')
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.#with(directory, { readOnly: true, unsafeShared: true }, work)
      } catch (error) {
        if (attempt === ATTEMPTS || !(isDamage(error) || isGone(error)) || !mayBeginAnew()) throw error
      }
    }
  }

  /** Raises ERR_NOT_FOUND: a tool never makes a database where none is. */
  mustExist(directory: string): void {
    if (this.context.environment.fileSystem.exists(dataPath(directory))) return
    throw new NextkeyError('ERR_NOT_FOUND', `there is no database in ${directory}: it has no file nextkey.db`, { details: { directory } })
  }

  /** As --wait says; tells once who is waited for. */
  #waiting(): OpenOptions {
    const { wait = 0 } = this.options
    let told = false
    return {
      waitForLock: wait * 1000,
      onLockWait: ({ held }) => {
        if (this.context.signal.aborted)
          throw new NextkeyError('ERR_ABORTED', 'interrupted while waiting for the database: nothing was done')
        if (!told) void this.note(`The database is open ${held}: waiting up to ${wait} s for it.`)
        told = true
      },
    }
  }

  async #with<T>(directory: string, options: OpenOptions, work: (db: Database) => Promise<T>): Promise<T> {
    const { walDirectory } = this.options
    const db = await openWith(this.context.environment, directory, {
      ...(walDirectory === undefined ? {} : { walDirectory }),
      cacheSize: CACHE_SIZE,
      ...options,
    })
    try {
      return await work(db)
    } finally {
      await db.close()
    }
  }
}

/** What a command is: its arguments are checked, its errors are told by the caller. */
export type Command<Options> = (session: Session, options: Options, ...directories: string[]) => Promise<Exit>

export function isDamage(error: unknown): boolean {
  return error instanceof NextkeyError && (error.code === 'ERR_DAMAGED' || error.code === 'ERR_LOG_DAMAGED')
}

/** What was read beside the owner was written over. */
function isGone(error: unknown): boolean {
  return error instanceof NextkeyError && error.code === 'ERR_SNAPSHOT_GONE'
}

/** A tool should not take the memory of the application that it serves. */
const CACHE_SIZE = 64 * 2 ** 20
const ATTEMPTS = 5
