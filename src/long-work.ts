import { describe, InvalidArgumentError, NextkeyError } from './base/errors.js'
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

/** Raises ERR_ABORTED once the signal has fired. */
export function mustGoOn(signal: AbortSignal | undefined): void {
  if (signal?.aborted === true) throw new NextkeyError('ERR_ABORTED', 'the work was ended by its signal', { cause: signal.reason })
}

const LONG_WORK_OPTIONS: ReadonlySet<string> = new Set(['onProgress', 'signal'])
