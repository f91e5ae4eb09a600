import { describe, expect, it } from 'vitest'
import type { TreeId } from '../../src/base/ids.js'
import { BTree } from '../../src/storage/btree.js'
import { KEY_PADDING, MAX_ENTRY } from '../../src/storage/slotted-page.js'
import { TreeCursor } from '../../src/storage/tree-cursor.js'
import { MemoryPageStore, type MemoryPageStoreOptions } from '../support/memory-page-store.js'

const TREE = 7 as TreeId

/** A B-tree beside the sorted map it must equal. */
class Checked {
  readonly store: MemoryPageStore
  readonly tree: BTree
  readonly cursor: TreeCursor
  readonly model: Map<string, Buffer> = new Map()

  constructor(options?: MemoryPageStoreOptions) {
    this.store = new MemoryPageStore(options)
    this.store.beginOperation()
    this.tree = new BTree(this.store, TREE, BTree.create(this.store, TREE))
    this.cursor = new TreeCursor(this.tree)
  }

  insert(key: Buffer, value: Buffer): void {
    this.store.beginOperation()
    this.tree.insert(padded(key), key.length, value, 0, value.length)
    expect(this.current().equals(value)).toBe(true)
    this.model.set(key.toString('latin1'), value)
  }

  replace(key: Buffer, value: Buffer): void {
    this.store.beginOperation()
    expect(this.tree.find(padded(key), key.length)).toBe(true)
    this.tree.replaceValue(value, 0, value.length)
    expect(this.current().equals(value)).toBe(true)
    this.model.set(key.toString('latin1'), value)
  }

  remove(key: Buffer): void {
    this.store.beginOperation()
    expect(this.tree.find(padded(key), key.length)).toBe(true)
    this.tree.remove()
    this.model.delete(key.toString('latin1'))
  }

  get(key: Buffer): Buffer | undefined {
    this.store.beginOperation()
    return this.tree.find(padded(key), key.length) ? this.current() : undefined
  }

  /** The value at the tree's hit. */
  current(): Buffer {
    const { valueOffset, valueLength } = this.tree
    expect(valueOffset % 4).toBe(0)
    return Buffer.from(this.store.u8.slice(valueOffset, valueOffset + valueLength))
  }

  sortedKeys(): Buffer[] {
    return [...this.model.keys()].map((key) => Buffer.from(key, 'latin1')).sort(Buffer.compare)
  }

  /** The whole tree against the model, both ways, and its own verification. */
  check(): ReturnType<BTree['verify']> {
    const problems: string[] = []
    const statistics = this.tree.verify((problem) => problems.push(problem))
    expect(problems).toEqual([])
    expect(statistics.entries).toBe(this.model.size)
    expect(statistics.pages).toBe(this.store.livePages)
    const keys = this.sortedKeys()
    this.store.beginOperation()
    expectKeys(this.walk(this.cursor.first(), () => this.cursor.next()), keys)
    this.store.beginOperation()
    expectKeys(this.walk(this.cursor.last(), () => this.cursor.previous()), keys.reverse())
    this.store.endOperation()
    return statistics
  }

  private walk(started: boolean, move: () => boolean): Buffer[] {
    const keys: Buffer[] = []
    for (let on = started; on; on = move()) {
      const key = cursorKey(this.cursor)
      const value = this.model.get(key.toString('latin1')) as Buffer
      const { valueOffset, valueLength } = this.cursor
      if (value === undefined || valueLength !== value.length || Buffer.compare(value, this.store.u8.subarray(valueOffset, valueOffset + valueLength)) !== 0)
        throw new Error(`wrong value at ${key.toString('hex')}`)
      keys.push(key)
    }
    return keys
  }
}

/** Not toEqual, which takes long for many long keys. */
function expectKeys(actual: Buffer[], expected: Buffer[]): void {
  expect(actual.length).toBe(expected.length)
  for (let i = 0; i < actual.length; i++) if (!actual[i].equals(expected[i])) throw new Error(`entry ${i} is ${actual[i].toString('hex')}, not ${expected[i].toString('hex')}`)
}

function padded(key: Buffer): Uint8Array {
  const bytes = new Uint8Array(key.length + KEY_PADDING)
  bytes.set(key)
  return bytes
}

function cursorKey(cursor: TreeCursor): Buffer {
  const target = new Uint8Array(MAX_ENTRY + 2 * KEY_PADDING)
  const length = cursor.copyKey(target)
  expect(cursor.keyLength).toBe(length)
  return Buffer.from(target.slice(0, length))
}

class Rng {
  constructor(private state: number) {}
  below(limit: number): number {
    this.state = (Math.imul(this.state, 1664525) + 1013904223) >>> 0
    return Math.floor((this.state / 2 ** 32) * limit)
  }
}

describe('smoke', () => {
  for (let seed = 1; seed <= 8; seed++)
    it(`random ops ${seed}`, () => {
      const t = new Checked({ restlessness: 0.3 })
      const rng = new Rng(seed)
      const keyOf = (): Buffer => {
        const kind = seed % 4
        if (kind === 0) { const b = Buffer.alloc(8); b.writeUInt32BE(rng.below(5000), 4); return b }
        if (kind === 1) return Buffer.from(Array.from({ length: rng.below(6) }, () => rng.below(3)))
        if (kind === 2) return Buffer.concat([Buffer.alloc(rng.below(2) * 1500, 120), Buffer.from(String(rng.below(300)))])
        return Buffer.alloc(rng.below(2000), rng.below(4))
      }
      for (let i = 0; i < 6000; i++) {
        const key = keyOf()
        const has = t.model.has(key.toString('latin1'))
        const big = rng.below(20) === 0
        const value = Buffer.alloc(rng.below(big ? MAX_ENTRY - key.length + 1 : 120), i & 255)
        const growing = (i / 2000) % 2 < 1
        if (!has) { if (growing || rng.below(3) === 0) t.insert(key, value) }
        else if (rng.below(3) === 0) t.replace(key, value)
        else if (!growing || rng.below(3) === 0) t.remove(key)
        if (i % 1000 === 0) t.check()
      }
      t.check()
      for (const key of t.sortedKeys()) t.remove(key)
      const s = t.check()
      expect(s.pages).toBe(1)
    })
})
