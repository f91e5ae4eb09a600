import { NextkeyError } from '../base/errors.js'
import { NO_PAGE, type PageId, type TreeId, type TrxId } from '../base/ids.js'
import { Page, PageType } from '../storage/page-format.js'
import type { SalvagedPages } from '../storage/salvaged-pages.js'
import { SlottedPages } from '../storage/slotted-page.js'
import { keyScratch } from '../storage/slotted-page-rebuild.js'
import { Clustered, Entry, entryFlags, entryKeyLength, Flag, INSERT_BIT, OverflowRef, trxIdAt } from './record-format.js'
import { parseRootRecord, type RootRecord } from './root-record.js'
import { Undo, UndoKind } from './undo-format.js'

/**
 * Reads trees from whatever of their pages is left: no inner page is needed, for each leaf says which tree it belongs to.
 *
 * S1. Only pages that are certain are used (salvaged-pages.ts).
 * S2. A record is shown as of the checkpoint: its newest version whose writer had committed then, by the root record and the undo
 *     log. Where an undo page is lost that would be needed, the record is lost.
 * S3. Leaves name their neighbours. Where one does not name the one that comes next in the order of keys, something is missing between.
 */
export interface SalvagedLeaf {
  page: PageId
  left: PageId
  right: PageId
  /** Keys, encoded; undefined in an empty leaf. */
  first: Uint8Array | undefined
  last: Uint8Array | undefined
}

export interface SalvagedRecord {
  key: Uint8Array
  /** The row as encoded; undefined if `problem` says why it is lost. */
  row: Uint8Array | undefined
  problem: string | undefined
}

/** A range of keys in which rows may be missing; undefined: to the very end. */
export interface Gap {
  after: Uint8Array | undefined
  before: Uint8Array | undefined
}

export class Salvage {
  readonly pages: SalvagedPages
  /** Pages that are lost, and what is wrong with each. */
  readonly lost: Map<PageId, string> = new Map()
  readonly #leaves: Map<TreeId, SalvagedLeaf[]> = new Map()
  readonly #owners: Map<PageId, TreeId> = new Map()
  readonly #inner: PageId[] = []
  readonly #window: Window = new Window()
  readonly #undo: Window = new Window()
  readonly #active: Set<TrxId>

  /** Raises ERR_DAMAGED if the root record is lost: nothing is known then of who had committed. */
  constructor(pages: SalvagedPages) {
    this.pages = pages
    this.#active = new Set(this.#isEmpty ? [] : this.#readRoot().transactions.flatMap(({ trxId, committed }) => (committed ? [] : [trxId])))
  }

