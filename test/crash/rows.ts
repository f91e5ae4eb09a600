import type { TableOptions } from '../../src/table-options.js'
import { Prng } from '../support/seeded.js'

/**
 * The tables of the crash suite, and what lies in them.
 *
 * Every value written bears a version number, unique in a run, from which all of it but its key can be made again. So a
 * recovered row says by itself which write it is, and whether any of its bytes are wrong. Values too short for a version
 * number (binary ones below 8 bytes) are known by table, key and length.
 */
export type Shape = 'account' | 'order' | 'setting' | 'blob' | 'ticket'

export interface TableSpec {
  readonly name: string
  readonly shape: Shape
  readonly options: TableOptions
}

export const OPTIONS: Readonly<Record<Shape, TableOptions>> = {
  account: {
    key: 'id',
    autoIncrement: true,
    indexes: { owner: { on: 'owner', unique: true }, city: { on: 'city' }, cityBalance: { on: ['city', 'balance'] } },
  },
  order: { key: ['tenant', 'number'], indexes: { tag: { on: 'tag.name' }, slot: { on: ['tenant', 'slot'], unique: true } } },
  setting: {},
  blob: { value: 'binary' },
  ticket: { autoIncrement: true, indexes: { state: { on: 'state' } } },
}

/** A value in its place. */
export interface StoredRow {
  readonly table: string
  readonly key: Key
  /** −1 if the value is too short to bear one. */
  readonly version: number
  readonly fingerprint: bigint
  readonly unique: UniqueKeys
}

export type Key = number | string | readonly (number | string)[]
export type Value = Uint8Array | Record<string, unknown>

/** How many rows there are, and how long. */
export interface Sizes {
  /** Tables have this many times the keys of a small one. */
  readonly keys: number
  /** Bytes. */
  readonly longest: number
  /** Of a hundred values, how many go to an overflow chain … */
  readonly long: number
  /** … and how many of the others are some thousand bytes long. */
  readonly medium: number
}

/** One or two tables with few rows: quickest to look at. */
export const TINY: Sizes = { keys: 0.3, longest: 20_000, long: 5, medium: 10 }
/** All shapes, small. */
export const SMALL: Sizes = { keys: 1, longest: 40_000, long: 3, medium: 20 }
/** Logs that fill segment after segment. */
export const MEDIUM: Sizes = { keys: 1, longest: 40_000, long: 6, medium: 70 }
/** Databases about as large as their cache, in many small rows: whatever is written is evicted, frozen, copied. */
export const WIDE: Sizes = { keys: 8, longest: 10_000, long: 1, medium: 90 }
/** Long values, transactions too big for the log. */
export const LARGE: Sizes = { keys: 1, longest: 400_000, long: 25, medium: 30 }

/** Fields with unique values, by which rows exclude each other: a key per unique index, null where the row has none. */
export type UniqueKeys = readonly (string | null)[]

/** The value that version `version` of a table of this shape has under a key. */
export function makeValue(shape: Shape, version: number, key: Key | undefined, sizes: Sizes): Value {
  const random = new Prng(version)
  const length = lengthOf(random, sizes)
  switch (shape) {
    case 'account': {
      const row: Record<string, unknown> = key === undefined ? { version } : { id: key, version }
      sometimes(random, row, 'owner', () => `owner-${random.int(40 * sizes.keys)}`)
      sometimes(random, row, 'city', () => `city-${random.int(6)}`)
      sometimes(random, row, 'balance', () => random.int(100) - 50)
      if (length > 20) row['note'] = text(version, length)
      return row
    }
    case 'order': {
      const [tenant, number] = key as readonly (number | string)[]
      const row: Record<string, unknown> = { tenant, number, version }
      sometimes(random, row, 'tag', () => ({ name: `tag-${random.int(5)}` }))
      sometimes(random, row, 'slot', () => random.int(12 * sizes.keys))
      if (length > 20) row['note'] = text(version, length)
      return row
    }
    case 'setting':
      return { version, [`field${random.int(6)}`]: random.int(1000), note: text(version, length) }
    case 'ticket':
      return { version, state: random.pick(['open', 'closed', null]), note: text(version, length) }
    case 'blob':
      return bytes(version, length)
  }
}

/** The version of a stored value, or −1 if it is too short to bear one. */
export function versionOf(value: Value): number {
  if (!(value instanceof Uint8Array)) return value['version'] as number
  if (value.length < VERSION_BYTES) return -1
  return new DataView(value.buffer, value.byteOffset).getFloat64(0, true)
}

