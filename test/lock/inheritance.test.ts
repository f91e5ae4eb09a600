import { describe, expect, it } from 'vitest'
import { END, SECONDARY, Stage } from './stage.js'

function readCommitted(stage: Stage, name: string): void {
  stage.owner(name).takesGapLocks = false
}

describe('an entry that appears', () => {
  it('splits the gap: both parts stay locked by everybody who had locked the whole', () => {
    const stage = new Stage()
    stage.lock('A', 'X gap', 20)
    stage.lock('B', 'S gap', 20)
    stage.inserted(15, 20)
    expect(stage.listed()).toEqual(['A X gap 15', 'A X gap 20', 'B S gap 15', 'B S gap 20'])
  })

  it('inherits from next-key locks, and nothing from locks on the record alone', () => {
    const stage = new Stage()
    stage.lock('A', 'S next-key', 20)
    stage.lock('B', 'S record', 20)
    stage.inserted(15, 20)
    expect(stage.listed()).toEqual(['A S gap 15', 'A S next-key 20', 'B S record 20'])
  })

  it('inherits from the supremum', () => {
    const stage = new Stage()
    stage.lock('A', 'X next-key', END)
    stage.inserted(60, END)
    expect(stage.listed()).toEqual(['A X gap 60', 'A X gap end'])
  })

  it('inherits under READ COMMITTED too', () => {
    const stage = new Stage()
    readCommitted(stage, 'B')
    stage.lock('B', 'S gap', 20)
    stage.inserted(15, 20)
    expect(stage.listed()).toEqual(['B S gap 15', 'B S gap 20'])
  })
})

describe('an entry that disappears', () => {
  it('leaves its gap to its successor (gaps/RR/inherit/purge-middle-two-gaps)', () => {
    const stage = new Stage()
    stage.lock('A', 'X gap', 20)
    stage.removed(20, 30)
    expect(stage.listed()).toEqual(['A X gap 30'])
  })

  it('leaves locks on the record as gap locks of their modes', () => {
    const stage = new Stage()
    stage.lock('A', 'S record', 20)
    stage.lock('A', 'X record', 20)
    stage.lock('B', 'X gap', 20)
    stage.removed(20, END)
    expect(stage.listed()).toEqual(['A S gap end', 'A X gap end', 'B X gap end'])
  })

  it('does not give what the heir has in that mode', () => {
    const stage = new Stage()
    stage.lock('A', 'X record', 20)
    stage.lock('A', 'X next-key', 30)
    stage.removed(20, 30)
    expect(stage.listed()).toEqual(['A X next-key 30'])
  })

  it('sends away those who wait for it, with the gap (gaps/SER/inherit/waiter-on-rolled-back-insert)', () => {
    const stage = new Stage()
    stage.makeExplicit('A', 15)
    stage.lock('B', 'X record', 15)
    stage.removed(15, 20)
    stage.end('A')
    expect(stage.told()).toEqual(['B moved'])
    expect(stage.listed()).toEqual(['B X gap 20'])
    expect(stage.owner('B').waiting).toBe(null)
  })

  it('leaves a waiter under READ COMMITTED nothing (gaps/RC/inherit/waiter-on-rolled-back-insert)', () => {
    const stage = new Stage()
    readCommitted(stage, 'B')
    stage.makeExplicit('A', 15)
    stage.lock('B', 'X record', 15)
    stage.removed(15, 20)
    stage.end('A')
    expect(stage.told()).toEqual(['B moved'])
    expect(stage.listed()).toEqual([])
  })

  it('leaves a duplicate check its gap under READ COMMITTED (gaps/RC/inherit/dup-waiter-on-rolled-back-insert)', () => {
    const stage = new Stage()
    readCommitted(stage, 'B')
    stage.makeExplicit('A', 15)
    stage.owner('B').inheritsAll = true
    stage.lock('B', 'S record', 15)
    stage.removed(15, 20)
    stage.end('A')
    expect(stage.told()).toEqual(['B moved'])
    expect(stage.lock('B', 'insert', 20)).toBe('granted')
    stage.inserted(15, 20)
    expect(stage.listed()).toEqual(['B S gap 15', 'B S gap 20'])
  })

  it('gives inserts that wait for its gap nothing', () => {
    const stage = new Stage()
    stage.lock('A', 'X gap', 15)
    stage.lock('B', 'insert', 15)
    stage.removed(15, 20)
    expect(stage.told()).toEqual(['B moved'])
    expect(stage.listed()).toEqual(['A X gap 20'])
  })

  it('leaves the secondary gap that a rolled-back insert was in (gaps/RC/inherit/dup-waiter-on-rolled-back-insert-uq)', () => {
    const stage = new Stage()
    stage.owner('B').inheritsAll = true
    readCommitted(stage, 'B')
    stage.makeExplicit('A', 25, SECONDARY)
    stage.lock('B', 'S next-key', 25, { index: SECONDARY })
    stage.removed(25, 30, SECONDARY)
    stage.end('A')
    expect(stage.listed()).toEqual(['B S gap secondary 30'])
  })
})

it('a gap lock inherited by an owner that waits can close a deadlock, which is found at once', () => {
  const stage = new Stage()
  stage.lock('B', 'X record', 20)
  stage.lock('A', 'X record', 50)
  stage.lock('C', 'X gap', 30)
  // A waits for an insert before 30, which C has locked; B waits for A. No cycle: nobody waits for B.
  expect(stage.lock('A', 'insert', 30)).toBe('waits')
  expect(stage.lock('B', 'X record', 50)).toBe('waits')
  // 20 is purged, B inherits the gap before 30: now A waits for B as well, and has one structure less.
  stage.removed(20, 30)
  expect(stage.told()).toEqual(['A deadlock'])
  stage.end('A')
  expect(stage.told()).toEqual(['B granted'])
})
