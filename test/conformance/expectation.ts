/**
 * From a scenario to what the engine is expected to do.
 *
 * A reading is one complete course of events that counts as agreement. Most scenarios have exactly one: the values in the scenario with the
 * parts of `mysql97` put over them (MySQL decides wherever the servers differ; "unknown" leaves MariaDB's). There are two reasons for more:
 *
 * 1. MariaDB finds a deadlock at once that MySQL finds at a later step. At once is right, so MySQL's course up to that step and MariaDB's from
 *    there on is a reading too. A deadlock that MySQL never finds is not such a case: there MySQL grants, and granting is expected.
 * 2. `nondeterministic`: two sessions were released at one moment and raced. Every observed alternative is a reading, and each also with the
 *    roles of the two released sessions exchanged.
 */

import {
  type FinalRows,
  type Lock,
  type NowWaiting,
  type Outcome,
  type Probe,
  type ProbeGroup,
  type ProbeTarget,
  probesOf,
  type Resume,
  type Scenario,
  type StepPatch,
} from './format.js'
import { swapRoles } from './roles.js'

export interface ExpectedStep {
  readonly outcome: Outcome
  readonly resumes: readonly Resume[]
  /** Steps that wait for something else from here on; undefined where the data does not say. */
  readonly nowWaiting: readonly NowWaiting[] | undefined
  readonly locks: readonly Lock[] | undefined
}

export interface Reading {
  /** Why this counts as agreement. */
  readonly name: string
  readonly steps: readonly ExpectedStep[]
  readonly locksAfter: readonly Lock[] | undefined
  readonly probes: readonly Probe[]
  readonly locksAfterProbes: readonly Lock[] | undefined
  readonly finalRows: FinalRows | undefined
}

/** Every course of events that agrees with the scenario, the preferred one first. */
export function readingsOf(scenario: Scenario): Reading[] {
  const { mysql97 } = scenario
  const observed = baseReading(scenario)
  if (scenario.nondeterministic === true) {
    const races = [observed, ...(scenario.alternatives ?? []).map((alternative) => alternativeReading(scenario, alternative))]
    return races.flatMap((race) => [race, ...swapRoles(scenario, race)])
  }
  if (typeof mysql97 === 'string') return [observed]
  const mysql = mysqlReading(scenario)
  const atOnce = deadlockFoundEarlier(observed, mysql)
  return atOnce === undefined ? [mysql] : [mysql, deadlockAtOnce(observed, mysql, atOnce)]
}

function baseReading(scenario: Scenario): Reading {
  const probes = probesOf(scenario)
  return {
    name: scenario.mysql97 === 'same' ? 'both servers' : 'MariaDB 10.11',
    steps: scenario.steps.map((step) => ({
      outcome: step.expect,
      resumes: step.resumes ?? [],
      nowWaiting: step.nowWaiting ?? [],
      locks: step.locks,
    })),
    locksAfter: scenario.locks_after,
    probes,
    locksAfterProbes: scenario.locks_after_probes ?? (probes.length > 0 ? scenario.locks_after : undefined),
    finalRows: scenario.finalRows,
  }
}

/** `mysql97` names only what differs, but changes of a wait and locks after the probes were not recorded there: they are not compared then. */
function mysqlReading(scenario: Scenario): Reading {
  const base = baseReading(scenario)
  const { mysql97 } = scenario
  if (typeof mysql97 === 'string') return base
  const sameLocks = mysql97.locks_after === undefined && mysql97.probes === undefined && mysql97.steps === undefined
  return {
    name: 'MySQL 9.7',
    steps: patchSteps(base.steps, mysql97.steps ?? []),
    locksAfter: mysql97.locks_after ?? base.locksAfter,
    probes: patchProbes(scenario, base.probes),
    locksAfterProbes: mysql97.locks_after_probes ?? (sameLocks ? base.locksAfterProbes : undefined),
    finalRows: mysql97.finalRows ?? base.finalRows,
  }
}

