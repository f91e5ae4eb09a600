import { assert, fail } from '../base/assert.js'
import { copyBytes } from '../base/bytes.js'
import { type CommitNumber, type FrameBase, NO_PAGE, type PageId, type TreeId, type TrxId } from '../base/ids.js'
import { Page, PageType } from '../storage/page-format.js'
import type { PageStore } from '../storage/page-store.js'
import type { UndoPointer } from './record-format.js'
import { Undo, UndoHeader, UndoKind, UndoPage } from './undo-format.js'

/** Where a transaction's undo log begins and ends. Pages are 0 while it has none. */
export interface UndoLogState {
  trxId: TrxId
  /** The log header. */
  firstPage: PageId
  firstOffset: number
  /** The newest record, where rollback begins; the header itself when all is undone. */
  lastPage: PageId
  lastOffset: number
}

/** Undo pages: leasing, appending, popping, freeing. Knows nothing of what the records mean. */
export class UndoSpace {
  readonly #store: PageStore
  /** Part-filled pages without a lease, the most recently used last. */
  readonly #partFilled: PageId[] = []

  constructor(store: PageStore) {
    this.#store = store
  }

  /** For the root record of a checkpoint. */
  get partFilled(): readonly PageId[] {
    return this.#partFilled
  }

  restorePartFilled(pages: readonly PageId[]): void {
    this.#partFilled.push(...pages)
  }

  /** In a reader that goes to another checkpoint. */
  forgetPartFilled(): void {
    this.#partFilled.length = 0
  }

  /** Begins a transaction's log on a leased page. */
  begin(log: UndoLogState): void {
    const store = this.#store
    const spare = this.#partFilled.at(-1)
    const page = spare ?? this.#newPage(NO_PAGE)
    const base = store.fetch(page)
    store.willChange(base)
    // Not before: a page that cannot be read now must not be lost.
    if (spare !== undefined) this.#partFilled.pop()
    const offset = store.u16[(base + UndoPage.End) >> 1]
    const at = base + offset
    store.u32.fill(0, at >> 2, (at + UndoHeader.Size) >> 2)
    store.u16[at >> 1] = UndoHeader.Size
    store.u8[at + UndoHeader.Kind] = UndoKind.Header
    store.u32[(at + UndoHeader.TrxLow) >> 2] = log.trxId % 4294967296
    store.u32[(at + UndoHeader.TrxHigh) >> 2] = Math.floor(log.trxId / 4294967296)
    store.u16[(base + UndoPage.End) >> 1] = offset + UndoHeader.Size
    log.firstPage = page
    log.lastPage = page
    log.firstOffset = offset
    log.lastOffset = offset
  }

  /**
   * Appends a record: key from `key[0, keyLength)`, image from `image[imageStart, imageEnd)` (which may be the slab).
   * Its place becomes the log's last.
   */
  append(
    log: UndoLogState,
    kind: UndoKind,
    owner: number,
    key: Uint8Array,
    keyLength: number,
    image: Uint8Array,
    imageStart: number,
    imageEnd: number,
  ): void {
    const store = this.#store
    const imageLength = imageEnd - imageStart
    const imageAt = (Undo.Key + keyLength + 3) & ~3
    const length = (imageAt + imageLength + 3) & ~3
    let page = log.lastPage
    let base = store.fetch(page)
    let offset = store.u16[(base + UndoPage.End) >> 1]
    if (offset + length > Page.Size) {
      const next = this.#newPage(page)
      base = store.fetch(page)
      store.willChange(base)
      store.u32[(base + Page.Right) >> 2] = next
      page = next
      base = store.fetch(page)
      offset = Page.HeaderSize
      assert(offset + length <= Page.Size, `an undo record of ${length} bytes does not fit on a page`)
    }
    store.willChange(base)
    const { u8, u16, u32 } = store
    const at = base + offset
    u16[at >> 1] = length
    u16[(at + 2) >> 1] = kind
    u32[(at + Undo.PreviousPage) >> 2] = log.lastPage
    u32[(at + Undo.PreviousOffset) >> 2] = log.lastOffset
    u32[(at + Undo.Owner) >> 2] = owner
    u16[(at + Undo.KeyLength) >> 1] = keyLength
    u16[(at + Undo.ImageLength) >> 1] = imageLength
    copyBytes(key, 0, u8, at + Undo.Key, keyLength)
    copyBytes(image, imageStart, u8, at + imageAt, imageLength)
    u16[(base + UndoPage.End) >> 1] = offset + length
    log.lastPage = page
    log.lastOffset = offset
  }

