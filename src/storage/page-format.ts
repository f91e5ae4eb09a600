/**
 * What every page has in common: 16 KiB, a 32-byte header, little-endian fields.
 *
 *   offset size
 *        0    4  page id                    checked after every read: catches misdirected writes
 *        4    4  birth interval             checkpoint that first holds this image; set when the page is written out
 *        8    1  type                       PageType
 *        9    1  level                      B-tree: 0 = leaf
 *       10    2  entry count
 *       12    2  prefix length              B-tree: bytes all keys of the page share
 *       14    2  heap top                   B-tree: lowest byte in use by records
 *       16    2  garbage                    B-tree: bytes of the heap no record uses any more
 *       18    2  free for the page type
 *       20    4  left neighbour, or 0
 *       24    4  right neighbour, or 0
 *       28    4  tree id                    who owns the page: for checks and for salvage
 *
 * The header itself carries no checksum: the page map, which points at the block, does (D3).
 */
export const enum Page {
  Size = 16384,
  /** log2(Size): frame number ↔ byte offset. */
  Shift = 14,
  HeaderSize = 32,

  Id = 0,
  Interval = 4,
  Type = 8,
  Level = 9,
  Count = 10,
  PrefixLength = 12,
  HeapTop = 14,
  Garbage = 16,
  Left = 20,
  Right = 24,
  Tree = 28,
}

/** On disk: values never change, new ones are added at the end. */
export const enum PageType {
  Leaf = 1,
  Inner = 2,
  /** Part of a large value. */
  Overflow = 3,
  /** Lists the overflow pages of a large value. */
  Extent = 4,
  Undo = 5,
  /** State of the transaction system at a checkpoint. */
  Root = 6,
}
