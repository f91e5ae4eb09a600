import { assert } from '../base/assert.js'
import type { FrameBase, PageId, TreeId } from '../base/ids.js'
import { Page, PageType } from './page-format.js'
import type { PageStore } from './page-store.js'
import { SlottedPages } from './slotted-page.js'
import { heapStart } from './slotted-page-layout.js'
import { keyScratch, startPage } from './slotted-page-rebuild.js'

/** More than 2^31 pages could ever need. */
const MAX_DEPTH = 32
// One of each for all trees: changes of structure come one after another, and each takes its path anew.
const BASES: Int32Array = new Int32Array(MAX_DEPTH)
const SLOTS: Int32Array = new Int32Array(MAX_DEPTH)
const SEPARATOR: Uint8Array = keyScratch()
const NEXT_SEPARATOR: Uint8Array = keyScratch()

/**
 * The way from the root to a leaf: the frame and the slot taken at each level, counted from the leaf (level 0).
 * Only changes of structure need it; they descend again for it, so that searches need not keep it. Good within one operation.
 */
export class TreePath {
  readonly store: PageStore
  readonly pages: SlottedPages
  readonly tree: TreeId
  readonly root: PageId
  readonly bases: Int32Array = BASES
  readonly slots: Int32Array = SLOTS
  /** The separator on its way up, and its successor: each level splits by the one and makes the other. */
  separator: Uint8Array = SEPARATOR
  nextSeparator: Uint8Array = NEXT_SEPARATOR

  constructor(store: PageStore, tree: TreeId, root: PageId) {
    this.store = store
    this.tree = tree
    this.root = root
    this.pages = new SlottedPages(store.u8, store.u16, store.i32, store.u32)
  }

  base(level: number): FrameBase {
    return this.bases[level] as FrameBase
  }

  isRoot(level: number): boolean {
    return this.pages.pageId(this.base(level)) === this.root
  }

  /** Takes the way to the leaf responsible for the key and returns it. */
  descend(key: Uint8Array, length: number): FrameBase {
    const { store, pages } = this
    let base = store.fetch(this.root)
    let level = pages.level(base)
    assert(level < MAX_DEPTH - 1, 'a B-tree is too deep')
    for (;;) {
      this.bases[level] = base
      if (level === 0) return base
      const slot = pages.searchInner(base, key, length)
      this.slots[level] = slot
      base = store.fetch(pages.child(base, slot))
      level--
      assert(pages.level(base) === level, 'a child page has the wrong level')
    }
  }

  /** A new page of this tree, empty, announced as changing. */
  allocate(level: number): FrameBase {
    const { store, pages } = this
    const base = store.fetch(store.allocate(level === 0 ? PageType.Leaf : PageType.Inner, this.tree))
    store.willChange(base)
    pages.u8[base + Page.Level] = level
    pages.u16[(base + Page.HeapTop) >> 1] = heapStart(0)
    return base
  }

  /**
   * The root's id never changes: its content moves down into a new child, and it becomes the inner page above. The path,
   * which led to or through the root, is one level longer then.
   */
  pushRootDown(): void {
    const { store, pages, root } = this
    const rootBase = store.fetch(root)
    store.willChange(rootBase)
    const level = pages.level(rootBase)
    const base = this.allocate(level)
    this.copyContent(rootBase, base)
    pages.u8[rootBase + Page.Type] = PageType.Inner
    pages.u8[rootBase + Page.Level] = level + 1
    startPage(pages, rootBase, this.separator, 0)
    pages.insertInnerEntry(rootBase, 0, this.separator, 0, pages.pageId(base))
    this.bases[level] = base
    this.bases[level + 1] = rootBase
    this.slots[level + 1] = 0
  }

  /** While the root is an inner page with one child, the child's content moves up into it. */
  collapseRoot(): void {
    const { store, pages } = this
    const rootBase = store.fetch(this.root)
    while (pages.level(rootBase) !== 0 && pages.count(rootBase) === 1) {
      const child = store.fetch(pages.child(rootBase, 0))
      store.willChange(rootBase)
      store.willChange(child)
      this.copyContent(child, rootBase)
      store.free(pages.pageId(child))
    }
  }

  /** All but the identity of the page and its neighbours. */
  private copyContent(from: FrameBase, to: FrameBase): void {
    const { u8 } = this.pages
    u8.copyWithin(to + Page.Type, from + Page.Type, from + Page.Left)
    u8.copyWithin(to + Page.HeaderSize, from + Page.HeaderSize, from + Page.Size)
  }

  /** Puts `right`, a new page, behind `left` in the chain of its level. */
  linkRight(left: FrameBase, right: FrameBase): void {
    const { store, pages } = this
    const { u32 } = pages
    const beyond = pages.right(left)
    u32[(right + Page.Left) >> 2] = pages.pageId(left)
    u32[(right + Page.Right) >> 2] = beyond
    u32[(left + Page.Right) >> 2] = pages.pageId(right)
    if (beyond === 0) return
    const beyondBase = store.fetch(beyond)
    store.willChange(beyondBase)
    u32[(beyondBase + Page.Left) >> 2] = pages.pageId(right)
  }

  /** Takes a page out of the chain of its level. */
  unlink(base: FrameBase): void {
    const { store, pages } = this
    const left = pages.left(base)
    const right = pages.right(base)
    if (left !== 0) {
      const leftBase = store.fetch(left)
      store.willChange(leftBase)
      pages.u32[(leftBase + Page.Right) >> 2] = right
    }
    if (right !== 0) {
      const rightBase = store.fetch(right)
      store.willChange(rightBase)
      pages.u32[(rightBase + Page.Left) >> 2] = left
    }
  }
}
