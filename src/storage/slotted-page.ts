import type { FrameBase, PageId, TreeId } from '../base/ids.js'
import { Page, PageType } from './page-format.js'
import { headOf, heapStart, innerRecordBytes, KEY_PADDING, LeafRun, leafRecordBytes, SIGN, Slot } from './slotted-page-layout.js'

export { KEY_PADDING, MAX_ENTRY } from './slotted-page-layout.js'

/** The pages of one slab, by base offset. Knows bytes only; whoever changes a page has announced it to the store. */
export class SlottedPages {
  readonly u8: Uint8Array
  readonly u16: Uint16Array
  readonly i32: Int32Array
  readonly u32: Uint32Array
  /** The array values were last copied from, and its bytes as words: a caller has one or two such arrays for life. */
  private source: Uint8Array
  private sourceWords: Int32Array

  constructor(u8: Uint8Array, u16: Uint16Array, i32: Int32Array, u32: Uint32Array) {
    this.u8 = u8
    this.u16 = u16
    this.i32 = i32
    this.u32 = u32
    this.source = u8
    this.sourceWords = i32
  }

  level(base: FrameBase): number {
    return this.u8[base + Page.Level]
  }

  count(base: FrameBase): number {
    return this.u16[(base + Page.Count) >> 1]
  }

  prefixLength(base: FrameBase): number {
    return this.u16[(base + Page.PrefixLength) >> 1]
  }

  pageId(base: FrameBase): PageId {
    return this.u32[(base + Page.Id) >> 2] as PageId
  }

  left(base: FrameBase): PageId {
    return this.u32[(base + Page.Left) >> 2] as PageId
  }

  right(base: FrameBase): PageId {
    return this.u32[(base + Page.Right) >> 2] as PageId
  }

  child(base: FrameBase, slot: number): PageId {
    return this.u32[((base + Page.HeaderSize) >> 2) + slot * 3 + 2] as PageId
  }

  /** Byte offset in the slab of a slot, leaf or inner. */
  slotAt(base: FrameBase, slot: number): number {
    return base + Page.HeaderSize + slot * (this.u8[base + Page.Level] === 0 ? Slot.LeafBytes : Slot.InnerBytes)
  }

  suffixLength(base: FrameBase, slot: number): number {
    return this.u16[(this.slotAt(base, slot) + 6) >> 1]
  }

  keyLength(base: FrameBase, slot: number): number {
    return this.prefixLength(base) + this.suffixLength(base, slot)
  }

  valueLength(base: FrameBase, slot: number): number {
    const offset = this.u16[(base + Page.HeaderSize + slot * Slot.LeafBytes + 4) >> 1]
    return this.u16[(base + offset) >> 1]
  }

  /** Byte offset in the slab. */
  valueOffset(base: FrameBase, slot: number): number {
    const place = this.i32[((base + Page.HeaderSize) >> 2) + (slot << 1) + 1]
    const suffix = place >>> 16
    const tail = suffix > Slot.HeadBytes ? suffix - Slot.HeadBytes : 0
    return base + (((place & 0xffff) + Slot.RecordHeader + tail + 3) & ~3)
  }

  /** Bytes of the slot's record, as counted by heap top and garbage. */
  recordBytes(base: FrameBase, slot: number): number {
    const suffix = this.suffixLength(base, slot)
    return this.u8[base + Page.Level] === 0 ? leafRecordBytes(suffix, this.valueLength(base, slot)) : innerRecordBytes(suffix)
  }

  /** Bytes in use: slots, records, prefix. At most PAGE_CAPACITY. */
  usedBytes(base: FrameBase): number {
    const slotBytes = this.u8[base + Page.Level] === 0 ? Slot.LeafBytes : Slot.InnerBytes
    return this.count(base) * slotBytes + Page.Size - this.u16[(base + Page.HeapTop) >> 1] - this.u16[(base + Page.Garbage) >> 1]
  }

