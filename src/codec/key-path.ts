import { describe, InvalidArgumentError } from '../base/errors.js'
import { encodeCompound, encodeKey, type KeyBuffer, skipElement } from './key-encoding.js'

/*
 * Key paths say where in a row its key, or an index key, stands. They are declarative, never functions: recovery, purge,
 * checks and other processes must be able to recompute every entry from the stored row (D5).
 *
 * 'id' is a field, 'address.city' a field of an object in a field. A path leads through plain objects only, by their own
 * fields: not into arrays, Maps, dates or strings, and not up a prototype chain. A field whose name contains a dot cannot be
 * reached, nor can one named __proto__.
 *
 * They are applied to rows as decoded from the stored bytes. No getter is left in those, so no user code runs here.
 */

/** 'id', 'address.city', or several for a compound key: ['tenant', 'id']. */
export type KeyPathDefinition = string | readonly string[]

const enum PathLimit {
  /** Elements of a compound key, as InnoDB. */
  Parts = 16,
  /** UTF-16 units of one path. */
  Length = 256,
}

export class KeyPaths {
  /** The paths in order; one for a simple key. */
  readonly paths: readonly string[]
  /** The path, if there is one and it is the name of a field: the fast case. Otherwise null. */
  readonly field: string | null
  readonly #segments: readonly (readonly string[])[]
  /** Scratch: the parts of the compound key at hand. */
  readonly #parts: unknown[]

  private constructor(paths: readonly string[]) {
    this.paths = paths
    this.#segments = paths.map((path) => path.split('.'))
    this.field = paths.length === 1 && this.#segments[0].length === 1 ? paths[0] : null
    this.#parts = paths.map(() => null)
  }

  /**
   * Checks a definition as the user gave it. `what` names it in messages, such as "key of table 'accounts'".
   * Raises ERR_INVALID_ARGUMENT.
   */
  static parse(definition: unknown, what: string): KeyPaths {
    const paths: unknown[] = Array.isArray(definition) ? [...definition] : [definition]
    if (paths.length === 0 || paths.length > PathLimit.Parts) {
      throw new InvalidArgumentError(`${what}: a compound key has 1 to ${PathLimit.Parts} key paths, not ${paths.length}`)
    }
    for (const path of paths) checkPath(path, what)
    const checked = paths as string[]
    const twice = checked.find((path, at) => checked.indexOf(path) !== at)
    if (twice !== undefined) throw new InvalidArgumentError(`${what}: the key path ${describe(twice)} is there twice`)
    return new KeyPaths(checked)
  }

  /**
   * Appends the index key of a stored row; a field that is missing or undefined counts as null. Returns whether any part is
   * null, which exempts the entry from uniqueness. Raises ERR_INVALID_KEY and ERR_KEY_TOO_LONG, naming the path.
   */
  appendIndexKey(row: unknown, target: KeyBuffer): boolean {
    if (this.field !== null) {
      const value = ownField(row, this.field)
      this.#append(value, target)
      return value === null
    }
    let hasNull = false
    for (let part = 0; part < this.#segments.length; part++) {
      const value = follow(row, this.#segments[part])
      if (value === null) hasNull = true
      this.#parts[part] = value
    }
    this.#appendParts(target)
    return hasNull
  }

  /**
   * Appends the primary key of a stored row. No part of it may be missing or null.
   * Raises ERR_INVALID_ROW for those, ERR_INVALID_KEY and ERR_KEY_TOO_LONG otherwise, naming the path.
   */
  appendPrimaryKey(row: unknown, target: KeyBuffer): void {
    if (this.field !== null) {
      const value = ownField(row, this.field)
      if (value === null) throw noKey(row, this.field)
      this.#append(value, target)
      return
    }
    for (let part = 0; part < this.#segments.length; part++) {
      const value = follow(row, this.#segments[part])
      if (value === null) throw noKey(row, this.paths[part])
      this.#parts[part] = value
    }
    this.#appendParts(target)
  }

  /** Appends the primary key whose value stands in `field`: neither null nor undefined. Raises as the other. */
  appendPrimaryValue(value: unknown, target: KeyBuffer): void {
    this.#append(value, target)
  }

  /** How many bytes of an entry (index key ++ primary key) are the index key. */
  lengthOf(entry: Uint8Array): number {
    let at = 0
    for (let part = 0; part < this.paths.length; part++) at = skipElement(entry, at)
    return at
  }

  /** The key of a row as a user would write it: the value of the one path, or an array. For messages and results. */
  describe(row: unknown): unknown {
    const parts = this.#segments.map((segments) => follow(row, segments))
    return parts.length === 1 ? parts[0] : parts
  }

  #append(value: unknown, target: KeyBuffer): void {
    try {
      encodeKey(value, target)
    } catch (error) {
      throw this.#named(error)
    }
  }

  #appendParts(target: KeyBuffer): void {
    try {
      encodeCompound(this.#parts, target)
    } catch (error) {
      throw this.#named(error)
    } finally {
      for (let part = 0; part < this.#parts.length; part++) this.#parts[part] = null // keeps no row alive
    }
  }

  #named(error: unknown): unknown {
    if (!(error instanceof InvalidArgumentError)) return error
    const where = this.paths.map((path) => `'${path}'`).join(', ')
    return new InvalidArgumentError(`row field ${where}: ${error.message}`, { ...error.details, paths: this.paths }, error.code)
  }
}

function checkPath(path: unknown, what: string): asserts path is string {
  if (typeof path !== 'string')
    throw new InvalidArgumentError(`${what}: a key path is a string such as 'id' or 'address.city', not ${describe(path)}`)
  const name = `${what}: the key path ${describe(path)}`
  if (path.length > PathLimit.Length) throw new InvalidArgumentError(`${name} is longer than ${PathLimit.Length} characters`)
  const segments = path.split('.')
  if (segments.includes('')) throw new InvalidArgumentError(`${name} has an empty part: give field names, with a dot between two of them`)
  if (segments.includes('__proto__')) throw new InvalidArgumentError(`${name} goes through '__proto__', which is no field`)
  if (/\p{Surrogate}/u.test(path)) throw new InvalidArgumentError(`${name} contains half a surrogate pair`)
}

/** An own field of a plain object; null if it is missing, undefined or null, or if `holder` is something else. */
function ownField(holder: unknown, name: string): unknown {
  if (typeof holder !== 'object' || holder === null) return null
  const value = (holder as Record<string, unknown>)[name]
  if (value === undefined || value === null || Object.getPrototypeOf(holder) !== OBJECT) return null
  // Asking every time whether the field is its own would cost more than all the rest (measured).
  return value === OBJECT[name] && !Object.hasOwn(holder, name) ? null : value
}

const OBJECT = Object.prototype as unknown as Record<string, unknown>

function follow(row: unknown, segments: readonly string[]): unknown {
  let value: unknown = row
  for (let at = 0; at < segments.length; at++) value = ownField(value, segments[at])
  return value
}

function noKey(row: unknown, path: string): InvalidArgumentError {
  const what =
    typeof row === 'object' && row !== null ? `the row has no value in '${path}'` : `${describe(row)} is no row: it has no field '${path}'`
  return new InvalidArgumentError(`${what}, which its table's key is made of`, { path }, 'ERR_INVALID_ROW')
}
