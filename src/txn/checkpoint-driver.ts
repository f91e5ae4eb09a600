import { type CheckpointNumber, type LogPosition, NO_PAGE, type PageId } from '../base/ids.js'
import { BackgroundRun, type Effect } from '../storage/background-run.js'
import type { Checkpointer } from '../storage/checkpoint.js'
import type { WriteAheadLog } from '../wal/write-ahead-log.js'
import type { Engine } from './engine.js'
import { encodeCheckpoint, LogKind } from './log-records.js'
import { freeRootRecord, type RootTransaction, writeRootRecord } from './root-record.js'
import { TrxState } from './trx.js'

/**
 * When checkpoints begin, what of the transaction system they hold, and who drives them.
 *
 * One begins after so many log bytes, after so much time, or when blocks that only older maps hold are a third as many as pages.
 * It runs from the event loop; at twice these bounds, not counting what it replaces itself, asynchronous
 * operations wait for it, and synchronous ones drive it (D1).
 */
export class CheckpointDriver {
  readonly #engine: Engine
  #checkpointer: Checkpointer
  #run: BackgroundRun | undefined
  /** First page of the root record of the newest checkpoint. */
  #rootPage: PageId
  /** Log position of the newest freeze. */
  #frozenAt: LogPosition = 0 as LogPosition
  #cancelTimer: (() => void) | undefined
  #stopped = false
  /** The next checkpoint moves every page it can towards the start of the file (compact). */
  moveAllOfTail = false
  /** Called when a checkpoint is complete. */
  onComplete: ((number: CheckpointNumber) => void) | undefined

  constructor(engine: Engine, checkpointer: Checkpointer, rootPage: PageId) {
    this.#engine = engine
    this.#checkpointer = checkpointer
    this.#rootPage = rootPage
  }

  get running(): boolean {
    return this.#run !== undefined
  }

  get rootPage(): PageId {
    return this.#rootPage
  }

  /** In a reader: the newest checkpoint is another one from now on. */
  moveTo(checkpointer: Checkpointer, rootPage: PageId): void {
    this.#checkpointer = checkpointer
    this.#rootPage = rootPage
  }

  /** Blocks that the page map occupies. */
  get mapBlocks(): number {
    return this.#checkpointer.mapBlocks
  }

  /** Log bytes that a recovery would have to read now. */
  get logBytes(): number {
    return this.#engine.wal === undefined ? 0 : this.#engine.wal.end - this.#frozenAt
  }

  /** Everything before this moment is in a checkpoint when the promise resolves. For who must have it: a full disk is a failure then (N3). */
  next(): Promise<void> {
    return this.#engine.pager.space.hurry(() => this.#next())
  }

