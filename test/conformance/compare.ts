/**
 * Compares what the engine did with one reading of a scenario, by the rules of the golden data's "What counts as agreement".
 *
 * Compared: the outcome of every step (rows in order, affected, changed, insertId; what a waiting step waits for; the error's code), which
 * waiting steps resume and how, lock sets as unions, probes, final rows. Not compared: error texts and numbers, warnings, delete marks,
 * metadata lock listings, the wording of a metadata wait, the order in which several sessions resume within one step.
 */

import type { Observation, StepObservation } from './execute.js'
import type { Reading } from './expectation.js'
import type { Outcome, Row, Scenario, StatementResult, Value } from './format.js'
import { compareLocks, describeWait } from './locks.js'

export interface Difference {
  /** Index of the step, or the number of steps for what is looked at after the last one. */
  readonly step: number
  readonly what: string
  readonly expected: string
  readonly actual: string
}

export interface Verdict {
  readonly differences: readonly Difference[]
  /** The reading the engine came closest to. */
  readonly reading: Reading
}

/** Judges by the reading with the fewest differences; the first of equals. */
export function judge(scenario: Scenario, readings: readonly Reading[], observation: Observation): Verdict {
  let best: Verdict | undefined
  for (const reading of readings) {
    const differences = compare(scenario, reading, observation)
    if (best === undefined || differences.length < best.differences.length) best = { differences, reading }
    if (differences.length === 0) break
  }
  if (best === undefined) throw new Error(`${scenario.id}: no reading`)
  return best
}

export function compare(scenario: Scenario, reading: Reading, observation: Observation): Difference[] {
  const differences: Difference[] = []
  const end = scenario.steps.length
  for (const [i, expected] of reading.steps.entries()) {
    const actual = observation.steps[i]
    const report = (what: string, want: string, got: string) => differences.push({ step: i, what, expected: want, actual: got })
    compareText(describeOutcome(expected.outcome, expected.outcome), describeOutcome(actual.outcome, expected.outcome), 'outcome', report)
    compareResumes(expected.resumes, actual, report)
    if (expected.nowWaiting !== undefined) compareWaits(expected.nowWaiting, actual, report)
    if (expected.locks !== undefined) reportLocks('locks', expected.locks, actual.locks, report)
  }
  const report = (what: string, want: string, got: string) => differences.push({ step: end, what, expected: want, actual: got })
  if (reading.locksAfter !== undefined) reportLocks('locks after the last step', reading.locksAfter, observation.locksAfter, report)
  for (const [n, probe] of reading.probes.entries()) {
    const { op, table, index, set } = probe.group
    const how = [op, table, index, set && JSON.stringify(set), JSON.stringify(probe.target)].filter((part) => part !== undefined).join(' ')
    compareText(probe.outcome, observation.probes.get(n) ?? 'not run', `probe ${how}`, report)
  }
  if (reading.locksAfterProbes !== undefined)
    reportLocks('locks after the probes', reading.locksAfterProbes, observation.locksAfterProbes, report)
  for (const [table, rows] of Object.entries(reading.finalRows ?? {})) {
    const actual = observation.finalRows[table]
    compareText(describeTable(rows), actual === undefined ? 'not read' : describeTable(actual), `final rows of ${table}`, report)
  }
  return differences
}

type Report = (what: string, expected: string, actual: string) => void

function compareText(expected: string, actual: string, what: string, report: Report): void {
  if (expected !== actual) report(what, expected, actual)
}

function compareResumes(expected: Reading['steps'][number]['resumes'], actual: StepObservation, report: Report): void {
  const wanted = new Map(expected.map((resume) => [resume.step, resume]))
  for (const { step, session, expect } of expected) {
    const outcome = actual.resumed.get(step)
    const got = outcome === undefined ? 'it does not' : describeOutcome(outcome.outcome, expect)
    compareText(describeOutcome(expect, expect), got, `${session}'s step ${step} resumes`, report)
  }
  for (const [step, { session, outcome }] of actual.resumed) {
    if (!wanted.has(step)) report(`${session}'s step ${step} resumes`, 'it does not', describeOutcome(outcome, outcome))
  }
}

function compareWaits(expected: NonNullable<Reading['steps'][number]['nowWaiting']>, actual: StepObservation, report: Report): void {
  const wanted = new Map(expected.map((wait) => [wait.session, describeWait(wait.on)]))
  for (const session of new Set([...wanted.keys(), ...actual.movedOn])) {
    const now = actual.waits.get(session) ?? 'nothing'
    compareText(wanted.get(session) ?? 'the same as before', now, `${session} now waits for`, report)
  }
}

function reportLocks(
  what: string,
  expected: Parameters<typeof compareLocks>[0],
  actual: Parameters<typeof compareLocks>[1],
  report: Report,
): void {
  for (const { place, expected: want, actual: got } of compareLocks(expected, actual)) report(`${what}: ${place}`, want, got)
}

/** Equal outcomes are equal strings. `like` is the expected outcome: counts it does not name are left out. */
function describeOutcome(outcome: Outcome, like: Outcome): string {
  if ('skipped' in outcome) return 'not submitted: the session is still blocked'
  if ('error' in outcome)
    return outcome.error.message === undefined ? `error ${outcome.error.code}` : `error ${outcome.error.code} (${outcome.error.message})`
  if ('blocked' in outcome) {
    if (outcome.on === undefined) return 'neither finished nor waiting'
    return `waits for ${describeWait(outcome.on)}`
  }
  return describeResult(outcome.result, 'result' in like ? like.result : outcome.result)
}

function describeResult(result: StatementResult, like: StatementResult): string {
  const parts: string[] = []
  if (result.rows !== undefined) parts.push(describeRows(result.rows))
  for (const count of ['affected', 'changed', 'insertId'] as const) {
    if (like[count] !== undefined) parts.push(`${count} ${result[count] ?? 'not given'}`)
  }
  return parts.length === 0 ? 'done' : parts.join(', ')
}

function describeRows(rows: readonly Row[]): string {
  if (rows.length === 0) return 'no rows'
  return rows
    .map(
      (row) =>
        `(${Object.keys(row)
          .sort()
          .map((column) => `${column}=${describeValue(row[column])}`)
          .join(' ')})`,
    )
    .join(' ')
}

function describeValue(value: Value): string {
  return JSON.stringify(value)
}

function describeTable(rows: readonly Row[] | { readonly error: string }): string {
  return 'error' in rows ? `error ${rows.error}` : describeRows(rows)
}
