/**
 * Scenarios the product deliberately has no counterpart for. Each rule names the SQL notion and why it is absent; a scenario is set aside as a
 * whole, since what follows such a step depends on it. There should be few.
 */
import type { Scenario, Step } from './format.js'

interface Rule {
  readonly reason: string
  applies(step: Step, scenario: Scenario): boolean
}

const STEP_RULES: readonly Rule[] = [
  {
    reason: 'adding a column: rows have no fixed columns',
    applies: (step) => step.op === 'alterTable',
  },
  {
    reason: 'FLUSH TABLES t: there is no table cache to flush',
    applies: (step) => step.op === 'flushTable',
  },
  {
    reason: 'auto_increment_increment and _offset: made for multi-master replication, which there is none of',
    applies: (step) => step.op === 'setAutoIncrementStep',
  },
  {
    reason: 'renaming two tables in one statement: db.renameTable renames one',
    applies: (step) => step.op === 'renameTable' && step.args.renames !== undefined,
  },
  {
    reason: 'a session under LOCK TABLES is refused other tables: tx.lockTable adds a lock to a transaction and restricts nothing',
    applies: (step) => 'error' in step.expect && step.expect.error.code.startsWith('tableNotLocked'),
  },
  {
    reason: 'a session under FLUSH TABLES WITH READ LOCK is refused writes: db.freeze belongs to no session',
    applies: (step) => 'error' in step.expect && step.expect.error.code === 'conflictingGlobalReadLock',
  },
]

/** The reason the scenario has no counterpart in the product, or undefined when it applies. */
export function notApplicable(scenario: Scenario): string | undefined {
  if (scenario.sessionSql?.includes('index_condition_pushdown=off')) {
    return 'index condition pushdown switched off: bounds of a range are always checked on the index entry'
  }
  for (const step of scenario.steps) {
    for (const rule of STEP_RULES) {
      if (rule.applies(step, scenario)) return rule.reason
    }
  }
  return undefined
}
