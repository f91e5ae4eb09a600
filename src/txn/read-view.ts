import { NextkeyError, SnapshotGoneError } from '../base/errors.js'
import type { CommitNumber, TrxId } from '../base/ids.js'

/**
 * What a consistent read sees (D10): every transaction that had committed when the view was made, and its own.
 * `low` and `high` settle nearly every question; the ids active in between are listed.
 */
export class ReadView {
  /** Everything below had ended. */
  readonly low: TrxId
  /** Nothing from here on had begun. */
  readonly high: TrxId
  /** Ids in [low, high) that were active, ascending. */
  readonly active: readonly TrxId[]
  /** The transaction whose own changes the view shows; 0 for none. It may get its id after the view was made. */
  own: TrxId
  /** Commits below this number were visible: purge may remove what only older views need. */
  readonly commitNumber: CommitNumber
  /** When it was made, by the monotonic clock, ms. */
  readonly madeAt: number
  /** Where it was made, for `status()`; set for views that users hold. */
  madeBy: string | undefined
  closed = false
  /** It was closed before whoever made it had done so: because it outlived maxViewAge, or, if `gone`, a reader beside an owner moved on. */
  expired = false
  gone = false
  before: ReadView | null = null
  after: ReadView | null = null

  constructor(low: TrxId, high: TrxId, active: readonly TrxId[], own: TrxId, commitNumber: CommitNumber, madeAt: number) {
    this.low = low
    this.high = high
    this.active = active
    this.own = own
    this.commitNumber = commitNumber
    this.madeAt = madeAt
  }

  /** Before each read. Raises ERR_SNAPSHOT_TOO_OLD, ERR_SNAPSHOT_GONE. */
  mustLast(): void {
    if (this.expired) throw this.#lost()
  }

  #lost(): NextkeyError {
    if (this.gone) return new SnapshotGoneError('this reader has moved on to a newer checkpoint since the view was made: begin anew')
    return new NextkeyError(
      'ERR_SNAPSHOT_TOO_OLD',
      'this snapshot of the database was older than maxViewAge and was given up, so that old versions could be purged: begin anew',
      { retryable: true },
    )
  }

  sees(trxId: TrxId): boolean {
    if (trxId < this.low || trxId === this.own) return true
    if (trxId >= this.high) return false
    const { active } = this
    let from = 0
    let to = active.length
    while (from < to) {
      const middle = (from + to) >>> 1
      if (active[middle] < trxId) from = middle + 1
      else to = middle
    }
    return active[from] !== trxId
  }
}
