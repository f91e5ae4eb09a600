import { assert } from '../base/assert.js'
import { LockNotAvailableError, LockWaitTimeoutError, NextkeyError } from '../base/errors.js'
import type { TableId, TreeId, TrxId } from '../base/ids.js'
import { KeyBuffer } from '../codec/key-encoding.js'
import type { Deadlock } from '../lock/deadlock.js'
import { SUPREMUM } from '../lock/lock-key.js'
import { RecordLock, type TableLock } from '../lock/lock-modes.js'
import { describeLock } from '../lock/lock-names.js'
import type { LockOwner } from '../lock/lock-owner.js'
import { type LockRequest, LockResult } from '../lock/lock-request.js'
import { LockSystem } from '../lock/lock-system.js'
import type { ScanLock } from '../lock/scan-lock.js'
import type { Clock } from '../platform/clock.js'
import type { BTree } from '../storage/btree.js'
import type { PageStore } from '../storage/page-store.js'
import type { Steps } from './outcome.js'
import { trxIdAt } from './record-format.js'
import { PAUSE } from './slice.js'
import { type Trx, TrxState } from './trx.js'
import type { TrxSystem } from './trx-system.js'

/** What a statement does where it would have to wait. */
export type WaitPolicy = 'wait' | 'nowait' | 'skip'

/**
 * The locks of row operations: between the lock system, which knows keys and owners, and the trees.
 *
 * L1. A record or entry last written by an active transaction is locked by it implicitly; the lock becomes explicit when somebody,
 *     itself included, asks for one on it or on its gap.
 * L2. An insert waits for locks on the gap that ends at its successor; then locks on that gap are inherited by the new entry.
 * L3. What is removed for good (purge, rollback of an insert) leaves its locks to its successor.
 */
export class RowLocks {
  readonly locks: LockSystem = new LockSystem()
  readonly #store: PageStore
  readonly #system: TrxSystem
  readonly #clock: Clock
  readonly #successor: KeyBuffer = new KeyBuffer()
  #successorLength = 0
  /** Why nobody waits any more. */
  #refusal: (() => NextkeyError) | undefined

  constructor(store: PageStore, system: TrxSystem, clock: Clock) {
    this.#store = store
    this.#system = system
    this.#clock = clock
  }

  *table(trx: Trx, table: TableId, lock: TableLock): Steps<void> {
    const result = this.tryTable(trx, table, lock)
    if (result > LockResult.AlreadyHeld) yield* this.settle(trx, result)
  }

  tryTable(trx: Trx, table: TableId, lock: TableLock): LockResult {
    const { owner } = trx
    if (owner.lastTable === table && (owner.lastTableMask & (1 << lock)) !== 0) return LockResult.AlreadyHeld
    return this.locks.lockTable(owner, table, lock, trx.mayWait)
  }

  /** One attempt to lock an entry (key[0, length), last written by `writer`), or, with SUPREMUM for a length, the gap above all. */
  try(trx: Trx, tree: TreeId, key: Uint8Array, length: number, lock: RecordLock, writer: TrxId, mayWait: boolean): LockResult {
    if (length !== SUPREMUM) this.#revealImplicit(trx, tree, key, length, writer)
    return this.locks.lockRecord(trx.owner, tree, key, length, lock, mayWait && trx.mayWait)
  }

  /** The same for the next entry of a scan, whose neighbouring locks are kept together. */
  tryNext(trx: Trx, scan: ScanLock, key: Uint8Array, length: number, writer: TrxId, mayWait: boolean): LockResult {
    this.#revealImplicit(trx, scan.index, key, length, writer)
    return this.locks.lockNext(scan, key, length, mayWait && trx.mayWait)
  }

  /** Before a change that leaves an implicit lock of its own. */
  tryImplicitly(trx: Trx, tree: TreeId, key: Uint8Array, length: number, writer: TrxId): LockResult {
    if (writer !== trx.trxId) this.#revealImplicit(trx, tree, key, length, writer)
    return this.locks.lockImplicitly(trx.owner, tree, key, length, trx.mayWait)
  }

  /** L2, before the insert; the tree stands where the entry will be. After a wait, search again. */
  tryInsert(trx: Trx, tree: BTree): LockResult {
    if (this.locks.isIdle) return LockResult.Granted
    this.#findSuccessor(tree, tree.slot)
    return this.locks.lockRecord(
      trx.owner,
      tree.tree,
      this.#successor.bytes,
      this.#successorLength,
      RecordLock.XInsertIntention,
      trx.mayWait,
    )
  }

