import { ConflictError } from '../base/errors.js'
import { NO_PAGE, type PageId, type TrxId } from '../base/ids.js'
import { compareBytes, KeyBuffer } from '../codec/key-encoding.js'
import { SUPREMUM } from '../lock/lock-key.js'
import { LockMode, RecordLock, TableLock } from '../lock/lock-modes.js'
import { LockResult } from '../lock/lock-request.js'
import { ScanLock } from '../lock/scan-lock.js'
import type { BTree } from '../storage/btree.js'
import { Page } from '../storage/page-format.js'
import type { PageStore } from '../storage/page-store.js'
import { TreeCursor } from '../storage/tree-cursor.js'
import type { Steps } from './outcome.js'
import type { KeyRange } from './range-scan.js'
import { Clustered, Entry, entryFlags, entryKeyLength, Flag, trxIdAt } from './record-format.js'
import type { RowLocks, WaitPolicy } from './row-locks.js'
import type { RowReader } from './row-reader.js'
import { RowRun } from './row-run.js'
import type { IndexStore, TableStore } from './table-store.js'
import type { Trx } from './trx.js'

/** How a range was given, as far as it decides what is locked. */
export interface LockRange extends KeyRange {
  /** An equality, on all elements of the key or the first ones: rows match by being equal, and the search ends at the first that is not. */
  exact: boolean
  /** The equality is on the whole key, without null: a unique index has at most one match. */
  whole: boolean
  /** The range begins with a whole key, itself included. */
  fromWhole: boolean
  /** The range ends with a whole key, itself included. */
  toWhole: boolean
}

export interface ScanRequest {
  table: TableStore
  /** Undefined: the clustered index. */
  index: IndexStore | undefined
  range: LockRange
  reverse: boolean
  mode: LockMode
  /**
   * The entries alone answer the statement: a shared lock leaves the rows alone (S9). An exclusive one does not, and the end of the range is
   * noticed only when its row was locked (the index has no condition to check: S6).
   */
  covering: boolean
  /** The statement changes or deletes what it finds. Then, too, the end of the range is noticed only when the row was fetched. */
  changes: boolean
  /** Under READ COMMITTED, rows that somebody else has locked are first looked at as last committed (S8: UPDATE does, DELETE does not). */
  semiConsistent: boolean
  where: ((row: never) => boolean) | undefined
  policy: WaitPolicy
  limit: number
}

/**
 * A scan that locks what it reads and reads the newest state: what SELECT … FOR SHARE / FOR UPDATE, UPDATE and DELETE do to find
 * their rows. What is locked depends on the access path and the isolation level; the rules S1–S9 are in docs/locking.md, and each is
 * an observation of a real server.
 *
 * One entry at a time: `advance()` is synchronous, so that a scan that need not wait makes no generators; where it has to wait it says so,
 * and goes on after `wait()`. The row found is in the fields; whoever does anything with the store before the next `advance()` calls `rest()`
 * first. Entries are locked before they are judged; after a wait the cursor goes back to where it was and looks again.
 */
export class LockingScan {
  /** Of the row found. */
  readonly entryKey: KeyBuffer = new KeyBuffer()
  /** Its primary key; of the clustered index, the entry's. */
  readonly key: KeyBuffer
  row: unknown
  /** Length of the index key in `entryKey`; 0 for the clustered index. */
  indexKeyLength = 0

