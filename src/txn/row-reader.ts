import { assert } from '../base/assert.js'
import { NextkeyError, TableChangedError } from '../base/errors.js'
import type { PageId } from '../base/ids.js'
import { compareBytes, decodeCompound, decodeKey, KeyBuffer } from '../codec/key-encoding.js'
import { forgetTexts } from '../codec/string-reading.js'
import { Page } from '../storage/page-format.js'
import type { PageStore } from '../storage/page-store.js'
import { readOverflow } from './overflow.js'
import type { ReadView } from './read-view.js'
import { Clustered, Entry, entryFlags, entryKeyLength, Flag, INSERT_BIT, OverflowRef, trxIdAt } from './record-format.js'
import type { IndexStore, TableStore } from './table-store.js'
import type { TrxSystem } from './trx-system.js'
import { Undo, UndoKind } from './undo-format.js'

/** Which state a read shows: a view; `undefined`, what is committed now; 'newest', committed or not. */
export type Visibility = ReadView | undefined | 'newest'

/** Raises ERR_TABLE_CHANGED if the view is older than the table or the index: it would show them as if they had always been so. */
export function mustShow(view: Visibility, table: TableStore, index?: IndexStore): void {
  if (view === undefined || view === 'newest' || view.commitNumber >= (index ?? table).visibleFrom) return
  throw new TableChangedError(table.name, index?.definition.name)
}

/**
 * Consistent reads: they never wait and never block (D6, D10).
 *
 * V1. A clustered record shows its newest version if its writer is visible; else the roll pointer leads to the version
 *     before, until one is visible or there is none. The roll pointer of a version that is not visible to an open view is
 *     always good: purge takes nothing that a view may need.
 * V2. A secondary entry whose writer is visible says the truth: unmarked, the row has this key in the view; marked, it has not.
 * V3. An entry whose writer is not visible says nothing: the row's visible version decides, and counts only if *its* key in this
 *     index is the entry's. (Another entry may stand for the same row: without this rule it would be returned twice.)
 */
export class RowReader {
  readonly #store: PageStore
  readonly #system: TrxSystem
  readonly #entry: KeyBuffer = new KeyBuffer()
  readonly #primary: KeyBuffer = new KeyBuffer()

  /** The version found by `findVersion`: where its body lies in the slab, and its flags. */
  #bodyStart = 0
  #bodyEnd = 0
  #flags = 0

  constructor(store: PageStore, system: TrxSystem) {
    this.#store = store
    this.#system = system
  }

  /** The row at the key, decoded; undefined if there is none. */
  get(table: TableStore, key: KeyBuffer, view: Visibility): unknown {
    this.#store.beginOperation()
    const tree = table.clustered
    if (!tree.find(key.bytes, key.length)) return undefined
    const at = tree.valueOffset
    return this.#findVersion(at, at + tree.valueLength, view) ? this.#decodeBody(table) : undefined
  }

  has(table: TableStore, key: KeyBuffer, view: Visibility): boolean {
    this.#store.beginOperation()
    const tree = table.clustered
    return tree.find(key.bytes, key.length) && this.#findVersion(tree.valueOffset, tree.valueOffset + tree.valueLength, view)
  }

  /** The visible version of the record whose value is slab[at, end), decoded; undefined if there is none. */
  decodeVisible(table: TableStore, at: number, end: number, view: Visibility): unknown {
    return this.#findVersion(at, end, view) ? this.#decodeBody(table) : undefined
  }

