import { assert } from '../base/assert.js'
import { NextkeyError, SnapshotGoneError } from '../base/errors.js'
import { NO_PAGE, type TrxId } from '../base/ids.js'
import type { Environment } from '../platform/environment.js'
import type { File } from '../platform/file-system.js'
import { lossByMark, readSuperblocks } from '../storage/data-file.js'
import { LOOKS, outrun, SharedPages } from '../storage/shared-pages.js'
import type { Superblock } from '../storage/superblock.js'
import { readMark } from '../wal/log-mark.js'
import { Catalog } from './catalog.js'
import { Engine } from './engine.js'
import { MetaTree } from './meta-tree.js'
import { ReadView } from './read-view.js'
import type { RecoveryOptions } from './recovery.js'
import { type RootRecord, readRootRecord } from './root-record.js'
import { RowReader } from './row-reader.js'
import { TrxSystem } from './trx-system.js'

/**
 * A reader beside the owner of a database (D15): one checkpoint after another, each whole.
 *
 * Q1. A checkpoint is shown through its own transaction table. What was active in it is invisible, by the undo that the checkpoint holds for
 *     it; a big transaction that was to commit by this very checkpoint counts as active, for nobody was told yet that it is committed.
 *     Everything visible was in the log, on disk, before the superblock was written: no crash takes it back, and no log need be read.
 * Q2. Moving on is one synchronous step that first reads all it needs (root record, catalogue), then takes over; or it changes nothing.
 * Q3. Views end when the reader moves on: older versions they would need may have been purged. Their next read raises ERR_SNAPSHOT_GONE.
 * Q4. Whoever finds the checkpoint gone (R3) leaves word. Before the next view is made, and before a read without one is tried again, the reader
 *     moves on: so what raised ERR_SNAPSHOT_GONE can succeed when it is begun anew.
 * Q5. The number beside the log is that of a checkpoint whose superblock was written before it. So if it is read first, and the newest superblock
 *     that can be read is older, that one's successor is damaged (recovery's O3).
 */
export class SharedReader {
  readonly #engine: Engine
  readonly #pages: SharedPages
  #root: RootRecord
  #hasHistory = false

  constructor(engine: Engine, pages: SharedPages, root: RootRecord) {
    this.#engine = engine
    this.#pages = pages
    this.#root = root
    this.#restoreTransactions(root)
    engine.system.beforeView = () => this.keepUp()
  }

  /** Of the checkpoint that is shown; by now another may lie in its place. */
  get superblock(): Superblock {
    return this.#pages.superblock
  }

  /** Number of the checkpoint that is shown. */
  get checkpoint(): number {
    return this.#pages.superblock.checkpoint
  }

