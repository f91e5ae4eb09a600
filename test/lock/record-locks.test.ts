import { describe, expect, it } from 'vitest'
import type { TreeId } from '../../src/base/ids.js'
import { RecordLock } from '../../src/lock/lock-modes.js'
import { LockOwner } from '../../src/lock/lock-owner.js'
import { LockSystem } from '../../src/lock/lock-system.js'
import { END, SECONDARY, Stage } from './stage.js'

describe('a queue for a record', () => {
  it('makes S wait behind a waiting X', () => {
    const stage = new Stage()
    stage.lock('A', 'S record', 20)
    expect(stage.lock('B', 'X record', 20)).toBe('waits')
    expect(stage.lock('C', 'S record', 20)).toBe('waits')
    stage.end('A')
    expect(stage.told()).toEqual(['B granted'])
    stage.end('B')
    expect(stage.told()).toEqual(['C granted'])
    expect(stage.listed()).toEqual(['C S record 20'])
  })

  it('grants neighbouring S requests together and stops at the X behind them', () => {
    const stage = new Stage()
    stage.lock('A', 'X record', 20)
    for (const name of ['B', 'C']) stage.lock(name, 'S record', 20)
    stage.lock('D', 'X record', 20)
    stage.lock('E', 'S record', 20)
    stage.end('A')
    expect(stage.told()).toEqual(['B granted', 'C granted'])
  })

  it('does not make a holder wait for what it has', () => {
    const stage = new Stage()
    stage.lock('A', 'S record', 20)
    stage.lock('B', 'X record', 20)
    expect(stage.lock('A', 'S record', 20)).toBe('held')
  })

  it('moves up when a request in the middle times out', () => {
    const stage = new Stage()
    stage.lock('A', 'S record', 20)
    stage.lock('B', 'X record', 20)
    stage.lock('C', 'S record', 20)
    stage.lock('D', 'S record', 20)
    stage.timeOut('B')
    expect(stage.told().sort()).toEqual(['B timeout', 'C granted', 'D granted'])
  })

  it('refuses instead of queueing when told not to wait, also for those that only wait', () => {
    const stage = new Stage()
    stage.lock('A', 'S record', 20)
    stage.lock('B', 'X record', 20)
    expect(stage.lock('C', 'S record', 20, { mayWait: false })).toBe('refused')
    expect(stage.listed()).toEqual(['A S record 20', 'B waits X record 20'])
  })

  it('keeps indexes apart', () => {
    const stage = new Stage()
    stage.lock('A', 'X record', 20)
    expect(stage.lock('B', 'X record', 20, { index: SECONDARY })).toBe('granted')
  })
})

describe('an upgrade', () => {
  it('passes X requests that wait: they wait for its owner anyway', () => {
    const stage = new Stage()
    stage.lock('A', 'S record', 10)
    stage.lock('B', 'X record', 10)
    expect(stage.lock('A', 'X record', 10)).toBe('granted')
    expect(stage.told()).toEqual([])
    expect(stage.listed()).toEqual(['A S record 10', 'A X record 10', 'B waits X record 10'])
    stage.end('A')
    expect(stage.told()).toEqual(['B granted'])
  })

  it('waits for other holders, and is granted before an X request that came earlier', () => {
    const stage = new Stage()
    stage.lock('A', 'S record', 10)
    stage.lock('B', 'S record', 10)
    stage.lock('C', 'X record', 10)
    expect(stage.lock('A', 'X record', 10)).toBe('waits')
    stage.end('B')
    expect(stage.told()).toEqual(['A granted'])
  })

  it('is found behind a long queue when it becomes possible', () => {
    const stage = new Stage()
    stage.lock('A', 'S record', 10)
    stage.lock('B', 'S record', 10)
    for (const name of ['C', 'D', 'E']) stage.lock(name, 'X record', 10)
    stage.lock('A', 'X record', 10)
    for (const name of ['F', 'G']) stage.lock(name, 'X record', 10)
    stage.end('B')
    expect(stage.told()).toEqual(['A granted'])
  })

  it('does not pass S requests that wait: with an X ahead of them that is a deadlock', () => {
    const stage = new Stage()
    stage.lock('A', 'S record', 10)
    stage.lock('B', 'X record', 10)
    stage.lock('C', 'S record', 10)
    expect(stage.lock('A', 'X record', 10)).toBe('waits')
    expect(stage.told()).toEqual(['B deadlock', 'C granted'])
    stage.end('C')
    expect(stage.told()).toEqual(['A granted'])
  })

  it('from next-key S to X covers the gap as well', () => {
    const stage = new Stage()
    stage.lock('A', 'S next-key', 10)
    expect(stage.lock('A', 'X next-key', 10)).toBe('granted')
    expect(stage.lock('B', 'insert', 10, { mayWait: false })).toBe('refused')
  })
})