  /** The same for one record after another of a leaf, faster: `forgetTexts` is to be called when the leaf, or the turn, ends. */
  decodeNext(table: TableStore, at: number, end: number, view: Visibility): unknown {
    if (!this.#findVersion(at, end, view)) return undefined
    if (this.#bodyStart === at + Clustered.HeaderSize && (this.#flags & Flag.Overflow) === 0)
      return table.codec.decodeAmongOthers(this.#store.u8, this.#bodyStart, this.#bodyEnd, (this.#flags & Flag.Ascii) !== 0)
    // What was looked at besides the leaf may lie where other pages were before.
    forgetTexts()
    return this.#decodeBody(table)
  }

  /** Whether some version of the record is visible. */
  isVisible(at: number, end: number, view: Visibility): boolean {
    return this.#findVersion(at, end, view)
  }

  /** Whether the record or entry at `at` needs no look at older versions: its writer is visible. */
  seesWriter(at: number, view: Visibility): boolean {
    if (view === 'newest') return true
    const writer = trxIdAt(this.#store.u32, at)
    return view === undefined ? this.#system.isCommitted(writer) : view.sees(writer)
  }

  /** The row in a clustered value, whatever its flags and writer. */
  decodeRecord(table: TableStore, at: number, end: number): unknown {
    this.#flags = this.#store.u8[at + Clustered.Flags]
    this.#bodyStart = at + Clustered.HeaderSize
    this.#bodyEnd = end
    return this.#decodeBody(table)
  }

  /**
   * Whether the entry (its key in `entryKey`, its value at `at` in the slab) stands for a row in the view (V2, V3). With `decode` the
   * row is in `row` afterwards. Starts operations of its own: the caller's frames are void when it returns.
   */
  readEntry(table: TableStore, index: IndexStore, entryKey: KeyBuffer, at: number, view: Visibility, decode: boolean): boolean {
    const word = this.#store.u32[(at + Entry.Word) >> 2]
    const sure = this.seesWriter(at, view)
    this.row = undefined
    if (sure && (entryFlags(word) & Flag.Deleted) !== 0) return false
    if (sure && !decode) return true
    const primary = this.#primary
    primary.set(entryKey.bytes, entryKeyLength(word), entryKey.length)
    this.row = this.get(table, primary, view)
    if (this.row === undefined) {
      // Under 'newest' the row may be half-way through a change whose entry comes next.
      assert(
        !sure || view === 'newest',
        `index '${index.definition.name}' of table '${table.name}' has an entry for a row that is not there`,
      )
      return false
    }
    if (sure) return true
    const entry = this.#entry
    index.encodeEntry(this.row, primary, entry)
    return compareBytes(entry.bytes, 0, entry.length, entryKey.bytes, 0, entryKey.length) === 0
  }

  /** The row that `readEntry` found. */
  row: unknown

  decodePrimaryKey(table: TableStore, key: KeyBuffer): unknown {
    return decodeTableKey(table, key.bytes, 0, key.length)
  }

  /** V1. The record's value is slab[at, end). Leaves the version's body and flags in the fields. */
  #findVersion(at: number, end: number, view: Visibility): boolean {
    const { u8 } = this.#store
    this.#bodyStart = at + Clustered.HeaderSize
    this.#bodyEnd = end
    if (!this.seesWriter(at, view) && (at = this.#walk(at, view)) < 0) return false
    this.#flags = u8[at + Clustered.Flags]
    return (this.#flags & Flag.Deleted) === 0
  }

  /** Follows roll pointers to the first visible version; its header's place, or −1. */
  #walk(at: number, view: Visibility): number {
    const store = this.#store
    const { u16, u32, u8 } = store
    for (let hops = 1; ; hops++) {
      const page = u32[(at + Clustered.UndoPage) >> 2] as PageId
      const offset = u32[(at + Clustered.UndoOffset) >> 2]
      if (offset >= INSERT_BIT) return -1
      if (hops % HOPS_PER_OPERATION === 0) this.#refetchBody()
      const undo = store.fetch(page) + offset
      const kind = u8[undo + Undo.Kind]
      if (kind !== UndoKind.Update && kind !== UndoKind.Mark) {
        throw new NextkeyError('ERR_INTERNAL', `a roll pointer leads to page ${page} offset ${offset}, where no older version is`, {
          details: { page, offset, kind },
        })
      }
      at = undo + ((Undo.Key + u16[(undo + Undo.KeyLength) >> 1] + 3) & ~3)
      if (kind === UndoKind.Update) {
        this.#bodyStart = at + Clustered.HeaderSize
        this.#bodyEnd = at + u16[(undo + Undo.ImageLength) >> 1]
      }
      if (this.seesWriter(at, view)) return at
    }
  }

  /** A long walk begins operations, so that its pages may leave the pool again; the body's page must stay. */
  #refetchBody(): void {
    const store = this.#store
    const base = this.#bodyStart & ~(Page.Size - 1)
    const page = store.u32[(base + Page.Id) >> 2] as PageId
    store.beginOperation()
    const moved = store.fetch(page) - base
    this.#bodyStart += moved
    this.#bodyEnd += moved
  }

  #decodeBody(table: TableStore): unknown {
    const ascii = (this.#flags & Flag.Ascii) !== 0
    if ((this.#flags & Flag.Overflow) === 0) return table.codec.decode(this.#store.u8, this.#bodyStart, this.#bodyEnd, ascii)
    const { u32 } = this.#store
    const at = (this.#bodyStart - Clustered.HeaderSize) >> 2
    const length = u32[at + OverflowRef.LengthLow / 4] + u32[at + OverflowRef.LengthHigh / 4] * 4294967296
    const bytes = readOverflow(this.#store, u32[at + OverflowRef.FirstExtent / 4] as PageId, length)
    return table.codec.decode(bytes, 0, length, ascii)
  }
}

/** A primary key as users see it. */
export function decodeTableKey(table: TableStore, bytes: Uint8Array, start: number, end: number): unknown {
  return Array.isArray(table.definition.key) ? decodeCompound(bytes, start, end) : decodeKey(bytes, start, end)
}

/** How many undo pages a version walk may hold in the pool at a time. */
const HOPS_PER_OPERATION = 32
