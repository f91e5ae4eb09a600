import { DamagedError } from '../base/errors.js'
import { KeyLimit } from './key-buffer.js'
import { DOUBLE, HIGH, KeyTag, LOW, WORDS } from './key-format.js'
import { readAscii, readUtf8 } from './string-reading.js'

/*
 * Reading keys back; the format and its proofs are in key-format.ts.
 *
 * The bytes come from pages whose checksum was right, so these checks guard against bugs and salvage, not against
 * everyday damage: whatever the bytes, the answer is a value or a DamagedError, found in bounded time and without reading
 * outside of [start, end).
 */

/** The value of the one element in bytes[start, end). Raises ERR_DAMAGED if that is not what stands there. */
export function decodeKey(bytes: Uint8Array, start: number, end: number): unknown {
  cursor = start
  const value = readElement(bytes, end, 0)
  if (cursor !== end) throw notAKey('bytes follow it', cursor)
  return value
}

/** The elements of bytes[start, end): a compound key, or an index key and the primary key after it. Raises ERR_DAMAGED. */
export function decodeCompound(bytes: Uint8Array, start: number, end: number): unknown[] {
  const values: unknown[] = []
  cursor = start
  while (cursor < end) values.push(readElement(bytes, end, 0))
  return values
}

/** The offset behind the element that starts at `at`: where an entry is split into its parts. Raises ERR_DAMAGED. */
export function skipElement(bytes: Uint8Array, at: number): number {
  let next = at
  let depth = 0
  do {
    const tag = bytes[next]
    if (tag === KeyTag.Number || tag === KeyTag.Date) next += 9
    else if (tag === KeyTag.String || tag === KeyTag.Bytes) next = findTerminator(bytes, next + 1, bytes.length) + 1
    else if (tag === KeyTag.Null || tag === KeyTag.False || tag === KeyTag.True) next++
    else if (tag === KeyTag.BigInt || tag === KeyTag.NegativeBigInt) next = skipBigInt(bytes, next)
    else if (tag === KeyTag.Array) {
      depth++
      next++
    } else if (tag === KeyTag.End && depth > 0) {
      depth--
      next++
    } else throw notAKey(`unknown tag ${tag}`, next)
  } while (depth > 0)
  if (next > bytes.length) throw notAKey('it ends early', next)
  return next
}

/**
 * Compares a[aStart, aEnd) with b[bStart, bEnd) byte by byte, a prefix first. Negative, zero or positive, as a comes before,
 * equals or comes after b.
 */
export function compareBytes(a: Uint8Array, aStart: number, aEnd: number, b: Uint8Array, bStart: number, bEnd: number): number {
  const aLength = aEnd - aStart
  const bLength = bEnd - bStart
  const common = aLength < bLength ? aLength : bLength
  for (let at = 0; at < common; at++) {
    const difference = a[aStart + at] - b[bStart + at]
    if (difference !== 0) return difference
  }
  return aLength - bLength
}

/** Where the reader is; only meaningful inside one call of this module, none of which runs foreign code. */
let cursor = 0

function readElement(bytes: Uint8Array, end: number, depth: number): unknown {
  if (cursor >= end) throw notAKey('it ends early', cursor)
  const tag = bytes[cursor++]
  switch (tag) {
    case KeyTag.Number:
      return readDouble(bytes, end)
    case KeyTag.String:
      return readString(bytes, end)
    case KeyTag.Null:
      return null
    case KeyTag.False:
      return false
    case KeyTag.True:
      return true
    case KeyTag.Date:
      return new Date(readDouble(bytes, end))
    case KeyTag.NegativeBigInt:
      return readBigInt(bytes, end, 0xff)
    case KeyTag.BigInt:
      return readBigInt(bytes, end, 0)
    case KeyTag.Bytes:
      return readBytes(bytes, end)
    case KeyTag.Array:
      return readArray(bytes, end, depth + 1)
    default:
      throw notAKey(`unknown tag ${tag}`, cursor - 1)
  }
}

/** Moves the cursor over `count` bytes; returns where they begin. */
function take(count: number, end: number): number {
  const at = cursor
  if (at + count > end) throw notAKey('it ends early', at)
  cursor = at + count
  return at
}