  /** Bytes between slots and heap. */
  freeBytes(base: FrameBase): number {
    const slotBytes = this.u8[base + Page.Level] === 0 ? Slot.LeafBytes : Slot.InnerBytes
    return this.u16[(base + Page.HeapTop) >> 1] - Page.HeaderSize - this.count(base) * slotBytes
  }

  /** Position of a key in a leaf: its slot, or ~slot of the first larger entry (~count if there is none). */
  searchLeaf(base: FrameBase, key: Uint8Array, length: number): number {
    const { u16, i32 } = this
    const prefix = u16[(base + Page.PrefixLength) >> 1]
    const count = u16[(base + Page.Count) >> 1]
    if (prefix !== 0) {
      const side = this.comparePrefix(base, prefix, key, length)
      if (side !== 0) return side < 0 ? ~0 : ~count
    }
    const head = headOf(key, prefix)
    const slots = (base + Page.HeaderSize) >> 2
    let low = 0
    let high = count
    while (low < high) {
      const middle = (low + high) >>> 1
      const other = i32[slots + (middle << 1)]
      if (other < head) low = middle + 1
      else if (other > head) high = middle
      else {
        const place = i32[slots + (middle << 1) + 1]
        const order = this.compareTail(base + (place & 0xffff) + Slot.RecordHeader, prefix + (place >>> 16), key, prefix, length)
        if (order === 0) return middle
        if (order < 0) low = middle + 1
        else high = middle
      }
    }
    return ~low
  }

  /** Whether the frame, whatever it holds, shows a leaf of this tree with this key at this slot. */
  leafHasKeyAt(base: FrameBase, slot: number, tree: TreeId, key: Uint8Array, length: number): boolean {
    const { u16, i32 } = this
    // Type and level together: a leaf of level 0.
    if (u16[(base + Page.Type) >> 1] !== PageType.Leaf || this.u32[(base + Page.Tree) >> 2] !== tree) return false
    if (slot >= u16[(base + Page.Count) >> 1]) return false
    const prefix = u16[(base + Page.PrefixLength) >> 1]
    const slotAt = ((base + Page.HeaderSize) >> 2) + (slot << 1)
    const place = i32[slotAt + 1]
    if (i32[slotAt] !== headOf(key, prefix) || prefix + (place >>> 16) !== length) return false
    if (this.comparePrefix(base, prefix, key, length) !== 0) return false
    return this.compareTail(base + (place & 0xffff) + Slot.RecordHeader, length, key, prefix, length) === 0
  }

  /** The slot of an inner page whose child is responsible for the key: the last one that is not larger. */
  searchInner(base: FrameBase, key: Uint8Array, length: number): number {
    const { u16, i32 } = this
    const prefix = u16[(base + Page.PrefixLength) >> 1]
    const count = u16[(base + Page.Count) >> 1]
    if (prefix !== 0) {
      const side = this.comparePrefix(base, prefix, key, length)
      if (side !== 0) return side < 0 ? 0 : count - 1
    }
    const head = headOf(key, prefix)
    const slots = (base + Page.HeaderSize) >> 2
    let low = 1
    let high = count
    while (low < high) {
      const middle = (low + high) >>> 1
      const at = slots + middle * 3
      const other = i32[at]
      if (other < head) low = middle + 1
      else if (other > head) high = middle
      else {
        const place = i32[at + 1]
        if (this.compareTail(base + (place & 0xffff), prefix + (place >>> 16), key, prefix, length) <= 0) low = middle + 1
        else high = middle
      }
    }
    return low - 1
  }

  /** Whether the key is larger than all of a leaf that is not empty. */
  isBeyondLeaf(base: FrameBase, key: Uint8Array, length: number): boolean {
    const { u16, i32 } = this
    const prefix = u16[(base + Page.PrefixLength) >> 1]
    const side = this.comparePrefix(base, prefix, key, length)
    if (side !== 0) return side > 0
    const head = headOf(key, prefix)
    const slotAt = ((base + Page.HeaderSize) >> 2) + ((u16[(base + Page.Count) >> 1] - 1) << 1)
    if (i32[slotAt] !== head) return i32[slotAt] < head
    const place = i32[slotAt + 1]
    return this.compareTail(base + (place & 0xffff) + Slot.RecordHeader, prefix + (place >>> 16), key, prefix, length) < 0
  }

