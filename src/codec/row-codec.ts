import { isProxy, isUint8Array } from 'node:util/types'
import { assert } from '../base/assert.js'
import { describe, InvalidArgumentError } from '../base/errors.js'
import { Unencodable } from './msgpack-writer.js'
import { decodeField, decodeRow, makeStructureReader, type StructureReader } from './row-decoder.js'
import { RowEncoder } from './row-encoder.js'
import { type OnNewStructure, RowStructures } from './row-structures.js'

export type { OnNewStructure } from './row-structures.js'

export const enum Encoded {
  /** Bytes that lie free before `start`, for the header of the record. */
  Reserve = 16,
}

/**
 * How a table's values become bytes and come back. Plain data goes in and out; pages and logs see bytes only.
 */
export interface ValueCodec {
  /**
   * The last value encoded: bytes[start, end), `start` at a word boundary and at least 16 bytes in, which are free for a record header.
   * Good until the next value is encoded, by any codec. `bytes` is never the memory of the value itself.
   */
  readonly bytes: Uint8Array
  readonly start: number
  readonly end: number
  /** Whether all strings of the last value encoded are ASCII. Kept with the bytes, it spares `decode` the look at each string. */
  readonly ascii: boolean
  /** Encodes a value into bytes[start, end). Raises ERR_INVALID_ROW and ERR_VALUE_TOO_LARGE; see the classes. */
  encode(value: unknown): void
  /** The value in bytes[start, end); shares no memory with them. `ascii`: what `encode` said of them, or false. Raises ERR_DAMAGED. */
  decode(bytes: Uint8Array, start: number, end: number, ascii: boolean): unknown
  /** The same for rows of one page, one after another: faster. To be followed by `forgetTexts` before the page changes. */
  decodeAmongOthers(bytes: Uint8Array, start: number, end: number, ascii: boolean): unknown
  /** One field of the last value encoded, as decoding will give it; undefined if there is none, or it is not to be had alone. */
  decodeField(field: string): unknown
  /** Takes up the structures recorded so far, in order of their numbers; those known already must be the same. */
  loadStructures(structures: readonly (readonly string[])[]): void
}

/** `onNewStructure` is called while a row is being encoded, before bytes that need the structure can be used. */
export function createValueCodec(kind: 'row' | 'binary', onNewStructure: OnNewStructure): ValueCodec {
  return kind === 'row' ? new RowCodec(onNewStructure) : new BinaryCodec()
}

/** Encoders at rest. One is taken for each row: a row encoded by user code inside another one gets a second encoder. */
const idle: RowEncoder[] = []
const NOTHING = new Uint8Array(0)

/**
 * The codec of one table of rows, or of any values that structured data is made of.
 *
 * Comes back as it went in: null, undefined (as a field or element), booleans, all numbers (−0, NaN and ±Infinity too), bigints
 * of any size, all strings (lone surrogates too), Date (Invalid Date too), Map, Set, Uint8Array and the other typed arrays, ArrayBuffer, DataView,
 * arrays, plain objects with their own fields in order; any of these inside any other, 256 deep.
 * Comes back changed:
 *  - a class instance: as what its toJSON returns, or as a plain object of its own fields. A null prototype, inherited fields, fields
 *    with symbols for names, and those that are not enumerable are left out; a getter is replaced by its value.
 *  - a Buffer: as a Uint8Array; other subclasses of built-ins: as the built-in. A view: with memory of its own, of just its length.
 *  - an array with holes: with undefined in them; fields of arrays, Maps, dates … besides their elements are left out.
 *  - an object that is there twice: as two objects.
 * Is refused (ERR_INVALID_ROW): functions (a toJSON of a plain object, too), symbols, objects that contain themselves, WeakMap, Promise, RegExp, Error, boxed primitives and other
 * built-ins without toJSON, shared memory; undefined in place of a whole value, which could not be told from there being none.
 *
 * Getters, toJSON and proxies run inside `encode` only. What they throw passes through. They may use this and other codecs.
 */
export class RowCodec implements ValueCodec {
  bytes: Uint8Array = NOTHING
  start: number = Encoded.Reserve
  end: number = Encoded.Reserve
  ascii = false
  readonly #structures: RowStructures
  readonly #readers: StructureReader[] = []

