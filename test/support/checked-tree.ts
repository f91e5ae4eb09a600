import { expect } from 'vitest'
import type { TreeId } from '../../src/base/ids.js'
import { BTree } from '../../src/storage/btree.js'
import type { TreeStatistics } from '../../src/storage/btree-verify.js'
import { KEY_PADDING, MAX_ENTRY } from '../../src/storage/slotted-page-layout.js'
import { TreeCursor } from '../../src/storage/tree-cursor.js'
import { MemoryPageStore, type MemoryPageStoreOptions } from './memory-page-store.js'

export const TREE: TreeId = 7 as TreeId

const NO_VALUE = Buffer.alloc(0)

/** A B-tree on a strict store, and beside it the map it must equal. Keys are Buffers; in the map latin1 strings. */
export class CheckedTree {
  readonly store: MemoryPageStore
  readonly tree: BTree
  readonly model: Map<string, Buffer> = new Map()

  constructor(options?: MemoryPageStoreOptions) {
    this.store = new MemoryPageStore(options)
    this.store.beginOperation()
    this.tree = new BTree(this.store, TREE, BTree.create(this.store, TREE))
  }

  insert(key: Buffer, value: Buffer = NO_VALUE): void {
    this.store.beginOperation()
    this.tree.insert(padded(key), key.length, value, 0, value.length)
    this.model.set(key.toString('latin1'), value)
    this.expectHit(key, value)
  }

  replace(key: Buffer, value: Buffer): void {
    this.store.beginOperation()
    expect(this.tree.find(padded(key), key.length)).toBe(true)
    this.tree.replaceValue(value, 0, value.length)
    this.model.set(key.toString('latin1'), value)
    this.expectHit(key, value)
  }

  remove(key: Buffer): void {
    this.store.beginOperation()
    expect(this.tree.find(padded(key), key.length)).toBe(true)
    this.tree.remove()
    this.model.delete(key.toString('latin1'))
  }

  has(key: Buffer): boolean {
    return this.model.has(key.toString('latin1'))
  }

  /** A copy of the value the tree has for this key. */
  get(key: Buffer): Buffer | undefined {
    this.store.beginOperation()
    return this.tree.find(padded(key), key.length) ? this.valueAt(this.tree) : undefined
  }

  sortedKeys(): Buffer[] {
    return [...this.model.keys()].map((key) => Buffer.from(key, 'latin1')).sort(Buffer.compare)
  }

  /** The tree against the map, forwards and backwards, and its own verification; no page may be lost. */
  check(): TreeStatistics {
    const problems: string[] = []
    const statistics = this.tree.verify((problem) => problems.push(problem))
    expect(problems).toEqual([])
    expect(statistics.entries).toBe(this.model.size)
    expect(statistics.pages).toBe(this.store.livePages)
    const keys = this.sortedKeys()
    const cursor = new TreeCursor(this.tree)
    this.store.beginOperation()
    this.expectEntries(cursor, cursor.first(), () => cursor.next(), keys)
    this.store.beginOperation()
    this.expectEntries(cursor, cursor.last(), () => cursor.previous(), keys.reverse())
    this.store.endOperation()
    return statistics
  }

  /** The keys of the leaves of the tree, page by page. */
  keysByLeaf(): Buffer[][] {
    const leaves: Buffer[][] = []
    const cursor = new TreeCursor(this.tree)
    this.store.beginOperation()
    let page = -1
    for (let on = cursor.first(); on; on = cursor.next()) {
      const current = this.tree.pages.pageId(cursor.base)
      if (current !== page) leaves.push([])
      page = current
      leaves.at(-1)?.push(keyAt(cursor))
    }
    return leaves
  }

  valueAt(place: { valueOffset: number; valueLength: number }): Buffer {
    return Buffer.from(this.store.u8.slice(place.valueOffset, place.valueOffset + place.valueLength))
  }

  private expectHit(key: Buffer, value: Buffer): void {
    const { tree } = this
    const target = new Uint8Array(MAX_ENTRY + 2 * KEY_PADDING)
    const length = tree.pages.copyKey(tree.base, tree.slot, target)
    expect(tree.found && tree.valueOffset % 4 === 0).toBe(true)
    expect(Buffer.compare(target.subarray(0, length), key)).toBe(0)
    expect(this.valueAt(tree).equals(value)).toBe(true)
  }

  /** Compares without toEqual, which takes long for many long keys. */
  private expectEntries(cursor: TreeCursor, started: boolean, move: () => boolean, keys: Buffer[]): void {
    let index = 0
    for (let on = started; on; on = move()) {
      const key = keyAt(cursor)
      if (index >= keys.length || !key.equals(keys[index]))
        expect.fail(`entry ${index} is ${key.toString('hex')}, not ${keys[index]?.toString('hex')}`)
      if (!this.valueAt(cursor).equals(this.model.get(key.toString('latin1')) as Buffer)) expect.fail(`entry ${index} has a wrong value`)
      index++
    }
    expect(index).toBe(keys.length)
  }
}

/** The key as the tree wants it: zeros behind. */
export function padded(key: Buffer): Uint8Array {
  const bytes = new Uint8Array(key.length + KEY_PADDING)
  bytes.set(key)
  return bytes
}

/** A copy of the cursor's key; checks what `copyKey` leaves behind it. */
export function keyAt(cursor: TreeCursor): Buffer {
  const target = new Uint8Array(MAX_ENTRY + 2 * KEY_PADDING).fill(0xff)
  const length = cursor.copyKey(target)
  for (let i = length; i < length + KEY_PADDING; i++) if (target[i] !== 0) expect.fail('a copied key is not padded with zeros')
  if (cursor.keyLength !== length) expect.fail(`keyLength is ${cursor.keyLength}, not ${length}`)
  return Buffer.from(target.subarray(0, length))
}

/** 8 bytes, big-endian. */
export function numberKey(number: number): Buffer {
  const key = Buffer.alloc(8)
  key.writeUInt32BE(Math.floor(number / 2 ** 32), 0)
  key.writeUInt32BE(number >>> 0, 4)
  return key
}

/** Repeatable randomness (an LCG's upper bits). */
export class Dice {
  private state: number

  constructor(seed: number) {
    this.state = (Math.imul(seed, 2654435761) + 1) >>> 0
  }

  /** 0 … limit − 1 */
  below(limit: number): number {
    this.state = (Math.imul(this.state, 1664525) + 1013904223) >>> 0
    return Math.floor((this.state / 2 ** 32) * limit)
  }

  /** True once in so many times. */
  oneIn(times: number): boolean {
    return this.below(times) === 0
  }

  bytes(length: number, alphabet = 256): Buffer {
    return Buffer.from(Array.from({ length }, () => this.below(alphabet)))
  }

  pick<T>(items: readonly T[]): T {
    return items[this.below(items.length)]
  }

  shuffle<T>(items: T[]): T[] {
    for (let i = items.length - 1; i > 0; i--) {
      const j = this.below(i + 1)
      const item = items[i]
      items[i] = items[j]
      items[j] = item
    }
    return items
  }
}
