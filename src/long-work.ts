import { describe, InvalidArgumentError, NextkeyError } from './base/errors.js'
import type { Clock } from './platform/clock.js'
import { mustKnow } from './table-options.js'

/** Of work that takes its time: backup, compact, check. */
export interface LongWorkOptions {
  /** Called now and then, with how much of how much is done. */
  onProgress?: (progress: { done: number; total: number }) => void
  /** Ends the work with ERR_ABORTED. */
  signal?: AbortSignal
}

/** Raises ERR_INVALID_ARGUMENT, ERR_ABORTED. */
export function checkLongWork(options: LongWorkOptions, what: string): void {
  if (typeof options !== 'object' || options === null)
    throw new InvalidArgumentError(`the options of ${what} are an object, not ${describe(options)}`)
  mustKnow(options, LONG_WORK_OPTIONS, what)
  mustGoOn(options.signal)
}

/** What work in slices calls: it ends with the signal and with the database, and gives others a turn every few milliseconds. */
export function longWorkHooks({ onProgress, signal }: LongWorkOptions, db: SlicedWork): LongWorkHooks {
  const { clock } = db.engine.environment
  let steps = 0
  let since = clock.now()
  return {
    onProgress: (done, total) => onProgress?.({ done, total }),
    pause: () => {
      if ((++steps & 15) !== 0 || (steps < STEPS_PER_SLICE && clock.now() - since < MS_PER_SLICE)) return undefined
      mustGoOn(signal)
      db.mustBeOpen()
      steps = 0
      return clock.macrotask().then(() => {
        db.mustBeOpen()
        since = clock.now()
      })
    },
  }
}

interface SlicedWork {
  readonly engine: { readonly environment: { readonly clock: Clock } }
  mustBeOpen(): void
}

export interface LongWorkHooks {
  pause(): Promise<void> | undefined
  onProgress(done: number, total: number): void
}

/** Raises ERR_ABORTED once the signal has fired. */
export function mustGoOn(signal: AbortSignal | undefined): void {
  if (signal?.aborted === true) throw new NextkeyError('ERR_ABORTED', 'the work was ended by its signal', { cause: signal.reason })
}

const STEPS_PER_SLICE = 32_768
const MS_PER_SLICE = 5
const LONG_WORK_OPTIONS: ReadonlySet<string> = new Set(['onProgress', 'signal'])
