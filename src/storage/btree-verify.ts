import type { FrameBase, PageId, TreeId } from '../base/ids.js'
import { Page, PageType } from './page-format.js'
import type { PageStore } from './page-store.js'
import { heapStart, PAGE_CAPACITY, Slot, type SlottedPages } from './slotted-page.js'
import { keyScratch } from './slotted-page-rebuild.js'

export interface TreeStatistics {
  pages: number
  leaves: number
  entries: number
  /** Levels; a lone leaf is 1. */
  depth: number
  /** Bytes in use by slots, records and prefixes of the leaves. */
  leafBytes: number
  /** leafBytes ÷ what the leaves could hold. */
  leafFill: number
  /** Bytes of removed records not reclaimed yet. */
  garbage: number
}

/** A key as verification keeps it: exact bytes, compared with Buffer.compare. */
type Fence = Buffer | undefined

/**
 * Checks what the comment of slotted-page.ts and btree.ts promise: identity of pages, heap book-keeping, padding, order,
 * keys within the fences their ancestors set, levels, chains of neighbours. Begins an operation per page, so it needs
 * few frames; holds one key per level and the separators of one inner page per level.
 */
export function verifyTree(
  store: PageStore,
  pages: SlottedPages,
  tree: TreeId,
  root: PageId,
  report: (problem: string) => void,
): TreeStatistics {
  return new TreeVerifier(store, pages, tree, report).run(root)
}

class TreeVerifier {
  private readonly store: PageStore
  private readonly pages: SlottedPages
  private readonly tree: TreeId
  private readonly report: (problem: string) => void
  private readonly scratch: Uint8Array = keyScratch()
  /** By level: the page visited last, and what it says is right of it. */
  private readonly lastVisited: number[] = []
  private readonly lastRight: number[] = []
  private readonly seen = new Set<number>()
  private readonly result: TreeStatistics = { pages: 0, leaves: 0, entries: 0, depth: 0, leafBytes: 0, leafFill: 0, garbage: 0 }

  constructor(store: PageStore, pages: SlottedPages, tree: TreeId, report: (problem: string) => void) {
    this.store = store
    this.pages = pages
    this.tree = tree
    this.report = report
  }

  run(root: PageId): TreeStatistics {
    const { result } = this
    this.store.beginOperation()
    const level = this.pages.level(this.store.fetch(root))
    result.depth = level + 1
    this.visit(root, level, undefined, undefined, true)
    this.lastRight.forEach((right, at) => {
      if (right !== 0) this.report(`level ${at}: the last page ${this.lastVisited[at]} has a right neighbour, ${right}`)
    })
    result.leafFill = result.leaves === 0 ? 0 : result.leafBytes / (result.leaves * PAGE_CAPACITY)
    return result
  }

  /** All keys at and below the page must be ≥ lower and < upper. */
  private visit(page: PageId, level: number, lower: Fence, upper: Fence, isRoot: boolean): void {
    const { store, pages, result } = this
    if (this.seen.has(page)) {
      this.report(`page ${page} is reached twice`)
      return
    }
    this.seen.add(page)
    store.beginOperation()
    const base = store.fetch(page)
    result.pages++
    if (!this.checkHeader(page, base, level)) return
    this.checkNeighbours(page, base, level)
    if (!this.checkHeap(page, base)) return
    const keys = this.checkKeys(page, base, lower, upper)
    const count = pages.count(base)
    result.garbage += pages.u16[(base + Page.Garbage) >> 1]
    if (level === 0) {
      result.leaves++
      result.entries += count
      result.leafBytes += pages.usedBytes(base)
      if (count === 0 && !isRoot) this.report(`leaf ${page} is empty`)
      return
    }
    if (count < (isRoot ? 2 : 1)) this.report(`inner page ${page} has ${count} children`)
    const children: PageId[] = []
    for (let slot = 0; slot < count; slot++) children.push(pages.child(base, slot))
    children.forEach((child, slot) => {
      this.visit(child, level - 1, slot === 0 ? lower : keys[slot], slot + 1 < count ? keys[slot + 1] : upper, false)
    })
  }

