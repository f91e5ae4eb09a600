import { makeRandom, makeZipfian, scramble } from '../data/random.mjs'
import { initialBalance, isRow, keyMaker, makeKeys, makeRow } from '../data/rows.mjs'
import { check, measure } from '../runner/measure.mjs'
import { goals, openWarm, readers, writers } from './workload.mjs'

/**
 * The Yahoo! Cloud Serving Benchmark's six core workloads, with its distributions (zipfian 0.99, scrambled; `latest` for D; ranges of 1–100
 * rows for E) over string keys in scattered order. Every operation is a transaction of its own; an update replaces the row.
 * Two ways of driving:
 * - one client, synchronous: each engine's fastest form of a single write (lmdb's putSync and transactionSync);
 * - 64 clients, awaited: reads are synchronous, each client awaits its own writes, so that both engines can commit many together.
 */

const read = 0
const update = 1
const insert = 2
const range = 3
const modify = 4

/** @type {Record<string, { title: string, mix: [number, number][], latest?: boolean }>} */
const mixes = {
  a: {
    title: '50 % read, 50 % update',
    mix: [
      [update, 0.5],
      [read, 0.5],
    ],
  },
  b: {
    title: '95 % read, 5 % update',
    mix: [
      [update, 0.05],
      [read, 0.95],
    ],
  },
  c: { title: 'read only', mix: [[read, 1]] },
  d: {
    title: '95 % read latest, 5 % insert',
    mix: [
      [insert, 0.05],
      [read, 0.95],
    ],
    latest: true,
  },
  e: {
    title: '95 % range of 1–100, 5 % insert',
    mix: [
      [insert, 0.05],
      [range, 0.95],
    ],
  },
  f: {
    title: '50 % read, 50 % read-modify-write',
    mix: [
      [modify, 0.5],
      [read, 0.5],
    ],
  },
}

const clients = 64
const againstNoSync = goals({ 'lmdb-nosync': 2 }, 'nextkey-write')
/** @type {Record<string, import('./workload.mjs').Goal[]>} */
const manyClientGoals = {
  a: [...goals({ lmdb: 5, 'lmdb-shared': 5 }), ...againstNoSync],
  b: goals({ lmdb: 4, 'lmdb-shared': 4 }),
  f: [...goals({ lmdb: 5, 'lmdb-shared': 5 }), ...againstNoSync],
}

/** @type {import('./workload.mjs').Workload[]} */
export const ycsbWorkloads = [
  ...Object.entries(mixes).map(([letter, { title }]) => ({
    name: `ycsb-${letter}`,
    title: `YCSB ${letter.toUpperCase()}, one client, synchronous: ${title}`,
    group: 'YCSB',
    unit: /** @type {const} */ ('rate'),
    variants: letter === 'c' ? readers : writers,
    image: /** @type {const} */ ('string'),
    readOnly: letter === 'c',
    guarantee: letter === 'c' ? /** @type {const} */ ('reads') : /** @type {const} */ ('writes'),
    goals: letter === 'a' || letter === 'f' ? againstNoSync : [],
    run: (/** @type {import('./workload.mjs').Context} */ context) => oneClient(context, letter),
  })),
  ...['a', 'b', 'f'].map((letter) => ({
    name: `ycsb-${letter}-64`,
    title: `YCSB ${letter.toUpperCase()}, 64 clients, awaited: ${mixes[letter].title}`,
    group: 'YCSB',
    unit: /** @type {const} */ ('rate'),
    variants: writers,
    image: /** @type {const} */ ('string'),
    guarantee: /** @type {const} */ ('writes'),
    goals: manyClientGoals[letter],
    run: (/** @type {import('./workload.mjs').Context} */ context) => manyClients(context, letter),
  })),
]

const streamLength = 1 << 18

/**
 * What to do, decided before the clock starts: operation codes, and for each the row (or, for `latest`, how far back from the newest).
 * @param {import('./workload.mjs').Context} context
 * @param {string} letter
 */
function makeStream(context, letter) {
  const { mix, latest = false } = mixes[letter]
  const random = makeRandom(context.seed)
  const zipfian = makeZipfian(context.rows, random)
  const operations = new Uint8Array(streamLength)
  const targets = new Int32Array(streamLength)
  const lengths = new Uint8Array(streamLength)
  for (let i = 0; i < streamLength; i++) {
    let dice = random()
    let operation = mix[mix.length - 1][0]
    for (const [candidate, share] of mix) {
      if (dice < share) {
        operation = candidate
        break
      }
      dice -= share
    }
    const rank = zipfian()
    operations[i] = operation
    targets[i] = latest ? rank : scramble(rank, context.rows)
    lengths[i] = 1 + Math.floor(random() * 100)
  }
  return { operations, targets, lengths, latest }
}

/**
 * What every row's balance must be, told the same writes as the store.
 * @param {import('./workload.mjs').Context} context
 */
