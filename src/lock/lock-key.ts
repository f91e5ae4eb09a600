/**
 * Keys as the lock tables hold them: big-endian 32-bit words, zero-padded, and a length in bytes.
 *
 * Order. Bytewise order of two keys is the unsigned order of their words, ties broken by length: where the padding of
 * one meets real bytes of the other, either a byte is greater than the padding's 0 (the longer key is greater, as it
 * should be) or all are 0, the words tie, and the length decides.
 */
const enum Hash {
  Multiplier = 0x9e3779b1 | 0,
  Finisher = 0x85ebca6b | 0,
}

/** The key length that stands for the supremum of an index: the end above all entries. The key bytes are ignored. */
export const SUPREMUM = -1

/** Longest key in bytes: an index entry is at most a quarter of a page. */
export const MAX_KEY_LENGTH = 4096

/** One key, packed; reused by whoever owns it. */
export class PackedKey {
  readonly words: Int32Array = new Int32Array(MAX_KEY_LENGTH / 4)
  wordCount = 0
  /** Bytes, or SUPREMUM. */
  length = 0
  /** Of index and key. */
  hash = 0

  /** Takes key[0, length) of `index`, or its supremum. */
  pack(index: number, key: Uint8Array, length: number): this {
    const words = this.words
    let hash = Math.imul(index, Hash.Finisher) ^ length
    let count = 0
    let at = 0
    for (const whole = length - 3; at < whole; at += 4) {
      const word = (key[at] << 24) | (key[at + 1] << 16) | (key[at + 2] << 8) | key[at + 3]
      words[count++] = word
      hash = Math.imul(hash ^ word, Hash.Multiplier)
      hash ^= hash >>> 15
    }
    if (at < length) {
      let word = key[at] << 24
      if (at + 1 < length) word |= key[at + 1] << 16
      if (at + 2 < length) word |= key[at + 2] << 8
      words[count++] = word
      hash = Math.imul(hash ^ word, Hash.Multiplier)
      hash ^= hash >>> 15
    }
    this.wordCount = count
    this.length = length
    this.hash = finish(hash)
    return this
  }

  /** Takes words[at …] of a key that is `length` bytes long and has this hash. */
  load(words: Int32Array, at: number, length: number, hash: number): this {
    const count = wordsOf(length)
    const own = this.words
    for (let word = 0; word < count; word++) own[word] = words[at + word]
    this.wordCount = count
    this.length = length
    this.hash = hash
    return this
  }
}

/** 32-bit words that a key of `length` bytes takes. */
export function wordsOf(length: number): number {
  return length <= 0 ? 0 : (length + 3) >> 2
}

/** Negative, 0 or positive as a key is below, equal to or above another. Neither is the supremum. */
export function compareKeys(a: Int32Array, aLength: number, b: Int32Array, bLength: number): number {
  const count = wordsOf(aLength < bLength ? aLength : bLength)
  for (let word = 0; word < count; word++) {
    const left = a[word]
    const right = b[word]
    if (left !== right) return left >>> 0 < right >>> 0 ? -1 : 1
  }
  return aLength - bLength
}

/** The bytes of a packed key. */
export function keyBytes(words: Int32Array, at: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length)
  for (let byte = 0; byte < length; byte++) bytes[byte] = words[at + (byte >> 2)] >>> (24 - 8 * (byte & 3))
  return bytes
}

function finish(hash: number): number {
  const mixed = Math.imul(hash ^ (hash >>> 13), Hash.Finisher)
  return mixed ^ (mixed >>> 16)
}