  private checkHeader(page: PageId, base: FrameBase, level: number): boolean {
    const { pages, report } = this
    const type = level === 0 ? PageType.Leaf : PageType.Inner
    const before = `page ${page}`
    let good = true
    const expect = (what: string, actual: number, expected: number): void => {
      if (actual === expected) return
      good = false
      report(`${before}: ${what} is ${actual}, not ${expected}`)
    }
    expect('page id', pages.pageId(base), page)
    expect('tree id', pages.u32[(base + Page.Tree) >> 2], this.tree)
    expect('type', pages.u8[base + Page.Type], type)
    expect('level', pages.level(base), level)
    return good
  }

  private checkNeighbours(page: PageId, base: FrameBase, level: number): void {
    const { pages, report } = this
    const left = this.lastVisited[level] ?? 0
    if (pages.left(base) !== left) report(`page ${page}: left neighbour is ${pages.left(base)}, not ${left}`)
    if (left !== 0 && this.lastRight[level] !== page) report(`page ${left}: right neighbour is ${this.lastRight[level]}, not ${page}`)
    this.lastVisited[level] = page
    this.lastRight[level] = pages.right(base)
  }

  /** Records lie between heap top and heap start, apart from each other, and what they leave is the garbage counted. */
  private checkHeap(page: PageId, base: FrameBase): boolean {
    const { pages, report } = this
    const top = pages.u16[(base + Page.HeapTop) >> 1]
    const prefix = pages.prefixLength(base)
    const start = heapStart(prefix)
    const slotsEnd = pages.slotAt(base, pages.count(base)) - base
    if (prefix > PAGE_CAPACITY || top > start || slotsEnd > top || (top & 3) !== 0) {
      report(`page ${page}: ${pages.count(base)} slots end at ${slotsEnd}, heap from ${top} to ${start}`)
      return false
    }
    const records: { from: number; to: number }[] = []
    let bytes = 0
    for (let slot = 0; slot < pages.count(base); slot++) {
      const from = pages.u16[(pages.slotAt(base, slot) + 4) >> 1]
      const hasHeader = pages.level(base) === 0
      if (hasHeader && (from < top || from + Slot.RecordHeader > start)) {
        report(`page ${page}: record ${slot} at ${from} is not in the heap, ${top} to ${start}`)
        return false
      }
      const size = pages.recordBytes(base, slot)
      bytes += size
      if (size > 0) records.push({ from, to: from + size })
    }
    records.sort((a, b) => a.from - b.from)
    let end = top
    for (const { from, to } of records) {
      if (from < end || to > start || (from & 3) !== 0) report(`page ${page}: record at ${from} to ${to} overlaps its neighbours or leaves the heap`)
      end = to
    }
    const garbage = pages.u16[(base + Page.Garbage) >> 1]
    if (start - top !== bytes + garbage) report(`page ${page}: heap of ${start - top} bytes has ${bytes} in records and ${garbage} garbage`)
    return true
  }

  /** Returns the keys (the first of an inner page is empty). */
  private checkKeys(page: PageId, base: FrameBase, lower: Fence, upper: Fence): Buffer[] {
    const { pages, report, scratch } = this
    const keys: Buffer[] = []
    const leaf = pages.level(base) === 0
    const prefix = pages.prefixLength(base)
    for (let slot = 0; slot < pages.count(base); slot++) {
      const suffix = pages.suffixLength(base, slot)
      if (!leaf && slot === 0) {
        if (suffix !== 0) report(`page ${page}: its first child has a key`)
        keys.push(Buffer.alloc(0))
        continue
      }
      const key = Buffer.from(scratch.subarray(0, pages.copyKey(base, slot, scratch)))
      const head = pages.i32[pages.slotAt(base, slot) >> 2] ^ 0x80000000
      if (suffix < Slot.HeadBytes && head << (8 * suffix) !== 0 && (suffix > 0 || head !== 0)) {
        report(`page ${page}: the head of entry ${slot} is not padded with zeros`)
      }
      const before = keys.at(-1)
      if (before !== undefined && (leaf || slot > 1) && Buffer.compare(before, key) >= 0) report(`page ${page}: entry ${slot} is out of order`)
      if (lower !== undefined && Buffer.compare(key, lower) < 0) report(`page ${page}: entry ${slot} is below the page's range`)
      if (upper !== undefined && Buffer.compare(key, upper) >= 0) report(`page ${page}: entry ${slot} is above the page's range`)
      if (key.length < prefix) report(`page ${page}: entry ${slot} is shorter than the prefix`)
      keys.push(key)
    }
    return keys
  }
}
