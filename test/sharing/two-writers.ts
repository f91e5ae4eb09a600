import type { NextkeyError } from '../../src/base/errors.js'
import { type Database, openWith } from '../../src/database.js'
import type { OpenOptions } from '../../src/options.js'
import { GRACE } from '../../src/storage/owner-claim.js'
import { abandon, openTest } from '../support/open-test-database.js'
import { Prng } from '../support/seeded.js'
import { SimulatedDisk } from '../support/simulated-disk.js'
import { type SimulatedEnvironment, simulatedEnvironment } from '../support/simulated-environment.js'

/**
 * Several writers on one directory, each of which opens it while the last one is in the midst of its work, or asleep, to wake up when another has
 * long been at work: what each was told is on disk is there in the end, whoever took over from whom, and nothing is damaged. Now and then two
 * come at the same time.
 */
export interface RoundReport {
  acknowledged: number
  checkpoints: number
  /** Errors by code, of writers that were taken over from. */
  refused: Record<string, number>
  /** Openings that did not come to their end, for another one came. */
  overtaken: number
}

export async function playRound(seed: number): Promise<RoundReport> {
  const random = new Prng(seed)
  const disk = new SimulatedDisk({ seed })
  const report: RoundReport = { acknowledged: 0, checkpoints: 0, refused: {}, overtaken: 0 }
  const puts: Puts = { attempted: new Map(), acknowledged: new Map() }
  const writers: Writer[] = []
  const changes = 1 + random.int(3)
  for (let change = 0; change <= changes; change++) {
    const older = writers.at(-1)
    if (older !== undefined && random.bool()) older.asleep = true
    const db = await openOne(disk, change > 0, change > 0 && random.bool(0.2) ? 2 : 1, random, report)
    const writer = new Writer(db, change, random.fork(), puts, report)
    writers.push(writer)
    writer.run()
    await writer.turns(20 + random.int(200))
    if (older === undefined) continue
    older.asleep = false
    await writer.turns(random.int(200))
  }
  const last = writers.pop() as Writer
  for (const writer of writers) await writer.stop(true)
  await last.stop(false)
  for (const { db } of writers) await db.close().catch(refusalOf)
  const left = random.bool() ? disk.killProcess(random) : undefined
  if (left === undefined) await last.db.close()
  else await abandon(last.db, disk)
  report.acknowledged = puts.acknowledged.size
  await mustHave(left ?? disk, puts)
  return report
}

/** Of `count` that open it at the same time, the one that is let in. */
async function openOne(disk: SimulatedDisk, unsafeShared: boolean, count: number, random: Prng, report: RoundReport): Promise<Database> {
  const openings = Array.from({ length: count }, () => {
    const environment = simulatedEnvironment({ disk, seed: random.next() })
    return whileTimePasses(openWith(environment, DIRECTORY, { ...OPTIONS, unsafeShared }), environment, disk)
  })
  const results = await Promise.allSettled(openings)
  const open = results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []))
  for (const result of results) if (result.status === 'rejected') refusalOf(result.reason)
  if (open.length !== 1) throw new Error(`${open.length} of ${count} that came at the same time were let in`)
  report.overtaken += count - 1
  return open[0] as Database
}

/** Time stands still while a call to the disk has not come to its end: that takes less than the grace. */
async function whileTimePasses<T>(opening: Promise<T>, { clock }: SimulatedEnvironment, disk: SimulatedDisk): Promise<T> {
  let settled = false
  const done = opening.finally(() => {
    settled = true
  })
  done.catch(() => {})
  while (!settled) {
    await clock.macrotask()
    clock.advance(disk.pending === 0 ? GRACE / 4 : 0)
  }
  return done
}

async function mustHave(disk: SimulatedDisk, { acknowledged, attempted }: Puts): Promise<void> {
  await using test = await openTest({ disk, ...OPTIONS })
  const table = await test.db.table<Row>(TABLE)
  for (const [id, n] of acknowledged) {
    const row = table.get(id)
    // What was under way when the next writer came may be there, too: of each row at most one.
    if (row === undefined || row.n < n || row.n > (attempted.get(id) as number))
      throw new Error(`${id} was acknowledged with ${n}, tried with ${attempted.get(id)}, and has ${row?.n}`)
  }
}

/** Its code, if it is one of those that a writer gets when another has come. */
function refusalOf(error: unknown): string {
  const { code } = error as NextkeyError
  // What becomes of a commit under way when the other one came is not known; everything else is refused for it.
  if (code !== 'ERR_ANOTHER_WRITER' && code !== 'ERR_COMMIT_UNKNOWN') throw error
  return code
}

interface Row {
  id: string
  n: number
  pad: string
}

/** By row, which always the same client writes, with numbers that grow. */
interface Puts {
  readonly attempted: Map<string, number>
  readonly acknowledged: Map<string, number>
}

class Writer {
  readonly db: Database
  asleep = false
  readonly #number: number
  readonly #random: Prng
  readonly #puts: Puts
  readonly #report: RoundReport
  readonly #clients: Promise<void>[] = []
  #stopped = false
  #failed = false

  constructor(db: Database, number: number, random: Prng, puts: Puts, report: RoundReport) {
    this.db = db
    this.#number = number
    this.#random = random
    this.#puts = puts
    this.#report = report
  }

  run(): void {
    for (let client = 0; client < CLIENTS; client++) {
      const work = this.#work(client, this.#random.fork())
      work.catch(() => {})
      this.#clients.push(work)
    }
  }

  async turns(count: number): Promise<void> {
    for (let turn = 0; turn < count; turn++) await this.db.engine.environment.clock.macrotask()
  }

  /** `beaten`: another writer has come since; it must have noticed, at the latest when it is to write something. */
  async stop(beaten: boolean): Promise<void> {
    this.#stopped = true
    await Promise.all(this.#clients)
    if (beaten && !this.#failed) await this.#try(() => this.#put('late', 0))
    if (beaten !== this.#failed) throw new Error(`writer ${this.#number} ${beaten ? 'went on writing' : 'was stopped'}`)
  }

  async #work(client: number, random: Prng): Promise<void> {
    for (let n = 0; !this.#stopped && !this.#failed; n++) {
      if (!this.asleep) await this.#try(() => (random.bool(0.1) ? this.#checkpoint() : this.#put(`${client}.${random.int(100)}`, n)))
      await this.turns(1)
    }
  }

  async #checkpoint(): Promise<void> {
    await this.db.checkpoint()
    this.#report.checkpoints++
  }

  async #put(row: string, n: number): Promise<void> {
    const table = await this.db.table<Row>(TABLE, { key: 'id', indexes: { n: { on: 'n' } } })
    const id = `${this.#number}.${row}`
    this.#puts.attempted.set(id, n)
    await table.put({ id, n, pad: 'p'.repeat(this.#random.int(2_000)) })
    this.#puts.acknowledged.set(id, n)
  }

  async #try(work: () => Promise<void>): Promise<void> {
    try {
      await work()
    } catch (error) {
      const code = refusalOf(error)
      this.#report.refused[code] = (this.#report.refused[code] ?? 0) + 1
      this.#failed = true
    }
  }
}

const OPTIONS: OpenOptions = { cacheSize: 2 ** 21, checkpointBytes: 65_536, logSegmentSize: 65_536 }
const DIRECTORY = '/database'
const TABLE = 'rows'
const CLIENTS = 4
