import { NextkeyError } from '../base/errors.js'
import type { TableId } from '../base/ids.js'
import { TableLock } from '../lock/lock-modes.js'
import type { Engine } from './engine.js'
import type { Steps } from './row-locks.js'
import type { TableStore } from './table-store.js'
import type { Trx } from './trx.js'

/** 0 traditional, 1 consecutive, 2 interleaved; as innodb_autoinc_lock_mode. */
export type AutoIncrementLockMode = 0 | 1 | 2

/** The values tables give to rows that come without a key, and the AUTO-INC lock (D14). */
export class AutoIncrement {
  readonly #engine: Engine
  readonly #mode: AutoIncrementLockMode

  constructor(engine: Engine, mode: AutoIncrementLockMode) {
    this.#engine = engine
    this.#mode = mode
  }

  /** Whether an insert takes the AUTO-INC lock: in mode 0, each; in mode 1, one of rows whose number is not known beforehand; in mode 2, none. */
  locksFor(stream: boolean): boolean {
    return this.#mode === 0 || (this.#mode === 1 && stream)
  }

  *lock(trx: Trx, table: TableStore): Steps<void> {
    yield* this.#engine.rowLocks.table(trx, table.id, TableLock.IX)
    yield* this.#engine.rowLocks.table(trx, table.id, TableLock.AutoInc)
    trx.autoIncrementLock = table.id
  }

  /** The AUTO-INC lock is for a statement, not for the transaction. */
  release(trx: Trx): void {
    if (trx.autoIncrementLock === 0) return
    this.#engine.rowLocks.locks.unlockTable(trx.owner, trx.autoIncrementLock as TableId, TableLock.AutoInc)
    trx.autoIncrementLock = 0
  }

  /** The next value. Raises ERR_AUTO_INCREMENT_EXHAUSTED. */
  next(table: TableStore): number {
    if (table.counter >= Number.MAX_SAFE_INTEGER) {
      throw new NextkeyError('ERR_AUTO_INCREMENT_EXHAUSTED', `table '${table.name}' has given out its last auto-increment value`)
    }
    const value = table.counter++
    this.#engine.counterMoved(table)
    return value
  }

  /** A row with this key is in the table: an explicit value, larger than those given so far, moves the counter. */
  saw(table: TableStore, key: unknown): void {
    if (typeof key !== 'number' || key < table.counter || !Number.isSafeInteger(key)) return
    table.counter = key + 1
    this.#engine.counterMoved(table)
  }
}

/** Whether the row comes without its key, so that the table gives it one. */
export function needsKey(table: TableStore, row: unknown, key: unknown): boolean {
  const path = table.definition.key as string | null
  if (path === null) return key === undefined
  return typeof row === 'object' && row !== null && ((row as Record<string, unknown>)[path] ?? undefined) === undefined
}
