import { assert } from '../base/assert.js'
import { ConflictError, DuplicateKeyError } from '../base/errors.js'
import { type PageId, type TrxId, NO_PAGE } from '../base/ids.js'
import { KeyBuffer } from '../codec/key-encoding.js'
import type { PageStore } from '../storage/page-store.js'
import { MAX_ENTRY } from '../storage/slotted-page-layout.js'
import { Clustered, Entry, entryFlags, entryWord, Flag, INSERT_BIT, OverflowRef, trxIdAt, writeEntryHeader } from './record-format.js'
import { decodeTableKey, type RowReader } from './row-reader.js'
import type { IndexStore, TableStore } from './table-store.js'
import type { Trx } from './trx.js'
import type { TrxSystem } from './trx-system.js'
import { UndoKind } from './undo-format.js'

/**
 * Changes of one row: the clustered record first, then each index (D1, D6).
 *
 * W1. Each step, one tree change and its undo record, is atomic in its turn: the undo record is appended first, and nothing
 *     between it and the change can fail but for a broken machine, which poisons the database.
 * W2. Nothing is deleted in place: records and entries are marked, and purge removes them when no view can need them.
 * W3. A record or entry whose last writer is another active transaction is locked by it, whatever its flags say: the
 *     change is refused with a conflict before anything of this step was done. The statement's earlier steps are undone
 *     by the caller.
 * W4. Keys, rows and entries are complete before the first step; no user code runs inside.
 * W5. The redo is appended when the row is complete.
 */
export class RowWriter {
  readonly #store: PageStore
  readonly #system: TrxSystem
  readonly #reader: RowReader
  readonly #entry: KeyBuffer = new KeyBuffer()
  readonly #oldEntry: KeyBuffer = new KeyBuffer()
  readonly #foundKey: KeyBuffer = new KeyBuffer()
  /** A secondary entry's header, or an overflow record, on its way into a tree. */
  readonly #small: Uint8Array = new Uint8Array(OverflowRef.Size + 4)

  constructor(store: PageStore, system: TrxSystem, reader: RowReader) {
    this.#store = store
    this.#system = system
    this.#reader = reader
  }

