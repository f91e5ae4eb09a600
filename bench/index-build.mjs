import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { parseArgs } from 'node:util'
import { open } from 'nextkey'

const HELP = `node bench/index-build.mjs [options]   (after npm run build)

Builds a unique and a plain index on a table that writers are changing, and measures how long each write takes, before and meanwhile.
At the end db.check() compares every row with every index.

  --rows N        rows in the table (1000000)
  --writers N     writers at work (4)
  --before S      seconds of writing before the first build (5)
  --cache N       cacheSize in MiB (256)
  --durability D  sync, write or lazy (sync)
  --seed N        of the random numbers (1)
  --limit MS      fails if a write took longer than this while an index was built (50)
  --help          this text
`
const { values } = parseArgs({
  options: {
    rows: { type: 'string', default: '1000000' },
    writers: { type: 'string', default: '4' },
    before: { type: 'string', default: '5' },
    cache: { type: 'string', default: '256' },
    durability: { type: 'string', default: 'sync' },
    seed: { type: 'string', default: '1' },
    limit: { type: 'string', default: '50' },
    help: { type: 'boolean', default: false },
  },
})
if (values.help) {
  process.stdout.write(HELP)
  process.exit(0)
}

const rows = Number(values.rows)
const directory = mkdtempSync(join(tmpdir(), 'nextkey-index-build-'))
const db = await open(directory, { cacheSize: Number(values.cache) * 2 ** 20, durability: values.durability })
const people = await db.table('people', { key: 'id', indexes: { city: { on: 'city' } } })

let seed = Number(values.seed) >>> 0
function random(below) {
  seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0
  return Math.floor((seed / 2 ** 32) * below)
}
/** Names are scattered, and unique as long as versions are. */
const nameOf = (id, version) => `${(Math.imul(id, 0x9e3779b1) >>> 0).toString(36)}-${id}-${version}`
const rowOf = (id, version) => ({
  id,
  name: nameOf(id, version),
  city: `city-${random(5000)}`,
  age: random(100),
  note: 'some more text that makes a row of about a hundred and fifty bytes',
})

for (let id = 0; id < rows; ) {
  await db.transaction(async (tx) => {
    for (const end = Math.min(rows, id + 2000); id < end; id++) await tx.insert(people, rowOf(id, 0))
  })
}
await db.checkpoint()
report(`${rows} rows loaded, ${mib(db.status().file.size)} of file`)

let version = 1
let newest = rows
let stopped = false
let longest = []
let counts = { writes: 0, refused: 0 }

async function timed(kind, write) {
  const start = performance.now()
  try {
    await write()
    counts.writes++
  } catch (error) {
    if (error.retryable !== true && error.code !== 'ERR_DUPLICATE_KEY') throw error
    counts.refused++
  }
  longest.push([performance.now() - start, kind])
}

async function writer() {
  while (!stopped) {
    const id = random(newest)
    const dice = random(100)
    if (dice < 35) await timed('update of an indexed field', () => people.update(id, { name: nameOf(id, version++) }))
    else if (dice < 55) await timed('update of another field', () => people.update(id, { age: random(100) }))
    else if (dice < 70) await timed('insert', () => people.insert(rowOf(newest++, 0)))
    else if (dice < 80) await timed('delete', () => people.delete(id))
    else await timed('transaction of three', () => several(id))
  }
}

/** Some change their mind. */
async function several(id) {
  const tx = await db.begin()
  try {
    await tx.update(people, id, { name: nameOf(id, version++), age: 1 })
    await tx.delete(people, (id + 1) % newest)
    await tx.put(people, rowOf((id + 2) % newest, version++))
    if (id % 5 === 0) await tx.rollback()
    else await tx.commit()
  } catch (error) {
    await tx.rollback().catch(() => {})
    throw error
  }
}

const delay = monitorEventLoopDelay({ resolution: 1 })
delay.enable()
const writers = Array.from({ length: Number(values.writers) }, () => writer())
await new Promise((resolve) => setTimeout(resolve, Number(values.before) * 1000))
measured('before')
const worst = []
for (const [name, options] of [
  ['byName', { on: 'name', unique: true }],
  ['byAge', { on: ['age', 'city'] }],
]) {
  const start = performance.now()
  let scanned = 0
  await people.createIndex(name, options, {
    onProgress: ({ done, total }) => {
      if (done >= total) scanned = performance.now() - start
    },
  })
  const took = performance.now() - start
  worst.push(measured(`building ${name}: ${(took / 1000).toFixed(1)} s, of which ${(scanned / 1000).toFixed(1)} s to pass the rows;`))
}
stopped = true
await Promise.all(writers)
const { problems, tables } = await db.check()
const exact = problems.length === 0
report(
  exact
    ? `exact: ${tables[0].rows} rows, and as many live entries in ${tables[0].indexes.map((index) => index.name).join(', ')}`
    : problems.join('\n'),
)
const limit = Number(values.limit)
const most = Math.max(...worst)
report(
  `the longest write while an index was built took ${most.toFixed(1)} ms: ${most <= limit ? 'within' : 'beyond'} the limit of ${limit} ms`,
)
await db.close()
rmSync(directory, { recursive: true })
process.exitCode = exact && most <= limit ? 0 : 1

function measured(what) {
  const times = longest.sort((a, b) => a[0] - b[0])
  const at = (share) => times[Math.min(times.length - 1, Math.floor(times.length * share))]?.[0].toFixed(1) ?? '–'
  const last = times.at(-1) ?? [0, 'none']
  report(
    `${what} ${counts.writes} writes, ${counts.refused} refused; ms each: median ${at(0.5)}, 99 % ${at(0.99)}, 99.9 % ${at(0.999)}, longest ${last[0].toFixed(1)} (${last[1]}); event loop delayed by ${(delay.max / 1e6).toFixed(1)} at most`,
  )
  longest = []
  counts = { writes: 0, refused: 0 }
  delay.reset()
  return last[0]
}

function report(line) {
  process.stdout.write(`${line}\n`)
}

function mib(bytes) {
  return `${(bytes / 2 ** 20).toFixed(0)} MiB`
}
