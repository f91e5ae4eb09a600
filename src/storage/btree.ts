import { assert } from '../base/assert.js'
import type { FrameBase, PageId, TreeId } from '../base/ids.js'
import { splitLeafFor } from './btree-grow.js'
import { TreePath } from './btree-path.js'
import { isSparse, mayMerge, rebalance } from './btree-shrink.js'
import { type TreeStatistics, TreeVerification } from './btree-verify.js'
import { Page, PageType } from './page-format.js'
import type { PageStore } from './page-store.js'
import type { SlottedPages } from './slotted-page.js'
import { heapStart, MAX_ENTRY } from './slotted-page-layout.js'
import { keyScratch, makeRoom, Newcomer } from './slotted-page-rebuild.js'

const newcomer: Newcomer = new Newcomer()
const hitKey: Uint8Array = keyScratch()

/**
 * A B-tree of byte strings in order of memcmp, shorter first: key → opaque value. Its root page never changes.
 *
 * Keys are given as (bytes, length), the array going on with at least KEY_PADDING zero bytes. Results land in the fields of
 * this object: nothing is allocated. Rules of use:
 * 1. The caller begins an operation of the store before each call here, except for `insertAtHit`, `replaceValue` and
 *    `remove`, which belong to the operation of the search that made the hit, and for `dropSlice` and `verify`, which
 *    begin their own.
 * 2. base, slot, valueOffset, valueLength hold until the tree changes or the operation ends.
 * 3. Value bytes may be changed in place after `store.willChange(base)`.
 * 4. A value to be stored may lie in the slab, in a frame of this operation, but not in a page of this tree.
 */
export class BTree {
  readonly store: PageStore
  readonly tree: TreeId
  readonly root: PageId
  readonly pages: SlottedPages
  private readonly path: TreePath

  /** The frame of the leaf the last search ended in. */
  base: FrameBase = 0 as FrameBase
  /** The entry's slot there, or where it would be inserted. */
  slot = 0
  /** Byte offset of the value in the slab (4-aligned); set if the entry was found or written. */
  valueOffset = 0
  valueLength = 0
  /** Whether the last call left the tree positioned on an entry. */
  found = false

  /** Whether the last search found its key: while they do not, the hash would only cost. */
  private finds = true

  /** The last leaf, as an insert left it: good while its frame has this version. */
  private lastLeaf: FrameBase = 0 as FrameBase
  private lastLeafPage: PageId = 0 as PageId
  private lastLeafVersion = -1

  constructor(store: PageStore, tree: TreeId, root: PageId) {
    this.store = store
    this.tree = tree
    this.root = root
    this.path = new TreePath(store, tree, root)
    this.pages = this.path.pages
  }

  /** Makes an empty tree and returns its root page. */
  static create(store: PageStore, tree: TreeId): PageId {
    const root = store.allocate(PageType.Leaf, tree)
    const base = store.fetch(root)
    store.willChange(base)
    store.u16[(base + Page.HeapTop) >> 1] = heapStart(0)
    return root
  }

  /** Positions on the entry with this key, or where it would be inserted. */
  find(key: Uint8Array, length: number): boolean {
    if (!this.finds) return (this.finds = this.descend(key, length))
    const { store, pages } = this
    const { hash } = store
    const hashed = hash.hashOf(this.tree, key, length)
    const hint = hash.lookUp(hashed)
    if (hint >= 0) {
      const base = hash.frameOf(hint)
      const slot = hash.slotOf(hint)
      if (pages.leafHasKeyAt(base, slot, this.tree, key, length) && store.holds(base)) return this.land(base, slot)
    }
    this.finds = this.descend(key, length)
    if (this.finds) hash.note(hashed, this.base, this.slot)
    return this.finds
  }

  private descend(key: Uint8Array, length: number): boolean {
    const base = this.leafFor(key, length)
    return this.land(base, this.pages.searchLeaf(base, key, length))
  }

  /** As `find`, and fast for a key beyond all others in a tree that grows at its end. */
  findToInsert(key: Uint8Array, length: number): boolean {
    if (this.isBeyondLast(key, length)) {
      this.base = this.store.fetch(this.lastLeafPage)
      this.slot = this.pages.count(this.base)
      this.found = false
      return false
    }
    return this.find(key, length)
  }

  /** Adds an entry and positions on it. The key must be absent. */
  insert(key: Uint8Array, length: number, value: Uint8Array, start: number, end: number): void {
    assert(!this.findToInsert(key, length), 'the key to insert is in the tree')
    this.insertAtHit(key, length, value, start, end)
  }

  /** Adds the entry whose key the last search, in this operation, did not find, and positions on it. */
  insertAtHit(key: Uint8Array, length: number, value: Uint8Array, start: number, end: number): void {
    assert(!this.found, 'there is an entry where one is to be inserted')
    assert(length + end - start <= MAX_ENTRY, 'an entry is longer than a quarter page')
    const { store, pages } = this
    let base = this.base
    store.willChange(base)
    if (pages.leafHasRoom(base, this.slot, key, length, end - start)) {
      pages.insertLeafEntry(base, this.slot, key, length, value, start, end)
      pages.noteInsert(base, this.slot)
    } else {
      this.insertIntoFull(key, length, value, start, end)
      base = this.base
    }
    if (pages.right(base) === 0) this.rememberLastLeaf(base)
    this.land(base, this.slot)
  }

