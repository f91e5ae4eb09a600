/**
 * Table locks: IS, IX, S, X and AUTO-INC, first come, first served.
 *
 * T1  A request waits if it conflicts with a lock another owner holds on the table, or with a request that already
 *     waits for it. There is no exception for owners that hold something there already.
 * T2  Requests are granted in the order they came, each as soon as T1 lets it.
 * T3  AUTO-INC locks are given back at the end of the statement, by `unlock`; the others stay.
 *
 * Holders per mode are counted, so whether a request conflicts is a comparison of numbers, however many transactions
 * hold IX.
 */
import type { TableId } from '../base/ids.js'
import { Hold, HoldPool } from './hold-pool.js'
import { TABLE_CONFLICTS, TABLE_LOCKS, TABLE_SATISFIES, TableLock, tableModeName } from './lock-modes.js'
import type { LockOwner } from './lock-owner.js'
import { type LockInfo, LockResult } from './lock-request.js'
import type { OwnerList } from './owner-list.js'
import { QueuedRequest, RequestQueue } from './request-queue.js'
import type { WaitGraph } from './wait-graph.js'

/** Tables whose state is kept though nobody locks or awaits them. */
const KEPT_STATES = 1000

/** One table that somebody has locked, awaits, or did before. */
class TableState {
  readonly table: TableId
  firstHold = 0
  /** Holders per TableLock. */
  readonly granted: Int32Array = new Int32Array(TABLE_LOCKS)
  readonly queue: RequestQueue<TableLockRequest> = new RequestQueue()

  constructor(table: TableId) {
    this.table = table
  }

  /** Whether someone other than an owner that holds `own` holds something `lock` conflicts with. */
  conflictsWithHolders(lock: TableLock, own: number): boolean {
    const conflicts = TABLE_CONFLICTS[lock]
    for (let mode = 0; mode < TABLE_LOCKS; mode++) {
      if ((conflicts & (1 << mode)) !== 0 && this.granted[mode] > ((own >> mode) & 1)) return true
    }
    return false
  }
}

export class TableLockRequest extends QueuedRequest<TableLockRequest> {
  readonly state: TableState
  readonly #locks: TableLocks

  constructor(owner: LockOwner, state: TableState, lock: TableLock, locks: TableLocks) {
    super(owner, lock)
    this.state = state
    this.#locks = locks
  }

  collectBlockers(into: LockOwner[]): void {
    this.#locks.collectBlockers(this, into)
  }

  withdraw(): void {
    this.#locks.withdraw(this)
  }

  describe(): LockInfo {
    const blockedBy: LockOwner[] = []
    this.collectBlockers(blockedBy)
    return { ...infoOf(this.owner, this.state.table, this.lock), status: 'waiting', blockedBy }
  }

  describeBlocking(blocker: LockOwner): LockInfo[] {
    return this.#locks.describeBlocking(this, blocker)
  }
}

export class TableLocks {
  readonly owners: OwnerList
  readonly graph: WaitGraph
  readonly holds: HoldPool = new HoldPool()
  readonly #states = new Map<TableId, TableState>()
  /** AUTO-INC locks held, whatever the table: nearly always none. */
  #autoIncrementLocks = 0

  constructor(owners: OwnerList, graph: WaitGraph) {
    this.owners = owners
    this.graph = graph
  }

  lock(owner: LockOwner, table: TableId, lock: TableLock, mayWait: boolean): LockResult {
    const held = this.heldMask(owner, table)
    if ((held & TABLE_SATISFIES[lock]) !== 0) return LockResult.AlreadyHeld
    const state = this.#stateOf(table)
    if (state.conflictsWithHolders(lock, held) || (state.queue.mask & TABLE_CONFLICTS[lock]) !== 0) {
      return mayWait ? this.#wait(owner, state, lock) : LockResult.NotAvailable
    }
    owner.structures++
    this.#give(owner, state, lock)
    return LockResult.Granted
  }

