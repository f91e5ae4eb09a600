import { isDate, isUint8Array } from 'node:util/types'
import { describe, InvalidArgumentError } from '../base/errors.js'
import { type KeyBuffer, KeyLimit } from './key-buffer.js'
import { DOUBLE, HIGH, KeyTag, LOW, WORDS } from './key-format.js'

export { KeyBuffer, KeyLimit } from './key-buffer.js'
export { compareBytes, decodeCompound, decodeKey, skipElement } from './key-decoding.js'
export type { Key } from './key-format.js'

/*
 * Writing keys; the format and its proofs are in key-format.ts.
 *
 * The writers return the offset behind what they wrote, or OVERFLOW. An element is only begun at or below the limit, and
 * none writes further beyond it than KeyBuffer has room for; so the one check after each element is enough. The exact
 * length of a key that is too long is worked out afterwards, for the message.
 */

/**
 * Appends one key: what a single key path selects, or an out-of-line key. Arrays are encoded as nested arrays.
 * Raises ERR_INVALID_KEY for what cannot be a key and ERR_KEY_TOO_LONG above 2,048 bytes; `target` is then unchanged.
 */
export function encodeKey(value: unknown, target: KeyBuffer): void {
  const start = target.begin()
  let end = OVERFLOW
  try {
    end = writeElement(value, target, start, start + KeyLimit.MaxLength, 0)
    if (end === OVERFLOW) throw keyTooLong([value], false)
  } finally {
    if (end === OVERFLOW) target.abandon()
    else target.commit(end)
  }
}

/**
 * Appends a compound key: the elements one after the other, so that the encoding of some first elements is a byte prefix of the
 * whole. The limit of 2,048 bytes is on all of them together. Raises the errors of `encodeKey`.
 */
export function encodeCompound(values: readonly unknown[], target: KeyBuffer): void {
  encodePrefix(values, target, false)
}

/**
 * Appends the lower bound of all keys that begin with these elements: compound keys, or, `nested`, keys that are arrays.
 */
export function encodePrefix(values: readonly unknown[], target: KeyBuffer, nested: boolean): void {
  const start = target.begin()
  let end = OVERFLOW
  try {
    const limit = start + KeyLimit.MaxLength
    if (nested) target.bytes[start] = KeyTag.Array
    end = writeElements(values, target, nested ? start + 1 : start, limit, nested ? 1 : 0)
    if (end === OVERFLOW) throw keyTooLong(values, nested)
  } finally {
    if (end === OVERFLOW) target.abandon()
    else target.commit(end)
  }
}

/**
 * Appends the upper bound, exclusive, of all keys that begin with these elements: it lies above each of them and below every
 * key that begins otherwise and sorts later. A bound, not a key: it cannot be decoded and may be one byte longer than a key.
 */
export function encodePrefixUpperBound(values: readonly unknown[], target: KeyBuffer, nested: boolean): void {
  encodePrefix(values, target, nested)
  const end = target.begin()
  target.bytes[end] = KeyTag.Above
  target.commit(end + 1)
}

/** No offset is negative. */
const OVERFLOW = -1

/** Up to this many UTF-16 units a loop is faster than a call into native code (measured). */
const SHORT = 48

function writeElement(value: unknown, target: KeyBuffer, at: number, limit: number, depth: number): number {
  let end: number
  if (typeof value === 'number') end = writeNumber(value, target.bytes, at)
  else if (typeof value === 'string') end = writeString(value, target, at)
  else if (typeof value === 'object') end = writeObject(value, target, at, limit, depth)
  else if (typeof value === 'bigint') end = writeBigInt(value, target.bytes, at)
  else if (typeof value === 'boolean') {
    target.bytes[at] = value ? KeyTag.True : KeyTag.False
    end = at + 1
  } else refuse(value)
  return end > limit ? OVERFLOW : end
}

function writeElements(values: readonly unknown[], target: KeyBuffer, at: number, limit: number, depth: number): number {
  const count = values.length
  let end = at
  for (let index = 0; index < count; index++) {
    end = writeElement(values[index], target, end, limit, depth)
    if (end === OVERFLOW) return OVERFLOW
  }
  return end
}

function writeObject(value: object | null, target: KeyBuffer, at: number, limit: number, depth: number): number {
  if (value === null) {
    target.bytes[at] = KeyTag.Null
    return at + 1
  }
  if (Array.isArray(value)) return writeArray(value, target, at, limit, depth)
  if (value instanceof Date || isDate(value)) return writeDate(value, target.bytes, at)
  if (value instanceof Uint8Array || isUint8Array(value)) return writeBytes(value, target.bytes, at)
  return refuse(value)
}

