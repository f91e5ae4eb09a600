import { isArrayBuffer, isDate, isMap, isSet, isUint8Array } from 'node:util/types'
import { describe } from '../base/errors.js'
import { ARRAY_CLASSES, ArrayKind, ExtensionType, RowLimit, Token } from './row-format.js'
import { fieldsOf, RowStructures } from './row-structures.js'

/*
 * Writing rows; the format is in row-format.ts, what is stored of which value in row-codec.ts.
 *
 * User code runs in here: getters, toJSON, proxies. Therefore
 *  - an encoder serves one row at a time; a row encoded from within another takes another encoder (row-codec.ts);
 *  - nothing read from an object is trusted to be so a second time. An object is read twice, once for its shape and once
 *    for its values, and what the second reading finds is checked against the first: otherwise a getter that deletes a
 *    neighbour would leave a record with too few values, bytes that nobody can decode;
 *  - an exception just passes through: all that was written is memory nobody looks at.
 */

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
const HEAD = 16

const DOUBLE = new Float64Array(1)
const DOUBLE_BYTES = new Uint8Array(DOUBLE.buffer)
/** Of an encoder that has not been used yet. */
const NONE = new RowStructures(() => undefined)
/** Numbers the rows, for inline structures; never 0. */
let rows = 0

export class RowEncoder {
  /** Holds the encoded row, from a word boundary on; replaced when it has to grow. */
  bytes: Uint8Array = new Uint8Array(Capacity.Initial)
  /** Behind what is written. */
  position = 0
  /** The same memory, for Node's native string writer. */
  private text: Buffer = Buffer.from(this.bytes.buffer)
  private structures: RowStructures = NONE
  private row = 0

  /** Encodes one value at bytes[start, position). Throws Unencodable, and whatever user code throws. */
  encode(value: unknown, structures: RowStructures, start: number): void {
    if (this.bytes.length > Capacity.Retained) this.replaceBuffer(Capacity.Initial)
    this.structures = structures
    this.row = ++rows
    this.position = start
    structures.beginRow()
    this.writeValue(value, 0)
  }

  /** Copies plain bytes to bytes[start, position). Throws Unencodable if they are too many. */
  copyBytes(value: Uint8Array, start: number): void {
    if (this.bytes.length > Capacity.Retained) this.replaceBuffer(Capacity.Initial)
    this.position = start
    this.copy(value)
  }

  private writeValue(value: unknown, depth: number): void {
    if (this.position + HEAD > this.bytes.length) this.grow(HEAD)
    if (typeof value === 'string') this.writeString(value)
    else if (typeof value === 'number') this.writeNumber(value)
    else if (typeof value === 'object') {
      if (value === null) this.bytes[this.position++] = Token.Null
      else this.writeObject(value, depth)
    } else if (typeof value === 'boolean') this.bytes[this.position++] = value ? Token.True : Token.False
    else if (value === undefined) this.writeExtension1(ExtensionType.Undefined, 0)
    else if (typeof value === 'bigint') this.writeBigInt(value)
    else throw new Unencodable(value, `${describe(value)} is not data`)
  }

  private writeObject(value: object, depth: number): void {
    if (depth === RowLimit.Depth) {
      throw new Unencodable(value, `objects and arrays can be nested ${RowLimit.Depth} deep, this is deeper: does it contain itself?`)
    }
    const prototype = Object.getPrototypeOf(value)
    if (prototype === Object.prototype || prototype === null) this.writeRecord(value, depth)
    else if (Array.isArray(value)) this.writeArray(value, depth)
    else if (isDate(value)) this.writeDate(value)
    else if (isUint8Array(value)) this.writeBytes(value)
    else if (isMap(value)) this.writeMap(value, depth)
    else if (isSet(value)) this.writeSet(value, depth)
    else if (ArrayBuffer.isView(value)) this.writeView(value)
    else if (isArrayBuffer(value)) this.writeMemory(ArrayKind.ArrayBuffer, new Uint8Array(value))
    else this.writeInstance(value, depth)
  }

