/**
 * A small store in memory whose isolation can be taken away piece by piece, to show that the checker finds what each missing piece lets in.
 *
 * With locking reads it is strict two-phase locking: S and X locks on lists and registers, and on groups as a whole, which stands for predicate
 * locks. A wait that would never end undoes the transaction that asked.
 */
import { type InitialState, type Store, StoreAbort, type StoreTransaction } from './store.js'

export interface ToySwitches {
  /**
   * `dirty`: the newest state, committed or not. `committed`: the newest committed state. `snapshot`: the committed state when the transaction began.
   * `locking`: the newest state, under an S lock.
   */
  readonly reads: 'dirty' | 'committed' | 'snapshot' | 'locking'
  /** Writers hold X locks to their end. Default true. */
  readonly writeLocks?: boolean
  /** A write of what somebody else committed since the snapshot fails. Default false. */
  readonly firstCommitterWins?: boolean
  /** Scans lock their group, and changes of members too. Default true. */
  readonly groupLocks?: boolean
  /** A write is made on the state that was read, not on the newest one. Default false. */
  readonly writesFromReads?: boolean
  /** Undoing a transaction leaves its writes. Default false. */
  readonly forgetsToUndo?: boolean
}

/** Lists and groups are their values; a register is its version and its value. */
type State = readonly number[]

interface Version {
  readonly commit: number
  readonly state: State
}

interface LockQueue {
  exclusive: ToyTransaction | undefined
  readonly shared: Set<ToyTransaction>
}

export class ToyStore implements Store {
  readonly switches: ToySwitches
  /** Committed versions, oldest first. */
  readonly versions: Map<string, Version[]> = new Map()
  /** The newest state of objects somebody has written and not yet committed. */
  readonly dirty: Map<string, State> = new Map()
  readonly locks: Map<string, LockQueue> = new Map()
  readonly waitsFor: Map<ToyTransaction, ReadonlySet<ToyTransaction>> = new Map()
  commits = 0
  #released: Promise<void> = Promise.resolve()
  #release: () => void = () => {}

  constructor(switches: ToySwitches) {
    this.switches = switches
    this.announceRelease()
  }

  async prepare({ lists, registers, members }: InitialState): Promise<void> {
    this.versions.clear()
    for (const key of lists) this.versions.set(`list ${key}`, [{ commit: 0, state: [] }])
    for (const key of registers) this.versions.set(`register ${key}`, [{ commit: 0, state: [] }])
    for (const { group } of members) {
      const present = members.filter((member) => member.group === group && member.present).map(({ member }) => member)
      this.versions.set(`group ${group}`, [{ commit: 0, state: present }])
    }
  }

  async begin(): Promise<StoreTransaction> {
    return new ToyTransaction(this)
  }

  async close(): Promise<void> {}

  /** Resolves when some lock is released. */
  get released(): Promise<void> {
    return this.#released
  }

  announceRelease(): void {
    this.#release()
    this.#released = new Promise((resolve) => {
      this.#release = resolve
    })
  }

  asOf(object: string, commit: number): State {
    const versions = this.versions.get(object) ?? []
    for (let i = versions.length - 1; i >= 0; i--) if (versions[i].commit <= commit) return versions[i].state
    return []
  }

  newest(object: string): State {
    return this.dirty.get(object) ?? this.asOf(object, this.commits)
  }

  lastCommit(object: string): number {
    return this.versions.get(object)?.at(-1)?.commit ?? 0
  }
}

class ToyTransaction implements StoreTransaction {
  readonly #store: ToyStore
  readonly #snapshot: number
  /** State of each object before this transaction first wrote it. */
  readonly #before = new Map<string, State>()
  readonly #own = new Map<string, State>()
  readonly #changes = new Map<string, ((members: State) => State)[]>()
  readonly #seen = new Map<string, State>()

  constructor(store: ToyStore) {
    this.#store = store
    this.#snapshot = store.commits
  }

  readList(key: number): Promise<readonly number[]> {
    return this.#read(`list ${key}`)
  }

  async append(key: number, value: number): Promise<void> {
    await this.#write(`list ${key}`, (list) => [...list, value])
  }

