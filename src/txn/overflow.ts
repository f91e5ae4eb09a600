import { assert } from '../base/assert.js'
import { NO_PAGE, type PageId, type TreeId } from '../base/ids.js'
import { Page, PageType } from '../storage/page-format.js'
import type { PageStore } from '../storage/page-store.js'

/**
 * Overflow chains: rows too long for a leaf (D6).
 *
 * An extent page lists overflow pages in order: `Count` ids from byte 32 on, `Right` is the next extent page. An overflow page
 * is filled from byte 32; all are full but the last. A chain is written before the row operation that refers to it and
 * never changed; it has one owner at a time: a record, or the undo record of the update that replaced it.
 */
export class OverflowWriter {
  readonly firstExtent: PageId
  readonly #store: PageStore
  readonly #tree: TreeId
  readonly #bytes: Uint8Array
  readonly #end: number
  #at: number
  #extent: PageId

  /** Begins a chain for bytes[start, end): one extent page exists when the constructor returns. The bytes must not change. */
  constructor(store: PageStore, tree: TreeId, bytes: Uint8Array, start: number, end: number) {
    this.#store = store
    this.#tree = tree
    this.#bytes = bytes
    this.#at = start
    this.#end = end
    this.#extent = store.allocate(PageType.Extent, tree)
    this.firstExtent = this.#extent
  }

  /** Writes up to `pages` more pages; true when the chain is whole. */
  step(pages: number): boolean {
    const store = this.#store
    for (let done = 0; done < pages && this.#at < this.#end; done++) {
      store.beginOperation()
      const page = store.allocate(PageType.Overflow, this.#tree)
      const length = Math.min(OVERFLOW_BYTES, this.#end - this.#at)
      store.u8.set(this.#bytes.subarray(this.#at, this.#at + length), store.fetch(page) + Page.HeaderSize)
      this.#list(page)
      this.#at += length
    }
    return this.#at >= this.#end
  }

  #list(page: PageId): void {
    const store = this.#store
    let base = store.fetch(this.#extent)
    if (store.u16[(base + Page.Count) >> 1] === EXTENT_ENTRIES) {
      const next = store.allocate(PageType.Extent, this.#tree)
      base = store.fetch(this.#extent)
      store.willChange(base)
      store.u32[(base + Page.Right) >> 2] = next
      this.#extent = next
      base = store.fetch(next)
    }
    store.willChange(base)
    const count = store.u16[(base + Page.Count) >> 1]
    store.u32[((base + Page.HeaderSize) >> 2) + count] = page
    store.u16[(base + Page.Count) >> 1] = count + 1
  }
}

/** The value of a chain, `length` bytes, in a new buffer. */
export function readOverflow(store: PageStore, firstExtent: PageId, length: number): Uint8Array {
  const out = new Uint8Array(length)
  let at = 0
  eachPage(store, firstExtent, (page) => {
    const base = store.fetch(page) + Page.HeaderSize
    const part = Math.min(OVERFLOW_BYTES, length - at)
    out.set(store.u8.subarray(base, base + part), at)
    at += part
  })
  assert(at === length, `an overflow chain of ${length} bytes ends after ${at}`)
  return out
}

/** Gives the chain's pages back. */
export function freeOverflow(store: PageStore, firstExtent: PageId): void {
  for (let extent = firstExtent; extent !== NO_PAGE; ) {
    store.beginOperation()
    const base = store.fetch(extent)
    const next = store.u32[(base + Page.Right) >> 2] as PageId
    const count = store.u16[(base + Page.Count) >> 1]
    for (let index = 0; index < count; index++) store.free(store.u32[((base + Page.HeaderSize) >> 2) + index] as PageId)
    store.free(extent)
    extent = next
  }
}

/** Calls back for each page of the chain; for checks. Each call is an operation of its own. */
export function eachPage(store: PageStore, firstExtent: PageId, visit: (page: PageId) => void, visitExtent?: (page: PageId) => void): void {
  for (let extent = firstExtent; extent !== NO_PAGE; ) {
    visitExtent?.(extent)
    let base = store.fetch(extent)
    const count = store.u16[(base + Page.Count) >> 1]
    for (let index = 0; index < count; index++) {
      store.beginOperation()
      base = store.fetch(extent)
      visit(store.u32[((base + Page.HeaderSize) >> 2) + index] as PageId)
    }
    store.beginOperation()
    extent = store.u32[(store.fetch(extent) + Page.Right) >> 2] as PageId
  }
}

/** Value bytes on one overflow page. */
export const OVERFLOW_BYTES: number = Page.Size - Page.HeaderSize
const EXTENT_ENTRIES = (Page.Size - Page.HeaderSize) / 4