  constructor(onNewStructure: OnNewStructure) {
    this.#structures = new RowStructures((id, fields) => {
      onNewStructure(id, fields)
      this.#readers[id] = makeStructureReader(fields)
    })
  }

  loadStructures(structures: readonly (readonly string[])[]): void {
    structures.forEach((fields, id) => {
      this.defineStructure(id, fields)
    })
  }

  /** Takes up one structure, the next by number or one that is known already: as it turns up in the log. */
  defineStructure(id: number, fields: readonly string[]): void {
    this.#structures.define(id, fields)
    this.#readers[id] ??= makeStructureReader(fields)
  }

  encode(value: unknown): void {
    if (value === undefined) {
      throw new InvalidArgumentError('undefined cannot be stored, it means that there is no value: use null', { value }, 'ERR_INVALID_ROW')
    }
    const encoder = idle.pop() ?? new RowEncoder()
    try {
      encoder.encode(value, this.#structures, Encoded.Reserve)
      this.bytes = encoder.bytes
      this.end = encoder.position
      this.ascii = encoder.ascii
    } catch (error) {
      throw error instanceof Unencodable ? refusal(value, error) : error
    } finally {
      idle.push(encoder)
    }
  }

  decode(bytes: Uint8Array, start: number, end: number, ascii: boolean): unknown {
    return decodeRow(bytes, start, end, this.#readers, false, ascii)
  }

  decodeField(field: string): unknown {
    return decodeField(this.bytes, this.start, this.end, this.#readers, field)
  }

  decodeAmongOthers(bytes: Uint8Array, start: number, end: number, ascii: boolean): unknown {
    return decodeRow(bytes, start, end, this.#readers, true, ascii)
  }
}

/** The codec of a table with `value: 'binary'`: the bytes of a Uint8Array as they are. Anything else is refused (ERR_INVALID_ROW). */
export class BinaryCodec implements ValueCodec {
  bytes: Uint8Array = NOTHING
  start: number = Encoded.Reserve
  end: number = Encoded.Reserve
  readonly ascii: boolean = false

  encode(value: unknown): void {
    if (!isUint8Array(value)) {
      throw new InvalidArgumentError(
        `the values of this table are binary: give a Uint8Array, not ${describe(value)}`,
        { value },
        'ERR_INVALID_ROW',
      )
    }
    const encoder = idle.pop() ?? new RowEncoder()
    try {
      encoder.copyBytes(value, Encoded.Reserve)
      this.bytes = encoder.bytes
      this.end = encoder.position
    } catch (error) {
      throw error instanceof Unencodable ? refusal(value, error) : error
    } finally {
      idle.push(encoder)
    }
  }

  decode(bytes: Uint8Array, start: number, end: number): Uint8Array {
    return new Uint8Array(bytes.subarray(start, end))
  }

  decodeField(): undefined {
    return undefined
  }

  decodeAmongOthers(bytes: Uint8Array, start: number, end: number): Uint8Array {
    return this.decode(bytes, start, end)
  }

  loadStructures(structures: readonly (readonly string[])[]): void {
    assert(structures.length === 0, 'a table of binary values has record structures')
  }
}

function refusal(row: unknown, { value, message, code }: Unencodable): InvalidArgumentError {
  const path = value === undefined ? undefined : pathTo(value, row)
  const where = path === undefined || path === '' ? 'this value' : `the field '${path}'`
  return new InvalidArgumentError(`${where} cannot be stored: ${message}`, { value, path }, code)
}

/** How many objects are looked at to find out where in a row something is. */
const SEARCHED = 1000

/** Where in `root` the value is, such as 'tags.3.name'; undefined if it is not found soon. Runs no getters. */
function pathTo(value: unknown, root: unknown): string | undefined {
  if (value === root) return ''
  const seen = new Set<unknown>([root])
  const queue: [object: unknown, path: string][] = [[root, '']]
  for (const [object, path] of queue) {
    if (typeof object !== 'object' || object === null || isProxy(object)) continue
    for (const key of Object.keys(object)) {
      const field: unknown = Object.getOwnPropertyDescriptor(object, key)?.value
      const fieldPath = path === '' ? key : `${path}.${key}`
      if (field === value) return fieldPath
      if (seen.has(field) || seen.size > SEARCHED) continue
      seen.add(field)
      queue.push([field, fieldPath])
    }
  }
  return undefined
}
