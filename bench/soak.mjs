import { mkdtempSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { parseArgs } from 'node:util'
import { open } from 'nextkey'

const HELP = `npm run soak -- [options]

Updates random rows of a table many times larger than the cache, and shows that memory, file and event loop keep their bounds.

  --rows N     rows to load (5000000)
  --bytes N    bytes of each row's filling (180, which makes rows of about 200)
  --cache N    cacheSize in MiB (64)
  --for S      seconds of random updates (60)
  --seed N     of the random numbers (1)
  --help       this text
`
const { values } = parseArgs({
  options: {
    rows: { type: 'string', default: '5000000' },
    bytes: { type: 'string', default: '180' },
    cache: { type: 'string', default: '64' },
    for: { type: 'string', default: '60' },
    seed: { type: 'string', default: '1' },
    help: { type: 'boolean', default: false },
  },
})
if (values.help) {
  process.stdout.write(HELP)
  process.exit(0)
}
const rows = Number(values.rows)
const filling = 'x'.repeat(Number(values.bytes))
const directory = mkdtempSync(join(tmpdir(), 'nextkey-soak-'))
const db = await open(directory, { cacheSize: Number(values.cache) * 2 ** 20, durability: 'write' })
const table = await db.table('rows', { key: 'id' })
const delay = monitorEventLoopDelay({ resolution: 1 })
delay.enable()

let seed = Number(values.seed) >>> 0
function random(below) {
  seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0
  return Math.floor((seed / 2 ** 32) * below)
}

let last = performance.now()
let mostMemory = 0
let mostFile = 0
let mostDelay = 0
function report(phase, done) {
  const { rss } = process.memoryUsage()
  const size = statSync(join(directory, 'nextkey.db')).size
  const status = db.status()
  mostMemory = Math.max(mostMemory, rss)
  mostFile = Math.max(mostFile, size)
  mostDelay = Math.max(mostDelay, delay.max)
  process.stdout.write(
    `${phase} ${String(done).padStart(9)}  memory ${mib(rss)}  file ${mib(size)}  log ${mib(status.log.totalSize)}  history ${status.purge.historyLength}` +
      `  blocks total ${status.file.size / 16384} free ${status.file.freeBlocks} waiting ${status.file.waitingBlocks} ckpt ${status.checkpoint.number}${status.checkpoint.running ? '+' : ''}  loop delay p99 ${(delay.percentile(99) / 1e6).toFixed(1)} max ${(delay.max / 1e6).toFixed(1)} ms\n`,
  )
  delay.reset()
  last = performance.now()
}
const mib = (bytes) => `${(bytes / 2 ** 20).toFixed(0)} MiB`.padStart(8)

for (let id = 0; id < rows; ) {
  await db.transaction(async (tx) => {
    for (const end = Math.min(rows, id + 1000); id < end; id++) await tx.put(table, { id, filling, n: 0 })
  })
  if (performance.now() - last > 5000) report('load  ', id)
}
await db.checkpoint()
report('loaded', rows)
const live = statSync(join(directory, 'nextkey.db')).size
const until = performance.now() + Number(values.for) * 1000
let updates = 0
mostMemory = 0
mostDelay = 0
while (performance.now() < until) {
  for (let n = 0; n < 64; n++, updates++) await table.update(random(rows), (row) => ({ ...row, n: row.n + 1 }))
  if (performance.now() - last > 1000) report('update', updates)
}
report('end   ', updates)
process.stdout.write(
  `\n${updates} random updates of ${rows} rows: memory at most ${mib(mostMemory)}, file at most ${mib(mostFile)} = ${(mostFile / live).toFixed(2)} × the loaded ${mib(live)}, ` +
    `event loop delay at most ${(mostDelay / 1e6).toFixed(1)} ms\n`,
)
await db.close()
rmSync(directory, { recursive: true })
