/**
 * The golden format: what a real InnoDB did, as data. One file per group, one scenario per line; see test/golden/README.md.
 * These types describe the files as they are; nothing here interprets them.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

export type IsolationCode = 'RU' | 'RC' | 'RR' | 'SER'
export type Value = number | string | null
export type Row = Readonly<Record<string, Value>>

export interface ColumnSpec {
  readonly name: string
  readonly type: 'int' | 'string'
  readonly nullable: boolean
  readonly autoIncrement?: boolean
}

export interface TableSpec {
  readonly name: string
  readonly pk: readonly string[]
  readonly columns: readonly ColumnSpec[]
  readonly indexes: readonly { readonly name: string; readonly columns: readonly string[]; readonly unique: boolean }[]
  /** Values in column order. */
  readonly rows: readonly (readonly Value[])[]
  readonly autoIncrementStart?: number
}

/** Where a lock lies and what it asks for; also what a waiting statement waits with. */
export interface LockTarget {
  readonly table: string
  /** Absent for table locks. The clustered index is called PRIMARY. */
  readonly index?: string
  /** Values of the index columns. */
  readonly key?: readonly Value[]
  /** Primary key of the entry, for secondary indexes. */
  readonly pk?: readonly Value[]
  /** The gap above the largest entry. */
  readonly supremum?: true
  readonly mode: 'S' | 'X' | 'IS' | 'IX' | 'AUTO-INC'
  readonly kind: 'record' | 'gap' | 'next-key' | 'insert-intention' | 'table'
  readonly deleteMarked?: boolean
}

export interface Lock extends LockTarget {
  readonly session: string
  readonly status: 'granted' | 'waiting'
}

/** What a waiting statement waits for: a lock, or a metadata lock (whose wording is not compared). */
export type WaitsFor = LockTarget | { readonly metadata: string }

export interface StatementResult {
  readonly rows?: readonly Row[]
  readonly affected?: number
  readonly changed?: number
  readonly insertId?: number
  readonly warnings?: number
}

export type Outcome =
  | { readonly result: StatementResult }
  | { readonly blocked: true; readonly on?: WaitsFor }
  | { readonly error: { readonly code: string; readonly message?: string } }
  | { readonly skipped: true }

export interface Resume {
  readonly step: number
  readonly session: string
  readonly expect: Outcome
}

export interface NowWaiting {
  readonly step: number
  readonly session: string
  readonly on: WaitsFor
}

export interface Filter {
  readonly column: string
  readonly cmp: 'eq' | 'ne' | 'gt' | 'ge' | 'lt' | 'le' | 'mod'
  readonly value: number | string
}

/** Column values to store; `{ add }` is relative to the row's own value. */
export type SetClause = Readonly<Record<string, Value | { readonly add: number }>>

/** How a statement reaches its rows. */
export interface AccessPath {
  readonly index?: string
  /** Equality on the first columns of the index. */
  readonly key?: readonly Value[]
  readonly in?: readonly Value[]
  /** Equality on the first columns; `lower` and `upper` bound the next one. */
  readonly prefix?: readonly Value[]
  readonly lower?: Value
  readonly lowerInclusive?: boolean
  readonly upper?: Value
  readonly upperInclusive?: boolean
  readonly filter?: readonly Filter[]
  readonly order?: 'asc' | 'desc'
  readonly limit?: number
  /** The columns asked for; all when absent. */
  readonly columns?: readonly string[]
  readonly wait?: 'nowait' | 'skipLocked'
}

export interface StepArguments extends AccessPath {
  readonly table?: string
  readonly set?: SetClause
  readonly rows?: readonly Row[]
  readonly onDuplicateSet?: SetClause
  readonly from?: string
  readonly fromColumns?: readonly string[]
  readonly path?: AccessPath
  readonly consistentSnapshot?: boolean
  readonly readOnly?: boolean
  readonly name?: string
  readonly on?: boolean
  readonly level?: IsolationCode
  readonly seconds?: number
  readonly tables?: readonly { readonly table: string; readonly mode: string }[]
  readonly to?: string
  readonly renames?: readonly (readonly [string, string])[]
  readonly value?: number
  readonly increment?: number
  readonly offset?: number
  readonly kind?: 'clean' | 'crash'
  readonly change?: string
  readonly addColumn?: string
  readonly algorithm?: string
}

export interface Step {
  readonly i: number
  readonly session: string
  readonly op: string
  readonly args: StepArguments
  readonly sql: string
  readonly expect: Outcome
  readonly resumes?: readonly Resume[]
  readonly nowWaiting?: readonly NowWaiting[]
  readonly locks?: readonly Lock[]
}