  /**
   * Inserts a row. Its bytes are image.bytes[start, end), with 16 bytes of room before them; `row` is what they decode to,
   * needed only when the table has indexes. Raises DuplicateKeyError or ConflictError.
   */
  insert(trx: Trx, table: TableStore, key: KeyBuffer, image: RowImage, row: unknown): void {
    const store = this.#store
    const tree = table.clustered
    store.beginOperation()
    if (tree.findToInsert(key.bytes, key.length)) {
      const at = tree.valueOffset
      this.#mustOwn(trx, trxIdAt(store.u32, at), table, 'PRIMARY', key)
      if ((store.u8[at + Clustered.Flags] & Flag.Deleted) === 0) {
        const existing = this.#reader.decodePrimaryKey(table, key)
        throw new DuplicateKeyError(table.name, 'PRIMARY', existing, existing)
      }
      this.#appendUndo(trx, UndoKind.Update, table.id, key, store.u8, at, at + tree.valueLength)
      trx.needsPurge = true
      const value = this.#record(trx, image, 0)
      tree.replaceValue(value, this.#valueStart, this.#valueEnd)
    } else {
      this.#appendUndo(trx, UndoKind.Insert, table.id, key, NOTHING, 0, 0)
      const value = this.#record(trx, image, INSERT_BIT)
      tree.insertAtHit(key.bytes, key.length, value, this.#valueStart, this.#valueEnd)
    }
    for (const index of table.indexes) {
      index.encodeEntry(row, key, this.#entry)
      this.#addEntry(trx, table, index, row)
    }
    trx.redo.put(table.id, key.bytes, key.length, image.bytes, image.start, image.end)
  }

  /**
   * Replaces the row at the key. False, and nothing done, if there is none. Raises ConflictError, or DuplicateKeyError
   * from a unique index.
   */
  update(trx: Trx, table: TableStore, key: KeyBuffer, image: RowImage, row: unknown): boolean {
    const store = this.#store
    const tree = table.clustered
    store.beginOperation()
    if (!this.#findLive(trx, table, key)) return false
    const at = tree.valueOffset
    const oldRow = table.indexes.length === 0 ? undefined : this.#reader.decodeRecord(table, at, at + tree.valueLength)
    // Reading an overflow chain is an operation of its own.
    if (table.indexes.length > 0) {
      store.beginOperation()
      const found = tree.find(key.bytes, key.length)
      assert(found, 'a record vanished while it was read')
    }
    this.#appendUndo(trx, UndoKind.Update, table.id, key, store.u8, tree.valueOffset, tree.valueOffset + tree.valueLength)
    trx.needsPurge = true
    const value = this.#record(trx, image, 0)
    tree.replaceValue(value, this.#valueStart, this.#valueEnd)
    for (const index of table.indexes) {
      index.encodeEntry(oldRow, key, this.#oldEntry)
      index.encodeEntry(row, key, this.#entry)
      if (sameBytes(this.#oldEntry, this.#entry)) continue
      this.#markEntry(trx, table, index)
      this.#addEntry(trx, table, index, row)
    }
    trx.redo.put(table.id, key.bytes, key.length, image.bytes, image.start, image.end)
    return true
  }

  /** Deletes the row at the key. False, and nothing done, if there is none. Raises ConflictError. */
  delete(trx: Trx, table: TableStore, key: KeyBuffer): boolean {
    const store = this.#store
    const tree = table.clustered
    store.beginOperation()
    if (!this.#findLive(trx, table, key)) return false
    let at = tree.valueOffset
    const oldRow = table.indexes.length === 0 ? undefined : this.#reader.decodeRecord(table, at, at + tree.valueLength)
    if (table.indexes.length > 0) {
      store.beginOperation()
      const found = tree.find(key.bytes, key.length)
      assert(found, 'a record vanished while it was read')
      at = tree.valueOffset
    }
    this.#appendUndo(trx, UndoKind.Mark, table.id, key, store.u8, at, at + Clustered.HeaderSize)
    trx.needsPurge = true
    store.willChange(tree.base)
    const flags = store.u8[at + Clustered.Flags] | Flag.Deleted
    putClusteredHeader(store.u8, at, trx.trxId, flags, trx.lastPage, trx.lastOffset)
    for (const index of table.indexes) {
      index.encodeEntry(oldRow, key, this.#oldEntry)
      this.#markEntry(trx, table, index)
    }
    trx.redo.delete(table.id, key.bytes, key.length)
    return true
  }

  /** Whether there is a row at the key that this transaction may change. Raises ConflictError if somebody else is changing it. */
  claim(trx: Trx, table: TableStore, key: KeyBuffer): boolean {
    this.#store.beginOperation()
    return this.#findLive(trx, table, key)
  }

  /** Notes an overflow chain that was begun for a row of this transaction, so that rollback frees it. */
  noteChain(trx: Trx, firstExtent: PageId): void {
    this.#store.beginOperation()
    this.#appendUndo(trx, UndoKind.Chain, firstExtent, EMPTY_KEY, NOTHING, 0, 0)
  }

  /** Positions on a record that this transaction may change. */
  #findLive(trx: Trx, table: TableStore, key: KeyBuffer): boolean {
    const tree = table.clustered
    if (!tree.find(key.bytes, key.length)) return false
    this.#mustOwn(trx, trxIdAt(this.#store.u32, tree.valueOffset), table, 'PRIMARY', key)
    return (this.#store.u8[tree.valueOffset + Clustered.Flags] & Flag.Deleted) === 0
  }

  /** Adds `#entry` to the index: revives a marked one, or inserts. */
  #addEntry(trx: Trx, table: TableStore, index: IndexStore, row: unknown): void {
    const store = this.#store
    const entry = this.#entry
    const { tree, keyLength } = index
    store.beginOperation()
    if (index.definition.unique && !index.hasNull) this.#mustBeUnique(trx, table, index, row)
    if (tree.findToInsert(entry.bytes, entry.length)) {
      const at = tree.valueOffset
      this.#mustOwn(trx, trxIdAt(store.u32, at), table, index.definition.name, entry)
      assert((entryFlags(store.u32[(at + Entry.Word) >> 2]) & Flag.Deleted) !== 0, `index '${index.definition.name}' has an entry for a row that is not there`)
      this.#appendUndo(trx, UndoKind.EntryRevive, index.definition.tree, entry, store.u8, at, at + Entry.Size)
      store.willChange(tree.base)
      writeEntryHeader(store.u32, at, trx.trxId, 0, keyLength)
      return
    }
    this.#appendUndo(trx, UndoKind.EntryInsert, index.definition.tree, entry, NOTHING, 0, 0)
    putU32(this.#small, Entry.TrxLow, trx.trxId % 4294967296)
    putU32(this.#small, Entry.Word, entryWord(trx.trxId, 0, keyLength))
    tree.insertAtHit(entry.bytes, entry.length, this.#small, 0, Entry.Size)
  }

  /** No other live entry has the index key of `#entry`. Entries of active writers, marked or not, are conflicts (W3). */
  #mustBeUnique(trx: Trx, table: TableStore, index: IndexStore, row: unknown): void {
    const store = this.#store
    const entry = this.#entry
    const { cursor } = index
    const keyLength = index.keyLength
    const found = this.#foundKey
    found.set(entry.bytes, 0, keyLength)
    for (let more = cursor.seek(found.bytes, keyLength); more; more = cursor.next()) {
      found.length = cursor.copyKey(found.bytes)
      if (found.length < keyLength || !startsWith(found.bytes, entry.bytes, keyLength)) return
      const at = cursor.valueOffset
      this.#mustOwn(trx, trxIdAt(store.u32, at), table, index.definition.name, found)
      if ((entryFlags(store.u32[(at + Entry.Word) >> 2]) & Flag.Deleted) === 0) {
        throw new DuplicateKeyError(table.name, index.definition.name, index.paths.describe(row), decodeTableKey(table, found.bytes, keyLength, found.length))
      }
    }
  }

  #markEntry(trx: Trx, table: TableStore, index: IndexStore): void {
    const store = this.#store
    const entry = this.#oldEntry
    const { tree } = index
    store.beginOperation()
    const found = tree.find(entry.bytes, entry.length)
    assert(found, `index '${index.definition.name}' of table '${table.name}' lacks the entry of a row`)
    const at = tree.valueOffset
    const word = store.u32[(at + Entry.Word) >> 2]
    assert((entryFlags(word) & Flag.Deleted) === 0, `index '${index.definition.name}' has the entry of a live row marked as deleted`)
    this.#appendUndo(trx, UndoKind.EntryMark, index.definition.tree, entry, store.u8, at, at + Entry.Size)
    trx.needsPurge = true
    store.willChange(tree.base)
    writeEntryHeader(store.u32, at, trx.trxId, Flag.Deleted, word >>> Entry.LengthShift)
  }

  #appendUndo(trx: Trx, kind: UndoKind, owner: number, key: KeyBuffer, image: Uint8Array, from: number, to: number): void {
    this.#system.startWriting(trx)
    this.#system.undo.append(trx, kind, owner, key.bytes, key.length, image, from, to)
    trx.undoCount++
  }

  #valueStart = 0
  #valueEnd = 0

  /** The clustered record for a row image, its header pointing at the newest undo record: bytes[#valueStart, #valueEnd). */
  #record(trx: Trx, image: RowImage, insertBit: number): Uint8Array {
    if (image.chain !== NO_PAGE) {
      const small = this.#small
      putClusteredHeader(small, 0, trx.trxId, Flag.Overflow, trx.lastPage, (trx.lastOffset | insertBit) >>> 0)
      const length = image.end - image.start
      putU32(small, OverflowRef.LengthLow, length % 4294967296)
      putU32(small, OverflowRef.LengthHigh, Math.floor(length / 4294967296))
      putU32(small, OverflowRef.FirstExtent, image.chain)
      this.#valueStart = 0
      this.#valueEnd = OverflowRef.Size
      return small
    }
    this.#valueStart = image.start - Clustered.HeaderSize
    this.#valueEnd = image.end
    assert(this.#valueStart >= 0, 'a row image has no room for its header')
    putClusteredHeader(image.bytes, this.#valueStart, trx.trxId, 0, trx.lastPage, (trx.lastOffset | insertBit) >>> 0)
    return image.bytes
  }

  #mustOwn(trx: Trx, writer: TrxId, table: TableStore, index: string, key: KeyBuffer): void {
    if (writer === trx.trxId || this.#system.isCommitted(writer)) return
    throw new ConflictError(`another transaction is changing ${index === 'PRIMARY' ? 'this row' : `an entry of index '${index}'`} of table '${table.name}'; try again when it has ended`, {
      table: table.name,
      index,
      key: index === 'PRIMARY' ? this.#reader.decodePrimaryKey(table, key) : undefined,
      holder: writer,
    })
  }
}

/** A row as encoded: bytes[start, end) with 16 bytes of room before; `chain` is its overflow chain if it has one. */
export interface RowImage {
  bytes: Uint8Array
  start: number
  end: number
  chain: PageId
}

/** Whether a row of this many bytes must go to an overflow chain. */
export function needsOverflow(keyLength: number, rowLength: number): boolean {
  return keyLength + Clustered.HeaderSize + rowLength > MAX_ENTRY
}

function putU32(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value & 255
  bytes[at + 1] = (value >>> 8) & 255
  bytes[at + 2] = (value >>> 16) & 255
  bytes[at + 3] = value >>> 24
}

/** The header, byte by byte: the target need not be aligned. */
export function putClusteredHeader(bytes: Uint8Array, at: number, trxId: TrxId, flags: number, undoPage: PageId, undoOffset: number): void {
  putU32(bytes, at + Clustered.TrxLow, trxId % 4294967296)
  const high = trxId < 4294967296 ? 0 : Math.floor(trxId / 4294967296)
  bytes[at + Clustered.TrxHigh] = high & 255
  bytes[at + Clustered.TrxHigh + 1] = high >>> 8
  bytes[at + Clustered.Flags] = flags
  bytes[at + Clustered.Flags + 1] = 0
  putU32(bytes, at + Clustered.UndoPage, undoPage)
  putU32(bytes, at + Clustered.UndoOffset, undoOffset)
}

export function startsWith(bytes: Uint8Array, prefix: Uint8Array, length: number): boolean {
  for (let at = 0; at < length; at++) if (bytes[at] !== prefix[at]) return false
  return true
}

function sameBytes(a: KeyBuffer, b: KeyBuffer): boolean {
  return a.length === b.length && startsWith(a.bytes, b.bytes, a.length)
}

const NOTHING = new Uint8Array(0)
const EMPTY_KEY = new KeyBuffer()
