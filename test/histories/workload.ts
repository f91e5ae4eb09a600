/**
 * Random interactive transactions against a store, recorded as a history.
 *
 * A round is one history: fresh lists, registers and groups, a number of clients that each run one transaction after the other, voluntary aborts,
 * retries of what the store undid, now and then a restart, and at the end a look at everything. Objects come in small windows that move on, so that
 * there is contention all the time and no list grows long.
 */
import { Scheduler } from '../support/scheduler.js'
import { Prng } from '../support/seeded.js'
import type { History, Operation, RecordedTransaction, TransactionOutcome } from './history.js'
import { type InitialState, type Store, StoreAbort, type StoreTransaction } from './store.js'

export interface WorkloadOptions {
  readonly seed: number
  /** Concurrent clients, 1 to 100. */
  readonly clients: number
  /** Transactions to begin, retries not counted. */
  readonly transactions: number
  /** Most operations of one transaction. Default 6. */
  readonly maxOperations?: number
  /** Objects of each kind in use at one time: fewer means more conflicts. Default 6. */
  readonly window?: number
  /** Share of transactions rolled back on purpose. Default 0.05. */
  readonly aborts?: number
  /** Share of locking reads. Default 0: whatever the isolation level does with plain ones. */
  readonly lockingReads?: number
  /** Share of operations on groups. Default 0.25. */
  readonly predicates?: number
  /** Share of scans that look for one member. Default 0.3. */
  readonly pointScans?: number
  /** Share of writes made after a savepoint and undone by a rollback to it, where the store has savepoints. Default 0. */
  readonly undone?: number
  /** Restarts spread over the round, where the store can. Default 0. */
  readonly restarts?: number
  /** Attempts at one transaction. Default 3. */
  readonly attempts?: number
}

export interface RoundStatistics {
  committed: number
  aborted: number
  deadlocks: number
  conflicts: number
  timeouts: number
  cutOff: number
  restarts: number
}

export interface Round {
  readonly history: History
  readonly statistics: RoundStatistics
}

const WRITES_PER_OBJECT = 16
/** The lower half of a group's members is present at first; those can only leave, the others only enter. */
export const LEAVERS_PER_GROUP = 12
const MEMBERS_PER_GROUP = 2 * LEAVERS_PER_GROUP
/** Coprime to their number: consecutive leavers are no neighbours. */
const LEAVER_STRIDE = 5
/** Share of operations on an object the transaction has used before. */
const COMING_BACK = 0.3
/** Share of operations that write. */
const WRITE_SHARE = 0.45
/** How many more objects are prepared than the planned writes need, since attempts that fail use them up too. */
const RETRY_ALLOWANCE = 1.5

interface PlannedOperation {
  readonly kind: 'list' | 'register' | 'group'
  readonly id: number
  readonly writes: boolean
  /** For reads. */
  readonly locking: boolean
}

/** Objects of one kind, a few in use at a time; one that has been written often enough makes place for the next. */
class Window {
  readonly ids: number[] = []
  readonly #prng: Prng
  readonly #inUse: number
  readonly #capacity: number
  readonly #writes = new Map<number, number>()
  #first = 0

  constructor(prng: Prng, count: number, inUse: number, capacity: number) {
    this.#prng = prng
    this.#inUse = inUse
    this.#capacity = capacity
    for (let id = 0; id < count; id++) this.ids.push(id)
  }