  /** 0 if the key begins with the page's prefix, else on which side of all keys with that prefix it lies. */
  comparePrefix(base: FrameBase, prefix: number, key: Uint8Array, length: number): number {
    const { u8 } = this
    const at = base + Page.Size - prefix
    const end = length < prefix ? length : prefix
    for (let i = 0; i < end; i++) {
      const difference = key[i] - u8[at + i]
      if (difference !== 0) return difference
    }
    return length < prefix ? -1 : 0
  }

  /** Entry minus key, where prefix and heads are equal. `tailAt`: the entry's tail in the slab. */
  private compareTail(tailAt: number, entryLength: number, key: Uint8Array, prefix: number, length: number): number {
    const { u8 } = this
    const start = prefix + Slot.HeadBytes
    const end = entryLength < length ? entryLength : length
    for (let i = start; i < end; i++) {
      const difference = u8[tailAt + i - start] - key[i]
      if (difference !== 0) return difference
    }
    return entryLength - length
  }

  /** Copies a key, leaf or inner, and KEY_PADDING zero bytes after it; returns its length. */
  copyKey(base: FrameBase, slot: number, target: Uint8Array): number {
    const { u8, i32 } = this
    const prefix = this.u16[(base + Page.PrefixLength) >> 1]
    const prefixAt = base + Page.Size - prefix
    for (let i = 0; i < prefix; i++) target[i] = u8[prefixAt + i]
    const leaf = u8[base + Page.Level] === 0
    const slotAt = (base + Page.HeaderSize + slot * (leaf ? Slot.LeafBytes : Slot.InnerBytes)) >> 2
    const head = i32[slotAt] ^ SIGN
    target[prefix] = head >>> 24
    target[prefix + 1] = head >>> 16
    target[prefix + 2] = head >>> 8
    target[prefix + 3] = head
    const place = i32[slotAt + 1]
    const length = prefix + (place >>> 16)
    let tailAt = base + (place & 0xffff) + (leaf ? Slot.RecordHeader : 0)
    for (let i = prefix + Slot.HeadBytes; i < length; i++) target[i] = u8[tailAt++]
    for (let i = length; i < length + KEY_PADDING; i++) target[i] = 0
    return length
  }

  /**
   * Whether an entry can go to this slot of a leaf as the page is. Only a key at the edge can lack the prefix: one that
   * lies between two that share it shares it too. An empty page takes its prefix from its first key.
   */
  leafHasRoom(base: FrameBase, slot: number, key: Uint8Array, length: number, valueLength: number): boolean {
    const count = this.u16[(base + Page.Count) >> 1]
    const prefix = this.u16[(base + Page.PrefixLength) >> 1]
    if (slot === 0 || slot === count) {
      if (count === 0 || this.comparePrefix(base, prefix, key, length) !== 0) return false
    }
    const free = this.u16[(base + Page.HeapTop) >> 1] - Page.HeaderSize - count * Slot.LeafBytes
    return free >= Slot.LeafBytes + leafRecordBytes(length - prefix, valueLength)
  }

  /** The same for an inner page and a slot ≥ 1. */
  innerHasRoom(base: FrameBase, slot: number, key: Uint8Array, length: number): boolean {
    const count = this.u16[(base + Page.Count) >> 1]
    const prefix = this.u16[(base + Page.PrefixLength) >> 1]
    if (slot === 1 || slot === count) {
      if (count === 1 || this.comparePrefix(base, prefix, key, length) !== 0) return false
    }
    return this.freeBytes(base) >= Slot.InnerBytes + innerRecordBytes(length - prefix)
  }