describe('an insert intention', () => {
  it('leaves no lock when the gap is free', () => {
    const stage = new Stage()
    expect(stage.lock('A', 'insert', 20)).toBe('granted')
    expect(stage.listed()).toEqual([])
  })

  it('does not keep others from locking the gap while it waits', () => {
    const stage = new Stage()
    stage.lock('A', 'X gap', 20)
    expect(stage.lock('B', 'insert', 20)).toBe('waits')
    expect(stage.lock('C', 'X gap', 20)).toBe('granted')
    stage.end('A')
    expect(stage.told()).toEqual([])
    stage.end('C')
    expect(stage.told()).toEqual(['B granted'])
  })

  it('waits for a next-key request that is itself waiting', () => {
    const stage = new Stage()
    stage.lock('A', 'X record', 20)
    stage.lock('B', 'X next-key', 20)
    expect(stage.lock('C', 'insert', 20)).toBe('waits')
    stage.end('A')
    expect(stage.told()).toEqual(['B granted'])
    stage.end('B')
    expect(stage.told()).toEqual(['C granted'])
  })

  it('is granted together with others when the last gap lock goes', () => {
    const stage = new Stage()
    stage.lock('A', 'S gap', END)
    for (const name of ['B', 'C', 'D']) stage.lock(name, 'insert', END)
    stage.end('A')
    expect(stage.told()).toEqual(['B granted', 'C granted', 'D granted'])
  })

  it('passes record requests that wait in the same queue', () => {
    const stage = new Stage()
    stage.lock('A', 'X next-key', 20)
    stage.lock('B', 'X record', 20)
    stage.lock('C', 'insert', 20)
    stage.end('A')
    expect(stage.told()).toEqual(['B granted', 'C granted'])
  })
})

describe('giving back one lock', () => {
  it('wakes the next in the queue', () => {
    const stage = new Stage()
    stage.lock('A', 'X record', 20)
    stage.lock('A', 'X gap', 20)
    stage.lock('B', 'X record', 20)
    stage.unlock('A', 'X record', 20)
    expect(stage.told()).toEqual(['B granted'])
    expect(stage.listed()).toEqual(['A X gap 20', 'B X record 20'])
  })

  it('leaves the stronger lock taken before', () => {
    const stage = new Stage()
    stage.lock('A', 'S record', 20)
    stage.lock('A', 'X record', 20)
    stage.unlock('A', 'X record', 20)
    expect(stage.listed()).toEqual(['A S record 20'])
    stage.unlock('A', 'S record', 20)
    stage.unlock('A', 'S record', 20)
    expect(stage.listed()).toEqual([])
  })
})

it('thousands of locks stay findable while others among them come and go', () => {
  const locks = new LockSystem()
  const owner = new LockOwner(1)
  const index = 1 as TreeId
  const keyOf = (number: number): Uint8Array => Uint8Array.of(number >> 8, number & 255)
  const held = new Set<number>()
  for (let step = 0; step < 20_000; step++) {
    const number = Math.imul(step, 0x9e3779b1) >>> 20
    if (held.delete(number)) locks.unlockRecord(owner, index, keyOf(number), 2, RecordLock.XRecord)
    else {
      held.add(number)
      locks.lockRecord(owner, index, keyOf(number), 2, RecordLock.XRecord, false)
    }
  }
  expect(held.size).toBeGreaterThan(1_000)
  expect(locks.counts().records).toBe(held.size)
  for (let number = 0; number < 4_096; number++) {
    if ((locks.heldOn(owner, index, keyOf(number), 2) !== 0) !== held.has(number)) throw new Error(`${number} is lost or left over`)
  }
})

