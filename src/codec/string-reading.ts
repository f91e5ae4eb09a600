/*
 * Making strings of bytes, each way where it is fastest (measured, ns, for 8 / 16 / 40 / 128 bytes):
 * one call of String.fromCharCode 25 / 21 / – / –, latin1Slice 65 / 50 / 35 / 38, utf8Slice 75 / 50 / 54 / 61 (it alone
 * needs no look at the bytes beforehand: 8 / 12 / 30 / 76). Adding up characters in a loop: 72 / 106 / 210 / 537.
 *
 * A part of a string that exists costs 12: so the strings of a row are cut out of one text, made by one native call for all
 * of them, and a scan takes its texts from the page a kilobyte at a time. V8 keeps a text alive as long as a part of it of 13
 * characters or more: a string kept by the user may hold up to `Text.Row` bytes, from a scan `Text.Chunk`, never more.
 */

const enum Length {
  /** Up to here String.fromCharCode. */
  Short = 16,
  /** Up to here latin1Slice, if all bytes are ASCII. */
  Medium = 48,
}

/** The string whose UTF-8 is bytes[start, stop). Bytes that are not UTF-8 give U+FFFD. */
export function readUtf8(bytes: Uint8Array, start: number, stop: number): string {
  const length = stop - start
  if (length > Length.Medium) return utf8Slice.call(bytes, start, stop)
  let all = 0
  for (let at = start; at < stop; at++) all |= bytes[at]
  if (all >= 0x80) return utf8Slice.call(bytes, start, stop)
  return readAscii(bytes, start, length)
}

/** The string of these bytes, all below 0x80. */
export function readAscii(b: Uint8Array, i: number, length: number): string {
  if (length > Length.Short) return latin1Slice.call(b, i, i + length)
  // biome-ignore format: one line each shows the pattern
  switch (length) {
    case 0: return ''
    case 1: return fromCharCode(b[i])
    case 2: return fromCharCode(b[i], b[i + 1])
    case 3: return fromCharCode(b[i], b[i + 1], b[i + 2])
    case 4: return fromCharCode(b[i], b[i + 1], b[i + 2], b[i + 3])
    case 5: return fromCharCode(b[i], b[i + 1], b[i + 2], b[i + 3], b[i + 4])
    case 6: return fromCharCode(b[i], b[i + 1], b[i + 2], b[i + 3], b[i + 4], b[i + 5])
    case 7: return fromCharCode(b[i], b[i + 1], b[i + 2], b[i + 3], b[i + 4], b[i + 5], b[i + 6])
    case 8: return fromCharCode(b[i], b[i + 1], b[i + 2], b[i + 3], b[i + 4], b[i + 5], b[i + 6], b[i + 7])
    case 9: return fromCharCode(b[i], b[i + 1], b[i + 2], b[i + 3], b[i + 4], b[i + 5], b[i + 6], b[i + 7], b[i + 8])
    case 10: return fromCharCode(b[i], b[i + 1], b[i + 2], b[i + 3], b[i + 4], b[i + 5], b[i + 6], b[i + 7], b[i + 8], b[i + 9])
    case 11: return fromCharCode(b[i], b[i + 1], b[i + 2], b[i + 3], b[i + 4], b[i + 5], b[i + 6], b[i + 7], b[i + 8], b[i + 9], b[i + 10])
    case 12: return fromCharCode(b[i], b[i + 1], b[i + 2], b[i + 3], b[i + 4], b[i + 5], b[i + 6], b[i + 7], b[i + 8], b[i + 9], b[i + 10], b[i + 11])
    case 13: return fromCharCode(b[i], b[i + 1], b[i + 2], b[i + 3], b[i + 4], b[i + 5], b[i + 6], b[i + 7], b[i + 8], b[i + 9], b[i + 10], b[i + 11], b[i + 12])
    case 14: return fromCharCode(b[i], b[i + 1], b[i + 2], b[i + 3], b[i + 4], b[i + 5], b[i + 6], b[i + 7], b[i + 8], b[i + 9], b[i + 10], b[i + 11], b[i + 12], b[i + 13])
    case 15: return fromCharCode(b[i], b[i + 1], b[i + 2], b[i + 3], b[i + 4], b[i + 5], b[i + 6], b[i + 7], b[i + 8], b[i + 9], b[i + 10], b[i + 11], b[i + 12], b[i + 13], b[i + 14])
    default: return fromCharCode(b[i], b[i + 1], b[i + 2], b[i + 3], b[i + 4], b[i + 5], b[i + 6], b[i + 7], b[i + 8], b[i + 9], b[i + 10], b[i + 11], b[i + 12], b[i + 13], b[i + 14], b[i + 15])
  }
}

