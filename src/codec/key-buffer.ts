import { assert } from '../base/assert.js'
import { InvalidArgumentError } from '../base/errors.js'

export const enum KeyLimit {
  /** Bytes of one encoded key, simple or compound. */
  MaxLength = 2048,
  /** How deep arrays may be nested inside a key; also what stops an array that contains itself. */
  MaxDepth = 32,
}

const enum Capacity {
  /** Zero bytes that always follow `length`: the B-tree reads 4-byte heads beyond the end of a key. */
  Padding = 8,
  /** A key may start this far in: after another key and a few bytes of slack (the byte of an upper bound). */
  MaxStart = KeyLimit.MaxLength + 64,
  /**
   * How far past its limit a key may write before it is noticed: the widest single element, a string of
   * 2,048 UTF-16 units at 3 bytes each, with its tag and terminator.
   */
  Overshoot = 3 * KeyLimit.MaxLength + 2,
  Total = MaxStart + KeyLimit.MaxLength + Overshoot + Padding,
}

/**
 * The reusable scratch that keys are encoded into: room for an index key and a primary key after it.
 *
 * Invariant, between calls: `bytes[length … length + 7]` are zero.
 *
 * A buffer belongs to one operation at a time. While a key is being encoded into it, a getter or proxy inside a user's
 * array may run; if that calls back into something that uses the same buffer, the inner call is refused (ERR_INVALID_KEY).
 */
export class KeyBuffer {
  /** A plain Uint8Array, so that code which reads pages and keys through one variable stays monomorphic. */
  readonly bytes: Uint8Array
  /** The same memory, for Node's native string writers. */
  readonly text: Buffer
  length = 0
  #encoding = false

  constructor() {
    const memory = new ArrayBuffer(Capacity.Total)
    this.bytes = new Uint8Array(memory)
    this.text = Buffer.from(memory)
  }

  reset(): void {
    this.truncate(0)
  }

  /** Keeps the first `length` bytes. */
  truncate(length: number): void {
    if (this.#encoding) throw usedFromWithin()
    this.seal(length)
  }

  /** Replaces the content by source[start, end): a key that is encoded already. */
  set(source: Uint8Array, start: number, end: number): void {
    this.reset()
    this.append(source, start, end)
  }

  /** Appends source[start, end). */
  append(source: Uint8Array, start: number, end: number): void {
    const from = this.begin()
    assert(end - start <= KeyLimit.MaxLength, 'a stored key is longer than any key can be')
    const bytes = this.bytes
    let to = from
    for (let at = start; at < end; at++) bytes[to++] = source[at]
    this.commit(to)
  }

  /** Whether the content is bytes[0, length). */
  equals(bytes: Uint8Array, length: number): boolean {
    if (length !== this.length) return false
    for (let at = 0; at < length; at++) if (bytes[at] !== this.bytes[at]) return false
    return true
  }

  /** A copy of the content. */
  toBytes(): Uint8Array {
    return this.bytes.slice(0, this.length)
  }

  /** Starts writing behind the content; returns where. To be followed by `commit` or `abandon`. */
  begin(): number {
    if (this.#encoding) throw usedFromWithin()
    assert(this.length <= Capacity.MaxStart, 'more than two keys were encoded into one buffer')
    this.#encoding = true
    return this.length
  }

  /** What was written up to `end` is the content now. */
  commit(end: number): void {
    this.#encoding = false
    this.seal(end)
  }

  /** Forgets what was written since `begin`. */
  abandon(): void {
    this.#encoding = false
    this.seal(this.length)
  }

  private seal(length: number): void {
    const bytes = this.bytes
    bytes[length] = 0
    bytes[length + 1] = 0
    bytes[length + 2] = 0
    bytes[length + 3] = 0
    bytes[length + 4] = 0
    bytes[length + 5] = 0
    bytes[length + 6] = 0
    bytes[length + 7] = 0
    this.length = length
  }
}

function usedFromWithin(): InvalidArgumentError {
  return new InvalidArgumentError(
    'a getter or proxy inside a key used the database while the key was being read: give plain arrays as keys',
    {},
    'ERR_INVALID_KEY',
  )
}
