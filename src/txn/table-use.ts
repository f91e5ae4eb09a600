/**
 * The metadata locks of statements and commits.
 *
 * U1  A statement holds SR on its table, SW if it changes rows or locks them in X, to the end of the transaction: whatever it has seen or
 *     done there, the table stays the same under it. Asked for before anything else, and before the table itself is looked at: it may be
 *     another one after a wait.
 * U2  A statement that needs SW holds IX on everything (Scope.Global) to its end, so a freeze waits for it, and it for a freeze. It asks
 *     for that first.
 * U3  A commit that has something to commit holds IX on Scope.Commit until it is done.
 * U4  While nobody freezes the database, IX on the scopes conflicts with nothing, so it is not noted: a flag in the owner is all. The
 *     first freeze notes those of the statements under way (`beginFreeze`), and until the last ends everybody asks properly. A commit that
 *     happens in one turn needs no note: nobody can ask for anything before it is done.
 */
import { GlobalLock, type LockOwner } from '../lock/lock-owner.js'
import { LockResult } from '../lock/lock-request.js'
import type { LockSystem } from '../lock/lock-system.js'
import { Duration, MetadataLock } from '../lock/metadata-modes.js'
import { Scope } from '../lock/metadata-object.js'
import { finish, type Outcome, type Steps } from './outcome.js'
import type { RowLocks } from './row-locks.js'
import type { TableStore } from './table-store.js'
import type { Trx } from './trx.js'

/** What a statement does to its table. */
export type Use = MetadataLock.SR | MetadataLock.SW

/** Locks that are at least as strong as SR and as SW, of those that statements and LOCK TABLES take. */
const enum AtLeast {
  SR = (1 << MetadataLock.SR) | (1 << MetadataLock.SW) | (1 << MetadataLock.SRO) | (1 << MetadataLock.SNRW),
  SW = (1 << MetadataLock.SW) | (1 << MetadataLock.SNRW),
}

export class TableUse {
  readonly #rowLocks: RowLocks
  readonly #locks: LockSystem
  /** Freezes that hold or await their locks. */
  #freezes = 0

  constructor(rowLocks: RowLocks) {
    this.#rowLocks = rowLocks
    this.#locks = rowLocks.locks
  }

  /** One attempt to take what the statement needs (U1, U2); when it is granted after a wait, another is due. */
  try(trx: Trx, table: TableStore, use: Use): LockResult {
    const { owner } = trx
    const changes = use === MetadataLock.SW
    if (changes && owner.globalLock === GlobalLock.None) {
      const result = this.#tryChange(owner, trx.mayWait)
      if (result > LockResult.AlreadyHeld) return result
    }
    const sufficient = changes ? AtLeast.SW : AtLeast.SR
    if (owner.lastMetadata === table.lockObject && (owner.lastMetadataMask & sufficient) !== 0) return LockResult.AlreadyHeld
    return this.#locks.lockMetadata(owner, this.objectOf(table), use, Duration.Transaction, trx.mayWait)
  }

  /** Goes on after an attempt that was not successful at once. `find` tells which table it is, each time anew; it raises if there is none. */
  *wait(trx: Trx, find: () => TableStore, use: Use, result: LockResult): Steps<void> {
    const { owner } = trx
    for (let last = result; last > LockResult.AlreadyHeld; last = this.try(trx, find(), use)) {
      const wasForEverything = use === MetadataLock.SW && owner.globalLock === GlobalLock.None
      yield* this.#rowLocks.settle(trx, last)
      if (wasForEverything) owner.globalLock = GlobalLock.Noted
    }
  }

  /** A statement that changes rows, when its table is free. */
  *before<T>(trx: Trx, find: () => TableStore, result: LockResult, statement: (trx: Trx) => Outcome<T>): Steps<T> {
    yield* this.wait(trx, find, MetadataLock.SW, result)
    return yield* finish(statement(trx))
  }

  /** The statement is over. */
  endStatement({ owner }: Trx): void {
    if (owner.globalLock === GlobalLock.None) return
    if (owner.globalLock === GlobalLock.Noted) this.#locks.unlockMetadata(owner, Scope.Global, Duration.Statement)
    owner.globalLock = GlobalLock.None
  }

  /** Whether a commit must ask first (U3). */
  mustAskToCommit(trx: Trx): boolean {
    if (this.#freezes === 0 && !trx.redo.dropped) return false
    return trx.redo.dropped || !trx.redo.isEmpty
  }

  /** Asks. A transaction that fails to get it is to be rolled back. */
  *askToCommit(trx: Trx): Steps<void> {
    yield* this.#rowLocks.settle(trx, this.#locks.lockMetadata(trx.owner, Scope.Commit, MetadataLock.IX, Duration.Transaction, trx.mayWait))
  }

  /** Before a freeze asks for anything (U4). */
  beginFreeze(): void {
    if (this.#freezes++ > 0) return
    for (const owner of this.#locks.owners()) {
      if (owner.globalLock !== GlobalLock.Unnoted) continue
      this.#locks.lockMetadata(owner, Scope.Global, MetadataLock.IX, Duration.Statement, false)
      owner.globalLock = GlobalLock.Noted
    }
  }

  endFreeze(): void {
    this.#freezes--
  }

  /** The number by which the table's name is locked. */
  objectOf(table: TableStore): number {
    if (table.lockObject < 0) table.lockObject = this.#locks.metadataObject(table.name)
    return table.lockObject
  }

  #tryChange(owner: LockOwner, mayWait: boolean): LockResult {
    if (this.#freezes === 0) {
      owner.globalLock = GlobalLock.Unnoted
      return LockResult.AlreadyHeld
    }
    const result = this.#locks.lockMetadata(owner, Scope.Global, MetadataLock.IX, Duration.Statement, mayWait)
    if (result <= LockResult.AlreadyHeld) owner.globalLock = GlobalLock.Noted
    return result
  }
}
