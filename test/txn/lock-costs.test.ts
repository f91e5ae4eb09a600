import { afterEach, describe, expect, it } from 'vitest'
import type { TreeId } from '../../src/base/ids.js'
import { RecordLock } from '../../src/lock/lock-modes.js'
import { LockOwner } from '../../src/lock/lock-owner.js'
import { LockSystem } from '../../src/lock/lock-system.js'
import { RecordLocks } from '../../src/lock/record-locks.js'
import { RecordLockRequest } from '../../src/lock/record-queue.js'
import { WaitGraph } from '../../src/lock/wait-graph.js'
import { BTree } from '../../src/storage/btree.js'
import { TreeCursor } from '../../src/storage/tree-cursor.js'
import type { Transaction } from '../../src/transaction.js'
import { openTest } from '../support/open-test-database.js'
import { expectNothingLeft, things } from './things.js'

/** What locks cost, counted in operations, so that no machine is too slow or too fast for it. */

const restores: (() => void)[] = []
afterEach(() => {
  for (const restore of restores.splice(0)) restore()
})

/** Counts calls of methods from here to the end of the test. */
function counting<T extends object>(prototype: T, ...names: (keyof T)[]): { calls: number } {
  const counter = { calls: 0 }
  for (const name of names) {
    const original = prototype[name] as (...args: unknown[]) => unknown
    restores.push(() => {
      prototype[name] = original as T[keyof T]
    })
    prototype[name] = function (this: T, ...args: unknown[]) {
      counter.calls++
      return original.apply(this, args)
    } as T[keyof T]
  }
  return counter
}

/** Counts how often anybody goes on from this request to the next in its queue. */
function countSteps(request: RecordLockRequest, counter: { calls: number }): void {
  let behind = request.behind
  Object.defineProperty(request, 'behind', {
    get: () => {
      counter.calls++
      return behind
    },
    set: (next: RecordLockRequest | null) => {
      behind = next
    },
  })
}

describe('a queue for one row', () => {
  /** Operations of the lock system and searches in trees, for so many transactions that want to change the same row at the same time. */
  async function operationsFor(count: number): Promise<{ operations: number; searches: number }> {
    await using test = await things({ durability: 'lazy' })
    const { db, table } = test
    const operations = counting(RecordLocks.prototype, 'lock', 'heldMask', 'findCovering', 'grantWaiting', 'settleRecord')
    const graph = counting(RecordLockRequest.prototype, 'collectBlockers')
    const deadlocks = counting(WaitGraph.prototype, 'check')
    const searches = counting(BTree.prototype, 'find', 'leafFor')
    const order: number[] = []
    const change = async (tx: Transaction, number: number): Promise<void> => {
      await tx.update(table, 20, { size: number })
      order.push(number)
      await tx.commit()
    }
    const begun = await Promise.all(Array.from({ length: count }, () => db.begin()))
    await Promise.all(begun.map(change))
    expect(order).toEqual(begun.map((_, number) => number))
    expect(table.get(20)?.size).toBe(count - 1)
    // Nobody waits for those who queue: no cycle can close, and none is looked for (G2).
    expect([graph.calls, deadlocks.calls]).toEqual([0, 0])
    const found = { operations: operations.calls, searches: searches.calls }
    for (const restore of restores.splice(0)) restore()
    await expectNothingLeft(db)
    return found
  }

  it('of 10,000 transactions costs each as much as one of 1,000, and serves them in order', async () => {
    const few = await operationsFor(1_000)
    const many = await operationsFor(10_000)
    expect(many.operations / 10_000).toBeCloseTo(few.operations / 1_000, 1)
    expect(many.searches / 10_000).toBeCloseTo(few.searches / 1_000, 1)
    expect(many.operations / 10_000).toBeLessThan(20)
  })
})

