import type { NextkeyError } from '../base/errors.js'
import type { LogPosition } from '../base/ids.js'
import type { Clock } from '../platform/clock.js'
import type { Environment } from '../platform/environment.js'
import type { LogFailure } from './failure.js'
import { GroupCommit } from './group-commit.js'
import { LogBuffer } from './log-buffer.js'
import type { SegmentSupply } from './segment-supply.js'

/** What a commit waits for, as innodb_flush_log_at_trx_commit: on disk (1), handed to the operating system (2), nothing (0). */
export type Durability = 'sync' | 'write' | 'lazy'

export interface LogStatus {
  readonly end: LogPosition
  readonly durableThrough: LogPosition
  readonly writtenThrough: LogPosition
  /** Files, of any state, and their bytes. */
  readonly files: number
  readonly spareFiles: number
  readonly totalSize: number
  /** Since the log was begun. */
  readonly syncs: number
  readonly bytesWritten: number
}

/** How long bytes may stay unsynced. */
const SYNC_INTERVAL = 1000
/** How much later than that the event loop may be before a commit syncs inline. */
const OVERDUE = 2000
/** Past this many unsynced bytes an append syncs inline. */
const MAXIMUM_UNSYNCED = 16_777_216

/**
 * The write-ahead log being written: an endless sequence of groups of opaque records (D8).
 *
 * `append` only frames a group in memory. Who needs more waits for a position: `commitDurability` gives what the durability mode
 * asks for, `waitDurable` and `syncNow` the disk. Whatever the mode, everything is synced about a second after it was appended.
 * Nothing relies on the event loop alone: past 1 MiB pending, 16 MiB unsynced or 3 s unsynced, whoever adds to it writes and
 * syncs inline (D1).
 *
 * After a failed write or sync the log is closed for good (D16): commits whose fate is unknown raise ERR_COMMIT_UNKNOWN, later
 * appends ERR_POISONED.
 */
export class WriteAheadLog {
  readonly #supply: SegmentSupply
  readonly #buffer: LogBuffer
  readonly #commits: GroupCommit
  readonly #clock: Clock
  readonly #failure: LogFailure
  readonly #durability: Durability
  #cancelTimer: (() => void) | undefined
  #armed = false
  /** When the event loop is too late for the timer that is set. */
  #overdueAt = 0
  #closed: Promise<void> | undefined