  /** L2, after the insert, in the same turn as `beforeInsert`. */
  inserted(tree: BTree, key: Uint8Array, length: number): void {
    if (!this.locks.isIdle) this.locks.entryInserted(tree.tree, key, length, this.#successor.bytes, this.#successorLength)
  }

  /** Removes the entry the tree stands on, for good (L3). */
  remove(tree: BTree, key: Uint8Array, length: number): void {
    const idle = this.locks.isIdle
    if (!idle) this.#findSuccessor(tree, tree.slot + 1)
    tree.remove()
    if (!idle) this.locks.entryRemoved(tree.tree, key, length, this.#successor.bytes, this.#successorLength)
  }

  /** Gap lock on whatever follows the place where a search found nothing. Never waits. */
  lockGapAt(trx: Trx, tree: BTree, lock: RecordLock.SGap | RecordLock.XGap): void {
    const writer = this.#findSuccessor(tree, tree.slot)
    this.lockGap(trx, tree.tree, this.#successor.bytes, this.#successorLength, lock, writer)
  }

  /** Gap lock before an entry, last written by `writer`, or above all. Never waits. */
  lockGap(trx: Trx, tree: TreeId, key: Uint8Array, length: number, lock: RecordLock.SGap | RecordLock.XGap, writer: TrxId): void {
    if (length !== SUPREMUM) this.#revealImplicit(trx, tree, key, length, writer)
    this.locks.lockRecord(trx.owner, tree, key, length, lock, false)
  }

  /** Ends every wait, and whatever would be one from now on, with this error. */
  close(refusal: () => NextkeyError): void {
    this.#refusal ??= refusal
    for (const { waiting } of Array.from(this.locks.owners())) if (waiting !== null) this.locks.cancel(waiting, 'closed')
  }

  /** Waits for what a call to the lock system answered, or raises what it means. Whatever was looked at before is to be searched again. */
  *settle(trx: Trx, result: LockResult): Steps<void> {
    yield* this.settleOf(trx.owner, result, trx)
  }

  /** The same for an owner that need not be a transaction. */
  *settleOf(owner: LockOwner, result: LockResult, trx?: Trx): Steps<void> {
    if (result <= LockResult.AlreadyHeld) return
    if (result !== LockResult.Waiting) throw this.refusal(owner, result)
    const request = owner.waiting as LockRequest
    if (this.#refusal !== undefined) this.locks.cancel(request, 'closed')
    else yield request
    this.#store.beginOperation()
    if (this.#refusal !== undefined) throw this.#refusal()
    // Between the grant and this moment somebody may have ended the transaction: nothing may be changed on its behalf any more.
    if (trx !== undefined && trx.state !== TrxState.Active)
      throw new NextkeyError('ERR_TRANSACTION_ENDED', 'this transaction was ended while its statement was waiting for a lock')
    switch (request.status) {
      case 'granted':
      case 'moved':
        return
      case 'deadlock':
        throw this.#deadlock(owner)
      case 'timeout':
        throw this.#timeout(request)
      case 'self-wait':
        throw this.#selfWait(request)
      default:
        throw new NextkeyError('ERR_ABORTED', 'the signal of the transaction fired while it was waiting for a lock')
    }
  }

  /** What it means for the owner that a lock is not to be had and not to be waited for. */
  refusal(owner: LockOwner, result: LockResult): NextkeyError {
    this.#store.beginOperation()
    return result === LockResult.Deadlock ? this.#deadlock(owner) : new LockNotAvailableError()
  }

  /** Between two slices of long work. Whatever was looked at before is to be searched again. Raises what ends the transaction meanwhile. */
  *pause(trx: Trx): Steps<void> {
    yield PAUSE
    this.#store.beginOperation()
    if (this.#refusal !== undefined) throw this.#refusal()
    if (trx.state !== TrxState.Active)
      throw new NextkeyError('ERR_TRANSACTION_ENDED', 'this transaction was ended while a statement of it was under way')
    if (trx.signal?.aborted === true)
      throw new NextkeyError('ERR_ABORTED', 'the signal of the transaction fired while a statement of it was under way')
  }

  #revealImplicit(trx: Trx, tree: TreeId, key: Uint8Array, length: number, writer: TrxId): void {
    if (this.#system.isCommitted(writer)) return
    const holder = writer === trx.trxId ? trx : this.#system.active.get(writer)
    if (holder !== undefined) this.locks.makeExplicit(holder.owner, tree, key, length)
  }

  /** The key of the entry at a slot of the leaf the tree stands on, or of the first in the leaf to the right. Returns its writer. */
  #findSuccessor(tree: BTree, slot: number): TrxId {
    const { pages } = tree
    let { base } = tree
    let at = slot
    if (slot >= pages.count(base)) {
      const right = pages.right(base)
      if (right === 0) {
        this.#successorLength = SUPREMUM
        return NOBODY
      }
      base = this.#store.fetch(right)
      at = 0
    }
    this.#successorLength = pages.copyKey(base, at, this.#successor.bytes)
    return trxIdAt(this.#store.u32, pages.valueOffset(base, at))
  }

  #deadlock(owner: LockOwner): NextkeyError {
    const latest: Deadlock | null = this.locks.latestDeadlock
    this.#store.beginOperation()
    return new NextkeyError(
      'ERR_DEADLOCK',
      `${owner.name} was ${owner.label === null ? 'rolled back' : 'given up'} to resolve a deadlock: try it again\n${String(latest)}`,
      {
        retryable: true,
        details: { deadlock: latest },
      },
    )
  }

  #timeout({ wanted, waited }: LockRequest): NextkeyError {
    assert(wanted !== null, 'a wait that timed out is described')
    const blockers = [...new Set(wanted.blockedBy)]
    const now = this.#clock.now()
    return new LockWaitTimeoutError(
      describeLock({ ...wanted, status: 'granted' }, this.locks.graph.names),
      blockers.map((blocker) => blocker.name),
      blockers.map((blocker) => blocker.describe(waited, now)),
    )
  }

  #selfWait({ wanted }: LockRequest): NextkeyError {
    assert(wanted !== null, 'a wait for oneself is described')
    const blockers = [...new Set(wanted.blockedBy)]
    const lock = describeLock({ ...wanted, status: 'granted' }, this.locks.graph.names)
    const begun = blockers.map(({ name, begunBy }) => (begunBy === undefined ? name : `${name} (begun ${begunBy})`))
    return new NextkeyError(
      'ERR_SELF_WAIT',
      `the ${lock} is held by ${begun.join(', ')}, and this call was made inside the function of the very transaction or freeze that it would wait for: ` +
        'awaited there, it can never end; make the call through that transaction, or after its end',
      { details: { lock, holders: blockers.map(({ name }) => name) } },
    )
  }
}

const NOBODY = 0 as TrxId
