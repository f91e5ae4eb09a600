import { assert } from '../base/assert.js'
import type { FrameBase, PageId } from '../base/ids.js'
import { Page } from './page-format.js'
import { SlottedPages } from './slotted-page.js'
import {
  heapStart,
  innerRecordBytes,
  KEY_PADDING,
  LeafRun,
  leafRecordBytes,
  MAX_ENTRY,
  PAGE_CAPACITY,
  Slot,
} from './slotted-page-layout.js'

/**
 * What rewrites whole pages: compaction, change of prefix, split, merge.
 *
 * Each works from an image of the page in scratch memory. All scratch here is live within one synchronous call only.
 *
 * **Every split fits.** Let C = PAGE_CAPACITY, E the largest entry with its slot; MAX_ENTRY gives E ≤ C/4. A page is split
 * only when an entry of at most E bytes found no room in it even after compaction under the prefix p it has, p taking a
 * bytes; so the sum T of all sizes under p, the new entry's included, is above C − a and at most C − a + E. An entry that
 * has p inside its key takes at most E − a + 10 under it.
 * 1. The new key shares p. A balanced split takes for the left side the fewest entries that hold at least T/2: less than
 *    T/2 + E − a + 10, and at most T/2 remain for the right. With the prefix, either side takes less than
 *    (C − a + E)/2 + E − a + 10 + a ≤ 7C/8 + 10 − a/2. A side is then written under the longest prefix q of its content,
 *    which may be longer than p: that adds |q| − |p| (+ 3 by rounding) once, and takes max(0, |q| − |p| − 7) or more off
 *    each entry, four bytes being in the head either way and three lost to rounding: at most 10 bytes more. Both sides
 *    fit. So they do in splits beside a run of inserts, by the same count with SLACK to spare.
 * 2. It does not share p: then it is smaller or larger than all keys that do, so it lies at the edge. In a leaf it goes
 *    into a page alone. In an inner page it goes with the neighbouring child, whose key moves up to the parent or is
 *    slot 0. What stays is part of a page that did fit.
 * An inner page that overflows has at least four keys, so each side gets two children at least.
 */

/** An entry on its way into a page. Leaf: key and value; inner: key and child. Reused. */
export class Newcomer {
  slot = 0
  key: Uint8Array = NOTHING
  length = 0
  value: Uint8Array = NOTHING
  start = 0
  end = 0
  child: PageId = 0 as PageId
}

const NOTHING: Uint8Array = new Uint8Array(KEY_PADDING)

/** See the proof: what a longer prefix may cost a page at worst, rounded up. */
const SLACK = 16

/** For any key of a tree and its padding. */
export function keyScratch(): Uint8Array {
  return new Uint8Array(MAX_ENTRY + 2 * KEY_PADDING)
}

const image: SlottedPages = scratchPage()
const imageBytes: Buffer = Buffer.from(image.u8.buffer)
const IMAGE = 0 as FrameBase
const firstKey: Uint8Array = keyScratch()
const lastKey: Uint8Array = keyScratch()
const movedKey: Uint8Array = keyScratch()

function scratchPage(): SlottedPages {
  const bytes = new ArrayBuffer(Page.Size)
  return new SlottedPages(new Uint8Array(bytes), new Uint16Array(bytes), new Int32Array(bytes), new Uint32Array(bytes))
}

/** Length of the common prefix of two keys, at most `limit`. */
export function commonPrefix(a: Uint8Array, b: Uint8Array, limit: number): number {
  let length = 0
  while (length < limit && a[length] === b[length]) length++
  return length
}

/** Makes the page an empty one, of its level, whose keys are to share key[0, prefix). Links stay. */
export function startPage(pages: SlottedPages, base: FrameBase, key: Uint8Array, prefix: number): void {
  pages.u16[(base + Page.Count) >> 1] = 0
  pages.u16[(base + Page.PrefixLength) >> 1] = prefix
  pages.u16[(base + Page.HeapTop) >> 1] = heapStart(prefix)
  pages.u16[(base + Page.Garbage) >> 1] = 0
  const at = base + Page.Size - prefix
  for (let i = 0; i < prefix; i++) pages.u8[at + i] = key[i]
}

/**
 * Makes room in a page for an entry that `…HasRoom` refused: compacts it under a prefix the new key shares, the longest
 * one if that fits, else the present one. False, and nothing changed, if the page must be split.
 */
