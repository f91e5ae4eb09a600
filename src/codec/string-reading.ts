/*
 * Making strings of bytes, three ways, each where it is fastest (measured, ns, for 8 / 16 / 40 / 128 bytes):
 * one call of String.fromCharCode 25 / 21 / – / –, latin1Slice 65 / 50 / 35 / 38, utf8Slice 75 / 50 / 54 / 61 (it alone
 * needs no look at the bytes beforehand: 8 / 12 / 30 / 76). Adding up characters in a loop: 72 / 106 / 210 / 537.
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

const { fromCharCode } = String

/** Buffer's native readers: they work on any Uint8Array, without making a view of it first. */
interface NativeReaders {
  latin1Slice(this: Uint8Array, start: number, stop: number): string
  utf8Slice(this: Uint8Array, start: number, stop: number): string
}
const { latin1Slice, utf8Slice } = Buffer.prototype as unknown as NativeReaders
