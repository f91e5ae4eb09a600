import { assert } from '../base/assert.js'
import { type CommitNumber, NO_PAGE, type PageId, type TrxId } from '../base/ids.js'
import { OrderedList } from '../base/ordered-list.js'
import type { LockOwner } from '../lock/lock-owner.js'
import type { Clock } from '../platform/clock.js'
import type { PageStore } from '../storage/page-store.js'
import { ActiveTransactions } from './active-transactions.js'
import { History } from './history.js'
import { ReadView } from './read-view.js'
import type { UndoPointer } from './record-format.js'
import { RedoBuffer } from './redo-buffer.js'
import { type IsolationLevel, Trx, TrxState } from './trx.js'
import { UndoHeader } from './undo-format.js'
import { UndoSpace } from './undo-log.js'

/**
 * The transaction table: who is active, who committed in which order, who looks at which state (D7, D10).
 *
 * T1. Ids grow; a transaction gets one at its first write. `oldestActive` is the lowest active id, or the next id: every
 *     record whose writer is below it is committed, which is how nearly every read is settled.
 * T2. Commit numbers grow in the order of commits. A view remembers the next one; purge may take a transaction's history when
 *     its number is below that of every view.
 */
export class TrxSystem {
  readonly undo: UndoSpace
  readonly history: History = new History()
  nextTrxId: TrxId = 1 as TrxId
  nextCommitNumber: CommitNumber = 1 as CommitNumber
  /** Lowest active id, or `nextTrxId`. */
  oldestActive: TrxId = 1 as TrxId

  readonly #store: PageStore
  readonly #clock: Clock
  readonly #redoLimit: number
  /** Buffers of transactions that ended, to be used again: making one costs as much as a row change. */
  #nextNumber = 1
  readonly #idleRedo: RedoBuffer[] = []
  readonly active: ActiveTransactions = new ActiveTransactions()
  /** Open, in the order they were made. */
  readonly views: OrderedList<ReadView> = new OrderedList()
  /** Called before a view is made: a reader beside an owner that knows its checkpoint to be gone moves on. */
  beforeView: (() => void) | undefined
  /** Undo log header of the newest log in history. */
  readonly #historyTail: UndoPointer = { page: NO_PAGE, offset: 0 }

  constructor(store: PageStore, clock: Clock, redoLimit: number) {
    this.#store = store
    this.#clock = clock
    this.#redoLimit = redoLimit
    this.undo = new UndoSpace(store)
  }

  begin(isolation: IsolationLevel, owner?: LockOwner): Trx {
    return new Trx(this.#nextNumber++, isolation, this.#idleRedo.pop() ?? new RedoBuffer(this.#redoLimit), owner)
  }

  /** Before a transaction's first undo record: its id and undo log. */
  startWriting(trx: Trx): void {
    if (trx.trxId === 0) {
      trx.trxId = this.nextTrxId++ as TrxId
      this.active.add(trx)
      if (trx.view !== undefined) trx.view.own = trx.trxId
    }
    if (!trx.hasLog) {
      this.undo.begin(trx)
      trx.hasLog = true
    }
  }

  isActive(trxId: TrxId): boolean {
    return trxId >= this.oldestActive && this.active.has(trxId)
  }

  /** Whether a record last written by `trxId` shows its newest state to a reader without a view: committed, or one's own. */
  isCommitted(trxId: TrxId): boolean {
    return trxId < this.oldestActive || !this.active.has(trxId)
  }

  /** At recovery: a transaction that the checkpoint knows as active. */
  adopt(trx: Trx): void {
    this.active.add(trx)
    this.#updateOldest()
  }

  /** The transaction is committed and visible from here on. Its redo is in the log, or in a complete checkpoint. */
  finishCommit(trx: Trx): void {
    assert(trx.state === TrxState.Active || trx.state === TrxState.Committing, 'a transaction commits once')
    trx.state = TrxState.Committed
    if (trx.trxId === 0) return
    trx.commitNumber = this.nextCommitNumber++ as CommitNumber
    if (trx.hasLog) {
      if (trx.needsPurge) {
        this.undo.commit(trx, trx.commitNumber, this.#historyTail)
        this.history.push(trx.trxId, trx.commitNumber, trx.firstPage, trx.firstOffset)
        this.#historyTail.page = trx.firstPage
        this.#historyTail.offset = trx.firstOffset
      } else this.undo.discard(trx)
      trx.hasLog = false
    }
    this.#remove(trx)
  }

  /** Everything the transaction did is undone. */
  finishRollback(trx: Trx): void {
    trx.state = TrxState.RolledBack
    if (trx.hasLog) {
      this.undo.discard(trx)
      trx.hasLog = false
    }
    if (trx.trxId !== 0) this.#remove(trx)
  }

  /** What is committed now, and the transaction's own changes. */
  openView(own: TrxId): ReadView {
    this.beforeView?.()
    const active: TrxId[] = []
    for (let trx = this.active.oldest; trx !== null; trx = trx.after) if (trx.trxId !== own) active.push(trx.trxId)
    const view = new ReadView(this.oldestActive, this.nextTrxId, active, own, this.nextCommitNumber, this.#clock.now())
    this.views.add(view)
    return view
  }

  closeView(view: ReadView): void {
    if (view.closed) return
    view.closed = true
    this.views.remove(view)
  }

  /** A number above that of every view there is, and not above that of any to come. */
  nextGeneration(): CommitNumber {
    return ++this.nextCommitNumber as CommitNumber
  }

  /** Commits below this number are visible to every view. */
  get purgeLimit(): CommitNumber {
    return this.views.first?.commitNumber ?? this.nextCommitNumber
  }

  get oldestView(): ReadView | undefined {
    return this.views.first ?? undefined
  }

  /** Purge is through with the oldest log of the history. */
  shiftHistory(): void {
    this.history.shift()
    if (this.history.length === 0) {
      this.#historyTail.page = NO_PAGE
      this.#historyTail.offset = 0
    }
  }

  /** At opening: reads the chain of log headers from the oldest on. */
  loadHistory(page: PageId, offset: number): void {
    const { u32 } = this.#store
    while (page !== NO_PAGE) {
      this.#store.beginOperation()
      const at = this.undo.locate(page, offset) >> 2
      const trxId = u32[at + UndoHeader.TrxLow / 4] + u32[at + UndoHeader.TrxHigh / 4] * 4294967296
      const number = u32[at + UndoHeader.CommitLow / 4] + u32[at + UndoHeader.CommitHigh / 4] * 4294967296
      this.history.push(trxId as TrxId, number as CommitNumber, page, offset)
      this.#historyTail.page = page
      this.#historyTail.offset = offset
      page = u32[at + UndoHeader.NextPage / 4] as PageId
      offset = u32[at + UndoHeader.NextOffset / 4]
    }
  }

  /** The transaction is over and nobody reads its redo any more. */
  recycle(trx: Trx): void {
    trx.redo.clear()
    if (this.#idleRedo.length < IDLE_REDO_BUFFERS) this.#idleRedo.push(trx.redo)
  }

  #remove(trx: Trx): void {
    this.active.remove(trx)
    this.#updateOldest()
  }

  #updateOldest(): void {
    this.oldestActive = this.active.oldest?.trxId ?? this.nextTrxId
  }
}

const IDLE_REDO_BUFFERS = 64
