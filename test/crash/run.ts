import { NextkeyError } from '../../src/base/errors.js'
import { type Database, openWith } from '../../src/database.js'
import type { OpenOptions } from '../../src/options.js'
import { abandon } from '../support/open-test-database.js'
import { Prng } from '../support/seeded.js'
import { CRASH_MODES, type CrashMode, type Operation, SimulatedDisk } from '../support/simulated-disk.js'
import { drawFault, type PlannedFault, TOLERATED } from './faults.js'
import { Machine } from './machine.js'
import { type Death, type Legal, Model } from './model.js'
import { LARGE, MEDIUM, OPTIONS, type Shape, type Sizes, SMALL, TINY, WIDE } from './rows.js'
import { CrashFailure, type CrashImage, Verifier } from './verify.js'
import { Workload, type WorkloadSettings } from './workload.js'

/**
 * One seed of the crash suite: a database's life over some generations, each a workload that ends with a crash or a close. At every
 * I/O operation on the way (opening and closing included) the machine may die: what it leaves is opened and looked at.
 */
export interface RunSettings {
  readonly seed: number
  /** Crash images taken per operation, on average. */
  readonly density: number
  /** How deep crashes of recoveries of crashes go. */
  readonly depth: number
  /** Whether clients also change the schema. Default false. */
  readonly schema?: boolean
  /** Stop when so many images were looked at; the run is then a prefix of the whole one. */
  readonly points?: number
  /** Asked after each: false ends the run there. */
  readonly inTime?: () => boolean
}

export interface RunReport {
  readonly seed: number
  readonly points: number
  readonly nestedPoints: number
  readonly operations: number
  readonly commits: number
  readonly bigCommits: number
  readonly checkpoints: number
  readonly evictions: number
  readonly segments: number
  readonly faults: number
  readonly crashed: number
}

/** What the seed decides for all generations. */
interface Character {
  readonly options: OpenOptions
  readonly workload: WorkloadSettings
  readonly generations: number
  readonly steps: number
  /** Of a hundred steps, in how many the machine gets on with its I/O. */
  readonly eagerness: number
  /** Images per operation, times those of the settings: fewer where each costs more. */
  readonly density: number
  readonly faulty: boolean
}

const DIRECTORY = '/db'
/** Where some runs keep their log. */
const LOG_DISK = '/log-disk'
/** Of a hundred transactions, how many do much at once; 5 where nothing else is said. */
const BURSTS: ReadonlyMap<Sizes, number> = new Map([
  [WIDE, 25],
  [LARGE, 40],
])
/** Images per operation; 0.3 where nothing else is said, for they cost more. */
const DENSITIES: ReadonlyMap<Sizes, number> = new Map([
  [TINY, 1],
  [SMALL, 1],
  [MEDIUM, 0.5],
])
type Mode = CrashMode | 'kill'
const MODES: readonly Mode[] = [...CRASH_MODES, 'random', 'torn', 'kill']

export async function runSeed(settings: RunSettings): Promise<RunReport> {
  return new Run(settings).run()
}

class Run {
  readonly #settings: RunSettings
  readonly #random: Prng
  readonly #imageRandom: Prng
  readonly #character: Character
  readonly #model: Model
  readonly #verifier: Verifier
  #images: CrashImage[] = []
  #generation = 0
  #machine!: Machine
  #db: Database | undefined
  readonly #trace: string[] = []
  #fault: PlannedFault | undefined
  /** What a crash may leave while there is no workload: between generations. */
  #fixed: Record<Death, Legal> | undefined
  #version = 1
  #stopped = false
  #operations = 0
  #checkpoints = 0
  #evictions = 0
  #segments = 0
  #faults = 0
  #crashes = 0

