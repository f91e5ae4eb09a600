import { assert } from '../base/assert.js'
import { ConflictError, DuplicateKeyError } from '../base/errors.js'
import { NO_PAGE, type PageId, type TrxId } from '../base/ids.js'
import { KeyBuffer } from '../codec/key-encoding.js'
import { SUPREMUM } from '../lock/lock-key.js'
import { LockMode, RecordLock, TableLock } from '../lock/lock-modes.js'
import { LockResult } from '../lock/lock-request.js'
import type { PageStore } from '../storage/page-store.js'
import { MAX_ENTRY } from '../storage/slotted-page-layout.js'
import { finish, type Outcome, Remaining, type Steps } from './outcome.js'
import { Clustered, Entry, entryFlags, entryWord, Flag, INSERT_BIT, OverflowRef, trxIdAt, writeEntryHeader } from './record-format.js'
import type { RowLocks, WaitPolicy } from './row-locks.js'
import { decodeTableKey, type RowReader } from './row-reader.js'
import type { IndexStore, TableStore } from './table-store.js'
import type { Trx } from './trx.js'
import type { TrxSystem } from './trx-system.js'
import { UndoKind } from './undo-format.js'

const NOTHING = new Uint8Array(0)
const EMPTY_KEY = new KeyBuffer()

/**
 * Changes of one row: the clustered record first, then each index (D1, D6).
 *
 * W1. Each step, one tree change and its undo record, is atomic in its turn: the undo record is appended first, and nothing
 *     between it and the change can fail but for a broken machine, which poisons the database.
 * W2. Nothing is deleted in place: records and entries are marked, and purge removes them when no view can need them.
 * W3. A step that must wait for a lock waits before it has done anything, and begins anew after the wait: with a new search, but
 *     not with an earlier step (D1). What it needs is saved over the wait, for the scratch is everybody's.
 * W4. Keys, rows and entries are complete before the first step; no user code runs inside.
 * W5. The redo is appended when the row is complete.
 * W6. An index that is being built takes its steps by rules of its own (IndexBuild).
 *
 * Which locks are taken, and by whom an operation is waited for, is InnoDB's: docs/locking.md: rules S1 and S2 (a row by its key), K (unique keys), L and I (inserts).
 */
export class RowWriter {
  /** The row operation at hand works on these; saved and restored around waits. */
  readonly key: KeyBuffer = new KeyBuffer()
  readonly image: RowImage = { bytes: NOTHING, start: 0, end: 0, ascii: false, chain: NO_PAGE }
  readonly #store: PageStore
  readonly #system: TrxSystem
  readonly #reader: RowReader
  readonly #locks: RowLocks
  readonly #entry: KeyBuffer = new KeyBuffer()
  readonly #foundKey: KeyBuffer = new KeyBuffer()
  /** A secondary entry's header, or an overflow record, on its way into a tree. */
  readonly #small: Uint8Array = new Uint8Array(OverflowRef.Size + 4)

  constructor(store: PageStore, system: TrxSystem, reader: RowReader, locks: RowLocks) {
    this.#store = store
    this.#system = system
    this.#reader = reader
    this.#locks = locks
  }

  /**
   * Inserts the row in `image` at `key`; `row` is what its bytes decode to, needed only when the table has indexes. A duplicate is
   * locked in S, or in X for statements that go on to change it (`exclusive`; K1). Raises DuplicateKeyError and the errors of waits.
   */
  insert(trx: Trx, table: TableStore, row: unknown, exclusive: boolean): Outcome<void> {
    const inserted = this.insertUnlessThere(trx, table, row, exclusive)
    if (inserted === true) return
    if (inserted === false) throw this.#duplicate(table)
    return new Remaining(this.#insertLater(table, inserted.steps))
  }

  *#insertLater(table: TableStore, steps: Steps<boolean>): Steps<void> {
    if (!(yield* steps)) throw this.#duplicate(table)
  }

