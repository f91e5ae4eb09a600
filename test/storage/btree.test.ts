import { describe, expect, it } from 'vitest'
import { MAX_ENTRY, PAGE_CAPACITY } from '../../src/storage/slotted-page-layout.js'
import { CheckedTree, Dice, numberKey, padded, TREE } from '../support/checked-tree.js'

const VALUE = Buffer.alloc(88, 'v')
const bytes = (...values: number[]): Buffer => Buffer.from(values)

function range(count: number): number[] {
  return Array.from({ length: count }, (_, i) => i)
}

/** The tree with these numbers inserted in this order. */
function treeOf(numbers: number[], value: Buffer = VALUE): CheckedTree {
  const checked = new CheckedTree({ restlessness: 0.05 })
  for (const number of numbers) checked.insert(numberKey(number), value)
  return checked
}

describe('an empty tree', () => {
  it('finds nothing', () => {
    const checked = new CheckedTree()
    expect(checked.get(bytes())).toBeUndefined()
    expect(checked.get(bytes(1))).toBeUndefined()
    expect(checked.check()).toMatchObject({ pages: 1, entries: 0, depth: 1 })
  })
})

describe('keys', () => {
  it('may be empty, prefixes of each other, and end in zero bytes', () => {
    const keys = [
      [],
      [0],
      [0, 0],
      [0, 0, 0, 0],
      [0, 0, 0, 0, 0],
      [0, 0, 0, 0, 0, 0, 0, 0, 0],
      [0, 0, 1],
      [1],
      [1, 0],
      [1, 0, 0, 0, 1],
      [255],
      [255, 255, 255, 255, 255],
    ]
    for (let seed = 1; seed <= 20; seed++) {
      const checked = new CheckedTree()
      for (const key of new Dice(seed).shuffle([...keys])) {
        expect(checked.get(bytes(...key))).toBeUndefined()
        checked.insert(bytes(...key), bytes(...key, 7))
        checked.check()
      }
      for (const key of new Dice(seed + 100).shuffle([...keys])) {
        checked.remove(bytes(...key))
        expect(checked.get(bytes(...key))).toBeUndefined()
        checked.check()
      }
    }
  })

  it('sort as unsigned bytes', () => {
    const checked = new CheckedTree()
    for (const first of [0x80, 0x7f, 0xff, 0x00, 0x81]) checked.insert(bytes(first, 1, 2, 3, 4, 5))
    checked.check()
  })

  it('that share hundreds of bytes make a page of many entries, until one comes that does not', () => {
    const checked = new CheckedTree()
    const shared = Buffer.alloc(1500, 'p')
    for (let i = 0; i < 400; i++) checked.insert(Buffer.concat([shared, numberKey(i)]))
    expect(checked.check().leaves).toBe(1)
    checked.insert(Buffer.from('q'))
    expect(checked.check().leaves).toBe(2)
    checked.insert(Buffer.from('pa'))
    checked.insert(Buffer.concat([shared.subarray(0, 1499), Buffer.from('z')]))
    checked.check()
  })

  it('longer than the tree allows, with their values, are refused before anything changes', () => {
    const checked = new CheckedTree()
    checked.insert(bytes(1), Buffer.alloc(MAX_ENTRY - 1))
    expect(() => checked.insert(bytes(2), Buffer.alloc(MAX_ENTRY))).toThrow(/quarter page/)
    expect(() => checked.replace(bytes(1), Buffer.alloc(MAX_ENTRY))).toThrow(/quarter page/)
    expect(checked.get(bytes(1))?.length).toBe(MAX_ENTRY - 1)
    expect(checked.check().entries).toBe(1)
  })
})

describe('a search that finds nothing', () => {
  it('leaves the tree at the place to insert at', () => {
    const { tree, store } = treeOf([10, 20, 30])
    for (const [number, slot] of [
      [5, 0],
      [15, 1],
      [25, 2],
      [35, 3],
    ]) {
      store.beginOperation()
      expect(tree.find(padded(numberKey(number)), 8)).toBe(false)
      expect([tree.found, tree.slot]).toEqual([false, slot])
    }
  })

  it('serves insertAtHit', () => {
    const checked = treeOf([10, 20, 30])
    for (const number of [5, 25, 35]) {
      checked.store.beginOperation()
      const key = padded(numberKey(number))
      expect(checked.tree.findToInsert(key, 8)).toBe(false)
      checked.tree.insertAtHit(key, 8, VALUE, 0, VALUE.length)
      expect(checked.valueAt(checked.tree).equals(VALUE)).toBe(true)
      checked.model.set(numberKey(number).toString('latin1'), VALUE)
    }
    checked.check()
  })

  it('refuses replaceValue and remove, as a hit refuses insertAtHit and insert', () => {
    const { tree, store } = treeOf([10])
    store.beginOperation()
    tree.find(padded(numberKey(11)), 8)
    expect(() => tree.replaceValue(VALUE, 0, 1)).toThrow(/no entry/)
    expect(() => tree.remove()).toThrow(/no entry/)
    expect(() => tree.insert(padded(numberKey(10)), 8, VALUE, 0, 1)).toThrow(/is in the tree/)
    expect(() => tree.insertAtHit(padded(numberKey(10)), 8, VALUE, 0, 1)).toThrow(/there is an entry/)
  })
})

