import fc from 'fast-check'
import { beforeEach, describe, expect, it } from 'vitest'
import type { FrameBase, PageId } from '../../src/base/ids.js'
import { Page } from '../../src/storage/page-format.js'
import { SlottedPages } from '../../src/storage/slotted-page.js'
import { headOf, heapStart, KEY_PADDING, MAX_ENTRY, PAGE_CAPACITY } from '../../src/storage/slotted-page-layout.js'
import { chooseSplit, keyScratch, makeRoom, mergePages, Newcomer, startPage } from '../../src/storage/slotted-page-rebuild.js'
import { padded } from '../support/checked-tree.js'

const LEFT = 0 as FrameBase
const RIGHT = Page.Size as FrameBase
const NOTHING = Buffer.alloc(0)

let pages: SlottedPages

beforeEach(() => {
  const bytes = new ArrayBuffer(2 * Page.Size)
  pages = new SlottedPages(new Uint8Array(bytes), new Uint16Array(bytes), new Int32Array(bytes), new Uint32Array(bytes))
  for (const base of [LEFT, RIGHT]) startPage(pages, base, NOTHING, 0)
})

/** Inserts into a leaf in order; returns false if there is no room. */
function insert(base: FrameBase, key: Buffer, value: Buffer = NOTHING): boolean {
  const slot = ~pages.searchLeaf(base, padded(key), key.length)
  expect(slot).toBeGreaterThanOrEqual(0)
  const newcomer = new Newcomer()
  Object.assign(newcomer, { slot, key: padded(key), length: key.length, value, start: 0, end: value.length })
  if (!pages.leafHasRoom(base, slot, newcomer.key, key.length, value.length) && !makeRoom(pages, base, newcomer)) return false
  pages.insertLeafEntry(base, slot, newcomer.key, key.length, value, 0, value.length)
  pages.noteInsert(base, slot)
  return true
}

function insertChild(base: FrameBase, slot: number, key: Buffer, child: number): void {
  const newcomer = new Newcomer()
  Object.assign(newcomer, { slot, key: padded(key), length: key.length, child })
  if (slot > 0) expect(pages.innerHasRoom(base, slot, newcomer.key, key.length) || makeRoom(pages, base, newcomer)).toBe(true)
  pages.insertInnerEntry(base, slot, newcomer.key, key.length, child as PageId)
}

function keys(base: FrameBase): Buffer[] {
  const target = keyScratch()
  return Array.from({ length: pages.count(base) }, (_, slot) => Buffer.from(target.slice(0, pages.copyKey(base, slot, target))))
}

/** What the format's comment promises of heap top and garbage. */
function expectSoundHeap(base: FrameBase): void {
  const top = pages.u16[(base + Page.HeapTop) >> 1]
  let bytes = pages.u16[(base + Page.Garbage) >> 1]
  for (let slot = 0; slot < pages.count(base); slot++) bytes += pages.recordBytes(base, slot)
  expect(heapStart(pages.prefixLength(base)) - top).toBe(bytes)
  expect(pages.freeBytes(base)).toBeGreaterThanOrEqual(0)
}

describe('heads', () => {
  it('compare as the unsigned bytes do', () => {
    const anyFour = fc.uint8Array({ minLength: 4, maxLength: 4 })
    fc.assert(
      fc.property(anyFour, anyFour, (a, b) => {
        expect(Math.sign(headOf(a, 0) - headOf(b, 0))).toBe(Buffer.compare(a, b))
      }),
      { seed: 1, numRuns: 500 },
    )
    expect(headOf(Buffer.from([0, 0, 0, 0]), 0)).toBe(-(2 ** 31))
    expect(headOf(Buffer.from([255, 255, 255, 255]), 0)).toBe(2 ** 31 - 1)
  })
})