  #duplicate(table: TableStore): DuplicateKeyError {
    const existing = this.#reader.decodePrimaryKey(table, this.key)
    return new DuplicateKeyError(table.name, 'PRIMARY', existing, existing)
  }

  /** The same, but false, with the record locked, when a row with this primary key is there. */
  insertUnlessThere(trx: Trx, table: TableStore, row: unknown, exclusive: boolean): Outcome<boolean> {
    this.#refused = this.#locks.tryTable(trx, table.id, TableLock.IX)
    const insertion = this.#refused > LockResult.AlreadyHeld ? Insertion.Wait : this.#insertRecord(trx, table, exclusive)
    if (insertion === Insertion.Done) return this.#addEntries(trx, table, 0, row, exclusive)
    if (insertion === Insertion.Duplicate) return false
    return this.#later(trx, () => this.insertUnlessThere(trx, table, row, exclusive))
  }

  #addEntries(trx: Trx, table: TableStore, from: number, row: unknown, exclusive: boolean): Outcome<boolean> {
    const { indexes } = table
    for (let at = from; at < indexes.length; at++) {
      if (this.#addEntry(trx, table, indexes[at], row, exclusive)) continue
      return this.#later(trx, () => this.#addEntries(trx, table, at, row, exclusive))
    }
    this.#putRedo(trx, table)
    return true
  }

  #putRedo(trx: Trx, table: TableStore): void {
    const { key, image } = this
    trx.redo.put(table.id, key.bytes, key.length, image.bytes, image.start, image.end, image.ascii)
  }

  /** What the lock system answered last where a wait is due. */
  #refused: LockResult = LockResult.Granted

  /** Waits for what was refused, then does `again` what had to stop there. What is not to be waited for is raised now. */
  #later<T>(trx: Trx, again: () => Outcome<T>): Remaining<T> {
    const refused = this.#refused
    if (refused !== LockResult.Waiting) throw this.#locks.refusal(trx.owner, refused)
    return new Remaining(this.#afterWait(trx, refused, again))
  }

  *#afterWait<T>(trx: Trx, refused: LockResult, again: () => Outcome<T>): Steps<T> {
    yield* this.#wait(trx, refused)
    return yield* finish(again())
  }

  #insertRecord(trx: Trx, table: TableStore, exclusive: boolean): Insertion {
    const { key } = this
    const store = this.#store
    const tree = table.clustered
    store.beginOperation()
    if (tree.findToInsert(key.bytes, key.length)) return this.#insertOver(trx, table, exclusive)
    const result = this.#locks.tryInsert(trx, tree)
    if (result > LockResult.AlreadyHeld) return this.#mustWait(result)
    this.#appendUndo(trx, UndoKind.Insert, table.id, key, NOTHING, 0, 0)
    const value = this.#record(trx, this.image, INSERT_BIT)
    tree.insertAtHit(key.bytes, key.length, value, this.#valueStart, this.#valueEnd)
    this.#locks.inserted(tree, key.bytes, key.length)
    return Insertion.Done
  }

  /** A record with the key is there, on which the tree stands: a row, or what is left of one, which is taken over (K1). */
  #insertOver(trx: Trx, table: TableStore, exclusive: boolean): Insertion {
    const { key } = this
    const store = this.#store
    const tree = table.clustered
    const at = tree.valueOffset
    const writer = trxIdAt(store.u32, at)
    trx.owner.inheritsAll = true
    const lock = exclusive ? RecordLock.XRecord : RecordLock.SRecord
    let result = this.#locks.try(trx, tree.tree, key.bytes, key.length, lock, writer, true)
    if (result > LockResult.AlreadyHeld) return this.#mustWait(result)
    this.#mustSee(trx, writer, table)
    if ((store.u8[at + Clustered.Flags] & Flag.Deleted) === 0) return Insertion.Duplicate
    result = this.#locks.tryImplicitly(trx, tree.tree, key.bytes, key.length, writer)
    if (result > LockResult.AlreadyHeld) return this.#mustWait(result)
    this.#appendUndo(trx, UndoKind.Update, table.id, key, store.u8, at, at + tree.valueLength)
    trx.needsPurge = true
    const value = this.#record(trx, this.image, 0)
    tree.replaceValue(value, this.#valueStart, this.#valueEnd)
    return Insertion.Done
  }

  #mustWait(result: LockResult): Insertion {
    this.#refused = result
    return Insertion.Wait
  }

  /**
   * Locks the record at `key`, as a search for exactly this key does (S1), and says whether a row is there: then the clustered tree stands
   * on it, until the operation ends. If not, the gap is locked, by transactions that lock gaps (S2). Undefined: skipped.
   */
  lock(trx: Trx, table: TableStore, mode: LockMode, policy: WaitPolicy): Outcome<boolean | undefined> {
    const { key } = this
    const store = this.#store
    const tree = table.clustered
    this.#refused = this.#locks.tryTable(trx, table.id, mode === LockMode.X ? TableLock.IX : TableLock.IS)
    if (this.#refused > LockResult.AlreadyHeld) return this.#later(trx, () => this.lock(trx, table, mode, policy))
    store.beginOperation()
    if (!tree.find(key.bytes, key.length)) {
      if (trx.takesGapLocks) this.#locks.lockGapAt(trx, tree, mode === LockMode.X ? RecordLock.XGap : RecordLock.SGap)
      return false
    }
    const at = tree.valueOffset
    const writer = trxIdAt(store.u32, at)
    const lock = mode === LockMode.X ? RecordLock.XRecord : RecordLock.SRecord
    const result = this.#locks.try(trx, tree.tree, key.bytes, key.length, lock, writer, policy === 'wait')
    if (result > LockResult.AlreadyHeld) {
      if (policy === 'skip' && result === LockResult.NotAvailable) return undefined
      this.#refused = result
      return this.#later(trx, () => this.lock(trx, table, mode, policy))
    }
    this.#mustSee(trx, writer, table)
    if ((store.u8[at + Clustered.Flags] & Flag.Deleted) === 0) return true
    if (result === LockResult.Granted && !trx.takesGapLocks)
      this.#locks.locks.unlockRecord(trx.owner, tree.tree, key.bytes, key.length, lock)
    return false
  }

  /** Replaces the row at `key`, which this transaction has locked, by the one in `image`. `exclusive` as for `insert`. */
  update(trx: Trx, table: TableStore, row: unknown, exclusive: boolean): Outcome<void> {
    const { key } = this
    const tree = table.clustered
    const oldRow = this.#readLocked(table)
    this.#appendUndo(trx, UndoKind.Update, table.id, key, this.#store.u8, tree.valueOffset, tree.valueOffset + tree.valueLength)
    trx.needsPurge = true
    const value = this.#record(trx, this.image, 0)
    tree.replaceValue(value, this.#valueStart, this.#valueEnd)
    return this.#changeEntries(trx, table, 0, false, oldRow, row, exclusive)
  }

  /** Goes on with the index number `from`, whose old entry may be `marked` already. */
  #changeEntries(
    trx: Trx,
    table: TableStore,
    from: number,
    marked: boolean,
    oldRow: unknown,
    row: unknown,
    exclusive: boolean,
  ): Outcome<void> {
    const { indexes } = table
    let isMarked = marked
    for (let at = from; at < indexes.length; at++) {
      const index = indexes[at]
      if (index.build !== undefined) {
        index.build.replace(trx, this.key, oldRow, row)
        continue
      }
      index.encodeEntry(oldRow, this.key, this.#foundKey)
      index.encodeEntry(row, this.key, this.#entry)
      if (sameBytes(this.#foundKey, this.#entry)) continue
      isMarked ||= this.#markEntry(trx, table, index, oldRow)
      if (!isMarked || !this.#addEntry(trx, table, index, row, exclusive))
        return this.#later(trx, () => this.#changeEntries(trx, table, at, isMarked, oldRow, row, exclusive))
      isMarked = false
    }
    this.#putRedo(trx, table)
  }

  /** Deletes the row at `key`, which this transaction has locked. */
  delete(trx: Trx, table: TableStore): Outcome<void> {
    const { key } = this
    const store = this.#store
    const tree = table.clustered
    const oldRow = this.#readLocked(table)
    const at = tree.valueOffset
    this.#appendUndo(trx, UndoKind.Mark, table.id, key, store.u8, at, at + Clustered.HeaderSize)
    trx.needsPurge = true
    store.willChange(tree.base)
    putClusteredHeader(store.u8, at, trx.trxId, store.u8[at + Clustered.Flags] | Flag.Deleted, trx.lastPage, trx.lastOffset)
    return this.#markEntries(trx, table, 0, oldRow)
  }

  #markEntries(trx: Trx, table: TableStore, from: number, oldRow: unknown): Outcome<void> {
    const { indexes } = table
    for (let at = from; at < indexes.length; at++) {
      if (this.#markEntry(trx, table, indexes[at], oldRow)) continue
      return this.#later(trx, () => this.#markEntries(trx, table, at, oldRow))
    }
    trx.redo.delete(table.id, this.key.bytes, this.key.length)
  }

  /** Notes an overflow chain that was begun for a row of this transaction, so that rollback frees it. */
  noteChain(trx: Trx, firstExtent: PageId): void {
    this.#store.beginOperation()
    this.#appendUndo(trx, UndoKind.Chain, firstExtent, EMPTY_KEY, NOTHING, 0, 0)
  }

  /** The row at `key` as it is now, if the table has indexes; the tree stands on it. */
  #readLocked(table: TableStore): unknown {
    const { key } = this
    const tree = table.clustered
    this.#store.beginOperation()
    let found = tree.find(key.bytes, key.length)
    assert(found, 'a locked record is gone')
    if (table.indexes.length === 0) return undefined
    const row = this.#reader.decodeRecord(table, tree.valueOffset, tree.valueOffset + tree.valueLength)
    // Reading an overflow chain is an operation of its own.
    this.#store.beginOperation()
    found = tree.find(key.bytes, key.length)
    assert(found, 'a record vanished while it was read')
    return row
  }

  /** Adds the row's entry to the index: revives a marked one, or inserts. False: it must wait, and is to be called again. */
  #addEntry(trx: Trx, table: TableStore, index: IndexStore, row: unknown, exclusive: boolean): boolean {
    if (index.build !== undefined) {
      index.build.add(trx, this.key, row)
      return true
    }
    const store = this.#store
    const entry = this.#entry
    const { tree } = index
    index.encodeEntry(row, this.key, entry)
    const { keyLength } = index
    store.beginOperation()
    // A search that finds no such key locks nothing: after every wait it is done again, for somebody may have inserted the key.
    if (index.definition.unique && !index.hasNull) {
      if (!this.#checkUnique(trx, table, index, row, exclusive)) return false
      store.beginOperation()
    }
    const there = tree.findToInsert(entry.bytes, entry.length)
    const at = tree.valueOffset
    const result = there
      ? this.#locks.tryImplicitly(trx, tree.tree, entry.bytes, entry.length, trxIdAt(store.u32, at))
      : this.#locks.tryInsert(trx, tree)
    if (result > LockResult.AlreadyHeld) {
      this.#refused = result
      return false
    }
    if (there) {
      assert(
        (entryFlags(store.u32[(at + Entry.Word) >> 2]) & Flag.Deleted) !== 0,
        `index '${index.definition.name}' has an entry for a row that is not there`,
      )
      this.#appendUndo(trx, UndoKind.EntryRevive, index.definition.tree, entry, store.u8, at, at + Entry.Size)
      store.willChange(tree.base)
      writeEntryHeader(store.u32, at, trx.trxId, 0, keyLength)
    } else {
      this.#appendUndo(trx, UndoKind.EntryInsert, index.definition.tree, entry, NOTHING, 0, 0)
      putU32(this.#small, Entry.TrxLow, trx.trxId % 4294967296)
      putU32(this.#small, Entry.Word, entryWord(trx.trxId, 0, keyLength))
      tree.insertAtHit(entry.bytes, entry.length, this.#small, 0, Entry.Size)
      this.#locks.inserted(tree, entry.bytes, entry.length)
    }
    return true
  }

  /**
   * Looks for a live entry with the index key of `#entry`: every entry that has it, deleted ones too, is locked with its gap (K2), and the
   * gap of the entry after them (with the entry itself, in X; K3), at every isolation level: the insert relies on it. With no such entry
   * nothing is locked. Keys with null in them are not looked for (K4). False: it must wait.
   */
  #checkUnique(trx: Trx, table: TableStore, index: IndexStore, row: unknown, exclusive: boolean): boolean {
    const store = this.#store
    const entry = this.#entry
    const { cursor, keyLength, tree } = index
    const found = this.#foundKey
    const nextKey = exclusive ? RecordLock.XNextKey : RecordLock.SNextKey
    let any = false
    found.set(entry.bytes, 0, keyLength)
    for (let more = cursor.seek(found.bytes, keyLength); ; more = cursor.next()) {
      if (more) found.length = cursor.copyKey(found.bytes)
      const equal = more && found.length >= keyLength && startsWith(found.bytes, entry.bytes, keyLength)
      if (!equal && !any) return true
      trx.owner.inheritsAll = true
      const at = cursor.valueOffset
      if (!equal && (!exclusive || !more)) {
        const gap = exclusive ? RecordLock.XGap : RecordLock.SGap
        this.#locks.lockGap(trx, tree.tree, found.bytes, more ? found.length : SUPREMUM, gap, more ? trxIdAt(store.u32, at) : (0 as TrxId))
        return true
      }
      any = true
      this.#refused = this.#locks.try(trx, tree.tree, found.bytes, found.length, nextKey, trxIdAt(store.u32, at), true)
      if (this.#refused > LockResult.AlreadyHeld) return false
      if (!equal) return true
      if ((entryFlags(store.u32[(at + Entry.Word) >> 2]) & Flag.Deleted) === 0) {
        const existing = decodeTableKey(table, found.bytes, keyLength, found.length)
        throw new DuplicateKeyError(table.name, index.definition.name, index.paths.describe(row), existing)
      }
    }
  }

  /** Marks the entry of a row as deleted. False: it must wait, and is to be called again. */
  #markEntry(trx: Trx, table: TableStore, index: IndexStore, oldRow: unknown): boolean {
    if (index.build !== undefined) {
      index.build.remove(trx, this.key, oldRow)
      return true
    }
    const store = this.#store
    const entry = this.#entry
    const { tree } = index
    index.encodeEntry(oldRow, this.key, entry)
    store.beginOperation()
    const found = tree.find(entry.bytes, entry.length)
    assert(found, `index '${index.definition.name}' of table '${table.name}' lacks the entry of a row`)
    const at = tree.valueOffset
    const word = store.u32[(at + Entry.Word) >> 2]
    this.#refused = this.#locks.tryImplicitly(trx, tree.tree, entry.bytes, entry.length, trxIdAt(store.u32, at))
    if (this.#refused > LockResult.AlreadyHeld) return false
    assert((entryFlags(word) & Flag.Deleted) === 0, `index '${index.definition.name}' has the entry of a live row marked as deleted`)
    this.#appendUndo(trx, UndoKind.EntryMark, index.definition.tree, entry, store.u8, at, at + Entry.Size)
    trx.needsPurge = true
    store.willChange(tree.base)
    writeEntryHeader(store.u32, at, trx.trxId, Flag.Deleted, word >>> Entry.LengthShift)
    return true
  }

  /** Waits for what a call to the lock system answered, and keeps key and image meanwhile (W3). The step begins anew after it. */
  *#wait(trx: Trx, result: LockResult): Steps<void> {
    const { key, image } = this
    const savedKey = key.toBytes()
    const from = image.start - Clustered.HeaderSize
    const savedImage = from < 0 ? NOTHING : image.bytes.slice(from, image.end)
    const { chain, ascii } = image
    yield* this.#locks.settle(trx, result)
    key.set(savedKey, 0, savedKey.length)
    image.bytes = savedImage
    image.start = Clustered.HeaderSize
    image.end = savedImage.length
    image.ascii = ascii
    image.chain = chain
  }

  /** `snapshot` isolation: a row written since the view must not be overwritten. */
  #mustSee(trx: Trx, writer: TrxId, table: TableStore): void {
    if (trx.isolation !== 'snapshot' || trx.view === undefined || trx.view.sees(writer)) return
    throw new ConflictError(`a row of table '${table.name}' was changed since this transaction's snapshot: try the transaction again`, {
      table: table.name,
    })
  }

  #appendUndo(trx: Trx, kind: UndoKind, owner: number, key: KeyBuffer, image: Uint8Array, from: number, to: number): void {
    this.#system.startWriting(trx)
    this.#system.undo.append(trx, kind, owner, key.bytes, key.length, image, from, to)
    // Rows, not entries: what InnoDB weighs a deadlock's victims by.
    if (kind <= UndoKind.Mark) trx.owner.undoRecords++
  }

  #valueStart = 0
  #valueEnd = 0

  /** The clustered record for a row image, its header pointing at the newest undo record: bytes[#valueStart, #valueEnd). */
  #record(trx: Trx, image: RowImage, insertBit: number): Uint8Array {
    const ascii = image.ascii ? Flag.Ascii : 0
    if (image.chain !== NO_PAGE) {
      const small = this.#small
      putClusteredHeader(small, 0, trx.trxId, Flag.Overflow | ascii, trx.lastPage, (trx.lastOffset | insertBit) >>> 0)
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
    putClusteredHeader(image.bytes, this.#valueStart, trx.trxId, ascii, trx.lastPage, (trx.lastOffset | insertBit) >>> 0)
    return image.bytes
  }
}

/** What became of the clustered record of an insert. */
const enum Insertion {
  Done = 0,
  /** A row is there; its record is locked. */
  Duplicate = 1,
  /** A lock is not free. */
  Wait = 2,
}

/** A row as encoded: bytes[start, end) with 16 bytes of room before; `ascii`: all its strings are; `chain` is its overflow chain if it has one. */
export interface RowImage {
  bytes: Uint8Array
  start: number
  end: number
  ascii: boolean
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