  /** Whether anybody holds the table's AUTO-INC lock. */
  isAutoIncrementLocked(table: TableId): boolean {
    return this.#autoIncrementLocks > 0 && (this.#states.get(table)?.granted[TableLock.AutoInc] ?? 0) > 0
  }

  /** Gives back one lock before the end of the transaction. */
  unlock(owner: LockOwner, table: TableId, lock: TableLock): void {
    const state = this.#states.get(table)
    const hold = this.#holdOf(owner, table)
    if (state === undefined || hold === 0) return
    const bit = 1 << lock
    const rows = this.holds.rows
    if ((rows[hold * Hold.Stride + Hold.Mask] & bit) === 0) return
    rows[hold * Hold.Stride + Hold.Mask] &= ~bit
    owner.lastTable = -1
    owner.structures--
    state.granted[lock]--
    if (lock === TableLock.AutoInc) this.#autoIncrementLocks--
    if (rows[hold * Hold.Stride + Hold.Mask] === 0) this.#removeHold(owner, state, hold)
    this.#wake(state)
  }

  releaseAll(owner: LockOwner): void {
    while (owner.firstTableHold !== 0) {
      const hold = owner.firstTableHold
      const at = hold * Hold.Stride
      const state = this.#stateOf(this.holds.rows[at + Hold.Resource] as TableId)
      const mask = this.holds.rows[at + Hold.Mask]
      for (let mode = 0; mode < TABLE_LOCKS; mode++) state.granted[mode] -= (mask >> mode) & 1
      this.#autoIncrementLocks -= (mask >> TableLock.AutoInc) & 1
      this.#removeHold(owner, state, hold)
      this.#wake(state)
    }
  }

  /** Mask of what the owner holds on the table. */
  heldMask(owner: LockOwner, table: TableId): number {
    if (owner.lastTable === table) return owner.lastTableMask
    const hold = this.#holdOf(owner, table)
    return hold === 0 ? 0 : this.holds.rows[hold * Hold.Stride + Hold.Mask]
  }

  collectBlockers(request: TableLockRequest, into: LockOwner[]): void {
    const conflicts = TABLE_CONFLICTS[request.lock]
    const { firstHold } = request.state
    const rows = this.holds.rows
    for (let hold = firstHold; hold !== 0; hold = rows[hold * Hold.Stride + Hold.Next]) {
      if ((rows[hold * Hold.Stride + Hold.Mask] & conflicts) === 0) continue
      const holder = this.owners.at(rows[hold * Hold.Stride + Hold.Owner])
      if (holder !== request.owner) into.push(holder)
    }
    let ahead = request.ahead
    while (ahead !== null && ((1 << ahead.lock) & conflicts) === 0) ahead = ahead.ahead
    if (ahead !== null) into.push(ahead.owner)
  }

  describeBlocking(request: TableLockRequest, blocker: LockOwner): LockInfo[] {
    const table = request.state.table
    const mask = this.heldMask(blocker, table) & TABLE_CONFLICTS[request.lock]
    const found: LockInfo[] = []
    for (let lock = 0; lock < TABLE_LOCKS; lock++) if ((mask & (1 << lock)) !== 0) found.push(infoOf(blocker, table, lock))
    const awaited = blocker.waiting
    if (found.length === 0 && awaited !== null) found.push(awaited.describe())
    return found
  }

  /** A waiting request, settled by the caller, leaves its queue. */
  withdraw(request: TableLockRequest): void {
    const { state, owner } = request
    state.queue.leave(request)
    owner.structures--
    this.#wake(state)
  }

  /** Every lock held or awaited, table by table. */
  *[Symbol.iterator](): Generator<LockInfo> {
    for (const state of this.#states.values()) {
      for (let hold = state.firstHold; hold !== 0; hold = this.holds.rows[hold * Hold.Stride + Hold.Next]) {
        const at = hold * Hold.Stride
        const owner = this.owners.at(this.holds.rows[at + Hold.Owner])
        const mask = this.holds.rows[at + Hold.Mask]
        for (let lock = 0; lock < TABLE_LOCKS; lock++) if ((mask & (1 << lock)) !== 0) yield infoOf(owner, state.table, lock)
      }
      for (let request = state.queue.head; request !== null; request = request.behind) yield request.describe()
    }
  }

