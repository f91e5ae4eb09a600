import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { InvalidArgumentError, NextkeyError } from '../../src/base/errors.js'
import {
  compareBytes,
  decodeCompound,
  decodeKey,
  encodeCompound,
  encodeKey,
  encodePrefix,
  encodePrefixUpperBound,
  type Key,
  KeyBuffer,
  skipElement,
} from '../../src/codec/key-encoding.js'
import { compareKeys, KeySource } from './key-model.js'

/** The long run, of millions of pairs. */
const LONG = process.env['NEXTKEY_LONG'] === '1'
const LONG_TIMEOUT_MS = 1_800_000

const scratch = new KeyBuffer()

function encoded(value: unknown): Uint8Array {
  scratch.reset()
  encodeKey(value, scratch)
  return scratch.toBytes()
}

function encodedCompound(values: readonly unknown[]): Uint8Array {
  scratch.reset()
  encodeCompound(values, scratch)
  return scratch.toBytes()
}

function compareEncoded(a: Uint8Array, b: Uint8Array): number {
  return Math.sign(compareBytes(a, 0, a.length, b, 0, b.length))
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex')
}

function errorOf(action: () => unknown): NextkeyError {
  try {
    action()
  } catch (error) {
    expect(error).toBeInstanceOf(NextkeyError)
    return error as NextkeyError
  }
  throw new Error('nothing was thrown')
}

/** Any key, by fast-check: shrinks well. */
const anyKey: fc.Arbitrary<Key> = fc.letrec<{ key: Key }>((tie) => ({
  key: fc.oneof(
    { maxDepth: 4, depthSize: 'small' },
    fc.constant(null),
    fc.boolean(),
    fc.double({ noNaN: true }),
    fc.integer(),
    fc.bigInt({ min: -(2n ** 200n), max: 2n ** 200n }),
    fc.string({ unit: 'binary', maxLength: 60 }),
    fc.string({ unit: fc.constantFrom('\0', '\u0001', '\u0002', 'a', 'é', '\uffff', '😀'), maxLength: 60 }),
    fc.date({ noInvalidDate: true }),
    fc.uint8Array({ maxLength: 60 }),
    fc.array(tie('key'), { maxLength: 4 }),
  ),
})).key

/** What a key comes back as: −0 is 0, and a Buffer is a Uint8Array. */
function canonical(value: unknown): unknown {
  if (value === 0) return 0
  if (value instanceof Uint8Array) return new Uint8Array(value)
  return Array.isArray(value) ? value.map(canonical) : value
}

describe('the format, which is on disk', () => {
  const cases: [string, unknown, string][] = [
    ['null', null, '08'],
    ['false', false, '10'],
    ['true', true, '11'],
    ['zero', 0, '188000000000000000'],
    ['minus zero', -0, '188000000000000000'],
    ['one', 1, '18bff0000000000000'],
    ['minus one and a half', -1.5, '184007ffffffffffff'],
    ['infinity', Number.POSITIVE_INFINITY, '18fff0000000000000'],
    ['the bigint zero', 0n, '2100'],
    ['a small bigint', 258n, '21020102'],
    ['a small negative bigint', -258n, '20fdfefd'],
    ['a bigint of nine bytes', 2n ** 64n, '2109010000000000000000'],
    ['a bigint of 255 bytes', 2n ** 2032n, `21ff00ff01${'00'.repeat(254)}`],
    ['a negative bigint of 255 bytes', -(2n ** 2032n), `2000ff00fe${'ff'.repeat(254)}`],
    ['a date', new Date(5), '28c014000000000000'],
    ['the empty string', '', '3000'],
    ['a string of all lengths of UTF-8, with both escapes', 'a\0\u0001é€😀', '306101010102c3a9e282acf09f988000'],
    ['bytes', new Uint8Array([0, 1, 2, 255]), '380101010202ff00'],
    ['an array', [1n, ['a'], null], '4021010140306100000800'],
  ]
  it.each(cases)('%s', (_name, value, bytes) => {
    expect(hex(encoded(value))).toBe(bytes)
  })

  it('of a compound key is its elements without tag and terminator', () => {
    expect(hex(encodedCompound([1n, 'a']))).toBe('210101306100')
    expect(hex(encodedCompound([]))).toBe('')
  })
})