const enum Text {
  /** Most bytes of a row that one text covers. */
  Row = 512,
  ChunkShift = 10,
  Chunk = 1 << ChunkShift,
  /** Chunks of a page, which a scan keeps. */
  Chunks = 16,
}

/** What strings are cut out of at present: the text of bytes[textStart, textEnd). */
let text = ''
let textStart = 0
let textEnd = 0
let sharing = false
/** All strings of the row are ASCII, as whoever wrote it found out. */
let ascii = false
const chunks: string[] = new Array(Text.Chunks).fill('')
/** Which chunk of the bytes each of them is; −1 for none. */
const chunkNumbers = new Int32Array(Text.Chunks).fill(-1)

/**
 * Begins a row. With `shared`, texts of the rows before serve it too, until `forgetTexts`: their bytes must not have changed.
 * With `allAscii`, the row's strings are taken to be ASCII without a look.
 */
export function beginTexts(shared: boolean, allAscii: boolean): void {
  // A text of a row before that was not shared may be of other bytes.
  if (!shared || !sharing) textEnd = 0
  sharing = shared
  ascii = allAscii
}

/** The bytes that shared texts were made of may change from now on; they keep no memory alive either. */
export function forgetTexts(): void {
  textEnd = 0
  text = ''
  chunks.fill('')
  chunkNumbers.fill(-1)
}

/** As `readUtf8`, for a string of a row that ends at `limit`. */
export function readRowString(bytes: Uint8Array, start: number, stop: number, limit: number): string {
  if (!ascii && !isShortAscii(bytes, start, stop)) return utf8Slice.call(bytes, start, stop)
  if ((stop > textEnd || start < textStart) && !findText(bytes, start, stop, limit)) return readAscii(bytes, start, stop - start)
  return text.substring(start - textStart, stop - textStart)
}

function isShortAscii(bytes: Uint8Array, start: number, stop: number): boolean {
  if (stop - start > Length.Medium) return false
  let all = 0
  for (let at = start; at < stop; at++) all |= bytes[at]
  return all < 0x80
}

/** Finds or makes the text that [start, stop) is to be cut out of; false: it is better read by itself. */
function findText(bytes: Uint8Array, start: number, stop: number, limit: number): boolean {
  if (sharing) return findChunk(bytes, start, stop)
  // The first string of a row may be the only one; one that a text does not hold is better read by itself.
  if ((textEnd === 0 && stop - start <= Length.Short) || stop - start > Text.Row) {
    textStart = textEnd = stop
    return false
  }
  textStart = start
  textEnd = limit - start > Text.Row ? start + Text.Row : limit
  text = latin1Slice.call(bytes, start, textEnd)
  return true
}

function findChunk(bytes: Uint8Array, start: number, stop: number): boolean {
  const chunk = start >> Text.ChunkShift
  const end = (chunk + 1) << Text.ChunkShift
  // An empty string may lie at the very end of the bytes, where no chunk is.
  if (stop > end || stop === start) return false
  const slot = chunk & (Text.Chunks - 1)
  if (chunkNumbers[slot] !== chunk) {
    chunks[slot] = latin1Slice.call(bytes, chunk << Text.ChunkShift, end)
    chunkNumbers[slot] = chunk
  }
  text = chunks[slot]
  textStart = chunk << Text.ChunkShift
  textEnd = end
  return true
}

const { fromCharCode } = String

/** Buffer's native readers: they work on any Uint8Array, without making a view of it first. */
interface NativeReaders {
  latin1Slice(this: Uint8Array, start: number, stop: number): string
  utf8Slice(this: Uint8Array, start: number, stop: number): string
}
const { latin1Slice, utf8Slice } = Buffer.prototype as unknown as NativeReaders
