import { describe, expect, it } from 'vitest'
import { InvalidArgumentError, NextkeyError } from '../../src/base/errors.js'
import { decodeCompound, encodeCompound, encodeKey, KeyBuffer } from '../../src/codec/key-encoding.js'
import { KeyPaths } from '../../src/codec/key-path.js'

const target = new KeyBuffer()

function errorOf(action: () => unknown): NextkeyError {
  try {
    action()
  } catch (error) {
    expect(error).toBeInstanceOf(NextkeyError)
    return error as NextkeyError
  }
  throw new Error('nothing was thrown')
}

function indexKey(definition: unknown, row: unknown): { key: unknown[]; hasNull: boolean } {
  target.reset()
  const hasNull = KeyPaths.parse(definition, 'index').appendIndexKey(row, target)
  return { key: decodeCompound(target.bytes, 0, target.length), hasNull }
}

function primaryKey(definition: unknown, row: unknown): unknown[] {
  target.reset()
  KeyPaths.parse(definition, 'key').appendPrimaryKey(row, target)
  return decodeCompound(target.bytes, 0, target.length)
}

const row = {
  id: 7,
  owner: 'ada',
  address: { city: 'Rome', geo: { lat: 41.9 } },
  tags: ['x', 'y'],
  at: new Date(5),
  blob: new Uint8Array(2),
}

describe('a key path', () => {
  it('is a field', () => {
    expect(indexKey('owner', row)).toEqual({ key: ['ada'], hasNull: false })
    expect(primaryKey('id', row)).toEqual([7])
  })

  it('with dots descends into objects', () => {
    expect(indexKey('address.city', row)).toEqual({ key: ['Rome'], hasNull: false })
    expect(primaryKey('address.geo.lat', row)).toEqual([41.9])
  })

  it('selects arrays, dates and bytes as keys', () => {
    expect(indexKey('tags', row).key).toEqual([['x', 'y']])
    expect(indexKey('at', row).key).toEqual([new Date(5)])
    expect(indexKey('blob', row).key).toEqual([new Uint8Array(2)])
  })

  it('in a list makes a compound key, without the frame of an array', () => {
    expect(indexKey(['owner', 'address.city', 'id'], row)).toEqual({ key: ['ada', 'Rome', 7], hasNull: false })
    expect(primaryKey(['owner', 'id'], row)).toEqual(['ada', 7])
    const compound = target.toBytes()
    target.reset()
    encodeCompound(['ada', 7], target)
    expect(compound).toEqual(target.toBytes())
  })

  it('alone in a list is the same as by itself', () => {
    expect(indexKey(['owner'], row)).toEqual(indexKey('owner', row))
    expect(KeyPaths.parse(['owner'], 'x').describe(row)).toBe('ada')
  })

  it('appends behind what the buffer holds', () => {
    target.reset()
    encodeKey('before', target)
    KeyPaths.parse('id', 'key').appendPrimaryKey(row, target)
    KeyPaths.parse(['owner', 'address.geo.lat'], 'index').appendIndexKey(row, target)
    expect(decodeCompound(target.bytes, 0, target.length)).toEqual(['before', 7, 'ada', 41.9])
  })

  it('describes the key as a user would write it', () => {
    expect(KeyPaths.parse('address.city', 'x').describe(row)).toBe('Rome')
    expect(KeyPaths.parse(['owner', 'nothing'], 'x').describe(row)).toEqual(['ada', null])
  })
})

