import type { TreeId } from '../base/ids.js'
import type { RecordLock } from './lock-modes.js'
import type { LockOwner } from './lock-owner.js'
import { LockResult } from './lock-request.js'
import type { LockRun } from './lock-runs.js'
import { type RecordLocks, structureOf } from './record-locks.js'

/** Entries a scan locks one by one before it starts a run: point reads and short ranges never make one. */
export const RUN_STARTS_AFTER = 8

/**
 * The locks of one range scan: entry by entry, in order, through `LockSystem.lockNext`. From the ninth consecutive
 * entry on they are kept as a run (lock-runs.ts).
 *
 * The caller passes *every* entry it comes across, in the turn in which it found it next to the one before; where it
 * passes over one without locking it, it calls `interrupt`. Entries it was refused, waited for, or gave back with
 * `unlock` interrupt by themselves. The supremum at the end of the range is not an entry: `lockRecord`.
 */
export class ScanLock {
  readonly owner: LockOwner
  readonly index: TreeId
  /** A record or next-key lock. */
  readonly lock: RecordLock
  readonly descending: boolean
  #run: LockRun | null = null
  #consecutive = 0

  constructor(owner: LockOwner, index: TreeId, lock: RecordLock, descending: boolean) {
    this.owner = owner
    this.index = index
    this.lock = lock
    this.descending = descending
  }

  /** The next entry will not be a neighbour of the last one locked. */
  interrupt(): void {
    this.#run = null
    this.#consecutive = 0
  }

  next(locks: RecordLocks, key: Uint8Array, length: number, mayWait: boolean): LockResult {
    const run = this.#growingRun()
    if (run === null) return this.#single(locks, key, length, mayWait)
    if (locks.growAlone(run, key, length, this.descending)) return LockResult.Granted
    const result = locks.admit(this.owner, this.index, key, length, this.lock)
    if (result > LockResult.AlreadyHeld) return this.#single(locks, key, length, mayWait)
    if (result === LockResult.AlreadyHeld && run.covers(locks.scratch)) return result
    locks.runs.grow(run, locks.scratch, this.descending)
    return result
  }

  #single(locks: RecordLocks, key: Uint8Array, length: number, mayWait: boolean): LockResult {
    const result = locks.lock(this.owner, this.index, key, length, this.lock, mayWait)
    if (result > LockResult.AlreadyHeld) {
      this.interrupt()
    } else if (++this.#consecutive > RUN_STARTS_AFTER) {
      this.owner.noteStructure(structureOf(this.index, 1 << this.lock, length))
      this.#run = locks.startRun(this.owner, this.index, this.lock, key, length)
    }
    return result
  }

  /** The run, if the entry last locked still is its end. */
  #growingRun(): LockRun | null {
    const run = this.#run
    if (run === null) return null
    if (run.tree !== null && !(this.descending ? run.first.open : run.last.open)) return run
    this.interrupt()
    return null
  }
}