describe('order', () => {
  it('between types: null, booleans, numbers, bigints, dates, strings, bytes, arrays', () => {
    const ascending: Key[] = [
      null,
      false,
      true,
      Number.NEGATIVE_INFINITY,
      -1,
      0,
      5e-324,
      1,
      Number.POSITIVE_INFINITY,
      -(2n ** 3000n),
      -1n,
      0n,
      1n,
      2n ** 3000n,
      new Date(-8.64e15),
      new Date(8.64e15),
      '',
      '\u{10ffff}',
      new Uint8Array(0),
      new Uint8Array([255]),
      [],
      [null],
      [null, null],
      [[]],
    ]
    const encodings = ascending.map(encoded)
    for (let i = 0; i < encodings.length; i++) {
      for (let j = 0; j < encodings.length; j++) expect(compareEncoded(encodings[i], encodings[j])).toBe(Math.sign(i - j))
    }
  })

  it('of strings is by code point, not by UTF-16 unit', () => {
    expect(['\uffff', '\u{1f600}'].sort()).toEqual(['\u{1f600}', '\uffff'])
    expect(compareEncoded(encoded('\u{1f600}'), encoded('\uffff'))).toBe(1)
  })

  it(
    'is the order of the values, for some hundred thousand pairs close to each other',
    () => {
      const pairs = LONG ? 20_000_000 : 300_000
      const source = new KeySource(0x5eed)
      const a = new KeyBuffer()
      const b = new KeyBuffer()
      let equal = 0
      for (let pair = 0; pair < pairs; pair++) {
        const left = source.key(3)
        const right = source.near(left)
        a.reset()
        b.reset()
        encodeKey(left, a)
        encodeKey(right, b)
        const wanted = compareKeys(left, right)
        if (wanted === 0) equal++
        const found = Math.sign(compareBytes(a.bytes, 0, a.length, b.bytes, 0, b.length))
        if (found !== wanted) expect.fail(`pair ${pair}: ${hex(a.toBytes())} against ${hex(b.toBytes())} is ${found}, not ${wanted}`)
      }
      // The neighbours are near, not all the same.
      expect(equal).toBeGreaterThan(pairs / 100)
      expect(equal).toBeLessThan(pairs / 2)
    },
    LONG_TIMEOUT_MS,
  )

  it('of any two keys, and of any two compound keys', () => {
    fc.assert(
      fc.property(anyKey, anyKey, (a, b) => {
        expect(compareEncoded(encoded(a), encoded(b))).toBe(compareKeys(a, b))
      }),
      { seed: 1, numRuns: 2000 },
    )
    fc.assert(
      fc.property(
        fc.array(anyKey, { maxLength: 4 }),
        fc.array(anyKey, { maxLength: 4 }),
        fc.array(anyKey, { maxLength: 2 }),
        (a, b, shared) => {
          const left = [...shared, ...a]
          const right = [...shared, ...b]
          expect(compareEncoded(encodedCompound(left), encodedCompound(right))).toBe(compareKeys(left, right))
        },
      ),
      { seed: 2, numRuns: 2000 },
    )
  })
})