export function makeRoom(pages: SlottedPages, base: FrameBase, newcomer: Newcomer): boolean {
  const count = pages.count(base)
  const leaf = pages.level(base) === 0
  const lowest = leaf ? 0 : 1
  const { key, length } = newcomer
  let prefix = length
  if (count > lowest) {
    const first = pages.copyKey(base, lowest, firstKey)
    const last = pages.copyKey(base, count - 1, lastKey)
    prefix = Math.min(commonPrefix(firstKey, key, Math.min(first, length)), commonPrefix(lastKey, key, Math.min(last, length)))
  }
  if (!fitsUnder(pages, base, prefix, newcomer)) {
    prefix = pages.prefixLength(base)
    if (pages.comparePrefix(base, prefix, key, length) !== 0 || !fitsUnder(pages, base, prefix, newcomer)) return false
  }
  takeImage(pages, base)
  startPage(pages, base, key, prefix)
  appendRange(image, IMAGE, 0, count, pages, base)
  return true
}

function fitsUnder(pages: SlottedPages, base: FrameBase, prefix: number, newcomer: Newcomer): boolean {
  const before = Page.Size - heapStart(prefix) + contentBytes(pages, base, 0, pages.count(base), prefix)
  return before + newcomerBytes(newcomer, prefix, pages.level(base)) <= PAGE_CAPACITY
}

function newcomerBytes(newcomer: Newcomer, prefix: number, level: number): number {
  const suffix = newcomer.length - prefix
  if (level === 0) return Slot.LeafBytes + leafRecordBytes(suffix, newcomer.end - newcomer.start)
  return Slot.InnerBytes + innerRecordBytes(suffix)
}

/** Bytes the slots [from, to) and their records would take under another prefix. */
function contentBytes(pages: SlottedPages, base: FrameBase, from: number, to: number, prefix: number): number {
  const longer = pages.prefixLength(base) - prefix
  let bytes = 0
  if (pages.level(base) === 0) {
    for (let slot = from; slot < to; slot++) {
      bytes += Slot.LeafBytes + leafRecordBytes(pages.suffixLength(base, slot) + longer, pages.valueLength(base, slot))
    }
  } else {
    for (let slot = from; slot < to; slot++) {
      bytes += Slot.InnerBytes + (slot === 0 ? 0 : innerRecordBytes(pages.suffixLength(base, slot) + longer))
    }
  }
  return bytes
}

function takeImage(pages: SlottedPages, base: FrameBase): void {
  // A view of one page, a few times per hundred inserts: the copy itself is what costs.
  imageBytes.set(pages.u8.subarray(base, base + Page.Size))
}

/** Appends the slots [from, to) of one page to another, whose prefix is set; recodes them if the prefixes differ. */
function appendRange(source: SlottedPages, sourceBase: FrameBase, from: number, to: number, pages: SlottedPages, base: FrameBase): void {
  const samePrefix = source.prefixLength(sourceBase) === pages.prefixLength(base)
  const leaf = pages.level(base) === 0
  for (let slot = from; slot < to; slot++) {
    const at = pages.count(base)
    if (!leaf && at === 0) pages.insertInnerEntry(base, 0, NOTHING, 0, source.child(sourceBase, slot))
    else if (samePrefix) appendAsIs(source, sourceBase, slot, pages, base)
    else {
      const length = source.copyKey(sourceBase, slot, movedKey)
      if (leaf) appendLeafEntry(source, sourceBase, slot, length, pages, base)
      else pages.insertInnerEntry(base, at, movedKey, length, source.child(sourceBase, slot))
    }
  }
}

/** The key is in movedKey. */
function appendLeafEntry(
  source: SlottedPages,
  sourceBase: FrameBase,
  slot: number,
  length: number,
  pages: SlottedPages,
  base: FrameBase,
): void {
  const start = source.valueOffset(sourceBase, slot)
  const end = start + source.valueLength(sourceBase, slot)
  pages.insertLeafEntry(base, pages.count(base), movedKey, length, source.u8, start, end)
}