describe('a leaf', () => {
  it('keeps any keys in the order of memcmp, shorter first, and finds each and the place of each that is absent', () => {
    const anyKey = fc.oneof(
      fc.uint8Array({ maxLength: 7, max: 2 }),
      fc.uint8Array({ maxLength: 10 }),
      fc.uint8Array({ maxLength: 3, max: 1 }).map((end) => Uint8Array.from([...Buffer.alloc(20, 'p'), ...end])),
    )
    fc.assert(
      fc.property(
        fc.uniqueArray(anyKey, { maxLength: 40, selector: (key) => Buffer.from(key).toString('hex') }),
        fc.array(anyKey),
        (present, probes) => {
          startPage(pages, LEFT, NOTHING, 0)
          const sorted = present.map((key) => Buffer.from(key)).sort(Buffer.compare)
          for (const key of present) insert(LEFT, Buffer.from(key))
          expectSoundHeap(LEFT)
          expect(keys(LEFT)).toEqual(sorted)
          for (const probe of [...present, ...probes]) {
            const key = Buffer.from(probe)
            const slot = pages.searchLeaf(LEFT, padded(key), key.length)
            const place = sorted.filter((other) => Buffer.compare(other, key) < 0).length
            expect(slot).toBe(sorted.some((other) => other.equals(key)) ? place : ~place)
            if (sorted.length > 0) expect(pages.isBeyondLeaf(LEFT, padded(key), key.length)).toBe(~slot === sorted.length)
          }
        },
      ),
      { seed: 2, numRuns: 400 },
    )
  })

  it('stores what all its keys share once', () => {
    const shared = Buffer.alloc(100, 's')
    for (let i = 0; i < 50; i++) insert(LEFT, Buffer.concat([shared, Buffer.from([1, 2, i])]))
    expect(pages.prefixLength(LEFT)).toBe(102)
    expect(pages.usedBytes(LEFT)).toBe(50 * (8 + 4) + 104)
    insert(LEFT, Buffer.concat([shared.subarray(0, 60), Buffer.from('z')]))
    expect(pages.prefixLength(LEFT)).toBe(60)
    expectSoundHeap(LEFT)
  })

  it('refuses an entry it has no room for and is as before', () => {
    let number = 0
    while (insert(LEFT, Buffer.from([1, number >> 8, number]), Buffer.alloc(100))) number++
    const before = pages.u8.slice(0, Page.Size)
    expect(insert(LEFT, Buffer.from([1, 0, 7, 7]), Buffer.alloc(100))).toBe(false)
    expect(insert(LEFT, Buffer.from([0]), Buffer.alloc(104))).toBe(false)
    expect(Buffer.compare(before, pages.u8.slice(0, Page.Size))).toBe(0)
  })

  it('reuses what removed and moved records leave', () => {
    const key = (i: number): Buffer => Buffer.from([1, i])
    for (let i = 0; i < 100; i++) insert(LEFT, key(i), Buffer.alloc(100, i))
    for (let i = 0; i < 100; i += 2) pages.removeLeafEntry(LEFT, i / 2)
    expectSoundHeap(LEFT)
    for (let slot = 0; slot < 50; slot++) {
      const rewritten = pages.rewriteValue(LEFT, slot, Buffer.alloc(120, slot), 0, 120)
      if (!rewritten) break
      expectSoundHeap(LEFT)
    }
    for (let i = 0; i < 60; i += 2) expect(insert(LEFT, key(i), Buffer.alloc(100, i))).toBe(true)
    expectSoundHeap(LEFT)
    for (let slot = pages.count(LEFT) - 1; slot >= 0; slot--) pages.removeLeafEntry(LEFT, slot)
    expect(pages.usedBytes(LEFT)).toBe(Page.Size - heapStart(pages.prefixLength(LEFT)))
  })

  it('takes four entries of the greatest length', () => {
    for (let i = 0; i < 4; i++) {
      const key = Buffer.alloc(i % 2 === 0 ? MAX_ENTRY : 1, i)
      expect(insert(LEFT, key, Buffer.alloc(MAX_ENTRY - key.length))).toBe(true)
    }
    expect(pages.usedBytes(LEFT)).toBeLessThanOrEqual(PAGE_CAPACITY)
    expectSoundHeap(LEFT)
  })
})

