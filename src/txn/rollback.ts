import { assert } from '../base/assert.js'
import { NO_PAGE, type PageId, type TableId, type TreeId, type TrxId } from '../base/ids.js'
import type { BTree } from '../storage/btree.js'
import type { PageStore } from '../storage/page-store.js'
import { freeOverflow } from './overflow.js'
import { Clustered, Entry, entryFlags, Flag, OverflowRef, trxIdAt } from './record-format.js'
import type { RowLocks } from './row-locks.js'
import type { IndexStore, TableStore } from './table-store.js'
import type { Trx, UndoMark } from './trx.js'
import type { TrxSystem } from './trx-system.js'
import { UndoKind } from './undo-format.js'
import { UndoReader } from './undo-reader.js'

/** Finds the trees that undo records speak of; undefined for what was dropped since. */
export interface StoreDirectory {
  tableById(id: TableId): TableStore | undefined
  indexByTree(tree: TreeId): IndexStore | undefined
}

/**
 * Undoes a transaction's changes, the newest first: all of them, or back to a mark (statement, savepoint).
 *
 * R1. A change is undone and its undo record popped in one turn: a checkpoint may fall between any two of them.
 * R2. What is restored is restored exactly, header and all, so that views and purge find what they would have found.
 * R3. But for one thing: a record or entry whose restored state is "deleted", by a transaction that purge has passed already,
 *     would never be removed again. It is removed now. (Its deleter is neither active nor in the history: purge looked at
 *     it, saw another writer's pointer, and went on.)
 * R4. What a partial rollback removes leaves its locks, the implicit one included, to its successor, as gap locks (REPEATABLE READ
 *     and above): otherwise others could insert where the transaction has looked.
 */
export class Rollback {
  readonly #store: PageStore
  readonly #system: TrxSystem
  readonly #directory: StoreDirectory
  readonly #rowLocks: RowLocks
  readonly #record: UndoReader
  /** Only a part of the transaction is being undone. */
  #partial = false

  constructor(store: PageStore, system: TrxSystem, directory: StoreDirectory, rowLocks: RowLocks) {
    this.#store = store
    this.#system = system
    this.#directory = directory
    this.#rowLocks = rowLocks
    this.#record = new UndoReader(store, system.undo)
  }

  /**
   * Undoes some `changes` changes made since the mark (or all, without one), and the row at hand to its end, so that between two steps each
   * row agrees with its entries; true when nothing is left to undo.
   */
  step(trx: Trx, mark: UndoMark | undefined, changes: number): boolean {
    if (!trx.hasLog) return true
    const page = mark === undefined || mark.page === NO_PAGE ? trx.firstPage : mark.page
    const offset = mark === undefined || mark.page === NO_PAGE ? trx.firstOffset : mark.offset
    this.#partial = mark !== undefined
    for (let count = 0; trx.lastPage !== page || trx.lastOffset !== offset; count++) {
      if (count >= changes && this.#record.kind <= UndoKind.Mark) return false
      this.#undoLast(trx)
    }
    if (mark !== undefined && trx.redo.dropped === mark.redoDropped) trx.redo.cut(mark.redoLength)
    return true
  }

  #undoLast(trx: Trx): void {
    const record = this.#record
    this.#store.beginOperation()
    record.read(trx.lastPage, trx.lastOffset)
    switch (record.kind) {
      case UndoKind.Insert:
      case UndoKind.Update:
      case UndoKind.Mark: {
        const table = this.#directory.tableById(record.owner as TableId)
        if (table !== undefined) this.#undoClustered(trx, table)
        break
      }
      case UndoKind.EntryInsert:
      case UndoKind.EntryMark:
      case UndoKind.EntryRevive: {
        const index = this.#directory.indexByTree(record.owner as TreeId)
        if (index !== undefined) this.#undoEntry(trx, index)
        break
      }
      case UndoKind.Chain:
        freeOverflow(this.#store, record.owner as PageId)
        break
      case UndoKind.DropIndexTree:
      case UndoKind.DropRowTree:
        break
      default:
        assert(false, `an undo record of unknown kind ${record.kind}`)
    }
    this.#store.beginOperation()
    this.#system.undo.pop(trx)
    if (record.kind <= UndoKind.Mark) trx.owner.undoRecords--
  }

  #undoClustered(trx: Trx, table: TableStore): void {
    const { key, image, imageWords, imageLength, kind } = this.#record
    const store = this.#store
    const tree = table.clustered
    const found = tree.find(key.bytes, key.length)
    assert(found && trxIdAt(store.u32, tree.valueOffset) === trx.trxId, `a record of table '${table.name}' is not as its writer left it`)
    if (this.#partial && trx.takesGapLocks) this.#rowLocks.locks.makeExplicit(trx.owner, tree.tree, key.bytes, key.length)
    if (kind === UndoKind.Insert) this.#remove(trx, tree)
    else if (kind === UndoKind.Mark) {
      store.willChange(tree.base)
      for (let word = 0; word < Clustered.HeaderSize / 4; word++) store.u32[(tree.valueOffset >> 2) + word] = imageWords[word]
    } else if ((image[Clustered.Flags] & Flag.Deleted) !== 0 && this.#isPurged(trxIdAt(imageWords, 0), trx)) {
      this.#remove(trx, tree)
      if ((image[Clustered.Flags] & Flag.Overflow) !== 0) freeOverflow(store, imageWords[OverflowRef.FirstExtent / 4] as PageId)
    } else tree.replaceValue(image, 0, imageLength)
  }

  #undoEntry(trx: Trx, index: IndexStore): void {
    const { key, imageWords, kind } = this.#record
    const store = this.#store
    const { tree } = index
    const found = tree.find(key.bytes, key.length)
    assert(
      found && trxIdAt(store.u32, tree.valueOffset) === trx.trxId,
      `an entry of index '${index.definition.name}' is not as its writer left it`,
    )
    const wasDeleted = kind === UndoKind.EntryRevive && (entryFlags(imageWords[Entry.Word / 4]) & Flag.Deleted) !== 0
    if (kind === UndoKind.EntryInsert || (wasDeleted && this.#isPurged(trxIdAt(imageWords, 0), trx))) {
      // In an index that is being built nobody locks anything.
      if (index.build === undefined) this.#remove(trx, tree)
      else tree.remove()
      return
    }
    store.willChange(tree.base)
    store.u32[tree.valueOffset >> 2] = imageWords[0]
    store.u32[(tree.valueOffset >> 2) + 1] = imageWords[1]
    if (kind === UndoKind.EntryMark) index.build?.restored()
  }

  /**
   * Removes what the undo record's key names. Undoing a part drops the implicit lock on it while the transaction goes on: it is
   * made explicit first, so that the successor inherits a gap lock (R4).
   */
  #remove(trx: Trx, tree: BTree): void {
    const { key } = this.#record
    if (this.#partial && trx.takesGapLocks) this.#rowLocks.locks.makeExplicit(trx.owner, tree.tree, key.bytes, key.length)
    this.#rowLocks.remove(tree, key.bytes, key.length)
  }

  /** R3. */
  #isPurged(deleter: TrxId, trx: Trx): boolean {
    return deleter !== trx.trxId && this.#system.isCommitted(deleter) && !this.#system.history.has(deleter)
  }
}