function alternativeReading(scenario: Scenario, alternative: NonNullable<Scenario['alternatives']>[number]): Reading {
  const base = baseReading(scenario)
  const steps = patchSteps(base.steps, alternative.steps ?? [])
  // The locks of the alternative were recorded only after its last step.
  const since = Math.min(...(alternative.steps ?? []).map((patch) => patch.i))
  return {
    ...base,
    name: 'the other outcome of the race',
    steps: steps.map((step, i) => (i >= since ? { ...step, locks: alternative.steps?.find((patch) => patch.i === i)?.locks } : step)),
    locksAfter: alternative.locks_after ?? base.locksAfter,
    finalRows: alternative.finalRows ?? base.finalRows,
  }
}

function patchSteps(steps: readonly ExpectedStep[], patches: readonly StepPatch[]): ExpectedStep[] {
  const byStep = new Map(patches.map((patch) => [patch.i, patch]))
  const first = Math.min(...byStep.keys())
  return steps.map((step, i) => {
    const patch = byStep.get(i)
    const nowWaiting = patch?.nowWaiting ?? (i < first ? step.nowWaiting : undefined)
    if (patch === undefined) return { ...step, nowWaiting }
    // Where the statement was not even submitted there, the locks after it were not recorded.
    const skipped = patch.expect !== undefined && 'skipped' in patch.expect
    const locks = patch.locks ?? (skipped ? undefined : step.locks)
    return { outcome: patch.expect ?? step.outcome, resumes: patch.resumes ?? step.resumes, nowWaiting, locks }
  })
}

/** How `mysql97.probes` names a probe. */
function probeName(group: ProbeGroup, target: ProbeTarget): string {
  const parts: unknown[] = [group.op, group.table]
  if (group.index !== undefined) parts.push(group.index)
  if (group.set !== undefined) parts.push(group.set)
  return JSON.stringify([...parts, target])
}

function patchProbes(scenario: Scenario, probes: readonly Probe[]): Probe[] {
  const patches = typeof scenario.mysql97 === 'string' ? [] : (scenario.mysql97.probes ?? [])
  const outcomes = new Map(patches.map((patch) => [JSON.stringify(patch.probe), patch.mysql]))
  // A row may be probed twice, and was then patched once for both.
  const unused = new Set(outcomes.keys())
  const patched = probes.map((probe) => {
    const name = probeName(probe.group, probe.target)
    unused.delete(name)
    return { ...probe, outcome: outcomes.get(name) ?? probe.outcome }
  })
  const unmatched = [...unused][0]
  if (unmatched !== undefined) throw new Error(`${scenario.id}: mysql97 changes a probe the scenario does not have: ${unmatched}`)
  return patched
}

function isDeadlock(outcome: Outcome): boolean {
  return 'error' in outcome && outcome.error.code === 'deadlock'
}

/** Steps at which a deadlock is reported, once per victim, in order. */
function deadlockSteps(reading: Reading): number[] {
  return reading.steps.flatMap((step, i) => [step.outcome, ...step.resumes.map((resume) => resume.expect)].filter(isDeadlock).map(() => i))
}

/** The step at which MariaDB finds a deadlock that MySQL finds later, if there is one. */
function deadlockFoundEarlier(mariadb: Reading, mysql: Reading): number | undefined {
  const early = deadlockSteps(mariadb)
  const late = deadlockSteps(mysql)
  if (early.length !== late.length) return undefined
  const at = early.findIndex((step, n) => step !== late[n])
  return at >= 0 && early[at] < late[at] ? early[at] : undefined
}

function deadlockAtOnce(mariadb: Reading, mysql: Reading, at: number): Reading {
  return {
    ...mariadb,
    name: 'the deadlock found at once',
    steps: mysql.steps.map((step, i) => (i < at ? step : mariadb.steps[i])),
  }
}
