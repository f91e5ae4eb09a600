import { describe, NextkeyError } from './base/errors.js'
import { type Database, openWith } from './database.js'
import { asNextkeyError, lockDatabase } from './directory.js'
import { checkLongWork, type LongWorkOptions, mustGoOn } from './long-work.js'
import type { OpenOptions } from './options.js'
import type { Environment } from './platform/environment.js'
import type { File } from './platform/file-system.js'
import { type LostTable, RepairTarget } from './repair-target.js'
import { lossByWitness, readSuperblocks } from './storage/data-file.js'
import { SalvagedPages } from './storage/salvaged-pages.js'
import type { Superblock } from './storage/superblock.js'
import { mustKnow } from './table-options.js'
import { LogKind } from './txn/log-records.js'
import { dataPath } from './txn/recovery.js'
import { Salvage } from './txn/salvage.js'
import { SalvagedSchema } from './txn/salvaged-schema.js'
import { DamagedLog } from './wal/damaged-log.js'

export interface RepairOptions extends LongWorkOptions {
  /** Of the damaged database. Default: `wal` within its directory. */
  walDirectory?: string
  /**
   * Where a piece of the page map is lost, takes pages that the map of the checkpoint before vouches for and of which no younger image
   * is found: most likely, but not for certain, they are the newest. Default false.
   */
  unverified?: boolean
  /** How the new database is opened. */
  newDatabase?: Pick<OpenOptions, 'cacheSize' | 'logSegmentSize' | 'walDirectory'>
}

export interface RepairReport {
  directory: string
  /** Of the checkpoint that was salvaged. */
  checkpoint: number
  tables: { name: string; rows: number }[]
  /** Commits after the checkpoint that were taken from the log. */
  commits: number
  losses: Losses
}

/** What is not in the new database. All empty: nothing was lost. */
export interface Losses {
  /** Pages that cannot be read, and what they were for, as far as that is known. */
  pages: { page: number; problem: string; of: string }[]
  tables: LostTable[]
  /** Of the page map, the superblocks, the catalogue: one sentence each. */
  structure: string[]
  /** Of the log: one sentence each. Commits after `logEnd` are lost, if there were any. */
  log: string[]
  logEnd: number
}

/**
 * Saves what can be read for certain of a damaged database into a new one, and lists what was lost.
 *
 * R1. The damaged database is only read.
 * R2. A row gets into the new one as the newest checkpoint whose superblock can be read has it, changed by what the log says after
 *     that, in order, as far as the log can be read. So the new database is what the old one was at one moment, less what is listed.
 * R3. A row whose page is lost and that the log writes again is saved; it is not lost.
 *
 * Raises ERR_NOT_FOUND, ERR_NOT_A_DATABASE, ERR_DAMAGED (nothing at all can be salvaged), ERR_DIRECTORY_LOCKED, ERR_INVALID_ARGUMENT, and
 * what writing the new database raises.
 */
export async function repair(
  environment: Environment,
  directory: string,
  target: string,
  options: RepairOptions = {},
): Promise<RepairReport> {
  const { walDirectory = `${directory}/wal`, unverified = false, newDatabase = {}, ...long } = options
  mustKnow(options, REPAIR_OPTIONS, 'repair()')
  checkLongWork(long, 'repair()')
  const { fileSystem } = environment
  if (!fileSystem.exists(dataPath(directory)))
    throw new NextkeyError('ERR_NOT_FOUND', `there is no database in ${directory}: it has no file nextkey.db`, { details: { directory } })
  if (fileSystem.exists(dataPath(target)))
    throw new NextkeyError('ERR_INVALID_ARGUMENT', `there is a database in ${target}: the new one needs a directory of its own`, {
      details: { directory: target },
    })
  // Nobody may change it meanwhile; others may read it.
  const lock = await lockDatabase(environment, directory, { readOnly: true, walDirectory: options.walDirectory })
  try {
    const file = fileSystem.open(dataPath(directory), { readOnly: true })
    try {
      const losses: Losses = { pages: [], tables: [], structure: [], log: [], logEnd: 0 }
      const superblocks = superblocksOf(file, dataPath(directory), losses)
      const { salvage, log } = openSalvage(environment, file, walDirectory, superblocks, losses, unverified)
      return await new Repair(environment, salvage, log, losses, long).run(target, { cacheSize: CACHE_SIZE, ...newDatabase })
    } finally {
      file.close()
    }
  } catch (error) {
    throw asNextkeyError(error, directory)
  } finally {
    lock.release()
  }
}