describe('values', () => {
  it('of every length up to a few words are kept, from any place in any array', () => {
    const checked = new CheckedTree()
    const source = new Uint8Array(64).map((_, i) => i + 1)
    const shifted = new Uint8Array(source.buffer, 3, 50)
    let number = 0
    for (const array of [source, shifted, source])
      for (let start = 0; start < 6; start++)
        for (let length = 0; length < 14; length++) {
          const key = numberKey(number++)
          checked.store.beginOperation()
          checked.tree.insert(padded(key), 8, array, start, start + length)
          checked.model.set(key.toString('latin1'), Buffer.from(array.slice(start, start + length)))
        }
    checked.check()
  })

  it('may come from another page of the store', () => {
    const { store, tree } = treeOf([1, 2])
    const other = new CheckedTree()
    expect(other.store).not.toBe(store)
    const page = store.allocate(5, TREE)
    const from = store.fetch(page) + 100
    store.willChange(store.fetch(page))
    for (let i = 0; i < 40; i++) store.u8[from + i] = i
    tree.find(padded(numberKey(2)), 8)
    tree.replaceValue(store.u8, from, from + 33)
    expect(Array.from(store.u8.slice(tree.valueOffset, tree.valueOffset + tree.valueLength))).toEqual(range(33))
    tree.find(padded(numberKey(1)), 8)
    tree.replaceValue(store.u8, from + 1, from + 40)
    expect(Array.from(store.u8.slice(tree.valueOffset, tree.valueOffset + tree.valueLength))).toEqual(range(40).slice(1))
  })

  it('shrink and grow in place, within the page, by compaction and by a split', () => {
    const checked = treeOf(range(100))
    const { pages } = checked.check()
    expect(pages).toBe(1)
    for (const number of range(100)) checked.replace(numberKey(number), VALUE.subarray(0, number % 89))
    expect(checked.check()).toMatchObject({ pages: 1 })
    for (const number of range(100)) checked.replace(numberKey(number), Buffer.alloc(120, number))
    expect(checked.check()).toMatchObject({ pages: 1 })
    for (const number of range(100)) checked.replace(numberKey(number), Buffer.alloc(1000, number))
    expect(checked.check().pages).toBeGreaterThan(6)
    for (const number of range(100)) checked.replace(numberKey(number), Buffer.alloc(0))
    checked.check()
  })
})

describe('inserts', () => {
  it('in ascending order fill the leaves, through several levels', () => {
    const statistics = treeOf(range(4000), Buffer.alloc(1000)).check()
    expect(statistics.depth).toBe(2)
    expect(statistics.leafFill).toBeGreaterThan(0.92)
    const leaves = treeOf(range(3000)).keysByLeaf()
    const full = Math.floor(PAGE_CAPACITY / (8 + 4 + VALUE.length))
    expect(leaves.slice(0, -1).every((keys) => keys.length >= full - 1)).toBe(true)
  })

  it('in descending order fill the leaves as well', () => {
    expect(treeOf(range(3000).reverse()).check().leafFill).toBeGreaterThan(0.95)
  })

  it('in ascending and descending runs that alternate fill the leaves too', () => {
    const runs = range(5).map((run) => run * 1000)
    const ascending = range(600).flatMap((i) => runs.map((run) => run + i))
    const descending = [...ascending].reverse()
    expect(treeOf(ascending, Buffer.alloc(400)).check().leafFill).toBeGreaterThan(0.9)
    expect(treeOf(descending, Buffer.alloc(400)).check().leafFill).toBeGreaterThan(0.8)
  })

  it('in random order leave them two thirds full or more', () => {
    expect(treeOf(new Dice(1).shuffle(range(4000))).check().leafFill).toBeGreaterThan(0.64)
  })

  it('never move the root', () => {
    const checked = treeOf(new Dice(2).shuffle(range(2000)), Buffer.alloc(600))
    expect(checked.check().depth).toBe(2)
    expect(checked.tree.root).toBe(1)
  })

  it('beyond the last key still work after the last leaf was merged away or changed behind the tree', () => {
    const checked = treeOf(range(400))
    for (const number of range(390)) checked.remove(numberKey(399 - number))
    checked.insert(numberKey(500), VALUE)
    checked.remove(numberKey(500))
    checked.insert(numberKey(450), VALUE)
    checked.insert(numberKey(440), VALUE)
    for (const number of range(300)) checked.insert(numberKey(1000 + number), VALUE)
    checked.check()
  })
})

