import { assert } from '../base/assert.js'
import { NO_PAGE, type PageId, type TableId, type TrxId } from '../base/ids.js'
import { decodeKey } from '../codec/key-decoding.js'
import { KeyBuffer } from '../codec/key-encoding.js'
import type { PageStore } from '../storage/page-store.js'
import { CATALOG_TABLE, type Catalog } from './catalog.js'
import { COMMIT_HEADER, LogKind } from './log-records.js'
import { MetaKind } from './meta-tree.js'
import { freeOverflow, OverflowWriter } from './overflow.js'
import { Clustered, Entry, entryFlags, entryWord, Flag, INSERT_BIT, OverflowRef } from './record-format.js'
import { readRedo } from './redo-buffer.js'
import type { RowReader } from './row-reader.js'
import { needsOverflow, putClusteredHeader } from './row-writer.js'
import type { IndexStore, TableStore } from './table-store.js'

/**
 * Redo at recovery (D9): the log's groups after the checkpoint, in order, onto the checkpoint's state with its unfinished
 * transactions rolled back.
 *
 * No view and no transaction exists, so final images are written and deletes are physical: neither undo nor delete marks.
 * Marked records and entries that the checkpoint still has for purge are taken over where a row comes back; purge then finds
 * another writer on them and leaves them alone.
 */
export class Replay {
  highestTrxId: TrxId = 0 as TrxId
  commits = 0
  readonly #store: PageStore
  readonly #catalog: Catalog
  readonly #reader: RowReader
  readonly #key: KeyBuffer = new KeyBuffer()
  readonly #entry: KeyBuffer = new KeyBuffer()
  readonly #oldEntry: KeyBuffer = new KeyBuffer()
  readonly #small: Uint8Array = new Uint8Array(OverflowRef.Size + 4)
  #record: Uint8Array = new Uint8Array(4096 + 64)
  #trxId: TrxId = 0 as TrxId

  constructor(store: PageStore, catalog: Catalog, reader: RowReader) {
    this.#store = store
    this.#catalog = catalog
    this.#reader = reader
  }

