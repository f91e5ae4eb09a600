import { InvalidArgumentError } from '../index.js'

/**
 * Values as JSON that comes back as it went: what JSON has not is an object whose only field says what it is.
 *
 *   bigint        {"$bigint":"123"}            Date        {"$date":"2026-01-01T00:00:00.000Z"}, invalid: {"$date":null}
 *   Uint8Array    {"$bytes":"base64"}          Map         {"$map":[[key, value], …]}
 *   typed array   {"$Float64Array":"base64"}   Set         {"$set":[…]}
 *   −0, NaN, ±∞   {"$number":"-0"}             undefined   {"$undefined":true}
 *   an object that would be taken for one of these: {"$object":[[field, value], …]}
 */
export function toTagged(value: unknown): unknown {
  switch (typeof value) {
    case 'bigint':
      return { $bigint: String(value) }
    case 'undefined':
      return { $undefined: true }
    case 'number':
      return Number.isFinite(value) && !Object.is(value, -0) ? value : { $number: Object.is(value, -0) ? '-0' : String(value) }
    case 'object':
      return value === null ? null : objectToTagged(value)
    default:
      return value
  }
}

function objectToTagged(value: object): unknown {
  if (Array.isArray(value)) return Array.from(value, toTagged)
  if (value instanceof Date) return { $date: Number.isNaN(value.getTime()) ? null : value.toISOString() }
  if (value instanceof Uint8Array) return { $bytes: base64(value) }
  if (value instanceof Map) return { $map: Array.from(value, ([key, item]) => [toTagged(key), toTagged(item)]) }
  if (value instanceof Set) return { $set: Array.from(value, toTagged) }
  if (value instanceof ArrayBuffer) return { $ArrayBuffer: base64(new Uint8Array(value)) }
  if (ArrayBuffer.isView(value)) {
    const bytes = new Uint8Array(value.buffer, value.byteOffset, value.byteLength)
    return { [`$${Object.prototype.toString.call(value).slice(8, -1)}`]: base64(bytes) }
  }
  const fields = Object.entries(value).map(([name, item]) => [name, toTagged(item)] as const)
  return fields.length === 1 && fields[0][0].startsWith('$') ? { $object: fields } : object(fields)
}

/** Raises ERR_INVALID_ARGUMENT for an object that says it is something and is not. */
export function fromTagged(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value
  if (Array.isArray(value)) return value.map(fromTagged)
  const fields = Object.entries(value)
  if (fields.length === 1 && fields[0][0].startsWith('$')) return untag(fields[0][0], fields[0][1])
  return object(fields.map(([name, item]) => [name, fromTagged(item)] as const))
}

function untag(tag: string, content: unknown): unknown {
  const read = READERS[tag]
  try {
    if (read !== undefined) return read(content)
  } catch {
    // Said below.
  }
  throw new InvalidArgumentError(
    `an object with the one field ${tag} stands for something else, but this does not: ${JSON.stringify({ [tag]: content }).slice(0, 80)}`,
  )
}

type Reader = (content: unknown) => unknown

const READERS: Readonly<Record<string, Reader>> = {
  $bigint: (text) => BigInt(text as string),
  $undefined: () => undefined,
  $number: (text) => Number(text),
  $date: (text) => new Date(text === null ? Number.NaN : (text as string)),
  $bytes: (text) => new Uint8Array(Buffer.from(text as string, 'base64')),
  $map: (entries) => new Map((entries as unknown[][]).map(([key, item]) => [fromTagged(key), fromTagged(item)])),
  $set: (items) => new Set((items as unknown[]).map(fromTagged)),
  $object: (fields) => object((fields as [string, unknown][]).map(([name, item]) => [name, fromTagged(item)] as const)),
  $ArrayBuffer: (text) => memory(text),
  $DataView: (text) => new DataView(memory(text)),
  ...Object.fromEntries(
    [
      Int8Array,
      Uint8ClampedArray,
      Int16Array,
      Uint16Array,
      Int32Array,
      Uint32Array,
      Float32Array,
      Float64Array,
      BigInt64Array,
      BigUint64Array,
    ].map((ArrayClass): [string, Reader] => [`$${ArrayClass.name}`, (text) => new ArrayClass(memory(text))]),
  ),
}

/** Fields as they are, one called __proto__ included. */
function object(fields: readonly (readonly [string, unknown])[]): object {
  return Object.fromEntries(fields)
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64')
}

function memory(text: unknown): ArrayBuffer {
  return new Uint8Array(Buffer.from(text as string, 'base64')).buffer
}
