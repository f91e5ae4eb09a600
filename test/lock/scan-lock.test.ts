import { describe, expect, it } from 'vitest'
import type { TreeId } from '../../src/base/ids.js'
import { RecordLock } from '../../src/lock/lock-modes.js'
import { LockOwner } from '../../src/lock/lock-owner.js'
import type { KeyInterval } from '../../src/lock/lock-report.js'
import { LockResult } from '../../src/lock/lock-request.js'
import { LockSystem } from '../../src/lock/lock-system.js'
import { RUN_STARTS_AFTER, ScanLock } from '../../src/lock/scan-lock.js'

const INDEX = 1 as TreeId
const SINGLES = RUN_STARTS_AFTER + 1

/** An index of numbers and a lock system that is told of its changes. */
class Index {
  readonly locks = new LockSystem()
  readonly keys: number[] = []

  constructor(count: number) {
    for (let key = 0; key < count; key++) this.keys.push(10 * key)
  }

  scan(owner: LockOwner, lock: RecordLock, descending = false): ScanLock {
    const scan = new ScanLock(owner, INDEX, lock, descending)
    for (const key of descending ? [...this.keys].reverse() : this.keys) {
      if (this.next(scan, key) > LockResult.AlreadyHeld) throw new Error(`${key} was not to be had`)
    }
    return scan
  }

  next(scan: ScanLock, key: number, mayWait = false): LockResult {
    return this.locks.lockNext(scan, bytesOf(key), 2, mayWait)
  }

  lock(owner: LockOwner, lock: RecordLock, key: number): LockResult {
    return this.locks.lockRecord(owner, INDEX, bytesOf(key), 2, lock, false)
  }