  constructor(settings: RunSettings) {
    this.#settings = settings
    this.#random = new Prng(settings.seed)
    this.#imageRandom = this.#random.fork()
    this.#character = drawCharacter(this.#random, settings.schema === true)
    const { options, workload } = this.#character
    this.#model = new Model(options.durability ?? 'sync')
    this.#verifier = new Verifier(
      { directory: DIRECTORY, options, sizes: workload.sizes, depth: settings.depth, ...SAMPLES },
      this.#random.fork(),
    )
  }

  async run(): Promise<RunReport> {
    try {
      let disk = new SimulatedDisk({ seed: this.#random.next(), completion: 'manual', trace: true })
      disk.makeDirectory(LOG_DISK)
      disk.syncDirectorySync('/')
      for (this.#generation = 1; this.#generation <= this.#character.generations && !this.#stopped; this.#generation++) {
        disk = await this.#live(disk)
      }
    } catch (error) {
      if (!(error instanceof Enough)) throw this.#failure(error)
    } finally {
      await this.#abandon()
    }
    return {
      seed: this.#settings.seed,
      points: this.#verifier.points,
      nestedPoints: this.#verifier.nestedPoints,
      operations: this.#operations,
      commits: this.#model.count,
      bigCommits: this.#model.bigCount,
      checkpoints: this.#checkpoints,
      evictions: this.#evictions,
      segments: this.#segments,
      faults: this.#faults,
      crashed: this.#crashes,
    }
  }

  /** One generation on a disk: opening, work, an end. Returns the disk that the next one finds. */
  async #live(disk: SimulatedDisk): Promise<SimulatedDisk> {
    this.#machine = new Machine(disk, this.#random.fork())
    this.#trace.push(`── generation ${this.#generation}`)
    disk.onOperation = (operation) => this.#capture(operation)
    const db = await this.#settle(openWith(this.#machine, DIRECTORY, this.#character.options))
    this.#db = db
    if (this.#fixed !== undefined) await this.#takeUp(db, this.#fixed.process)
    const workload = new Workload(db, this.#model, this.#random.fork(), this.#character.workload, this.#version, this.#trace)
    await workload.openTables()
    this.#fault = this.#character.faulty ? drawFault(this.#random, this.#character.steps) : undefined
    for (let step = 0; step < this.#character.steps; step++) {
      if (this.#fault?.step === step) this.#injectFault(workload, disk, this.#fault)
      await this.#step(workload)
      if (db.engine.failure !== undefined && this.#random.int(10) === 0) break
    }
    const next = await (this.#random.int(100) < 35 ? this.#close(db, workload, disk) : this.#crash(disk))
    this.#version = workload.nextVersion
    this.#operations += disk.operations
    this.#checkpoints += db.engine.pager.completed
    this.#evictions += db.engine.pager.counters.evictedDirty
    return next
  }

  /** After a crash: finds out which of the legal states it is in. */
  async #takeUp(db: Database, legal: Legal): Promise<void> {
    const { candidate, state } = await this.#verifier.identify(db, legal, this.#point('after reopening'))
    this.#model.restart(legal, candidate, state.tables, state.rows)
    this.#fixed = undefined
  }

  async #step(workload: Workload): Promise<void> {
    const { eagerness } = this.#character
    const dice = this.#random.int(100)
    if (dice === 0) this.#machine.clock.advance(this.#random.int(1500))
    else if (dice <= eagerness || workload.stuck) {
      if (!this.#machine.step() && workload.stuck) this.#machine.clock.advance(250)
    } else workload.act()
    await this.#machine.quiet()
    this.#machine.fileSystem.check()
    workload.check()
    await this.#look()
  }

  /** Waits, while images taken on the way are looked at. */
  async #settle<T>(work: Promise<T>): Promise<T> {
    return this.#machine.settle(work, () => {
      this.#machine.fileSystem.check()
      return this.#look()
    })
  }

  async #crash(disk: SimulatedDisk): Promise<SimulatedDisk> {
    const mode = this.#random.pick(MODES)
    const left = this.#leave(disk, mode, this.#random, true)
    this.#fixed = this.#legalAfter(mode)
    this.#crashes++
    await this.#abandon()
    return left
  }

  async #close(db: Database, workload: Workload, disk: SimulatedDisk): Promise<SimulatedDisk> {
    workload.closing = true
    this.#trace.push('── close()')
    try {
      await this.#settle(db.close())
    } catch (error) {
      // Close says so if it is the first to meet the failure.
      if (!(error instanceof NextkeyError && workload.tolerated.has(error.code))) throw error
    }
    await this.#settle(workload.finished())
    workload.check()
    const failed = this.#fault?.injected === true && db.engine.failure !== undefined
    if (!failed) this.#model.flushed(this.#model.count)
    disk.onOperation = null
    this.#db = undefined
    const mode = this.#random.pick(MODES)
    this.#fixed = this.#legalAfter(mode)
    return this.#leave(disk, mode, this.#random, true)
  }

  /** What is there once this crash is over, as long as nobody has written anything new. */
  #legalAfter(mode: Mode): Record<Death, Legal> {
    const power = this.#model.legal('power')
    return { power, process: mode === 'kill' ? this.#model.legal('process') : power }
  }

  /** Leaves nothing behind. */
  async #abandon(): Promise<void> {
    if (this.#db === undefined) return
    const { disk } = this.#machine
    disk.onOperation = null
    await this.#machine.settle(abandon(this.#db, disk))
    this.#db = undefined
  }

  #injectFault(workload: Workload, disk: SimulatedDisk, fault: PlannedFault): void {
    workload.trace.push(`── from here on: ${fault.text}`)
    workload.tolerated = TOLERATED
    fault.inject(disk)
    this.#faults++
  }

  // ── images ────────────────────────────────────────────────────────────────────────────────────────────────────────

  #capture(operation: Operation): void {
    const density = this.#settings.density * this.#character.density
    const { disk } = this.#machine
    if (operation.kind === 'create' && operation.path.includes('/wal/')) this.#segments++
    let count = Math.floor(density)
    if (this.#imageRandom.float() < density - count) count++
    for (; count > 0; count--) {
      const mode = this.#imageRandom.pick(MODES)
      const death = deathOf(mode)
      const legal = this.#fixed?.[death] ?? this.#model.legal(death)
      const cacheSurvived = mode === 'kill' || this.#fault?.injected === true
      const legalAgain = cacheSurvived ? (this.#fixed?.power ?? this.#model.legal('power')) : undefined
      const point = this.#point(`before operation #${operation.number}, ${operation.kind} ${operation.path} (${mode})`)
      this.#images.push({ disk: this.#leave(disk, mode, this.#imageRandom, false), legal, legalAgain, point })
    }
  }

  #leave(disk: SimulatedDisk, mode: Mode, random: Prng, goesOn: boolean): SimulatedDisk {
    const options = { completion: goesOn ? 'manual' : 'microtask', trace: goesOn, capacity: Number.POSITIVE_INFINITY } as const
    return mode === 'kill' ? disk.killProcess(random, options) : disk.crash(random, mode, options)
  }

  async #look(): Promise<void> {
    while (this.#images.length > 0) {
      const image = this.#images.shift() as CrashImage
      await this.#verifier.verify(image)
      const { points = Number.POSITIVE_INFINITY, inTime } = this.#settings
      if (this.#verifier.points >= points || inTime?.() === false) throw new Enough()
    }
  }

  #point(where: string): string {
    return `seed ${this.#settings.seed}, generation ${this.#generation}, ${where}`
  }

  /** The error with all that is known about how it came about. */
  #failure(error: unknown): Error {
    const point = error instanceof CrashFailure ? '' : `${this.#point('in the workload itself')}\n`
    const character = JSON.stringify(this.#character)
    const calls = this.#machine.disk.trace ?? []
    const story = [
      `${point}${causesOf(error)}`,
      `The database: ${character}`,
      `The last statements:\n  ${this.#trace.slice(-TRACE_LINES).join('\n  ')}`,
      `The last operations:\n  ${calls.slice(-TRACE_LINES).join('\n  ')}`,
      `To repeat it: npm run crash -- --seed ${this.#settings.seed}${this.#settings.schema === true ? ' --schema' : ''}`,
    ]
    return new RunFailure(story.join('\n'), this.#verifier.points, error)
  }
}

