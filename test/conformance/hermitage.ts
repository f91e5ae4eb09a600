/**
 * The Hermitage anomalies at every isolation level, as a table.
 *
 * Each anomaly is a script (a scenario of group `hermitage`, whatever level it was observed at) that is run at all five levels, and a predicate
 * on what its sessions saw: whether the anomaly occurred. Agreement with InnoDB, step by step, is the runner's business; this is the summary.
 */
import type { EngineAdapter } from './adapter.js'
import { execute, type Observation } from './execute.js'
import type { IsolationCode, Outcome, Row, Scenario } from './format.js'

export type Level = IsolationCode | 'SNAPSHOT'
const LEVELS: readonly { readonly level: Level; readonly title: string }[] = [
  { level: 'RU', title: 'read-uncommitted' },
  { level: 'RC', title: 'read-committed' },
  { level: 'RR', title: 'repeatable-read' },
  { level: 'SNAPSHOT', title: 'snapshot' },
  { level: 'SER', title: 'serializable' },
]

interface FinishedStep {
  readonly session: string
  readonly op: string
  readonly outcome: Outcome
}

/** What each session got to see and do, in step order, waits resolved. */
class Course {
  readonly #steps: readonly FinishedStep[]
  readonly #final: readonly Row[]

  constructor(scenario: Scenario, observation: Observation) {
    const resumed = new Map(observation.steps.flatMap((step) => [...step.resumed].map(([i, { outcome }]) => [i, outcome] as const)))
    this.#steps = scenario.steps.map(({ i, session, op }) => ({ session, op, outcome: resumed.get(i) ?? observation.steps[i].outcome }))
    const rows = observation.finalRows[scenario.schema.name] ?? []
    this.#final = 'error' in rows ? [] : rows
  }

  /** Rows of each finished read of the session. */
  reads(session: string): (readonly Row[])[] {
    return this.#steps.flatMap((step) =>
      step.session === session && 'result' in step.outcome && step.outcome.result.rows ? [step.outcome.result.rows] : [],
    )
  }

  /** Rows affected by each write of the session; undefined for one that failed or did not run. */
  writes(session: string): (number | undefined)[] {
    return this.#steps
      .filter((step) => step.session === session && ['update', 'insert', 'delete'].includes(step.op))
      .map(({ outcome }) => ('result' in outcome ? outcome.result.affected : undefined))
  }

  succeeded(session: string): boolean {
    return this.writes(session).every((affected) => affected !== undefined)
  }

  final(id: number): Row['value'] | undefined {
    return this.#final.find((row) => row.id === id)?.value
  }

  error(code: string): boolean {
    return this.#steps.some(({ outcome }) => 'error' in outcome && outcome.error.code === code)
  }
}

function valueIn(rows: readonly Row[] | undefined, id: number): unknown {
  return rows?.find((row) => row.id === id)?.value
}

/** Every value the session ever read for the row. */
function valuesRead(course: Course, session: string, id: number): unknown[] {
  return course
    .reads(session)
    .map((rows) => valueIn(rows, id))
    .filter((value) => value !== undefined)
}

function sawValue(course: Course, session: string, value: number): boolean {
  return course.reads(session).some((rows) => rows.some((row) => row.value === value))
}

/** T1 had read row 1 before T2 changed rows 1 and 2, and then deleted by a condition that only the old row 2 meets. */
function deletedByOldCondition(course: Course): boolean {
  return course.succeeded('T1') && course.succeeded('T2') && valueIn(course.reads('T1')[0], 1) === 10
}

/** The delete passed over a row that its own transaction still sees as matching. */
function missedMatchingRow(course: Course): boolean {
  const last = course.reads('T2').at(-1)
  return course.succeeded('T2') && last?.some((row) => row.value === 20) === true
}

interface Anomaly {
  readonly tag: string
  readonly title: string
  occurred(course: Course): boolean
}

