import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { MAX_ENTRY } from '../../src/storage/slotted-page-layout.js'
import { CheckedTree, Dice, numberKey } from '../support/checked-tree.js'

/** Families of keys, each hard on another part of the page format. */
const FAMILIES: Record<string, (dice: Dice) => Buffer> = {
  'numbers of eight bytes': (dice) => numberKey(dice.below(5000)),
  'short keys of few byte values, zeros among them': (dice) => dice.bytes(dice.below(8), 3),
  'keys with and without a long common prefix': (dice) =>
    Buffer.concat([Buffer.alloc(dice.below(2) * 1500, 'x'), Buffer.from(String(dice.below(300)))]),
  'keys that are prefixes of each other': (dice) => Buffer.alloc(dice.below(2000), dice.below(4)),
  'keys that differ late': (dice) => Buffer.concat([Buffer.alloc(40 + 4 * dice.below(6), 'k'), dice.bytes(3, 8)]),
  'keys of the greatest length': (dice) =>
    Buffer.concat([Buffer.alloc(MAX_ENTRY - 2, dice.below(3)), numberKey(dice.below(60)).subarray(6)]),
}

/** Mostly short, sometimes as long as an entry may be. */
function someValue(dice: Dice, key: Buffer): Buffer {
  const longest = MAX_ENTRY - key.length
  const length = dice.oneIn(20) ? dice.below(longest + 1) : dice.below(Math.min(longest, 130) + 1)
  return Buffer.alloc(length, dice.below(256))
}

describe('a tree equals a sorted map', () => {
  for (const [family, makeKey] of Object.entries(FAMILIES)) {
    it(`over ${family}`, () => {
      for (const seed of [1, 2]) {
        const dice = new Dice(seed)
        const checked = new CheckedTree({ restlessness: 0.2 })
        for (let step = 0; step < 4000; step++) {
          const key = makeKey(dice)
          // It grows for a thousand steps, then shrinks for as many.
          const growing = step % 2000 < 1000
          if (!checked.has(key)) {
            expect(checked.get(key)).toBeUndefined()
            if (growing || dice.oneIn(3)) checked.insert(key, someValue(dice, key))
          } else if (dice.oneIn(3)) checked.replace(key, someValue(dice, key))
          else if (!growing || dice.oneIn(4)) checked.remove(key)
          if (step % 500 === 0) checked.check()
        }
        checked.check()
        for (const key of dice.shuffle(checked.sortedKeys())) checked.remove(key)
        expect(checked.check()).toMatchObject({ pages: 1, depth: 1, garbage: 0 })
      }
    })
  }

  it('after any sequence of calls', () => {
    // Big entries, so that short sequences split, merge and reach three levels.
    const anyKey = fc.oneof(
      fc.uint8Array({ maxLength: 6 }),
      fc
        .tuple(fc.integer({ min: 1, max: 3 }), fc.uint8Array({ maxLength: 2, max: 3 }))
        .map(([fill, end]) => [...Buffer.alloc(1900, fill), ...end]),
    )
    const anyCall = fc.record({ key: anyKey, length: fc.oneof(fc.nat({ max: 40 }), fc.nat({ max: 2100 })), remove: fc.boolean() })
    fc.assert(
      fc.property(fc.array(anyCall, { maxLength: 120, size: 'max' }), (calls) => {
        const checked = new CheckedTree()
        for (const call of calls) {
          const key = Buffer.from(call.key)
          const value = Buffer.alloc(call.length, call.length)
          if (!checked.has(key)) checked.insert(key, value)
          else if (call.remove) checked.remove(key)
          else checked.replace(key, value)
        }
        checked.check()
      }),
      { seed: 20260101, numRuns: 60 },
    )
  })
})