describe('round trip', () => {
  it('gives back every key, with its type', () => {
    fc.assert(
      fc.property(anyKey, (key) => {
        const bytes = encoded(key)
        expect(decodeKey(bytes, 0, bytes.length)).toStrictEqual(canonical(key))
      }),
      { seed: 3, numRuns: 3000 },
    )
  })

  it('keeps 1 and 1n apart', () => {
    const number = encoded(1)
    const bigint = encoded(1n)
    expect(compareEncoded(number, bigint)).toBe(-1)
    expect(decodeKey(number, 0, number.length)).toBe(1)
    expect(decodeKey(bigint, 0, bigint.length)).toBe(1n)
  })

  it('makes minus zero zero', () => {
    expect(encoded(-0)).toEqual(encoded(0))
    expect(Object.is(decodeKey(encoded(-0), 0, 9), 0)).toBe(true)
  })

  it.each([1, 7, 8, 9, 47, 48, 49, 500])('of strings of %i characters in every alphabet', (length) => {
    for (const unit of ['x', 'é', '€', '😀', '\0', '\u0001', '\u007f', '\u0080', '\u07ff', '\u0800', '\ud7ff', '\ue000']) {
      const value = unit.repeat(length)
      for (const string of [value, `${value}x`, `x${value}`]) {
        const bytes = encoded(string)
        expect(decodeKey(bytes, 0, bytes.length)).toBe(string)
      }
    }
  })

  it('of bigints around every power of 256', () => {
    for (let exponent = 0n; exponent <= 300n; exponent++) {
      for (const near of [-1n, 0n, 1n]) {
        for (const sign of [1n, -1n]) {
          const value = sign * (256n ** exponent + near)
          const bytes = encoded(value)
          expect(decodeKey(bytes, 0, bytes.length)).toBe(value)
        }
      }
    }
  })

  it('gives bytes that are a copy, not a view', () => {
    const bytes = encoded(new Uint8Array([7, 8, 9]))
    const value = decodeKey(bytes, 0, bytes.length) as Uint8Array
    bytes.fill(0)
    expect(value).toEqual(new Uint8Array([7, 8, 9]))
    expect(value.buffer.byteLength).toBe(3)
  })

  it('takes a Buffer for the Uint8Array it is', () => {
    expect(encoded(Buffer.from([1, 2]))).toEqual(encoded(new Uint8Array([1, 2])))
  })

  it('does not ask a Date subclass for its time', () => {
    class Odd extends Date {
      override getTime(): number {
        throw new Error('called')
      }
    }
    expect(encoded(new Odd(5))).toEqual(encoded(new Date(5)))
  })
})

describe('concatenations', () => {
  it('split in one way only, at the ends of the elements', () => {
    fc.assert(
      fc.property(fc.array(anyKey, { maxLength: 5 }), fc.uint8Array({ maxLength: 4 }), (keys, garbage) => {
        const parts = keys.map(encoded)
        const bytes = Buffer.concat([...parts, garbage])
        let at = 0
        for (const part of parts) {
          const next = skipElement(bytes, at)
          expect(next - at).toBe(part.length)
          at = next
        }
        expect(decodeCompound(bytes, 0, at)).toStrictEqual(keys.map(canonical))
      }),
      { seed: 4, numRuns: 2000 },
    )
  })

  it('are decoded from anywhere within larger memory', () => {
    const memory = new Uint8Array(100).fill(0xff)
    const bytes = encodedCompound(['a', 5, new Uint8Array([1])])
    memory.set(bytes, 40)
    expect(decodeCompound(memory, 40, 40 + bytes.length)).toStrictEqual(['a', 5, new Uint8Array([1])])
  })

  it('of an index key and a primary key are made in one buffer', () => {
    scratch.reset()
    encodeKey('Rome', scratch)
    const split = scratch.length
    encodeCompound(['tenant', 7], scratch)
    expect(skipElement(scratch.bytes, 0)).toBe(split)
    expect(decodeCompound(scratch.bytes, split, scratch.length)).toEqual(['tenant', 7])
  })
})

describe('prefix ranges', () => {
  it.each([false, true])('hold exactly the keys that begin with the elements (keys are arrays: %s)', (nested) => {
    const few = fc.constantFrom<Key>(null, 0, 1, 'a', 'a\0', 'a\u0001', 'b', '\u{10ffff}', [], [null], ['a'], new Uint8Array([255]))
    fc.assert(
      fc.property(fc.array(few, { maxLength: 3 }), fc.array(few, { maxLength: 4 }), (prefix, values) => {
        scratch.reset()
        encodePrefix(prefix, scratch, nested)
        const lower = scratch.toBytes()
        scratch.reset()
        encodePrefixUpperBound(prefix, scratch, nested)
        const upper = scratch.toBytes()
        const key = nested ? encoded(values) : encodedCompound(values)
        const inside = compareEncoded(lower, key) <= 0 && compareEncoded(key, upper) < 0
        expect(inside).toBe(prefix.length <= values.length && compareKeys(prefix, values.slice(0, prefix.length)) === 0)
      }),
      { seed: 5, numRuns: 3000 },
    )
  })

  it('of the longest key have an upper bound', () => {
    scratch.reset()
    encodePrefixUpperBound(['x'.repeat(2046)], scratch, false)
    const upper = scratch.toBytes()
    expect(upper.length).toBe(2049)
    expect(compareEncoded(encodedCompound(['x'.repeat(2046)]), upper)).toBe(-1)
  })
})