  insert(key: number): void {
    this.keys.push(key)
    this.keys.sort((a, b) => a - b)
    this.locks.entryInserted(INDEX, bytesOf(key), 2, bytesOf(this.#after(key)), 2)
  }

  remove(key: number): void {
    const successor = this.#after(key)
    this.keys.splice(this.keys.indexOf(key), 1)
    this.locks.entryRemoved(INDEX, bytesOf(key), 2, bytesOf(successor), 2)
  }

  unlock(owner: LockOwner, lock: RecordLock, key: number): void {
    this.locks.unlockRecord(owner, INDEX, bytesOf(key), 2, lock)
  }

  held(owner: LockOwner, key: number): number {
    return this.locks.heldOn(owner, INDEX, bytesOf(key), 2)
  }

  listed(owner: LockOwner): string[] {
    const within = (_index: TreeId, { first, firstOpen, last, lastOpen }: KeyInterval): Uint8Array[] => {
      const [low, high] = [numberOf(first), numberOf(last)]
      return this.keys.filter((key) => (firstOpen ? key > low : key >= low) && (lastOpen ? key < high : key <= high)).map(bytesOf)
    }
    return [...this.locks.locks(within)]
      .filter((lock) => lock.owner === owner)
      .map((lock) => `${numberOf(lock.key ?? bytesOf(0))} ${lock.mode} ${lock.kind}`)
      .sort((a, b) => Number.parseInt(a, 10) - Number.parseInt(b, 10))
  }

  #after(key: number): number {
    return Math.min(...this.keys.filter((other) => other > key))
  }
}

function bytesOf(key: number): Uint8Array {
  return Uint8Array.of(key >> 8, key & 255)
}

function numberOf(bytes: Uint8Array): number {
  return (bytes[0] << 8) | bytes[1]
}

describe('the locks of a scan', () => {
  for (const descending of [false, true]) {
    const direction = descending ? 'descending' : 'ascending'

    it(`are one run from the ninth entry on, ${direction}`, () => {
      const index = new Index(1_000)
      const owner = new LockOwner(1)
      index.scan(owner, RecordLock.XNextKey, descending)
      expect(index.locks.counts()).toMatchObject({ runs: 1, records: SINGLES })
      expect(index.listed(owner)).toEqual(index.keys.map((key) => `${key} X next-key`))
      expect(owner.structures).toBe(1)
    })

    it(`are found by everybody else, ${direction}`, () => {
      const index = new Index(100)
      index.scan(new LockOwner(1), RecordLock.SNextKey, descending)
      const other = new LockOwner(2)
      for (const key of [0, 80, 500, 990]) {
        expect(index.lock(other, RecordLock.XRecord, key)).toBe(LockResult.NotAvailable)
        expect(index.lock(other, RecordLock.XInsertIntention, key)).toBe(LockResult.NotAvailable)
        expect(index.lock(other, RecordLock.SRecord, key)).toBe(LockResult.Granted)
      }
    })
  }

  it('are single for a short range', () => {
    const index = new Index(RUN_STARTS_AFTER)
    index.scan(new LockOwner(1), RecordLock.XNextKey)
    expect(index.locks.counts()).toMatchObject({ runs: 0, records: RUN_STARTS_AFTER })
  })

  it('are not doubled when the range is read again', () => {
    const index = new Index(100)
    const owner = new LockOwner(1)
    index.scan(owner, RecordLock.XNextKey)
    const before = index.locks.counts()
    index.scan(owner, RecordLock.XRecord)
    index.scan(owner, RecordLock.SNextKey, true)
    expect(index.locks.counts().records).toBe(before.records)
    expect(index.listed(owner).filter((lock) => lock.startsWith('500 '))).toContain('500 X next-key')
  })

  it('do not include an entry that somebody else inserts between them', () => {
    const index = new Index(100)
    const owner = new LockOwner(1)
    const other = new LockOwner(2)
    index.scan(owner, RecordLock.XRecord)
    expect(index.lock(other, RecordLock.XInsertIntention, 510)).toBe(LockResult.Granted)
    index.insert(505)
    expect(index.held(owner, 505)).toBe(0)
    expect(index.lock(other, RecordLock.XRecord, 505)).toBe(LockResult.Granted)
    for (const key of [500, 510]) expect(index.lock(other, RecordLock.XRecord, key)).toBe(LockResult.NotAvailable)
    expect(index.locks.counts().runs).toBe(2)
  })

  it('lock the gaps around an entry their own owner inserts', () => {
    const index = new Index(100)
    const owner = new LockOwner(1)
    index.scan(owner, RecordLock.XNextKey)
    index.insert(505)
    expect(index.held(owner, 505)).toBe(1 << RecordLock.XGap)
    expect(index.lock(new LockOwner(2), RecordLock.XInsertIntention, 505)).toBe(LockResult.NotAvailable)
    expect(index.lock(new LockOwner(2), RecordLock.XRecord, 505)).toBe(LockResult.Granted)
  })

  it('are inherited when an entry among them goes, and do not come back with it', () => {
    const index = new Index(100)
    const owner = new LockOwner(1)
    index.scan(owner, RecordLock.XRecord)
    index.remove(500)
    expect(index.held(owner, 510)).toBe((1 << RecordLock.XRecord) | (1 << RecordLock.XGap))
    index.insert(500)
    expect(index.held(owner, 500)).toBe(1 << RecordLock.XGap)
  })

  it('shrink when the last entry is given back, and go on singly', () => {
    const index = new Index(100)
    const owner = new LockOwner(1)
    const scan = new ScanLock(owner, INDEX, RecordLock.XRecord, false)
    for (const key of index.keys.slice(0, 50)) index.next(scan, key)
    index.unlock(owner, RecordLock.XRecord, 490)
    for (const key of index.keys.slice(50, 55)) index.next(scan, key)
    expect(index.held(owner, 490)).toBe(0)
    expect(index.locks.counts()).toMatchObject({ runs: 1, records: SINGLES + 5 })
    expect(index.listed(owner)).toHaveLength(54)
  })

  it('have a hole where one in the middle is given back, and those who waited for it get it', () => {
    const index = new Index(100)
    const owner = new LockOwner(1)
    const other = new LockOwner(2)
    index.scan(owner, RecordLock.XRecord)
    index.locks.lockRecord(other, INDEX, bytesOf(500), 2, RecordLock.XRecord, true)
    index.unlock(owner, RecordLock.XRecord, 500)
    expect(other.waiting).toBe(null)
    expect(index.held(other, 500)).toBe(1 << RecordLock.XRecord)
  })

  it('skip what they are told to pass over', () => {
    const index = new Index(100)
    const owner = new LockOwner(1)
    const scan = new ScanLock(owner, INDEX, RecordLock.XRecord, false)
    for (const key of index.keys) {
      if (key === 500) scan.interrupt()
      else index.next(scan, key)
    }
    expect(index.held(owner, 500)).toBe(0)
    expect(index.locks.counts().runs).toBe(2)
  })

  it('begin a new run after a wait: others may have inserted before the entry waited for', () => {
    const index = new Index(100)
    const [owner, other] = [new LockOwner(1), new LockOwner(2)]
    index.lock(other, RecordLock.XRecord, 500)
    const scan = new ScanLock(owner, INDEX, RecordLock.XRecord, false)
    for (const key of index.keys.slice(0, 50)) index.next(scan, key)
    expect(index.next(scan, 500, true)).toBe(LockResult.Waiting)
    index.insert(495)
    index.locks.releaseAll(other)
    for (const key of index.keys.slice(52)) index.next(scan, key)
    expect(index.held(owner, 500)).toBe(1 << RecordLock.XRecord)
    expect(index.held(owner, 495)).toBe(0)
  })

  it('count in the wait-for graph', () => {
    const index = new Index(100)
    const [scanner, writer] = [new LockOwner(1), new LockOwner(2)]
    index.lock(writer, RecordLock.XRecord, 1)
    index.scan(scanner, RecordLock.SRecord)
    scanner.undoRecords = writer.undoRecords = 5
    expect(index.locks.lockRecord(writer, INDEX, bytesOf(500), 2, RecordLock.XRecord, true)).toBe(LockResult.Waiting)
    expect(index.locks.lockRecord(scanner, INDEX, bytesOf(1), 2, RecordLock.XRecord, true)).toBe(LockResult.Deadlock)
  })

  it('count in the wait-for graph where others already queue', () => {
    const index = new Index(100)
    const [scanner, gap, writer] = [new LockOwner(1), new LockOwner(2), new LockOwner(3)]
    index.lock(gap, RecordLock.XGap, 500)
    index.lock(writer, RecordLock.XRecord, 1)
    index.locks.lockRecord(writer, INDEX, bytesOf(500), 2, RecordLock.XInsertIntention, true)
    // The scan passes the insert that waits; from then on the insert waits for the scan's owner, too.
    index.scan(scanner, RecordLock.SNextKey)
    expect(index.locks.lockRecord(scanner, INDEX, bytesOf(1), 2, RecordLock.XRecord, true)).toBe(LockResult.Deadlock)
  })

  it('wake everybody who waits for any of them when they go', () => {
    const index = new Index(100)
    const owner = new LockOwner(1)
    index.scan(owner, RecordLock.XRecord)
    const others = [0, 80, 90, 500, 990].map((key) => {
      const other = new LockOwner(10 + key)
      expect(index.locks.lockRecord(other, INDEX, bytesOf(key), 2, RecordLock.SRecord, true)).toBe(LockResult.Waiting)
      return other
    })
    while (!index.locks.releaseAll(owner, 3)) expect(others.some((other) => other.waiting !== null)).toBe(true)
    expect(others.every((other) => other.waiting === null)).toBe(true)
    expect(index.locks.counts().runs).toBe(0)
  })

  it('of a million rows take no memory to speak of', () => {
    const locks = new LockSystem()
    const before = locks.counts().bytes
    const scan = new ScanLock(new LockOwner(1), INDEX, RecordLock.XNextKey, false)
    const key = new Uint8Array(4)
    for (let number = 0; number < 1_000_000; number++) {
      key[0] = number >> 16
      key[1] = number >> 8
      key[2] = number
      locks.lockNext(scan, key, 3, false)
    }
    expect(locks.counts()).toMatchObject({ runs: 1, records: SINGLES })
    expect(locks.counts().bytes).toBe(before)
  })
})
