/**
 * Nominal ids. A bare `number` never stands for one of these in a signature: passing a page where a tree is
 * wanted is a type error. All are plain numbers at run time; those that can exceed 2^31 stay below 2^53.
 */
declare const brand: unique symbol
type Id<Name extends string> = number & { readonly [brand]: Name }

/** Logical page number, 1 … 2^31−1; 0 means "no page". The page map knows where it lies. */
export type PageId = Id<'PageId'>
/** Index of a 16 KiB block in the data file; 0 and 1 are the superblocks, so 0 also means "nowhere". */
export type BlockNumber = Id<'BlockNumber'>
/** Byte offset of a frame in the buffer pool's slab (a multiple of the page size). */
export type FrameBase = Id<'FrameBase'>
/** Identifies a B-tree for ever; never reused. */
export type TreeId = Id<'TreeId'>
/** Identifies a table for ever; never reused. */
export type TableId = Id<'TableId'>
/** Transaction id: grows, given at the first write. 0 is "before all". Below 2^48. */
export type TrxId = Id<'TrxId'>
/** Order of commits (D7): what purge and views compare. Below 2^48. */
export type CommitNumber = Id<'CommitNumber'>
/** Byte position in the endless logical write-ahead log. Below 2^53. */
export type LogPosition = Id<'LogPosition'>
/** Number of a checkpoint, 1 …; a page's birth interval is the number of the checkpoint that will first hold it. */
export type CheckpointNumber = Id<'CheckpointNumber'>

export const NO_PAGE: PageId = 0 as PageId