  readonly #store: PageStore
  readonly #reader: RowReader
  readonly #rowLocks: RowLocks
  readonly #trx: Trx
  readonly #request: ScanRequest
  readonly #tree: BTree
  readonly #cursor: TreeCursor
  readonly #gap: RecordLock.SGap | RecordLock.XGap
  readonly #record: RecordLock.SRecord | RecordLock.XRecord
  readonly #nextKey: RecordLock.SNextKey | RecordLock.XNextKey
  /** The locks of neighbouring entries, kept together: a million rows do not cost a million locks. */
  readonly #run: ScanLock
  /** The same for the rows that entries of a secondary index lead to. */
  readonly #rowRun: RowRun
  #begun = false
  /** What the lock system answered where a wait is due. */
  #pending: LockResult = LockResult.Granted
  #lookAgain = false
  /** Where the cursor is while something else goes on. */
  #whereabouts: Whereabouts = Whereabouts.Here
  /** The leaf it is on. */
  #page: PageId = NO_PAGE
  #found = 0
  #done = false
  /** `#isEnd` was true. */
  #endFound = false
  /** The entry at the cursor is the first one looked at. */
  #first = true
  /** Locks taken for the row at hand that READ COMMITTED gives back if it does not match (S8). */
  #newEntryLock = false
  #newRowLock = false

  constructor(store: PageStore, reader: RowReader, rowLocks: RowLocks, trx: Trx, request: ScanRequest) {
    this.#store = store
    this.#reader = reader
    this.#rowLocks = rowLocks
    this.#trx = trx
    this.#request = request
    this.#tree = request.index === undefined ? request.table.clustered : request.index.tree
    this.key = request.index === undefined ? this.entryKey : new KeyBuffer()
    this.#cursor = new TreeCursor(this.#tree)
    const exclusive = request.mode === LockMode.X
    this.#gap = exclusive ? RecordLock.XGap : RecordLock.SGap
    this.#record = exclusive ? RecordLock.XRecord : RecordLock.SRecord
    this.#nextKey = exclusive ? RecordLock.XNextKey : RecordLock.SNextKey
    this.#rowRun = new RowRun(store, rowLocks, trx, request.table.clustered, this.#record, request.reverse)
    this.#run = new ScanLock(trx.owner, this.#tree.tree, trx.takesGapLocks ? this.#nextKey : this.#record, request.reverse)
  }

  get begun(): boolean {
    return this.#begun
  }

  /** To be done first: the table's intention lock. */
  *begin(): Steps<void> {
    yield* this.#rowLocks.table(this.#trx, this.#request.table.id, this.#request.mode === LockMode.X ? TableLock.IX : TableLock.IS)
  }

