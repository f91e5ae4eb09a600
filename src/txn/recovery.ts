import { assert } from '../base/assert.js'
import { DamagedError, NextkeyError } from '../base/errors.js'
import { type CheckpointNumber, type LogPosition, NO_PAGE, type TrxId } from '../base/ids.js'
import type { Environment } from '../platform/environment.js'
import type { File } from '../platform/file-system.js'
import {
  formatDataFile,
  loadDataFile,
  lossByMark,
  lossByWitness,
  lostCheckpoint,
  notADatabase,
  readSuperblocks,
} from '../storage/data-file.js'
import type { Superblock } from '../storage/superblock.js'
import { type FoundLog, openLog } from '../wal/open-log.js'
import type { Durability, WriteAheadLog } from '../wal/write-ahead-log.js'
import { Catalog } from './catalog.js'
import { Engine, type EngineOptions } from './engine.js'
import { LogKind } from './log-records.js'
import { MetaTree } from './meta-tree.js'
import { recordOwner } from './owners.js'
import { Replay } from './replay.js'
import { type RootRecord, readRootRecord } from './root-record.js'
import { RowReader } from './row-reader.js'
import { openSharedReader } from './shared-reader.js'
import { type OpenedFiles, takeOver } from './take-over.js'
import { TrxState } from './trx.js'
import { TrxSystem } from './trx-system.js'

/**
 * Opening a database, which is recovering it (D9):
 *
 *   superblock → map → roll back, from their undo, the transactions active at the checkpoint → replay the commits after P in
 *   order → complete a checkpoint → begin a new log, with a new epoch → admit the first commit.
 *
 * O1. Nothing is appended to a log that was read, and nothing read is trusted to be on disk before it was synced again, in the
 *     form of the checkpoint that ends recovery.
 * O2. The newest superblock counts only if the log says that its checkpoint is complete. Otherwise its pages may be in the page
 *     cache alone (its sync may have failed, which the cache does not show), and the one before it is good: neither its blocks nor
 *     its log were released. That goes for reading, too: an opening that was cut short may have written over the newer one's pages.
 * O3. A "complete" frame of a checkpoint newer than the superblock used, or a witness to one in the other superblock (superblock.ts) or beside the log
 *     (its mark), means that the newer superblock is damaged, and what it released is gone: that is an error, never an older state.
 * O4. Crashing in here, or coming twice, gives the same state: until the last step, only blocks are written that are free in both
 *     checkpoints, for the frame that decides between them (O2) may not be on disk.
 * O5. A sealed superblock, of a copy, needs no log. Where there is none, one is begun at its P before anything else: from the first
 *     checkpoint on the copy is a database like any other, and one whose log is missing is damaged.
 * O6. A superblock that can be read proves that the log was on disk through its P (C2), complete or not. A log that ends before is damaged:
 *     what looks like its tail was acknowledged.
 * O7. The same goes for a log whose mark says that a checkpoint is complete, if it ends before the "complete" frame: that one was on disk before the
 *     mark was left, and who knows what came after it.
 */
export interface RecoveryOptions extends EngineOptions {
  directory: string
  logDirectory: string
  durability: Durability
  /** Bytes; default 16 MiB. */
  segmentSize: number | undefined
  onProgress: ((progress: RecoveryProgress) => void) | undefined
  /**
   * Without the directory's lock. With readOnly beside an owner who goes on writing, whom nothing keeps out (shared-reader.ts); else instead of one
   * who may be there (owner-claim.ts).
   */
  shared: boolean
}

export interface RecoveryProgress {
  phase: 'rolling back' | 'replaying' | 'writing a checkpoint'
  /** Transactions rolled back, or log bytes replayed. */
  done: number
}

export async function openEngine(environment: Environment, options: RecoveryOptions): Promise<Engine> {
  const { fileSystem } = environment
  const path = dataPath(options.directory)
  if (!fileSystem.exists(path)) createDatabase(environment, options)
  const opened = options.readOnly
    ? { file: fileSystem.open(path, { readOnly: true }), fileSystem, claim: undefined }
    : await takeOver(environment, path, options.shared)
  try {
    if (options.readOnly && options.shared) return openSharedReader(environment, options, opened.file)
    return await recover(environment, options, opened)
  } catch (error) {
    await closeDataFile(opened.file)
    throw error
  }
}

/** When it resolves, nothing of this process will reach the file any more: whoever opens the database next has it alone. */
export async function closeDataFile(file: File): Promise<void> {
  await file.settled()
  file.close()
}

export function dataPath(directory: string): string {
  return `${directory}/nextkey.db`
}