  /** An instance of a class: what its toJSON returns, or else its own fields. */
  private writeInstance(value: object, depth: number): void {
    const { toJSON } = value as { toJSON?: unknown }
    if (typeof toJSON === 'function') {
      const replacement: unknown = toJSON.call(value)
      if (replacement !== value) {
        this.writeValue(replacement, depth + 1)
        return
      }
    }
    const kind = Object.prototype.toString.call(value)
    // What other built-ins hold is not in fields: a Promise or a RegExp would silently become {}.
    if (kind !== '[object Object]') {
      throw new Unencodable(value, `convert the ${kind.slice(8, -1)} to plain data, or give it a toJSON method`)
    }
    this.writeRecord(value, depth)
  }

  private writeRecord(object: object, depth: number): void {
    const fields = this.writeRecordHead(object)
    let count = 0
    for (const key in object) {
      // biome-ignore lint/suspicious/noPrototypeBuiltins: in this form, and no other, V8 drops the test for ordinary objects (saves 10 ns a field)
      if (!Object.prototype.hasOwnProperty.call(object, key)) continue
      if (key !== fields[count++]) throw changed(object)
      this.writeValue((object as Record<string, unknown>)[key], depth + 1)
    }
    if (count !== fields.length) throw changed(object)
  }

  /** Writes which structure the object has; returns its fields. */
  private writeRecordHead(object: object): readonly string[] {
    const structures = this.structures
    const shape = structures.shapeOf(object)
    if (shape === null) {
      const fields = Object.keys(object)
      this.writeDefinition(structures.shareInline(null, this.row), fields)
      return fields
    }
    const id = shape.id >= 0 ? shape.id : structures.share(shape)
    if (id >= 0) {
      this.bytes[this.position++] = Token.Record + id
      return structures.shared[id]
    }
    const fields = fieldsOf(shape)
    if (shape.row === this.row) this.bytes[this.position++] = Token.InlineRecord + shape.inlineId
    else this.writeDefinition(structures.shareInline(shape, this.row), fields)
    return fields
  }

  private writeDefinition(id: number, fields: readonly string[]): void {
    this.writeExtension1(ExtensionType.Structure, Token.InlineRecord + id)
    this.writeCount(fields.length, Token.SmallArray, Token.Array16)
    for (let at = 0; at < fields.length; at++) this.writeValue(fields[at], 0)
    if (this.position + HEAD > this.bytes.length) this.grow(HEAD)
  }

  private writeArray(array: readonly unknown[], depth: number): void {
    const length = array.length
    this.writeCount(length, Token.SmallArray, Token.Array16)
    for (let at = 0; at < length; at++) this.writeValue(array[at], depth + 1)
  }

  private writeMap(map: Map<unknown, unknown>, depth: number): void {
    // Not the map's own iterator: a subclass may have another.
    const entries = [...Map.prototype.entries.call(map)]
    this.writeCount(entries.length, Token.SmallMap, Token.Map16)
    for (const [key, value] of entries) {
      this.writeValue(key, depth + 1)
      this.writeValue(value, depth + 1)
    }
  }

  private writeSet(set: Set<unknown>, depth: number): void {
    this.writeExtension1(ExtensionType.Set, 0)
    this.writeArray([...Set.prototype.values.call(set)], depth)
  }