describe('a field that is not there', () => {
  const nowhere: [string, string, unknown][] = [
    ['missing', 'nothing', row],
    ['undefined', 'a', { a: undefined }],
    ['null', 'a', { a: null }],
    ['below a missing one', 'nothing.deeper', row],
    ['below a string', 'owner.length', row],
    ['below an array', 'tags.0', row],
    ['the length of an array', 'tags.length', row],
    ['below a date', 'at.getTime', row],
    ['below bytes', 'blob.length', row],
    ['a property of a Map', 'size', new Map([['size', 1]])],
    ['inherited from Object', 'constructor', row],
    ['inherited from Object, deeper', 'address.toString', row],
    ['in a number', 'toFixed', 5],
    ['in null', 'a', null],
    ['in a string', 'length', 'text'],
  ]
  it.each(nowhere)('%s: counts as null in an index, is an error in a primary key', (_name, path, value) => {
    expect(indexKey(path, value)).toEqual({ key: [null], hasNull: true })
    expect(indexKey([path, 'owner'], value)).toEqual({ key: [null, value === row ? 'ada' : null], hasNull: true })
    for (const definition of [path, [path], [path, 'id'], ['id', path]]) {
      const error = errorOf(() => primaryKey(definition, value))
      expect(error).toBeInstanceOf(InvalidArgumentError)
      expect(error.code).toBe('ERR_INVALID_ROW')
    }
    expect(errorOf(() => primaryKey(path, value)).message).toContain(`'${path}'`)
  })

  it('is not found on a polluted prototype', () => {
    const prototype = Object.prototype as unknown as Record<string, unknown>
    prototype['polluted'] = 1
    try {
      expect(indexKey('polluted', { a: 1 })).toEqual({ key: [null], hasNull: true })
      expect(indexKey('polluted', { polluted: 1 })).toEqual({ key: [1], hasNull: false })
      expect(indexKey('polluted', { polluted: 2 })).toEqual({ key: [2], hasNull: false })
    } finally {
      delete prototype['polluted']
    }
  })

  it('is found if the row has a field of an inherited name', () => {
    expect(indexKey('constructor', { constructor: 'Acme' })).toEqual({ key: ['Acme'], hasNull: false })
  })
})

describe('a value that cannot be a key', () => {
  it('is refused by name', () => {
    for (const action of [() => indexKey('a.b', { a: { b: Number.NaN } }), () => primaryKey('a.b', { a: { b: Number.NaN } })]) {
      const error = errorOf(action)
      expect(error.code).toBe('ERR_INVALID_KEY')
      expect(error.message).toMatch(/'a\.b'.*NaN/)
    }
    expect(errorOf(() => indexKey(['x', 'y'], { x: 1, y: { z: 1 } })).message).toMatch(/'x', 'y'.*{z}/)
    expect(errorOf(() => indexKey('x', { x: 'x'.repeat(3000) })).code).toBe('ERR_KEY_TOO_LONG')
  })

  it('includes compound keys that are too long together, and leaves the buffer as it was', () => {
    target.reset()
    encodeKey('kept', target)
    const before = target.toBytes()
    const paths = KeyPaths.parse(['a', 'b'], 'index')
    const value = { a: 'x'.repeat(1500), b: 'y'.repeat(1500) }
    expect(errorOf(() => paths.appendIndexKey(value, target)).code).toBe('ERR_KEY_TOO_LONG')
    expect(errorOf(() => paths.appendPrimaryKey(value, target)).code).toBe('ERR_KEY_TOO_LONG')
    expect(target.toBytes()).toEqual(before)
    expect(paths.appendIndexKey({ a: 1, b: 2 }, target)).toBe(false)
  })
})

describe('a definition', () => {
  const bad: [string, unknown][] = [
    ['undefined', undefined],
    ['a number', 5],
    ['a function', (r: { id: number }) => r.id],
    ['an empty string', ''],
    ['an empty list', []],
    ['a list with something else', ['id', 5]],
    ['a nested list', [['id']]],
    ['an empty part', 'a..b'],
    ['a dot at the start', '.a'],
    ['a dot at the end', 'a.'],
    ['__proto__', 'a.__proto__.b'],
    ['half a surrogate pair', 'a\ud800'],
    ['the same path twice', ['id', 'id']],
    ['seventeen parts', Array.from({ length: 17 }, (_, at) => `f${at}`)],
    ['a path of more than 256 characters', 'x'.repeat(257)],
  ]
  it.each(bad)('that is %s is refused', (_name, definition) => {
    const error = errorOf(() => KeyPaths.parse(definition, "key of table 't'"))
    expect(error).toBeInstanceOf(InvalidArgumentError)
    expect(error.code).toBe('ERR_INVALID_ARGUMENT')
    expect(error.message).toMatch(/^key of table 't': /)
  })

  it('may have sixteen parts, and names of any characters', () => {
    expect(
      KeyPaths.parse(
        Array.from({ length: 16 }, (_, at) => `f${at}`),
        'x',
      ).paths.length,
    ).toBe(16)
    expect(indexKey('ein Näme 😀', { 'ein Näme 😀': 1 }).key).toEqual([1])
  })

  it('is not affected by later changes to the list', () => {
    const list = ['owner']
    const paths = KeyPaths.parse(list, 'x')
    list[0] = 'id'
    expect(paths.paths).toEqual(['owner'])
  })
})