  pick(): number {
    const last = Math.min(this.#first + this.#inUse, this.ids.length)
    return this.ids[this.#first + this.#prng.int(last - this.#first)]
  }

  /** Counts a write. False when the object has had all it may have. */
  wrote(id: number): boolean {
    const writes = (this.#writes.get(id) ?? 0) + 1
    this.#writes.set(id, writes)
    while (this.#first < this.ids.length - 1 && (this.#writes.get(this.ids[this.#first]) ?? 0) >= this.#capacity) this.#first++
    return writes <= this.#capacity
  }

  count(id: number): number {
    return this.#writes.get(id) ?? 0
  }
}

/**
 * Runs one round; `scheduler` is the one the store runs on, if it runs on one. Rejects when the store fails in a way no store may, or when
 * clients can move no more.
 */
export function runRound(store: Store, options: WorkloadOptions, scheduler: Scheduler = new Scheduler(options.seed)): Promise<Round> {
  return new RoundRunner(store, scheduler, options).run()
}

class RoundRunner {
  readonly #store: Store
  readonly #options: Required<WorkloadOptions>
  readonly #prng: Prng
  readonly #scheduler: Scheduler
  readonly #lists: Window
  readonly #registers: Window
  readonly #groups: Window
  readonly #recorded: RecordedTransaction[] = []
  readonly #statistics: RoundStatistics = { committed: 0, aborted: 0, deadlocks: 0, conflicts: 0, timeouts: 0, cutOff: 0, restarts: 0 }
  #begun = 0
  #value = 0
  #time = 0
  #restarting: Promise<void> | undefined

  constructor(store: Store, scheduler: Scheduler, options: WorkloadOptions) {
    this.#store = store
    this.#scheduler = scheduler
    this.#options = {
      maxOperations: 6,
      window: 6,
      aborts: 0.05,
      lockingReads: 0,
      predicates: 0.25,
      pointScans: 0.3,
      undone: 0,
      restarts: 0,
      attempts: 3,
      ...options,
    }
    const { seed, transactions, maxOperations, window, predicates } = this.#options
    this.#prng = new Prng(seed)
    const writes = transactions * ((maxOperations + 1) / 2) * WRITE_SHARE * RETRY_ALLOWANCE
    const make = (share: number, inUse: number, capacity: number) =>
      new Window(this.#prng, inUse + Math.ceil((writes * share) / capacity), inUse, capacity)
    this.#lists = make((1 - predicates) / 2, window, WRITES_PER_OBJECT)
    this.#registers = make((1 - predicates) / 2, window, WRITES_PER_OBJECT)
    this.#groups = make(predicates, Math.max(1, window >> 1), MEMBERS_PER_GROUP)
  }

  async run(): Promise<Round> {
    const initial = this.#initialState()
    await this.#scheduler.run(this.#play(initial))
    const initialMembers = new Map<number, Set<number>>()
    for (const { group, member, present } of initial.members) {
      const members = initialMembers.get(group) ?? new Set<number>()
      initialMembers.set(group, present ? members.add(member) : members)
    }
    return { history: { transactions: this.#recorded, initialMembers, readsEverythingAtEnd: true }, statistics: this.#statistics }
  }

  async #play(initial: InitialState): Promise<void> {
    await this.#store.prepare(initial)
    await Promise.all(Array.from({ length: this.#options.clients }, () => this.#client()))
    await this.#readEverything()
  }

  #initialState(): InitialState {
    const members = this.#groups.ids.flatMap((group) =>
      Array.from({ length: MEMBERS_PER_GROUP }, (_, member) => ({ group, member, present: member < LEAVERS_PER_GROUP })),
    )
    return { lists: this.#lists.ids, registers: this.#registers.ids, members }
  }

  async #client(): Promise<void> {
    const { transactions, attempts, aborts } = this.#options
    while (this.#begun < transactions) {
      this.#begun++
      const plan = this.#plan()
      const abort = this.#prng.bool(aborts)
      for (let attempt = 0; attempt < attempts; attempt++) {
        if (await this.#attempt(plan, abort)) break
      }
      await this.#maybeRestart()
    }
  }

  #plan(): PlannedOperation[] {
    const { maxOperations } = this.#options
    const plan: PlannedOperation[] = []
    for (let left = 1 + this.#prng.int(maxOperations); left > 0; left--) {
      // Coming back to an object shows whether reads repeat and own writes are seen.
      const earlier = plan.length > 0 && this.#prng.bool(COMING_BACK) ? this.#prng.pick(plan) : undefined
      plan.push(this.#planOperation(earlier))
    }
    return plan
  }

  #planOperation(earlier: PlannedOperation | undefined): PlannedOperation {
    const { lockingReads, predicates } = this.#options
    const locking = this.#prng.bool(lockingReads)
    const writes = this.#prng.bool(WRITE_SHARE)
    const kind = earlier?.kind ?? (this.#prng.bool(predicates) ? 'group' : this.#prng.bool() ? 'list' : 'register')
    const window = kind === 'group' ? this.#groups : kind === 'list' ? this.#lists : this.#registers
    return { kind, id: earlier?.id ?? window.pick(), writes, locking }
  }

  /** One transaction. True when it need not be tried again. */
  async #attempt(plan: readonly PlannedOperation[], abort: boolean): Promise<boolean> {
    await this.#restarting
    await this.#scheduler.turn()
    const began = ++this.#time
    const ops: Operation[] = []
    const end = (outcome: TransactionOutcome) => this.#recorded.push({ ops, outcome, began, ended: ++this.#time })
    let committing = false
    try {
      const tx = await this.#store.begin()
      for (const step of plan) {
        await this.#scheduler.turn()
        if (step.writes && tx.savepoint !== undefined && this.#prng.bool(this.#options.undone)) await this.#performAndUndo(tx, step)
        else await this.#perform(tx, step, ops)
      }
      await this.#scheduler.turn()
      if (abort) {
        await tx.abort()
        this.#statistics.aborted++
        end('aborted')
        return true
      }
      committing = true
      await tx.commit()
      this.#statistics.committed++
      end('committed')
      return true
    } catch (error) {
      if (!(error instanceof StoreAbort)) throw error
      end(committing && error.reason === 'closed' ? 'unknown' : 'aborted')
      this.#count(error)
      return false
    }
  }

  /** What a rollback to a savepoint has undone was the work of a transaction that aborted. */
  async #performAndUndo(tx: StoreTransaction, step: PlannedOperation): Promise<void> {
    const began = ++this.#time
    const ops: Operation[] = []
    try {
      const undo = await tx.savepoint?.()
      await this.#perform(tx, step, ops)
      await this.#scheduler.turn()
      await undo?.()
    } finally {
      this.#recorded.push({ ops, outcome: 'aborted', began, ended: ++this.#time })
    }
  }

  #count({ reason }: StoreAbort): void {
    if (reason === 'deadlock') this.#statistics.deadlocks++
    else if (reason === 'conflict') this.#statistics.conflicts++
    else if (reason === 'timeout') this.#statistics.timeouts++
    else this.#statistics.cutOff++
  }

  async #perform(tx: StoreTransaction, { kind, id, writes, locking }: PlannedOperation, ops: Operation[]): Promise<void> {
    if (kind === 'list') return writes ? this.#append(tx, id, ops) : this.#readList(tx, id, locking, ops)
    if (kind === 'register') return writes ? this.#write(tx, id, ops) : this.#readRegister(tx, id, locking, ops)
    return writes ? this.#change(tx, id, ops) : this.#scan(tx, id, locking, ops)
  }

  async #readList(tx: StoreTransaction, key: number, locking: boolean, ops: Operation[]): Promise<void> {
    ops.push({ f: 'readList', key, value: await tx.readList(key, locking), locking })
  }

  /** A write is recorded before it is asked for: of one that fails halfway others may still see something. */
  async #append(tx: StoreTransaction, key: number, ops: Operation[]): Promise<void> {
    const value = ++this.#value
    this.#lists.wrote(key)
    ops.push({ f: 'append', key, value })
    await tx.append(key, value)
  }

  async #readRegister(tx: StoreTransaction, id: number, locking: boolean, ops: Operation[]): Promise<void> {
    ops.push({ f: 'read', key: this.#registerKey(id), value: await tx.read(id, locking), locking })
  }

  async #write(tx: StoreTransaction, id: number, ops: Operation[]): Promise<void> {
    const value = ++this.#value
    this.#registers.wrote(id)
    const key = this.#registerKey(id)
    const at = ops.push({ f: 'write', key, value }) - 1
    ops[at] = { f: 'write', key, value, version: await tx.write(id, value) }
  }

  async #scan(tx: StoreTransaction, group: number, locking: boolean, ops: Operation[]): Promise<void> {
    const lower = this.#prng.int(MEMBERS_PER_GROUP)
    const upper = this.#prng.bool(this.#options.pointScans) ? lower : lower + this.#prng.int(MEMBERS_PER_GROUP - lower)
    ops.push({ f: 'scan', group, lower, upper, found: await tx.scan(group, lower, upper, locking), locking })
  }

  /** Registers and lists are numbered alike; in the history their keys differ. */
  #registerKey(key: number): number {
    return -1 - key
  }

