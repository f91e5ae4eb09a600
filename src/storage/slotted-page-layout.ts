import { Page } from './page-format.js'

/**
 * B-tree pages: sorted slots growing up from the header, records growing down towards them, the key prefix at the end.
 *
 *   0        32                                 heap top                                  Size
 *   | header | slot 0 | slot 1 | …  →   free   ← | record | garbage | record | pad | prefix |
 *
 *   leaf slot, 8 bytes     i32 head · u16 record offset · u16 suffix length
 *   inner slot, 12 bytes   the same · u32 child page
 *   leaf record            u16 value length · tail · padding to 4 · value · padding to 4
 *   inner record           tail · padding to 4        (none at all when the tail is empty)
 *
 * A key is prefix ++ suffix. The prefix is what all keys of the page share, by their content (never by fences: pages at
 * the edge of the tree would have useless heads); it need not be the longest. The head is the first four bytes of the
 * suffix, zero-padded, big-endian, sign bit flipped: heads compare like the keys and are small integers. The *tail* is
 * the suffix from its fifth byte; the first four are stored in the head alone. Records are 4-aligned, and so are values.
 *
 * Order of two keys of one page: by head; if equal, by tail bytes; if one ends first, it is smaller. Zero padding makes
 * 'a' and 'a\0' equal in their heads, and the last rule tells them apart: where heads are equal and one suffix has at
 * most four bytes, that suffix padded with zeros equals the start of the other, so it is a prefix of the other or differs
 * from it by trailing zeros only. In both cases the shorter is the smaller.
 *
 * Slot 0 of an inner page stands for −∞: no key, suffix length 0, and not among those that share the prefix.
 *
 * Book-keeping, which `verify` checks: heap start = (Size − prefix length) rounded down to 4, and
 * heap start − heap top = bytes of all records + garbage.
 */
export const enum Slot {
  LeafBytes = 8,
  InnerBytes = 12,
  /** Bytes of the suffix that live in the head. */
  HeadBytes = 4,
  /** The value length in front of a leaf record. */
  RecordHeader = 2,
}

/** The header field that is free for the page type: how the last inserts into a leaf lay (see `noteInsert`). */
export const enum LeafRun {
  Field = 18,
  SlotMask = 0x7ff,
  AscendingShift = 11,
  DescendingShift = 13,
  /** A run of this many neighbouring inserts counts as a run; longer ones are not told apart. */
  Long = 3,
}

/** What slots, records and prefix share. */
export const PAGE_CAPACITY: number = Page.Size - Page.HeaderSize

/**
 * Longest entry (key bytes + value bytes): with slot, header and paddings it takes at most a quarter of a page, in a leaf
 * and, as a separator, in an inner page.
 */
export const MAX_ENTRY: number = (PAGE_CAPACITY >> 2) - 16

/** A search key must be followed by this many zero bytes. */
export const KEY_PADDING = 8

/** What a head is XORed with: its sign bit. */
export const SIGN = 0x80000000

export function headOf(key: Uint8Array, at: number): number {
  return ((key[at] << 24) | (key[at + 1] << 16) | (key[at + 2] << 8) | key[at + 3]) ^ SIGN
}

export function leafRecordBytes(suffixLength: number, valueLength: number): number {
  const tail = suffixLength > Slot.HeadBytes ? suffixLength - Slot.HeadBytes : 0
  return ((Slot.RecordHeader + tail + 3) & ~3) + ((valueLength + 3) & ~3)
}

export function innerRecordBytes(suffixLength: number): number {
  return suffixLength > Slot.HeadBytes ? (suffixLength - Slot.HeadBytes + 3) & ~3 : 0
}

/** Where the heap of a page with this prefix begins (it grows down). */
export function heapStart(prefixLength: number): number {
  return (Page.Size - prefixLength) & ~3
}