function deathOf(mode: Mode): Death {
  return mode === 'kill' ? 'process' : 'power'
}

function drawCharacter(random: Prng, schema: boolean): Character {
  const sizes = random.pick([TINY, TINY, TINY, TINY, TINY, TINY, SMALL, SMALL, MEDIUM, WIDE, WIDE, LARGE, LARGE])
  const shapes = random.shuffle(Object.keys(OPTIONS) as Shape[])
  return {
    options: {
      durability: random.pick(['sync', 'sync', 'sync', 'write', 'lazy'] as const),
      isolation: random.pick(['repeatable-read', 'read-committed'] as const),
      cacheSize: 2 * 2 ** 20,
      lockWaitTimeout: random.pick([500, 5_000]),
      logSegmentSize: random.pick([65536, 65536, 131072]),
      checkpointBytes: random.pick([65536, 65536, 262144]),
      checkpointInterval: random.pick([500, 60_000]),
      ...(random.int(4) === 0 ? { walDirectory: `${LOG_DISK}/wal` } : {}),
    },
    workload: {
      clients: 1 + random.int(6),
      sizes,
      statements: 2 + random.int(sizes === LARGE ? 20 : 10),
      bursts: BURSTS.get(sizes) ?? 5,
      schema,
      tables: sizes === TINY ? shapes.slice(0, 1 + random.int(2)) : [...shapes, ...shapes.slice(0, 3)],
    },
    generations: 2 + random.int(4),
    steps: 60 + random.int(sizes === MEDIUM || sizes === WIDE ? 500 : 300),
    eagerness: random.pick([15, 40, 70]),
    density: DENSITIES.get(sizes) ?? 0.3,
    faulty: random.int(100) < 25,
  }
}

/** An error and what caused it, the innermost with its stack. */
function causesOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  if (error.cause === undefined) return error.stack ?? error.message
  return `${error.message}\n${causesOf(error.cause)}`
}

/** What went wrong in a run, and all that is known about how it came about. */
export class RunFailure extends Error {
  override readonly name = 'RunFailure'
  /** Images looked at before. */
  readonly points: number

  constructor(message: string, points: number, cause: unknown) {
    super(message, { cause })
    this.points = points
  }
}

/** The run has looked at as many images as it was to. */
class Enough extends Error {}

/** Of so many images, one is looked at in this way as well. */
const SAMPLES = { nestEvery: 100, nestUnsyncedEvery: 30, writeEvery: 8, purgeEvery: 5, failEvery: 20, readEvery: 10, rotEvery: 10 }
const TRACE_LINES = 60
