import { TableChangedError } from '../base/errors.js'
import type { PageId } from '../base/ids.js'
import { decodeCompound, decodeKey, KeyBuffer } from '../codec/key-encoding.js'
import { forgetTexts } from '../codec/string-reading.js'
import { Page } from '../storage/page-format.js'
import type { PageStore } from '../storage/page-store.js'
import { TreeCursor } from '../storage/tree-cursor.js'
import { Entry, entryKeyLength } from './record-format.js'
import { decodeTableKey, mustShow, type RowReader, type Visibility } from './row-reader.js'
import type { IndexStore, TableStore } from './table-store.js'

/** What a scan delivers. */
export const enum Want {
  /** The key of the index scanned: primary, or secondary. */
  Keys = 0,
  Values = 1,
  /** [key, row]. */
  Entries = 2,
  PrimaryKeys = 3,
}

/** Encoded bounds of a range, half-open: lower ≤ key < upper. A length of −1 means unbounded. */
export interface KeyRange {
  lower: Uint8Array
  lowerLength: number
  upper: Uint8Array
  upperLength: number
}

/** The key at hand, within one batch: no user code runs in there. */
const scratch: KeyBuffer = new KeyBuffer()

/**
 * A consistent scan of one range of a table, through its key or a secondary index, either way. It works in batches: rows are
 * decoded into an array, and between batches the cursor rests on a held key, so anything may happen to the tree meanwhile.
 */
export class RangeScan {
  done = false
  readonly #store: PageStore
  readonly #reader: RowReader
  readonly #table: TableStore
  readonly #index: IndexStore | undefined
  readonly #range: KeyRange
  readonly #reverse: boolean
  readonly #want: Want
  readonly #view: Visibility
  readonly #cursor: TreeCursor
  #begun = false
  /** The leaf whose slots `#edge` speaks of. */
  #leaf = 0
  /** Forward: first slot of the leaf beyond the range; backward: first slot within. */
  #edge = 0

  constructor(
    store: PageStore,
    reader: RowReader,
    table: TableStore,
    index: IndexStore | undefined,
    range: KeyRange,
    reverse: boolean,
    want: Want,
    view: Visibility,
  ) {
    mustShow(view, table, index)
    this.#store = store
    this.#reader = reader
    this.#table = table
    this.#index = index
    this.#range = range
    this.#reverse = reverse
    this.#want = want
    this.#view = view
    this.#cursor = new TreeCursor(index === undefined ? table.clustered : index.tree)
  }