function appendAsIs(source: SlottedPages, sourceBase: FrameBase, slot: number, pages: SlottedPages, base: FrameBase): void {
  const size = source.recordBytes(sourceBase, slot)
  const count = pages.count(base)
  const top = pages.u16[(base + Page.HeapTop) >> 1] - size
  const from = source.slotAt(sourceBase, slot)
  const to = pages.slotAt(base, count) >> 2
  pages.i32[to] = source.i32[from >> 2]
  pages.i32[to + 1] = top | (source.u16[(from + 6) >> 1] << 16)
  if (pages.level(base) !== 0) pages.i32[to + 2] = source.i32[(from >> 2) + 2]
  const record = (sourceBase + source.u16[(from + 4) >> 1]) >> 2
  const target = (base + top) >> 2
  for (let i = 0; i < size >> 2; i++) pages.i32[target + i] = source.i32[record + i]
  pages.u16[(base + Page.HeapTop) >> 1] = top
  pages.u16[(base + Page.Count) >> 1] = count + 1
}

/**
 * Where to split a full page with its newcomer: how many of the count + 1 entries go to the left. `last`: the page is the
 * last of its level.
 */
export function chooseSplit(pages: SlottedPages, base: FrameBase, newcomer: Newcomer, last: boolean): number {
  const count = pages.count(base)
  const { slot } = newcomer
  const leaf = pages.level(base) === 0
  // An inner page gives its right half two children at least.
  const edge = leaf ? 1 : 2
  if (last && slot === count) return count + 1 - edge
  const prefix = pages.prefixLength(base)
  if (pages.comparePrefix(base, prefix, newcomer.key, newcomer.length) !== 0) return slot === count ? count + 1 - edge : edge
  if (leaf) {
    const split = splitBesideRun(pages, base, newcomer)
    if (split !== 0) return split
  }
  return balancedSplit(pages, base, newcomer)
}

/**
 * After a run of neighbouring inserts more of the same are likely: leaves the run's page full and the gap where it goes on
 * at the end (or start) of a page. 0 if there is no run. The newcomer goes with its run if that fits; if not, the run takes
 * more than 3C/4 − SLACK without it and what lies beyond less than C/4, so it fits there.
 */
function splitBesideRun(pages: SlottedPages, base: FrameBase, newcomer: Newcomer): number {
  const { slot } = newcomer
  const count = pages.count(base)
  const run = pages.u16[(base + LeafRun.Field) >> 1]
  const last = run & LeafRun.SlotMask
  const ascending = slot === last + 1 && ((run >>> LeafRun.AscendingShift) & LeafRun.Long) >= 2
  const descending = slot === last && run >>> LeafRun.DescendingShift >= 2
  if (!ascending && !descending) return 0
  if (slot === 0) return 1
  if (slot === count) return count
  const prefix = pages.prefixLength(base)
  const room = PAGE_CAPACITY - SLACK - (Page.Size - heapStart(prefix)) - newcomerBytes(newcomer, prefix, 0)
  if (ascending) return contentBytes(pages, base, 0, slot, prefix) <= room ? slot + 1 : slot
  return contentBytes(pages, base, slot, count, prefix) <= room ? slot : slot + 1
}

function balancedSplit(pages: SlottedPages, base: FrameBase, newcomer: Newcomer): number {
  const count = pages.count(base)
  const prefix = pages.prefixLength(base)
  const own = newcomerBytes(newcomer, prefix, pages.level(base))
  const total = contentBytes(pages, base, 0, count, prefix) + own
  let left = 0
  let split = 0
  while (left * 2 < total) {
    if (split === newcomer.slot) left += own
    else {
      const slot = split < newcomer.slot ? split : split - 1
      left += contentBytes(pages, base, slot, slot + 1, prefix)
    }
    split++
  }
  return split
}

/**
 * Splits a page: the first `split` of its entries with the newcomer stay, the others go to `right`, an empty page of the
 * same level. Returns the length of the key that separates the two, left in `separator`: for leaves the shortest that does,
 * for inner pages that of the right page's first child, which keeps it no longer.
 */
