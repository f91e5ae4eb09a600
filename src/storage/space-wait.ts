import { NextkeyError } from '../base/errors.js'
import { isDiskFull } from '../base/system-errors.js'
import type { Clock } from '../platform/clock.js'

/**
 * A full disk is no failure (D16): what did not fit is written again until it does. The bytes are in memory, in a staging buffer, and nothing
 * depends on them yet, so writing them again is harmless; unlike a sync, which is never tried again.
 *
 * N1. While something waits for space (`full`), nothing is changed that could be refused: statements, commits and checkpoints raise ERR_DISK_FULL.
 *     What cannot be refused (rollback, purge under way, reads) takes frames that are clean.
 * N2. Only asynchronous writes of pages wait. A synchronous one that does not fit becomes one, or fails.
 * N3. Nobody waits without end: whoever waits for a checkpoint that can be given up is let go when the disk is full; for others (`hurry`), and once
 *     the database closes (`giveUp`), a full disk is the failure it would be for any write.
 */
export class SpaceWait {
  /** Undefined: a full disk is a failure like others. */
  #clock: Clock | undefined
  #hurried = 0
  /** Writes that wait. */
  #waiting = 0
  #cause: unknown
  /** End the waits of those that need not wait for space. */
  readonly #letGo: Set<() => void> = new Set()
  /** End the pauses of writes that wait. */
  readonly #wakers: Set<() => void> = new Set()

  /** From now on a full disk is waited for. */
  allow(clock: Clock): void {
    this.#clock = clock
  }

  /** For good: what waits is tried for the last time. */
  giveUp(): void {
    this.#clock = undefined
    for (const wake of Array.from(this.#wakers)) wake()
  }

  /** Runs work that needs its checkpoint, whatever the disk: it does not wait for space. */
  async hurry<T>(work: () => Promise<T>): Promise<T> {
    this.#hurried++
    try {
      return await work()
    } finally {
      this.#hurried--
    }
  }

  get isFull(): boolean {
    return this.#waiting > 0
  }

  /** ERR_DISK_FULL while something waits for space. */
  get full(): NextkeyError | undefined {
    if (this.#waiting === 0) return undefined
    return new NextkeyError(
      'ERR_DISK_FULL',
      'the disk is full: pages or log wait for space, and changes are refused meanwhile; free some space and try again',
      { retryable: true, cause: this.#cause },
    )
  }

  /** Resolves when the promise settles, however it does, or when the disk is full. */
  orFull(promise: Promise<unknown>): Promise<void> {
    if (this.#waiting > 0) return Promise.resolve()
    return new Promise((resolve) => {
      const letGo = (): void => {
        this.#letGo.delete(letGo)
        resolve()
      }
      this.#letGo.add(letGo)
      promise.then(letGo, letGo)
    })
  }

  /** Whether a write that failed so is to be tried again. */
  mayWait(error: unknown): boolean {
    if (this.#clock === undefined || this.#hurried > 0) return false
    return isDiskFull(error) || (error instanceof NextkeyError && error.code === 'ERR_DISK_FULL')
  }

  /**
   * Does `attempt` until it fits; stops early once `isOver` says that somebody else has done it. `tried`: how a first attempt has ended, if there was
   * one. Raises what it fails with for other reasons.
   */
  async write(attempt: () => Promise<void>, isOver: () => boolean, tried?: unknown): Promise<void> {
    let failure = tried
    let waits = false
    try {
      for (;;) {
        if (failure !== undefined) {
          if (isOver()) return
          if (!this.mayWait(failure)) throw failure
          if (!waits) this.#begin(failure)
          waits = true
          await this.#pause()
          if (isOver()) return
        }
        failure = await attempt().then(
          () => undefined,
          (error: unknown) => error,
        )
        if (failure === undefined) return
      }
    } finally {
      if (waits) this.#waiting--
    }
  }

  #pause(): Promise<void> {
    return new Promise((resolve) => {
      const wake = (): void => {
        this.#wakers.delete(wake)
        cancel?.()
        resolve()
      }
      const cancel = this.#clock?.setTimer(RETRY_MS, wake)
      this.#wakers.add(wake)
    })
  }

  #begin(cause: unknown): void {
    this.#waiting++
    this.#cause = cause
    for (const letGo of Array.from(this.#letGo)) letGo()
  }
}

const RETRY_MS = 100
