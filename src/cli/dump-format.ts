import { DamagedError, InvalidArgumentError } from '../index.js'
import { decodeStandalone, encodeStandalone, type TableDescription } from '../tools.js'
import { fromTagged, toTagged } from './tagged-json.js'

/**
 * A dump is a series of records: for each table its description, then its rows; at the very end a count of both, without which the dump is
 * cut off.
 *
 * 'jsonl': a line of JSON each, with values that JSON has not as tagged-json.ts says.
 *   {"$table":{"name":"items","options":{"key":"id"},"next":7}}
 *   {"id":1,"name":"a row of a table whose key lies within"}
 *   ["key beside", "the value"]
 *   {"$end":{"tables":2,"rows":2}}
 * 'msgpack': MessagePack byte strings ('bin') one after another, each holding, in MessagePack with msgpackr's record
 *   extension, [0, description], [1, row], [1, key, value] or [2, end].
 */
export type DumpRecord =
  | { type: 'table'; table: TableDescription }
  | { type: 'row'; key: unknown; hasKey: boolean; value: unknown }
  | { type: 'end'; tables: number; rows: number }

export type FormatName = 'jsonl' | 'msgpack'

export function encodeRecord(format: FormatName, record: DumpRecord): Buffer {
  if (format === 'msgpack') return frame(encodeStandalone(packed(record)))
  return Buffer.from(`${JSON.stringify(taggedRecord(record))}\n`)
}

/** Cuts a stream into records. `push` gives those that are whole; what is left at the end was cut off. */
export class RecordReader {
  /** Bytes of whole records so far. */
  consumed = 0
  readonly #format: FormatName
  #rest: Buffer = Buffer.alloc(0)
  #parts: Buffer[] = []
  #partBytes = 0
  #needed = 1

  constructor(format: FormatName) {
    this.#format = format
  }

  /** Bytes that belong to no whole record. */
  get left(): number {
    return this.#rest.length + this.#partBytes
  }

  /** Raises ERR_INVALID_ARGUMENT or ERR_DAMAGED for what is no record. */
  *push(chunk: Uint8Array): Generator<DumpRecord, void, void> {
    this.#parts.push(Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength))
    this.#partBytes += chunk.length
    if (this.left < this.#needed && this.#format === 'msgpack') return
    this.#rest = Buffer.concat([this.#rest, ...this.#parts])
    this.#parts = []
    this.#partBytes = 0
    let at = 0
    for (;;) {
      const end = this.#format === 'jsonl' ? this.#rest.indexOf(NEWLINE, at) + 1 : this.#frameEnd(at)
      if (end <= at) break
      const bytes = this.#rest.subarray(at, end)
      const record = this.#format === 'jsonl' ? readLine(bytes, this.consumed) : unpacked(bytes)
      this.consumed += end - at
      at = end
      if (record !== undefined) yield record
    }
    this.#rest = this.#rest.subarray(at)
  }

  /** Where the frame at `at` ends; 0 if it is not whole yet. */
  #frameEnd(at: number): number {
    const rest = this.#rest
    const width = rest[at] === 0xc4 ? 1 : rest[at] === 0xc5 ? 2 : rest[at] === 0xc6 ? 4 : 0
    if (at < rest.length && width === 0) {
      throw new DamagedError(`the dump is damaged at byte ${this.consumed}: no record begins there`, { offset: this.consumed })
    }
    this.#needed = 1 + width
    if (rest.length < at + 1 + width) return 0
    const end = at + 1 + width + rest.readUIntBE(at + 1, width)
    this.#needed = end - at
    return end <= rest.length ? end : 0
  }
}

/** The format that a dump's first byte shows. */
export function formatOf(firstByte: number | undefined): FormatName {
  return firstByte !== undefined && firstByte >= 0xc4 && firstByte <= 0xc6 ? 'msgpack' : 'jsonl'
}

function taggedRecord(record: DumpRecord): unknown {
  if (record.type === 'table') return { $table: record.table }
  if (record.type === 'end') return { $end: { tables: record.tables, rows: record.rows } }
  return record.hasKey ? [toTagged(record.key), toTagged(record.value)] : toTagged(record.value)
}

function readLine(bytes: Buffer, offset: number): DumpRecord | undefined {
  const text = bytes.toString('utf8').trim()
  if (text === '') return undefined
  let parsed: unknown
  try {
    parsed = JSON.parse(text)
  } catch (cause) {
    throw new InvalidArgumentError(`the line at byte ${offset} of the dump is no JSON: ${(cause as Error).message}`, { offset })
  }
  if (Array.isArray(parsed)) return { type: 'row', hasKey: true, key: fromTagged(parsed[0]), value: fromTagged(parsed[1]) }
  const [field, second] = typeof parsed === 'object' && parsed !== null ? Object.entries(parsed) : []
  if (second === undefined && field?.[0] === '$table') return { type: 'table', table: field[1] as TableDescription }
  if (second === undefined && field?.[0] === '$end') return { type: 'end', ...(field[1] as { tables: number; rows: number }) }
  return { type: 'row', hasKey: false, key: undefined, value: fromTagged(parsed) }
}

function packed(record: DumpRecord): unknown[] {
  if (record.type === 'table') return [0, record.table]
  if (record.type === 'end') return [2, { tables: record.tables, rows: record.rows }]
  return record.hasKey ? [1, record.key, record.value] : [1, record.value]
}

function unpacked(bytes: Buffer): DumpRecord {
  const width = 1 << (bytes[0] - 0xc4)
  const parts = decodeStandalone(bytes, 1 + width, bytes.length)
  if (Array.isArray(parts)) {
    if (parts[0] === 0) return { type: 'table', table: parts[1] as TableDescription }
    if (parts[0] === 2) return { type: 'end', ...(parts[1] as { tables: number; rows: number }) }
    if (parts.length === 3) return { type: 'row', hasKey: true, key: parts[1], value: parts[2] }
    if (parts.length === 2) return { type: 'row', hasKey: false, key: undefined, value: parts[1] }
  }
  throw new DamagedError('a record of the dump is none that this version knows', { bytes: bytes.length })
}

function frame(bytes: Uint8Array): Buffer {
  const width = bytes.length < 0x100 ? 1 : bytes.length < 0x10000 ? 2 : 4
  const out = Buffer.allocUnsafe(1 + width + bytes.length)
  out[0] = width === 1 ? 0xc4 : width === 2 ? 0xc5 : 0xc6
  out.writeUIntBE(bytes.length, 1, width)
  out.set(bytes, 1 + width)
  return out
}

const NEWLINE = 10
