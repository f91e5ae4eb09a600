import { describe, expect, it } from 'vitest'
import { TreeCursor } from '../../src/storage/tree-cursor.js'
import { CheckedTree, Dice, keyAt, numberKey, padded } from '../support/checked-tree.js'

const VALUE = Buffer.alloc(700, 'v')

/** Some 22 entries per leaf. */
function treeOf(numbers: number[]): CheckedTree {
  const checked = new CheckedTree({ restlessness: 0.1 })
  for (const number of numbers) checked.insert(numberKey(number), VALUE)
  return checked
}

const EVEN = Array.from({ length: 100 }, (_, i) => 2 * i)

/** Number of the entry the cursor is on. */
function numberAt(cursor: TreeCursor): number {
  return Number(keyAt(cursor).readBigUInt64BE())
}

function seek(checked: CheckedTree, cursor: TreeCursor, number: number): boolean {
  checked.store.beginOperation()
  return cursor.seek(padded(numberKey(number)), 8)
}

describe('a cursor', () => {
  it('on an empty tree is nowhere, whichever way it moves', () => {
    const checked = treeOf([])
    const cursor = new TreeCursor(checked.tree)
    checked.store.beginOperation()
    for (const move of [() => cursor.first(), () => cursor.last(), () => cursor.next(), () => cursor.previous()]) expect(move()).toBe(false)
    expect(seek(checked, cursor, 5)).toBe(false)
    expect(cursor.seekBefore(padded(numberKey(5)), 8)).toBe(false)
  })

  it('seeks the first entry at or after a key and says whether it is the key itself', () => {
    const checked = treeOf(EVEN)
    const cursor = new TreeCursor(checked.tree)
    for (const number of [0, 1, 2, 43, 44, 99, 197, 198]) {
      expect(seek(checked, cursor, number)).toBe(true)
      expect(numberAt(cursor)).toBe(number + (number % 2))
      expect(cursor.exact).toBe(number % 2 === 0)
      expect(checked.valueAt(cursor).equals(VALUE)).toBe(true)
    }
    expect(seek(checked, cursor, 199)).toBe(false)
    expect(cursor.previous()).toBe(true)
    expect(numberAt(cursor)).toBe(198)
  })

  it('seeks the last entry before a key', () => {
    const checked = treeOf(EVEN)
    const cursor = new TreeCursor(checked.tree)
    for (const number of [1, 2, 3, 44, 45, 198, 199, 1000]) {
      checked.store.beginOperation()
      expect(cursor.seekBefore(padded(numberKey(number)), 8)).toBe(true)
      expect(numberAt(cursor)).toBe(Math.min(198, number % 2 === 0 ? number - 2 : number - 1))
    }
    checked.store.beginOperation()
    expect(cursor.seekBefore(padded(numberKey(0)), 8)).toBe(false)
    expect(cursor.next()).toBe(true)
    expect(numberAt(cursor)).toBe(0)
  })

  it('at every key, first or last of its leaf or not, seeks and moves to its neighbours', () => {
    const checked = treeOf(EVEN)
    const cursor = new TreeCursor(checked.tree)
    for (const number of EVEN) {
      for (const probe of [number, number - 1]) {
        if (probe < 0) continue
        expect(seek(checked, cursor, probe)).toBe(true)
        expect(numberAt(cursor)).toBe(number)
        expect(cursor.previous()).toBe(number > 0)
        if (number > 0) expect(numberAt(cursor)).toBe(number - 2)
        expect(cursor.next()).toBe(true)
        expect(numberAt(cursor)).toBe(number)
      }
      checked.store.beginOperation()
      if (cursor.seekBefore(padded(numberKey(number)), 8)) expect(numberAt(cursor)).toBe(number - 2)
      else expect(number).toBe(0)
    }
  })

  it('beyond either end stays there and comes back', () => {
    const checked = treeOf(EVEN)
    const cursor = new TreeCursor(checked.tree)
    checked.store.beginOperation()
    cursor.last()
    expect([cursor.next(), cursor.next(), cursor.previous()]).toEqual([false, false, true])
    expect(numberAt(cursor)).toBe(198)
    cursor.first()
    expect([cursor.previous(), cursor.previous(), cursor.next()]).toEqual([false, false, true])
    expect(numberAt(cursor)).toBe(0)
  })
})