describe('the limit of 2,048 bytes', () => {
  const makers: [string, (length: number) => unknown][] = [
    ['ASCII strings', (length) => 'x'.repeat(length - 2)],
    ['strings of wide characters', (length) => 'é'.repeat((length - 2) >> 1) + 'x'.repeat(length % 2)],
    ['strings with escapes', (length) => '\0'.repeat((length - 2) >> 1) + 'x'.repeat(length % 2)],
    ['byte arrays', (length) => new Uint8Array(length - 2).fill(7)],
    ['byte arrays with escapes', (length) => new Uint8Array((length - 2) / 2 + (length % 2) / 2).fill(1).fill(7, 0, length % 2)],
    ['bigints', (length) => 2n ** BigInt(8 * (length - 4) - 1)],
    ['negative bigints', (length) => -(2n ** BigInt(8 * (length - 4) - 1))],
    ['arrays', (length) => ['x'.repeat(1000), 'y'.repeat(length - 1006)]],
    ['arrays of nulls', (length) => new Array(length - 2).fill(null)],
  ]
  it.each(makers)('holds for %s', (_name, make) => {
    expect(encoded(make(2047)).length).toBe(2047)
    expect(encoded(make(2048)).length).toBe(2048)
    for (const length of [2049, 2050, 4096, 100_001]) {
      const error = errorOf(() => encoded(make(length)))
      expect(error).toBeInstanceOf(InvalidArgumentError)
      expect(error.code).toBe('ERR_KEY_TOO_LONG')
      expect(error.details).toEqual({ length, limit: 2048 })
      expect(error.message).toContain(`${length} bytes`)
      expect(error.message).toContain('2048')
    }
  })

  it('is on the elements of a compound key together, and on each of two keys in a buffer', () => {
    expect(encodedCompound(['x'.repeat(1022), 'y'.repeat(1022)]).length).toBe(2048)
    expect(errorOf(() => encodedCompound(['x'.repeat(1022), 'y'.repeat(1023)])).details).toEqual({ length: 2049, limit: 2048 })
    scratch.reset()
    encodeKey('x'.repeat(2046), scratch)
    encodeKey('y'.repeat(2046), scratch)
    expect(decodeCompound(scratch.bytes, 0, scratch.length)).toEqual(['x'.repeat(2046), 'y'.repeat(2046)])
    scratch.truncate(2048)
    expect(errorOf(() => encodeKey('y'.repeat(2047), scratch)).code).toBe('ERR_KEY_TOO_LONG')
    expect(scratch.length).toBe(2048)
  })

  it('is found without writing out huge values', () => {
    expect(errorOf(() => encoded(1n << 10_000_000n)).code).toBe('ERR_KEY_TOO_LONG')
    expect(errorOf(() => encoded('\0'.repeat(5_000_000))).details['length']).toBe(10_000_002)
    let wide: unknown[] = ['x'.repeat(100)]
    for (let level = 0; level < 30; level++) wide = [wide, wide]
    expect(errorOf(() => encoded(wide)).code).toBe('ERR_KEY_TOO_LONG')
  })
})

