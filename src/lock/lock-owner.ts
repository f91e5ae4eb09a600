import type { LockRequest } from './lock-request.js'
import type { LockRun } from './lock-runs.js'

/** Distinct lock structures up to which a transaction's list is searched in line. */
const LISTED = 16

/** Whether an owner holds IX on everything for its statement. While nobody freezes the database nobody needs to know, so it is not noted. */
export const enum GlobalLock {
  None = 0,
  /** Held, and to be noted when somebody asks for a lock that conflicts with it. */
  Unnoted = 1,
  Noted = 2,
}

export const enum IdleSince {
  /** A statement is under way. */
  Busy = -2,
  /** No statement was under way when somebody began to wait for the owner, nor since. */
  Before = -1,
}

/**
 * Whoever holds locks: a transaction, or a DDL operation. The layer above creates one, keeps the first group of fields
 * up to date and calls `LockSystem.releaseAll` at the end; everything else belongs to the lock system.
 */
export class LockOwner {
  /** Number of the transaction, in reports; not used otherwise. 0 while there is none. */
  id: number
  /** What it is if it is not a transaction alone: "drop of table 't'". */
  readonly label: string | null
  /** Where it was begun, for messages; known only if that was asked for. */
  begunBy: string | undefined
  /** When its last statement ended, ms, or one of IdleSince. */
  idleSince: number = IdleSince.Busy
  /** Undo records written: what rolling this owner back would cost. */
  undoRecords = 0
  /** DDL and LOCK TABLES: chosen as a deadlock's victim only among their own kind. */
  diesLast = false
  /** Its explicit metadata locks outlive its transactions, until they are given back: LOCK TABLES. */
  keepsExplicit = false
  /** False under READ COMMITTED and READ UNCOMMITTED: locks of a removed entry are not inherited as gap locks … */
  takesGapLocks = true
  /** … unless the statement under way checks a constraint and relies on its locks until it ends (rule I4). */
  inheritsAll = false

  /** The request it waits with; an owner waits for one thing at a time. */
  waiting: LockRequest | null = null
  /** Somebody may be waiting for this owner. Never false when somebody is (rule G2). */
  mayBlock = false
  /** Place in the lock system's list of owners; 0 while it holds and awaits nothing. */
  slot = 0
  /** Newest of its record locks, of its table locks: heads of lists in the lock tables; 0 = none. */
  firstRecordHold = 0
  firstTableHold = 0
  /** Newest of its metadata locks. */
  firstMetadataHold = 0
  /** Newest of its runs. */
  firstRun: LockRun | null = null
  /** The table last locked, −1 for none, and what is held there: row operations ask again and again. */
  lastTable = -1
  lastTableMask = 0
  /** The object whose metadata lock was last taken, 0 for none, and what is held there to the end of the transaction. */
  lastMetadata = 0
  lastMetadataMask = 0
  /** The statement under way changes data, and so holds IX on everything (Scope.Global): see GlobalLock. */
  globalLock: GlobalLock = GlobalLock.None
  /** Number of the search of the wait-for graph that last visited this owner. */
  visited = 0

  /** Lock structures as InnoDB counts them (rule V2), table locks included. */
  structures = 0
  #lastStructure = -1
  /** Kinds of structures, made when the first is needed: the first few here, any further ones in the set. */
  #listed: number[] | null = null
  #further: Set<number> | null = null

  constructor(id: number, label: string | null = null) {
    this.id = id
    this.label = label
  }

  /** For people. */
  get name(): string {
    return this.label ?? `transaction ${this.id}`
  }

  /** The same, with where it comes from and what it does, to whoever has waited for it for `waited` ms until `now`. */
  describe(waited: number, now: number): string {
    const parts: string[] = []
    if (this.begunBy !== undefined) parts.push(`begun ${this.begunBy}`)
    if (this.waiting !== null) parts.push('itself waiting for a lock')
    else if (this.idleSince >= 0) parts.push(`idle for ${Math.round(now - this.idleSince)} ms`)
    else if (this.idleSince === IdleSince.Before) parts.push(`idle for ${Math.round(waited)} ms or more`)
    return parts.length === 0 ? this.name : `${this.name} (${parts.join(', ')})`
  }

  /** What a deadlock's victim is chosen by, after `diesLast`. */
  get weight(): number {
    return this.undoRecords + this.structures
  }

  /** A lock of this kind (index and type in one number) was taken: it goes into a structure it has, or a new one. */
  noteStructure(kind: number): void {
    if (kind !== this.#lastStructure && this.#isNew(kind)) this.structures++
  }

  /** A structure of its own, made for a wait that is over, holds locks of this kind from now on. */
  keepStructure(kind: number): void {
    this.#isNew(kind)
  }

  /** Back to the state of a new owner that holds nothing. */
  reset(): void {
    this.slot = 0
    this.mayBlock = false
    this.startAnew()
  }

  /** The same but for its place in the list: what it still holds outlives the transaction. */
  startAnew(): void {
    this.lastTable = -1
    this.lastTableMask = 0
    this.lastMetadata = 0
    if (this.label !== null) this.id = 0
    this.globalLock = GlobalLock.None
    this.structures = 0
    this.#lastStructure = -1
    this.#listed = null
    this.#further = null
  }

  #isNew(kind: number): boolean {
    this.#lastStructure = kind
    if (this.#listed === null) {
      this.#listed = [kind]
      return true
    }
    if (this.#listed.includes(kind) || this.#further?.has(kind)) return false
    if (this.#listed.length < LISTED) {
      this.#listed.push(kind)
    } else {
      this.#further ??= new Set()
      this.#further.add(kind)
    }
    return true
  }
}
