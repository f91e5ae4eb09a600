/** What the workloads ask of a store; the objects are those of history.ts. */

/** Everything that exists before a round of a workload begins. Lists are empty, registers hold nothing. */
export interface InitialState {
  readonly lists: readonly number[]
  readonly registers: readonly number[]
  readonly members: readonly { readonly group: number; readonly member: number; readonly present: boolean }[]
}

/** The transaction is gone: undone by the store, or cut off. */
export class StoreAbort extends Error {
  constructor(
    readonly reason: 'deadlock' | 'conflict' | 'timeout' | 'closed',
    cause?: unknown,
  ) {
    super(`transaction undone: ${reason}`, { cause })
  }
}

export interface StoreTransaction {
  readList(key: number, locking: boolean): Promise<readonly number[]>
  append(key: number, value: number): Promise<void>
  read(key: number, locking: boolean): Promise<number | undefined>
  /** Resolves to the version installed, one more than the newest before. */
  write(key: number, value: number): Promise<number>
  /** Resolves to false if nothing has happened: another member has its place. */
  enter(group: number, member: number): Promise<boolean>
  leave(group: number, member: number): Promise<boolean>
  scan(group: number, lower: number, upper: number, locking: boolean): Promise<readonly number[]>
  /** Makes a savepoint; the function rolls back to it. Absent where there are none. */
  savepoint?(): Promise<() => Promise<void>>
  commit(): Promise<void>
  abort(): Promise<void>
}

export interface Store {
  /** Removes what earlier rounds left and creates the initial state, committed. */
  prepare(state: InitialState): Promise<void>
  begin(): Promise<StoreTransaction>
  /** Stops as in a crash and opens again; open transactions fail with StoreAbort('closed'). Absent where there is nothing to survive. */
  restart?(): Promise<void>
  close(): Promise<void>
}