describe('what cannot be a key', () => {
  const cases: [string, unknown, RegExp][] = [
    ['undefined', undefined, /^undefined cannot be a key: use null/],
    ['NaN', Number.NaN, /^NaN cannot be a key/],
    ['an invalid date', new Date(Number.NaN), /^Invalid Date cannot be a key/],
    ['a function', () => 1, /^function .* cannot be a key/],
    ['a symbol', Symbol('s'), /^Symbol\(s\) cannot be a key/],
    ['a plain object', { a: 1, b: 2 }, /^{a, b} cannot be a key/],
    ['a Map', new Map(), /cannot be a key/],
    ['another typed array', new Uint16Array(1), /cannot be a key/],
    ['a boxed string', new String('x'), /cannot be a key/],
    ['a hole in an array', new Array(1), /^undefined cannot be a key/],
    ['a lone high surrogate', 'a\ud800', /surrogate pair/],
    ['a lone high surrogate before a character', '\ud800a', /surrogate pair/],
    ['a lone low surrogate', '\udc00', /surrogate pair/],
    ['a pair the wrong way round', '\udc00\ud800', /surrogate pair/],
    ['two low surrogates', '\udc00\udc00', /surrogate pair/],
    ['a lone surrogate in a long string', `${'x'.repeat(300)}\udfff`, /surrogate pair/],
    ['a lone surrogate after an astral character', `${'x'.repeat(300)}😀\ud83d`, /surrogate pair/],
  ]
  it.each(cases)('%s, alone, in an array or in a compound key', (_name, value, message) => {
    for (const action of [() => encoded(value), () => encoded([1, [value]]), () => encodedCompound(['x', value])]) {
      const error = errorOf(action)
      expect(error).toBeInstanceOf(InvalidArgumentError)
      expect(error.code).toBe('ERR_INVALID_KEY')
      expect(error.message).toMatch(message)
    }
  })

  it('an array nested deeper than 32, such as one that contains itself', () => {
    let deep: unknown = 1
    for (let level = 0; level < 32; level++) deep = [deep]
    const bytes = encoded(deep)
    expect(decodeKey(bytes, 0, bytes.length)).toEqual(deep)
    expect(errorOf(() => encoded([deep])).code).toBe('ERR_INVALID_KEY')
    const cyclic: unknown[] = []
    cyclic.push(cyclic)
    expect(errorOf(() => encoded(cyclic)).message).toMatch(/contain itself/)
    const wide: unknown[] = ['x'.repeat(1500)]
    wide.push(wide, wide)
    expect(errorOf(() => encoded(wide)).code).toBe('ERR_KEY_TOO_LONG')
  })
})

describe('the buffer', () => {
  function paddingIsZero(buffer: KeyBuffer): boolean {
    return buffer.bytes.subarray(buffer.length, buffer.length + 8).every((byte) => byte === 0)
  }

  it('always has eight zero bytes behind its content', () => {
    const buffer = new KeyBuffer()
    const source = new KeySource(7)
    for (let round = 0; round < 2000; round++) {
      buffer.reset()
      expect(paddingIsZero(buffer)).toBe(true)
      encodeKey(source.key(2), buffer)
      expect(paddingIsZero(buffer)).toBe(true)
      encodeKey('ÿ'.repeat(round % 900), buffer)
      expect(paddingIsZero(buffer)).toBe(true)
      expect(() => encodeKey(['ÿ'.repeat(900), Number.NaN], buffer)).toThrow()
      expect(paddingIsZero(buffer)).toBe(true)
      buffer.truncate(buffer.length >> 1)
      expect(paddingIsZero(buffer)).toBe(true)
    }
  })

  it('is unchanged by a key that is refused', () => {
    scratch.reset()
    encodeKey('kept', scratch)
    const before = scratch.toBytes()
    for (const bad of [Number.NaN, ['x', undefined], 'x'.repeat(5000), ['x'.repeat(2000), 'x'.repeat(2000)]]) {
      expect(() => encodeKey(bad, scratch)).toThrow(NextkeyError)
      expect(() => encodeCompound([1, bad], scratch)).toThrow(NextkeyError)
      expect(() => encodePrefixUpperBound([1, bad], scratch, true)).toThrow(NextkeyError)
      expect(scratch.toBytes()).toEqual(before)
    }
  })

  it('takes keys that are encoded already', () => {
    const bytes = encoded(['a', 1])
    scratch.reset()
    encodeKey('something else', scratch)
    scratch.set(bytes, 0, bytes.length)
    scratch.append(bytes, 0, bytes.length)
    expect(decodeCompound(scratch.bytes, 0, scratch.length)).toEqual([
      ['a', 1],
      ['a', 1],
    ])
    expect(paddingIsZero(scratch)).toBe(true)
  })

  it('refuses to be written by user code that runs while a key is encoded into it', () => {
    const buffer = new KeyBuffer()
    const array = ['before', 0, 'after']
    Object.defineProperty(array, 1, {
      get() {
        buffer.reset()
        encodeKey('inner', buffer)
        return 1
      },
    })
    expect(errorOf(() => encodeKey(array, buffer)).code).toBe('ERR_INVALID_KEY')
    buffer.reset()
    encodeKey('usable', buffer)
    expect(decodeKey(buffer.bytes, 0, buffer.length)).toBe('usable')
  })

  it('refuses to be emptied by user code that runs while a key is encoded into it', () => {
    const buffer = new KeyBuffer()
    const array = ['before', 0]
    Object.defineProperty(array, 1, { get: () => buffer.reset() })
    expect(errorOf(() => encodeKey(array, buffer)).message).toMatch(/used the database/)
    expect(buffer.length).toBe(0)
  })

  it('lets an exception of user code through and stays usable', () => {
    const buffer = new KeyBuffer()
    encodeKey('kept', buffer)
    const broken = new Proxy([1, 2], {
      get(target, property) {
        if (property === '1') throw new RangeError('mine')
        return Reflect.get(target, property)
      },
    })
    expect(() => encodeKey(broken, buffer)).toThrow(new RangeError('mine'))
    expect(decodeKey(buffer.bytes, 0, buffer.length)).toBe('kept')
  })
})