describe('removals', () => {
  it('merge sparse pages, lower the tree and end with the root alone', () => {
    for (const seed of [1, 2, 3]) {
      const numbers = new Dice(seed).shuffle(range(1500))
      const checked = treeOf(numbers, Buffer.alloc(300))
      const before = checked.check().leaves
      for (const number of numbers.slice(0, 1350)) checked.remove(numberKey(number))
      const after = checked.check()
      expect(after.leaves).toBeLessThan(before / 4)
      for (const number of numbers.slice(1350)) checked.remove(numberKey(number))
      expect(checked.check()).toMatchObject({ pages: 1, depth: 1, garbage: 0 })
      for (const number of numbers.slice(0, 50)) checked.insert(numberKey(number))
      checked.check()
    }
  })

  it('merge pages that fit together because they need their long prefix only once', () => {
    const key = (number: number): Buffer => Buffer.concat([Buffer.alloc(3000, 'p'), numberKey(number)])
    const checked = new CheckedTree({ restlessness: 0.05 })
    for (const number of range(28)) checked.insert(key(number), Buffer.alloc(900))
    const [left, right] = checked.keysByLeaf()
    expect([left.length, right.length]).toEqual([14, 14])
    for (const gone of right.slice(9)) checked.remove(gone)
    for (const gone of left.slice(2)) checked.remove(gone)
    expect(checked.check().leaves).toBe(1)
  })

  it('from either end free the pages as they empty', () => {
    for (const order of [range(1500), range(1500).reverse()]) {
      const checked = treeOf(range(1500))
      for (const number of order.slice(0, 1400)) checked.remove(numberKey(number))
      expect(checked.check().leaves).toBeLessThanOrEqual(2)
      for (const number of order.slice(1400)) checked.remove(numberKey(number))
      expect(checked.check().pages).toBe(1)
    }
  })

  it('of all but one entry per page leave no page that could be merged', () => {
    const checked = treeOf(range(1500))
    const keep = new Set(checked.keysByLeaf().map((keys) => keys[0].toString('latin1')))
    for (const key of checked.sortedKeys()) if (!keep.has(key.toString('latin1'))) checked.remove(key)
    expect(checked.check().leaves).toBe(1)
  })
})

describe('a tree nobody uses any more', () => {
  it('is freed in slices, the root last', () => {
    const checked = treeOf(new Dice(3).shuffle(range(1200)), Buffer.alloc(1500))
    const { pages, depth } = checked.check()
    expect(depth).toBe(2)
    let slices = 0
    for (let live = pages; ; slices++) {
      const done = checked.tree.dropSlice(25)
      expect(live - checked.store.livePages).toBeGreaterThan(0)
      expect(live - checked.store.livePages).toBeLessThanOrEqual(26)
      live = checked.store.livePages
      if (done) break
      checked.store.beginOperation()
      checked.store.fetch(checked.tree.root)
    }
    expect(slices).toBeGreaterThanOrEqual(Math.floor(pages / 26))
    expect(checked.store.livePages).toBe(0)
  })

  it('of three levels and of one leaf is freed as well', () => {
    const deep = new CheckedTree({ restlessness: 0.05 })
    for (const number of range(240)) deep.insert(Buffer.concat([Buffer.alloc(1800, number >> 3), numberKey(number)]), Buffer.alloc(2000))
    expect(deep.check().depth).toBeGreaterThanOrEqual(3)
    while (!deep.tree.dropSlice(2));
    expect(deep.store.livePages).toBe(0)
    const flat = treeOf([1])
    expect(flat.tree.dropSlice(1)).toBe(true)
    expect(flat.store.livePages).toBe(0)
  })
})

describe('the number of pages one operation touches', () => {
  it('stays within a few dozen', () => {
    const checked = new CheckedTree()
    const dice = new Dice(5)
    const keys = range(300).map((i) => Buffer.concat([dice.bytes(1900, 4), numberKey(i)]))
    for (const key of keys) checked.insert(key, Buffer.alloc(2000))
    for (const key of keys) checked.remove(key)
    checked.check()
    expect(checked.store.widestOperation).toBeLessThan(36)
  })
})