  /** Writes an entry for which there is room. */
  insertLeafEntry(base: FrameBase, slot: number, key: Uint8Array, length: number, value: Uint8Array, start: number, end: number): void {
    const { u8, u16, i32 } = this
    const count = u16[(base + Page.Count) >> 1]
    const prefix = u16[(base + Page.PrefixLength) >> 1]
    const suffix = length - prefix
    const offset = u16[(base + Page.HeapTop) >> 1] - leafRecordBytes(suffix, end - start)
    u16[(base + Page.HeapTop) >> 1] = offset
    u16[(base + Page.Count) >> 1] = count + 1
    const slots = (base + Page.HeaderSize) >> 2
    if (slot !== count) this.shiftWords(slots + (slot << 1), slots + (count << 1), 2)
    i32[slots + (slot << 1)] = headOf(key, prefix)
    i32[slots + (slot << 1) + 1] = offset | (suffix << 16)
    u16[(base + offset) >> 1] = end - start
    let at = base + offset + Slot.RecordHeader
    for (let i = prefix + Slot.HeadBytes; i < length; i++) u8[at++] = key[i]
    this.copyIn(value, start, end, (at + 3) & ~3)
  }

  /** Writes a child for which there is room; its key is not written at slot 0. */
  insertInnerEntry(base: FrameBase, slot: number, key: Uint8Array, length: number, child: PageId): void {
    const { u8, u16, i32 } = this
    const count = u16[(base + Page.Count) >> 1]
    const prefix = slot === 0 ? 0 : u16[(base + Page.PrefixLength) >> 1]
    const suffix = slot === 0 ? 0 : length - prefix
    const offset = u16[(base + Page.HeapTop) >> 1] - innerRecordBytes(suffix)
    u16[(base + Page.HeapTop) >> 1] = offset
    u16[(base + Page.Count) >> 1] = count + 1
    const slots = (base + Page.HeaderSize) >> 2
    const slotAt = slots + slot * 3
    if (slot !== count) this.shiftWords(slotAt, slots + count * 3, 3)
    i32[slotAt] = slot === 0 ? SIGN : headOf(key, prefix)
    i32[slotAt + 1] = offset | (suffix << 16)
    this.u32[slotAt + 2] = child
    let at = base + offset
    for (let i = prefix + Slot.HeadBytes; i < prefix + suffix; i++) u8[at++] = key[i]
  }

  /** Takes a slot out of a leaf. An emptied one has no garbage. */
  removeLeafEntry(base: FrameBase, slot: number): void {
    this.dropRecord(base, slot)
    const slots = (base + Page.HeaderSize) >> 2
    const count = this.count(base)
    this.u8.copyWithin((slots + (slot << 1)) << 2, (slots + (slot << 1) + 2) << 2, (slots + (count << 1)) << 2)
    this.u16[(base + Page.Count) >> 1] = count - 1
    this.u16[(base + LeafRun.Field) >> 1] = 0
    if (count > 1) return
    this.u16[(base + Page.HeapTop) >> 1] = heapStart(this.prefixLength(base))
    this.u16[(base + Page.Garbage) >> 1] = 0
  }

  /** Takes a slot out of an inner page. A new slot 0 gives up its key. */
  removeInnerEntry(base: FrameBase, slot: number): void {
    this.dropRecord(base, slot)
    const slots = (base + Page.HeaderSize) >> 2
    const count = this.count(base)
    this.u8.copyWithin((slots + slot * 3) << 2, (slots + slot * 3 + 3) << 2, (slots + count * 3) << 2)
    this.u16[(base + Page.Count) >> 1] = count - 1
    if (slot === 0 && count > 1) {
      this.dropRecord(base, 0)
      this.i32[slots] = SIGN
      this.i32[slots + 1] = 0
    }
  }

