import { setTimeout as sleep } from 'node:timers/promises'
import { makeRandom } from '../data/random.mjs'
import { initialBalance } from '../data/rows.mjs'
import { check, measure } from '../runner/measure.mjs'
import { goals, openWarm, readers } from './workload.mjs'

/** 64 clients moving money between random rows, two rows a transaction. Afterwards the sum and every balance must be right. */

const clients = 64

/** @type {import('./workload.mjs').Workload[]} */
export const concurrentWorkloads = [
  {
    name: 'transfer-64',
    title: '64 clients, durable two-row transactions',
    group: 'Concurrent transactions',
    unit: 'rate',
    variants: readers,
    image: 'integer',
    guarantee: 'transactions',
    goals: goals({ lmdb: 4, 'lmdb-shared': 4 }),
    run: (context) => transfers(context, 16, (store, from, to, amount) => store.transfer(from, to, amount)),
  },
  {
    name: 'interactive-64',
    title: '64 clients, transactions that wait 1 ms between read and write',
    group: 'Concurrent transactions',
    unit: 'rate',
    variants: readers,
    image: 'integer',
    guarantee: 'interactive',
    goals: goals({ lmdb: 30, 'lmdb-shared': 30 }),
    run: (context) => transfers(context, 4, (store, from, to, amount) => store.transferWaiting(from, to, amount, oneMillisecond)),
  },
]

function oneMillisecond() {
  return sleep(1)
}

/**
 * @param {import('./workload.mjs').Context} context
 * @param {number} perClient
 * @param {(store: import('../engines/index.mjs').Store, from: number, to: number, amount: number) => Promise<void>} transfer
 */
async function transfers(context, perClient, transfer) {
  const store = await openWarm(context)
  const random = makeRandom(context.seed)
  /** @type {Map<number, number>} */
  const balances = new Map()
  /** @param {number} n @param {number} amount */
  const add = (n, amount) => balances.set(n, (balances.get(n) ?? initialBalance(n)) + amount)

  /** What the clients have left to do in this call. They share it, so that none runs alone in the end. */
  let left = 0
  async function client() {
    while (left-- > 0) {
      const from = Math.floor(random() * context.rows)
      const to = (from + 1 + Math.floor(random() * (context.rows - 1))) % context.rows
      const amount = 1 + Math.floor(random() * 10)
      add(from, -amount)
      add(to, amount)
      await transfer(store, from, to, amount)
    }
  }
  const measurement = await measure({
    operations: clients * perClient,
    async: true,
    timeMs: context.timeMs,
    iterations: 2,
    warmupMs: context.timeMs,
    run() {
      left = clients * perClient
      return Promise.all(Array.from({ length: clients }, client))
    },
  })
  await store.close()
  const reopened = await context.openStore()
  let sum = 0
  let expectedSum = 0
  let n = 0
  reopened.visit(undefined, 0, (key, row) => {
    const expected = balances.get(n) ?? initialBalance(n)
    check(key === n && row.balance === expected, `account ${key} holds ${row.balance}, not ${expected}`)
    sum += row.balance
    expectedSum += initialBalance(n)
    n++
  })
  check(n === context.rows && sum === expectedSum, `${n} accounts hold ${sum}, not ${expectedSum}`)
  await reopened.close()
  return { ...measurement, checked: n }
}