describe('a wake-up', () => {
  const KEY = Uint8Array.of(1)
  const INDEX = 1 as TreeId

  /** Owners that ask for a lock on one row, in order, and how many requests were looked at. */
  function queue(locks: LockSystem, modes: readonly RecordLock[]): { owners: LockOwner[]; looks: { calls: number } } {
    const looks = { calls: 0 }
    const owners = modes.map((mode, id) => {
      const owner = new LockOwner(id)
      locks.lockRecord(owner, INDEX, KEY, 1, mode, true)
      if (owner.waiting instanceof RecordLockRequest) countSteps(owner.waiting, looks)
      return owner
    })
    looks.calls = 0
    return { owners, looks }
  }

  it('looks at the one whose turn it is and the one behind, where all want the row for themselves', () => {
    const locks = new LockSystem()
    const { owners, looks } = queue(locks, Array<RecordLock>(10_000).fill(RecordLock.XRecord))
    for (const owner of owners) {
      const before = looks.calls
      locks.releaseAll(owner)
      expect(looks.calls - before).toBeLessThan(10)
    }
  })

  it('looks at each of those who share the row once', () => {
    const locks = new LockSystem()
    const modes = Array.from({ length: 10_000 }, (_, i) => (i === 0 ? RecordLock.XRecord : RecordLock.SRecord))
    const { owners, looks } = queue(locks, modes)
    locks.releaseAll(owners[0])
    expect(owners.every((owner) => owner.waiting === null)).toBe(true)
    expect(looks.calls).toBeLessThan(10 * modes.length)
  })

  it('looks at nobody’s turn but the first’s while many share the row', () => {
    const locks = new LockSystem()
    const modes = Array.from({ length: 2_000 }, (_, i) => (i < 1_000 ? RecordLock.SRecord : RecordLock.XRecord))
    const { owners, looks } = queue(locks, modes)
    for (const owner of owners.slice(0, 999)) locks.releaseAll(owner)
    expect(looks.calls).toBeLessThan(10 * 999)
    expect(owners[1_000].waiting).not.toBeNull()
    locks.releaseAll(owners[999])
    expect(owners[1_000].waiting).toBeNull()
  })
})

describe('locking a range', () => {
  const ROWS = 50_000

  async function lockedRange(rows: number) {
    const test = await openTest({ durability: 'lazy', cacheSize: 64 * 2 ** 20 })
    const table = await test.db.table<{ id: number; group: number }>('t', { key: 'id', indexes: { group: { on: 'group' } } })
    test.db.transactionSync((tx) => {
      for (let id = 0; id < rows; id++) tx.insert(table, { id, group: id >> 3 })
    })
    return { test, table }
  }

  it.each([
    ['through the primary key', {}, 1],
    ['downwards', { reverse: true }, 1],
    ['through an index in the order of the rows', { index: 'group' }, 2],
    ['through such an index, downwards', { index: 'group', reverse: true }, 2],
  ])('%s takes the same memory whatever its length', async (_, range, runs) => {
    const bytes: number[] = []
    for (const rows of [1_000, ROWS]) {
      const { test, table } = await lockedRange(rows)
      const tx = await test.db.begin()
      expect(await tx.values(table, range, { lock: 'update' }).toArray()).toHaveLength(rows)
      const counts = test.db.engine.rowLocks.locks.counts()
      expect(counts).toMatchObject({ owners: 1, runs })
      expect(counts.records).toBeLessThan(40)
      bytes.push(counts.bytes)
      await tx.rollback()
      await test.close()
    }
    expect(bytes[1]).toBe(bytes[0])
    expect(bytes[1]).toBeLessThan(2 ** 20)
  })

  it.each([
    ['rows', 'repeatable-read', {}],
    ['rows', 'read-committed', {}],
    ['rows', 'repeatable-read', { reverse: true }],
    ['entries', 'repeatable-read', { index: 'group' }],
  ] as const)('of %s under %s searches no tree and remembers no key row by row: %o', async (what, isolation, range) => {
    const { test, table } = await lockedRange(ROWS)
    await using tx = await test.db.begin({ isolation })
    const searches = counting(BTree.prototype, 'find', 'leafFor')
    const rests = counting(TreeCursor.prototype, 'hold', 'resume')
    const found = await (what === 'rows' ? tx.values(table, range, { lock: 'update' }) : tx.keys(table, range, { lock: 'share' })).toArray()
    expect(found).toHaveLength(ROWS)
    // Now and then it rests, to give others a turn.
    expect(searches.calls + rests.calls).toBeLessThan(ROWS / 100)
    await tx.rollback()
    await test.close()
  })
})
