/**
 * A stage for lock scenarios: sessions A, B, C … on one index with number keys, told as the golden scenarios tell them.
 * A wait's outcome is written into `outcomes`; a deadlock victim is rolled back at once, as a transaction would be.
 */
import type { TableId, TreeId } from '../../src/base/ids.js'
import { SUPREMUM } from '../../src/lock/lock-key.js'
import { RecordLock, TableLock } from '../../src/lock/lock-modes.js'
import { LockOwner } from '../../src/lock/lock-owner.js'
import { LockResult } from '../../src/lock/lock-request.js'
import { LockSystem } from '../../src/lock/lock-system.js'
import { Duration, type MetadataModeName } from '../../src/lock/metadata-modes.js'
import { Scope } from '../../src/lock/metadata-object.js'

export const PRIMARY = 1 as TreeId
export const SECONDARY = 2 as TreeId
export const TABLE = 1 as TableId
export const END: number = Number.POSITIVE_INFINITY

const LOCKS: Record<string, RecordLock> = {
  'S record': RecordLock.SRecord,
  'X record': RecordLock.XRecord,
  'S gap': RecordLock.SGap,
  'X gap': RecordLock.XGap,
  'S next-key': RecordLock.SNextKey,
  'X next-key': RecordLock.XNextKey,
  insert: RecordLock.XInsertIntention,
}

const TABLE_LOCKS: Record<string, TableLock> = {
  IS: TableLock.IS,
  IX: TableLock.IX,
  S: TableLock.S,
  X: TableLock.X,
  'AUTO-INC': TableLock.AutoInc,
}

/** By MetadataLock. */
export const MODES: readonly MetadataModeName[] = ['S', 'SH', 'SR', 'SW', 'SU', 'SRO', 'SNW', 'SNRW', 'X', 'IS', 'IX']
const SCOPES: Record<string, Scope> = { GLOBAL: Scope.Global, COMMIT: Scope.Commit, 'TABLE LOCKS': Scope.TableLocks }

const RESULTS: Record<LockResult, string> = {
  [LockResult.Granted]: 'granted',
  [LockResult.AlreadyHeld]: 'held',
  [LockResult.Waiting]: 'waits',
  [LockResult.NotAvailable]: 'refused',
  [LockResult.Deadlock]: 'deadlock',
}

export class Stage {
  readonly locks: LockSystem = new LockSystem()
  readonly outcomes: string[] = []
  readonly #owners = new Map<string, LockOwner>()

  owner(name: string): LockOwner {
    let owner = this.#owners.get(name)
    if (owner === undefined) {
      owner = new LockOwner(name.charCodeAt(0))
      this.#owners.set(name, owner)
    }
    return owner
  }

  lock(name: string, lock: string, key: number, how: { index?: TreeId; mayWait?: boolean } = {}): string {
    const { index = PRIMARY, mayWait = true } = how
    const [bytes, length] = encode(key)
    return this.#answer(name, this.locks.lockRecord(this.owner(name), index, bytes, length, LOCKS[lock], mayWait))
  }

  unlock(name: string, lock: string, key: number): void {
    const [bytes, length] = encode(key)
    this.locks.unlockRecord(this.owner(name), PRIMARY, bytes, length, LOCKS[lock])
  }

  table(name: string, lock: string, table: TableId = TABLE): string {
    return this.#answer(name, this.locks.lockTable(this.owner(name), table, TABLE_LOCKS[lock], true))
  }

  unlockTable(name: string, lock: string): void {
    this.locks.unlockTable(this.owner(name), TABLE, TABLE_LOCKS[lock])
  }

  /** A metadata lock on a table's name; `how` 'nowait' asks without waiting. */
  metadata(name: string, lock: MetadataModeName, how: { object?: string; duration?: Duration; mayWait?: boolean } = {}): string {
    const { object = 't', duration = Duration.Transaction, mayWait = true } = how
    return this.#answer(name, this.locks.lockMetadata(this.owner(name), this.#number(object), MODES.indexOf(lock), duration, mayWait))
  }

  unlockMetadata(name: string, duration: Duration, keep?: MetadataModeName, object = 't'): void {
    this.locks.unlockMetadata(this.owner(name), this.#number(object), duration, keep === undefined ? 0 : 1 << MODES.indexOf(keep))
  }

  /** Every metadata lock, as `A SR t` or `A waits X t`, in the order listed. */
  metadataListed(): string[] {
    const names = new Map([...this.#owners].map(([name, owner]) => [owner, name]))
    return Array.from(
      this.locks.metadataLocks(),
      (lock) => `${names.get(lock.owner)} ${lock.status === 'waiting' ? 'waits ' : ''}${lock.mode} ${lock.object}`,
    )
  }

  #number(object: string): number {
    return SCOPES[object] ?? this.locks.metadataObject(object)
  }

  /** The entry is there, written by this session, and somebody is about to ask for it. */
  makeExplicit(name: string, key: number, index: TreeId = PRIMARY): void {
    const [bytes, length] = encode(key)
    this.locks.makeExplicit(this.owner(name), index, bytes, length)
  }

  inserted(key: number, successor: number, index: TreeId = PRIMARY): void {
    const [bytes, length] = encode(key)
    const [next, nextLength] = encode(successor)
    this.locks.entryInserted(index, bytes, length, next, nextLength)
  }

  removed(key: number, successor: number, index: TreeId = PRIMARY): void {
    const [bytes, length] = encode(key)
    const [next, nextLength] = encode(successor)
    this.locks.entryRemoved(index, bytes, length, next, nextLength)
  }

  /** Commit or rollback. */
  end(name: string): void {
    this.locks.releaseAll(this.owner(name))
  }

  timeOut(name: string): void {
    const request = this.owner(name).waiting
    if (request !== null) this.locks.cancel(request, 'timeout')
  }

  /** Outcomes since the last call. */
  told(): string[] {
    return this.outcomes.splice(0)
  }

  /** Every lock, as `A X record 10` or `A waits X record 10`, sorted. */
  listed(): string[] {
    const names = new Map([...this.#owners].map(([name, owner]) => [owner, name]))
    const lines: string[] = []
    for (const lock of this.locks.locks(() => [])) {
      const place = lock.table !== null ? '' : lock.supremum || lock.key === null ? ' end' : ` ${lock.key[0]}`
      const index = lock.index === SECONDARY ? ' secondary' : ''
      lines.push(`${names.get(lock.owner)} ${lock.status === 'waiting' ? 'waits ' : ''}${lock.mode} ${lock.kind}${index}${place}`)
    }
    return lines.sort()
  }

  #answer(name: string, result: LockResult): string {
    const request = this.owner(name).waiting
    if (result === LockResult.Waiting && request !== null) {
      request.onSettled = (outcome) => this.outcomes.push(`${name} ${outcome}`)
    }
    if (result === LockResult.Deadlock) this.end(name)
    this.rollBackVictims()
    return RESULTS[result]
  }

  /** Victims that were waiting, in the order told. */
  rollBackVictims(): void {
    for (const [name] of this.#owners) if (this.outcomes.includes(`${name} deadlock`)) this.end(name)
  }
}

function encode(key: number): [Uint8Array, number] {
  return key === END ? [new Uint8Array(1), SUPREMUM] : [Uint8Array.of(key), 1]
}
