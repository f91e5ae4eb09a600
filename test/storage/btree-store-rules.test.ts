import { describe, expect, it } from 'vitest'
import { PageType } from '../../src/storage/page-format.js'
import { TREE } from '../support/checked-tree.js'
import { MemoryPageStore } from '../support/memory-page-store.js'

/** The B-tree's tests prove nothing about the rules of PageStore unless their store notices when one is broken. */
describe('the strict page store of the tests', () => {
  it('notices a change that was not announced', () => {
    const store = new MemoryPageStore({ restlessness: 0 })
    const page = store.allocate(PageType.Leaf, TREE)
    store.beginOperation()
    store.u8[store.fetch(page) + 100] = 1
    expect(() => store.willChange(store.fetch(page))).toThrow(/without willChange/)
    expect(() => store.beginOperation()).toThrow(/without willChange/)
  })

  it('notices a change in an operation after the one it was announced in', () => {
    const store = new MemoryPageStore({ restlessness: 0 })
    const page = store.allocate(PageType.Leaf, TREE)
    store.willChange(store.fetch(page))
    store.beginOperation()
    store.u8[store.fetch(page) + 100] = 1
    expect(() => store.beginOperation()).toThrow(/without willChange/)
  })

  it('notices an announcement for a frame the operation did not fetch', () => {
    const store = new MemoryPageStore({ restlessness: 0 })
    const base = store.fetch(store.allocate(PageType.Leaf, TREE))
    store.beginOperation()
    expect(() => store.willChange(base)).toThrow(/without being fetched/)
  })

  it('notices the use of a freed page', () => {
    const store = new MemoryPageStore()
    const page = store.allocate(PageType.Leaf, TREE)
    store.free(page)
    expect(() => store.fetch(page)).toThrow(/does not exist/)
    expect(() => store.free(page)).toThrow(/does not exist/)
  })

  it('leaves nothing of a page in its old frame, and the page itself as it was', () => {
    const store = new MemoryPageStore({ restlessness: 1 })
    const page = store.allocate(PageType.Leaf, TREE)
    const base = store.fetch(page)
    store.willChange(base)
    store.u8[base + 100] = 42
    const version = store.version(base)
    store.beginOperation()
    expect(store.u8[base + 100]).toBe(0xdb)
    expect(store.version(base)).not.toBe(version)
    expect(store.u8[store.fetch(page) + 100]).toBe(42)
  })

  it('refuses an operation that touches too many pages', () => {
    const store = new MemoryPageStore({ frames: 200 })
    expect(() => Array.from({ length: 65 }, () => store.allocate(PageType.Leaf, TREE))).toThrow(/more than 64 pages/)
  })
})