describe('a held cursor', () => {
  it('resumes on its entry if nothing changed, if its page changed, and if the entry moved to another page', () => {
    const checked = treeOf(EVEN)
    const cursor = new TreeCursor(checked.tree)
    seek(checked, cursor, 50)
    cursor.hold()
    const resumed = (): number => {
      checked.store.beginOperation()
      expect(cursor.resume()).toBe(true)
      expect(checked.valueAt(cursor).equals(VALUE)).toBe(true)
      return numberAt(cursor)
    }
    expect(resumed()).toBe(50)
    cursor.hold()
    checked.insert(numberKey(49), VALUE)
    expect(resumed()).toBe(50)
    cursor.hold()
    for (let i = 0; i < 400; i++) checked.insert(Buffer.concat([numberKey(48), Buffer.from([i >> 8, i])]), VALUE)
    expect(resumed()).toBe(50)
    cursor.hold()
    for (const key of checked.sortedKeys()) if (!key.equals(numberKey(50))) checked.remove(key)
    expect(resumed()).toBe(50)
    expect(cursor.next()).toBe(false)
  })

  it('on an unchanged page goes there directly and takes the frame into the operation', () => {
    const checked = new CheckedTree({ restlessness: 0 })
    for (const number of EVEN) checked.insert(numberKey(number), VALUE)
    const { store } = checked
    const cursor = new TreeCursor(checked.tree)
    seek(checked, cursor, 50)
    cursor.hold()
    store.beginOperation()
    let fetches = 0
    const fetch = store.fetch.bind(store)
    store.fetch = (page) => {
      fetches++
      return fetch(page)
    }
    expect(cursor.resume()).toBe(true)
    expect(fetches).toBe(1)
    // The store refuses this for a frame the operation did not fetch.
    store.willChange(cursor.base)
  })

  it('whose entry is gone stands between its neighbours of now', () => {
    const checked = treeOf(EVEN)
    for (const move of ['next', 'previous'] as const) {
      const cursor = new TreeCursor(checked.tree)
      seek(checked, cursor, 50)
      cursor.hold()
      checked.remove(numberKey(50))
      checked.insert(numberKey(49), VALUE)
      checked.insert(numberKey(51), VALUE)
      checked.store.beginOperation()
      expect(cursor.resume()).toBe(false)
      // Held again without having moved, it keeps its place.
      cursor.hold()
      checked.store.beginOperation()
      expect(cursor.resume()).toBe(false)
      expect(cursor[move]()).toBe(true)
      expect(numberAt(cursor)).toBe(move === 'next' ? 51 : 49)
      checked.remove(numberKey(49))
      checked.remove(numberKey(51))
      checked.insert(numberKey(50), VALUE)
    }
  })

  it('whose entry went and came back is on it again', () => {
    const checked = treeOf(EVEN)
    const cursor = new TreeCursor(checked.tree)
    seek(checked, cursor, 50)
    cursor.hold()
    checked.remove(numberKey(50))
    checked.store.beginOperation()
    expect(cursor.resume()).toBe(false)
    cursor.hold()
    checked.insert(numberKey(50), VALUE)
    checked.store.beginOperation()
    expect(cursor.resume()).toBe(true)
    expect(numberAt(cursor)).toBe(50)
  })

  it('beyond an end stays beyond whatever is added there', () => {
    const checked = treeOf(EVEN)
    const cursor = new TreeCursor(checked.tree)
    checked.store.beginOperation()
    cursor.last()
    cursor.next()
    cursor.hold()
    checked.insert(numberKey(500), VALUE)
    checked.store.beginOperation()
    expect([cursor.resume(), cursor.next(), cursor.previous()]).toEqual([false, false, true])
    expect(numberAt(cursor)).toBe(500)
    cursor.first()
    cursor.previous()
    cursor.hold()
    checked.remove(numberKey(0))
    checked.store.beginOperation()
    expect([cursor.resume(), cursor.previous(), cursor.next()]).toEqual([false, false, true])
    expect(numberAt(cursor)).toBe(2)
  })

  it('goes on rightly whatever happened to the tree meanwhile', () => {
    for (const seed of [1, 2, 3]) {
      const dice = new Dice(seed)
      const checked = new CheckedTree({ restlessness: 0.2 })
      const key = (): Buffer => Buffer.concat([Buffer.alloc(4 * dice.below(2), 'a'), numberKey(dice.below(600)).subarray(6)])
      const change = (growing: boolean): void => {
        const target = key()
        if (!growing) {
          if (checked.has(target)) checked.remove(target)
        } else if (checked.has(target)) checked.replace(target, Buffer.alloc(dice.below(900)))
        else checked.insert(target, Buffer.alloc(dice.below(700)))
      }
      for (let i = 0; i < 400; i++) change(true)
      const held = Array.from({ length: 6 }, () => ({ cursor: new TreeCursor(checked.tree), key: Buffer.alloc(0) as Buffer, at: false }))
      for (let round = 0; round < 300; round++) {
        const one = dice.pick(held)
        const { cursor } = one
        const keys = checked.sortedKeys()
        checked.store.beginOperation()
        let moved: boolean
        if (!one.at || dice.oneIn(10)) {
          const probe = key()
          moved = cursor.seek(padded(probe), probe.length)
          one.key = keys.find((other) => Buffer.compare(other, probe) >= 0) ?? probe
        } else {
          expect(cursor.resume()).toBe(checked.has(one.key))
          const before = one.key
          const forwards = dice.oneIn(2)
          moved = forwards ? cursor.next() : cursor.previous()
          const expected = forwards
            ? keys.find((other) => Buffer.compare(other, before) > 0)
            : keys.filter((other) => Buffer.compare(other, before) < 0).at(-1)
          expect(moved).toBe(expected !== undefined)
          one.key = expected ?? before
        }
        one.at = moved
        if (moved) {
          expect(keyAt(cursor).equals(one.key)).toBe(true)
          expect(checked.valueAt(cursor).equals(checked.model.get(one.key.toString('latin1')) as Buffer)).toBe(true)
          cursor.hold()
        }
        for (let changes = dice.oneIn(8) ? 60 : dice.below(3); changes > 0; changes--) change(round % 100 < 50)
      }
      checked.check()
    }
  })
})