class Repair {
  readonly #environment: Environment
  readonly #salvage: Salvage
  readonly #schema: SalvagedSchema
  readonly #log: DamagedLog
  readonly #losses: Losses
  readonly #options: LongWorkOptions
  #commits = 0

  constructor(environment: Environment, salvage: Salvage, log: DamagedLog, losses: Losses, options: LongWorkOptions) {
    this.#environment = environment
    this.#salvage = salvage
    this.#schema = new SalvagedSchema(salvage)
    this.#log = log
    this.#losses = losses
    this.#options = options
  }

  async run(directory: string, options: OpenOptions): Promise<RepairReport> {
    await this.#survey()
    const { superblock } = this.#salvage.pages
    this.#schema.load()
    this.#log.read((kind, bytes, start, end) => this.#schema.replay(kind, bytes, start, end))
    this.#losses.structure.push(...this.#schema.problems)
    this.#losses.log.push(...this.#log.problems)
    this.#losses.logEnd = this.#log.end
    const db = await openWith(this.#environment, directory, options)
    try {
      const target = await this.#fill(db)
      this.#losses.tables = await target.losses(this.#salvage)
      this.#namePages()
      return {
        directory,
        checkpoint: superblock.checkpoint,
        tables: target.counts(),
        commits: this.#commits,
        losses: this.#losses,
      }
    } catch (error) {
      const message = `the new database in ${directory} is not complete: remove it and try again; the damaged one is as it was. ${(error as Error).message}`
      if (error instanceof NextkeyError)
        throw new NextkeyError(error.code, message, { cause: error, retryable: error.retryable, details: { ...error.details } })
      throw error
    } finally {
      await db.close()
    }
  }

  async #survey(): Promise<void> {
    const total = this.#salvage.pages.nextPage
    let seen = 0
    for (const page of this.#salvage.survey()) if (++seen % PAGES_PER_SLICE === 0) await this.#pause(page, total * 2)
  }

  async #fill(db: Database): Promise<RepairTarget> {
    const target = await RepairTarget.create(db, this.#schema)
    const total = this.#salvage.pages.nextPage
    let rows = 0
    for (const definition of this.#schema.checkpointTables()) {
      for (const record of this.#salvage.records(definition.tree)) {
        target.take(definition.id, record)
        if (++rows % ROWS_PER_SLICE !== 0) continue
        await target.flush()
        await this.#pause(Math.min(total + rows / 64, total * 2), total * 2)
      }
    }
    await target.flush()
    for (const { kind, bytes, start, end } of this.#log.groups()) {
      if (kind !== LogKind.Commit) continue
      this.#commits++
      target.replay(bytes, start, end)
      if (target.pending < ROWS_PER_SLICE) continue
      await target.flush()
      await this.#pause(total * 2, total * 2)
    }
    await target.flush()
    await target.finish()
    return target
  }

  async #pause(done: number, total: number): Promise<void> {
    this.#options.onProgress?.({ done: Math.floor(done), total })
    mustGoOn(this.#options.signal)
    await this.#environment.clock.macrotask()
  }

  #namePages(): void {
    for (const [page, problem] of this.#salvage.lost) {
      const tree = this.#salvage.ownerOf(page)
      this.#losses.pages.push({ page, problem, of: tree === undefined ? 'not known' : this.#schema.nameOf(tree) })
    }
    for (const tree of this.#salvage.trees) {
      if (this.#schema.knows(tree)) continue
      let rows = 0
      for (const _ of this.#salvage.entries(tree)) rows++
      this.#losses.structure.push(
        `${rows} entries of tree ${tree} belong to a table that the catalogue does not have: a dropped one, or one whose definition is lost`,
      )
    }
  }
}

function superblocksOf(file: File, path: string, losses: Losses): Superblock[] {
  const superblocks = readSuperblocks(file)
  if (superblocks.length === 0) {
    throw new NextkeyError('ERR_DAMAGED', `neither superblock of ${path} can be read: nothing can be salvaged, restore a backup`, {
      details: { file: path, what: 'superblocks' },
    })
  }
  if (superblocks.length === 1 && superblocks[0].checkpoint > 1)
    losses.structure.push(
      `the superblock in block ${(superblocks[0].checkpoint + 1) & 1} cannot be read; it is that of the checkpoint before, or after, checkpoint ${superblocks[0].checkpoint}`,
    )
  else {
    const loss = lossByWitness(file, superblocks[0])
    if (loss !== undefined) losses.structure.push(loss.message)
  }
  return superblocks
}

/** The newest checkpoint of which it can be told what was committed. Raises ERR_DAMAGED if there is none. */
function openSalvage(
  environment: Environment,
  file: File,
  walDirectory: string,
  superblocks: readonly Superblock[],
  losses: Losses,
  unverified: boolean,
): { salvage: Salvage; log: DamagedLog } {
  let { superblock, log } = choose(environment, walDirectory, superblocks, losses)
  for (;;) {
    const older = superblocks.find(({ checkpoint }) => checkpoint < superblock.checkpoint)
    const pages = new SalvagedPages(file, superblock, unverified ? older : undefined)
    losses.structure.push(...pages.problems)
    for (const [from, to] of pages.unknown)
      losses.structure.push(
        `where pages ${from} to ${to - 1} of checkpoint ${superblock.checkpoint} lie nobody knows: the page map is lost there`,
      )
    try {
      return { salvage: new Salvage(pages), log }
    } catch (error) {
      if (!(error instanceof NextkeyError && error.code === 'ERR_DAMAGED') || older === undefined) throw error
      losses.structure.push(`${error.message}: the state is that of checkpoint ${older.checkpoint}, and what the log has after it`)
      superblock = older
      log = logAfter(environment, walDirectory, older)
    }
  }
}

/** The newest superblock whose checkpoint is complete, as far as the log can tell (recovery.ts, O2 and O3), and the log after it. */
function choose(
  environment: Environment,
  directory: string,
  superblocks: readonly Superblock[],
  losses: Losses,
): { superblock: Superblock; log: DamagedLog } {
  const [newest, older] = superblocks
  let superblock = newest
  let log = logAfter(environment, directory, newest)
  let complete = 0
  const look = (kind: number, bytes: Uint8Array, start: number): void => {
    if (kind === LogKind.Checkpoint) complete = Math.max(complete, new DataView(bytes.buffer, bytes.byteOffset).getFloat64(start, true))
  }
  log.read(look)
  const { mark } = log
  // Without the frame, in a log that is whole, the checkpoint was not finished: the one before it is in force.
  if (newest.sealed !== true && older !== undefined && complete < newest.checkpoint && log.problems.length === 0) {
    const before = logAfter(environment, directory, older)
    before.read(look)
    if (before.end < newest.logPosition) {
      losses.log.push(
        `the log ends at position ${before.end}, but checkpoint ${newest.checkpoint} was written when it was on disk through ${newest.logPosition}`,
      )
    } else if (mark < newest.checkpoint) {
      superblock = older
      log = before
    }
  }
  if (complete < mark && mark >= superblock.checkpoint && log.problems.length + losses.log.length === 0)
    losses.log.push(
      `the log ends at position ${log.end}, before it says that checkpoint ${mark} is complete, as it once did: commits after that may be lost`,
    )
  complete = Math.max(complete, mark)
  if (complete > superblock.checkpoint)
    losses.structure.push(
      `the superblock of checkpoint ${complete} is lost: the state is that of checkpoint ${superblock.checkpoint}, and what the log still has after it`,
    )
  return { superblock, log }
}

function logAfter({ fileSystem }: Environment, directory: string, { databaseId, logPosition }: Superblock): DamagedLog {
  return new DamagedLog(fileSystem, directory, databaseId, logPosition)
}

/** As told to people. */
export function describeLoss({ after, before }: { after: unknown; before: unknown }): string {
  if (after === undefined) return before === undefined ? 'all keys' : `keys below ${describe(before)}`
  return before === undefined ? `keys above ${describe(after)}` : `keys between ${describe(after)} and ${describe(before)}`
}

export type { LostTable } from './repair-target.js'

const REPAIR_OPTIONS: ReadonlySet<string> = new Set(['walDirectory', 'unverified', 'newDatabase', 'onProgress', 'signal'])
const CACHE_SIZE = 64 * 2 ** 20
const PAGES_PER_SLICE = 256
const ROWS_PER_SLICE = 1000