describe('an implicit lock made explicit', () => {
  it('is what others then wait for', () => {
    const stage = new Stage()
    stage.makeExplicit('A', 15)
    stage.makeExplicit('A', 15)
    expect(stage.lock('B', 'S record', 15)).toBe('waits')
    expect(stage.listed()).toEqual(['A X record 15', 'B waits S record 15'])
  })

  it('is not listed again for an owner that has it', () => {
    const stage = new Stage()
    stage.lock('A', 'X next-key', 15)
    stage.makeExplicit('A', 15)
    expect(stage.listed()).toEqual(['A X next-key 15'])
  })
})

describe('releasing everything', () => {
  it('goes in slices, waking others as it goes', () => {
    const stage = new Stage()
    for (let key = 1; key <= 10; key++) stage.lock('A', 'X record', key)
    stage.table('A', 'IX')
    stage.lock('B', 'S record', 10)
    stage.lock('C', 'S record', 1)
    const owner = stage.owner('A')
    expect(stage.locks.releaseAll(owner, 4)).toBe(false)
    expect(stage.told()).toEqual(['B granted'])
    expect(stage.locks.releaseAll(owner, 4)).toBe(false)
    expect(stage.locks.releaseAll(owner, 4)).toBe(true)
    expect(stage.told()).toEqual(['C granted'])
    expect(stage.locks.counts().owners).toBe(2)
  })

  it('lets the owner begin anew', () => {
    const stage = new Stage()
    for (const round of [1, 2]) {
      stage.lock('A', 'X record', round)
      expect(stage.owner('A').structures).toBe(1)
      stage.end('A')
    }
    expect(stage.owner('A').structures).toBe(0)
    expect(stage.locks.counts()).toMatchObject({ owners: 0, records: 0, recordHolds: 0, tableHolds: 0, waiting: 0 })
  })

  it('gives the memory of many locks back', () => {
    const locks = new LockSystem()
    const owner = new LockOwner(1)
    const empty = locks.counts().bytes
    const key = new Uint8Array(9)
    for (let number = 0; number < 100_000; number++) {
      key.set([number >> 16, (number >> 8) & 255, number & 255])
      locks.lockRecord(owner, 1 as TreeId, key, 4 + (number % 6), RecordLock.XRecord, false)
    }
    expect(locks.counts().records).toBe(100_000)
    locks.releaseAll(owner)
    expect(locks.counts().bytes).toBe(empty)
  })

  it('refuses while the owner waits', () => {
    const stage = new Stage()
    stage.lock('A', 'X record', 1)
    stage.lock('B', 'X record', 1)
    expect(() => stage.end('B')).toThrow(/while it was waiting/)
  })
})

describe('ten thousand owners', () => {
  it('queueing for one row cost no search of the wait-for graph and are served in order', () => {
    const locks = new LockSystem()
    const key = Uint8Array.of(1)
    const owners = Array.from({ length: 10_000 }, (_none, id) => new LockOwner(id))
    const served: number[] = []
    for (const owner of owners) {
      locks.lockRecord(owner, 1 as TreeId, key, 1, RecordLock.XRecord, true)
      if (owner.waiting !== null) owner.waiting.onSettled = () => served.push(owner.id)
    }
    expect(locks.counts().waiting).toBe(9_999)
    for (const owner of owners) locks.releaseAll(owner)
    expect(served).toEqual(owners.slice(1).map((owner) => owner.id))
    expect(owners.every((owner) => owner.visited === 0)).toBe(true)
  })
})

it('a callback that calls in is refused: it would act in the middle of another owner’s call', () => {
  const stage = new Stage()
  stage.lock('A', 'X record', 1)
  stage.lock('B', 'X record', 1)
  const request = stage.owner('B').waiting
  if (request !== null) request.onSettled = () => stage.end('B')
  expect(() => stage.end('A')).toThrow(/called into the lock system/)
})
