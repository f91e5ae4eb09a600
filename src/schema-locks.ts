import type { Database } from './database.js'
import { LockOwner } from './lock/lock-owner.js'
import { LockResult } from './lock/lock-request.js'
import type { LockSystem } from './lock/lock-system.js'
import { Duration, MetadataLock } from './lock/metadata-modes.js'
import { Scope } from './lock/metadata-object.js'
import type { Steps } from './txn/row-locks.js'

/**
 * The metadata locks of something that is no transaction: a schema change, LOCK TABLES, a freeze. They are held until they are given
 * back, and a deadlock takes them last.
 *
 *   using locks = new SchemaLocks(db, `drop of table '${name}'`)
 *   await locks.change()                       // a freeze waits for this, and this for a freeze
 *   await locks.lock(name, MetadataLock.X)     // open transactions on the table are waited for
 */
export class SchemaLocks implements Disposable {
  readonly owner: LockOwner
  readonly #db: Database
  readonly #signal: AbortSignal | undefined
  /** Milliseconds a wait may last; undefined for the database's. */
  readonly #wait: number | undefined

  /** @param what For reports: "drop of table 't'". */
  constructor(db: Database, what: string, signal?: AbortSignal, wait?: number) {
    this.#db = db
    this.#signal = signal
    this.#wait = wait
    this.owner = new LockOwner(0, what)
    this.owner.diesLast = true
  }

  /** Every change of a schema comes under this, from before its first lock to after its commit. */
  change(): Promise<void> {
    return this.lockScope(Scope.Global, MetadataLock.IX)
  }

  /**
   * Locks a table's name, be there such a table or not. Held in a weaker mode already, this is an upgrade.
   * Raises ERR_LOCK_WAIT_TIMEOUT, ERR_DEADLOCK, ERR_CLOSED; what was locked before stays locked.
   */
  async lock(name: string, lock: MetadataLock): Promise<void> {
    await this.#lock(this.#locks.metadataObject(name), lock)
  }

  /** The same for a table of a handle, by the name it has when the lock is granted. Raises ERR_NO_SUCH_TABLE if it was dropped meanwhile. */
  async lockTable(table: object, lock: MetadataLock): Promise<void> {
    for (let name = ''; name !== this.#db.storeOf(table).name; ) {
      name = this.#db.storeOf(table).name
      await this.lock(name, lock)
    }
  }

  /** The same for one of the scopes. */
  async lockScope(scope: Scope, lock: MetadataLock): Promise<void> {
    await this.#lock(scope, lock)
  }

  /** Keeps only this mode, weaker than what is held: others may go on. */
  downgrade(name: string, lock: MetadataLock): void {
    this.#locks.unlockMetadata(this.owner, this.#locks.metadataObject(name), Duration.Explicit, lock)
  }

  unlockScope(scope: Scope): void {
    this.#locks.unlockMetadata(this.owner, scope, Duration.Explicit)
  }

  /** Gives everything back. */
  release(): void {
    this.#locks.releaseAll(this.owner)
  }

  [Symbol.dispose](): void {
    this.release()
  }

  get #locks(): LockSystem {
    return this.#db.engine.rowLocks.locks
  }

  async #lock(object: number, lock: MetadataLock): Promise<void> {
    this.#db.mustBeOpen()
    const result = this.#locks.lockMetadata(this.owner, object, lock, Duration.Explicit, true)
    if (result <= LockResult.AlreadyHeld) return
    const steps: Steps<void> = this.#db.engine.rowLocks.settleOf(this.owner, result)
    const first = steps.next()
    if (first.done !== true) await this.#db.waits.finish(steps, first.value, this.#db.timeouts(this.#wait, this.#signal))
  }
}