export function storedRow({ name, shape }: TableSpec, key: Key, value: Value): StoredRow {
  return { table: name, key, version: versionOf(value), fingerprint: fingerprintOf(name, key, value), unique: uniqueKeysOf(shape, value) }
}

/** The same row in a table of another name. It bears a version. */
export function rowRenamed(row: StoredRow, table: string): StoredRow {
  return { ...row, table, fingerprint: hash64(`${table} ${row.version}`) }
}

export function uniqueKeysOf(shape: Shape, value: Value): UniqueKeys {
  if (value instanceof Uint8Array) return []
  if (shape === 'account') return [(value['owner'] as string | undefined) ?? null]
  if (shape === 'order') return [typeof value['slot'] === 'number' ? `${value['tenant']}/${value['slot']}` : null]
  return []
}

/** Another name for "this value under this key of this table": 64 bits; a state is the exclusive or of its rows. */
export function fingerprintOf(table: string, key: Key, value: Value): bigint {
  const version = versionOf(value)
  return version >= 0 ? hash64(`${table} ${version}`) : hash64(`${table} ${keyText(key)} ${(value as Uint8Array).length}`)
}

export function fingerprintOfTable(table: string): bigint {
  return hash64(`table ${table}`)
}

export function keyText(key: unknown): string {
  return JSON.stringify(key)
}

/** What is wrong with a stored value that bears this version, or undefined. */
export function differenceOf(shape: Shape, key: Key, found: Value, sizes: Sizes): string | undefined {
  const version = versionOf(found)
  if (version < 0) return undefined
  const wanted = makeValue(shape, version, key, sizes)
  if (found instanceof Uint8Array || wanted instanceof Uint8Array) {
    return Buffer.compare(found as Uint8Array, wanted as Uint8Array) === 0
      ? undefined
      : `${(found as Uint8Array).length} bytes of version ${version} are not what was written`
  }
  const fields = Object.keys(found)
  if (fields.length !== Object.keys(wanted).length) return `fields ${fields.join()} in place of ${Object.keys(wanted).join()}`
  for (const field of fields) {
    const [a, b] = [found[field], wanted[field]]
    if (a === b || (typeof a === 'object' && JSON.stringify(a) === JSON.stringify(b))) continue
    return `field '${field}' of version ${version} is not what was written`
  }
  return undefined
}

/** Keys that values are put under: few, so that transactions meet. */
export function drawKey(shape: Shape, random: Prng, { keys }: Sizes): Key {
  switch (shape) {
    case 'order':
      return [random.pick(['north', 'south']), random.int(25 * keys)]
    case 'setting':
      return random.bool() ? `name-${random.int(20 * keys)}` : random.bool() ? random.int(10) - 5 : [random.int(3), `part-${random.int(4)}`]
    case 'blob':
      return `blob-${random.int(16 * keys)}`
    default:
      return 1 + random.int(60 * keys)
  }
}

/** Missing, null, or there. */
function sometimes(random: Prng, row: Record<string, unknown>, field: string, value: () => unknown): void {
  const dice = random.int(10)
  if (dice === 0) row[field] = null
  else if (dice > 2) row[field] = value()
}

function lengthOf(random: Prng, { longest, long, medium }: Sizes): number {
  if (random.int(100) < long) return 3_000 + random.int(random.bool(0.3) ? longest : Math.min(longest, 30_000))
  if (random.int(100) < medium) return random.int(4_000)
  return random.int(random.bool() ? 10 : 200)
}

/** Seventeen bytes over and over: no page is a whole number of them, so pages of a chain that change places are found out. */
function text(version: number, length: number): string {
  const unit = `${version}:abcdefghijklmnop`.slice(0, 17)
  return unit.repeat(Math.ceil(length / unit.length)).slice(0, length)
}

function bytes(version: number, length: number): Uint8Array {
  const out = Buffer.alloc(length, `${version}:abcdefghijklmnop`.slice(0, 17))
  if (length >= VERSION_BYTES) out.writeDoubleLE(version, 0)
  return new Uint8Array(out.buffer, out.byteOffset, length)
}

const VERSION_BYTES = 8

/** FNV-1a over two lanes: quick enough for some hundred rows per crash point. */
function hash64(content: string): bigint {
  let low = 0x811c9dc5
  let high = 0x01000193
  for (let at = 0; at < content.length; at++) {
    const code = content.charCodeAt(at)
    low = Math.imul(low ^ code, 0x01000193)
    high = Math.imul(high ^ (code + at), 0x85ebca6b) ^ (low >>> 15)
  }
  return (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0)
}
