import { DamagedError } from '../base/errors.js'
import { ARRAY_CLASSES, ArrayKind, ExtensionType, RowLimit, Token } from './row-format.js'
import { beginTexts, readRowString } from './string-reading.js'

/*
 * Reading rows back; the format is in row-format.ts.
 *
 * One reader at a time, its state in variables of this module: no user code runs in here, so no call can interrupt another.
 * Whatever the bytes, the answer is a value or a DamagedError, in time and memory bounded by their number. Reading may
 * look behind `end`, at the rest of the page; whoever did has then gone too far, which is noticed at the end at the latest.
 */

/** What knows how to read the objects of one shape. */
export interface StructureReader {
  readonly fields: readonly string[]
  /** Reads the values of the fields; returns the object. */
  read(): unknown
}

/** The shared structures of one table, by number. */
export type StructureReaders = readonly StructureReader[]

/**
 * The value in bytes[start, end). Objects of one shared structure have one hidden class. Byte arrays are copies.
 * `shareTexts`, `ascii`: see beginTexts. Raises ERR_DAMAGED.
 */
export function decodeRow(
  bytes: Uint8Array,
  start: number,
  end: number,
  structures: StructureReaders,
  shareTexts: boolean,
  ascii: boolean,
): unknown {
  beginTexts(shareTexts, ascii)
  beginReading(bytes, start, end, structures)
  try {
    const token = bytes[start]
    let value: unknown
    // Nearly every row is an object of a shared structure.
    if (token >= Token.Record && token < Token.InlineRecord) {
      position = start + 1
      value = readRecord(token)
    } else value = readValue()
    if (position !== end) throw damaged(position > end ? 'it ends early' : 'bytes follow it')
    return value
  } finally {
    endReading()
  }
}

/**
 * The value of one field of the object in bytes[start, end), which is not looked at further; undefined if it has none, or is no object
 * of a shared structure. Raises ERR_DAMAGED.
 */
export function decodeField(bytes: Uint8Array, start: number, end: number, structures: StructureReaders, field: string): unknown {
  const place = structures[bytes[start] - Token.Record]?.fields.indexOf(field) ?? -1
  if (place < 0) return undefined
  beginTexts(false, false)
  beginReading(bytes, start + 1, end, structures)
  try {
    for (let before = 0; before < place; before++) skipValue()
    const value = readValue()
    if (position > end) throw damaged('it ends early')
    return value
  } finally {
    endReading()
  }
}

/** A reader for the objects of a shared structure, compiled so that they are made in one go. */
export function makeStructureReader(fields: readonly string[]): StructureReader {
  return { fields, read: compile(fields) ?? (() => readFields(fields)) }
}

function compile(fields: readonly string[]): (() => unknown) | undefined {
  // Computed, so that it is a field and does not set the prototype.
  const names = fields.map((field) => (field === '__proto__' ? '["__proto__"]' : JSON.stringify(field)))
  try {
    return new Function('read', `return function readRecord(){return {${names.map((name) => `${name}:read()`).join(',')}}}`)(readValue)
  } catch {
    return undefined // this process does not allow code to be made of strings
  }
}

const NOTHING = new Uint8Array(0)
const NO_STRUCTURES: StructureReaders = []

let source: Uint8Array = NOTHING
let position = 0
let limit = 0
let shared: StructureReaders = NO_STRUCTURES
let depth = 0
/** Fields of the inline structures that this row has defined so far. */
const inline: (readonly string[] | null)[] = new Array(RowLimit.InlineStructures).fill(null)
let hasInline = false

function beginReading(bytes: Uint8Array, start: number, end: number, structures: StructureReaders): void {
  source = bytes
  position = start
  limit = end
  shared = structures
}

/** Keeps no slab alive; what an error or an inline structure left behind is gone. */
function endReading(): void {
  source = NOTHING
  shared = NO_STRUCTURES
  depth = 0
  if (hasInline) forgetInline()
}

function forgetInline(): void {
  inline.fill(null)
  hasInline = false
}

function skipValue(): void {
  const token = source[position]
  if (token < Token.Record || token >= Token.NegativeInteger) position++
  else if ((token & 0xe0) === Token.SmallString) position += 1 + (token & 0x1f)
  else if (token === Token.String8) position += 2 + source[position + 1]
  else if (token === Token.Float64) position += 9
  else readValue()
}

