import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { NextkeyError } from '../../src/base/errors.js'
import { type Database, openWith } from '../../src/database.js'
import type { OpenOptions } from '../../src/options.js'
import { type Environment, systemEnvironment } from '../../src/platform/environment.js'
import { Prng } from './seeded.js'
import { type CrashMode, SimulatedDisk, type SimulatedDiskOptions } from './simulated-disk.js'
import { simulatedEnvironment } from './simulated-environment.js'

/**
 * The one way by which tests open a database. Whoever closes it, and however often it is reopened on the way: every close first runs
 * `db.check()`, and rejects with DatabaseProblems if that finds anything. A database that refuses reads, because a test broke its
 * disk in the middle of a change, is not checked: its next opening is.
 *
 *   await using test = await openTest({ cacheSize: 2 ** 21 })
 *   const accounts = await test.db.table('accounts', { key: 'id' })
 *   …
 *   await test.reopen()            // or test.crash('torn'): as after a power loss
 *
 * Cache and log segments are small unless the options say otherwise: zeroing 16 MiB for each opening would be most of a test.
 */
export async function openTest(options: OpenTestOptions = {}): Promise<TestDatabase> {
  const { on = 'simulated', disk, seed = 0, nodeEnv, ...openOptions } = options
  const simulated = on === 'simulated' ? { disk: disk ?? new SimulatedDisk({ seed }), seed, nodeEnv } : undefined
  const test = new TestDatabase(simulated, { ...SMALL, ...openOptions })
  await test.reopen()
  return test
}

const SMALL: OpenOptions = { cacheSize: 4 * 2 ** 20, logSegmentSize: 256 * 1024 }

export interface OpenTestOptions extends OpenOptions {
  /** 'simulated' (default): a disk in memory, time stands still. 'real': a temporary directory, real time; removed at the end. */
  on?: 'simulated' | 'real'
  /** A simulated disk to start on; default: a new one. */
  disk?: SimulatedDisk
  /** Of the simulated disk and its environment. Default 0. */
  seed?: SimulatedDiskOptions['seed'] & number
  /** NODE_ENV of the simulated machine. */
  nodeEnv?: string | undefined
}

/** What db.check() found at a close. */
export class DatabaseProblems extends Error {
  override readonly name = 'DatabaseProblems'
  readonly problems: readonly string[]

  constructor(problems: readonly string[]) {
    super(`db.check() found ${problems.length} problem(s):\n  ${problems.join('\n  ')}`)
    this.problems = problems
  }
}

export class TestDatabase implements AsyncDisposable {
  /** Where the database lies; on a simulated disk always the same. */
  readonly directory: string
  #environment: Environment
  #disk: SimulatedDisk | undefined
  readonly #options: OpenOptions
  readonly #random: Prng
  #db: Database | undefined

  /** @internal Use `openTest`. */
  constructor(simulated: { disk: SimulatedDisk; seed: number; nodeEnv: string | undefined } | undefined, options: OpenOptions) {
    this.#options = options
    this.#random = new Prng(simulated?.seed ?? 0)
    this.#disk = simulated?.disk
    this.#environment = simulated === undefined ? systemEnvironment : simulatedEnvironment(simulated)
    this.directory = simulated === undefined ? mkdtempSync(join(tmpdir(), 'nextkey-test-')) : '/database'
  }

  /** The open database. */
  get db(): Database {
    if (this.#db === undefined) throw new Error('the test database is closed: reopen() it')
    return this.#db
  }

  /** The machine it runs on now. */
  get environment(): Environment {
    return this.#environment
  }

  /** The simulated disk it is on now. */
  get disk(): SimulatedDisk {
    if (this.#disk === undefined) throw new Error('this test database is on a real disk')
    return this.#disk
  }

  /** Closes it if it is open, and opens it again; options given here stand before those given to `openTest`, this time only. */
  async reopen(options: OpenOptions = {}): Promise<Database> {
    await this.close()
    this.#db = await openChecked(this.#environment, this.directory, { ...this.#options, ...options })
    return this.#db
  }

  /**
   * Crashes a simulated machine and opens what is left: as after a power loss that leaves of the unsynced writes what `mode` says
   * (see SimulatedDisk), or, with 'kill', after the death of the process alone.
   */
  async crash(mode: CrashMode | 'kill' = 'none', options: OpenOptions = {}): Promise<Database> {
    const before = this.disk
    const after = mode === 'kill' ? before.killProcess(this.#random) : before.crash(this.#random, mode)
    await abandon(this.db, before)
    this.#disk = after
    this.#environment = simulatedEnvironment({ disk: after, seed: this.#random.next() })
    this.#db = undefined
    return this.reopen(options)
  }

  /** Checks and closes; nothing if it is closed. */
  async close(): Promise<void> {
    const db = this.#db
    this.#db = undefined
    await db?.close()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      await this.close()
    } finally {
      if (this.#disk === undefined) rmSync(this.directory, { recursive: true, force: true })
    }
  }
}

/** As `openWith`, but that every close, by whatever way, checks first. */
export async function openChecked(environment: Environment, directory: string, options: OpenOptions): Promise<Database> {
  const db = await openWith(environment, directory, options)
  const close = db.close.bind(db)
  let closing: Promise<void> | undefined
  db.close = () => {
    closing ??= checkAndClose(db, close)
    return closing
  }
  return db
}

/** Ends a database whose simulated machine has died, so that nothing of it stays behind in this process. */
export async function abandon(db: Database, disk: SimulatedDisk): Promise<void> {
  disk.crashed = true
  await db.close().catch(() => {})
}

async function checkAndClose(db: Database, close: () => Promise<void>): Promise<void> {
  let problems: readonly string[]
  try {
    problems = await problemsOf(db)
  } finally {
    await close()
  }
  if (problems.length > 0) throw new DatabaseProblems(problems)
}

async function problemsOf(db: Database): Promise<readonly string[]> {
  try {
    db.engine.mustRead()
    return (await db.check()).problems
  } catch (error) {
    if (error instanceof NextkeyError) return []
    throw error
  }
}
