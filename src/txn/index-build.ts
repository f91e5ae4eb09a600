import { assert } from '../base/assert.js'
import { DuplicateKeyError, NextkeyError } from '../base/errors.js'
import type { PageId, TrxId } from '../base/ids.js'
import { decodeCompound, decodeKey, KeyBuffer } from '../codec/key-encoding.js'
import type { PageStore } from '../storage/page-store.js'
import { KEY_PADDING } from '../storage/slotted-page-layout.js'
import { TreeCursor } from '../storage/tree-cursor.js'
import { Entry, entryFlags, entryKeyLength, Flag, trxIdAt, writeEntryHeader } from './record-format.js'
import { decodeTableKey, type RowReader } from './row-reader.js'
import type { IndexStore, TableStore } from './table-store.js'
import type { Trx } from './trx.js'
import type { TrxSystem } from './trx-system.js'
import { UndoKind } from './undo-format.js'

/**
 * An index that is being built while its table is written to (D13): what the building itself does, in slices, and what writers do in its
 * stead of the steps of RowWriter. It begins, and ends, while nobody has a transaction open that has touched the table.
 *
 * X1. Writers keep the index up to date from the beginning on, with undo like that of any other index. They need no locks in it:
 *     whoever changes an entry has locked its row, and nobody reads the index yet.
 * X2. The backfill goes through the rows once, in the order of their keys, and puts in the entry of each row's newest *committed* version
 *     unless there is an entry with that key, live or marked. Its entries are of no transaction (id 0), so every view sees them.
 * X3. A writer that must mark an entry which is not there puts it in first, as the backfill would have done, and then marks it.
 * X4. At the end every row has a live entry of its version, and no other row has:
 *     - an entry that is not there was never touched by an open transaction (its undo would have put it there, X3). So where the backfill
 *       or X3 find none, the newest committed version has that key, and what they put in is right, whoever rolls back afterwards;
 *     - an entry that is there was put there by X2 or X3, and rightly, or by a writer, whose undo or commit decides about it;
 *     - whoever was half-way through a change of a row when the backfill passed it (changed the row, waits, has not come to this
 *       index) finds the entry of the version before and marks it, or is undone and leaves it.
 * X5. Unique: when an entry becomes live (put in, revived, restored by a rollback) while another live one has the same index key, that
 *     key is noted. Of any two live entries with one key, one became live last, and noted it. What is noted is looked at again
 *     after each slice: two committed ones are a duplicate, and the building fails; so do any two that are left at the end. Writers
 *     never fail for it.
 */
export class IndexBuild {
  readonly table: TableStore
  readonly index: IndexStore
  /** Why the index cannot be built: a duplicate, or a row whose field cannot be a key. */
  failure: NextkeyError | undefined
  /** The backfill has passed every row. */
  scanned = false
  /** Rows that the backfill has passed. */
  rows = 0
  readonly #store: PageStore
  readonly #system: TrxSystem
  readonly #reader: RowReader
  readonly #cursor: TreeCursor
  #begun = false
  readonly #rowKey: KeyBuffer = new KeyBuffer()
  readonly #entry: KeyBuffer = new KeyBuffer()
  readonly #old: KeyBuffer = new KeyBuffer()
  readonly #found: KeyBuffer = new KeyBuffer()
  readonly #header: Uint8Array = new Uint8Array(Entry.Size)
  readonly #headerWords: Uint32Array = new Uint32Array(this.#header.buffer)
  /** Index keys that two live entries had (X5), by their bytes. */
  readonly #suspects: Map<string, Uint8Array> = new Map()

  constructor(store: PageStore, system: TrxSystem, reader: RowReader, table: TableStore, index: IndexStore) {
    this.#store = store
    this.#system = system
    this.#reader = reader
    this.table = table
    this.index = index
    this.#cursor = new TreeCursor(table.clustered)
  }

  /** The first failure is the one that is reported. Writers leave the index alone from now on. */
  fail(error: NextkeyError): void {
    this.failure ??= error
  }

  /** About how much of the table the backfill has passed, 0 to 1. */
  get fraction(): number {
    if (this.scanned) return 1
    this.#store.beginOperation()
    return this.table.clustered.fractionBefore(this.#rowKey.bytes, this.#rowKey.length)
  }

  // ── the backfill ──────────────────────────────────────────────────────────────────────────────────────────────────

  /** Passes up to `most` rows (X2). What it raises it raises before it has changed anything. */
  step(most: number): void {
    const entries = this.#gather(most)
    // In order: neighbours lie in the same leaves.
    entries.sort((a, b) => Buffer.compare(a.key, b.key))
    for (const entry of entries) this.#backfill(entry)
  }

  #gather(most: number): BackfillEntry[] {
    const cursor = this.#cursor
    const entries: BackfillEntry[] = []
    this.#store.beginOperation()
    let more = this.#begun
    if (more) {
      cursor.resume()
      more = cursor.next()
    } else more = cursor.first()
    this.#begun = true
    for (let count = 1; more; count++, more = cursor.next()) {
      this.rows++
      const entry = this.#entryAtCursor()
      if (entry !== undefined) entries.push(entry)
      if (count < most) continue
      cursor.hold()
      return entries
    }
    this.scanned = true
    return entries
  }