/** Small, so that it is compiled into the readers of structures. */
function readValue(): unknown {
  const token = source[position++]
  if (token < Token.Record) return token
  if ((token & 0xe0) === Token.SmallString) return readString(token & 0x1f)
  return readOther(token)
}

function readOther(token: number): unknown {
  if (token < Token.SmallMap) return readRecord(token)
  if (token < Token.SmallString) return token < Token.SmallArray ? readMap(token & 0x0f) : readArray(token & 0x0f)
  if (token >= Token.NegativeInteger) return token - 0x100
  switch (token) {
    case Token.Null:
      return null
    case Token.False:
      return false
    case Token.True:
      return true
    case Token.Float64:
      return readDouble()
    case Token.Uint8:
      return readUint8()
    case Token.Uint16:
      return readUint16()
    case Token.Uint32:
      return readUint32()
    case Token.String8:
      return readString(readUint8())
    case Token.String16:
      return readString(readUint16())
    case Token.String32:
      return readString(readUint32())
    default:
      return readRare(token)
  }
}

function readRare(token: number): unknown {
  switch (token) {
    case Token.Int8:
      return (readUint8() << 24) >> 24
    case Token.Int16:
      return (readUint16() << 16) >> 16
    case Token.Int32:
      return readUint32() | 0
    case Token.Int64:
      return BigInt.asIntN(64, readInt64())
    case Token.Uint64:
      return readInt64()
    case Token.Bytes8:
      return readBytes(readUint8())
    case Token.Bytes16:
      return readBytes(readUint16())
    case Token.Bytes32:
      return readBytes(readUint32())
    case Token.Array16:
      return readArray(readUint16())
    case Token.Array32:
      return readArray(readUint32())
    case Token.Map16:
      return readMap(readUint16())
    case Token.Map32:
      return readMap(readUint32())
    case Token.Extension1:
      return readExtension1()
    case Token.Extension4:
      return readExtension(4)
    case Token.Extension8Fixed:
      return readExtension(8)
    case Token.Extension8:
      return readExtension(readUint8())
    case Token.Extension16:
      return readExtension(readUint16())
    case Token.Extension32:
      return readExtension(readUint32())
    default:
      throw damaged(`unknown token ${token}`)
  }
}

function readRecord(token: number): unknown {
  enter()
  let value: unknown
  if (token < Token.InlineRecord) {
    const reader = shared[token - Token.Record]
    if (reader === undefined) throw damaged(`structure ${token - Token.Record} of its table is unknown`)
    value = reader.read()
  } else {
    const fields = inline[token - Token.InlineRecord]
    if (fields === null) throw damaged('it uses an inline structure before defining it')
    value = readFields(fields)
  }
  depth--
  return value
}

function readFields(fields: readonly string[]): unknown {
  const object: Record<string, unknown> = {}
  for (let at = 0; at < fields.length; at++) {
    const field = fields[at]
    if (field === '__proto__')
      Object.defineProperty(object, field, { value: readValue(), enumerable: true, configurable: true, writable: true })
    else object[field] = readValue()
  }
  return object
}

function readDefinition(token: number): unknown {
  const fields = readValue()
  if (token < Token.InlineRecord || token >= Token.SmallMap || !isListOfStrings(fields)) throw damaged('a structure in it is malformed')
  inline[token - Token.InlineRecord] = fields
  hasInline = true
  enter()
  const value = readFields(fields)
  depth--
  return value
}

function isListOfStrings(value: unknown): value is string[] {
  return Array.isArray(value) && value.every((element) => typeof element === 'string')
}

function readArray(count: number): unknown[] {
  enter()
  const array: unknown[] = []
  // Every element takes a byte at least: a count that is wrong runs into the end.
  for (let at = 0; at < count; at++) {
    if (position >= limit) throw damaged('it ends early')
    array.push(readValue())
  }
  depth--
  return array
}

function readMap(count: number): Map<unknown, unknown> {
  enter()
  const map = new Map<unknown, unknown>()
  for (let at = 0; at < count; at++) {
    if (position >= limit) throw damaged('it ends early')
    const key = readValue()
    map.set(key, readValue())
  }
  depth--
  return map
}

