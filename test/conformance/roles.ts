/**
 * Exchanging the roles of two sessions that were released at the same moment.
 *
 * In the scenarios marked `nondeterministic` two sessions wait, as a rule to insert the same unique value, and one statement releases both;
 * which of them wins is a race. The winner's outcome, its locks and its row belong to the role, not to the session: exchanging the roles
 * exchanges the two outcomes, the two sessions in every lock set, and the two inserted rows wherever one of them appears.
 */
import type { Reading } from './expectation.js'
import type { FinalRows, Lock, Row, Scenario, TableSpec, Value } from './format.js'
import { tablesOf } from './format.js'

interface Roles {
  readonly step: number
  readonly first: { readonly session: string; readonly step: number; readonly row: Row | undefined }
  readonly second: { readonly session: string; readonly step: number; readonly row: Row | undefined }
  readonly table: TableSpec | undefined
}

/** The reading with the roles of each pair of simultaneously released sessions exchanged. */
export function swapRoles(scenario: Scenario, reading: Reading): Reading[] {
  return (scenario.simultaneousResumes ?? []).flatMap((step) => {
    const resumes = reading.steps[step]?.resumes ?? []
    if (resumes.length !== 2) return []
    const [first, second] = resumes.map(({ session, step: waited }) => ({
      session,
      step: waited,
      row: scenario.steps[waited].args.rows?.[0],
    }))
    const table = tablesOf(scenario).find((spec) => spec.name === scenario.steps[first.step].args.table)
    return [swap(reading, { step, first, second, table })]
  })
}

function swap(reading: Reading, roles: Roles): Reading {
  const swapLocks = (locks: readonly Lock[] | undefined) => locks?.map((lock) => swapLock(lock, roles))
  return {
    ...reading,
    name: `${reading.name}, roles of ${roles.first.session} and ${roles.second.session} exchanged`,
    steps: reading.steps.map((expected, i) => {
      if (i < roles.step) return expected
      const [a, b] = expected.resumes
      const resumes =
        i === roles.step
          ? [
              { ...a, expect: b.expect },
              { ...b, expect: a.expect },
            ]
          : expected.resumes
      return { ...expected, resumes, locks: swapLocks(expected.locks) }
    }),
    locksAfter: swapLocks(reading.locksAfter),
    locksAfterProbes: swapLocks(reading.locksAfterProbes),
    finalRows: reading.finalRows && swapFinalRows(reading.finalRows, roles),
  }
}

/** `a` for `b` and `b` for `a`; anything else stays. */
function exchange<T>(value: T, a: T, b: T): T {
  const same = (x: T, y: T) => JSON.stringify(x) === JSON.stringify(y)
  return same(value, a) ? b : same(value, b) ? a : value
}

function swapLock(lock: Lock, { first, second, table }: Roles): Lock {
  const session = exchange(lock.session, first.session, second.session)
  const index = table?.indexes.find((candidate) => candidate.name === lock.index)
  const columns = lock.index === 'PRIMARY' ? table?.pk : index?.columns
  if (
    lock.table !== table?.name ||
    lock.key === undefined ||
    columns === undefined ||
    first.row === undefined ||
    second.row === undefined
  ) {
    return { ...lock, session }
  }
  const entryOf = (row: Row) => ({ key: pick(row, columns), pk: lock.pk === undefined ? undefined : pick(row, table.pk) })
  const entry = exchange({ key: lock.key, pk: lock.pk }, entryOf(first.row), entryOf(second.row))
  return { ...lock, session, key: entry.key, ...(entry.pk === undefined ? {} : { pk: entry.pk }) }
}

function pick(row: Row, columns: readonly string[]): readonly Value[] {
  return columns.map((column) => row[column] ?? null)
}

function swapFinalRows(finalRows: FinalRows, { first, second, table }: Roles): FinalRows {
  const rows = table === undefined ? undefined : finalRows[table.name]
  if (table === undefined || rows === undefined || 'error' in rows || first.row === undefined || second.row === undefined) return finalRows
  const [a, b] = [first.row, second.row]
  return { ...finalRows, [table.name]: rows.map((row) => exchange(row, a, b)) }
}