  /** Moves on if the checkpoint shown is known to be gone. Raises as `refresh`. */
  keepUp(): void {
    if (this.#pages.gone) this.refresh()
  }

  /** Moves on to the newest checkpoint; false if it is shown already. Raises ERR_SNAPSHOT_GONE (the owner is faster), ERR_DAMAGED, ERR_IO. */
  refresh(): boolean {
    const pages = this.#pages
    if (!pages.isBehind) return (pages.gone = false)
    for (let attempt = 1; attempt <= ATTEMPTS; attempt++) {
      const before = pages.moveTo(pages.newest())
      try {
        this.#takeOver(readState(this.#engine, pages))
        return true
      } catch (error) {
        const { superblock } = pages
        pages.moveTo(before)
        pages.gone = true
        if (!(error instanceof SnapshotGoneError)) throw error
        if (attempt === ATTEMPTS) throw outrun(superblock)
      }
    }
    return false
  }

  /** Whether what contradicts the checkpoint may be the owner's use of its blocks, or the reader has moved on. Leaves word then (Q4). */
  isGone(checkpoint: number): boolean {
    if (this.checkpoint !== checkpoint) return true
    if (!this.#pages.isBehind) return false
    this.#pages.gone = true
    return true
  }

  /** The history of committed transactions, which no read needs, for checks. */
  loadHistory(): void {
    if (this.#hasHistory) return
    const { system } = this.#engine
    this.#forgetHistory()
    system.loadHistory(this.#root.historyPage, this.#root.historyOffset)
    system.undo.restorePartFilled(this.#root.partFilledUndo)
    this.#hasHistory = true
  }

  /** That of another checkpoint, or what an attempt to load it left. */
  #forgetHistory(): void {
    const { system } = this.#engine
    while (system.history.length > 0) system.shiftHistory()
    system.undo.forgetPartFilled()
    this.#hasHistory = false
  }

  /** Q2, the second half: nothing here can fail. */
  #takeOver({ root, catalog }: CheckpointState): void {
    const { system, checkpoints } = this.#engine
    for (const view of system.views) {
      view.expired = view.gone = true
      system.closeView(view)
    }
    for (const trx of system.active) {
      system.active.remove(trx)
      system.recycle(trx)
    }
    this.#engine.catalog.takeOver(catalog)
    checkpoints.moveTo(this.#pages.checkpointer, this.#pages.superblock.rootPage)
    this.#root = root
    this.#restoreTransactions(root)
  }

  /** Q1. */
  #restoreTransactions(root: RootRecord): void {
    const { system } = this.#engine
    this.#forgetHistory()
    system.nextTrxId = system.oldestActive = root.nextTrxId
    system.nextCommitNumber = root.nextCommitNumber
    for (const { committed: _, ...log } of root.transactions) {
      const trx = this.#engine.begin('repeatable-read')
      Object.assign(trx, log, { hasLog: true, needsPurge: true })
      system.adopt(trx)
    }
  }
}

/** What is read of a checkpoint to show it. */
interface CheckpointState {
  root: RootRecord
  catalog: Catalog
}

/** Opens the newest checkpoint beside its owner. Raises ERR_NOT_FOUND, ERR_NOT_A_DATABASE, ERR_SNAPSHOT_GONE, ERR_DAMAGED. */
export async function openSharedReader(environment: Environment, options: RecoveryOptions, file: File): Promise<Engine> {
  const { clock } = environment
  for (let attempt = 1; ; attempt++) {
    try {
      const pages = openPages(environment, options, file)
      const { pager, superblock, checkpointer } = pages
      const { rootPage } = superblock
      if (rootPage === NO_PAGE) throw beingMade(options.directory)
      const system = new TrxSystem(pager, clock, 0)
      const reader = new RowReader(pager, system)
      const { root, catalog } = readState({ reader }, pages)
      const engine = new Engine({ environment, options, file, pager, checkpointer, system, reader, catalog, rootPage })
      engine.shared = new SharedReader(engine, pages, root)
      return engine
    } catch (error) {
      if (!(error instanceof SnapshotGoneError) || attempt === ATTEMPTS) throw error
    }
    await clock.macrotask()
  }
}

/** Q5. */
function openPages({ fileSystem }: Environment, { cacheSize, logDirectory }: RecoveryOptions, file: File): SharedPages {
  const [any] = readSuperblocks(file)
  const mark = any === undefined ? 0 : readMark(fileSystem, logDirectory, any.databaseId)
  for (let look = 1; ; look++) {
    const pages = new SharedPages(file, cacheSize)
    const loss = lossByMark(file, pages.superblock, mark)
    if (loss === undefined) return pages
    if (look === LOOKS) throw loss
  }
}

function readState({ reader }: Pick<Engine, 'reader'>, { pager, superblock }: SharedPages): CheckpointState {
  assert(superblock.rootPage !== NO_PAGE, 'a checkpoint after the first has a root record')
  const root = readRootRecord(pager, superblock.rootPage)
  const catalog = new Catalog(pager, new MetaTree(pager, root.metaRoot), root.nextTreeId, root.nextTableId)
  catalog.load(reader, viewOf(root))
  return { root, catalog }
}

/** What is committed in the checkpoint. */
function viewOf({ transactions, nextTrxId, nextCommitNumber }: RootRecord): ReadView {
  const active = transactions.map(({ trxId }) => trxId).sort((a, b) => a - b)
  return new ReadView(active[0] ?? nextTrxId, nextTrxId, active, 0 as TrxId, nextCommitNumber, 0)
}

function beingMade(directory: string): NextkeyError {
  return new NextkeyError('ERR_NOT_FOUND', `the database in ${directory} is just being made: its first checkpoint is not written yet`, {
    retryable: true,
    details: { directory },
  })
}

/** Checkpoints taken up that were gone before they could be shown. */
const ATTEMPTS = 20
