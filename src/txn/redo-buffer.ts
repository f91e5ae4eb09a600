import { copyBytes } from '../base/bytes.js'
import { COMMIT_HEADER } from './log-records.js'

/**
 * The redo of one transaction, gathered until its commit (D8), as the commit's log group: room for the group's header, then
 * the row changes one after another, each
 *   u8 kind · u32 table id · u16 key length · key · (Put, PutAscii) u32 row length · row
 * Unaligned, little-endian. A statement that is undone takes its part back by cutting the buffer.
 */
export const enum Redo {
  Put = 1,
  Delete = 2,
  /** A Put of a row whose strings are all ASCII. */
  PutAscii = 3,
}

export class RedoBuffer {
  bytes: Uint8Array = INITIAL
  length = 0
  /** The transaction changes more than the log should carry: it commits by checkpoint instead, and gathers nothing more. */
  dropped = false
  readonly #limit: number

  constructor(limit: number) {
    this.#limit = limit
  }

  put(table: number, key: Uint8Array, keyLength: number, row: Uint8Array, rowStart: number, rowEnd: number, ascii: boolean): void {
    const rowLength = rowEnd - rowStart
    if (!this.#reserve(11 + keyLength + rowLength)) return
    this.#begin(ascii ? Redo.PutAscii : Redo.Put, table, key, keyLength)
    this.#u32(rowLength)
    copyBytes(row, rowStart, this.bytes, this.length, rowLength)
    this.length += rowLength
  }

  delete(table: number, key: Uint8Array, keyLength: number): void {
    if (!this.#reserve(7 + keyLength)) return
    this.#begin(Redo.Delete, table, key, keyLength)
  }

  cut(length: number): void {
    if (!this.dropped) this.length = length
  }

  /** Gathers nothing from now on: the transaction commits by checkpoint. */
  drop(): void {
    this.dropped = true
    this.length = 0
    this.bytes = INITIAL
  }

  clear(): void {
    this.length = 0
    this.dropped = false
    if (this.bytes.length > KEPT) this.bytes = INITIAL
  }

  /** Whether no change is in it. */
  get isEmpty(): boolean {
    return this.length <= COMMIT_HEADER
  }

  #begin(kind: Redo, table: number, key: Uint8Array, keyLength: number): void {
    const { bytes } = this
    bytes[this.length++] = kind
    this.#u32(table)
    bytes[this.length++] = keyLength & 255
    bytes[this.length++] = keyLength >>> 8
    copyBytes(key, 0, bytes, this.length, keyLength)
    this.length += keyLength
  }

  #u32(value: number): void {
    const { bytes } = this
    bytes[this.length++] = value & 255
    bytes[this.length++] = (value >>> 8) & 255
    bytes[this.length++] = (value >>> 16) & 255
    bytes[this.length++] = value >>> 24
  }

  #reserve(more: number): boolean {
    if (this.dropped) return false
    if (this.length === 0) {
      this.length = COMMIT_HEADER
      more += COMMIT_HEADER
      if (this.bytes.length === 0) this.bytes = new Uint8Array(512)
    }
    const needed = this.length + more
    if (needed <= this.bytes.length) return true
    if (needed > this.#limit) {
      this.drop()
      return false
    }
    const larger = new Uint8Array(Math.min(Math.max(needed, this.bytes.length * 2, 512), this.#limit))
    larger.set(this.bytes.subarray(0, this.length))
    this.bytes = larger
    return true
  }
}

const INITIAL = new Uint8Array(0)
/** A buffer larger than this is not kept for the next transaction. */
const KEPT = 1 << 18

/** Calls back for each change in a group written by RedoBuffer. */
export function readRedo(bytes: Uint8Array, start: number, end: number, visit: RedoVisitor): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  for (let at = start; at < end; ) {
    const kind = bytes[at]
    const table = view.getUint32(at + 1, true)
    const keyLength = view.getUint16(at + 5, true)
    const keyStart = at + 7
    at = keyStart + keyLength
    if (kind === Redo.Put || kind === Redo.PutAscii) {
      const rowLength = view.getUint32(at, true)
      visit.put(table, bytes, keyStart, keyStart + keyLength, at + 4, at + 4 + rowLength, kind === Redo.PutAscii)
      at += 4 + rowLength
    } else visit.delete(table, bytes, keyStart, keyStart + keyLength)
  }
}

export interface RedoVisitor {
  put(table: number, bytes: Uint8Array, keyStart: number, keyEnd: number, rowStart: number, rowEnd: number, ascii: boolean): void
  delete(table: number, bytes: Uint8Array, keyStart: number, keyEnd: number): void
}