const ANOMALIES: readonly Anomaly[] = [
  { tag: 'G0', title: 'dirty write', occurred: (c) => (c.final(1) === 11) !== (c.final(2) === 21) },
  { tag: 'G1a', title: 'aborted read', occurred: (c) => sawValue(c, 'T2', 101) },
  { tag: 'G1b', title: 'intermediate read', occurred: (c) => sawValue(c, 'T2', 101) },
  { tag: 'G1c', title: 'circular information flow', occurred: (c) => sawValue(c, 'T1', 22) && sawValue(c, 'T2', 11) },
  {
    tag: 'OTV',
    title: 'observed transaction vanishes',
    occurred: (c) => c.reads('T3').some((rows) => (valueIn(rows, 1) === 12) !== (valueIn(rows, 2) === 18)),
  },
  { tag: 'PMP', title: 'predicate-many-preceders, read', occurred: (c) => valuesRead(c, 'T1', 3).length > 0 },
  { tag: 'PMP-write', title: 'predicate-many-preceders, write', occurred: missedMatchingRow },
  { tag: 'PMP-write-value-read', title: 'the same, seen through the condition', occurred: missedMatchingRow },
  { tag: 'P4', title: 'lost update', occurred: (c) => c.succeeded('T1') && c.succeeded('T2') },
  {
    tag: 'G-single',
    title: 'read skew',
    occurred: (c) => valuesRead(c, 'T1', 1).includes(10) && valuesRead(c, 'T1', 2).includes(18),
  },
  { tag: 'G-single-predicate', title: 'read skew on a condition', occurred: (c) => sawValue(c, 'T1', 12) },
  { tag: 'G-single-write-1', title: 'read skew, then a write by condition', occurred: deletedByOldCondition },
  { tag: 'G-single-write-2', title: 'the same, interleaved', occurred: deletedByOldCondition },
  { tag: 'G2-item', title: 'write skew', occurred: (c) => c.succeeded('T1') && c.succeeded('T2') },
  { tag: 'G2', title: 'write skew on a condition', occurred: (c) => c.succeeded('T1') && c.succeeded('T2') },
  {
    tag: 'G2-two-edges',
    title: 'read-only transaction anomaly',
    occurred: (c) =>
      c.succeeded('T1') &&
      valueIn(c.reads('T1')[0], 2) === 20 &&
      valuesRead(c, 'T3', 2).includes(25) &&
      valuesRead(c, 'T3', 1).includes(10),
  },
]

export interface HermitageCell {
  readonly tag: string
  readonly level: Level
  readonly occurred: boolean
  /** How it was prevented: by waiting, by ending a transaction, or by what a read sees. */
  readonly means: 'waits' | 'deadlock' | 'conflict' | 'reads'
}

function atLevel(scenario: Scenario, level: Level): Scenario {
  const { sessionSql: _, ...script } = scenario
  // `snapshot` is what MariaDB's setting makes of REPEATABLE READ; the adapters know it by that name.
  if (level === 'SNAPSHOT') return { ...script, isolation: 'RR', sessionSql: 'SET innodb_snapshot_isolation=ON' }
  return { ...script, isolation: level }
}

async function runCell(adapter: EngineAdapter, script: Scenario, anomaly: Anomaly, level: Level): Promise<HermitageCell> {
  const scenario = atLevel(script, level)
  const observation = await execute(adapter, scenario)
  const course = new Course(scenario, observation)
  const waited = observation.steps.some((step) => 'blocked' in step.outcome)
  const means = course.error('deadlock') ? 'deadlock' : course.error('recordChanged') ? 'conflict' : waited ? 'waits' : 'reads'
  return { tag: anomaly.tag, level, occurred: anomaly.occurred(course), means }
}

/** Runs every anomaly there is a script for at every level. */
export async function runHermitage(adapter: EngineAdapter, scenarios: readonly Scenario[]): Promise<HermitageCell[]> {
  const cells: HermitageCell[] = []
  for (const anomaly of ANOMALIES) {
    const script = scenarios.find(
      (scenario) => scenario.group === 'hermitage' && scenario.tags.includes(anomaly.tag) && scenario.finalRows !== undefined,
    )
    if (script === undefined) continue
    for (const { level } of LEVELS) cells.push(await runCell(adapter, script, anomaly, level))
  }
  return cells
}

/** Markdown: one row per anomaly, one column per level; ✓ prevented (and how), — occurs. */
export function hermitageTable(cells: readonly HermitageCell[]): string {
  const lines = [`| anomaly | ${LEVELS.map(({ title }) => title).join(' | ')} |`, `|---|${LEVELS.map(() => '---').join('|')}|`]
  for (const { tag, title } of ANOMALIES) {
    const row = cells.filter((cell) => cell.tag === tag)
    if (row.length === 0) continue
    const texts = LEVELS.map(({ level }) => {
      const cell = row.find((candidate) => candidate.level === level)
      if (cell === undefined) return ''
      return cell.occurred ? '—' : cell.means === 'reads' ? '✓' : `✓ ${cell.means}`
    })
    lines.push(`| ${tag}: ${title} | ${texts.join(' | ')} |`)
  }
  return lines.join('\n')
}