  /** The entry of the committed version of the row at the cursor. */
  #entryAtCursor(): BackfillEntry | undefined {
    const cursor = this.#cursor
    const { table, index } = this
    const key = this.#rowKey
    const page = this.#store.u32[cursor.base >> 2] as PageId
    key.length = cursor.copyKey(key.bytes)
    const at = cursor.valueOffset
    const row = this.#reader.decodeVisible(table, at, at + cursor.valueLength, undefined)
    // Reading a long row begins operations: the leaf, in which nothing has changed, may lie elsewhere now.
    cursor.base = this.#store.fetch(page)
    if (row === undefined || !this.#encode(row, key, this.#entry)) return undefined
    const { keyLength, hasNull } = index
    return { key: this.#entry.bytes.slice(0, this.#entry.length + KEY_PADDING), keyLength, hasNull }
  }

  #backfill({ key, keyLength, hasNull }: BackfillEntry): void {
    const { tree } = this.index
    const length = key.length - KEY_PADDING
    this.#store.beginOperation()
    if (tree.findToInsert(key, length)) return
    this.#insert(key, length, NOBODY, keyLength)
    if (!hasNull) this.#noteIfTwice(key, length, keyLength)
  }

  // ── what writers do ───────────────────────────────────────────────────────────────────────────────────────────────