  /** Gives the entry of the hit another value and stays on it, wherever it moves. */
  replaceValue(value: Uint8Array, start: number, end: number): void {
    assert(this.found, 'there is no entry to give a value to')
    const { store, pages, base, slot } = this
    assert(pages.keyLength(base, slot) + end - start <= MAX_ENTRY, 'an entry is longer than a quarter page')
    store.willChange(base)
    if (!pages.rewriteValue(base, slot, value, start, end)) {
      const length = pages.copyKey(base, slot, hitKey)
      pages.removeLeafEntry(base, slot)
      this.insertIntoFull(hitKey, length, value, start, end)
    }
    this.land(this.base, this.slot)
  }

  /** Removes the entry of the hit. Afterwards the tree is positioned nowhere. */
  remove(): void {
    assert(this.found, 'there is no entry to remove')
    const { store, pages, path, base, slot } = this
    store.willChange(base)
    this.found = false
    const length = pages.copyKey(base, slot, hitKey)
    pages.removeLeafEntry(base, slot)
    if (!isSparse(path, base) || !mayMerge(path, base)) return
    path.descend(hitKey, length)
    rebalance(path, 0)
  }

  /**
   * Frees up to about `maxPages` pages of a tree nobody uses any more, the root last; true when all are gone. State is in the
   * tree itself, so it may be gone on with after a restart. `beforeLeaf` is called with each leaf, in the turn that frees it, and
   * frees the pages that its values refer to; without it leaves are freed unread. It may begin operations.
   */
  dropSlice(maxPages: number, beforeLeaf?: (leaf: PageId) => void): boolean {
    const { store, pages } = this
    this.found = false
    for (let budget = maxPages; ; budget--) {
      store.beginOperation()
      let base = store.fetch(this.root)
      if (pages.count(base) === 0 || pages.level(base) === 0) {
        if (pages.level(base) === 0) beforeLeaf?.(this.root)
        store.free(this.root)
        return true
      }
      if (budget <= 0) return false
      let parent = base
      while (pages.level(base) > 1 && pages.count(base) > 0) {
        parent = base
        base = store.fetch(pages.child(base, pages.count(base) - 1))
      }
      // An inner page whose children are all gone is the last child of the one above.
      if (pages.count(base) === 0) base = parent
      const isAboveLeaves = pages.level(base) === 1
      const above = pages.pageId(base)
      const last = pages.count(base) - 1
      const child = pages.child(base, last)
      if (isAboveLeaves && beforeLeaf !== undefined) {
        beforeLeaf(child)
        store.beginOperation()
        base = store.fetch(above)
      }
      store.willChange(base)
      store.free(child)
      pages.removeInnerEntry(base, last)
    }
  }

  /** About how much of the tree lies before a key: 0 to 1, as if every page had as many entries below it as its neighbours. */
  fractionBefore(key: Uint8Array, length: number): number {
    const { store, pages } = this
    let fraction = 0
    let share = 1
    for (let base = store.fetch(this.root); ; ) {
      const isLeaf = pages.level(base) === 0
      const found = isLeaf ? pages.searchLeaf(base, key, length) : pages.searchInner(base, key, length)
      const slot = found < 0 ? ~found : found
      share /= Math.max(1, pages.count(base))
      fraction += share * slot
      if (isLeaf) return fraction
      base = store.fetch(pages.child(base, slot))
    }
  }

  /** A check of the whole tree, to be done step by step; tells each problem found. */
  verification(report: (problem: string) => void): TreeVerification {
    return new TreeVerification(this.store, this.pages, this.tree, this.root, report)
  }

  /** The same in one go. */
  verify(report: (problem: string) => void): TreeStatistics {
    this.found = false
    const verification = this.verification(report)
    while (!verification.step());
    return verification.statistics
  }

  /** The leaf responsible for a key. */
  leafFor(key: Uint8Array, length: number): FrameBase {
    const { store, pages } = this
    let base = store.fetch(this.root)
    while (pages.level(base) !== 0) base = store.fetch(pages.child(base, pages.searchInner(base, key, length)))
    return base
  }

  /** Takes over what searchLeaf returned. */
  private land(base: FrameBase, slot: number): boolean {
    this.base = base
    if (slot < 0) {
      this.slot = ~slot
      this.found = false
      return false
    }
    this.slot = slot
    this.valueOffset = this.pages.valueOffset(base, slot)
    this.valueLength = this.pages.valueLength(base, slot)
    this.found = true
    return true
  }

  /** Inserts at the hit by compacting or splitting the leaf. */
  private insertIntoFull(key: Uint8Array, length: number, value: Uint8Array, start: number, end: number): void {
    newcomer.slot = this.slot
    newcomer.key = key
    newcomer.length = length
    newcomer.value = value
    newcomer.start = start
    newcomer.end = end
    if (makeRoom(this.pages, this.base, newcomer)) {
      this.pages.insertLeafEntry(this.base, this.slot, key, length, value, start, end)
      this.pages.noteInsert(this.base, this.slot)
    } else {
      this.base = splitLeafFor(this.path, newcomer)
      this.slot = newcomer.slot
    }
  }

  private rememberLastLeaf(base: FrameBase): void {
    this.lastLeaf = base
    this.lastLeafPage = this.pages.pageId(base)
    this.lastLeafVersion = this.store.version(base)
  }

  /** Whether the last leaf is known and the key is larger than its last one, and so than all. */
  private isBeyondLast(key: Uint8Array, length: number): boolean {
    const { pages, lastLeaf } = this
    if (this.store.version(lastLeaf) !== this.lastLeafVersion) return false
    return pages.isBeyondLeaf(lastLeaf, key, length)
  }
}
