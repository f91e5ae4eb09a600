/**
 * Undo pages and the records in them (D7).
 *
 * Page (PageType.Undo): the common header; bytes 18–19 hold the end of the used part. Records follow from byte 32, each
 * 4-aligned, one transaction's after another's: a page is leased by one active transaction at a time. `Right` is the page on
 * which the last transaction of the page goes on, `Left` the one it came from.
 *
 * Log header, the first record of each transaction:
 *   0  u16  length           2  u8  UndoKind.Header     3  u8  1 = the last page was closed at commit and goes with this log
 *   4  u32  trx id low       8  u32 trx id high
 *  12  u32  commit number low   16 u32 high             0 while active
 *  20  u32  next log in history: page    24 u32 offset
 *  28  u32  last record: page            32 u32 offset  set at commit
 *
 * Any other record:
 *   0  u16  length           2  u8  UndoKind            3  u8  0
 *   4  u32  previous record of the transaction: page    8  u32 offset
 *  12  u32  table id (clustered kinds), tree id (entry and tree kinds) or first extent page (Chain)
 *  16  u16  key length      18  u16 image length
 *  20  …    key, padded to 4; image
 */
export const enum UndoPage {
  End = 18,
}

export const enum UndoHeader {
  Kind = 2,
  ClosesPage = 3,
  TrxLow = 4,
  TrxHigh = 8,
  CommitLow = 12,
  CommitHigh = 16,
  NextPage = 20,
  NextOffset = 24,
  LastPage = 28,
  LastOffset = 32,
  Size = 36,
}

export const enum Undo {
  Length = 0,
  Kind = 2,
  PreviousPage = 4,
  PreviousOffset = 8,
  Owner = 12,
  KeyLength = 16,
  ImageLength = 18,
  Key = 20,
}

/** On disk: values never change. */
export const enum UndoKind {
  Header = 1,
  /** A clustered record was inserted. Undo: remove it. */
  Insert = 2,
  /** A clustered record was replaced; image: the value before, header and row. */
  Update = 3,
  /** A clustered record was marked as deleted; image: its header before. The row did not change. */
  Mark = 4,
  /** A secondary entry was inserted. */
  EntryInsert = 5,
  /** A secondary entry was marked as deleted; image: its header before. */
  EntryMark = 6,
  /** A marked secondary entry was taken into use again; image: its header before. */
  EntryRevive = 7,
  /** An overflow chain was written; the record that will refer to it comes later. */
  Chain = 8,
  /** A secondary index was dropped. Undo: nothing, its pages are as they were. Purge: free its tree. */
  DropIndexTree = 9,
  /** The same for the tree of a table's rows, some of which own overflow chains. */
  DropRowTree = 10,
}
