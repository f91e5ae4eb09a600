import { makeRandom } from '../data/random.mjs'
import { initialBalance, isRow, makeRow } from '../data/rows.mjs'
import { openBareFile } from '../engines/bare-file.mjs'
import { check, measure } from '../runner/measure.mjs'
import { goals, openWarm } from './workload.mjs'

/** One durable commit after the other, and what the bare file system gives for the same number of bytes. */

const variants = ['nextkey', 'lmdb', 'lmdb-shared', 'bare']
const perCall = 32
/** About what one such commit appends to a log: the row, its key, and the framing. */
const bareRecordBytes = 192
const commitGoals = [...goals({ lmdb: 2, 'lmdb-shared': 2 }), ...goals({ bare: 1 / 1.15 })]

/** @type {import('./workload.mjs').Workload[]} */
export const commitWorkloads = [
  {
    name: 'commit-awaited',
    title: 'One durable commit at a time, awaited',
    group: 'Commits',
    unit: 'rate',
    variants,
    image: 'integer',
    guarantee: 'writes',
    goals: commitGoals,
    run: (context) => commits(context, true),
  },
  {
    name: 'commit-sync',
    title: 'One durable commit at a time, synchronous',
    group: 'Commits',
    unit: 'rate',
    variants,
    image: 'integer',
    guarantee: 'writes',
    goals: commitGoals,
    run: (context) => commits(context, false),
  },
]

/**
 * @param {import('./workload.mjs').Context} context
 * @param {boolean} awaited
 */
function commits(context, awaited) {
  return context.variant.engine === 'bare-file' ? bareCommits(context, awaited) : storeCommits(context, awaited)
}

/**
 * @param {import('./workload.mjs').Context} context
 * @param {boolean} awaited
 */
async function storeCommits(context, awaited) {
  const store = await openWarm(context)
  const random = makeRandom(context.seed)
  /** @type {Map<number, number>} */
  const written = new Map()
  function nextRow() {
    const n = Math.floor(random() * context.rows)
    const balance = (written.get(n) ?? initialBalance(n)) + 1
    written.set(n, balance)
    return makeRow(n, n, balance)
  }
  const measurement = await measure({
    operations: perCall,
    async: awaited,
    timeMs: context.timeMs,
    warmupMs: context.timeMs,
    run: awaited
      ? async () => {
          for (let i = 0; i < perCall; i++) await store.put(nextRow())
        }
      : () => {
          for (let i = 0; i < perCall; i++) store.putSync(nextRow())
        },
  })
  await store.close()
  const reopened = await context.openStore()
  for (const [n, balance] of written)
    check(isRow(reopened.get(n), n, n, balance), `row ${n} is ${JSON.stringify(reopened.get(n))}, balance must be ${balance}`)
  await reopened.close()
  return { ...measurement, checked: written.size }
}

/**
 * @param {import('./workload.mjs').Context} context
 * @param {boolean} awaited
 */
async function bareCommits(context, awaited) {
  const file = openBareFile(context.directory)
  const record = new Uint8Array(bareRecordBytes).fill(0x6e)
  const measurement = await measure({
    operations: perCall,
    async: awaited,
    timeMs: context.timeMs,
    warmupMs: context.timeMs,
    run: awaited
      ? async () => {
          for (let i = 0; i < perCall; i++) await file.append(record)
        }
      : () => {
          for (let i = 0; i < perCall; i++) file.appendSync(record)
        },
  })
  file.close()
  return measurement
}