  /** @internal Use `openLog`. */
  constructor(
    supply: SegmentSupply,
    { clock, processors }: Pick<Environment, 'clock' | 'processors'>,
    failure: LogFailure,
    durability: Durability,
    start: LogPosition,
  ) {
    this.#supply = supply
    this.#clock = clock
    this.#failure = failure
    this.#durability = durability
    this.#buffer = new LogBuffer(supply, failure, start)
    this.#commits = new GroupCommit(this.#buffer, clock, failure, processors > 1)
    failure.listen(() => this.#cancelTimer?.())
  }

  /** Position after the last group. */
  get end(): LogPosition {
    return this.#buffer.end as LogPosition
  }

  /** Everything before it is on disk. */
  get durableThrough(): LogPosition {
    return this.#buffer.durable as LogPosition
  }

  /** Everything before it survives the death of the process. */
  get writtenThrough(): LogPosition {
    return this.#buffer.written as LogPosition
  }

  /** Whether a write or sync has failed. */
  get poisoned(): boolean {
    return this.#failure.happened
  }

  /** What later calls get once a write or sync has failed. */
  get failure(): NextkeyError | undefined {
    return this.#failure.happened ? this.#failure.poisoned() : undefined
  }

  /**
   * Appends bytes[start, end) as one group, read back whole or not at all, and returns the position after it. Keeps no reference.
   *
   * @param kind 0 … 255, for those who read the log.
   * Raises ERR_DISK_FULL or ERR_POISONED before anything has happened; ERR_COMMIT_UNKNOWN if the log fails on the way.
   */
  append(kind: number, bytes: Uint8Array, start: number, end: number): LogPosition {
    const position = this.#buffer.append(kind, bytes, start, end)
    if (!this.#armed) this.#arm()
    if (this.#buffer.written - this.#buffer.durable > MAXIMUM_UNSYNCED) this.#commits.syncNow()
    return position
  }

  /**
   * Has room for `groups` groups of `bytes` bytes together, so that appending them in this turn does not fail for want of
   * space. Raises ERR_DISK_FULL if there is no room (the log is unharmed), ERR_POISONED if the log is closed.
   */
  reserve(bytes: number, groups: number = 1): void {
    this.#buffer.reserve(bytes, groups)
  }

  isDurable(position: LogPosition): boolean {
    return position <= this.#buffer.durable
  }

  /**
   * A promise for everything before `position` to be on disk, or undefined if it is. Many waiters share a promise and a sync.
   * Raises, or rejects with, ERR_COMMIT_UNKNOWN.
   */
  waitDurable(position: LogPosition): Promise<void> | undefined {
    this.#payDebts()
    return this.#commits.waitDurable(position)
  }

  /** What a commit that ends at `position` must wait for in this log's durability mode; undefined for nothing. Raises ERR_COMMIT_UNKNOWN. */
  commitDurability(position: LogPosition): Promise<void> | undefined {
    if (this.#durability === 'sync') return this.waitDurable(position)
    this.#settleWithoutSync(position)
    return this.#durability === 'write' ? this.#commits.waitWritten(position) : undefined
  }

  /** The same for a synchronous commit: it has what its mode asks for when this returns. */
  commitDurabilitySync(position: LogPosition): void {
    if (this.#durability === 'sync') {
      if (position > this.#buffer.durable) this.#commits.syncNow()
      return
    }
    this.#settleWithoutSync(position)
    if (this.#durability === 'write') this.#buffer.write()
  }

  /** Hands everything to the operating system: it survives the death of the process. Raises ERR_COMMIT_UNKNOWN. */
  write(): void {
    this.#buffer.write()
  }

  /** Writes and syncs everything so far before it returns, an asynchronous sync under way or not. Raises ERR_COMMIT_UNKNOWN. */
  syncNow(): void {
    this.#commits.syncNow()
  }

  /** Everything so far is on disk, whatever the durability mode. */
  async flush(): Promise<void> {
    await this.#commits.waitDurable(this.#buffer.end)
  }

  /**
   * Leaves a number, larger than the last, beside the log: whoever finds the log finds the number (`FoundLog.mark`), even if the end of the log is
   * damaged. It goes to disk with the next sync, and may be lost before. Raises ERR_POISONED.
   */
  mark(number: number): void {
    this.#buffer.mark(number)
  }

  /** Nobody needs the log before `position` any more: its segments are used again or removed. */
  release(position: LogPosition): void {
    this.#failure.check()
    this.#supply.release(position)
  }

  status(): LogStatus {
    const { closedCount, preparedCount, spareCount, totalSize } = this.#supply
    return {
      end: this.end,
      durableThrough: this.durableThrough,
      writtenThrough: this.writtenThrough,
      files: closedCount + preparedCount + spareCount + this.#buffer.segmentCount,
      spareFiles: spareCount,
      totalSize: totalSize + this.#buffer.openSize,
      syncs: this.#commits.syncs,
      bytesWritten: this.#buffer.bytesWritten,
    }
  }

  /** Makes everything durable, unless the log has failed, and closes the files. The log must not be used afterwards. */
  close(): Promise<void> {
    this.#closed ??= this.#close()
    return this.#closed
  }

  async #close(): Promise<void> {
    try {
      if (!this.#failure.happened) await this.flush()
    } finally {
      this.#cancelTimer?.()
      await this.#commits.settled()
      await this.#supply.close()
      this.#buffer.close()
    }
  }

  #settleWithoutSync(position: LogPosition): void {
    if (position <= this.#buffer.durable) return
    if (this.#failure.happened) throw this.#failure.commitUnknown()
    this.#payDebts()
  }

  #payDebts(): void {
    if (this.#armed && this.#clock.now() > this.#overdueAt) {
      this.#commits.syncNow()
      this.#overdueAt = this.#clock.now() + SYNC_INTERVAL + OVERDUE
    }
  }

  /** From the first append on a timer is set; it goes on until it finds everything durable. */
  #arm(): void {
    this.#armed = true
    this.#overdueAt = this.#clock.now() + SYNC_INTERVAL + OVERDUE
    this.#cancelTimer = this.#clock.setTimer(SYNC_INTERVAL, () => {
      this.#armed = false
      if (this.#buffer.end === this.#buffer.durable || this.#failure.happened) return
      this.#commits.begin()
      this.#arm()
    })
  }
}