export type ProbeOp = 'insert' | 'getForShare' | 'getForUpdate' | 'update' | 'delete' | 'lockIndexEntryForShare'
export type ProbeOutcome = 'granted' | 'blocked' | 'duplicate' | 'noRow'
export const PROBE_OUTCOMES: readonly ProbeOutcome[] = ['granted', 'blocked', 'duplicate', 'noRow']
/** A row in column order, a primary key, or one secondary entry. */
export type ProbeTarget = readonly Value[] | { readonly key: readonly Value[]; readonly pk: readonly Value[] }

export interface ProbeGroup {
  readonly op: ProbeOp
  readonly table: string
  readonly index?: string
  readonly set?: SetClause
  readonly columns?: readonly string[]
  readonly granted?: readonly ProbeTarget[]
  readonly blocked?: readonly ProbeTarget[]
  readonly duplicate?: readonly ProbeTarget[]
  readonly noRow?: readonly ProbeTarget[]
}

export type FinalRows = Readonly<Record<string, readonly Row[] | { readonly error: string }>>

export interface StepPatch {
  readonly i: number
  readonly expect?: Outcome
  readonly resumes?: readonly Resume[]
  readonly nowWaiting?: readonly NowWaiting[]
  readonly locks?: readonly Lock[]
}

export interface ServerDifference {
  readonly steps?: readonly StepPatch[]
  readonly locks_after?: readonly Lock[]
  readonly locks_after_probes?: readonly Lock[]
  readonly probes?: readonly { readonly probe: readonly unknown[]; readonly mariadb: ProbeOutcome; readonly mysql: ProbeOutcome }[]
  readonly finalRows?: FinalRows
  readonly blockedAtEnd?: readonly NowWaiting[]
}

export interface Alternative {
  readonly steps?: readonly StepPatch[]
  readonly locks_after?: readonly Lock[]
  readonly finalRows?: FinalRows
}

export interface Scenario {
  readonly id: string
  readonly group: string
  readonly title?: string
  readonly tags: readonly string[]
  readonly isolation: IsolationCode
  readonly sessionSql?: string
  readonly autoincMode?: 0 | 1 | 2
  readonly schema: TableSpec
  readonly moreTables?: readonly TableSpec[]
  readonly steps: readonly Step[]
  readonly blockedAtEnd?: readonly NowWaiting[]
  readonly locks_after?: readonly Lock[]
  readonly locks_after_probes?: readonly Lock[]
  readonly probes?: readonly ProbeGroup[]
  readonly finalRows?: FinalRows
  readonly nondeterministic?: boolean
  readonly alternatives?: readonly Alternative[]
  readonly simultaneousResumes?: readonly number[]
  readonly mysql97: 'same' | 'unknown' | ServerDifference
}

export interface ScenarioGroup {
  readonly group: string
  readonly scenarios: readonly Scenario[]
}

const FORMAT = 1

export interface Probe {
  readonly group: ProbeGroup
  readonly target: ProbeTarget
  /** What MariaDB answered. */
  readonly outcome: ProbeOutcome
}

/** The probes one by one, in the order in which they are tried. */
export function probesOf(scenario: Scenario): Probe[] {
  return (scenario.probes ?? []).flatMap((group) =>
    PROBE_OUTCOMES.flatMap((outcome) => (group[outcome] ?? []).map((target) => ({ group, target, outcome }))),
  )
}

/** Every table of a scenario. */
export function tablesOf(scenario: Scenario): TableSpec[] {
  return [scenario.schema, ...(scenario.moreTables ?? [])]
}

/**
 * Reads every `*.json` of a folder, in name order. Throws an Error that names the file when one is not in the golden format.
 */
export function loadScenarios(folder: string): ScenarioGroup[] {
  const files = readdirSync(folder)
    .filter((name) => name.endsWith('.json'))
    .sort()
  if (files.length === 0) throw new Error(`no scenario files (*.json) in ${folder}`)
  return files.map((name) => {
    const file = join(folder, name)
    const data = JSON.parse(readFileSync(file, 'utf8')) as { format?: number; group?: string; scenarios?: Scenario[] }
    if (data.format !== FORMAT || data.group === undefined || !Array.isArray(data.scenarios)) {
      throw new Error(`${file} is not in golden format ${FORMAT}`)
    }
    return { group: data.group, scenarios: data.scenarios }
  })
}
