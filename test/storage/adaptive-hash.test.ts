import { describe, expect, it } from 'vitest'
import type { FrameBase, TreeId } from '../../src/base/ids.js'
import { AdaptiveHash } from '../../src/storage/adaptive-hash.js'
import { BTree } from '../../src/storage/btree.js'
import { numberKey, padded } from '../support/checked-tree.js'
import { MemoryPageStore } from '../support/memory-page-store.js'

/** All keys collide in the strict store: every search is told of a place, mostly a wrong one. */
describe('a hint of the adaptive hash index', () => {
  const key = padded(numberKey(1))
  const { length } = numberKey(1)
  const value = (text: string): Buffer => Buffer.from(text.padEnd(4))
  const found = (tree: BTree): string | undefined => {
    tree.store.beginOperation()
    // After a search without success the next one leaves no hint, and follows none.
    tree.find(key, length)
    tree.find(key, length)
    if (!tree.find(key, length)) return undefined
    return tree.store.buffer.toString('latin1', tree.valueOffset, tree.valueOffset + tree.valueLength).trim()
  }

  it('is not followed into a leaf of another tree', () => {
    const store = new MemoryPageStore({ restlessness: 0 })
    const trees = [1, 2].map((id) => new BTree(store, id as TreeId, BTree.create(store, id as TreeId)))
    trees[0].insert(key, length, value('one'), 0, 4)
    expect(found(trees[0])).toBe('one')
    expect(found(trees[1])).toBeUndefined()
    trees[1].insert(key, length, value('two'), 0, 4)
    expect([found(trees[0]), found(trees[1]), found(trees[0])]).toEqual(['one', 'two', 'one'])
  })

  it('is not followed to an entry that was removed, the last of its leaf, though its bytes still lie there', () => {
    const store = new MemoryPageStore({ restlessness: 0 })
    const tree = new BTree(store, 1 as TreeId, BTree.create(store, 1 as TreeId))
    tree.insert(padded(numberKey(0)), length, value('zero'), 0, 4)
    tree.insert(key, length, value('one'), 0, 4)
    expect(found(tree)).toBe('one')
    tree.remove()
    expect(tree.find(key, length)).toBe(false)
  })

  it('is not followed to a page that was freed, though its bytes still lie there', () => {
    const store = new MemoryPageStore({ restlessness: 0 })
    const before = new BTree(store, 1 as TreeId, BTree.create(store, 1 as TreeId))
    before.insert(key, length, value('old'), 0, 4)
    expect(found(before)).toBe('old')
    while (!before.dropSlice(10));
    store.beginOperation()
    const after = new BTree(store, 1 as TreeId, BTree.create(store, 1 as TreeId))
    expect(found(after)).toBeUndefined()
  })

  it('gives back the place that was noted, for the largest cache too, and nothing for another tag', () => {
    const hash = new AdaptiveHash(2 ** 31 - 1)
    const base = (131070 * 16384) as FrameBase
    hash.note(0x12345, base, 1000)
    const hint = hash.lookUp(0x12345)
    expect([hash.frameOf(hint), hash.slotOf(hint)]).toEqual([base, 1000])
    expect(hash.lookUp(0x12346)).toBe(-1)
  })
})