  #wait(owner: LockOwner, state: TableState, lock: TableLock): LockResult {
    if (owner.slot === 0) this.owners.add(owner)
    const { queue } = state
    if (queue.tail === null) this.#markHolders(state)
    const request = new TableLockRequest(owner, state, lock, this)
    queue.join(request)
    owner.structures++
    this.graph.begin(request)
    return request.result
  }

  /** Rule G2. */
  #markHolders(state: TableState): void {
    const rows = this.holds.rows
    for (let hold = state.firstHold; hold !== 0; hold = rows[hold * Hold.Stride + Hold.Next]) {
      this.owners.at(rows[hold * Hold.Stride + Hold.Owner]).mayBlock = true
    }
  }

  #give(owner: LockOwner, state: TableState, lock: TableLock): void {
    if (owner.slot === 0) this.owners.add(owner)
    const hold = this.#holdOf(owner, state.table)
    if (hold === 0) {
      state.firstHold = this.holds.add(state.table, owner.slot, 1 << lock, state.firstHold, owner.firstTableHold)
      owner.firstTableHold = state.firstHold
    } else {
      this.holds.rows[hold * Hold.Stride + Hold.Mask] |= 1 << lock
    }
    state.granted[lock]++
    if (lock === TableLock.AutoInc) this.#autoIncrementLocks++
    if (state.queue.head !== null) owner.mayBlock = true
    owner.lastTableMask = this.heldMask(owner, state.table) | (1 << lock)
    owner.lastTable = state.table
  }

  #removeHold(owner: LockOwner, state: TableState, hold: number): void {
    state.firstHold = this.holds.unlink(hold, state.firstHold)
    owner.firstTableHold = this.holds.unlinkFromOwner(hold, owner.firstTableHold)
    this.holds.free(hold)
  }

  /** Rule T2. */
  #wake(state: TableState): void {
    const { queue } = state
    let ahead = 0
    let request = queue.head
    while (request !== null) {
      const next: TableLockRequest | null = request.behind
      const { owner, lock } = request
      if ((ahead & TABLE_CONFLICTS[lock]) !== 0 || state.conflictsWithHolders(lock, this.heldMask(owner, state.table))) {
        ahead |= 1 << lock
        if (isEverybodyStuck(queue.mask, ahead)) break
      } else {
        queue.leave(request)
        this.#give(owner, state, lock)
        this.graph.settle(request, 'granted')
      }
      request = next
    }
    // Making a state costs more than a lock: they are kept for the transactions to come, unless there have been very many tables.
    if (this.#states.size > KEPT_STATES && state.firstHold === 0 && queue.head === null) this.#states.delete(state.table)
  }

  /** Owners hold few tables; tables have many holders. */
  #holdOf(owner: LockOwner, table: TableId): number {
    const rows = this.holds.rows
    let hold = owner.firstTableHold
    while (hold !== 0 && rows[hold * Hold.Stride + Hold.Resource] !== table) hold = rows[hold * Hold.Stride + Hold.OwnerNext]
    return hold
  }

  #stateOf(table: TableId): TableState {
    let state = this.#states.get(table)
    if (state === undefined) {
      state = new TableState(table)
      this.#states.set(table, state)
    }
    return state
  }
}

/** Whether each of the locks waited for conflicts with one waited for ahead. */
function isEverybodyStuck(waiting: number, ahead: number): boolean {
  for (let lock = 0; lock < TABLE_LOCKS; lock++) {
    if ((waiting & (1 << lock)) !== 0 && (TABLE_CONFLICTS[lock] & ahead) === 0) return false
  }
  return true
}

function infoOf(owner: LockOwner, table: TableId, lock: TableLock): LockInfo {
  return {
    owner,
    table,
    index: null,
    key: null,
    supremum: false,
    object: null,
    mode: tableModeName(lock),
    kind: 'table',
    status: 'granted',
    blockedBy: [],
  }
}
