import type { FrameBase, PageId } from '../base/ids.js'
import type { BTree } from './btree.js'
import type { PageStore } from './page-store.js'
import type { SlottedPages } from './slotted-page.js'
import { keyScratch } from './slotted-page-rebuild.js'

/**
 * A place in a B-tree that moves both ways: on an entry, or before the first, or behind the last.
 *
 * Within one operation of the store it is plain. `next` and `previous` begin a new operation whenever they go to another
 * leaf: a scan would otherwise exhaust the pool. So a FrameBase got from anywhere else is void after them.
 *
 * Between operations the cursor rests: `hold()` in the operation that placed it, `resume()` in the one that goes on. In
 * between anything may happen to the tree. Why that is right: the held key alone is the place. If the frame's version is
 * the same, its bytes are, so the slot still is that entry; else the key is searched again, and if the entry is gone the
 * cursor stands *between* its neighbours of now, and moving either way reaches the right one.
 */
export class TreeCursor {
  readonly tree: BTree
  private readonly store: PageStore
  private readonly pages: SlottedPages

  base: FrameBase = 0 as FrameBase
  slot = 0
  /** Byte offset of the entry's value in the slab (4-aligned). */
  valueOffset = 0
  valueLength = 0

  /** Whether the last `seek` found the key itself. */
  exact = false

  /** 1 while the cursor stands before the entry at `slot`, its own being gone. */
  private between = 0
  /** Made when first needed: many cursors never rest. */
  private heldKey: Uint8Array = NONE
  private heldLength = 0
  private heldPage: PageId = 0 as PageId
  private heldVersion = -1
  private held: Held = Held.Entry

  constructor(tree: BTree) {
    this.tree = tree
    this.store = tree.store
    this.pages = tree.pages
  }

  /** To the first entry ≥ key; behind the last if there is none. */
  seek(key: Uint8Array, length: number): boolean {
    const slot = this.search(key, length)
    return slot < this.pages.count(this.base) ? this.land(slot) : this.enterRight(false)
  }

  /** To the last entry < key; before the first if there is none. */
  seekBefore(key: Uint8Array, length: number): boolean {
    const slot = this.search(key, length)
    return slot > 0 ? this.land(slot - 1) : this.enterLeft(false)
  }

  /** To the first entry; false if the tree is empty. */
  first(): boolean {
    this.toEdge(true)
    return this.pages.count(this.base) > 0 && this.land(0)
  }

  /** To the last entry; false if the tree is empty. */
  last(): boolean {
    this.toEdge(false)
    const count = this.pages.count(this.base)
    return count > 0 && this.land(count - 1)
  }

  /** To the next entry; behind the last if there is none. */
  next(): boolean {
    const slot = this.slot + 1 - this.between
    if (slot < this.pages.count(this.base)) return this.land(slot)
    return this.enterRight(true)
  }

  /** To the previous entry; before the first if there is none. */
  previous(): boolean {
    const slot = this.slot - 1
    if (slot >= 0) return this.land(slot)
    return this.enterLeft(true)
  }

  get keyLength(): number {
    return this.pages.keyLength(this.base, this.slot)
  }

  /** Copies the entry's key and KEY_PADDING zero bytes after it; returns its length. */
  copyKey(target: Uint8Array): number {
    return this.pages.copyKey(this.base, this.slot, target)
  }

  /** Remembers the place beyond this operation. */
  hold(): void {
    const { pages, base, slot } = this
    if (this.between !== 0) {
      // The held key still is the place, and no frame shows it.
      this.heldVersion = -1
      return
    }
    this.held = slot < 0 ? Held.BeforeFirst : slot >= pages.count(base) ? Held.BehindLast : Held.Entry
    if (this.held !== Held.Entry) return
    if (this.heldKey === NONE) this.heldKey = keyScratch()
    this.heldLength = pages.copyKey(base, slot, this.heldKey)
    this.heldPage = pages.pageId(base)
    this.heldVersion = this.store.version(base)
  }

  /** Goes on where `hold` was called; whether the entry is still there. */
  resume(): boolean {
    if (this.held !== Held.Entry) {
      this.toEdge(this.held === Held.BeforeFirst)
      this.slot = this.held === Held.BeforeFirst ? -1 : this.pages.count(this.base)
      return false
    }
    if (this.store.version(this.base) === this.heldVersion) {
      this.base = this.store.fetch(this.heldPage)
      return this.land(this.slot)
    }
    const base = this.tree.leafFor(this.heldKey, this.heldLength)
    const slot = this.pages.searchLeaf(base, this.heldKey, this.heldLength)
    this.base = base
    if (slot >= 0) return this.land(slot)
    this.slot = ~slot
    this.between = 1
    return false
  }

  private search(key: Uint8Array, length: number): number {
    this.base = this.tree.leafFor(key, length)
    const slot = this.pages.searchLeaf(this.base, key, length)
    this.exact = slot >= 0
    return slot < 0 ? ~slot : slot
  }

  private land(slot: number): boolean {
    this.slot = slot
    this.between = 0
    this.valueOffset = this.pages.valueOffset(this.base, slot)
    this.valueLength = this.pages.valueLength(this.base, slot)
    return true
  }

  /** To the first entry of the right neighbour: only a lone root is ever empty. */
  private enterRight(moving: boolean): boolean {
    const right = this.pages.right(this.base)
    if (right !== 0) {
      if (moving) this.store.beginOperation()
      this.base = this.store.fetch(right)
      return this.land(0)
    }
    this.slot = this.pages.count(this.base)
    this.between = 0
    return false
  }

  private enterLeft(moving: boolean): boolean {
    const left = this.pages.left(this.base)
    if (left !== 0) {
      if (moving) this.store.beginOperation()
      this.base = this.store.fetch(left)
      return this.land(this.pages.count(this.base) - 1)
    }
    this.slot = -1
    this.between = 0
    return false
  }

  /** To the first or last leaf. */
  private toEdge(first: boolean): void {
    const { store, pages } = this
    let base = store.fetch(this.tree.root)
    while (pages.level(base) !== 0) base = store.fetch(pages.child(base, first ? 0 : pages.count(base) - 1))
    this.base = base
    this.slot = 0
    this.between = 0
  }
}

const NONE = new Uint8Array(0)

const enum Held {
  Entry,
  BeforeFirst,
  BehindLast,
}
