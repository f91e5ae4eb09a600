import type { PageId, TrxId } from '../base/ids.js'

/**
 * What a clustered record and a secondary entry carry beside the user's bytes (D6). Both are the *value* of a B-tree entry;
 * B-tree values are 4-aligned, so the words below are read straight from the slab.
 *
 * Clustered record:                                   Secondary entry (key = index key ++ primary key):
 *   0  u32  trx id, low 32 bits                         0  u32  trx id, low 32 bits
 *   4  u16  trx id, high 16 bits                        4  u32  bits 0–15 trx id high, 16–19 flags,
 *   6  u8   flags                                               20–31 length of the index key within the entry's key
 *   7  u8   0
 *   8  u32  roll pointer: undo page
 *  12  u32  roll pointer: offset in the page; bit 31: the version was an insert, there is none before it
 *  16  …    the row as encoded, or a reference to its overflow chain
 *
 * The trx id is that of the last writer. While that transaction is active, this *is* its exclusive lock (D6).
 */
export const enum Clustered {
  TrxLow = 0,
  TrxHigh = 4,
  Flags = 6,
  UndoPage = 8,
  UndoOffset = 12,
  HeaderSize = 16,
}

export const enum Entry {
  TrxLow = 0,
  Word = 4,
  Size = 8,
  FlagShift = 16,
  LengthShift = 20,
}

export const enum Flag {
  /** Deleted, kept for older views until purge. */
  Deleted = 1,
  /** The row lies in an overflow chain (clustered only). */
  Overflow = 2,
  /** All strings of the row are ASCII (clustered only): reading it is faster. Not set, it says nothing. */
  Ascii = 4,
}

/** In `UndoOffset`: nothing came before this version. */
export const INSERT_BIT: number = 0x80000000

/** Overflow reference, where the row would be: 8 bytes length (low, high), 4 bytes first extent page. */
export const enum OverflowRef {
  LengthLow = 16,
  LengthHigh = 20,
  FirstExtent = 24,
  Size = 28,
}

/** Where an undo record lies. */
export interface UndoPointer {
  page: PageId
  offset: number
}

/** Trx id of a clustered record or entry whose value starts at `at` (a byte offset in the slab). */
export function trxIdAt(u32: Uint32Array, at: number): TrxId {
  const word = at >> 2
  const high = u32[word + 1] & 0xffff
  return (high === 0 ? u32[word] : u32[word] + high * 4294967296) as TrxId
}

export function writeClusteredHeader(
  u32: Uint32Array,
  at: number,
  trxId: TrxId,
  flags: number,
  undoPage: PageId,
  undoOffset: number,
): void {
  const word = at >> 2
  u32[word] = trxId
  u32[word + 1] = (trxId < 4294967296 ? 0 : Math.floor(trxId / 4294967296)) | (flags << 16)
  u32[word + 2] = undoPage
  u32[word + 3] = undoOffset
}

export function entryWord(trxId: TrxId, flags: number, indexKeyLength: number): number {
  return (
    ((trxId < 4294967296 ? 0 : Math.floor(trxId / 4294967296)) | (flags << Entry.FlagShift) | (indexKeyLength << Entry.LengthShift)) >>> 0
  )
}

export function writeEntryHeader(u32: Uint32Array, at: number, trxId: TrxId, flags: number, indexKeyLength: number): void {
  u32[at >> 2] = trxId
  u32[(at >> 2) + 1] = entryWord(trxId, flags, indexKeyLength)
}

export function entryFlags(word: number): number {
  return (word >>> Entry.FlagShift) & 15
}

export function entryKeyLength(word: number): number {
  return word >>> Entry.LengthShift
}
