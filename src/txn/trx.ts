import { type CommitNumber, type LogPosition, NO_PAGE, type TableId, type TrxId } from '../base/ids.js'
import { LockOwner } from '../lock/lock-owner.js'
import type { ReadView } from './read-view.js'
import type { RedoBuffer } from './redo-buffer.js'
import type { UndoLogState } from './undo-log.js'

export type IsolationLevel = 'read-uncommitted' | 'read-committed' | 'repeatable-read' | 'serializable' | 'snapshot'

export const enum TrxState {
  Active = 0,
  /** Waits for a checkpoint that makes it durable; still invisible (big transactions). */
  Committing = 1,
  Committed = 2,
  RolledBack = 3,
}

/**
 * A transaction as the core knows it. The id is 0 until the first write; the undo log has no page until then either.
 */
export class Trx implements UndoLogState {
  trxId: TrxId = 0 as TrxId
  state: TrxState = TrxState.Active
  readonly isolation: IsolationLevel
  firstPage: UndoLogState['firstPage'] = NO_PAGE
  firstOffset = 0
  lastPage: UndoLogState['lastPage'] = NO_PAGE
  lastOffset = 0
  /** Some undo record means work for purge or may be needed by older views: the log enters the history at commit. */
  needsPurge = false
  readonly redo: RedoBuffer
  /** The consistent read view (per transaction or per statement, by isolation level). */
  view: ReadView | undefined
  commitNumber: CommitNumber = 0 as CommitNumber
  /** Log position after the commit's group. */
  commitPosition: LogPosition = 0 as LogPosition
  /** Whether `log.firstPage` is still held; false once the log was discarded or passed to the history. */
  hasLog = false

  /** Its neighbours among the active ones. */
  before: Trx | null = null
  after: Trx | null = null

  /** Names the transaction to people, from its beginning on: ids are given at the first write only. */
  readonly number: number
  readonly owner: LockOwner
  /** Its calls are asynchronous: long work may be done in slices. */
  inSlices = false
  /** Ends what it does between two slices. */
  signal: AbortSignal | undefined
  /** False while a synchronous call runs: it cannot wait. */
  mayWait = true
  /** Tables whose AUTO-INC locks the statement at hand holds. */
  autoIncrementLocks: TableId[] | undefined
  /** Streams under way: statements made of many, one for each row. */
  streams = 0

  /** @param owner Of a session whose metadata locks are the transaction's too: LOCK TABLES. */
  constructor(number: number, isolation: IsolationLevel, redo: RedoBuffer, owner?: LockOwner) {
    this.number = number
    this.isolation = isolation
    this.redo = redo
    this.owner = owner ?? new LockOwner(number)
    this.owner.id = number
    this.owner.undoRecords = 0
    this.owner.takesGapLocks = this.takesGapLocks
  }

  /** READ COMMITTED and READ UNCOMMITTED lock no gaps, but where uniqueness needs them, and let go of rows their predicate rejects. */
  get takesGapLocks(): boolean {
    return this.isolation !== 'read-committed' && this.isolation !== 'read-uncommitted'
  }
}

/** A point within a transaction to which it can be undone. */
export interface UndoMark {
  /** The last undo record at that time; page 0: the transaction had not written. */
  page: Trx['lastPage']
  offset: number
  redoLength: number
  redoDropped: boolean
}

export function markOf(trx: Trx): UndoMark {
  return {
    page: trx.lastPage,
    offset: trx.lastOffset,
    redoLength: trx.redo.length,
    redoDropped: trx.redo.dropped,
  }
}
