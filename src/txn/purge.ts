import { NO_PAGE, type PageId, type TableId, type TreeId } from '../base/ids.js'
import { Page } from '../storage/page-format.js'
import type { PageStore } from '../storage/page-store.js'
import { freeOverflow } from './overflow.js'
import { Clustered, Entry, entryFlags, Flag, OverflowRef, trxIdAt } from './record-format.js'
import type { StoreDirectory } from './rollback.js'
import type { RowLocks } from './row-locks.js'
import type { TableStore } from './table-store.js'
import type { TreeRemoval } from './tree-removal.js'
import type { TrxSystem } from './trx-system.js'
import { UndoHeader, UndoKind, UndoPage } from './undo-format.js'
import type { UndoLogState } from './undo-log.js'
import { UndoReader } from './undo-reader.js'

/** The stores that undo records speak of, and the work of freeing a tree; undefined for what is gone. */
export interface PurgeDirectory extends StoreDirectory {
  removal(tree: TreeId, ownsChains: boolean): TreeRemoval | undefined
}

/**
 * Purge follows the history, oldest commit first, and removes what no view can need any more (D7).
 *
 * G1. A log may be purged when its commit number is below that of every view: all of them see its changes, so none needs the
 *     versions before them.
 * G2. A marked record is removed only if it still carries the roll pointer of the very undo record that marked it; a marked entry
 *     only if it still carries that transaction's id. Otherwise somebody has used it since, and it is theirs.
 * G3. A chain freed from an undo record is struck out of it in the same turn: purge may be repeated after a crash.
 * G4. A dropped tree is freed step by step, where its turn comes in the history: nothing older speaks of it any more. A tree that is
 *     gone has been freed before.
 */
export class Purge {
  readonly #store: PageStore
  readonly #system: TrxSystem
  readonly #directory: PurgeDirectory
  readonly #rowLocks: RowLocks
  readonly #record: UndoReader
  /** The tree of the record looked at last, while it is being freed (G4). */
  #removal: TreeRemoval | undefined
  readonly #log: UndoLogState & { closesPage: boolean } = {
    trxId: 0 as UndoLogState['trxId'],
    firstPage: NO_PAGE,
    firstOffset: 0,
    lastPage: NO_PAGE,
    lastOffset: 0,
    closesPage: false,
  }
  /** The record looked at last; page 0: the oldest log was not begun. */
  #page: PageId = NO_PAGE
  #offset = 0

  constructor(store: PageStore, system: TrxSystem, directory: PurgeDirectory, rowLocks: RowLocks) {
    this.#store = store
    this.#system = system
    this.#directory = directory
    this.#rowLocks = rowLocks
    this.#record = new UndoReader(store, system.undo)
  }

  /** Whether there is work that no view forbids (G1). */
  get hasWork(): boolean {
    const { history } = this.#system
    return history.length > 0 && history.commitNumberAt(0) < this.#system.purgeLimit
  }

  /** Looks at up to `records` undo records, or frees as many pages or leaves. */
  step(records: number): void {
    for (let count = 0; count < records && this.hasWork; count++) {
      this.#store.beginOperation()
      if (this.#removal !== undefined) {
        if (this.#removal.step()) this.#removal = undefined
      } else if (this.#page === NO_PAGE) this.#beginLog()
      else if (this.#page === this.#log.lastPage && this.#offset === this.#log.lastOffset) this.#endLog()
      else {
        this.#advance()
        this.#purgeRecord()
      }
    }
  }

  #beginLog(): void {
    const { history, undo } = this.#system
    const log = this.#log
    const { u8, u32 } = this.#store
    log.trxId = history.trxIdAt(0)
    log.firstPage = history.pageAt(0)
    log.firstOffset = history.offsetAt(0)
    const at = undo.locate(log.firstPage, log.firstOffset)
    log.lastPage = u32[(at + UndoHeader.LastPage) >> 2] as PageId
    log.lastOffset = u32[(at + UndoHeader.LastOffset) >> 2]
    log.closesPage = u8[at + UndoHeader.ClosesPage] === 1
    this.#page = log.firstPage
    this.#offset = log.firstOffset
  }

  #endLog(): void {
    this.#page = NO_PAGE
    this.#system.undo.free(this.#log, this.#log.closesPage)
    this.#system.shiftHistory()
    if (this.#system.history.length === 0) this.#system.undo.shrink(this.#system.active.size)
  }

  /** To the next record of the log, on this page or the next. */
  #advance(): void {
    const { u16, u32 } = this.#store
    const base = this.#store.fetch(this.#page)
    this.#offset += u16[(base + this.#offset) >> 1]
    if (this.#page === this.#log.lastPage || this.#offset < u16[(base + UndoPage.End) >> 1]) return
    this.#page = u32[(base + Page.Right) >> 2] as PageId
    this.#offset = Page.HeaderSize
  }

  #purgeRecord(): void {
    const record = this.#record
    record.read(this.#page, this.#offset)
    switch (record.kind) {
      case UndoKind.Update:
        this.#freeOldChain()
        break
      case UndoKind.Mark: {
        const table = this.#directory.tableById(record.owner as TableId)
        if (table !== undefined) this.#removeRow(table)
        break
      }
      case UndoKind.EntryMark:
        this.#removeEntry()
        break
      case UndoKind.DropIndexTree:
      case UndoKind.DropRowTree:
        this.#removal = this.#directory.removal(record.owner as TreeId, record.kind === UndoKind.DropRowTree)
        break
      default:
    }
  }

  #freeOldChain(): void {
    const { image, imageWords, imageAt, page } = this.#record
    if ((image[Clustered.Flags] & Flag.Overflow) === 0) return
    const store = this.#store
    const base = store.fetch(page)
    store.willChange(base)
    store.u8[imageAt + Clustered.Flags] &= ~Flag.Overflow
    freeOverflow(store, imageWords[OverflowRef.FirstExtent / 4] as PageId)
  }

  #removeRow(table: TableStore): void {
    const { key, page, offset } = this.#record
    const store = this.#store
    const tree = table.clustered
    if (!tree.find(key.bytes, key.length)) return
    const at = tree.valueOffset
    const flags = store.u8[at + Clustered.Flags]
    if ((flags & Flag.Deleted) === 0) return
    if (store.u32[(at + Clustered.UndoPage) >> 2] !== page || store.u32[(at + Clustered.UndoOffset) >> 2] !== offset) return
    const chain = (flags & Flag.Overflow) === 0 ? NO_PAGE : (store.u32[(at + OverflowRef.FirstExtent) >> 2] as PageId)
    this.#rowLocks.remove(tree, key.bytes, key.length)
    if (chain !== NO_PAGE) freeOverflow(store, chain)
  }

  #removeEntry(): void {
    const { key, owner } = this.#record
    const store = this.#store
    const index = this.#directory.indexByTree(owner as TreeId)
    if (index === undefined || !index.tree.find(key.bytes, key.length)) return
    const at = index.tree.valueOffset
    if (trxIdAt(store.u32, at) !== this.#log.trxId) return
    if ((entryFlags(store.u32[(at + Entry.Word) >> 2]) & Flag.Deleted) !== 0) this.#rowLocks.remove(index.tree, key.bytes, key.length)
  }
}