  /** Goes to the next row that matches. */
  advance(): Advance {
    if (this.#done || this.#found >= this.#request.limit) return Advance.End
    for (let more = this.#place(); ; more = this.#step()) {
      const verdict = more ? this.#look() : this.#atEnd()
      if (verdict === Verdict.Stop) {
        this.#done = true
        return Advance.End
      }
      if (verdict === Verdict.Wait) return Advance.Wait
      this.#first = false
      if (verdict === Verdict.Match) {
        this.#found++
        return Advance.Found
      }
      this.#comeBack()
    }
  }

  /** The cursor stays on the row found while anything may happen to the tree. */
  rest(): void {
    this.#leave()
  }

  /** Waits for what `advance` could not get; then call it again. Raises what the wait ends with. */
  *wait(): Steps<void> {
    yield* this.#rowLocks.settle(this.#trx, this.#pending)
    this.#lookAgain = true
  }

  /** Looks at the entry at the cursor, which stays held on it. */
  #look(): Verdict {
    const { index, range, reverse, changes, covering } = this.#request
    const cursor = this.#cursor
    const entryKey = this.entryKey
    entryKey.length = cursor.copyKey(entryKey.bytes)
    this.#page = this.#store.u32[(cursor.base + Page.Id) >> 2] as PageId
    const inside = this.#isInside()
    this.#newEntryLock = false
    this.#newRowLock = false
    if (this.#endFound) return Verdict.Stop
    const gaps = this.#trx.takesGapLocks
    if (!inside && range.exact && !reverse) return this.#endWithGap()
    const at = cursor.valueOffset
    const writer = trxIdAt(this.#store.u32, at)
    const deleted = this.#isDeleted(at)
    if (!inside && gaps && index === undefined && !reverse) return this.#endWithGap()
    const lock = !gaps || this.#needsNoGap(deleted) ? this.#record : this.#nextKey
    const refused = this.#lockEntry(lock, writer)
    if (refused !== Verdict.Match) return refused
    // Got while somebody looked at the committed row: the record may be another by now.
    if (this.#whereabouts !== Whereabouts.Here) return this.#comeBack() ? this.#look() : Verdict.Skip
    this.#mustSee(writer)
    if (gaps && this.#isEnd()) this.#endFound = true
    if (deleted) {
      this.#giveBack(lock)
      return index === undefined && range.exact && range.whole ? Verdict.Stop : Verdict.Skip
    }
    // Where the index alone tells that the range is over, its row is left alone (S6); a SELECT keeps the record below a range of the key (S7).
    const fetchesRow = index !== undefined && (changes || (reverse ? range.exact : covering))
    if (!inside && !fetchesRow) {
      if (!(reverse && index === undefined)) this.#giveBack(lock)
      return Verdict.Stop
    }
    const verdict = index === undefined ? this.#judgeRecord(at) : this.#judgeEntry()
    if (verdict === Verdict.Wait) return verdict
    if (!inside) {
      this.#giveBack(lock)
      return Verdict.Stop
    }
    if (verdict === Verdict.Skip) this.#giveBack(lock)
    if (this.#isUnique()) this.#done = true
    return this.#done && verdict === Verdict.Skip ? Verdict.Stop : verdict
  }

  #judgeRecord(at: number): Verdict {
    const { table, covering } = this.#request
    if (covering) return Verdict.Match
    // A row in an overflow chain is read in operations of its own.
    if ((this.#store.u8[at + Clustered.Flags] & Flag.Overflow) !== 0) this.#whereabouts = Whereabouts.OnPage
    this.row = this.#reader.decodeRecord(table, at, at + this.#cursor.valueLength)
    return this.#matches()
  }

  /** Whether the row is wanted: the user's condition, which may do anything meanwhile. */
  #matches(): Verdict {
    const { where } = this.#request
    if (where === undefined) return Verdict.Match
    this.#leave()
    return where(this.row as never) ? Verdict.Match : Verdict.Skip
  }

  /** The row of a secondary entry: locked, unless a shared read needs the entry alone (S9). */
  #judgeEntry(): Verdict {
    const { table, mode, covering, policy } = this.#request
    const store = this.#store
    const { entryKey, key } = this
    this.indexKeyLength = entryKeyLength(store.u32[(this.#cursor.valueOffset + Entry.Word) >> 2])
    key.set(entryKey.bytes, this.indexKeyLength, entryKey.length)
    if (covering && mode === LockMode.S) {
      this.row = undefined
      return Verdict.Match
    }
    this.#whereabouts = Whereabouts.OnPage
    store.beginOperation()
    const tree = table.clustered
    if (!tree.find(key.bytes, key.length)) return Verdict.Skip
    const writer = trxIdAt(store.u32, tree.valueOffset)
    const result = this.#rowRun.try(key.bytes, key.length, writer, policy === 'wait')
    if (result > LockResult.AlreadyHeld) return this.#refused(result)
    this.#newRowLock = result === LockResult.Granted
    this.#mustSee(writer)
    const at = tree.valueOffset
    if ((store.u8[at + Clustered.Flags] & Flag.Deleted) !== 0) return Verdict.Skip
    this.row = this.#reader.decodeRecord(table, at, at + tree.valueLength)
    return this.#matches()
  }

  /** Locks the entry at hand: Match if it is locked now. Under READ COMMITTED an UPDATE looks at the committed row before it waits. */
  #lockEntry(lock: RecordLock, writer: TrxId): Verdict {
    const { index, policy, semiConsistent, range } = this.#request
    const { entryKey } = this
    const tree = this.#tree.tree
    const mayWait = policy === 'wait'
    const unique = range.exact && range.whole
    let result: LockResult
    if (semiConsistent && index === undefined && !this.#trx.takesGapLocks && !unique && mayWait) {
      this.#run.interrupt()
      result = this.#rowLocks.try(this.#trx, tree, entryKey.bytes, entryKey.length, lock, writer, false)
      if (result > LockResult.AlreadyHeld) {
        const refused = this.#lookAtCommitted()
        if (refused !== Verdict.Match) return refused
        result = this.#rowLocks.try(this.#trx, tree, entryKey.bytes, entryKey.length, lock, writer, true)
      }
    } else if (lock === this.#run.lock) {
      result = this.#rowLocks.tryNext(this.#trx, this.#run, entryKey.bytes, entryKey.length, writer, mayWait)
    } else {
      this.#run.interrupt()
      result = this.#rowLocks.try(this.#trx, tree, entryKey.bytes, entryKey.length, lock, writer, mayWait)
    }
    if (result > LockResult.AlreadyHeld) return this.#refused(result)
    this.#newEntryLock = result === LockResult.Granted
    return Verdict.Match
  }

  /** Semi-consistent read (S8): whether the row, as last committed, is worth waiting for. */
  #lookAtCommitted(): Verdict {
    this.#leave()
    const row = this.#reader.get(this.#request.table, this.entryKey, undefined)
    if (row === undefined) return Verdict.Skip
    if (!this.#isInside()) return Verdict.Stop
    return this.#request.where?.(row as never) === false ? Verdict.Skip : Verdict.Match
  }

  #refused(result: LockResult): Verdict {
    this.#leave()
    if (this.#request.policy === 'skip' && result === LockResult.NotAvailable) return Verdict.Skip
    this.#pending = result
    return Verdict.Wait
  }

  /** READ COMMITTED lets go of what it locked for a row that does not match (S8). */
  #giveBack(lock: RecordLock): void {
    if (this.#trx.takesGapLocks) return
    const { locks } = this.#rowLocks
    const { owner } = this.#trx
    if (this.#newEntryLock) locks.unlockRecord(owner, this.#tree.tree, this.entryKey.bytes, this.entryKey.length, lock)
    if (this.#newRowLock) locks.unlockRecord(owner, this.#request.table.clustered.tree, this.key.bytes, this.key.length, this.#record)
  }

  /** An equality (S2, S4, S5), or a range of the clustered index (S3), ends before this entry: its gap is locked. */
  #endWithGap(): Verdict {
    const writer = trxIdAt(this.#store.u32, this.#cursor.valueOffset)
    if (this.#trx.takesGapLocks)
      this.#rowLocks.lockGap(this.#trx, this.#tree.tree, this.entryKey.bytes, this.entryKey.length, this.#gap, writer)
    return Verdict.Stop
  }

  /** Nothing is left that way: upwards, the gap above all entries is locked (S2–S6). */
  #atEnd(): Verdict {
    if (!this.#request.reverse && this.#trx.takesGapLocks) this.#lockSupremum()
    return Verdict.Stop
  }

  #lockSupremum(): void {
    this.#rowLocks.locks.lockRecord(this.#trx.owner, this.#tree.tree, this.entryKey.bytes, SUPREMUM, this.#nextKey, false)
  }

  /** A unique equality locks the entry alone (S1, S4), as does a range of the clustered index that begins with this very record (S3). */
  #needsNoGap(deleted: boolean): boolean {
    const { index, range, reverse } = this.#request
    const unique = index === undefined || index.definition.unique
    if (range.exact && range.whole && unique && (!deleted || index === undefined)) return true
    return this.#first && index === undefined && !reverse && range.fromWhole && this.#equals(range.lower, range.lowerLength)
  }

  /** A unique search has one match at most. */
  #isUnique(): boolean {
    const { index, range } = this.#request
    return range.exact && range.whole && (index === undefined || index.definition.unique)
  }

  /** The record that a range of the clustered index ends with was found itself: no record behind it is touched (S3). */
  #isEnd(): boolean {
    const { index, range, reverse } = this.#request
    // The upper bound's bytes are the key's and one more.
    return index === undefined && !reverse && range.toWhole && this.#equals(range.upper, range.upperLength - 1)
  }

  #equals(bytes: Uint8Array, length: number): boolean {
    return compareBytes(bytes, 0, length, this.entryKey.bytes, 0, this.entryKey.length) === 0
  }

  #isInside(): boolean {
    const { range, reverse } = this.#request
    const { bytes, length } = this.entryKey
    if (reverse) return range.lowerLength < 0 || compareBytes(bytes, 0, length, range.lower, 0, range.lowerLength) >= 0
    return range.upperLength < 0 || compareBytes(bytes, 0, length, range.upper, 0, range.upperLength) < 0
  }

  #isDeleted(at: number): boolean {
    const { u8, u32 } = this.#store
    return this.#request.index === undefined
      ? (u8[at + Clustered.Flags] & Flag.Deleted) !== 0
      : (entryFlags(u32[(at + Entry.Word) >> 2]) & Flag.Deleted) !== 0
  }

  #mustSee(writer: TrxId): void {
    const { isolation, view } = this.#trx
    if (isolation !== 'snapshot' || view === undefined || view.sees(writer)) return
    const { table } = this.#request
    this.#store.beginOperation()
    throw new ConflictError(
      `a row of table '${table.name}' in the range was changed since this transaction's snapshot: try the transaction again`,
      { table: table.name },
    )
  }

  #place(): boolean {
    const { range, reverse } = this.#request
    const cursor = this.#cursor
    if (this.#begun) {
      const again = this.#comeBack() && this.#lookAgain
      this.#lookAgain = false
      return again || this.#step()
    }
    this.#store.beginOperation()
    this.#begun = true
    if (!reverse) return range.lowerLength < 0 ? cursor.first() : cursor.seek(range.lower, range.lowerLength)
    return this.#placeReverse()
  }

