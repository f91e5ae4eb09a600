import { describe, InvalidArgumentError } from './base/errors.js'
import type { WaitPolicy } from './txn/row-locks.js'

export interface WaitOption {
  /** 'nowait': ERR_LOCK_NOT_AVAILABLE instead of a wait; 'skip': leaves out rows that are locked; a number: milliseconds per wait. */
  wait?: 'nowait' | 'skip' | number
}

export function policyOf(options: WaitOption): WaitPolicy {
  const { wait } = options
  if (wait === undefined || wait === 'nowait' || wait === 'skip') return wait ?? 'wait'
  if (typeof wait === 'number' && wait >= 0) return 'wait'
  throw new InvalidArgumentError(`wait is 'nowait', 'skip' or a number of milliseconds, not ${describe(wait)}`, { wait })
}
