import { ExtensionType, RowLimit, Token } from './row-format.js'

/** A value that cannot be stored. The codec makes an error of it that says where in the row it is. */
export class Unencodable {
  readonly value: unknown
  readonly message: string
  readonly code: 'ERR_INVALID_ROW' | 'ERR_VALUE_TOO_LARGE'

  constructor(value: unknown, message: string, code: 'ERR_INVALID_ROW' | 'ERR_VALUE_TOO_LARGE' = 'ERR_INVALID_ROW') {
    this.value = value
    this.message = message
    this.code = code
  }
}

const enum Capacity {
  Initial = 64 * 1024,
  /** A larger buffer is let go of before the next row. */
  Retained = 1024 * 1024,
}

/** Up to this many UTF-16 units a loop is faster than a call into native code (measured). */
const SHORT = 40

/** Below this many UTF-16 units room is made for the worst case, beyond the bytes are counted first. */
const SURELY = 4096

/** The longest head: a record token or an extension of up to 12 bytes with its own head. */
export const HEAD = 16

const DOUBLE = new Float64Array(1)
const DOUBLE_BYTES = new Uint8Array(DOUBLE.buffer)

/** A growing buffer, and how to append numbers, strings and the heads of everything else to it, as row-format.ts has them. */
export class MsgpackWriter {
  /** Holds the encoded row, from a word boundary on; replaced when it has to grow. */
  bytes: Uint8Array = new Uint8Array(Capacity.Initial)
  /** Behind what is written. */
  position = 0
  /** Whether every string written since the start is ASCII: its bytes are its characters, which readers need not find out then. */
  ascii = true
  /** The same memory, for Node's native string writer. */
  private text: Buffer = Buffer.from(this.bytes.buffer)

  /** Starts over at `start`. */
  protected restart(start: number): void {
    if (this.bytes.length > Capacity.Retained) this.replaceBuffer(Capacity.Initial)
    this.position = start
    this.ascii = true
  }

  protected writeNumber(value: number): void {
    const integer = value | 0
    if (integer !== value) {
      if (value >>> 0 === value) this.writeTagged32(Token.Uint32, value)
      else this.writeDouble(value)
    } else if (integer === 0 && 1 / value < 0) this.writeDouble(value)
    else if (integer >= 0) this.writePositive(integer)
    else this.writeNegative(integer)
  }

  private writePositive(value: number): void {
    const bytes = this.bytes
    if (value < Token.Record) bytes[this.position++] = value
    else if (value < 0x100) {
      bytes[this.position++] = Token.Uint8
      bytes[this.position++] = value
    } else if (value < 0x10000) this.writeTagged16(Token.Uint16, value)
    else this.writeTagged32(Token.Uint32, value)
  }

  private writeNegative(value: number): void {
    const bytes = this.bytes
    if (value >= -0x20) bytes[this.position++] = value
    else if (value >= -0x80) {
      bytes[this.position++] = Token.Int8
      bytes[this.position++] = value
    } else if (value >= -0x8000) this.writeTagged16(Token.Int16, value)
    else this.writeTagged32(Token.Int32, value)
  }

  protected writeDouble(value: number): void {
    DOUBLE[0] = value
    const bytes = this.bytes
    const at = this.position
    bytes[at] = Token.Float64
    bytes[at + 1] = DOUBLE_BYTES[7]
    bytes[at + 2] = DOUBLE_BYTES[6]
    bytes[at + 3] = DOUBLE_BYTES[5]
    bytes[at + 4] = DOUBLE_BYTES[4]
    bytes[at + 5] = DOUBLE_BYTES[3]
    bytes[at + 6] = DOUBLE_BYTES[2]
    bytes[at + 7] = DOUBLE_BYTES[1]
    bytes[at + 8] = DOUBLE_BYTES[0]
    this.position = at + 9
  }

  protected writeBigInt(value: bigint): void {
    if (BigInt.asIntN(64, value) === value) this.writeInt64(Token.Int64, value)
    else if (BigInt.asUintN(64, value) === value) this.writeInt64(Token.Uint64, value)
    else this.writeLargeBigInt(value)
  }

  private writeInt64(token: number, value: bigint): void {
    this.bytes[this.position++] = token
    this.writeWord(Number(BigInt.asUintN(32, value >> 32n)))
    this.writeWord(Number(BigInt.asUintN(32, value)))
  }

  private writeLargeBigInt(value: bigint): void {
    // Two's complement: ~value is the magnitude that has the same bits, inverted, and a leading zero bit makes room for the sign.
    const mask = value < 0n ? 0xff : 0
    const digits = (value < 0n ? ~value : value).toString(16)
    const hex = digits.length % 2 === 1 ? `0${digits}` : digits >= '8' ? `00${digits}` : digits
    const length = hex.length / 2
    this.writeExtensionHead(length, ExtensionType.BigInt)
    if (this.position + length > this.bytes.length) this.grow(length)
    for (let at = 0; at < hex.length; at += 2) this.bytes[this.position++] = Number.parseInt(hex.slice(at, at + 2), 16) ^ mask
  }

