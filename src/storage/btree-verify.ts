import { DamagedError } from '../base/errors.js'
import type { FrameBase, PageId, TreeId } from '../base/ids.js'
import { Page, PageType } from './page-format.js'
import type { PageStore } from './page-store.js'
import type { SlottedPages } from './slotted-page.js'
import { heapStart, PAGE_CAPACITY, Slot } from './slotted-page-layout.js'
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

/** A key and its length; −1 = there is none. */
class Fence {
  readonly key: Uint8Array = keyScratch()
  length = -1

  take(other: Fence): void {
    this.key.set(other.key)
    this.length = other.length
  }
}

/** What a step of any verification works with: nothing in it outlives the step. */
const LOWER: Fence = new Fence()
const UPPER: Fence = new Fence()
const KEY: Uint8Array = keyScratch()
const PREVIOUS_KEY: Uint8Array = keyScratch()

/**
 * Checks a tree leaf by leaf, in the order of keys: what slotted-page.ts says of pages, keys within the fences their
 * ancestors set, levels, chains of neighbours.
 *
 * Each step is an operation of its own and compares only what it sees in it, so the tree may change between steps: nothing
 * false is reported then, but the statistics are exact only if it did not. Why local checks find every break in a chain:
 * a step compares, at every level, the page it is in with the one that the tree itself says comes next (the way to the
 * upper fence): each must name the other, the first has nothing to its left and the last nothing to its right.
 */
export class TreeVerification {
  readonly statistics: TreeStatistics = { pages: 0, leaves: 0, entries: 0, depth: 0, leafBytes: 0, leafFill: 0, garbage: 0 }

  private readonly store: PageStore
  private readonly pages: SlottedPages
  private readonly tree: TreeId
  private readonly root: PageId
  private readonly report: (problem: string) => void

  /** Where the next step begins: the upper fence of the last leaf. */
  private readonly at = new Fence()
  private readonly lower = LOWER
  private readonly upper = UPPER
  private key: Uint8Array = KEY
  private previousKey: Uint8Array = PREVIOUS_KEY
  private readonly offsets: number[] = []
  /** By level: the page of this step, and the one last checked. */
  private readonly way: PageId[] = []
  private readonly checked: number[] = []

  constructor(store: PageStore, pages: SlottedPages, tree: TreeId, root: PageId, report: (problem: string) => void) {
    this.store = store
    this.pages = pages
    this.tree = tree
    this.root = root
    this.report = report
    this.at.length = 0
  }

  /** Checks one leaf, and the inner pages above it that were not yet; true when it was the last. */
  step(): boolean {
    const { at, lower, upper } = this
    this.store.beginOperation()
    lower.length = -1
    upper.length = -1
    const leaf = this.descend()
    if (leaf !== undefined && upper.length < 0) this.checkLastOfEachLevel()
    if (leaf !== undefined && upper.length >= 0) this.checkNextOfEachLevel()
    const { statistics } = this
    statistics.leafFill = statistics.leaves === 0 ? 0 : statistics.leafBytes / (statistics.leaves * PAGE_CAPACITY)
    if (upper.length < 0) return true
    if (compareKeys(upper.key, upper.length, at.key, at.length) <= 0) {
      this.report(`tree ${this.tree}: the ranges of its pages do not ascend`)
      return true
    }
    at.take(upper)
    return false
  }

  /** The leaf for `at`, with its fences in lower and upper; undefined if a page on the way is too broken to go on. */
  private descend(): FrameBase | undefined {
    const { pages, at, lower, upper } = this
    let page = this.root
    let base = this.fetch(page)
    if (base === undefined) return undefined
    let level = pages.level(base)
    this.statistics.depth = level + 1
    for (;;) {
      this.way[level] = page
      if (!this.checkPage(page, base, level)) return undefined
      if (level === 0) return base
      const slot = pages.searchInner(base, at.key, at.length)
      if (slot > 0) lower.length = pages.copyKey(base, slot, lower.key)
      if (slot + 1 < pages.count(base)) upper.length = pages.copyKey(base, slot + 1, upper.key)
      page = pages.child(base, slot)
      base = this.fetch(page)
      if (base === undefined) return undefined
      level--
    }
  }

  private fetch(page: PageId): FrameBase | undefined {
    try {
      return this.store.fetch(page)
    } catch (error) {
      if (!(error instanceof DamagedError)) throw error
      this.report(error.message)
      return undefined
    }
  }

  /** False if what is below cannot be reached. */
  private checkPage(page: PageId, base: FrameBase, level: number): boolean {
    const { pages, statistics, checked } = this
    if (checked[level] === page) return true
    if (!this.checkHeader(page, base, level) || !this.checkHeap(page, base)) return false
    this.checkKeys(page, base)
    const count = pages.count(base)
    const isRoot = page === this.root
    if (this.at.length === 0 && pages.left(base) !== 0) this.report(`page ${page} is the first of level ${level} and has a left neighbour`)
    if (level > 0 && count < (isRoot ? 2 : 1)) this.report(`inner page ${page} has ${count} children`)
    if (level === 0 && count === 0 && !isRoot) this.report(`leaf ${page} is empty`)
    checked[level] = page
    statistics.pages++
    statistics.garbage += pages.u16[(base + Page.Garbage) >> 1]
    if (level === 0) {
      statistics.leaves++
      statistics.entries += count
      statistics.leafBytes += pages.usedBytes(base)
    }
    return level === 0 || count > 0
  }