  /** Applies one group. Checkpoint groups are the caller's. */
  apply(kind: LogKind, bytes: Uint8Array, start: number, end: number): void {
    const view = new DataView(bytes.buffer, bytes.byteOffset + start, end - start)
    if (kind === LogKind.Commit) {
      this.#trxId = view.getFloat64(0, true) as TrxId
      this.highestTrxId = Math.max(this.highestTrxId, this.#trxId) as TrxId
      this.commits++
      readRedo(bytes, start + COMMIT_HEADER, end, this)
    } else if (kind === LogKind.Counter) {
      const table = this.#table(view.getUint32(0, true))
      table.counter = table.restartCounter = view.getFloat64(4, true)
    } else if (kind === LogKind.Structure) {
      const id = view.getUint32(0, true)
      this.#catalog.meta.set(MetaKind.Structure, id, view.getUint32(4, true), bytes.slice(start + 8, end))
      const fields = this.#catalog.meta
        .list(MetaKind.Structure, id)
        .map(({ value }) => JSON.parse(Buffer.from(value).toString('utf8')) as string[])
      this.#table(id).codec.loadStructures(fields)
    } else assert(false, `the log has a group of unknown kind ${kind}`)
  }

  put(tableId: number, bytes: Uint8Array, keyStart: number, keyEnd: number, rowStart: number, rowEnd: number, ascii: boolean): void {
    const table = this.#table(tableId)
    const key = this.#key
    key.set(bytes, keyStart, keyEnd)
    const row = table.indexes.length === 0 ? undefined : table.codec.decode(bytes, rowStart, rowEnd, ascii)
    const chain = needsOverflow(key.length, rowEnd - rowStart) ? this.#writeChain(table, bytes, rowStart, rowEnd) : NO_PAGE
    const old = this.#takeOld(table)
    const length = this.#encodeRecord(bytes, rowStart, rowEnd, ascii, chain)
    this.#store.beginOperation()
    const tree = table.clustered
    if (tree.findToInsert(key.bytes, key.length)) tree.replaceValue(this.#record, 0, length)
    else tree.insertAtHit(key.bytes, key.length, this.#record, 0, length)
    for (const index of table.indexes) {
      if (old !== undefined) index.encodeEntry(old, key, this.#oldEntry)
      // The new entry last: the index remembers the key length of the one it encoded last, and `#putEntry` stores it.
      index.encodeEntry(row, key, this.#entry)
      if (old !== undefined) {
        if (this.#sameEntry()) continue
        this.#removeEntry(index)
      }
      this.#putEntry(index)
    }
    if (tableId === CATALOG_TABLE.id) this.#catalog.replayed(bytes.slice(rowStart, rowEnd))
  }

  delete(tableId: number, bytes: Uint8Array, keyStart: number, keyEnd: number): void {
    const table = this.#table(tableId)
    const key = this.#key
    key.set(bytes, keyStart, keyEnd)
    const old = this.#takeOld(table)
    assert(old !== undefined, `the log deletes a row of table '${table.name}' that is not there`)
    this.#store.beginOperation()
    const found = table.clustered.find(key.bytes, key.length)
    assert(found, 'a record vanished while it was read')
    table.clustered.remove()
    for (const index of table.indexes) {
      index.encodeEntry(old, key, this.#oldEntry)
      this.#removeEntry(index)
    }
    if (tableId === CATALOG_TABLE.id) this.#catalog.replayedDelete(decodeKey(bytes, keyStart, keyEnd) as string)
  }

  /**
   * The live row at `#key`, decoded if there are indexes (else any object); undefined if there is none or it is marked.
   * An overflow chain that the record, live or marked, owns is freed: the record is about to go or to be overwritten.
   */
  #takeOld(table: TableStore): unknown {
    const store = this.#store
    const tree = table.clustered
    store.beginOperation()
    if (!tree.find(this.#key.bytes, this.#key.length)) return undefined
    const at = tree.valueOffset
    const flags = store.u8[at + Clustered.Flags]
    const chain = (flags & Flag.Overflow) === 0 ? NO_PAGE : (store.u32[(at + OverflowRef.FirstExtent) >> 2] as PageId)
    let row: unknown
    if ((flags & Flag.Deleted) === 0) row = table.indexes.length === 0 ? true : this.#reader.decodeRecord(table, at, at + tree.valueLength)
    if (chain !== NO_PAGE) freeOverflow(store, chain)
    return row
  }

  #encodeRecord(bytes: Uint8Array, rowStart: number, rowEnd: number, ascii: boolean, chain: PageId): number {
    const record = this.#record
    putClusteredHeader(record, 0, this.#trxId, (chain === NO_PAGE ? 0 : Flag.Overflow) | (ascii ? Flag.Ascii : 0), NO_PAGE, INSERT_BIT)
    const length = rowEnd - rowStart
    if (chain === NO_PAGE) {
      record.set(bytes.subarray(rowStart, rowEnd), Clustered.HeaderSize)
      return Clustered.HeaderSize + length
    }
    const view = new DataView(record.buffer)
    view.setUint32(OverflowRef.LengthLow, length % 4294967296, true)
    view.setUint32(OverflowRef.LengthHigh, Math.floor(length / 4294967296), true)
    view.setUint32(OverflowRef.FirstExtent, chain, true)
    return OverflowRef.Size
  }

  #writeChain(table: TableStore, bytes: Uint8Array, start: number, end: number): PageId {
    this.#store.beginOperation()
    const writer = new OverflowWriter(this.#store, table.definition.tree, bytes, start, end)
    writer.step(Number.POSITIVE_INFINITY)
    return writer.firstExtent
  }

  #sameEntry(): boolean {
    const a = this.#entry
    const b = this.#oldEntry
    return a.length === b.length && Buffer.compare(a.bytes.subarray(0, a.length), b.bytes.subarray(0, b.length)) === 0
  }

  #removeEntry(index: IndexStore): void {
    this.#store.beginOperation()
    const found = index.tree.find(this.#oldEntry.bytes, this.#oldEntry.length)
    assert(found, `index '${index.definition.name}' lacks the entry of a row the log replaces`)
    index.tree.remove()
  }

  #putEntry(index: IndexStore): void {
    const view = new DataView(this.#small.buffer)
    view.setUint32(Entry.TrxLow, this.#trxId % 4294967296, true)
    view.setUint32(Entry.Word, entryWord(this.#trxId, 0, index.keyLength), true)
    this.#store.beginOperation()
    const entry = this.#entry
    if (!index.tree.findToInsert(entry.bytes, entry.length)) {
      index.tree.insertAtHit(entry.bytes, entry.length, this.#small, 0, Entry.Size)
      return
    }
    const flags = entryFlags(this.#store.u32[(index.tree.valueOffset + Entry.Word) >> 2])
    assert((flags & Flag.Deleted) !== 0, `index '${index.definition.name}' already has the entry of a row the log inserts`)
    index.tree.replaceValue(this.#small, 0, Entry.Size)
  }

  #table(id: number): TableStore {
    const table = this.#catalog.tableById(id as TableId)
    assert(table !== undefined, `the log changes table ${id}, which is not in the catalogue`)
    return table
  }
}
