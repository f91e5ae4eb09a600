/**
 * What locks cost: `npx tsx bench/micro/locks.ts`. One owner, one core; nanoseconds per operation and bytes per lock.
 */
import type { TreeId } from '../../src/base/ids.js'
import { RecordLock } from '../../src/lock/lock-modes.js'
import { LockOwner } from '../../src/lock/lock-owner.js'
import { LockSystem } from '../../src/lock/lock-system.js'
import { ScanLock } from '../../src/lock/scan-lock.js'

const INDEX = 7 as TreeId
const KEY_LENGTH = 12
const key = new Uint8Array(64)

function setKey(number: number): void {
  key[8] = number >>> 24
  key[9] = number >>> 16
  key[10] = number >>> 8
  key[11] = number
}

function report(name: string, count: number, run: () => void): void {
  let best = Number.POSITIVE_INFINITY
  for (let round = 0; round < 7; round++) {
    const start = process.hrtime.bigint()
    run()
    best = Math.min(best, Number(process.hrtime.bigint() - start))
  }
  console.log(`${name.padEnd(64)} ${(best / count).toFixed(1).padStart(8)} ns`)
}

function smallTransactions(locks: LockSystem, count: number): void {
  const owner = new LockOwner(1)
  for (let number = 0; number < count; number += 4) {
    for (let row = 0; row < 4; row++) {
      setKey(number + row)
      locks.lockRecord(owner, INDEX, key, KEY_LENGTH, RecordLock.XRecord, true)
    }
    locks.releaseAll(owner)
  }
}

function bigTransaction(locks: LockSystem, count: number): void {
  const owner = new LockOwner(1)
  for (let number = 0; number < count; number++) {
    setKey(Math.imul(number, 0x9e3779b1))
    locks.lockRecord(owner, INDEX, key, KEY_LENGTH, RecordLock.XRecord, true)
  }
  locks.releaseAll(owner)
}

function scan(locks: LockSystem, count: number, descending: boolean): LockOwner {
  const owner = new LockOwner(2)
  const range = new ScanLock(owner, INDEX, RecordLock.XNextKey, descending)
  for (let number = 0; number < count; number++) {
    setKey(descending ? count - number : number)
    locks.lockNext(range, key, KEY_LENGTH, true)
  }
  return owner
}

function queue(count: number): void {
  const locks = new LockSystem()
  setKey(1)
  const owners: LockOwner[] = []
  for (let number = 0; number < count; number++) {
    const owner = new LockOwner(number)
    owners.push(owner)
    locks.lockRecord(owner, INDEX, key, KEY_LENGTH, RecordLock.XRecord, true)
  }
  for (const owner of owners) locks.releaseAll(owner)
}

const locks = new LockSystem()
report('lock and release, 4 locks a transaction', 200_000, () => smallTransactions(locks, 200_000))
report('lock and release, 1,000 in random order', 100_000, () => {
  for (let round = 0; round < 100; round++) bigTransaction(locks, 1_000)
})
report('lock and release, 1,000,000 in random order', 1_000_000, () => bigTransaction(locks, 1_000_000))
report('lock a range of 1,000,000, ascending', 1_000_000, () => locks.releaseAll(scan(locks, 1_000_000, false)))
report('lock a range of 1,000,000, descending', 1_000_000, () => locks.releaseAll(scan(locks, 1_000_000, true)))
const holder = scan(locks, 1_000_000, false)
const counts = locks.counts()
console.log(`memory of a locked range of 1,000,000: ${counts.bytes} bytes of tables, ${counts.runs} run`)
report('lock and release beside a range of another owner', 100_000, () => {
  const owner = new LockOwner(3)
  for (let number = 0; number < 100_000; number++) {
    setKey(0x10000000 + number)
    locks.lockRecord(owner, INDEX, key, KEY_LENGTH, RecordLock.XRecord, true)
    if ((number & 3) === 3) locks.releaseAll(owner)
  }
})
locks.releaseAll(holder)
report('an insert asks for its gap, nothing locked', 1_000_000, () => {
  const owner = new LockOwner(4)
  for (let number = 0; number < 1_000_000; number++) {
    setKey(number)
    locks.lockRecord(owner, INDEX, key, KEY_LENGTH, RecordLock.XInsertIntention, true)
    locks.entryInserted(INDEX, key, KEY_LENGTH, key, KEY_LENGTH)
  }
})
for (const waiters of [1_000, 10_000, 100_000])
  report(`queue of ${waiters.toLocaleString('en')} for one row, each`, waiters, () => queue(waiters))