  /**
   * Gives a leaf entry another value without moving its key: in place, or by a new record if the heap has room.
   * False, and nothing changed, if it has not.
   */
  rewriteValue(base: FrameBase, slot: number, value: Uint8Array, start: number, end: number): boolean {
    const { u16 } = this
    const slotAt = (base + Page.HeaderSize + slot * Slot.LeafBytes) >> 1
    const offset = u16[slotAt + 2]
    const suffix = u16[slotAt + 3]
    const before = leafRecordBytes(suffix, u16[(base + offset) >> 1])
    const after = leafRecordBytes(suffix, end - start)
    if (after <= before) {
      u16[(base + offset) >> 1] = end - start
      u16[(base + Page.Garbage) >> 1] += before - after
      this.copyIn(value, start, end, this.valueOffset(base, slot))
      return true
    }
    if (this.freeBytes(base) < after) return false
    const moved = u16[(base + Page.HeapTop) >> 1] - after
    u16[(base + Page.HeapTop) >> 1] = moved
    u16[(base + Page.Garbage) >> 1] += before
    const keyWords = leafRecordBytes(suffix, 0) >> 2
    for (let i = 0; i < keyWords; i++) this.i32[((base + moved) >> 2) + i] = this.i32[((base + offset) >> 2) + i]
    u16[slotAt + 2] = moved
    u16[(base + moved) >> 1] = end - start
    this.copyIn(value, start, end, this.valueOffset(base, slot))
    return true
  }

  /** The slot's record becomes garbage, or free at once if it is the lowest. */
  private dropRecord(base: FrameBase, slot: number): void {
    const size = this.recordBytes(base, slot)
    if (size === 0) return
    const offset = this.u16[(this.slotAt(base, slot) + 4) >> 1]
    if (offset === this.u16[(base + Page.HeapTop) >> 1]) this.u16[(base + Page.HeapTop) >> 1] = offset + size
    else this.u16[(base + Page.Garbage) >> 1] += size
  }

  /** Moves the words [from, to) up by `distance` words. */
  private shiftWords(from: number, to: number, distance: number): void {
    const { i32 } = this
    if (to - from > 64) {
      this.u8.copyWithin((from + distance) << 2, from << 2, to << 2)
      return
    }
    for (let i = to - 1; i >= from; i--) i32[i + distance] = i32[i]
  }

  /** Copies value[start, end) to a 4-aligned place in the slab: by words where the source allows it. */
  private copyIn(value: Uint8Array, start: number, end: number, at: number): void {
    const { u8, i32 } = this
    if (value !== this.source) this.adopt(value)
    const words = this.sourceWords
    let from = start
    let to = at
    if ((start & 3) === 0 && words.length !== 0) {
      const stop = end >> 2
      let word = to >> 2
      for (let i = start >> 2; i < stop; i++) i32[word++] = words[i]
      to = word << 2
      from = stop << 2
    }
    while (from < end) u8[to++] = value[from++]
  }

  /** Remembers the word view of a source; an empty one if the array does not lie on a word boundary. */
  private adopt(value: Uint8Array): void {
    this.source = value
    if (value === this.u8) this.sourceWords = this.i32
    else if ((value.byteOffset & 3) !== 0) this.sourceWords = NO_WORDS
    else this.sourceWords = new Int32Array(value.buffer, value.byteOffset, value.length >> 2)
  }

  /**
   * Remembers in the page where the last insert went and how many in a row lay next to each other, upwards or downwards:
   * a split follows such a run. Interleaved runs in different pages are thus told apart.
   */
  noteInsert(base: FrameBase, slot: number): void {
    const field = (base + LeafRun.Field) >> 1
    const before = this.u16[field]
    const last = before & LeafRun.SlotMask
    let run = 0
    if (slot === last + 1) {
      const length = (before >>> LeafRun.AscendingShift) & LeafRun.Long
      run = (length < LeafRun.Long ? length + 1 : length) << LeafRun.AscendingShift
    } else if (slot === last) {
      const length = before >>> LeafRun.DescendingShift
      run = (length < LeafRun.Long ? length + 1 : length) << LeafRun.DescendingShift
    }
    this.u16[field] = slot | run
  }
}

const NO_WORDS: Int32Array = new Int32Array(0)