  /**
   * Each member changes once. Leavers and enterers alternate; one enters a little after the leaver has left whose place it takes, if it takes a place:
   * where it is still taken the statement fails, and nothing has happened.
   */
  async #change(tx: StoreTransaction, group: number, ops: Operation[]): Promise<void> {
    if (!this.#groups.wrote(group)) return
    const change = this.#groups.count(group) - 1
    const f = change % 2 === 0 ? 'leave' : 'enter'
    const leaver = (((change >> 1) + (f === 'leave' ? 1 : 0)) * LEAVER_STRIDE) % LEAVERS_PER_GROUP
    const op: Operation = f === 'leave' ? { f, group, member: leaver } : { f, group, member: leaver + LEAVERS_PER_GROUP, insteadOf: leaver }
    ops.push(op)
    if (!(await tx[f](group, op.member))) ops.splice(ops.indexOf(op), 1)
  }

  async #maybeRestart(): Promise<void> {
    const { restarts, transactions } = this.#options
    const due = (this.#statistics.restarts + 1) * (transactions / (restarts + 1))
    if (this.#store.restart === undefined || this.#statistics.restarts >= restarts || this.#begun < due || this.#restarting !== undefined)
      return
    this.#statistics.restarts++
    this.#restarting = this.#store.restart()
    await this.#restarting
    this.#restarting = undefined
  }

  /** After all else: what these transactions do not find is lost. */
  async #readEverything(): Promise<void> {
    const touched = (ids: readonly number[], window: Window) => ids.filter((id) => window.count(id) > 0)
    const reads: ((tx: StoreTransaction) => Promise<Operation>)[] = [
      ...touched(this.#lists.ids, this.#lists).map(
        (key) =>
          async (tx: StoreTransaction): Promise<Operation> => ({ f: 'readList', key, value: await tx.readList(key, false) }),
      ),
      ...touched(this.#registers.ids, this.#registers).map(
        (key) =>
          async (tx: StoreTransaction): Promise<Operation> => ({
            f: 'read',
            key: this.#registerKey(key),
            value: await tx.read(key, false),
          }),
      ),
      ...touched(this.#groups.ids, this.#groups).map((group) => async (tx: StoreTransaction): Promise<Operation> => {
        const upper = MEMBERS_PER_GROUP - 1
        return { f: 'scan', group, lower: 0, upper, found: await tx.scan(group, 0, upper, false) }
      }),
    ]
    for (let first = 0; first < reads.length; first += 64) {
      const began = ++this.#time
      const tx = await this.#store.begin()
      const ops: Operation[] = []
      for (const read of reads.slice(first, first + 64)) ops.push(await read(tx))
      await tx.commit()
      this.#statistics.committed++
      this.#recorded.push({ ops, outcome: 'committed', began, ended: ++this.#time })
    }
  }
}