  /** Checkpoint 1 is that of a database just made: it has no root record, and no page. All there is, the log has. */
  get #isEmpty(): boolean {
    return this.pages.superblock.rootPage === NO_PAGE
  }

  /** Looks at every page once. Yields between pages. */
  *survey(): Generator<PageId, void, void> {
    const { pages } = this
    const window = this.#window
    for (let page = 1 as PageId; page < pages.nextPage; page++) {
      if (!pages.has(page)) continue
      const problem = pages.read(page, window.u8)
      if (problem !== undefined) this.lost.set(page, problem)
      else if (window.type === PageType.Inner) this.#inner.push(page)
      else if (window.type === PageType.Leaf) this.#addLeaf(window.tree, window.describeLeaf(page))
      yield page
    }
    if (this.lost.size > 0) for (const page of this.#inner) if (pages.read(page, window.u8) === undefined) this.#claimChildren()
    for (const leaves of this.#leaves.values()) leaves.sort(byFirstKey)
  }

  /** Trees of which a leaf was found. */
  get trees(): TreeId[] {
    return [...this.#leaves.keys()]
  }

  /** Which tree a lost page belonged to, as far as its parent or neighbours tell. */
  ownerOf(page: PageId): TreeId | undefined {
    return this.#owners.get(page)
  }

  /** The leaves' gaps (S3). A tree without any leaf is one gap. */
  gaps(tree: TreeId): Gap[] {
    if (this.#isEmpty) return []
    const leaves = (this.#leaves.get(tree) ?? []).filter(({ first }) => first !== undefined)
    const whole: Gap = { after: undefined, before: undefined }
    if (leaves.length === 0)
      return (this.#leaves.get(tree) ?? []).some(({ left, right }) => left === NO_PAGE && right === NO_PAGE) ? [] : [whole]
    const gaps: Gap[] = []
    if (leaves[0].left !== NO_PAGE) gaps.push({ after: undefined, before: leaves[0].first })
    leaves.forEach(({ right, last }, at) => {
      const next = leaves[at + 1]
      if (right !== (next?.page ?? NO_PAGE)) gaps.push({ after: last, before: next?.first })
    })
    return gaps
  }

  /** The records of a clustered tree, in the order of keys. Each is shown as S2 says; those that were not there then are left out. */
  *records(tree: TreeId): Generator<SalvagedRecord, void, void> {
    for (const { page } of this.#leaves.get(tree) ?? []) {
      const window = this.#window
      if (this.pages.read(page, window.u8) !== undefined) continue
      const count = window.pages.count(BASE)
      for (let slot = 0; slot < count; slot++) {
        const key = window.keyAt(slot)
        const at = window.pages.valueOffset(BASE, slot)
        const record = this.#visible(key, window, at, at + window.pages.valueLength(BASE, slot))
        if (record === undefined) continue
        yield record
        // The caller may have had other records read.
        if (this.pages.read(page, window.u8) !== undefined) break
      }
    }
  }

  /** Keys and values of a tree that knows no versions. */
  *entries(tree: TreeId): Generator<{ key: Uint8Array; value: Uint8Array }, void, void> {
    for (const { page } of this.#leaves.get(tree) ?? []) {
      const window = new Window()
      if (this.pages.read(page, window.u8) !== undefined) continue
      const count = window.pages.count(BASE)
      for (let slot = 0; slot < count; slot++) {
        const at = window.pages.valueOffset(BASE, slot)
        yield { key: window.keyAt(slot), value: window.u8.slice(at, at + window.pages.valueLength(BASE, slot)) }
      }
    }
  }

  /** Primary keys for which a secondary index has a live entry of a writer that had committed. */
  *primaryKeys(tree: TreeId): Generator<Uint8Array, void, void> {
    for (const { key, value } of this.entries(tree)) {
      const words = new Uint32Array(value.buffer, 0, 2)
      const word = words[Entry.Word >> 2]
      if ((entryFlags(word) & Flag.Deleted) === 0 && !this.#active.has(trxIdAt(words, 0))) yield key.slice(entryKeyLength(word))
    }
  }

  #addLeaf(tree: TreeId, leaf: SalvagedLeaf): void {
    const leaves = this.#leaves.get(tree)
    if (leaves === undefined) this.#leaves.set(tree, [leaf])
    else leaves.push(leaf)
    this.#owners.set(leaf.left, tree)
    this.#owners.set(leaf.right, tree)
  }

  #claimChildren(): void {
    const { pages, tree } = this.#window
    const count = pages.count(BASE)
    for (let slot = 0; slot < count; slot++) this.#owners.set(pages.child(BASE, slot), tree)
  }

  /** S2. */
  #visible(key: Uint8Array, newest: Window, start: number, end: number): SalvagedRecord | undefined {
    let window = newest
    let at = start
    let bodyWindow = newest
    let bodyStart = start + Clustered.HeaderSize
    let bodyEnd = end
    while (this.#active.has(trxIdAt(window.u32, at))) {
      const page = window.u32[(at + Clustered.UndoPage) >> 2] as PageId
      const offset = window.u32[(at + Clustered.UndoOffset) >> 2]
      if (offset >= INSERT_BIT) return undefined
      const undo = window === newest ? this.#undo : new Window()
      const problem = this.pages.read(page, undo.u8)
      if (problem !== undefined) return { key, row: undefined, problem: `its version before an open transaction: ${problem}` }
      const kind = undo.u8[offset + Undo.Kind]
      if (undo.type !== PageType.Undo || (kind !== UndoKind.Update && kind !== UndoKind.Mark)) {
        return { key, row: undefined, problem: `its roll pointer leads to page ${page} offset ${offset}, where no older version is` }
      }
      window = undo
      at = offset + ((Undo.Key + undo.u16[(offset + Undo.KeyLength) >> 1] + 3) & ~3)
      if (kind === UndoKind.Update) {
        bodyWindow = undo
        bodyStart = at + Clustered.HeaderSize
        bodyEnd = at + undo.u16[(offset + Undo.ImageLength) >> 1]
      }
    }
    const flags = window.u8[at + Clustered.Flags]
    if ((flags & Flag.Deleted) !== 0) return undefined
    if ((flags & Flag.Overflow) === 0) return { key, row: bodyWindow.u8.slice(bodyStart, bodyEnd), problem: undefined }
    const reference = (bodyStart - Clustered.HeaderSize) >> 2
    const { u32 } = bodyWindow
    const length = u32[reference + OverflowRef.LengthLow / 4] + u32[reference + OverflowRef.LengthHigh / 4] * 4294967296
    return this.#chain(key, u32[reference + OverflowRef.FirstExtent / 4] as PageId, length)
  }

  #chain(key: Uint8Array, first: PageId, length: number): SalvagedRecord {
    const parts: Uint8Array[] = []
    const extent = new Window()
    const part = new Window()
    let left = length
    for (let page = first; page !== NO_PAGE && left > 0; page = extent.u32[Page.Right >> 2] as PageId) {
      const problem = this.pages.read(page, extent.u8)
      if (problem !== undefined) return { key, row: undefined, problem }
      const count = extent.u16[Page.Count >> 1]
      for (let index = 0; index < count && left > 0; index++) {
        const lost = this.pages.read(extent.u32[(Page.HeaderSize >> 2) + index] as PageId, part.u8)
        if (lost !== undefined) return { key, row: undefined, problem: lost }
        parts.push(part.u8.slice(Page.HeaderSize, Page.HeaderSize + Math.min(left, Page.Size - Page.HeaderSize)))
        left -= Page.Size - Page.HeaderSize
      }
    }
    return left <= 0
      ? { key, row: Buffer.concat(parts), problem: undefined }
      : { key, row: undefined, problem: `its overflow chain ends ${left} bytes early` }
  }

  #readRoot(): RootRecord {
    const { pages } = this
    const parts: Uint8Array[] = []
    const window = new Window()
    for (let page = pages.superblock.rootPage; page !== NO_PAGE; page = window.u32[Page.Right >> 2] as PageId) {
      const problem = pages.read(page, window.u8)
      if (problem !== undefined || window.type !== PageType.Root) {
        throw new NextkeyError(
          'ERR_DAMAGED',
          `the root record of checkpoint ${pages.superblock.checkpoint} in ${pages.file.path} is lost, without which nobody knows what was committed: ${problem ?? `page ${page} is not part of it`}`,
          {
            details: { file: pages.file.path, page, checkpoint: pages.superblock.checkpoint },
          },
        )
      }
      parts.push(window.u8.slice(Page.HeaderSize, Page.HeaderSize + window.u16[Page.Count >> 1]))
    }
    return parseRootRecord(Buffer.concat(parts))
  }
}

/** Memory for one page, seen as pages are. */
class Window {
  readonly u8: Uint8Array
  readonly u16: Uint16Array
  readonly u32: Uint32Array
  readonly pages: SlottedPages

  constructor() {
    const memory = new ArrayBuffer(Page.Size)
    this.u8 = new Uint8Array(memory)
    this.u16 = new Uint16Array(memory)
    this.u32 = new Uint32Array(memory)
    this.pages = new SlottedPages(this.u8, this.u16, new Int32Array(memory), this.u32)
  }

  get type(): PageType {
    return this.u8[Page.Type]
  }

  get tree(): TreeId {
    return this.u32[Page.Tree >> 2] as TreeId
  }

  keyAt(slot: number): Uint8Array {
    const length = this.pages.copyKey(BASE, slot, scratch)
    return scratch.slice(0, length)
  }

  describeLeaf(page: PageId): SalvagedLeaf {
    const count = this.pages.count(BASE)
    return {
      page,
      left: this.pages.left(BASE),
      right: this.pages.right(BASE),
      first: count === 0 ? undefined : this.keyAt(0),
      last: count === 0 ? undefined : this.keyAt(count - 1),
    }
  }
}

function byFirstKey(a: SalvagedLeaf, b: SalvagedLeaf): number {
  if (a.first === undefined || b.first === undefined) return a.first === b.first ? 0 : a.first === undefined ? -1 : 1
  return Buffer.compare(a.first, b.first)
}

const BASE = 0 as never
const scratch: Uint8Array = keyScratch()
