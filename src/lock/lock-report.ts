import type { TreeId } from '../base/ids.js'
import { Hold } from './hold-pool.js'
import { keyBytes, PackedKey } from './lock-key.js'
import { RECORD_LOCKS, SATISFIES } from './lock-modes.js'
import type { LockOwner } from './lock-owner.js'
import type { LockInfo } from './lock-request.js'
import type { LockRun } from './lock-runs.js'
import type { RecordLocks } from './record-locks.js'
import { recordLockInfo } from './record-queue.js'
import { Rec } from './record-table.js'

/** Keys an index has now, in order, within an interval: what a run of locks stands for. */
export type KeysWithin = (index: TreeId, interval: KeyInterval) => Iterable<Uint8Array>

export interface KeyInterval {
  first: Uint8Array
  firstOpen: boolean
  last: Uint8Array
  lastOpen: boolean
}

/**
 * Every record lock held or awaited: the locks of each record, newest first, its waiting requests in queue order, then
 * the runs, entry by entry. What a run repeats of locks its owner holds singly is left out.
 * Nothing may be locked or released between the steps of the iteration.
 */
export function* recordLockInfos(locks: RecordLocks, keysWithin: KeysWithin): Generator<LockInfo> {
  for (const record of locks.table.all()) {
    yield* heldOn(locks, record)
    const queue = locks.queueOf(record)
    for (let request = queue === null ? null : queue.head; request !== null; request = request.behind) yield request.describe()
  }
  for (const tree of locks.runs.trees.values()) {
    for (let run = tree.lowest; run !== null; run = run.next) yield* heldThrough(locks, run, keysWithin)
  }
}

function* heldOn(locks: RecordLocks, record: number): Generator<LockInfo> {
  const { table } = locks
  const index = table.rows[record * Rec.Stride + Rec.Index] as TreeId
  const key = locks.keyOf(record)
  const holds = table.holds.rows
  for (let hold = table.rows[record * Rec.Stride + Rec.FirstHold]; hold !== 0; hold = holds[hold * Hold.Stride + Hold.Next]) {
    const owner = locks.owners.at(holds[hold * Hold.Stride + Hold.Owner])
    const mask = holds[hold * Hold.Stride + Hold.Mask]
    for (let lock = 0; lock < RECORD_LOCKS; lock++) if ((mask & (1 << lock)) !== 0) yield recordLockInfo(owner, index, key, lock)
  }
}

function* heldThrough(locks: RecordLocks, run: LockRun, keysWithin: KeysWithin): Generator<LockInfo> {
  const lock = 31 - Math.clz32(run.bit)
  const packed = new PackedKey()
  for (const key of keysWithin(run.index, intervalOf(run))) {
    if ((singlyHeld(locks, run.owner, run.index, packed.pack(run.index, key, key.length)) & SATISFIES[lock]) !== 0) continue
    yield recordLockInfo(run.owner, run.index, key, lock)
  }
}

function singlyHeld(locks: RecordLocks, owner: LockOwner, index: TreeId, key: PackedKey): number {
  const record = locks.table.find(index, key)
  const hold = record === 0 ? 0 : locks.table.holdOf(record, owner)
  return hold === 0 ? 0 : locks.table.holds.rows[hold * Hold.Stride + Hold.Mask]
}

function intervalOf(run: LockRun): KeyInterval {
  return {
    first: keyBytes(run.first.words, 0, run.first.length),
    firstOpen: run.first.open,
    last: keyBytes(run.last.words, 0, run.last.length),
    lastOpen: run.last.open,
  }
}
