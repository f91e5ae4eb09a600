/**
 * The order-preserving binary encoding of keys (D5). Comparing two encodings byte by byte, a shorter one first where
 * it is a prefix of the other, gives the order of the values.
 *
 *   value             encoding                                                     order
 *   null              08                                                           before everything, as InnoDB's NULL
 *   false, true       10, 11
 *   number            18, then 8 bytes: the IEEE double, big-endian, sign bit      numeric; −0 is 0; ±Infinity at the ends
 *                     flipped; all bits flipped if negative
 *   bigint            21, length, magnitude big-endian (0n: length 0);             numeric, after every number
 *                     negative: 20, then length and magnitude with all bits
 *                     flipped. Length: one byte, or from 255 on FF and two bytes
 *   Date              28, then its milliseconds as the 8 bytes of a number         chronological
 *   string            30, UTF-8 with 00 → 01 01 and 01 → 01 02, terminator 00      by code point
 *   Uint8Array        38, bytes escaped like a string's, terminator 00             bytewise, a prefix first
 *   array             40, its elements one after the other, terminator 00          element by element, a prefix first
 *
 * A compound key is its elements one after the other, without tag and terminator. On disk: tags never change their
 * meaning, new ones go into the gaps, and none is ever 00, 01 or FF.
 *
 * Rule 1 (prefix-free). No encoded element is a proper prefix of another: fixed lengths follow their tag, a bigint says
 * its length, and the terminator 00 cannot occur inside (strings and bytes escape it; in an array only a tag, never 00,
 * can stand where the terminator is looked for). So a concatenation splits in one way only.
 * Rule 2 (order). Tags order the types. Within strings and bytes the terminator sorts below every following byte, so a
 * prefix comes first, and the escapes 01 01 < 01 02 < 02 keep the order of 00 < 01 < 02. UTF-8 has the order of code points.
 * Rule 3 (concatenation). From 1 and 2: two concatenations first differ inside the first element that differs, so they
 * compare as the lists of their elements do.
 * Rule 4 (prefix ranges). Every key that begins with the elements P is enc(P) followed by nothing or by a tag, below FF.
 * So these keys are exactly the byte strings in [enc(P), enc(P) ++ FF), and by rule 1 no other key lies there.
 *
 * 1 and 1n are different keys: a key gives back the type it was made of, so that type is part of it. All numbers sort before all
 * bigints, whatever their values.
 */
export const enum KeyTag {
  End = 0x00,
  Null = 0x08,
  False = 0x10,
  True = 0x11,
  Number = 0x18,
  NegativeBigInt = 0x20,
  BigInt = 0x21,
  Date = 0x28,
  String = 0x30,
  Bytes = 0x38,
  Array = 0x40,

  /** Replaces 00 and 01 inside strings and bytes: 01 01 and 01 02. */
  Escape = 0x01,
  /** Above every tag. */
  Above = 0xff,
  /** Bigints of this many bytes and more have a three-byte length. */
  LongBigInt = 0xff,
}

/** One double and its two words, for taking numbers apart without a DataView. */
export const DOUBLE: Float64Array = new Float64Array(1)
export const WORDS: Int32Array = new Int32Array(DOUBLE.buffer)
DOUBLE[0] = 1
/** Which of WORDS holds sign and exponent on this machine. */
export const HIGH: number = WORDS[1] === 0 ? 0 : 1
export const LOW: number = 1 - HIGH

/** What a key may be made of. */
export type Key = null | boolean | number | bigint | string | Date | Uint8Array | readonly Key[]
