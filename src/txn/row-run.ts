import { NO_PAGE, type PageId, type TrxId } from '../base/ids.js'
import type { RecordLock } from '../lock/lock-modes.js'
import type { LockResult } from '../lock/lock-request.js'
import { ScanLock } from '../lock/scan-lock.js'
import type { BTree } from '../storage/btree.js'
import type { PageStore } from '../storage/page-store.js'
import type { RowLocks } from './row-locks.js'
import type { Trx } from './trx.js'

/**
 * The record locks of the rows that a scan of a secondary index leads to. While those follow one another in the clustered index too, as they do
 * where both orders agree, they are kept as a run.
 *
 * Two records are neighbours if they lie side by side in a leaf, or at the facing ends of two, and the leaf of the first has not changed since:
 * that is what a run asks for (lock-runs.ts, R2).
 */
export class RowRun {
  readonly #store: PageStore
  readonly #rowLocks: RowLocks
  readonly #trx: Trx
  readonly #tree: BTree
  readonly #locks: ScanLock
  /** Where the record lay that was locked last, and the version of its leaf. */
  #page: PageId = NO_PAGE
  #slot = 0
  #version = 0

  constructor(store: PageStore, rowLocks: RowLocks, trx: Trx, tree: BTree, lock: RecordLock, reverse: boolean) {
    this.#store = store
    this.#rowLocks = rowLocks
    this.#trx = trx
    this.#tree = tree
    this.#locks = new ScanLock(trx.owner, tree.tree, lock, reverse)
  }

  /** Locks the record the tree stands on, last written by `writer`. */
  try(key: Uint8Array, length: number, writer: TrxId, mayWait: boolean): LockResult {
    const tree = this.#tree
    if (!this.#isNeighbour()) this.#locks.interrupt()
    this.#page = tree.pages.pageId(tree.base)
    this.#slot = tree.slot
    this.#version = this.#store.version(tree.base)
    return this.#rowLocks.tryNext(this.#trx, this.#locks, key, length, writer, mayWait)
  }

  #isNeighbour(): boolean {
    const { base, slot, pages } = this.#tree
    const { descending } = this.#locks
    if (pages.pageId(base) === this.#page) {
      return slot === this.#slot + (descending ? -1 : 1) && this.#store.version(base) === this.#version
    }
    if (this.#page === NO_PAGE || this.#page !== (descending ? pages.right(base) : pages.left(base))) return false
    const before = this.#store.fetch(this.#page)
    if (this.#store.version(before) !== this.#version) return false
    return descending ? slot === pages.count(base) - 1 && this.#slot === 0 : slot === 0 && this.#slot === pages.count(before) - 1
  }
}