  private writeNumber(value: number): void {
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

  private writeDouble(value: number): void {
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

  private writeBigInt(value: bigint): void {
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

  /** MessagePack's timestamp: 4 bytes seconds; or 30 bits nanoseconds, 34 bits seconds; or 4 and 8 bytes. */
  private writeDate(value: Date): void {
    // Not value.getTime(): a subclass may override it.
    const time = Date.prototype.getTime.call(value)
    if (Number.isNaN(time)) {
      this.writeExtension1(ExtensionType.Date, 0)
      return
    }
    const seconds = Math.floor(time / 1000)
    const nanoseconds = (time - seconds * 1000) * 1_000_000
    const high = Math.floor(seconds / 2 ** 32)
    if (high === 0 && nanoseconds === 0) {
      this.writeExtensionHead(4, ExtensionType.Date)
      this.writeWord(seconds)
    } else if (high >= 0 && high < 4) {
      this.writeExtensionHead(8, ExtensionType.Date)
      this.writeWord(nanoseconds * 4 + high)
      this.writeWord(seconds)
    } else {
      this.writeExtensionHead(12, ExtensionType.Date)
      this.writeWord(nanoseconds)
      this.writeWord(high)
      this.writeWord(seconds)
    }
  }

  private writeBytes(value: Uint8Array): void {
    const length = value.length
    if (length < 0x100) {
      this.bytes[this.position++] = Token.Bytes8
      this.bytes[this.position++] = length
    } else if (length < 0x10000) this.writeTagged16(Token.Bytes16, length)
    else this.writeTagged32(Token.Bytes32, length)
    this.copy(value)
  }

  private writeView(value: ArrayBufferView): void {
    const name = Object.prototype.toString.call(value).slice(8, -1)
    const kind = name === 'DataView' ? ArrayKind.DataView : ARRAY_CLASSES.findIndex((ArrayClass) => ArrayClass.name === name)
    if (kind < 0) throw new Unencodable(value, `convert the ${name} to a Uint8Array or an array`)
    this.writeMemory(kind, new Uint8Array(value.buffer, value.byteOffset, value.byteLength))
  }

  private writeMemory(kind: number, memory: Uint8Array): void {
    this.writeExtensionHead(memory.length + 1, ExtensionType.Memory)
    this.bytes[this.position++] = kind
    this.copy(memory)
  }

  private writeString(value: string): void {
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
  private writeCount(count: number, small: number, token16: number): void {
    if (count < 16) this.bytes[this.position++] = small | count
    else if (count < 0x10000) this.writeTagged16(token16, count)
    else this.writeTagged32(token16 + 1, count)
  }

  private writeExtension1(type: number, byte: number): void {
    const bytes = this.bytes
    const at = this.position
    bytes[at] = Token.Extension1
    bytes[at + 1] = type
    bytes[at + 2] = byte
    this.position = at + 3
  }

  private writeExtensionHead(length: number, type: number): void {
    if (length === 4) this.bytes[this.position++] = Token.Extension4
    else if (length === 8) this.bytes[this.position++] = Token.Extension8Fixed
    else if (length < 0x100) {
      this.bytes[this.position++] = Token.Extension8
      this.bytes[this.position++] = length
    } else if (length < 0x10000) this.writeTagged16(Token.Extension16, length)
    else this.writeTagged32(Token.Extension32, length)
    this.bytes[this.position++] = type
  }

  private writeTagged16(token: number, value: number): void {
    const bytes = this.bytes
    const at = this.position
    bytes[at] = token
    bytes[at + 1] = value >> 8
    bytes[at + 2] = value
    this.position = at + 3
  }

  private writeTagged32(token: number, value: number): void {
    this.bytes[this.position++] = token
    this.writeWord(value)
  }

  private writeWord(value: number): void {
    const bytes = this.bytes
    const at = this.position
    bytes[at] = value >> 24
    bytes[at + 1] = value >> 16
    bytes[at + 2] = value >> 8
    bytes[at + 3] = value
    this.position = at + 4
  }

  private copy(source: Uint8Array): void {
    const length = source.length
    if (this.position + length > this.bytes.length) this.grow(length)
    this.bytes.set(source, this.position)
    this.position += length
  }

  /** Makes room for `more` bytes behind the position. */
  private grow(more: number): void {
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

function changed(object: object): Unencodable {
  return new Unencodable(object, 'an object gained or lost fields while it was being read, by a getter or a toJSON method in it')
}

/** Bytes of the head of a string of `length` bytes. */
function stringHead(length: number): number {
  return length < 32 ? 1 : length < 0x100 ? 2 : length < 0x10000 ? 3 : 5
}
