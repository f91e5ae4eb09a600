/**
 * What the runner needs of an engine. The runner knows scenarios, the adapter knows the engine; neither knows the other's side.
 * A session is a connection as SQL has it: its isolation level, its autocommit flag, at most one transaction, one statement at a time.
 */
import type { Lock, Outcome, ProbeGroup, ProbeOutcome, ProbeTarget, Row, Scenario, Step, WaitsFor } from './format.js'

/** The outcome of a statement that ran to its end. */
export type Finished = Extract<Outcome, { result: unknown } | { error: unknown }>

export interface EngineAdapter {
  readonly name: string
  /** Creates the scenario's tables with their rows, committed, with nothing left to purge. */
  open(scenario: Scenario): Promise<EngineRun>
}

/** One scenario under way. */
export interface EngineRun {
  /**
   * Starts the step on its session and returns at once; the promise never rejects: errors are outcomes.
   * Only called for a session that has no step under way.
   */
  submit(step: Step): Promise<Finished>
  /** Resolves when every step under way has finished or is certainly waiting. */
  settle(): Promise<void>
  /** What each waiting session waits for. A session with a step under way that is absent here is neither finished nor waiting: a hang. */
  waiting(): ReadonlyMap<string, WaitsFor>
  /** Every lock held or requested, table locks included, by session. Implicit locks are not listed until somebody asked for them. */
  locks(): Lock[]
  /** One statement of an independent session at READ COMMITTED that does not wait, rolled back afterwards. */
  probe(group: ProbeGroup, target: ProbeTarget): Promise<ProbeOutcome | { readonly error: string }>
  /** Rolls back the transactions of all sessions. */
  rollbackAll(): Promise<void>
  /** Committed rows in primary key order, or `{ error: 'noSuchTable' }`. */
  rows(table: string): Promise<readonly Row[] | { readonly error: string }>
  /** Frees everything, whatever state the run is in. */
  close(): Promise<void>
}
