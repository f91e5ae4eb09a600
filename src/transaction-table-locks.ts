import { assert } from './base/assert.js'
import type { Database } from './database.js'
import { TableLock } from './lock/lock-modes.js'
import { LockResult } from './lock/lock-request.js'
import { Duration, MetadataLock } from './lock/metadata-modes.js'
import { Scope } from './lock/metadata-object.js'
import type { Steps } from './txn/outcome.js'
import type { TableStore } from './txn/table-store.js'
import type { Trx } from './txn/trx.js'

/**
 * The tables that a transaction has locked as a whole (LOCK TABLES inside a transaction). Each is locked twice: by name, against whoever
 * would use or change it, with SRO or SNRW; and among row locks, with S or X, which make row locks of its own superfluous. Both are held
 * to the end of the transaction, or to `unlock`. A deadlock takes such a transaction last.
 *
 * Under `db.lockTables` the first kind belongs to the session, and only what the transaction adds is its own.
 */
export class TransactionTableLocks {
  readonly #db: Database
  readonly #trx: Trx
  readonly #duration: Duration
  readonly #tables: Map<TableStore, TableLock.S | TableLock.X> = new Map()

  constructor(db: Database, trx: Trx) {
    this.#db = db
    this.#trx = trx
    this.#duration = trx.owner.keepsExplicit ? Duration.Transaction : Duration.Explicit
  }

  *lock(table: object, mode: 'read' | 'write'): Steps<void> {
    const { owner } = this.#trx
    owner.diesLast = true
    try {
      yield* this.#lockName(table, mode)
      const store = this.#db.storeOf(table)
      const lock = mode === 'read' ? TableLock.S : TableLock.X
      yield* this.#db.engine.rowLocks.table(this.#trx, store.id, lock)
      if (this.#tables.get(store) !== TableLock.X) this.#tables.set(store, lock)
    } catch (error) {
      if (this.#tables.size === 0) this.unlock()
      throw error
    }
  }

  /** Gives the tables back. What the transaction has read or changed in them stays locked as if they had not been. */
  unlock(): void {
    const { owner } = this.#trx
    const { locks } = this.#db.engine.rowLocks
    for (const [store, lock] of this.#tables) {
      const used = locks.metadataHeld(owner, this.#db.tableUse.objectOf(store), Duration.Transaction)
      locks.unlockTable(owner, store.id, lock)
      if (used === 0) continue
      // Nobody can be in the way: the name is still locked.
      const intention = (used & (1 << MetadataLock.SW)) === 0 ? TableLock.IS : TableLock.IX
      assert(locks.lockTable(owner, store.id, intention, false) <= LockResult.AlreadyHeld, 'a table was locked under a table lock')
    }
    this.#tables.clear()
    if (owner.keepsExplicit) return
    locks.unlockAllMetadata(owner, Duration.Explicit)
    owner.diesLast = false
  }

  *#lockName(table: object, mode: 'read' | 'write'): Steps<void> {
    const { tableUse } = this.#db
    const { rowLocks } = this.#db.engine
    const { locks } = rowLocks
    const { owner, mayWait } = this.#trx
    const lockScope = (scope: Scope): LockResult => locks.lockMetadata(owner, scope, MetadataLock.IX, this.#duration, mayWait)
    if (mode === 'write') yield* rowLocks.settle(this.#trx, lockScope(Scope.Global))
    yield* rowLocks.settle(this.#trx, lockScope(Scope.TableLocks))
    const lock = mode === 'read' ? MetadataLock.SRO : MetadataLock.SNRW
    // After a wait the table may have another name, which is then the one to lock.
    const lockName = (): LockResult => locks.lockMetadata(owner, tableUse.objectOf(this.#db.storeOf(table)), lock, this.#duration, mayWait)
    for (let result = lockName(); result > LockResult.AlreadyHeld; result = lockName()) yield* rowLocks.settle(this.#trx, result)
  }
}