  /** Appends up to `most` results; with `last`, no more are wanted after them. Sets `done` when there are none to come. */
  fill(out: unknown[], most: number, last: boolean): void {
    try {
      let taken = 0
      for (let more = this.#place(); more; more = this.#move()) {
        if (!this.#take(out) || ++taken < most) continue
        if (last) break
        this.#cursor.hold()
        return
      }
      this.done = true
    } finally {
      forgetTexts()
    }
  }

  /** Counts the rows of the range. */
  count(): number {
    let count = 0
    const { u32 } = this.#store
    for (let more = this.#place(); more; more = this.#move()) {
      const cursor = this.#cursor
      const page = u32[cursor.base >> 2] as PageId
      const at = cursor.valueOffset
      if (this.#index === undefined) {
        if (this.#reader.isVisible(at, at + cursor.valueLength, this.#view)) count++
      } else {
        scratch.length = cursor.copyKey(scratch.bytes)
        if (this.#reader.readEntry(this.#table, this.#index, scratch, at, this.#view, false)) count++
      }
      this.#stay(page)
    }
    this.done = true
    return count
  }

  /** The result at the cursor, if it is visible. */
  #take(out: unknown[]): boolean {
    const cursor = this.#cursor
    const page = this.#store.u32[cursor.base >> 2] as PageId
    const found = this.#index === undefined ? this.#takeRecord(out) : this.#takeEntry(this.#index, out)
    this.#stay(page)
    return found
  }

  #takeRecord(out: unknown[]): boolean {
    const cursor = this.#cursor
    const want = this.#want
    const at = cursor.valueOffset
    if (want !== Want.Values) scratch.length = cursor.copyKey(scratch.bytes)
    if (want === Want.Keys || want === Want.PrimaryKeys) {
      if (!this.#reader.isVisible(at, at + cursor.valueLength, this.#view)) return false
      out.push(decodeTableKey(this.#table, scratch.bytes, 0, scratch.length))
      return true
    }
    const row = this.#reader.decodeNext(this.#table, at, at + cursor.valueLength, this.#view)
    if (row === undefined) return false
    out.push(want === Want.Values ? row : [decodeTableKey(this.#table, scratch.bytes, 0, scratch.length), row])
    return true
  }

  #takeEntry(index: IndexStore, out: unknown[]): boolean {
    const cursor = this.#cursor
    const want = this.#want
    const key = scratch
    key.length = cursor.copyKey(key.bytes)
    const keyLength = entryKeyLength(this.#store.u32[(cursor.valueOffset + Entry.Word) >> 2])
    const rows = want === Want.Values || want === Want.Entries
    if (!this.#reader.readEntry(this.#table, index, key, cursor.valueOffset, this.#view, rows)) return false
    if (want === Want.Values) out.push(this.#reader.row)
    else if (want === Want.PrimaryKeys) out.push(decodeTableKey(this.#table, key.bytes, keyLength, key.length))
    else {
      const indexKey = index.definition.on.length === 1 ? decodeKey(key.bytes, 0, keyLength) : decodeCompound(key.bytes, 0, keyLength)
      out.push(want === Want.Keys ? indexKey : [indexKey, this.#reader.row])
    }
    return true
  }

  /** Reading a row may have begun operations: the leaf may lie elsewhere now. Nothing in it has changed. */
  #stay(page: PageId): void {
    this.#cursor.base = this.#store.fetch(page)
  }

  #place(): boolean {
    const cursor = this.#cursor
    const { lower, lowerLength, upper, upperLength } = this.#range
    this.#mustBeThere()
    this.#store.beginOperation()
    this.#leaf = 0
    if (this.#begun) {
      cursor.resume()
      return this.#move()
    }
    this.#begun = true
    let placed: boolean
    if (this.#reverse) placed = upperLength < 0 ? cursor.last() : cursor.seekBefore(upper, upperLength)
    else placed = lowerLength < 0 ? cursor.first() : cursor.seek(lower, lowerLength)
    return placed && this.#isInside()
  }

  /** A schema change between two batches: what is left of the tree is about to be freed, and no view shows what came in its place. */
  #mustBeThere(): void {
    const table = this.#table
    if (this.#index === undefined ? table.dropped || table.clustered !== this.#cursor.tree : this.#index.dropped)
      throw new TableChangedError(table.name)
  }

  #move(): boolean {
    return (this.#reverse ? this.#cursor.previous() : this.#cursor.next()) && this.#isInside()
  }

  #isInside(): boolean {
    const cursor = this.#cursor
    const page = this.#store.u32[(cursor.base + Page.Id) >> 2]
    if (page !== this.#leaf) {
      // The new leaf may lie where another page was before.
      forgetTexts()
      this.#leaf = page
      this.#edge = this.#findEdge()
    }
    return this.#reverse ? cursor.slot >= this.#edge : cursor.slot < this.#edge
  }

  #findEdge(): number {
    const { lower, lowerLength, upper, upperLength } = this.#range
    const { pages } = this.#cursor.tree
    const { base } = this.#cursor
    if (this.#reverse) {
      if (lowerLength < 0) return 0
      const slot = pages.searchLeaf(base, lower, lowerLength)
      return slot < 0 ? ~slot : slot
    }
    if (upperLength < 0) return pages.count(base)
    const slot = pages.searchLeaf(base, upper, upperLength)
    return slot < 0 ? ~slot : slot
  }
}