function readExtension1(): unknown {
  const type = readUint8()
  const byte = readUint8()
  switch (type) {
    case ExtensionType.Undefined:
      return undefined
    case ExtensionType.Structure:
      return readDefinition(byte)
    case ExtensionType.Set:
      return readSet()
    case ExtensionType.Date:
      return new Date(Number.NaN)
    default:
      throw damaged(`unknown extension ${type}`)
  }
}

function readSet(): Set<unknown> {
  const members = readValue()
  if (!Array.isArray(members)) throw damaged('a set in it is malformed')
  return new Set(members)
}

function readExtension(length: number): unknown {
  const type = readUint8()
  const start = position
  take(length)
  switch (type) {
    case ExtensionType.Date:
      return readDate(start, length)
    case ExtensionType.BigInt:
      return readLargeBigInt(start, length)
    case ExtensionType.Memory:
      return readMemory(start, length)
    case ExtensionType.Utf16:
      return Buffer.from(source.buffer, source.byteOffset + start, length).toString('utf16le')
    default:
      throw damaged(`unknown extension ${type}`)
  }
}

function readDate(start: number, length: number): Date {
  if (length === 4) return new Date(wordAt(start) * 1000)
  if (length === 8) {
    const first = wordAt(start)
    const seconds = (first % 4) * 2 ** 32 + wordAt(start + 4)
    return new Date(seconds * 1000 + Math.floor(first / 4) / 1_000_000)
  }
  if (length !== 12) throw damaged('a date in it is malformed')
  const seconds = (wordAt(start + 4) | 0) * 2 ** 32 + wordAt(start + 8)
  return new Date(seconds * 1000 + wordAt(start) / 1_000_000)
}

function readLargeBigInt(start: number, length: number): bigint {
  if (length === 0) throw damaged('a bigint in it is malformed')
  const hex = Buffer.from(source.buffer, source.byteOffset + start, length).toString('hex')
  return BigInt.asIntN(8 * length, BigInt(`0x${hex}`))
}

function readMemory(start: number, length: number): unknown {
  const kind = source[start]
  // A copy: typed arrays need their own, aligned memory, and none may be a view of a page.
  const memory = new Uint8Array(source.subarray(start + 1, start + length)).buffer
  if (kind === ArrayKind.ArrayBuffer) return memory
  if (kind === ArrayKind.DataView) return new DataView(memory)
  const ArrayClass = length > 0 ? ARRAY_CLASSES[kind] : undefined
  if (ArrayClass === undefined || memory.byteLength % ArrayClass.BYTES_PER_ELEMENT !== 0) throw damaged('a typed array in it is malformed')
  return new ArrayClass(memory)
}

function readBytes(length: number): Uint8Array {
  const start = position
  take(length)
  return new Uint8Array(source.subarray(start, position))
}

function readString(length: number): string {
  const start = position
  take(length)
  return readRowString(source, start, position, limit)
}

function readDouble(): number {
  const at = position
  position = at + 8
  DOUBLE_WORDS[1] = wordAt(at) | 0
  DOUBLE_WORDS[0] = wordAt(at + 4) | 0
  return DOUBLE[0]
}

const DOUBLE = new Float64Array(1)
/** Little-endian, as all machines that Node runs on. */
const DOUBLE_WORDS = new Int32Array(DOUBLE.buffer)

function readInt64(): bigint {
  const high = readUint32()
  return (BigInt(high) << 32n) | BigInt(readUint32())
}

function readUint8(): number {
  return source[position++]
}

function readUint16(): number {
  const at = position
  position = at + 2
  return (source[at] << 8) | source[at + 1]
}

function readUint32(): number {
  const at = position
  position = at + 4
  return wordAt(at)
}

function wordAt(at: number): number {
  return ((source[at] << 24) | (source[at + 1] << 16) | (source[at + 2] << 8) | source[at + 3]) >>> 0
}

/** Moves over `length` bytes that must be there. */
function take(length: number): void {
  position += length
  if (!(position <= limit)) throw damaged('it ends early')
}

function enter(): void {
  if (++depth > RowLimit.Depth) throw damaged('it is nested too deep')
}

function damaged(what: string): DamagedError {
  return new DamagedError(`these bytes are not an encoded row: ${what}`, { offset: position })
}
