/**
 * The B-tree alone, all pages resident: ns per operation over a million records of about 100 bytes.
 *
 *   npx esbuild bench/micro/btree.ts --bundle --platform=node --format=esm | node --input-type=module - [records] [key prefix bytes]
 *
 * Bundle it as the package is: unbundled, layout constants are property loads and figures are worse.
 */
import type { TreeId } from '../../src/base/ids.js'
import { BTree } from '../../src/storage/btree.js'
import { KEY_PADDING } from '../../src/storage/slotted-page-layout.js'
import { TreeCursor } from '../../src/storage/tree-cursor.js'
import { MemoryPageStore } from '../../test/support/memory-page-store.js'

const records = Number(process.argv[2] ?? 1_000_000)
const prefixBytes = Number(process.argv[3] ?? 1)
const valueBytes = 88
const keyBytes = prefixBytes + 8
const key = new Uint8Array(keyBytes + KEY_PADDING).fill(0x15, 0, prefixBytes)
const value = new Uint8Array(256).fill(0x61)

/** prefix ++ 8 bytes big-endian. */
function setKey(number: number): void {
  const high = Math.floor(number / 2 ** 32)
  key[prefixBytes] = high >>> 24
  key[prefixBytes + 1] = high >>> 16
  key[prefixBytes + 2] = high >>> 8
  key[prefixBytes + 3] = high
  key[prefixBytes + 4] = number >>> 24
  key[prefixBytes + 5] = number >>> 16
  key[prefixBytes + 6] = number >>> 8
  key[prefixBytes + 7] = number
}

function shuffled(count: number): Uint32Array {
  const order = new Uint32Array(count)
  let state = 12345
  for (let i = 0; i < count; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    const j = Math.floor((state / 2 ** 32) * (i + 1))
    order[i] = order[j]
    order[j] = i
  }
  return order
}

function measure(name: string, count: number, run: () => void): void {
  const start = performance.now()
  run()
  const ns = ((performance.now() - start) * 1e6) / count
  console.log(`${name.padEnd(44)} ${ns.toFixed(1).padStart(8)} ns`)
}

const frames = Math.ceil((records * (valueBytes + keyBytes + 14)) / (16352 * 0.6)) + 64
const order = shuffled(records)

function makeTree(): BTree {
  const store = new MemoryPageStore({ strict: false, frames })
  return new BTree(store, 1 as TreeId, BTree.create(store, 1 as TreeId))
}

function fill(tree: BTree, numbers: Uint32Array | undefined, count: number): void {
  const { store } = tree
  for (let i = 0; i < count; i++) {
    setKey(numbers === undefined ? i : numbers[i])
    store.beginOperation()
    tree.findToInsert(key, keyBytes)
    tree.insertAtHit(key, keyBytes, value, 0, valueBytes)
  }
}

let sum = 0

function look(tree: BTree, count: number, within: number): void {
  const { store } = tree
  for (let i = 0; i < count; i++) {
    setKey(order[i] % within)
    store.beginOperation()
    if (!tree.find(key, keyBytes)) throw new Error('missing')
    sum += tree.valueLength
  }
}

function scan(tree: BTree, forwards: boolean): void {
  const cursor = new TreeCursor(tree)
  tree.store.beginOperation()
  let count = 0
  for (let on = forwards ? cursor.first() : cursor.last(); on; on = forwards ? cursor.next() : cursor.previous()) {
    sum += cursor.valueLength
    count++
  }
  if (count !== records) throw new Error(`scanned ${count}`)
}

function describeTree(tree: BTree): string {
  const s = tree.verify((problem) => {
    throw new Error(problem)
  })
  return `depth ${s.depth}, ${s.pages} pages, leaves ${(s.leafFill * 100).toFixed(1)} % full`
}

// Warm up on small trees, so that what is measured is optimised code.
for (let round = 0; round < 3; round++) {
  const small = makeTree()
  fill(small, round === 0 ? undefined : shuffled(100_000).map((n) => n), 100_000)
}

for (let round = 0; round < 2; round++) {
  const sorted = makeTree()
  measure('sorted insert', records, () => fill(sorted, undefined, records))
  const random = makeTree()
  measure('random insert', records, () => fill(random, order, records))
  measure('lookup, any of all', records, () => look(random, records, records))
  measure('lookup, one of 1,000', records, () => look(random, records, 1000))
  measure('lookup in the sorted tree, any of all', records, () => look(sorted, records, records))
  measure('scan forwards', records, () => scan(random, true))
  measure('scan backwards', records, () => scan(random, false))
  measure('scan the sorted tree', records, () => scan(sorted, true))
  measure('replace, same size', records, () => {
    for (let i = 0; i < records; i++) {
      setKey(order[i])
      random.store.beginOperation()
      random.find(key, keyBytes)
      random.replaceValue(value, 0, valueBytes)
    }
  })
  console.log(`sorted: ${describeTree(sorted)}; random: ${describeTree(random)}`)
  measure('remove at random', records, () => {
    for (let i = 0; i < records; i++) {
      setKey(order[i])
      random.store.beginOperation()
      random.find(key, keyBytes)
      random.remove()
    }
  })
}
if (sum === 0) throw new Error('nothing was read')
