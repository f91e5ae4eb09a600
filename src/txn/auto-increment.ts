import { NextkeyError } from '../base/errors.js'
import { TableLock } from '../lock/lock-modes.js'
import { LockResult } from '../lock/lock-request.js'
import type { Engine } from './engine.js'
import type { Steps } from './outcome.js'
import type { TableStore } from './table-store.js'
import type { Trx } from './trx.js'

/** 0 traditional, 1 consecutive, 2 interleaved; as innodb_autoinc_lock_mode. */
export type AutoIncrementLockMode = 0 | 1 | 2

/**
 * The values tables give to rows that come without a key, and the AUTO-INC lock (D14). The rules are MySQL 9.7's; docs/locking.md names
 * the scenarios that show them.
 *
 * A1. A statement takes its values from an interval that it reserves: as many as it has rows, or, when their number is not known
 *     beforehand (a stream), 1, 2, 4 … as it goes. Modes 1 and 2 move the counter past the interval at once: what is not used is
 *     lost. Mode 0 moves it row by row, past rows that are in.
 * A2. A value whose row was left out, or became a change of another row, goes to the statement's next row.
 * A3. Any row that gets in with a key at or beyond the counter moves it past that key. One refused as a duplicate does so in a
 *     stream and in REPLACE only. Nothing ever moves it back: neither rollback nor deletion.
 * A4. To take values or move the counter, a statement needs the AUTO-INC lock, until its end: in mode 0 always; in mode 1 if it is a
 *     stream or an update, and any other if somebody has the lock just then; in mode 2 never. Nothing else waits for it.
 *     An explicit key asks only when its row is in.
 * A5. What a restart begins with is not the counter but one more than the largest key that any row was given, be it undone since:
 *     reserved and unused values are given out then. It is in the log no later than the end of the transaction that moved it.
 */
export class AutoIncrement {
  readonly #engine: Engine
  readonly #mode: AutoIncrementLockMode

  constructor(engine: Engine, mode: AutoIncrementLockMode) {
    this.#engine = engine
    this.#mode = mode
  }

  /** A4, asked anew each time; `simple`: an insert of rows whose number is known. */
  mustLock(table: TableStore, simple: boolean): boolean {
    if (this.#mode === 1) return !simple || this.#engine.rowLocks.locks.isAutoIncrementLocked(table.id)
    return this.#mode === 0
  }

  *lock(trx: Trx, table: TableStore): Steps<void> {
    const { rowLocks, pager } = this.#engine
    // What the row before or the row itself has changed is whole: failing to get the lock stops nothing half-way.
    pager.beginOperation()
    const result = rowLocks.tryTable(trx, table.id, TableLock.AutoInc)
    if (result === LockResult.AlreadyHeld) return
    if (result > LockResult.AlreadyHeld) yield* rowLocks.settle(trx, result)
    trx.autoIncrementLocks ??= []
    trx.autoIncrementLocks.push(table.id)
  }

  /** The statement is over, and with it its AUTO-INC locks. */
  release(trx: Trx): void {
    const tables = trx.autoIncrementLocks
    if (tables === undefined) return
    trx.autoIncrementLocks = undefined
    for (const table of tables) this.#engine.rowLocks.locks.unlockTable(trx.owner, table, TableLock.AutoInc)
  }

  /** The next value, for the one row of a statement or from the interval of its rows (A1). Raises ERR_AUTO_INCREMENT_EXHAUSTED. */
  generate(table: TableStore, values: StatementValues | undefined): number {
    if (values !== undefined) {
      if (values.next >= values.end) this.#reserve(table, values)
      return values.next++
    }
    const value = table.counter
    if (value >= LAST_VALUE) throw exhausted(table)
    if (this.#mode !== 0) table.counter = value + 1
    return value
  }

  #reserve(table: TableStore, values: StatementValues): void {
    const first = Math.max(values.next, table.counter)
    if (first >= LAST_VALUE) throw exhausted(table)
    if (values.rowsLeft === 0)
      values.rowsLeft = values.intervals === 0 && values.rows > 0 ? values.rows : Math.min(2 ** values.intervals, LARGEST_INTERVAL)
    values.intervals++
    values.next = first
    values.end = Math.min(first + values.rowsLeft, LAST_VALUE)
    if (this.#mode !== 0) table.counter = Math.max(table.counter, values.end)
  }

  /** A row is about to be tried with this key (A5). */
  trying(table: TableStore, key: unknown, values: StatementValues | undefined): void {
    if (values !== undefined && values.rowsLeft > 0) values.rowsLeft--
    if (!isValue(key)) return
    // Values given later in the statement follow an explicit one.
    if (values !== undefined && values.next > 0 && key >= values.next) values.next = key + 1
    if (key < table.restartCounter) return
    table.restartCounter = key + 1
    this.#engine.counterMoved(table)
  }

  /** Moves the counter past the key of a row that is in (A3), or says false if the lock must be taken first. `generated`: 0 for an explicit key. */
  tryMove(table: TableStore, key: unknown, generated: number, values: StatementValues | undefined): boolean {
    if (!isValue(key)) return true
    // What was reserved the counter has passed.
    if (this.#mode !== 0 && (values === undefined ? generated !== 0 : key < values.end)) return true
    if (this.mustLock(table, values === undefined || values.rows > 0)) return false
    move(table, key)
    return true
  }

  *moveLocked(trx: Trx, table: TableStore, key: unknown, simple: boolean): Steps<void> {
    if (!isValue(key)) return
    if (this.mustLock(table, simple)) yield* this.lock(trx, table)
    move(table, key)
  }
}

/** What a statement of several rows, or of a stream, has reserved (A1). */
export class StatementValues {
  /** 0: not known beforehand. */
  readonly rows: number
  /** The next value; 0 before the first. */
  next = 0
  /** Where the interval ends. */
  end = 0
  intervals = 0
  /** How many rows the interval was, or the next will be, made for. */
  rowsLeft = 0

  constructor(rows: number) {
    this.rows = rows
  }

  /** A2: the row tried with the value `generated` (0: an explicit key), when `next` was `before`, is not in. */
  giveBack(before: number, generated: number): void {
    this.next = before > 0 ? before : generated
  }
}

/** Whether the row comes without its key, so that the table gives it one. */
export function needsKey(table: TableStore, row: unknown, key: unknown): boolean {
  const path = table.definition.key as string | null
  if (path === null) return key === undefined
  return typeof row === 'object' && row !== null && ((row as Record<string, unknown>)[path] ?? undefined) === undefined
}

function move(table: TableStore, key: number): void {
  if (key >= table.counter) table.counter = key + 1
}

function isValue(key: unknown): key is number {
  return Number.isSafeInteger(key) && (key as number) >= 0
}

function exhausted(table: TableStore): NextkeyError {
  return new NextkeyError('ERR_AUTO_INCREMENT_EXHAUSTED', `table '${table.name}' has given out its last auto-increment value`)
}

/** Never given out. */
const LAST_VALUE = Number.MAX_SAFE_INTEGER
const LARGEST_INTERVAL = 65_535