describe('an inner page', () => {
  it('leads a key to the last child that is not larger, and to the first if all are', () => {
    const separators = ['b', 'b\0', 'ba', 'bbbbbbbb', 'bbbbbbbbc', 'd'].map((text) => Buffer.from(text))
    pages.u8[LEFT + Page.Level] = 1
    insertChild(LEFT, 0, NOTHING, 100)
    for (const [i, separator] of separators.entries()) insertChild(LEFT, i + 1, separator, 101 + i)
    expectSoundHeap(LEFT)
    for (const probe of ['', 'a', 'b', 'b\0', 'b\0\0', 'b\x01', 'ba', 'baa', 'bbbb', 'bbbbbbbb', 'bbbbbbbbb', 'bbbbbbbbc', 'c', 'd', 'z']) {
      const key = Buffer.from(probe)
      const slot = pages.searchInner(LEFT, padded(key), key.length)
      expect(slot).toBe(separators.filter((separator) => Buffer.compare(separator, key) <= 0).length)
      expect(pages.child(LEFT, slot)).toBe(100 + slot)
    }
  })

  it('needs no record for separators that end within the head', () => {
    pages.u8[LEFT + Page.Level] = 1
    insertChild(LEFT, 0, NOTHING, 1)
    for (let i = 1; i <= 1000; i++) insertChild(LEFT, i, Buffer.from([i >> 8, i]), i)
    expect(pages.usedBytes(LEFT)).toBe(1001 * 12)
  })

  it('whose first child goes makes the second the first', () => {
    pages.u8[LEFT + Page.Level] = 1
    insertChild(LEFT, 0, NOTHING, 1)
    insertChild(LEFT, 1, Buffer.from('long separator'), 2)
    insertChild(LEFT, 2, Buffer.from('longer separator'), 3)
    pages.removeInnerEntry(LEFT, 0)
    expect([pages.count(LEFT), pages.child(LEFT, 0), pages.child(LEFT, 1), pages.suffixLength(LEFT, 0)]).toEqual([2, 2, 3, 0])
    expectSoundHeap(LEFT)
  })
})

describe('where a full leaf is split', () => {
  const key = (number: number): Buffer => Buffer.from([1, number >> 8, number])

  /** Fills the leaf with entries of 1,000 bytes until one does not fit; [its slot, the split, the entries before]. */
  function splitAfter(numbers: Iterable<number>, last = false): [slot: number, split: number, count: number] {
    const value = Buffer.alloc(1000)
    for (const number of numbers) {
      if (insert(LEFT, key(number), value)) continue
      const newcomer = new Newcomer()
      const slot = ~pages.searchLeaf(LEFT, padded(key(number)), 3)
      Object.assign(newcomer, { slot, key: padded(key(number)), length: 3, value, start: 0, end: 1000 })
      return [slot, chooseSplit(pages, LEFT, newcomer, last), pages.count(LEFT)]
    }
    throw new Error('the leaf never filled')
  }
  const upwards = Array.from({ length: 40 }, (_, i) => 2000 + i)
  const downwards = Array.from({ length: 40 }, (_, i) => 8000 - i)

  it('without a run: in the middle', () => {
    const scattered = Array.from({ length: 40 }, (_, i) => (i * 17) % 40)
    const [, split, count] = splitAfter(scattered)
    expect(Math.abs(split - (count + 1) / 2)).toBeLessThanOrEqual(1)
  })

  it('at the end of the tree: before the newcomer, if it is the last', () => {
    expect(splitAfter([5, 3, 1, 0, 2, 4, 7, 6, 9, 8, 12, 11, 10, 15, 14, 13, 99], true)).toEqual([16, 16, 16])
  })

  it('at the end of an upward run, which stays with the newcomer', () => {
    const [slot, split, count] = splitAfter([9000, 9001, 9002, ...upwards])
    expect([slot, split]).toEqual([count - 3, slot + 1])
  })

  it('before the newcomer if its upward run fills the page without what lies beyond', () => {
    insert(LEFT, key(9000))
    const [slot, split, count] = splitAfter(upwards)
    expect([slot, split]).toEqual([count - 1, slot])
  })

  it('at the start of a downward run, which stays with the newcomer', () => {
    const [slot, split] = splitAfter([1000, 1001, 1002, ...downwards])
    expect([slot, split]).toEqual([3, 3])
  })

  it('after the newcomer if its downward run fills the page without what lies before', () => {
    insert(LEFT, key(1000))
    const [slot, split] = splitAfter(downwards)
    expect([slot, split]).toEqual([1, 2])
  })

  it('beside a run that has the page to itself', () => {
    const [slot, split, count] = splitAfter(upwards)
    expect([slot, split]).toEqual([count, count])
    startPage(pages, LEFT, NOTHING, 0)
    expect(splitAfter(downwards).slice(0, 2)).toEqual([0, 1])
  })
})

