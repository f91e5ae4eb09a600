import { NextkeyError } from '../../src/base/errors.js'
import { type Database, openWith } from '../../src/database.js'
import type { OpenOptions } from '../../src/options.js'
import { Page } from '../../src/storage/page-format.js'
import { abandon } from '../support/open-test-database.js'
import type { Prng } from '../support/seeded.js'
import { CRASH_MODES, type CrashMode, type SimulatedDisk } from '../support/simulated-disk.js'
import { simulatedEnvironment } from '../support/simulated-environment.js'
import { drawFault, TOLERATED } from './faults.js'
import { leftoversOf } from './leftovers.js'
import type { Candidate, Legal } from './model.js'
import {
  differenceOf,
  drawKey,
  fingerprintOf,
  fingerprintOfTable,
  type Key,
  keyText,
  makeValue,
  type Sizes,
  type StoredRow,
  storedRow,
  type TableSpec,
  type Value,
  versionOf,
} from './rows.js'

/** What a crash left, and what it may be. */
export interface CrashImage {
  readonly disk: SimulatedDisk
  readonly legal: Legal
  /** Says where in the run, and how: for whoever reads a failure. */
  readonly point: string
  /**
   * What a power loss before the end of recovery may leave; undefined for exactly the state that recovery comes to. It is more where
   * the page cache survived: what it shows may not be on disk yet or, after a failed sync, never be.
   */
  readonly legalAgain: Legal | undefined
}

export interface VerifySettings {
  readonly directory: string
  readonly options: OpenOptions
  readonly sizes: Sizes
  /** How deep crashes of recoveries of crashes go. */
  readonly depth: number
  /** Of so many images one has its recovery crashed at every operation. */
  readonly nestEvery: number
  /** The same where the page cache survived: what recovery reads may not be on disk. */
  readonly nestUnsyncedEvery: number
  /** Of so many images one takes writes, and is opened a third time. */
  readonly writeEvery: number
  /** Of so many images one has its history purged. */
  readonly purgeEvery: number
  /** Of so many images one has something fail while it is opened. */
  readonly failEvery: number
  /** Of so many images one is also opened read-only. */
  readonly readEvery: number
  /** Of so many images one has a block go bad. */
  readonly rotEvery: number
}

export class CrashFailure extends Error {
  override readonly name = 'CrashFailure'
  readonly point: string

  constructor(point: string, what: string, cause?: unknown) {
    super(`${point}\n${what}`, cause === undefined ? undefined : { cause })
    this.point = point
  }
}

export interface State {
  readonly fingerprint: bigint
  readonly tables: readonly string[]
  readonly rows: readonly StoredRow[]
}

export interface Identified {
  readonly candidate: Candidate
  readonly state: State
}

/**
 * Opens crash images and looks at what is there:
 *
 * V1. It opens, and `db.check()` finds nothing: trees whole, indexes and rows agree, no page lost or owned twice.
 * V2. The state is a legal one: what was acknowledged is there, nothing is there in part. Every byte of every value is checked.
 * V3. Auto-increment values that a surviving transaction was given are not given out again.
 * V4. (Sampled.) Recovery, crashed at each of its own I/O operations, leads to the very same state; so does opening it again.
 * V5. (Sampled.) It takes writes again, and keeps them.
 * V6. (Sampled.) A call that fails while it is opened raises a typed error, and the next opening finds everything.
 * V7. (Sampled.) It opens read-only, too, and shows a whole checkpoint.
 * V8. (Sampled.) When a block of the data file goes bad, that is reported, unless nothing needed it.
 * V9. (Sampled.) Purge then removes all that was deleted: no mark is left, and all is well.
 */
export class Verifier {
  /** Images opened. */
  points = 0
  /** Of these, crashed in a recovery. */
  nestedPoints = 0
  readonly #settings: VerifySettings
  readonly #random: Prng
  #nextVersion = FIRST_VERSION

  constructor(settings: VerifySettings, random: Prng) {
    this.#settings = settings
    this.#random = random
  }