/** An empty database: log first, then the data file under its name, so that a data file without a log is always damage. */
function createDatabase(environment: Environment, options: RecoveryOptions): void {
  const { fileSystem, random } = environment
  const { directory, logDirectory } = options
  if (options.readOnly) {
    throw new NextkeyError('ERR_NOT_FOUND', `there is no database in ${directory}: open it without readOnly to make one`, {
      details: { directory },
    })
  }
  const databaseId = new Uint8Array(16)
  random.fill(databaseId)
  const staged = `${dataPath(directory)}.new`
  const file = fileSystem.open(staged, { create: true })
  try {
    file.truncate(0)
    formatDataFile(file, { databaseId, ownerToken: new Uint8Array(16) })
  } finally {
    file.close()
  }
  const log = openLog(
    environment,
    logOptions(options, databaseId, () => {}),
  ).startNew(0 as LogPosition)
  log.syncNow()
  void log.close()
  fileSystem.syncDirectorySync(parentOf(logDirectory))
  fileSystem.rename(staged, dataPath(directory))
  fileSystem.syncDirectorySync(directory)
  fileSystem.syncDirectorySync(parentOf(directory))
}

async function recover(environment: Environment, options: RecoveryOptions, opened: OpenedFiles): Promise<Engine> {
  const { file, fileSystem, claim } = opened
  const superblocks = readSuperblocks(file)
  if (superblocks.length === 0) throw notADatabase(file)
  let engine: Engine | undefined
  const found = findLog({ ...environment, fileSystem }, options, superblocks[0], () => engine?.checkpoints.stop())
  const loss = lossByWitness(file, superblocks[0]) ?? lossByMark(file, superblocks[0], found.mark)
  if (loss !== undefined) throw loss
  const superblock = chooseSuperblock(superblocks, found)
  const token = claim?.token ?? new Uint8Array(16)
  const { pager, checkpointer } = loadDataFile(
    file,
    superblock,
    superblocks.find((other) => other.checkpoint < superblock.checkpoint),
    options.cacheSize,
    claim === undefined ? { ownerToken: token } : { ownerToken: token, claim: claim.bytes },
  )
  pager.onMismatch = () => claim?.lost()
  const root = superblock.rootPage === NO_PAGE ? undefined : readRootRecord(pager, superblock.rootPage)
  const system = new TrxSystem(pager, environment.clock, Math.min(64 * 2 ** 20, options.cacheSize / 4))
  const reader = new RowReader(pager, system)
  if (root === undefined && options.readOnly) {
    throw new NextkeyError('ERR_NOT_FOUND', `the database in ${options.directory} is empty: open it once without readOnly`)
  }
  const catalog =
    root === undefined
      ? Catalog.create(pager, MetaTree.create(pager))
      : new Catalog(pager, new MetaTree(pager, root.metaRoot), root.nextTreeId, root.nextTableId)
  engine = new Engine({ environment, options, file, pager, checkpointer, system, reader, catalog, rootPage: superblock.rootPage })
  if (root !== undefined) restoreTransactions(engine, root)
  if (options.readOnly) {
    // The checkpoint alone: what was active in it stays so, and invisible.
    catalog.load(reader, undefined)
    return engine
  }
  // With the tables of unfinished transactions, whose undo needs them; then without.
  catalog.load(reader, 'newest')
  if (system.active.size > 0) {
    await rollBackActive(engine, options)
    catalog.load(reader, undefined)
  }
  const end = await replayLog(engine, found, superblock, options)
  await dropOrphans(engine)
  engine.change(() => recordOwner(catalog.meta, (pager.completed + 1) as CheckpointNumber, token))
  options.onProgress?.({ phase: 'writing a checkpoint', done: 0 })
  const startLog = (): WriteAheadLog => {
    const wal = found.startNew(end)
    fileSystem.syncDirectorySync(parentOf(options.logDirectory))
    return wal
  }
  const checkpoint = engine.checkpoints.recoveryCheckpoint(end, () => found.makeDurable(end), startLog)
  await checkpoint.start().done
  pager.space.allow(environment.clock)
  engine.purging.poke()
  return engine
}

/** The log; begun now if the newest superblock is sealed and there is none (O5). */
function findLog(environment: Environment, options: RecoveryOptions, newest: Superblock, onFailure: () => void): FoundLog {
  const log = logOptions(options, newest.databaseId, onFailure)
  const found = openLog(environment, log)
  if (!found.empty || newest.sealed !== true || options.readOnly) return found
  void found.startNew(newest.logPosition).close()
  environment.fileSystem.syncDirectorySync(parentOf(options.logDirectory))
  return openLog(environment, log)
}

/** O2, O5, O6. */
function chooseSuperblock(superblocks: Superblock[], found: FoundLog): Superblock {
  const [newest, older] = superblocks
  if (older === undefined || newest.sealed === true) return newest
  if (isComplete(found, newest)) return newest
  mustReach(found, older, newest)
  return older
}

/** O6. */
function mustReach(found: FoundLog, older: Superblock, newest: Superblock): void {
  const end = found.read(older.logPosition, () => {})
  if (end >= newest.logPosition) return
  throw new DamagedError(
    `the write-ahead log in ${found.directory} ends at position ${end}, but checkpoint ${newest.checkpoint} was written when it was on disk through ${newest.logPosition}: commits between them cannot be read`,
    { directory: found.directory, position: end, durable: newest.logPosition, checkpoint: newest.checkpoint },
    'ERR_LOG_DAMAGED',
  )
}

