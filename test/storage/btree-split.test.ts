import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { MAX_ENTRY, PAGE_CAPACITY } from '../../src/storage/slotted-page-layout.js'
import { CheckedTree, Dice, numberKey } from '../support/checked-tree.js'

/** Sizes at the limits of the format: nothing, one byte around a word, what fills a page exactly, the maximum. */
const SIZES = [0, 1, 3, 4, 5, 80, PAGE_CAPACITY >> 4, PAGE_CAPACITY >> 3, MAX_ENTRY - 9, MAX_ENTRY - 8]

describe('every split fits', () => {
  it('whatever the sizes of the entries and the order of the inserts', () => {
    const anyEntry = fc.record({ number: fc.nat({ max: 200 }), size: fc.constantFrom(...SIZES) })
    fc.assert(
      fc.property(fc.array(anyEntry, { minLength: 5, maxLength: 60, size: 'max' }), (entries) => {
        const checked = new CheckedTree()
        for (const { number, size } of entries) {
          const key = numberKey(number)
          if (checked.has(key)) checked.replace(key, Buffer.alloc(size, number))
          else checked.insert(key, Buffer.alloc(size, number))
        }
        checked.check()
      }),
      { seed: 20260102, numRuns: 200 },
    )
  })

  it('whatever part of their keys is common: prefixes grow, shrink and vanish', () => {
    const anyKey = fc.record({ shared: fc.constantFrom(0, 1, 4, 5, 100, 1000, 2030), tail: fc.uint8Array({ maxLength: 12, max: 2 }) })
    const anyEntry = fc.record({ key: anyKey, size: fc.constantFrom(...SIZES) })
    fc.assert(
      fc.property(fc.array(anyEntry, { minLength: 5, maxLength: 80, size: 'max' }), (entries) => {
        const checked = new CheckedTree()
        for (const { key, size } of entries) {
          const bytes = Buffer.concat([Buffer.alloc(key.shared, 'p'), Buffer.from(key.tail)])
          const value = Buffer.alloc(Math.min(size, MAX_ENTRY - bytes.length), 'v')
          if (checked.has(bytes)) checked.replace(bytes, value)
          else checked.insert(bytes, value)
        }
        checked.check()
      }),
      { seed: 20260103, numRuns: 200 },
    )
  })

  it('of inner pages too, with separators as long as keys can be', () => {
    for (const seed of [1, 2, 3, 4]) {
      const dice = new Dice(seed)
      const checked = new CheckedTree({ restlessness: 0.2 })
      // Neighbours differ in their last bytes, so a separator is as long as they are; some are short, some share less.
      const keys = Array.from({ length: 500 }, (_, i) =>
        Buffer.concat([Buffer.alloc(dice.pick([0, 4, 2000, MAX_ENTRY - 10]), i % 7), numberKey(i)]),
      )
      for (const key of dice.shuffle(keys)) checked.insert(key, Buffer.alloc(Math.min(MAX_ENTRY - key.length, 1990)))
      expect(checked.check().depth).toBeGreaterThanOrEqual(3)
      for (const key of dice.shuffle(keys)) checked.remove(key)
      expect(checked.check().pages).toBe(1)
    }
  })
})

describe('a full page of small entries', () => {
  it('gives a key without its prefix a page of its own, on either side', () => {
    const shared = Buffer.alloc(2000, 'm')
    const full = (): CheckedTree => {
      const checked = new CheckedTree({ restlessness: 0.05 })
      for (let i = 0; checked.tree.pages.freeBytes(checked.tree.base) > 60 || i < 10; i++)
        checked.insert(Buffer.concat([shared, numberKey(i)]))
      expect(checked.keysByLeaf().length).toBe(1)
      return checked
    }
    const entries = full().model.size
    expect(entries).toBeGreaterThan(500)
    for (const stranger of ['a', 'm', 'mmma', 'mmmz', 'z']) {
      const checked = full()
      checked.insert(Buffer.from(stranger))
      checked.check()
      const sizes = checked.keysByLeaf().map((keys) => keys.length)
      expect(sizes).toEqual(stranger < shared.toString() ? [1, entries] : [entries, 1])
    }
  })

  it('is compacted before it is split', () => {
    const checked = new CheckedTree({ restlessness: 0.05 })
    for (let i = 0; i < 130; i++) checked.insert(numberKey(i * 2), Buffer.alloc(100))
    for (let i = 0; i < 130; i += 2) checked.remove(numberKey(i * 2))
    for (let i = 0; i < 65; i++) checked.insert(numberKey(i * 4 + 1), Buffer.alloc(100))
    expect(checked.check().leaves).toBe(1)
  })
})
