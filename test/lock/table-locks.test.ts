import { describe, expect, it } from 'vitest'
import type { TableId } from '../../src/base/ids.js'
import { TableLock } from '../../src/lock/lock-modes.js'
import { LockOwner } from '../../src/lock/lock-owner.js'
import { LockSystem } from '../../src/lock/lock-system.js'
import { Stage, TABLE } from './stage.js'

describe('a table lock', () => {
  it('is granted in the order it was asked for', () => {
    const stage = new Stage()
    stage.table('A', 'IX')
    expect(stage.table('B', 'X')).toBe('waits')
    expect(stage.table('C', 'IX')).toBe('waits')
    expect(stage.table('D', 'IS')).toBe('waits')
    stage.end('A')
    expect(stage.told()).toEqual(['B granted'])
    stage.end('B')
    expect(stage.told()).toEqual(['C granted', 'D granted'])
  })

  it('passes requests it is compatible with', () => {
    const stage = new Stage()
    stage.table('A', 'IX')
    stage.table('B', 'S')
    expect(stage.table('C', 'IS')).toBe('granted')
    stage.table('D', 'X')
    stage.end('A')
    expect(stage.told()).toEqual(['B granted'])
  })

  it('does not wait for its owner', () => {
    const stage = new Stage()
    stage.table('A', 'IX')
    expect(stage.table('A', 'S')).toBe('granted')
    expect(stage.table('A', 'X')).toBe('granted')
    expect(stage.listed()).toEqual(['A IX table', 'A S table', 'A X table'])
  })

  it('of AUTO-INC goes at the end of the statement, and the next in the queue gets it', () => {
    const stage = new Stage()
    for (const name of ['A', 'B', 'C']) stage.table(name, 'IX')
    stage.table('A', 'AUTO-INC')
    expect(stage.table('B', 'AUTO-INC')).toBe('waits')
    expect(stage.table('C', 'AUTO-INC')).toBe('waits')
    stage.unlockTable('A', 'AUTO-INC')
    expect(stage.told()).toEqual(['B granted'])
    expect(stage.listed()).toEqual(['A IX table', 'B AUTO-INC table', 'B IX table', 'C IX table', 'C waits AUTO-INC table'])
    expect(stage.table('A', 'AUTO-INC')).toBe('waits')
  })

  it('given up lets those behind pass', () => {
    const stage = new Stage()
    stage.table('A', 'IS')
    stage.table('B', 'X')
    stage.table('C', 'IX')
    stage.timeOut('B')
    expect(stage.told()).toEqual(['B timeout', 'C granted'])
  })

  it('names who is in its way', () => {
    const stage = new Stage()
    stage.table('A', 'S')
    stage.table('B', 'IS')
    stage.table('C', 'IX')
    stage.table('D', 'S')
    const waiting = [...stage.locks.locks(() => [])].filter((lock) => lock.status === 'waiting')
    expect(waiting.map((lock) => lock.blockedBy.map((owner) => owner.id))).toEqual([[stage.owner('A').id], [stage.owner('C').id]])
  })

  it('leaves nothing behind', () => {
    const stage = new Stage()
    stage.table('A', 'IX')
    stage.table('A', 'IX', 2 as TableId)
    stage.table('B', 'X')
    stage.end('A')
    stage.end('B')
    expect(stage.locks.counts()).toMatchObject({ owners: 0, tableHolds: 0, waiting: 0 })
    expect(stage.table('B', 'X')).toBe('granted')
  })
})

it('ten thousand requests for a table are served in order', () => {
  const locks = new LockSystem()
  const owners = Array.from({ length: 10_000 }, (_none, id) => new LockOwner(id))
  const served: number[] = []
  for (const owner of owners) {
    locks.lockTable(owner, TABLE, TableLock.X, true)
    if (owner.waiting !== null) owner.waiting.onSettled = () => served.push(owner.id)
  }
  for (const owner of owners) locks.releaseAll(owner)
  expect(served).toEqual(owners.slice(1).map((owner) => owner.id))
})