  /** The same for who can do without: raises ERR_DISK_FULL, and the checkpoint goes on when there is space. */
  async nextUnlessFull(): Promise<void> {
    const { space } = this.#engine.pager
    let over = false
    const next = this.#next().finally(() => {
      over = true
    })
    next.catch(() => {})
    await space.orFull(next)
    if (!over && space.full !== undefined) throw space.full
    await next
  }

  async #next(): Promise<void> {
    const running = this.#run
    if (running !== undefined) await running.done
    // Others may have waited for the same one: whoever comes first begins the next, which serves them all.
    await (this.#run ?? this.begin(this.#logEffects()).start()).done
  }

  /** The same, without returning before it is complete. */
  runSync(): void {
    this.#run?.advanceSync()
    this.begin(this.#logEffects()).advanceSync()
  }

  /** At the end: everything into the data file, unless it is there. */
  async finish(): Promise<void> {
    // The frame that says "complete" is in the log after every checkpoint.
    if (this.logBytes > COMPLETE_FRAME_BYTES || this.#engine.system.history.length > 0) await this.next()
  }

  /** At recovery: the first checkpoint, before there is a log to write to. */
  recoveryCheckpoint(logPosition: LogPosition, makeLogDurable: () => void, startLog: () => WriteAheadLog): BackgroundRun {
    return this.begin({
      position: logPosition,
      durable: inline(makeLogDurable),
      complete: (number) =>
        inline(() => {
          this.#engine.wal = startLog()
          this.#appendComplete(this.#engine.wal, number)
          this.#engine.wal.syncNow()
        }),
    })
  }

  begin(log: LogEffects): BackgroundRun {
    const engine = this.#engine
    engine.mustWrite()
    this.#frozenAt = log.position
    const steps = engine.change(() => {
      this.#moveTail()
      this.#writeRoot()
      return this.#checkpointer.begin({
        logPosition: log.position,
        rootPage: this.#rootPage,
        logDurable: log.durable,
        markComplete: log.complete,
        completed: (number) => {
          this.#run = undefined
          engine.pager.allocator.packing = false
          engine.wal?.mark(number)
          engine.wal?.release(log.position)
          this.onComplete?.(number)
        },
      })
    })
    this.#run = new BackgroundRun(steps)
    return this.#run
  }

  #mayNotBegin(): boolean {
    const { failure, pager } = this.#engine
    return this.#stopped || this.#run !== undefined || failure !== undefined || pager.space.isFull
  }

  /** Begins a checkpoint that is due. */
  payDebts(): void {
    const { wal } = this.#engine
    if (wal === undefined || this.#mayNotBegin()) return
    if (this.#debt(0) > 1) this.begin(this.#logEffects()).start()
    else if (this.#cancelTimer === undefined && wal.end > this.#frozenAt) this.#arm()
  }

  /**
   * A promise for the running checkpoint, if work outruns it: asynchronous operations wait for it, so that log and file keep their
   * bounds and the event loop its turns.
   */
  overdue(): Promise<void> | undefined {
    return this.#isOutrun() ? this.#run?.done.catch(() => {}) : undefined
  }

  /** The same for long background work, which steps aside well before others must wait. */
  stepAside(): Promise<void> | undefined {
    return this.#run !== undefined && this.#debt(0) > ENOUGH ? this.#run.done.catch(() => {}) : undefined
  }

  /** The same for synchronous operations, which cannot wait: they drive the checkpoint themselves. */
  advanceIfOverdue(): void {
    if (this.#isOutrun() && !this.#engine.pager.space.isFull) this.#run?.help(1)
  }

  /**
   * Whether others have written more than they should while the checkpoint runs. The blocks that it has replaced itself do not count: if nearly
   * every page was dirty, they alone are as many as there are pages, and nobody could do anything about it by waiting.
   */
  #isOutrun(): boolean {
    return this.#run !== undefined && this.#debt(this.#engine.pager.allocator.replacedByFrozen) > OVERDUE
  }

  /** How far log and file are from the last checkpoint: 1, another is due; 2, it should be over. `excused`: blocks not to be counted. */
  #debt(excused: number): number {
    const { options, pager } = this.#engine
    // Blocks beside the one that each page needs: older maps hold them until a checkpoint is complete.
    // Those that a backup pins come free by its progress, not by a checkpoint.
    const excess = pager.allocator.usedCount - pager.allocator.keptByPin - pager.map.pageCount - LEAST_EXCESS - excused
    return Math.max(this.logBytes / options.checkpointBytes, (excess * 3) / (pager.map.pageCount + 1))
  }

  /** No more checkpoints begin by themselves; resolves when the running one is over, however it ended. */
  async stop(): Promise<void> {
    this.#stopped = true
    this.#cancelTimer?.()
    this.#cancelTimer = undefined
    await this.#run?.done.catch(() => {})
  }

  #arm(): void {
    this.#cancelTimer = this.#engine.environment.clock.setTimer(this.#engine.options.checkpointInterval, () => {
      this.#cancelTimer = undefined
      if (this.#mayNotBegin() || this.logBytes === 0) return
      this.begin(this.#logEffects()).start()
    })
  }

  #logEffects(): LogEffects {
    const wal = this.#engine.wal as WriteAheadLog
    return {
      position: wal.end,
      durable: untilDurable(wal, wal.end),
      complete: (number) => this.#completeEffect(wal, number),
    }
  }

  /** A log without room for the frame is waited for, as pages are. */
  #completeEffect(wal: WriteAheadLog, number: CheckpointNumber): Effect {
    const { space } = this.#engine.pager
    let position: LogPosition | undefined
    const append = (): LogPosition => {
      position ??= this.#appendComplete(wal, number)
      return position
    }
    return {
      runSync: () => untilDurable(wal, append()).runSync(),
      runAsync: () =>
        space.write(
          async () => untilDurable(wal, append()).runAsync(),
          () => position !== undefined && wal.isDurable(position),
        ),
      mayWait: (error) => space.mayWait(error),
    }
  }

  #appendComplete(wal: WriteAheadLog, number: CheckpointNumber): LogPosition {
    const record = encodeCheckpoint(number)
    return wal.append(LogKind.Checkpoint, record, 0, record.length)
  }

  /** Replaces the root record by one of this moment. */
  #writeRoot(): void {
    const { system, catalog, pager } = this.#engine
    const transactions: RootTransaction[] = []
    for (const trx of system.active) {
      if (!trx.hasLog) continue
      const { trxId, firstPage, firstOffset, lastPage, lastOffset } = trx
      transactions.push({ trxId, firstPage, firstOffset, lastPage, lastOffset, committed: trx.state === TrxState.Committing })
    }
    const { history } = system
    freeRootRecord(pager, this.#rootPage)
    this.#rootPage = writeRootRecord(pager, {
      nextTrxId: system.nextTrxId,
      nextCommitNumber: system.nextCommitNumber,
      nextTreeId: catalog.nextTreeId,
      nextTableId: catalog.nextTableId,
      metaRoot: catalog.meta.root,
      historyPage: history.length === 0 ? NO_PAGE : history.pageAt(0),
      historyOffset: history.length === 0 ? 0 : history.offsetAt(0),
      transactions,
      partFilledUndo: system.undo.partFilled,
    })
  }

  /** Marks some pages that lie far out in a file with much free space, so that the checkpoint writes them further in. */
  #moveTail(): void {
    const { pager } = this.#engine
    const { allocator, map } = pager
    const all = this.moveAllOfTail
    this.moveAllOfTail = false
    if (all) allocator.pack()
    if (!all && (allocator.total < allocator.usedCount * 2 || allocator.total < LEAST_TOTAL)) return
    const most = Math.min(all ? Number.POSITIVE_INFINITY : PAGES_MOVED, pager.pool.capacity >> 1)
    let moved = 0
    map.pagesBeyond(Math.ceil(allocator.usedCount * (all ? 1 : 1.25)), (page) => {
      pager.beginOperation()
      pager.willChange(pager.fetch(page))
      return ++moved < most
    })
  }
}

interface LogEffects {
  position: LogPosition
  durable: Effect
  complete(number: CheckpointNumber): Effect
}

function untilDurable(wal: WriteAheadLog, position: LogPosition): Effect {
  return {
    runSync: () => {
      if (!wal.isDurable(position)) wal.syncNow()
    },
    runAsync: async () => {
      await wal.waitDurable(position)
    },
  }
}

/** An effect that takes its time in the turn it is begun in. */
function inline(work: () => void): Effect {
  return {
    runSync: work,
    runAsync: async () => {
      work()
    },
  }
}
/** Blocks that a small file may have in excess: 16 MiB. */
const LEAST_EXCESS = 1024
/** More than what the log holds after a checkpoint with nothing since. */
const COMPLETE_FRAME_BYTES = 64
/** Files below 4 MiB are not worth shrinking. */
const LEAST_TOTAL = 256
/** Pages moved towards the start per checkpoint: read and marked in about 2 ms. */
const PAGES_MOVED = 512
/** Debt at which a running checkpoint should be over. */
const OVERDUE = 2
/** Debt at which long background work leaves it alone. */
const ENOUGH = 0.5