function readDouble(bytes: Uint8Array, end: number): number {
  const at = take(8, end)
  let high = (bytes[at] << 24) | (bytes[at + 1] << 16) | (bytes[at + 2] << 8) | bytes[at + 3]
  let low = (bytes[at + 4] << 24) | (bytes[at + 5] << 16) | (bytes[at + 6] << 8) | bytes[at + 7]
  if (high < 0) high ^= 0x80000000
  else {
    high = ~high
    low = ~low
  }
  WORDS[HIGH] = high
  WORDS[LOW] = low
  return DOUBLE[0]
}

function readString(bytes: Uint8Array, end: number): string {
  const start = cursor
  let stop = start
  let all = 0
  while (stop < end && bytes[stop] > KeyTag.Escape) all |= bytes[stop++]
  if (stop === end || bytes[stop] !== KeyTag.End) return readEscapedString(bytes, end)
  cursor = stop + 1
  return all < 0x80 ? readAscii(bytes, start, stop - start) : readUtf8(bytes, start, stop)
}

function readEscapedString(bytes: Uint8Array, end: number): string {
  const plain = readBytes(bytes, end)
  return readUtf8(plain, 0, plain.length)
}

function readBytes(bytes: Uint8Array, end: number): Uint8Array {
  const start = cursor
  const stop = findTerminator(bytes, start, end)
  cursor = stop + 1
  return withoutEscapes(bytes, start, stop)
}

function withoutEscapes(bytes: Uint8Array, start: number, stop: number): Uint8Array {
  let escapes = 0
  for (let at = start; at < stop; at++) {
    if (bytes[at] !== KeyTag.Escape) continue
    escapes++
    at++
  }
  const plain = new Uint8Array(stop - start - escapes)
  let to = 0
  for (let at = start; at < stop; at++) {
    const byte = bytes[at]
    if (byte !== KeyTag.Escape) plain[to++] = byte
    else {
      const code = at + 1 < stop ? bytes[++at] : 0
      if (code !== 1 && code !== 2) throw notAKey('unknown escape', at)
      plain[to++] = code - 1
    }
  }
  return plain
}

function findTerminator(bytes: Uint8Array, start: number, end: number): number {
  for (let at = start; at < end; at++) if (bytes[at] === KeyTag.End) return at
  throw notAKey('a string or byte array in it does not end', start)
}

function readBigInt(bytes: Uint8Array, end: number, mask: number): bigint {
  const first = bytes[take(1, end)] ^ mask
  let length = first
  if (first === KeyTag.LongBigInt) {
    const at = take(2, end)
    length = ((bytes[at] ^ mask) << 8) | (bytes[at + 1] ^ mask)
  }
  const at = take(length, end)
  const magnitude = length <= 6 ? BigInt(readSafeInteger(bytes, at, length, mask)) : readHexadecimal(bytes, at, length, mask)
  return mask === 0 ? magnitude : -magnitude
}

function readSafeInteger(bytes: Uint8Array, at: number, length: number, mask: number): number {
  let value = 0
  for (let index = 0; index < length; index++) value = value * 256 + (bytes[at + index] ^ mask)
  return value
}

function readHexadecimal(bytes: Uint8Array, at: number, length: number, mask: number): bigint {
  let digits = '0x'
  for (let index = 0; index < length; index++) digits += (256 + (bytes[at + index] ^ mask)).toString(16).slice(1)
  return BigInt(digits)
}

function skipBigInt(bytes: Uint8Array, at: number): number {
  const mask = bytes[at] === KeyTag.BigInt ? 0 : 0xff
  const length = bytes[at + 1] ^ mask
  if (length !== KeyTag.LongBigInt) return at + 2 + length
  return at + 4 + (((bytes[at + 2] ^ mask) << 8) | (bytes[at + 3] ^ mask))
}

function readArray(bytes: Uint8Array, end: number, depth: number): unknown[] {
  if (depth > KeyLimit.MaxDepth) throw notAKey('arrays are nested too deep', cursor)
  const values: unknown[] = []
  for (;;) {
    if (cursor >= end) throw notAKey('an array in it does not end', cursor)
    if (bytes[cursor] === KeyTag.End) break
    values.push(readElement(bytes, end, depth))
  }
  cursor++
  return values
}

function notAKey(what: string, at: number): DamagedError {
  return new DamagedError(`these bytes are not an encoded key: ${what}`, { offset: at })
}