  /** Anything may happen from here on: the key is remembered. */
  #leave(): void {
    if (this.#whereabouts === Whereabouts.Away) return
    this.#comeBack()
    this.#cursor.hold()
    this.#whereabouts = Whereabouts.Away
  }

  /** Back to the entry, wherever it is now; false if it is gone. */
  #comeBack(): boolean {
    const from = this.#whereabouts
    this.#whereabouts = Whereabouts.Here
    if (from === Whereabouts.Away) {
      this.#store.beginOperation()
      return this.#cursor.resume()
    }
    if (from === Whereabouts.OnPage) this.#cursor.base = this.#store.fetch(this.#page)
    return true
  }

  /** Downwards, the gap above the first entry is locked too: an insert there would be in the range (S7). */
  #placeReverse(): boolean {
    const { range } = this.#request
    const cursor = this.#cursor
    const gaps = this.#trx.takesGapLocks
    if (range.upperLength < 0) {
      if (gaps) this.#lockSupremum()
      return cursor.last()
    }
    if (gaps) {
      const above = cursor.seek(range.upper, range.upperLength)
      if (above) this.entryKey.length = cursor.copyKey(this.entryKey.bytes)
      const writer = above ? trxIdAt(this.#store.u32, cursor.valueOffset) : (0 as TrxId)
      this.#rowLocks.lockGap(this.#trx, this.#tree.tree, this.entryKey.bytes, above ? this.entryKey.length : SUPREMUM, this.#gap, writer)
      this.#store.beginOperation()
    }
    return cursor.seekBefore(range.upper, range.upperLength)
  }

  #step(): boolean {
    return this.#request.reverse ? this.#cursor.previous() : this.#cursor.next()
  }
}

/** What `advance` came to. */
export const enum Advance {
  Found = 0,
  End = 1,
  /** A lock that is not free: `wait()`. */
  Wait = 2,
}

const enum Whereabouts {
  Here = 0,
  /** Other operations have begun: its leaf may lie elsewhere in memory, but nothing in it has changed. */
  OnPage = 1,
  /** Anything may have happened: it was held. */
  Away = 2,
}

const enum Verdict {
  /** A row of the result. */
  Match = 0,
  /** Not one; go on behind it. */
  Skip = 1,
  /** Look at the same place again after a wait. */
  Wait = 2,
  Stop = 3,
}