describe('merging', () => {
  it('refuses what would be fuller than the limit, and changes nothing then', () => {
    for (let i = 0; i < 60; i++) {
      insert(LEFT, Buffer.from([1, i]), Buffer.alloc(100))
      insert(RIGHT, Buffer.from([2, i]), Buffer.alloc(100))
    }
    const together = pages.usedBytes(LEFT) + pages.usedBytes(RIGHT)
    const before = pages.u8.slice()
    expect(mergePages(pages, LEFT, RIGHT, keyScratch(), 0, together - 200)).toBe(false)
    expect(Buffer.compare(before, pages.u8)).toBe(0)
    expect(mergePages(pages, LEFT, RIGHT, keyScratch(), 0, together + 200)).toBe(true)
    expect(keys(LEFT)).toEqual(Array.from({ length: 120 }, (_, i) => Buffer.from([1 + Math.floor(i / 60), i % 60])))
    expectSoundHeap(LEFT)
  })

  it('counts what a shorter common prefix costs', () => {
    for (let i = 0; i < 60; i++) {
      insert(LEFT, Buffer.concat([Buffer.alloc(300, 'a'), Buffer.from([i])]))
      insert(RIGHT, Buffer.concat([Buffer.alloc(300, 'b'), Buffer.from([i])]))
    }
    expect(pages.usedBytes(LEFT) + pages.usedBytes(RIGHT)).toBeLessThan(2200)
    expect(mergePages(pages, LEFT, RIGHT, keyScratch(), 0, PAGE_CAPACITY)).toBe(false)
  })

  it('of inner pages takes the separator in between them in', () => {
    for (const base of [LEFT, RIGHT]) pages.u8[base + Page.Level] = 1
    insertChild(LEFT, 0, NOTHING, 1)
    insertChild(LEFT, 1, Buffer.from('key b'), 2)
    insertChild(RIGHT, 0, NOTHING, 3)
    insertChild(RIGHT, 1, Buffer.from('key d and more'), 4)
    const separator = keyScratch()
    separator.set(Buffer.from('key c'))
    expect(mergePages(pages, LEFT, RIGHT, separator, 5, PAGE_CAPACITY)).toBe(true)
    expect(keys(LEFT).slice(1).map(String)).toEqual(['key b', 'key c', 'key d and more'])
    expect([0, 1, 2, 3].map((slot) => pages.child(LEFT, slot))).toEqual([1, 2, 3, 4])
    expectSoundHeap(LEFT)
  })
})

describe('merging inner pages of one child each', () => {
  it('leaves the separator as the only key', () => {
    for (const base of [LEFT, RIGHT]) {
      pages.u8[base + Page.Level] = 1
      insertChild(base, 0, NOTHING, base === LEFT ? 1 : 2)
    }
    const separator = keyScratch()
    separator.set(Buffer.from('between'))
    expect(mergePages(pages, LEFT, RIGHT, separator, 7, PAGE_CAPACITY)).toBe(true)
    expect(keys(LEFT)[1].toString()).toBe('between')
    expect([pages.count(LEFT), pages.child(LEFT, 0), pages.child(LEFT, 1)]).toEqual([2, 1, 2])
    expectSoundHeap(LEFT)
  })
})

describe('a copied key', () => {
  it('is followed by zeros, whatever was there', () => {
    insert(LEFT, Buffer.from('key'))
    const target = new Uint8Array(3 + KEY_PADDING + 1).fill(9)
    expect(pages.copyKey(LEFT, 0, target)).toBe(3)
    expect([...target]).toEqual([...Buffer.from('key'), ...Buffer.alloc(KEY_PADDING), 9])
  })
})