function makeModel(context) {
  const keyOf = keyMaker('string')
  const keys = makeKeys('string', context.rows)
  const balances = Array.from({ length: context.rows }, (_, n) => initialBalance(n))
  return {
    keys,
    balances,
    addRow() {
      const n = keys.length
      keys.push(keyOf(n))
      balances.push(initialBalance(n))
      return n
    },
    /** @param {import('../engines/index.mjs').Store} store */
    verify(store) {
      const step = Math.max(1, Math.floor(keys.length / 5000))
      let checked = 0
      for (let n = 0; n < keys.length; n += step) {
        check(
          isRow(store.get(keys[n]), keys[n], n, balances[n]),
          `row ${n} is ${JSON.stringify(store.get(keys[n]))}, balance must be ${balances[n]}`,
        )
        checked++
      }
      return checked
    },
    /**
     * Ranges against the sorted keys: none may be left out.
     * @param {import('../engines/index.mjs').Store} store
     */
    verifyRanges(store) {
      const sorted = [...keys].sort()
      const limit = 100
      let checked = 0
      for (let i = 0; i < 200; i++) {
        const start = Math.floor((i / 200) * sorted.length)
        /** @type {import('../engines/index.mjs').Key[]} */
        const met = []
        store.visit(sorted[start], limit, (key) => met.push(key))
        const expected = sorted.slice(start, start + limit)
        check(
          met.length === expected.length && met.every((key, at) => key === expected[at]),
          `the range from ${sorted[start]} skips or repeats keys`,
        )
        checked += met.length
      }
      return checked
    },
  }
}

/**
 * @param {import('./workload.mjs').Context} context
 * @param {string} letter
 */
async function oneClient(context, letter) {
  const store = await openWarm(context)
  const model = makeModel(context)
  const { operations, targets, lengths, latest } = makeStream(context, letter)
  const { keys, balances } = model
  const perCall = 256
  let next = 0
  let checked = 0
  /** @type {import('../engines/index.mjs').Key} */
  let previous = ''
  let met = 0
  /** @type {(key: import('../engines/index.mjs').Key, row: import('../data/rows.mjs').Row) => void} */
  const visitor = (key, row) => {
    check(key > previous && row.id === key, `the range met ${key} after ${previous}`)
    previous = key
    met++
  }
  const measurement = await measure({
    operations: perCall,
    timeMs: context.timeMs,
    warmupMs: context.timeMs,
    run() {
      for (let i = next; i < next + perCall; i++) {
        const n = latest ? keys.length - 1 - targets[i] : targets[i]
        switch (operations[i]) {
          case read: {
            const row = store.get(keys[n])
            if (row?.id !== keys[n] || row?.balance !== balances[n])
              check(false, `row ${n} is ${JSON.stringify(row)}, balance must be ${balances[n]}`)
            checked++
            break
          }
          case update:
            store.putSync(makeRow(keys[n], n, ++balances[n]))
            break
          case insert: {
            const added = model.addRow()
            store.putSync(makeRow(keys[added], added, balances[added]))
            break
          }
          case range:
            previous = ''
            met = 0
            store.visit(keys[n], lengths[i], visitor)
            check(met > 0 && met <= lengths[i], `a range of ${lengths[i]} met ${met} rows`)
            checked += met
            break
          case modify:
            store.addBalanceSync(keys[n], 1)
            balances[n]++
        }
      }
      next = (next + perCall) % streamLength
    },
  })
  checked += model.verify(store)
  if (letter === 'e') checked += model.verifyRanges(store)
  await store.close()
  return { ...measurement, checked }
}

/**
 * @param {import('./workload.mjs').Context} context
 * @param {string} letter
 */
async function manyClients(context, letter) {
  const store = await openWarm(context)
  const model = makeModel(context)
  const { operations, targets } = makeStream(context, letter)
  const { keys, balances } = model
  const perCall = clients * 32
  let next = 0
  let checked = 0
  /** What the clients have left to do in this call. They share it, so that none runs alone in the end. */
  let left = 0

  async function client() {
    while (left-- > 0) {
      const i = next
      next = (next + 1) % streamLength
      const n = targets[i]
      if (operations[i] === read) {
        const row = store.get(keys[n])
        // A write that is under way may or may not be seen, so only the final balances are exact.
        if (row === undefined || row.id !== keys[n] || row.balance < initialBalance(n)) check(false, `row ${n} is ${JSON.stringify(row)}`)
        checked++
      } else if (operations[i] === update) {
        await store.put(makeRow(keys[n], n, ++balances[n]))
      } else {
        balances[n]++
        await store.addBalance(keys[n], 1)
      }
    }
  }
  const measurement = await measure({
    operations: perCall,
    async: true,
    timeMs: context.timeMs,
    warmupMs: context.timeMs,
    run() {
      left = perCall
      return Promise.all(Array.from({ length: clients }, client))
    },
  })
  checked += model.verify(store)
  await store.close()
  return { ...measurement, checked }
}
