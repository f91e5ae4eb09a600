import { describe, expect, it } from 'vitest'
import { DamagedError } from '../../src/base/errors.js'
import type { FrameBase, PageId } from '../../src/base/ids.js'
import { Page } from '../../src/storage/page-format.js'
import { CheckedTree, numberKey } from '../support/checked-tree.js'

/** Twelve leaves or so under one root. */
function bigTree(): CheckedTree {
  const checked = new CheckedTree({ restlessness: 0.05 })
  for (let i = 0; i < 300; i++) checked.insert(numberKey(i), Buffer.alloc(600, i))
  return checked
}

/** What verification says after `damage` was done to the n-th child of the root, or to the root (−1). */
function problemsAfter(child: number, damage: (checked: CheckedTree, base: FrameBase) => void): string[] {
  const checked = bigTree()
  const { store, tree } = checked
  store.beginOperation()
  let base = store.fetch(tree.root)
  if (child >= 0) base = store.fetch(tree.pages.child(base, child))
  store.willChange(base)
  damage(checked, base)
  const problems: string[] = []
  tree.verify((problem) => problems.push(problem))
  return problems
}

const leafSlot = (base: number, slot: number): number => base + Page.HeaderSize + 8 * slot

describe('verification', () => {
  it('finds nothing wrong with a sound tree, step by step as in one go', () => {
    const checked = bigTree()
    const whole = checked.check()
    const problems: string[] = []
    const verification = checked.tree.verification((problem) => problems.push(problem))
    let steps = 1
    while (!verification.step()) steps++
    expect(problems).toEqual([])
    expect(verification.statistics).toEqual(whole)
    expect(steps).toBe(whole.leaves)
  })

  it('reports nothing false when the tree changes between its steps', () => {
    const checked = bigTree()
    const problems: string[] = []
    const verification = checked.tree.verification((problem) => problems.push(problem))
    let added = 100_000
    for (let done = false, number = 0; !done; number += 7) {
      done = verification.step()
      // Merges around the step, and splits far ahead of it, which it comes to in the end.
      for (let i = number; i < Math.min(number + 60, 300); i++) if (checked.has(numberKey(i))) checked.remove(numberKey(i))
      for (let i = 0; i < 30 && number < 200; i++) checked.insert(numberKey(--added), Buffer.alloc(500))
    }
    expect(problems).toEqual([])
    checked.check()
  })

  const DAMAGES: [string, number, RegExp, (checked: CheckedTree, base: FrameBase) => void][] = [
    ['a page that is another', 3, /page id is/, ({ store }, base) => store.u32[(base + Page.Id) >> 2]++],
    ['a page of another tree', 3, /tree id is/, ({ store }, base) => store.u32[(base + Page.Tree) >> 2]++],
    ['a page of another type', 3, /type is 5, not 1/, ({ store }, base) => (store.u8[base + Page.Type] = 5)],
    ['a leaf at a wrong level', 3, /level is 1, not 0/, ({ store }, base) => (store.u8[base + Page.Level] = 1)],
    [
      'two keys out of order',
      3,
      /entry 5 is not larger/,
      ({ store }, base) => (store.i32[leafSlot(base, 5) >> 2] = store.i32[leafSlot(base, 4) >> 2]),
    ],
    ['a head with bytes behind the key', 3, /not padded/, ({ store }, base) => store.u16[(leafSlot(base, 5) + 6) >> 1]--],
    [
      'a key below the range of its page',
      3,
      /below the page's range/,
      ({ store }, base) => (store.i32[leafSlot(base, 0) >> 2] = -(2 ** 31)),
    ],
    [
      'a key above the range of its page',
      3,
      /above the page's range/,
      ({ store }, base) => (store.i32[leafSlot(base, store.u16[(base + Page.Count) >> 1] - 1) >> 2] = 0x7f000000),
    ],
    ['a record outside the heap', 3, /not in the heap/, ({ store }, base) => (store.u16[(leafSlot(base, 5) + 4) >> 1] = 40)],
    ['records that overlap', 3, /overlaps/, ({ store }, base) => (store.u16[(leafSlot(base, 5) + 4) >> 1] -= 4)],
    [
      'a record that leaves the page',
      3,
      /behind the heap's end/,
      ({ store }, base) => (store.u16[(base + store.u16[(leafSlot(base, 0) + 4) >> 1]) >> 1] = 9000),
    ],
    ['slots that run into the heap', 3, /slots end at/, ({ store }, base) => (store.u16[(base + Page.Count) >> 1] = 2000)],
    ['a heap top too high', 3, /slots end at/, ({ store }, base) => (store.u16[(base + Page.HeapTop) >> 1] = Page.Size)],
    ['a wrong count of garbage', 3, /garbage/, ({ store }, base) => (store.u16[(base + Page.Garbage) >> 1] += 4)],
    ['a chain broken to the right', 3, /right neighbour is/, ({ store }, base) => store.u32[(base + Page.Right) >> 2]++],
    ['a chain broken to the left', 3, /left neighbour is/, ({ store }, base) => store.u32[(base + Page.Left) >> 2]++],
    [
      'something left of the first leaf',
      0,
      /first of level 0 and has a left/,
      ({ store }, base) => (store.u32[(base + Page.Left) >> 2] = 3),
    ],
    [
      'an empty leaf',
      3,
      /is empty/,
      ({ tree }, base) => {
        while (tree.pages.count(base) > 0) tree.pages.removeLeafEntry(base, 0)
      },
    ],
    [
      'a root with one child',
      -1,
      /has 1 children/,
      ({ tree }, base) => {
        while (tree.pages.count(base) > 1) tree.pages.removeInnerEntry(base, 1)
      },
    ],
    ['a first child with a key', -1, /first child has a key/, ({ store }, base) => (store.u16[(base + Page.HeaderSize + 6) >> 1] = 1)],
    [
      'a child reached twice',
      -1,
      /neighbour is|page's range/,
      ({ store }, base) => (store.u32[(base + Page.HeaderSize + 4 * 12 + 8) >> 2] = store.u32[(base + Page.HeaderSize + 3 * 12 + 8) >> 2]),
    ],
    ['a leaf left out of its parent', -1, /right neighbour is/, ({ tree }, base) => tree.pages.removeInnerEntry(base, 4)],
    ['a separator cut short', -1, /do not ascend/, ({ store }, base) => store.u16[(base + Page.HeaderSize + 3 * 12 + 6) >> 1]--],
    [
      'separators out of order',
      -1,
      /not larger/,
      ({ store }, base) => (store.i32[(base + Page.HeaderSize + 5 * 12) >> 2] = store.i32[(base + Page.HeaderSize + 3 * 12) >> 2]),
    ],
  ]
  for (const [what, child, message, damage] of DAMAGES) {
    it(`reports ${what}`, () => {
      expect(problemsAfter(child, damage).join('\n')).toMatch(message)
    })
  }

  it('reports something right of the last leaf', () => {
    const children = bigTree().keysByLeaf().length
    const problems = problemsAfter(children - 1, ({ store }, base) => (store.u32[(base + Page.Right) >> 2] = 3))
    expect(problems.join('\n')).toMatch(/last of level 0 and has a right/)
  })

  /** The big tree, one page of which cannot be fetched. */
  function treeWithout(find: (checked: CheckedTree) => PageId, error: Error): CheckedTree {
    const checked = bigTree()
    const { store } = checked
    store.beginOperation()
    const lost = find(checked)
    const fetch = store.fetch.bind(store)
    store.fetch = (page: PageId): FrameBase => {
      if (page === lost) throw error
      return fetch(page)
    }
    return checked
  }
  const fourthLeaf = ({ store, tree }: CheckedTree): PageId => tree.pages.child(store.fetch(tree.root), 3)
  const damaged = new DamagedError('block 17 is not what was written', {})

  it('reports a page that cannot be read and goes on with the next', () => {
    const problems: string[] = []
    const statistics = treeWithout(fourthLeaf, damaged).tree.verify((problem) => problems.push(problem))
    expect(new Set(problems)).toEqual(new Set([damaged.message]))
    expect(statistics.leaves).toBe(bigTree().check().leaves - 1)
  })

  it('of a tree whose root cannot be read reports that', () => {
    const problems: string[] = []
    const statistics = treeWithout(({ tree }) => tree.root, damaged).tree.verify((problem) => problems.push(problem))
    expect(problems).toEqual([damaged.message])
    expect(statistics).toMatchObject({ pages: 0, leafFill: 0 })
  })

  it('passes on errors that are not about damage', () => {
    const checked = treeWithout(fourthLeaf, new Error('poisoned'))
    expect(() => checked.tree.verify(() => {})).toThrow('poisoned')
  })
})