  /** The row at `key` is new. */
  add(trx: Trx, key: KeyBuffer, row: unknown): void {
    if (this.failure === undefined && this.#encode(row, key, this.#entry)) this.#add(trx, this.#entry)
  }

  /** The row at `key` is deleted. */
  remove(trx: Trx, key: KeyBuffer, row: unknown): void {
    if (this.failure === undefined && this.#encode(row, key, this.#old)) this.#mark(trx, this.#old, this.index.keyLength)
  }

  /** The row at `key` is replaced. */
  replace(trx: Trx, key: KeyBuffer, oldRow: unknown, row: unknown): void {
    const [old, entry] = [this.#old, this.#entry]
    if (this.failure !== undefined || !this.#encode(oldRow, key, old)) return
    const { keyLength } = this.index
    // The new entry last: the index remembers the key length of the one it encoded last, and `#add` stores it.
    if (!this.#encode(row, key, entry)) return
    if (old.length === entry.length && startsWith(old.bytes, entry.bytes, entry.length)) return
    this.#mark(trx, old, keyLength)
    this.#add(trx, entry)
  }

  /** A rollback made the entry live again; the index is on it. */
  restored(): void {
    const { tree } = this.index
    if (!this.index.definition.unique || this.failure !== undefined) return
    const length = tree.pages.copyKey(tree.base, tree.slot, this.#found.bytes)
    const keyLength = entryKeyLength(this.#store.u32[(tree.valueOffset + Entry.Word) >> 2])
    const key = this.#found.bytes.slice(0, length + KEY_PADDING)
    if (!this.#isNull(key, keyLength)) this.#noteIfTwice(key, length, keyLength)
  }

  /** The entry of the row in `target`; false if the row can have none, which ends the building. */
  #encode(row: unknown, key: KeyBuffer, target: KeyBuffer): boolean {
    try {
      this.index.encodeEntry(row, key, target)
      return true
    } catch (error) {
      if (!(error instanceof NextkeyError)) throw error
      this.fail(error)
      return false
    }
  }

  #add(trx: Trx, entry: KeyBuffer): void {
    const store = this.#store
    const { tree, keyLength, hasNull, definition } = this.index
    store.beginOperation()
    if (tree.findToInsert(entry.bytes, entry.length)) {
      const at = tree.valueOffset
      assert(isMarked(store, at), `index '${definition.name}', being built, has an entry for a row that is not there`)
      this.#appendUndo(trx, UndoKind.EntryRevive, entry, store.u8, at, at + Entry.Size)
      store.willChange(tree.base)
      writeEntryHeader(store.u32, at, trx.trxId, 0, keyLength)
    } else {
      this.#appendUndo(trx, UndoKind.EntryInsert, entry, this.#header, 0, 0)
      this.#insert(entry.bytes, entry.length, trx.trxId, keyLength)
    }
    if (!hasNull) this.#noteIfTwice(entry.bytes, entry.length, keyLength)
  }

  #mark(trx: Trx, entry: KeyBuffer, keyLength: number): void {
    const store = this.#store
    const { tree, definition } = this.index
    store.beginOperation()
    // X3: not a change of this transaction, which may be rolled back.
    if (!tree.findToInsert(entry.bytes, entry.length)) this.#insert(entry.bytes, entry.length, NOBODY, keyLength)
    store.beginOperation()
    const found = tree.find(entry.bytes, entry.length)
    const at = tree.valueOffset
    assert(found && !isMarked(store, at), `index '${definition.name}', being built, has the entry of a live row marked as deleted`)
    this.#appendUndo(trx, UndoKind.EntryMark, entry, store.u8, at, at + Entry.Size)
    trx.needsPurge = true
    store.willChange(tree.base)
    writeEntryHeader(store.u32, at, trx.trxId, Flag.Deleted, keyLength)
  }

  /** Where the search has just found nothing. */
  #insert(key: Uint8Array, length: number, writer: TrxId, keyLength: number): void {
    writeEntryHeader(this.#headerWords, 0, writer, 0, keyLength)
    this.index.tree.insertAtHit(key, length, this.#header, 0, Entry.Size)
  }

  #appendUndo(trx: Trx, kind: UndoKind, entry: KeyBuffer, image: Uint8Array, from: number, to: number): void {
    this.#system.startWriting(trx)
    this.#system.undo.append(trx, kind, this.index.definition.tree, entry.bytes, entry.length, image, from, to)
  }

  // ── uniqueness ────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Looks again at what was noted (X5). With `last`, nobody is writing, and whatever is there twice is a duplicate. */
  checkUnique(last: boolean): void {
    for (const [name, key] of this.#suspects) {
      const live = this.#liveEntries(key)
      if (live.length < 2) this.#suspects.delete(name)
      else if (last || live.filter(({ committed }) => committed).length > 1) {
        const [first, second] = live.filter(({ committed }) => committed || last)
        this.fail(this.#duplicate(key, first.primaryKey, second.primaryKey))
        return
      }
    }
  }

  /** X5, when the entry has become live. */
  #noteIfTwice(entry: Uint8Array, length: number, keyLength: number): void {
    if (!this.index.definition.unique) return
    const { cursor } = this.index
    const prefix = this.#prefix(entry, keyLength)
    this.#store.beginOperation()
    for (let more = cursor.seek(prefix, keyLength); more; more = cursor.next()) {
      const found = this.#found
      found.length = cursor.copyKey(found.bytes)
      if (found.length < keyLength || !startsWith(found.bytes, prefix, keyLength)) return
      if (isMarked(this.#store, cursor.valueOffset) || (found.length === length && startsWith(found.bytes, entry, length))) continue
      this.#suspects.set(Buffer.from(prefix.buffer, 0, keyLength).toString('latin1'), prefix)
      return
    }
  }

  #liveEntries(key: Uint8Array): { primaryKey: unknown; committed: boolean }[] {
    const { cursor } = this.index
    const keyLength = key.length - KEY_PADDING
    const live: { primaryKey: unknown; committed: boolean }[] = []
    this.#store.beginOperation()
    for (let more = cursor.seek(key, keyLength); more; more = cursor.next()) {
      const found = this.#found
      found.length = cursor.copyKey(found.bytes)
      if (found.length < keyLength || !startsWith(found.bytes, key, keyLength)) break
      const at = cursor.valueOffset
      if (isMarked(this.#store, at)) continue
      const committed = this.#system.isCommitted(trxIdAt(this.#store.u32, at))
      live.push({ primaryKey: decodeTableKey(this.table, found.bytes, keyLength, found.length), committed })
    }
    return live
  }

  #prefix(entry: Uint8Array, keyLength: number): Uint8Array {
    const prefix = new Uint8Array(keyLength + KEY_PADDING)
    prefix.set(entry.subarray(0, keyLength))
    return prefix
  }

  #isNull(entry: Uint8Array, keyLength: number): boolean {
    const key = this.#decode(entry, keyLength)
    return key === null || (Array.isArray(key) && this.index.shape.compound && key.includes(null))
  }

  #decode(entry: Uint8Array, keyLength: number): unknown {
    return this.index.shape.compound ? decodeCompound(entry, 0, keyLength) : decodeKey(entry, 0, keyLength)
  }

  #duplicate(key: Uint8Array, first: unknown, second: unknown): DuplicateKeyError {
    const value = this.#decode(key, key.length - KEY_PADDING)
    return new DuplicateKeyError(this.table.name, this.index.definition.name, value, first, second)
  }
}

interface BackfillEntry {
  /** With its padding. */
  readonly key: Uint8Array
  readonly keyLength: number
  readonly hasNull: boolean
}

function isMarked(store: PageStore, at: number): boolean {
  return (entryFlags(store.u32[(at + Entry.Word) >> 2]) & Flag.Deleted) !== 0
}

function startsWith(bytes: Uint8Array, prefix: Uint8Array, length: number): boolean {
  for (let at = 0; at < length; at++) if (bytes[at] !== prefix[at]) return false
  return true
}

/** Writer of entries that no transaction has written: before all. */
const NOBODY = 0 as TrxId