  async verify(image: CrashImage, depth: number = this.#settings.depth): Promise<void> {
    this.points++
    const { failEvery, readEvery, rotEvery } = this.#settings
    if (this.#random.int(failEvery) === 0) await this.#failToOpen(image)
    if (this.#random.int(readEvery) === 0) await this.#openReadOnly(image)
    if (this.#random.int(rotEvery) === 0) await this.#rot(image)
    const nested =
      depth > 0 && this.#random.int(image.legalAgain === undefined ? this.#settings.nestEvery : this.#settings.nestUnsyncedEvery) === 0
        ? new Nested(image, this.#random)
        : undefined
    const db = await this.#open(image)
    let state: State
    try {
      state = await this.#look(db, image)
      nested?.stop()
      if (this.#random.int(this.#settings.purgeEvery) === 0) await this.#purge(db, image)
      if (this.#random.int(this.#settings.writeEvery) === 0) await this.#write(db, image, state)
    } finally {
      nested?.stop()
      await abandon(db, image.disk)
    }
    if (nested === undefined) return
    for (const { disk, point } of nested.images) {
      this.nestedPoints++
      await this.verify(
        { disk, point, legal: image.legalAgain ?? exactly(state.fingerprint, image.legal), legalAgain: undefined },
        depth - 1,
      )
    }
  }

  /** The candidate that a database is in. Closes nothing. */
  async identify(db: Database, legal: Legal, point: string): Promise<{ candidate: Candidate; state: State }> {
    const state = await readState(db, legal.tables, this.#settings.sizes, point)
    const candidate = legal.candidates.find(({ fingerprint }) => fingerprint === state.fingerprint)
    if (candidate === undefined) throw new CrashFailure(point, await explain(db, legal))
    return { candidate, state }
  }

  async #open(image: CrashImage): Promise<Database> {
    const { directory, options } = this.#settings
    try {
      return await openWith(simulatedEnvironment({ disk: image.disk, seed: this.#random.next() }), directory, options)
    } catch (error) {
      throw new CrashFailure(image.point, `it does not open: ${String(error)}`, error)
    }
  }

  /** V6. */
  async #failToOpen(image: CrashImage): Promise<void> {
    const disk = image.disk.clone()
    const fault = drawFault(this.#random, 1)
    const point = `${image.point} → opened while ${fault.text}`
    fault.inject(disk)
    const { directory, options } = this.#settings
    let db: Database | undefined
    try {
      db = await openWith(simulatedEnvironment({ disk, seed: this.#random.next() }), directory, options)
    } catch (error) {
      if (!(error instanceof NextkeyError) || !TOLERATED.has(error.code))
        throw new CrashFailure(point, `it fails to open with ${String(error)}`, error)
    }
    // It opened before the failure came.
    if (db !== undefined) return abandon(db, disk)
    disk.clearFaults()
    disk.capacity = Number.POSITIVE_INFINITY
    this.points++
    const again = await this.#open({ ...image, disk, point })
    try {
      await this.#look(again, { ...image, disk, point })
    } finally {
      await abandon(again, disk)
    }
  }

  /** V7. */
  async #openReadOnly(image: CrashImage): Promise<void> {
    const { directory, options, sizes } = this.#settings
    const point = `${image.point} → opened read-only`
    const disk = image.disk.clone()
    let db: Database
    try {
      db = await openWith(simulatedEnvironment({ disk }), directory, { ...options, readOnly: true })
    } catch (error) {
      // Nobody has ever opened it for writing.
      if (error instanceof NextkeyError && error.code === 'ERR_NOT_FOUND' && image.legal.candidates.some(({ commits }) => commits === 0))
        return
      throw new CrashFailure(point, `it does not open: ${String(error)}`, error)
    }
    try {
      await this.#check(db, point)
      await readState(db, image.legal.tables, sizes, point)
    } finally {
      await abandon(db, disk)
    }
  }

  /** V8. */
  async #rot(image: CrashImage): Promise<void> {
    const { directory, options, sizes } = this.#settings
    const disk = image.disk.clone()
    const damage = damageBlock(disk, `${directory}/nextkey.db`, this.#random)
    if (damage === undefined) return
    const point = `${image.point} → ${damage}`
    let db: Database | undefined
    try {
      db = await openWith(simulatedEnvironment({ disk }), directory, options)
      const { problems } = await db.check()
      const { fingerprint } = await readState(db, image.legal.tables, sizes, point)
      if (problems.length === 0 && image.legal.candidates.some((candidate) => candidate.fingerprint === fingerprint)) return
      if (problems.length === 0) throw new CrashFailure(point, 'nobody noticed, and the state is none that may be')
    } catch (error) {
      if (error instanceof CrashFailure) throw error
      if (!(error instanceof NextkeyError && DAMAGE.has(error.code)))
        throw new CrashFailure(point, `it is reported as ${String(error)}`, error)
    } finally {
      if (db !== undefined) await abandon(db, disk)
    }
  }

  async #look(db: Database, { legal, point }: CrashImage): Promise<State> {
    await this.#check(db, point)
    const { candidate, state } = await this.identify(db, legal, point)
    for (const name of state.tables) {
      const { indexes } = (await db.table(name)).definition
      for (const index of legal.indexes.get(name) ?? [])
        if (!indexes.some((found) => found.name === index)) throw new CrashFailure(point, `table '${name}' has lost its index '${index}'`)
    }
    for (const { name, options } of legal.tables.values()) {
      if (options.autoIncrement !== true || !state.tables.includes(name)) continue
      const { counter } = db.storeOf(await db.table(name))
      const given = legal.counterAfter(name, candidate)
      if (counter <= given) throw new CrashFailure(point, `table '${name}' would give out ${counter} again: it had reached ${given}`)
    }
    return state
  }

  /** V9. */
  async #purge(db: Database, image: CrashImage): Promise<void> {
    const point = `${image.point} → purged`
    const left = leftoversOf(db)
    if (left.length > 0) throw new CrashFailure(point, `deleted, but not removed: ${left.join(', ')}`)
    await this.#check(db, point)
  }

  async #check(db: Database, point: string): Promise<void> {
    const { problems } = await db.check()
    if (problems.length > 0) throw new CrashFailure(point, `db.check() finds:\n  ${problems.join('\n  ')}`)
  }

  /** V5: one row more in each table, in one transaction, and a new table; then the power goes. */
  async #write(db: Database, image: CrashImage, before: State): Promise<void> {
    const { sizes } = this.#settings
    let expected = before.fingerprint
    const tx = await db.begin()
    for (const spec of image.legal.tables.values()) {
      if (!before.tables.includes(spec.name)) continue
      const table = await db.table<Value>(spec.name)
      const key = drawKey(spec.shape, this.#random, sizes)
      const old = table.get(key)
      const value = withoutUnique(makeValue(spec.shape, this.#nextVersion++, key, sizes))
      await (spec.options.key === undefined ? tx.put(table, key, value) : tx.put(table, value as never))
      expected ^= (old === undefined ? 0n : fingerprintOf(spec.name, key, old)) ^ fingerprintOf(spec.name, key, value)
    }
    await tx.commit()
    await db.flush()
    const point = `${image.point} → writes → power loss`
    const legal = exactly(expected, image.legal)
    const disk = image.disk.crash(this.#random, this.#random.pick(CRASH_MODES))
    this.points++
    const again = await this.#open({ disk, legal, legalAgain: undefined, point })
    try {
      await this.#check(again, point)
      const { fingerprint } = await readState(again, legal.tables, sizes, point, FIRST_VERSION)
      if (fingerprint !== expected) throw new CrashFailure(point, 'what was written after recovery is not there, or not alone')
    } finally {
      await abandon(again, disk)
    }
  }
}

/** Flips a bit, or puts a block where another belongs. Says what it did; undefined if there is no file yet. */
function damageBlock(disk: SimulatedDisk, path: string, random: Prng): string | undefined {
  if (!disk.exists(path)) return undefined
  const file = disk.open(path)
  const blocks = Math.floor(file.size() / Page.Size)
  // A file has few superblocks, and little in them.
  const block = random.int(4) === 0 ? random.int(2) : random.int(blocks)
  const bytes = new Uint8Array(Page.Size)
  if (random.bool()) {
    const from = random.int(blocks)
    file.readSync(bytes, 0, Page.Size, from * Page.Size)
    file.writeSync(bytes, 0, Page.Size, block * Page.Size)
    return `block ${from} written over block ${block}`
  }
  const at = random.int(block < 2 ? 128 : Page.Size)
  const bit = random.int(8)
  file.readSync(bytes, 0, Page.Size, block * Page.Size)
  bytes[at] ^= 1 << bit
  file.writeSync(bytes, 0, Page.Size, block * Page.Size)
  return `bit ${bit} of byte ${at} of block ${block} flipped`
}

/** The images of a recovery under way. */
class Nested {
  readonly images: { disk: SimulatedDisk; point: string }[] = []
  readonly #disk: SimulatedDisk

  constructor(image: CrashImage, random: Prng) {
    this.#disk = image.disk
    image.disk.onOperation = ({ number, kind, path }) => {
      const mode: CrashMode = random.pick(CRASH_MODES)
      this.images.push({
        disk: image.disk.crash(random, mode),
        point: `${image.point} → recovery, before #${number} ${kind} ${path} (${mode})`,
      })
    }
  }

  stop(): void {
    this.#disk.onOperation = null
  }
}

/** Everything in the database, each byte of it checked against what its version number says. */
export async function readState(
  db: Database,
  tables: ReadonlyMap<string, TableSpec>,
  sizes: Sizes,
  point: string,
  unchecked: number = Number.POSITIVE_INFINITY,
): Promise<State> {
  let fingerprint = 0n
  const rows: StoredRow[] = []
  const names = db.tables()
  for (const name of names) {
    const spec = tables.get(name)
    if (spec === undefined) throw new CrashFailure(point, `there is a table '${name}', which nobody has made`)
    fingerprint ^= fingerprintOfTable(name)
    const table = await db.table<Value>(name, spec.options)
    for (const [key, value] of table.entries<Key>()) {
      const row = storedRow(spec, key, value)
      fingerprint ^= row.fingerprint
      rows.push(row)
      // Rows of `#write` lack their unique fields.
      const difference = row.version < unchecked ? differenceOf(spec.shape, key, value, sizes) : undefined
      if (difference !== undefined)
        throw new CrashFailure(point, `the row with key ${keyText(key)} of table '${name}' is damaged: ${difference}`)
    }
  }
  return { fingerprint, tables: names, rows }
}

export function exactly(fingerprint: bigint, like: Legal): Legal {
  const candidate = like.candidates.find((known) => known.fingerprint === fingerprint) ?? { fingerprint, commits: 0, big: [] }
  return { ...like, candidates: [candidate] }
}

/** A row that is in nobody's way. */
function withoutUnique(value: Value): Value {
  if (value instanceof Uint8Array) return value
  const { owner: _owner, slot: _slot, ...rest } = value
  return rest
}

/** What differs from the nearest legal state. */
async function explain(db: Database, legal: Legal): Promise<string> {
  const found = new Map<string, string>()
  for (const name of db.tables()) {
    const table = await db.table<Value>(name)
    for (const [key, value] of table.entries<Key>())
      found.set(`${name} ${keyText(key)}`, labelOf(versionOf(value), fingerprintOf(name, key, value)))
  }
  let best: string[] | undefined
  let nearest: Candidate | undefined
  for (const candidate of legal.candidates) {
    const differences = differencesOf(found, legal, candidate)
    if (best !== undefined && differences.length >= best.length) continue
    best = differences
    nearest = candidate
  }
  const counts = legal.candidates.map(({ commits, big }) => `${commits}${big.length > 0 ? `+${big.length}` : ''}`)
  if (process.env['DEBUG_CRASH'])
    for (const c of nearest?.big ?? [])
      console.log(
        'BIG',
        c.label,
        c.from,
        c.to,
        c.acknowledged,
        c.effects.map((e) => `${e.table} ${e.key} ${e.after?.version}`),
      )
  const lines = best?.slice(0, MOST_LINES).map((line) => `\n  ${line}`) ?? []
  return `the state is none that may be. Legal: after ${counts.join(' or ')} commits (+ big ones). Tables: ${db.tables().join()}. From the one after ${nearest?.commits} it differs by${lines.length === 0 ? ' its tables' : lines.join('')}`
}

function differencesOf(found: ReadonlyMap<string, string>, legal: Legal, candidate: Candidate): string[] {
  const differences: string[] = []
  const wanted = legal.rowsOf(candidate)
  for (const [row, { version, fingerprint }] of wanted) {
    const label = labelOf(version, fingerprint)
    const there = found.get(row)
    if (there !== label) differences.push(`${row}: ${label} should be there, and ${there === undefined ? 'nothing' : there} is`)
  }
  for (const [row, label] of found) if (!wanted.has(row)) differences.push(`${row}: nothing should be there, and ${label} is`)
  return differences
}

function labelOf(version: number, fingerprint: bigint): string {
  return version >= 0 ? `version ${version}` : `a short value (${fingerprint.toString(16)})`
}

/** The second where the log that the older superblock needs was released; the third where the only superblock of a new database is gone. */
const DAMAGE: ReadonlySet<string> = new Set(['ERR_DAMAGED', 'ERR_LOG_DAMAGED', 'ERR_NOT_A_DATABASE'])
/** Versions that `#write` writes lie far above those of a workload. */
const FIRST_VERSION = 2 ** 40
const MOST_LINES = 12
