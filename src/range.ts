import { describe, InvalidArgumentError } from './base/errors.js'
import { encodeCompound, encodeKey, encodePrefix, encodePrefixUpperBound, KeyBuffer } from './codec/key-encoding.js'
import { KEY_PADDING } from './storage/slotted-page-layout.js'
import type { LockRange } from './txn/locking-scan.js'
import type { KeyRange } from './txn/range-scan.js'
import type { KeyShape } from './txn/table-store.js'

/**
 * Which entries of a table or index, and in which order. Without bounds, all of them, ascending.
 * For compound keys a bound may give the first elements only: `{ gte: ['Rome'] }`.
 */
export interface Range {
  gt?: unknown
  gte?: unknown
  lt?: unknown
  lte?: unknown
  /** Exactly this key; for compound keys, or keys that are arrays, see `prefix` too. */
  eq?: unknown
  /** All keys that begin with these elements. */
  prefix?: readonly unknown[]
  /** From the largest key to the smallest. Default false. */
  reverse?: boolean
  /** At most so many results. */
  limit?: number
}

export const RANGE_OPTIONS: ReadonlySet<string> = new Set(['gt', 'gte', 'lt', 'lte', 'eq', 'prefix', 'reverse', 'limit'])

/** Checks and encodes. Raises ERR_INVALID_ARGUMENT, ERR_INVALID_KEY, ERR_KEY_TOO_LONG. */
export function encodeRange(range: Range, shape: KeyShape): LockRange {
  checkRange(range, shape)
  const { eq, prefix, gte, lte } = range
  const result: LockRange = {
    lower: NO_BOUND,
    lowerLength: -1,
    upper: NO_BOUND,
    upperLength: -1,
    exact: eq !== undefined || prefix !== undefined,
    whole: (eq !== undefined && isWhole(eq, shape)) || (prefix !== undefined && shape.compound && isWhole(prefix, shape)),
    fromWhole: gte !== undefined && isWhole(gte, shape),
    toWhole: lte !== undefined && isWhole(lte, shape),
  }
  encodeBounds(range, shape, result)
  return result
}

/** Whether the key has all its elements, none of them null: a unique index has it once at most. */
function isWhole(key: unknown, shape: KeyShape): boolean {
  if (!shape.compound) return key !== null
  return Array.isArray(key) && key.length === shape.parts && !key.includes(null)
}

function encodeBounds({ gt, gte, lt, lte, eq, prefix }: Range, shape: KeyShape, result: KeyRange): void {
  if (prefix !== undefined) {
    scratch.reset()
    encodePrefix(prefix, scratch, !shape.compound)
    setLower(result)
    scratch.reset()
    encodePrefixUpperBound(prefix, scratch, !shape.compound)
    setUpper(result)
    return
  }
  const from = eq === undefined ? gte : eq
  if (from !== undefined) {
    encodeFirst(from, shape)
    setLower(result)
  } else if (gt !== undefined) {
    encodeBeyond(gt, shape)
    setLower(result)
  }
  const to = eq === undefined ? lte : eq
  if (to !== undefined) {
    encodeBeyond(to, shape)
    setUpper(result)
  } else if (lt !== undefined) {
    encodeFirst(lt, shape)
    setUpper(result)
  }
}

function checkRange(range: Range, shape: KeyShape): void {
  if (typeof range !== 'object' || range === null)
    throw new InvalidArgumentError(`a range of ${shape.name} is an object such as { gte, lt, reverse, limit }, not ${describe(range)}`)
  for (const name in range) {
    if (!RANGE_OPTIONS.has(name))
      throw new InvalidArgumentError(`a range has no option '${name}'; there are ${[...RANGE_OPTIONS].join(', ')}`, { option: name })
  }
  const { gt, gte, lt, lte, eq, prefix, limit } = range
  if (gt !== undefined && gte !== undefined) throw new InvalidArgumentError('a range has either gt or gte, not both')
  if (lt !== undefined && lte !== undefined) throw new InvalidArgumentError('a range has either lt or lte, not both')
  const bounds = gt !== undefined || gte !== undefined || lt !== undefined || lte !== undefined
  if ((eq !== undefined && (bounds || prefix !== undefined)) || (prefix !== undefined && bounds)) {
    throw new InvalidArgumentError('a range has either eq, or prefix, or bounds')
  }
  if (prefix !== undefined && !Array.isArray(prefix))
    throw new InvalidArgumentError(`prefix is an array of the first elements of a key, not ${describe(prefix)}`)
  if (limit !== undefined && !(Number.isInteger(limit) && limit >= 0))
    throw new InvalidArgumentError(`limit is a whole number from 0, not ${describe(limit)}`, { limit })
}

/** The smallest bytes of any key that is, or begins with, the bound. */
function encodeFirst(bound: unknown, shape: KeyShape): void {
  encodeShaped(bound, shape, scratch)
}

/** Above every key that is, or begins with, the bound. */
function encodeBeyond(bound: unknown, shape: KeyShape): void {
  scratch.reset()
  encodePrefixUpperBound(shape.compound ? elementsOf(bound, shape) : [bound], scratch, false)
}

function setLower(range: KeyRange): void {
  range.lower = taken()
  range.lowerLength = scratch.length
}

function setUpper(range: KeyRange): void {
  range.upper = taken()
  range.upperLength = scratch.length
}

/** What is in the scratch, with the zero bytes that a search key is followed by. A key buffer for each bound would cost more than a short range. */
function taken(): Uint8Array {
  return scratch.bytes.slice(0, scratch.length + KEY_PADDING)
}

const scratch = new KeyBuffer()

/** Encodes a key of this shape, or the first elements of a compound one. */
export function encodeShaped(key: unknown, shape: KeyShape, target: KeyBuffer): void {
  target.reset()
  if (shape.compound) encodeCompound(elementsOf(key, shape), target)
  else encodeKey(key, target)
}

function elementsOf(key: unknown, shape: KeyShape): readonly unknown[] {
  if (Array.isArray(key)) return key
  throw new InvalidArgumentError(
    `a key of ${shape.name} is compound: an array of its elements, not ${describe(key)}`,
    { key },
    'ERR_INVALID_KEY',
  )
}

const NO_BOUND: Uint8Array = new Uint8Array(8)