function writeArray(values: readonly unknown[], target: KeyBuffer, at: number, limit: number, depth: number): number {
  if (depth === KeyLimit.MaxDepth) refuse(values)
  target.bytes[at] = KeyTag.Array
  const end = writeElements(values, target, at + 1, limit, depth + 1)
  if (end === OVERFLOW) return OVERFLOW
  target.bytes[end] = KeyTag.End
  return end + 1
}

function writeNumber(value: number, bytes: Uint8Array, at: number): number {
  // Not equal to itself: NaN.
  // biome-ignore lint/suspicious/noSelfCompare: the cheapest test for NaN
  if (value !== value) refuse(value)
  bytes[at] = KeyTag.Number
  return writeDouble(value, bytes, at + 1)
}

function writeDate(value: Date, bytes: Uint8Array, at: number): number {
  // Not value.getTime(): a subclass may override it.
  const time = Date.prototype.getTime.call(value)
  if (Number.isNaN(time)) refuse(value)
  bytes[at] = KeyTag.Date
  return writeDouble(time, bytes, at + 1)
}

function writeDouble(value: number, bytes: Uint8Array, at: number): number {
  DOUBLE[0] = value + 0 // −0 + 0 is 0
  let high = WORDS[HIGH]
  let low = WORDS[LOW]
  if (high < 0) {
    high = ~high
    low = ~low
  } else high ^= 0x80000000
  bytes[at] = high >> 24
  bytes[at + 1] = high >> 16
  bytes[at + 2] = high >> 8
  bytes[at + 3] = high
  bytes[at + 4] = low >> 24
  bytes[at + 5] = low >> 16
  bytes[at + 6] = low >> 8
  bytes[at + 7] = low
  return at + 8
}

function writeString(value: string, target: KeyBuffer, at: number): number {
  const bytes = target.bytes
  bytes[at] = KeyTag.String
  const start = at + 1
  let end: number
  if (value.length <= SHORT) end = writeCodeUnits(value, bytes, start)
  else if (value.length > KeyLimit.MaxLength) return beyond(at)
  else if (NEEDS_CARE.test(value)) end = writeCodeUnits(value, bytes, start)
  else end = start + target.text.write(value, start)
  bytes[end] = KeyTag.End
  return end + 1
}

/** What native UTF-8 writers get wrong for us: bytes to escape, and surrogates, which may be lone ones. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const NEEDS_CARE = /[\u0000\u0001\ud800-\udfff]/

function writeCodeUnits(value: string, bytes: Uint8Array, at: number): number {
  const length = value.length
  let to = at
  for (let index = 0; index < length; index++) {
    const unit = value.charCodeAt(index)
    if (unit > 1 && unit < 0x80) bytes[to++] = unit
    else if (unit <= 1) {
      bytes[to] = KeyTag.Escape
      bytes[to + 1] = unit + 1
      to += 2
    } else if (unit < 0x800) {
      bytes[to] = 0xc0 | (unit >> 6)
      bytes[to + 1] = 0x80 | (unit & 0x3f)
      to += 2
    } else if ((unit & 0xf800) !== 0xd800) {
      bytes[to] = 0xe0 | (unit >> 12)
      bytes[to + 1] = 0x80 | ((unit >> 6) & 0x3f)
      bytes[to + 2] = 0x80 | (unit & 0x3f)
      to += 3
    } else {
      const next = value.charCodeAt(++index)
      if (unit >= 0xdc00 || (next & 0xfc00) !== 0xdc00) refuse(value)
      const point = 0x10000 + ((unit & 0x3ff) << 10) + (next & 0x3ff)
      bytes[to] = 0xf0 | (point >> 18)
      bytes[to + 1] = 0x80 | ((point >> 12) & 0x3f)
      bytes[to + 2] = 0x80 | ((point >> 6) & 0x3f)
      bytes[to + 3] = 0x80 | (point & 0x3f)
      to += 4
    }
  }
  return to
}

function writeBytes(value: Uint8Array, bytes: Uint8Array, at: number): number {
  const length = value.length
  if (length > KeyLimit.MaxLength) return beyond(at)
  bytes[at] = KeyTag.Bytes
  let to = at + 1
  for (let index = 0; index < length; index++) {
    const byte = value[index]
    if (byte <= 1) {
      bytes[to] = KeyTag.Escape
      bytes[to + 1] = byte + 1
      to += 2
    } else bytes[to++] = byte
  }
  bytes[to] = KeyTag.End
  return to + 1
}

function writeBigInt(value: bigint, bytes: Uint8Array, at: number): number {
  if (value < SAFE && value > -SAFE) return writeSafeBigInt(Number(value), bytes, at)
  const negative = value < 0n
  const magnitude = negative ? -value : value
  if (magnitude >= UNKEYABLE) return beyond(at)
  const mask = negative ? 0xff : 0
  const digits = magnitude.toString(16)
  const hex = digits.length % 2 === 0 ? digits : `0${digits}`
  const length = hex.length / 2
  bytes[at] = negative ? KeyTag.NegativeBigInt : KeyTag.BigInt
  let to = at + 1
  if (length < KeyTag.LongBigInt) bytes[to++] = length ^ mask
  else {
    bytes[to] = KeyTag.LongBigInt ^ mask
    bytes[to + 1] = (length >> 8) ^ mask
    bytes[to + 2] = length ^ mask
    to += 3
  }
  for (let index = 0; index < hex.length; index += 2) bytes[to++] = Number.parseInt(hex.slice(index, index + 2), 16) ^ mask
  return to
}

/** Below this a bigint is exact as a number. */
const SAFE = 2n ** 53n
/** From here on the magnitude alone is longer than a key. */
const UNKEYABLE = 2n ** BigInt(8 * KeyLimit.MaxLength)