  /** Takes the last record back; the log's last is the one before. Call in the same turn that undid it. */
  pop(log: UndoLogState): void {
    const store = this.#store
    const base = store.fetch(log.lastPage)
    const at = base + log.lastOffset
    assert(store.u8[at + Undo.Kind] !== UndoKind.Header, 'nothing is left to undo')
    const page = store.u32[(at + Undo.PreviousPage) >> 2] as PageId
    const offset = store.u32[(at + Undo.PreviousOffset) >> 2]
    if (page === log.lastPage) {
      store.willChange(base)
      store.u16[(base + UndoPage.End) >> 1] = log.lastOffset
    } else {
      store.free(log.lastPage)
      const before = store.fetch(page)
      store.willChange(before)
      store.u32[(before + Page.Right) >> 2] = NO_PAGE
    }
    log.lastPage = page
    log.lastOffset = offset
  }

  /** The transaction ended with nothing for purge to do: its space is taken back at once. */
  discard(log: UndoLogState): void {
    const store = this.#store
    const base = store.fetch(log.firstPage)
    let page = store.u32[(base + Page.Right) >> 2] as PageId
    store.willChange(base)
    store.u32[(base + Page.Right) >> 2] = NO_PAGE
    store.u16[(base + UndoPage.End) >> 1] = log.firstOffset
    while (page !== NO_PAGE) {
      const next = store.u32[(store.fetch(page) + Page.Right) >> 2] as PageId
      store.free(page)
      page = next
    }
    this.#partFilled.push(log.firstPage)
  }

  /**
   * The transaction committed and purge will need the log: notes its commit number and end, and appends it to the history
   * whose last log is `tail` (page 0: none). The last page passes to the next transaction, or is closed when nearly full.
   */
  commit(log: UndoLogState, commitNumber: CommitNumber, tail: UndoPointer): void {
    const store = this.#store
    const last = store.fetch(log.lastPage)
    const closes = store.u16[(last + UndoPage.End) >> 1] > Page.Size - WORTH_PASSING_ON
    const base = store.fetch(log.firstPage)
    store.willChange(base)
    const at = base + log.firstOffset
    store.u8[at + UndoHeader.ClosesPage] = closes ? 1 : 0
    store.u32[(at + UndoHeader.CommitLow) >> 2] = commitNumber % 4294967296
    store.u32[(at + UndoHeader.CommitHigh) >> 2] = Math.floor(commitNumber / 4294967296)
    store.u32[(at + UndoHeader.LastPage) >> 2] = log.lastPage
    store.u32[(at + UndoHeader.LastOffset) >> 2] = log.lastOffset
    if (!closes) this.#partFilled.push(log.lastPage)
    if (tail.page === NO_PAGE) return
    const tailBase = store.fetch(tail.page)
    store.willChange(tailBase)
    store.u32[(tailBase + tail.offset + UndoHeader.NextPage) >> 2] = log.firstPage
    store.u32[(tailBase + tail.offset + UndoHeader.NextOffset) >> 2] = log.firstOffset
  }

  /** Purge is through with a committed log: frees the pages that held nothing else, or nothing after it. */
  free(log: UndoLogState, closesPage: boolean): void {
    let page = log.firstPage
    while (page !== log.lastPage) {
      const next = this.#store.u32[(this.#store.fetch(page) + Page.Right) >> 2] as PageId
      this.#store.free(page)
      page = next
    }
    if (closesPage) this.#store.free(page)
  }

  /** No history and no active transaction needs a page: keeps a few, empty, and frees the rest. */
  shrink(leased: number): void {
    if (leased > 0) return
    while (this.#partFilled.length > KEPT_EMPTY) this.#store.free(this.#partFilled.pop() as PageId)
    for (const page of this.#partFilled) {
      const base = this.#store.fetch(page)
      if (this.#store.u16[(base + UndoPage.End) >> 1] === Page.HeaderSize) continue
      this.#store.willChange(base)
      this.#store.u16[(base + UndoPage.End) >> 1] = Page.HeaderSize
    }
  }

  /** The slab offset of a record. Good for the current operation. */
  locate(page: PageId, offset: number): number {
    const base: FrameBase = this.#store.fetch(page)
    const { u8 } = this.#store
    if (u8[base + Page.Type] !== PageType.Undo || u8[base + offset + Undo.Kind] === 0) {
      return fail(`there is no undo record at page ${page} offset ${offset}`)
    }
    return base + offset
  }

  #newPage(left: PageId): PageId {
    const page = this.#store.allocate(PageType.Undo, UNDO_TREE)
    const base = this.#store.fetch(page)
    this.#store.u32[(base + Page.Left) >> 2] = left
    this.#store.u16[(base + UndoPage.End) >> 1] = Page.HeaderSize
    return page
  }
}

/** Undo pages belong to no tree. */
const UNDO_TREE = 0 as TreeId
/** A page with less than this left is not passed on: the next record would hardly fit. */
const WORTH_PASSING_ON = 1024
const KEPT_EMPTY = 4
