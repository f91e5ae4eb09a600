import { isArrayBuffer, isDate, isMap, isSet, isUint8Array } from 'node:util/types'
import { describe } from '../base/errors.js'
import { HEAD, MsgpackWriter, Unencodable } from './msgpack-writer.js'
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

/** Of an encoder that has not been used yet. */
const NONE = new RowStructures(() => undefined)
/** Numbers the rows, for inline structures; never 0. */
let rows = 0

export class RowEncoder extends MsgpackWriter {
  private structures: RowStructures = NONE
  private row = 0

  /** Encodes one value at bytes[start, position). Throws Unencodable, and whatever user code throws. */
  encode(value: unknown, structures: RowStructures, start: number): void {
    this.restart(start)
    this.structures = structures
    this.row = ++rows
    structures.beginRow()
    this.writeValue(value, 0)
  }

  /** Copies plain bytes to bytes[start, position). Throws Unencodable if they are too many. */
  copyBytes(value: Uint8Array, start: number): void {
    this.restart(start)
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
}

function changed(object: object): Unencodable {
  return new Unencodable(object, 'an object gained or lost fields while it was being read, by a getter or a toJSON method in it')
}