function writeSafeBigInt(value: number, bytes: Uint8Array, at: number): number {
  const mask = value < 0 ? 0xff : 0
  const magnitude = Math.abs(value)
  const high = Math.floor(magnitude / 2 ** 32)
  const low = magnitude | 0
  const length = high === 0 ? byteLength(low) : 4 + byteLength(high)
  bytes[at] = value < 0 ? KeyTag.NegativeBigInt : KeyTag.BigInt
  bytes[at + 1] = length ^ mask
  let to = at + 2
  for (let left = length - 1; left >= 0; left--) bytes[to++] = (left > 3 ? high >> (8 * (left - 4)) : low >> (8 * left)) ^ mask
  return to
}

/** Bytes of an unsigned 32-bit integer without its leading zero bytes. */
function byteLength(word: number): number {
  return 4 - (Math.clz32(word) >> 3)
}

/** An offset that is above the limit of any key that is being written at `at`. */
function beyond(at: number): number {
  return at + KeyLimit.MaxLength + 1
}

function refuse(value: unknown): never {
  // Not described: an array that is refused is nested too deep, and may contain itself.
  const what = Array.isArray(value) ? 'this array' : describe(value)
  throw new InvalidArgumentError(`${what} cannot be ${reason(value)}`, { value }, 'ERR_INVALID_KEY')
}

function reason(value: unknown): string {
  if (value === undefined) return 'a key: use null for a value that is missing'
  if (typeof value === 'number') return 'a key, it has no place in the order: use null or a number'
  if (typeof value === 'string') return 'a key, it contains half a surrogate pair: repair it with toWellFormed(), or use its bytes'
  if (value instanceof Date) return 'a key: use null or a valid date'
  if (Array.isArray(value)) return `part of a key, arrays may be nested ${KeyLimit.MaxDepth} deep: does it contain itself?`
  return 'a key: use null, a boolean, number, bigint, string, Date, Uint8Array, or an array of these'
}

function keyTooLong(values: readonly unknown[], nested: boolean): InvalidArgumentError {
  const length = measureAll(values, 0) + (nested ? 2 : 0)
  const size = length < MEASURED ? `${length}` : `more than ${MEASURED}`
  return new InvalidArgumentError(
    `the key takes ${size} bytes encoded, the limit is ${KeyLimit.MaxLength}: use a shorter one, such as a hash, and keep the long value in the row`,
    { length, limit: KeyLimit.MaxLength },
    'ERR_KEY_TOO_LONG',
  )
}

/** Where measuring stops: arrays that contain themselves, directly or many times over, have no end. */
const MEASURED = 2 ** 20

function measureAll(values: readonly unknown[], depth: number): number {
  let length = 0
  for (let index = 0; index < values.length && length < MEASURED; index++) length += measure(values[index], depth)
  return length
}

/** The encoded length of a value; only used for keys that are too long. */
function measure(value: unknown, depth: number): number {
  if (typeof value === 'number' || value instanceof Date) return 9
  if (typeof value === 'string') return Buffer.byteLength(value) + countEscapes(Buffer.from(value)) + 2
  if (value instanceof Uint8Array) return value.length + countEscapes(value) + 2
  if (typeof value === 'bigint') {
    const length = Math.ceil((value < 0n ? -value : value).toString(16).length / 2)
    return length < KeyTag.LongBigInt ? length + 2 : length + 4
  }
  if (Array.isArray(value)) return depth === KeyLimit.MaxDepth ? MEASURED : measureAll(value, depth + 1) + 2
  return 1
}

function countEscapes(bytes: Uint8Array): number {
  let count = 0
  for (let at = 0; at < bytes.length; at++) if (bytes[at] <= 1) count++
  return count
}
