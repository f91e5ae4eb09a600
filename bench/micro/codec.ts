/**
 * Keys and rows alone: ns per operation.
 *
 *   npx esbuild bench/micro/codec.ts --bundle --platform=node --format=esm --outfile=/tmp/codec.mjs && node /tmp/codec.mjs
 *
 * Bundle it as the package is: unbundled, layout constants are property loads and figures are worse. msgpackr, without its
 * native extractor, runs beside the row codec on the same rows.
 */
import { Packr, RESET_BUFFER_MODE, REUSE_BUFFER_MODE, Unpackr } from 'msgpackr/pack'
import { Bench } from 'tinybench'
import { decodeCompound, decodeKey, encodeCompound, encodeKey, KeyBuffer } from '../../src/codec/key-encoding.js'
import { KeyPaths } from '../../src/codec/key-path.js'
import { RowCodec } from '../../src/codec/row-codec.js'

/** Power of two: samples are taken in turn by a mask. */
const SAMPLES = 4096
/** Operations per tinybench sample: its own cost per call is then below a tenth of a nanosecond. */
const BATCH = 1000
/** Distance of two rows in the slab: each lies on a page of its own. */
const STRIDE = 16384

let sink: unknown
let turn = 0

const bench = new Bench({ time: 300, warmupTime: 100 })

function measure(name: string, operation: (sample: number) => unknown): void {
  bench.add(name, () => {
    for (let i = 0; i < BATCH; i++) sink = operation(turn++ & (SAMPLES - 1))
  })
}

/** Flat strings: what is put together or cut out is slower to read in V8, which says nothing about the codec. */
function samples<T>(make: (index: number) => T): T[] {
  return Array.from({ length: SAMPLES }, (_, index) => flat(make(index)) as T)
}

function flat(value: unknown): unknown {
  if (typeof value === 'string') return Buffer.from(value).toString()
  if (typeof value !== 'object' || value === null || Object.getPrototypeOf(value) !== Object.prototype) return value
  return Object.fromEntries(Object.entries(value).map(([name, field]) => [name, flat(field)]))
}

function measureKeys(): void {
  const target = new KeyBuffer()
  const kinds: [string, unknown[]][] = [
    ['integer', samples((index) => index)],
    ['double', samples((index) => index + 0.5)],
    ['bigint', samples((index) => BigInt(index) << 20n)],
    ['string of 8', samples((index) => String(index).padStart(8, 'k'))],
    ['string of 24', samples((index) => String(index).padStart(24, 'k'))],
    ['string of 64', samples((index) => String(index).padStart(64, 'k'))],
    ['16 bytes', samples((index) => new Uint8Array(16).fill(index))],
    ['Date', samples((index) => new Date(index * 1e9))],
  ]
  for (const [kind, values] of kinds) {
    measure(`key, encode ${kind}`, (sample) => {
      target.reset()
      encodeKey(values[sample], target)
    })
    const encodings = values.map((value) => {
      target.reset()
      encodeKey(value, target)
      return target.toBytes()
    })
    measure(`key, decode ${kind}`, (sample) => decodeKey(encodings[sample], 0, encodings[sample].length))
  }
  const compounds = samples((index) => [`tenant${index % 10}`, index])
  measure('key, encode compound [string, integer]', (sample) => {
    target.reset()
    encodeCompound(compounds[sample], target)
  })
  target.reset()
  encodeCompound(['tenant', 5], target)
  const compound = target.toBytes()
  measure('key, decode compound [string, integer]', () => decodeCompound(compound, 0, compound.length))
}

const ROWS: [string, (index: number) => Record<string, unknown>][] = [
  [
    'account',
    (index) => ({ id: index, owner: `owner-${index}`, city: 'San Francisco', balance: index / 4, active: true, note: 'n'.repeat(86) }),
  ],
  [
    'text',
    (index) => ({
      id: index,
      owner: `user-${index}`,
      city: 'Rome',
      balance: index / 4,
      email: `user${index}@mail.example.com`,
      note: 'some forty characters make up this note.',
    }),
  ],
  ['numbers', (index) => ({ id: index, a: index * 2, b: index / 3, c: -index, d: index * 1e6, e: true })],
  [
    'nested',
    (index) => ({ id: index, name: { first: 'Ada', last: 'Lovelace' }, tags: ['x', 'y'], at: new Date(index), blob: new Uint8Array(16) }),
  ],
]

function measureRows(kind: string, make: (index: number) => Record<string, unknown>): void {
  const rows = samples(make)
  const codec = new RowCodec(() => undefined)
  const slab = new Uint8Array(SAMPLES * STRIDE)
  const ends = rows.map((row, index) => {
    codec.encode(row)
    slab.set(codec.bytes.subarray(codec.start, codec.end), index * STRIDE)
    return index * STRIDE + codec.end - codec.start
  })
  const paths = KeyPaths.parse('id', 'key')
  const target = new KeyBuffer()
  const name = `row, ${kind}, ${ends[0]} bytes`
  measure(`${name}: encode`, (sample) => codec.encode(rows[sample]))
  measure(`${name}: decode, each from another page`, (sample) => codec.decode(slab, sample * STRIDE, ends[sample], codec.ascii))
  measure(`${name}: decode, in the CPU's cache`, (sample) => codec.decode(slab, (sample & 63) * STRIDE, ends[sample & 63], codec.ascii))
  measure(`${name}: primary key of the decoded row`, (sample) => {
    target.reset()
    paths.appendPrimaryKey(rows[sample], target)
  })
  measurePeer(name, rows)
}

function measurePeer(name: string, rows: readonly unknown[]): void {
  const structures: object[] = []
  const packr = new Packr({ structures, moreTypes: true, copyBuffers: true })
  const memory = Buffer.from(new ArrayBuffer(SAMPLES * STRIDE))
  const ends = rows.map((row, index) => index * STRIDE + packr.pack(row).copy(memory, index * STRIDE))
  const unpackr = new Unpackr({ structures, moreTypes: true, copyBuffers: true })
  const range = { start: 0, end: 0 }
  measure(`${name}: encode, msgpackr`, (sample) => packr.pack(rows[sample], REUSE_BUFFER_MODE | RESET_BUFFER_MODE))
  measure(`${name}: decode, each from another page, msgpackr`, (sample) => {
    range.start = sample * STRIDE
    range.end = ends[sample]
    return unpackr.unpack(memory, range)
  })
}

measureKeys()
for (const [kind, make] of ROWS) measureRows(kind, make)
await bench.run()
for (const task of bench.tasks) {
  const { result } = task
  if (!('latency' in result)) throw new Error(`${task.name}: ${result.state}`, 'error' in result ? { cause: result.error } : undefined)
  // The median: the machine has other things to do as well.
  process.stdout.write(`${((result.latency.p50 * 1e6) / BATCH).toFixed(0).padStart(6)} ns  ${task.name}\n`)
}
if (sink === bench) process.stdout.write('\n') // so that no result is thought unused
