/**
 * The encoding of rows (D5): MessagePack, with records for objects in the form msgpackr gave them, so that its reader
 * can read our rows too (the tests hold the two against each other). Integers are big-endian.
 *
 *   00–3f          the integers 0 … 63
 *   40–6f          an object of the table's shared structure number 0 … 47: the values of its fields follow, in order
 *   70–7f          an object of an inline structure, defined earlier in the same row
 *   80–8f de df    Map: count, then keys and values alternately
 *   90–9f dc dd    array: count, then the elements
 *   a0–bf d9 da db string: length, then UTF-8
 *   c0 c2 c3       null, false, true
 *   c4 c5 c6       Uint8Array: length, then the bytes
 *   ca cb          float32 (never written), float64
 *   cc cd ce       unsigned integers of 1, 2, 4 bytes; cf: a bigint of 8
 *   d0 d1 d2       signed integers of 1, 2, 4 bytes; d3: a bigint of 8
 *   d4 00 00       undefined
 *   d4 72 id       defines inline structure `id` (70–7f) by the array of field names that follows; its first object follows that
 *   d4 73 00       Set: an array of the members follows
 *   e0–ff          the integers −32 … −1
 *
 * Extensions: d4–d8 for 1, 2, 4, 8, 16 bytes, c7 c8 c9 with a length; then the type, then the bytes:
 *   42  a bigint beyond 8 bytes, two's complement
 *   74  one byte ArrayKind, then the memory of a typed array (as this machine has it: little-endian), ArrayBuffer or DataView
 *   75  a string with half a surrogate pair in it, which UTF-8 has no bytes for: UTF-16LE
 *   ff  Date: MessagePack's timestamp of 4, 8 or 12 bytes; of 1 byte: Invalid Date
 *
 * All on disk: meanings never change.
 */
export const enum Token {
  Record = 0x40,
  InlineRecord = 0x70,
  SmallMap = 0x80,
  SmallArray = 0x90,
  SmallString = 0xa0,
  Null = 0xc0,
  False = 0xc2,
  True = 0xc3,
  Bytes8 = 0xc4,
  Bytes16 = 0xc5,
  Bytes32 = 0xc6,
  Extension8 = 0xc7,
  Extension16 = 0xc8,
  Extension32 = 0xc9,
  Float32 = 0xca,
  Float64 = 0xcb,
  Uint8 = 0xcc,
  Uint16 = 0xcd,
  Uint32 = 0xce,
  Uint64 = 0xcf,
  Int8 = 0xd0,
  Int16 = 0xd1,
  Int32 = 0xd2,
  Int64 = 0xd3,
  Extension1 = 0xd4,
  Extension2 = 0xd5,
  Extension4 = 0xd6,
  Extension8Fixed = 0xd7,
  Extension16Fixed = 0xd8,
  String8 = 0xd9,
  String16 = 0xda,
  String32 = 0xdb,
  Array16 = 0xdc,
  Array32 = 0xdd,
  Map16 = 0xde,
  Map32 = 0xdf,
  NegativeInteger = 0xe0,
}

export const enum ExtensionType {
  Undefined = 0x00,
  BigInt = 0x42,
  Structure = 0x72,
  Set = 0x73,
  Memory = 0x74,
  Utf16 = 0x75,
  Date = 0xff,
}

export const enum RowLimit {
  /** Shared structures of a table; objects of further shapes carry their field names themselves. */
  SharedStructures = 48,
  /** Inline structures that can be referred to at one time. */
  InlineStructures = 16,
  /** Shapes with more fields, or with more UTF-16 units of field names, are dictionaries rather than records: never shared. */
  SharedFields = 256,
  SharedNames = 4096,
  /** How deep objects and arrays may be nested; also what stops a row that contains itself. */
  Depth = 256,
  /** Bytes of one encoded row. */
  Length = 2 ** 30,
}

export interface TypedArrayClass {
  readonly name: string
  readonly BYTES_PER_ELEMENT: number
  new (memory: ArrayBuffer): ArrayBufferView
}

/** Typed arrays by their code in an extension of type Memory: 0, 1, 2 … */
export const ARRAY_CLASSES: readonly TypedArrayClass[] = [
  Int8Array,
  Uint8Array,
  Uint8ClampedArray,
  Int16Array,
  Uint16Array,
  Int32Array,
  Uint32Array,
  Float32Array,
  Float64Array,
  BigInt64Array,
  BigUint64Array,
]

export const enum ArrayKind {
  ArrayBuffer = 16,
  DataView = 17,
}