describe('bytes that are no key', () => {
  it('give an error or a value, never anything else', () => {
    fc.assert(
      fc.property(
        fc.array(fc.oneof(fc.constantFrom(0, 1, 2, 0x08, 0x10, 0x18, 0x20, 0x21, 0x28, 0x30, 0x38, 0x40, 0xff), fc.nat({ max: 255 })), {
          maxLength: 40,
        }),
        (list) => {
          const bytes = Uint8Array.from(list)
          for (const read of [
            () => decodeKey(bytes, 0, bytes.length),
            () => decodeCompound(bytes, 0, bytes.length),
            () => skipElement(bytes, 0),
          ]) {
            try {
              read()
            } catch (error) {
              expect(error).toBeInstanceOf(NextkeyError)
              expect((error as NextkeyError).code).toBe('ERR_DAMAGED')
            }
          }
        },
      ),
      { seed: 6, numRuns: 5000 },
    )
  })

  it('such as every truncation of a key are an error', () => {
    const bytes = encoded(['aé', 1.5, -(2n ** 3000n), 5n, new Date(0), new Uint8Array([0, 7]), [null, true]])
    for (let length = 0; length < bytes.length; length++) {
      expect(errorOf(() => decodeKey(bytes, 0, length)).code).toBe('ERR_DAMAGED')
      expect(errorOf(() => skipElement(bytes.subarray(0, length), 0)).code).toBe('ERR_DAMAGED')
    }
    const longer = Buffer.concat([bytes, Uint8Array.of(0x08)])
    expect(errorOf(() => decodeKey(longer, 0, longer.length)).code).toBe('ERR_DAMAGED')
  })

  it('such as the beginning of a number or bigint are not skipped', () => {
    for (const value of [1.5, 5n, -(2n ** 100n), 2n ** 3000n, new Date(0)]) {
      const bytes = encoded(value)
      expect(skipElement(bytes, 0)).toBe(bytes.length)
      for (let length = 0; length < bytes.length; length++) {
        expect(errorOf(() => skipElement(bytes.subarray(0, length), 0)).code).toBe('ERR_DAMAGED')
      }
    }
  })

  it('such as a hundred thousand arrays inside each other are an error', () => {
    const bytes = new Uint8Array(100_000).fill(0x40)
    expect(errorOf(() => decodeKey(bytes, 0, bytes.length)).code).toBe('ERR_DAMAGED')
    expect(errorOf(() => skipElement(bytes, 0)).code).toBe('ERR_DAMAGED')
  })
})