  private checkHeader(page: PageId, base: FrameBase, level: number): boolean {
    const { pages } = this
    const type = level === 0 ? PageType.Leaf : PageType.Inner
    return (
      this.expect(page, 'page id', pages.pageId(base), page) &&
      this.expect(page, 'tree id', pages.u32[(base + Page.Tree) >> 2], this.tree) &&
      this.expect(page, 'type', pages.u8[base + Page.Type], type) &&
      this.expect(page, 'level', pages.level(base), level)
    )
  }

  private expect(page: PageId, what: string, actual: number, expected: number): boolean {
    if (actual === expected) return true
    this.report(`page ${page}: ${what} is ${actual}, not ${expected}`)
    return false
  }

  /** Records lie between heap top and heap start, apart from each other, and what they leave is the garbage counted. */
  private checkHeap(page: PageId, base: FrameBase): boolean {
    const { pages, report, offsets } = this
    const top = pages.u16[(base + Page.HeapTop) >> 1]
    const count = pages.count(base)
    const start = heapStart(pages.prefixLength(base))
    const slotsEnd = pages.slotAt(base, count) - base
    if (top > start || slotsEnd > top || (top & 3) !== 0) {
      report(`page ${page}: ${count} slots end at ${slotsEnd}, heap from ${top} to ${start}`)
      return false
    }
    let bytes = 0
    offsets.length = 0
    for (let slot = 0; slot < count; slot++) {
      const offset = pages.u16[(pages.slotAt(base, slot) + 4) >> 1]
      const smallest = pages.level(base) === 0 ? Slot.RecordHeader : Math.min(1, pages.recordBytes(base, slot))
      if (smallest > 0 && (offset < top || offset + smallest > start || (offset & 3) !== 0)) {
        report(`page ${page}: record ${slot} at ${offset} is not in the heap from ${top} to ${start}`)
        return false
      }
      const size = pages.recordBytes(base, slot)
      bytes += size
      // One number per record, which sorts by offset.
      if (size > 0) offsets.push(offset * Page.Size * 4 + size)
    }
    offsets.sort((a, b) => a - b)
    let end = top
    for (const packed of offsets) {
      const offset = Math.floor(packed / (Page.Size * 4))
      if (offset < end) report(`page ${page}: the record at ${offset} overlaps the one before`)
      end = offset + (packed % (Page.Size * 4))
    }
    const garbage = pages.u16[(base + Page.Garbage) >> 1]
    if (end > start) report(`page ${page}: the last record ends at ${end}, behind the heap's end at ${start}`)
    if (start - top !== bytes + garbage)
      report(`page ${page}: the heap of ${start - top} bytes has ${bytes} in records and ${garbage} garbage`)
    return end <= start
  }

  /** Order, padding of heads, fences. */
  private checkKeys(page: PageId, base: FrameBase): void {
    const { pages, report, lower, upper } = this
    const count = pages.count(base)
    const first = pages.level(base) === 0 ? 0 : 1
    if (first === 1 && count > 0 && pages.suffixLength(base, 0) !== 0) report(`page ${page}: its first child has a key`)
    let previousLength = -1
    for (let slot = first; slot < count; slot++) {
      const length = pages.copyKey(base, slot, this.key)
      const suffix = pages.suffixLength(base, slot)
      const head = pages.i32[pages.slotAt(base, slot) >> 2] ^ 0x80000000
      const padding = suffix === 0 ? head : suffix < Slot.HeadBytes ? head << (8 * suffix) : 0
      if (padding !== 0) report(`page ${page}: the head of entry ${slot} is not padded with zeros`)
      if (previousLength >= 0 && compareKeys(this.previousKey, previousLength, this.key, length) >= 0) {
        report(`page ${page}: entry ${slot} is not larger than the one before`)
      }
      if (slot === first && lower.length >= 0 && compareKeys(this.key, length, lower.key, lower.length) < 0) {
        report(`page ${page}: its first key is below the page's range`)
      }
      const spare = this.previousKey
      this.previousKey = this.key
      this.key = spare
      previousLength = length
    }
    if (previousLength >= 0 && upper.length >= 0 && compareKeys(this.previousKey, previousLength, upper.key, upper.length) >= 0) {
      report(`page ${page}: its last key is above the page's range`)
    }
  }

  private checkLastOfEachLevel(): void {
    for (let level = this.statistics.depth - 1; level >= 0; level--) {
      const page = this.way[level]
      const right = this.pages.right(this.store.fetch(page))
      if (right !== 0) this.report(`page ${page} is the last of level ${level} and has a right neighbour, ${right}`)
    }
  }

  /** Goes the way to the upper fence, beside the way of this step. */
  private checkNextOfEachLevel(): void {
    const { pages, upper } = this
    let page = this.root
    for (let level = this.statistics.depth - 1; ; level--) {
      const base = this.fetch(page)
      const left = this.way[level]
      // What is wrong with the page itself is for the step that comes to it.
      if (base === undefined || pages.level(base) !== level) return
      if (page !== left) {
        this.expect(left, 'right neighbour', pages.right(this.store.fetch(left)), page)
        this.expect(page, 'left neighbour', pages.left(base), left)
      }
      if (level === 0 || pages.count(base) === 0) return
      page = pages.child(base, pages.searchInner(base, upper.key, upper.length))
    }
  }
}

function compareKeys(a: Uint8Array, aLength: number, b: Uint8Array, bLength: number): number {
  const end = Math.min(aLength, bLength)
  for (let i = 0; i < end; i++) if (a[i] !== b[i]) return a[i] - b[i]
  return aLength - bLength
}