/** Whether the log has the "complete" frame of this superblock's checkpoint. */
function isComplete(found: FoundLog, superblock: Superblock): boolean {
  const reader = found.reader(superblock.logPosition)
  try {
    while (reader.next()) {
      if (reader.kind === LogKind.Checkpoint && readNumber(reader.bytes, reader.start) >= superblock.checkpoint) return true
    }
    return false
  } finally {
    reader.close()
  }
}

function restoreTransactions(engine: Engine, root: RootRecord): void {
  const { system } = engine
  system.nextTrxId = root.nextTrxId
  system.oldestActive = root.nextTrxId
  system.nextCommitNumber = root.nextCommitNumber
  system.undo.restorePartFilled(root.partFilledUndo)
  system.loadHistory(root.historyPage, root.historyOffset)
  const committed = []
  for (const { committed: isCommitted, ...log } of root.transactions) {
    const trx = engine.begin('repeatable-read')
    Object.assign(trx, log, { hasLog: true, needsPurge: true })
    system.adopt(trx)
    if (isCommitted) committed.push(trx)
  }
  if (engine.options.readOnly) return
  for (const trx of committed) engine.change(() => system.finishCommit(trx))
}

async function rollBackActive(engine: Engine, options: RecoveryOptions): Promise<void> {
  const { clock } = engine.environment
  let done = 0
  for (const trx of [...engine.system.active].reverse()) {
    assert(trx.state === TrxState.Active, 'only active transactions are left to roll back')
    while (!engine.undoStep(trx, undefined, UNDO_PER_SLICE)) await clock.macrotask()
    engine.change(() => engine.system.finishRollback(trx))
    options.onProgress?.({ phase: 'rolling back', done: ++done })
  }
}

/** Replays everything after the checkpoint; returns where the log ends. */
async function replayLog(engine: Engine, found: FoundLog, superblock: Superblock, options: RecoveryOptions): Promise<LogPosition> {
  const replay = new Replay(engine.pager, engine.catalog, engine.reader)
  const reader = found.reader(superblock.logPosition)
  let slice = reader.position + BYTES_PER_SLICE
  let complete = 0
  try {
    while (reader.next()) {
      if (reader.kind === LogKind.Checkpoint) {
        complete = readNumber(reader.bytes, reader.start)
        if (complete > superblock.checkpoint) throw lostCheckpoint(engine.file, superblock, complete as CheckpointNumber, 'the log')
        continue
      }
      engine.change(() => replay.apply(reader.kind as LogKind, reader.bytes, reader.start, reader.end))
      if (reader.endPosition < slice) continue
      slice = reader.endPosition + BYTES_PER_SLICE
      options.onProgress?.({ phase: 'replaying', done: reader.endPosition - superblock.logPosition })
      await engine.environment.clock.macrotask()
    }
  } finally {
    reader.close()
  }
  assert(reader.tail !== undefined, 'the log was read to its end')
  if (complete < found.mark && found.mark >= superblock.checkpoint) throw cutShort(found, reader.tail)
  const { system } = engine
  system.nextTrxId = Math.max(system.nextTrxId, replay.highestTrxId + 1) as TrxId
  if (system.active.size === 0) system.oldestActive = system.nextTrxId
  for (const table of engine.catalog.tables()) if (table.definition.autoIncrement) engine.storeCounter(table)
  return reader.tail
}

/** O7. */
function cutShort({ directory, mark }: FoundLog, end: LogPosition): DamagedError {
  return new DamagedError(
    `the write-ahead log in ${directory} ends at position ${end}, but its header says that it once went on: there it said that checkpoint ${mark} is complete, and commits after that may have been acknowledged`,
    { directory, position: end, checkpoint: mark },
    'ERR_LOG_DAMAGED',
  )
}

/** Trees that the schema does not name, as the log has left it; no view is open, so there is nothing to wait for. */
async function dropOrphans(engine: Engine): Promise<void> {
  for (const tree of engine.catalog.orphans()) {
    const removal = engine.catalog.removal(tree, true)
    if (removal === undefined) continue
    for (let steps = 1; !engine.change(() => removal.step()); steps++) {
      if (steps % PAGES_PER_SLICE === 0) await engine.environment.clock.macrotask()
    }
  }
}

function readNumber(bytes: Uint8Array, at: number): number {
  return new DataView(bytes.buffer, bytes.byteOffset).getFloat64(at, true)
}

function logOptions(options: RecoveryOptions, databaseId: Uint8Array, onFailure: () => void): Parameters<typeof openLog>[1] {
  const { logDirectory: directory, durability, segmentSize } = options
  return { directory, databaseId, durability, onFailure, ...(segmentSize === undefined ? {} : { segmentSize }) }
}

function parentOf(path: string): string {
  const slash = path.lastIndexOf('/')
  return slash <= 0 ? (slash === 0 ? '/' : '.') : path.slice(0, slash)
}

const UNDO_PER_SLICE = 1000
const PAGES_PER_SLICE = 256
const BYTES_PER_SLICE = 1 << 20