  protected writeString(value: string): void {
    const length = value.length
    if (length > SHORT) {
      this.writeLongString(value)
      return
    }
    if (this.position + HEAD + 3 * length > this.bytes.length) this.grow(HEAD + 3 * length)
    const bytes = this.bytes
    const start = this.position + (length < 32 ? 1 : 2)
    let to = start
    for (let index = 0; index < length; index++) {
      const unit = value.charCodeAt(index)
      if (unit >= 0x80) {
        this.writeLongString(value)
        return
      }
      bytes[to++] = unit
    }
    if (length < 32) bytes[start - 1] = Token.SmallString | length
    else {
      bytes[start - 2] = Token.String8
      bytes[start - 1] = length
    }
    this.position = to
  }

  private writeLongString(value: string): void {
    const units = value.length
    // One native call for most: what is ASCII has as many bytes as units, and no surrogates. Then the head fits as well.
    const most = units < SURELY ? 3 * units : Buffer.byteLength(value)
    if (this.position + HEAD + most > this.bytes.length) this.grow(HEAD + most)
    const guess = stringHead(units)
    const start = this.position + guess
    const length = this.text.write(value, start)
    if (length !== units) {
      this.ascii = false
      if (!(value as WellFormed).isWellFormed()) {
        this.writeUtf16(value)
        return
      }
      const head = stringHead(length)
      if (head !== guess) this.bytes.copyWithin(this.position + head, start, start + length)
    }
    this.writeStringHead(length)
    this.position += length
  }

  private writeStringHead(length: number): void {
    if (length < 32) this.bytes[this.position++] = Token.SmallString | length
    else if (length < 0x100) {
      this.bytes[this.position++] = Token.String8
      this.bytes[this.position++] = length
    } else if (length < 0x10000) this.writeTagged16(Token.String16, length)
    else this.writeTagged32(Token.String32, length)
  }

  private writeUtf16(value: string): void {
    const units = Buffer.from(value, 'utf16le')
    this.writeExtensionHead(units.length, ExtensionType.Utf16)
    this.copy(units)
  }

  /** Up to 15 of something: in the token; more: in two or four bytes behind it. */
  protected writeCount(count: number, small: number, token16: number): void {
    if (count < 16) this.bytes[this.position++] = small | count
    else if (count < 0x10000) this.writeTagged16(token16, count)
    else this.writeTagged32(token16 + 1, count)
  }

  protected writeExtension1(type: number, byte: number): void {
    const bytes = this.bytes
    const at = this.position
    bytes[at] = Token.Extension1
    bytes[at + 1] = type
    bytes[at + 2] = byte
    this.position = at + 3
  }

  protected writeExtensionHead(length: number, type: number): void {
    if (length === 4) this.bytes[this.position++] = Token.Extension4
    else if (length === 8) this.bytes[this.position++] = Token.Extension8Fixed
    else if (length < 0x100) {
      this.bytes[this.position++] = Token.Extension8
      this.bytes[this.position++] = length
    } else if (length < 0x10000) this.writeTagged16(Token.Extension16, length)
    else this.writeTagged32(Token.Extension32, length)
    this.bytes[this.position++] = type
  }

  protected writeTagged16(token: number, value: number): void {
    const bytes = this.bytes
    const at = this.position
    bytes[at] = token
    bytes[at + 1] = value >> 8
    bytes[at + 2] = value
    this.position = at + 3
  }

  protected writeTagged32(token: number, value: number): void {
    this.bytes[this.position++] = token
    this.writeWord(value)
  }

  protected writeWord(value: number): void {
    const bytes = this.bytes
    const at = this.position
    bytes[at] = value >> 24
    bytes[at + 1] = value >> 16
    bytes[at + 2] = value >> 8
    bytes[at + 3] = value
    this.position = at + 4
  }

  protected copy(source: Uint8Array): void {
    const length = source.length
    if (this.position + length > this.bytes.length) this.grow(length)
    this.bytes.set(source, this.position)
    this.position += length
  }

  /** Makes room for `more` bytes behind the position. */
  protected grow(more: number): void {
    const needed = this.position + more
    if (needed > RowLimit.Length) {
      throw new Unencodable(
        undefined,
        `it can take up to ${RowLimit.Length / 2 ** 20} MiB encoded: store large things in pieces`,
        'ERR_VALUE_TOO_LARGE',
      )
    }
    const old = this.bytes
    this.replaceBuffer(Math.min(RowLimit.Length, Math.max(needed, 2 * old.length)))
    this.bytes.set(old.subarray(0, this.position))
  }

  private replaceBuffer(size: number): void {
    const memory = new ArrayBuffer(size)
    this.bytes = new Uint8Array(memory)
    this.text = Buffer.from(memory)
  }
}

/** ES2024; every Node this runs on has it. */
type WellFormed = string & { isWellFormed(): boolean }

/** Bytes of the head of a string of `length` bytes. */
function stringHead(length: number): number {
  return length < 32 ? 1 : length < 0x100 ? 2 : length < 0x10000 ? 3 : 5
}