export function splitPage(
  pages: SlottedPages,
  base: FrameBase,
  right: FrameBase,
  split: number,
  newcomer: Newcomer,
  separator: Uint8Array,
): number {
  const count = pages.count(base)
  const leaf = pages.level(base) === 0
  const below = virtualKey(pages, base, newcomer, split - 1, firstKey)
  let length = virtualKey(pages, base, newcomer, split, separator)
  const shared = commonPrefix(firstKey, separator, Math.min(below, length))
  // A page that starts with one entry gets the prefix it shares with its neighbour: what follows will share it as well.
  fill(pages, base, newcomer, split, count + 1, right, split === count ? shared : MAX_ENTRY)
  if (split !== count || newcomer.slot !== count) {
    takeImage(pages, base)
    fill(image, IMAGE, newcomer, 0, split, base, split === 1 ? shared : MAX_ENTRY, pages)
  }
  if (leaf) {
    // Right's first key is not a prefix of left's last: it has a byte after what they share.
    length = shared + 1
    for (let i = 0; i < KEY_PADDING; i++) separator[length + i] = 0
  }
  return length
}

/** Key number `index` among the page's entries and the newcomer. */
function virtualKey(pages: SlottedPages, base: FrameBase, newcomer: Newcomer, index: number, target: Uint8Array): number {
  if (index !== newcomer.slot) return pages.copyKey(base, index < newcomer.slot ? index : index - 1, target)
  for (let i = 0; i < newcomer.length + KEY_PADDING; i++) target[i] = newcomer.key[i]
  return newcomer.length
}

/** Fills a page with the entries [from, to) of a source page and the newcomer. */
function fill(
  source: SlottedPages,
  sourceBase: FrameBase,
  newcomer: Newcomer,
  from: number,
  to: number,
  base: FrameBase,
  longestPrefix: number,
  pages: SlottedPages = source,
): void {
  const leaf = pages.level(base) === 0
  const lowest = leaf ? from : from + 1
  let prefix = 0
  if (lowest < to) {
    const first = virtualKey(source, sourceBase, newcomer, lowest, firstKey)
    const last = virtualKey(source, sourceBase, newcomer, to - 1, lastKey)
    prefix = Math.min(longestPrefix, commonPrefix(firstKey, lastKey, Math.min(first, last)))
  }
  startPage(pages, base, firstKey, prefix)
  const { slot } = newcomer
  if (leaf) pages.u16[(base + LeafRun.Field) >> 1] = slot >= from && slot < to ? slot - from : 0
  appendRange(source, sourceBase, from, Math.min(slot, to), pages, base)
  if (slot >= from && slot < to) {
    const { key, length } = newcomer
    if (leaf) pages.insertLeafEntry(base, slot - from, key, length, newcomer.value, newcomer.start, newcomer.end)
    else pages.insertInnerEntry(base, slot - from, key, length, newcomer.child)
  }
  appendRange(source, sourceBase, Math.max(slot, from - 1), to - 1, pages, base)
  assert(pages.freeBytes(base) >= 0, 'a half of a split page overflows')
}

/**
 * Moves everything of `right` behind the entries of `left` if together they take at most `limit` bytes. `separator` is the
 * key between the two, which an inner page takes in. Neither is empty. False, and nothing changed, if they do not fit.
 */
export function mergePages(
  pages: SlottedPages,
  left: FrameBase,
  right: FrameBase,
  separator: Uint8Array,
  separatorLength: number,
  limit: number,
): boolean {
  const leaf = pages.level(left) === 0
  const leftCount = pages.count(left)
  const rightCount = pages.count(right)
  let first = separatorLength
  let last = separatorLength
  if (leaf || leftCount > 1) first = pages.copyKey(left, leaf ? 0 : 1, firstKey)
  else firstKey.set(separator)
  if (leaf || rightCount > 1) last = pages.copyKey(right, rightCount - 1, lastKey)
  else lastKey.set(separator)
  const prefix = commonPrefix(firstKey, lastKey, Math.min(first, last))
  let bytes = Page.Size - heapStart(prefix) + contentBytes(pages, left, 0, leftCount, prefix)
  bytes += contentBytes(pages, right, 0, rightCount, prefix)
  if (!leaf) bytes += innerRecordBytes(separatorLength - prefix)
  if (bytes > limit) return false
  takeImage(pages, left)
  startPage(pages, left, firstKey, prefix)
  appendRange(image, IMAGE, 0, leftCount, pages, left)
  if (!leaf) pages.insertInnerEntry(left, leftCount, separator, separatorLength, pages.child(right, 0))
  appendRange(pages, right, leaf ? 0 : 1, rightCount, pages, left)
  if (leaf) pages.u16[(left + LeafRun.Field) >> 1] = 0
  return true
}
