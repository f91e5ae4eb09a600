import type { Key } from '../../src/codec/key-encoding.js'

/** The order of keys, said once more and as plainly as possible: what the encoding is tested against. −1, 0 or 1. */
export function compareKeys(a: Key, b: Key): number {
  const types = Math.sign(rank(a) - rank(b))
  if (types !== 0) return types
  if (typeof a === 'string') return compareLists([...a].map(codePoint), [...(b as string)].map(codePoint))
  if (a instanceof Uint8Array) return compareLists([...a], [...(b as Uint8Array)])
  if (Array.isArray(a)) return compareLists(a, b as Key[], compareKeys)
  if (a === null) return 0
  if (a instanceof Date) return compareNatively(a.getTime(), (b as Date).getTime())
  return compareNatively(a as number, b as number)
}

function rank(key: Key): number {
  if (key === null) return 0
  if (key instanceof Date) return 4
  if (key instanceof Uint8Array) return 6
  if (Array.isArray(key)) return 7
  return { boolean: 1, number: 2, bigint: 3, string: 5 }[typeof key as 'boolean' | 'number' | 'bigint' | 'string']
}

function compareNatively<T extends number>(a: T, b: T): number {
  return a < b ? -1 : a > b ? 1 : 0
}

function compareLists<T>(
  a: readonly T[],
  b: readonly T[],
  compare: (a: T, b: T) => number = compareNatively as (a: T, b: T) => number,
): number {
  for (let at = 0; at < a.length && at < b.length; at++) {
    const difference = compare(a[at], b[at])
    if (difference !== 0) return difference
  }
  return Math.sign(a.length - b.length)
}

function codePoint(character: string): number {
  return character.codePointAt(0) as number
}

/** Keys from a seed, made so that two of them often differ in one small thing only. Much faster than fast-check. */
export class KeySource {
  #state: number

  constructor(seed: number) {
    this.#state = seed | 0
  }

  /** mulberry32: an integer in [0, below). */
  int(below: number): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * below)
  }

  key(depth: number): Key {
    switch (this.int(depth > 0 ? 9 : 8)) {
      case 0:
        return [null, false, true][this.int(3)] as Key
      case 1:
        return this.int(2000) - 1000
      case 2:
        return this.double()
      case 3:
        return this.bigint()
      case 4:
        return new Date(this.int(2 ** 31) * (this.int(2) === 0 ? 1000 : -1))
      case 5:
      case 6:
        return this.string()
      case 7:
        return Uint8Array.from({ length: this.int(6) }, () => [0, 1, 2, 3, 254, 255][this.int(6)])
      default:
        return Array.from({ length: this.int(4) }, () => this.key(depth - 1))
    }
  }

  /** The same key again, a neighbour of it, or another one. */
  near(key: Key): Key {
    const choice = this.int(10)
    if (choice === 0) return key
    if (choice === 1) return this.key(3)
    if (typeof key === 'number') return key + [1, -1, 0.5, key * Number.EPSILON, -key * Number.EPSILON][this.int(5)] || 0
    if (typeof key === 'bigint') return [key + 1n, key - 1n, -key, key * 256n, key / 256n][this.int(5)]
    if (typeof key === 'string') return this.nearString(key)
    if (key instanceof Date) return new Date(key.getTime() + this.int(3) - 1)
    if (key instanceof Uint8Array) return this.nearBytes(key)
    if (Array.isArray(key)) return this.nearArray(key)
    return this.key(1)
  }

  private double(): number {
    const value = [0, -0, 5e-324, Number.MAX_VALUE, Number.POSITIVE_INFINITY, 2 ** 53, Math.PI, 1e-7][this.int(8)]
    return (this.int(2) === 0 ? value : value * this.int(1000) || 0) * (this.int(2) === 0 ? 1 : -1)
  }

  private bigint(): bigint {
    const value = 256n ** BigInt(this.int(12) * this.int(30)) + BigInt(this.int(3) - 1)
    return this.int(2) === 0 ? value : -value
  }

  private character(): string {
    return ['\0', '\u0001', '\u0002', 'a', 'b', '\u007f', 'é', '\uffff', '😀', '\u{10ffff}', 'z'][this.int(11)]
  }

  private string(): string {
    const length = this.int(8) === 0 ? 40 + this.int(20) : this.int(6)
    let value = ''
    while (value.length < length) value += this.int(4) === 0 ? this.character() : 'a'
    return value
  }

  private nearString(key: string): string {
    const characters = [...key]
    const at = this.int(characters.length + 1)
    if (this.int(3) === 0) return characters.slice(0, at).join('')
    characters[at] = this.character()
    return characters.join('')
  }

  private nearBytes(key: Uint8Array): Uint8Array {
    const at = this.int(key.length + 1)
    if (this.int(2) === 0) return key.slice(0, at)
    return Uint8Array.from([...key.slice(0, at), this.int(256), ...key.slice(at + 1)])
  }

  private nearArray(key: readonly Key[]): Key[] {
    const at = this.int(key.length + 1)
    if (this.int(3) === 0) return key.slice(0, at)
    return [...key.slice(0, at), at < key.length ? this.near(key[at]) : this.key(1), ...key.slice(at + 1)]
  }
}
