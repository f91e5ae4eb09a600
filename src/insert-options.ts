import { describe, InvalidArgumentError } from './base/errors.js'
import { PLAIN, type StatementOptions } from './row-statements.js'
import type { InsertOptions } from './table.js'
import { mustKnow } from './table-options.js'
import type { StatementValues } from './txn/auto-increment.js'
import { policyOf } from './wait-option.js'

/** Checks the options of insert(), insertMany() and insertFrom(); `values` for the latter two. Raises ERR_INVALID_ARGUMENT. */
export function insertOptions(options: unknown, values: StatementValues | undefined): StatementOptions {
  if (options === undefined) return values === undefined ? PLAIN : { ...PLAIN, values }
  if (typeof options !== 'object' || options === null)
    throw new InvalidArgumentError(`the options of insert() are an object, not ${describe(options)}`)
  mustKnow(options, INSERT_OPTIONS, 'insert()')
  const { onDuplicate, onReplaced, wait } = options as InsertOptions
  if (onDuplicate !== undefined && onDuplicate !== 'ignore' && onDuplicate !== 'replace' && typeof onDuplicate !== 'function') {
    throw new InvalidArgumentError(`onDuplicate is 'ignore', 'replace' or a function, not ${describe(onDuplicate)}`, { onDuplicate })
  }
  return { onDuplicate, onReplaced, policy: policyOf(wait === undefined ? {} : { wait }), values }
}

const INSERT_OPTIONS: ReadonlySet<string> = new Set(['onDuplicate', 'onReplaced', 'wait'])