  async read(key: number): Promise<number | undefined> {
    return (await this.#read(`register ${key}`))[1]
  }

  async write(key: number, value: number): Promise<number> {
    return (await this.#write(`register ${key}`, ([version = 0]) => [version + 1, value]))[0]
  }

  enter(group: number, member: number): Promise<boolean> {
    return this.#changeGroup(group, (members) => (members.includes(member) ? members : [...members, member]))
  }

  leave(group: number, member: number): Promise<boolean> {
    return this.#changeGroup(group, (members) => members.filter((other) => other !== member))
  }

  /** Members are rows of their own: changing one brings no other into view, so the changes are made again on whatever is visible. */
  async #changeGroup(group: number, change: (members: State) => State): Promise<boolean> {
    const object = `group ${group}`
    await this.#write(object, change)
    this.#own.delete(object)
    this.#changes.set(object, [...(this.#changes.get(object) ?? []), change])
    return true
  }

  async scan(group: number, lower: number, upper: number): Promise<readonly number[]> {
    return (await this.#read(`group ${group}`)).filter((member) => member >= lower && member <= upper)
  }

  async #read(object: string): Promise<State> {
    const { reads } = this.#store.switches
    if (reads === 'locking') await this.#lock(object, 'shared')
    const visible = this.#own.get(object) ?? this.#visible(object)
    const state = (this.#changes.get(object) ?? []).reduce((members, change) => change(members), visible)
    this.#seen.set(object, state)
    return state
  }

  #visible(object: string): State {
    const store = this.#store
    if (store.switches.reads === 'snapshot') return store.asOf(object, this.#snapshot)
    return store.switches.reads === 'committed' ? store.asOf(object, store.commits) : store.newest(object)
  }

  async #write(object: string, change: (state: State) => State): Promise<State> {
    const store = this.#store
    if (store.switches.writeLocks !== false) await this.#lock(object, 'exclusive')
    if (store.switches.firstCommitterWins === true && store.lastCommit(object) > this.#snapshot) this.#fail('conflict')
    const newest = store.newest(object)
    const base = store.switches.writesFromReads === true ? (this.#own.get(object) ?? this.#seen.get(object) ?? newest) : newest
    if (!this.#before.has(object)) this.#before.set(object, newest)
    const state = change(base)
    store.dirty.set(object, state)
    // With nothing locked, others may write over this at once: then there is no state of one's own.
    if (store.switches.writeLocks !== false) this.#own.set(object, state)
    return state
  }

  async commit(): Promise<void> {
    const store = this.#store
    const commit = ++store.commits
    for (const object of this.#before.keys()) {
      const versions = store.versions.get(object) ?? []
      versions.push({ commit, state: store.newest(object) })
      store.versions.set(object, versions)
    }
    this.#end()
  }

  async abort(): Promise<void> {
    const { dirty, switches } = this.#store
    if (switches.forgetsToUndo !== true) for (const [object, state] of this.#before) dirty.set(object, state)
    this.#end()
  }

  #fail(reason: 'deadlock' | 'conflict'): never {
    void this.abort()
    throw new StoreAbort(reason)
  }

  #end(): void {
    const { locks, waitsFor, switches, dirty } = this.#store
    if (switches.writeLocks !== false && switches.forgetsToUndo !== true) for (const object of this.#before.keys()) dirty.delete(object)
    for (const queue of locks.values()) {
      if (queue.exclusive === this) queue.exclusive = undefined
      queue.shared.delete(this)
    }
    waitsFor.delete(this)
    this.#store.announceRelease()
  }

  async #lock(object: string, mode: 'shared' | 'exclusive'): Promise<void> {
    if (this.#store.switches.groupLocks === false && object.startsWith('group')) return
    const { locks, waitsFor } = this.#store
    const queue: LockQueue = locks.get(object) ?? { exclusive: undefined, shared: new Set() }
    locks.set(object, queue)
    for (;;) {
      const holders = new Set(mode === 'shared' ? [] : queue.shared)
      if (queue.exclusive !== undefined) holders.add(queue.exclusive)
      holders.delete(this)
      if (holders.size === 0) break
      waitsFor.set(this, holders)
      if (this.#closesCycle()) this.#fail('deadlock')
      await this.#store.released
    }
    waitsFor.delete(this)
    if (mode === 'shared') queue.shared.add(this)
    else queue.exclusive = this
  }

  #closesCycle(): boolean {
    const seen = new Set<ToyTransaction>()
    const queue = [...(this.#store.waitsFor.get(this) ?? [])]
    for (let next = queue.pop(); next !== undefined; next = queue.pop()) {
      if (next === this) return true
      if (seen.has(next)) continue
      seen.add(next)
      queue.push(...(this.#store.waitsFor.get(next) ?? []))
    }
    return false
  }
}
