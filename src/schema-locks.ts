import { describe, InvalidArgumentError } from './base/errors.js'
import type { Database } from './database.js'
import { LockOwner } from './lock/lock-owner.js'
import { LockResult } from './lock/lock-request.js'
import type { LockSystem } from './lock/lock-system.js'
import { Duration, MetadataLock } from './lock/metadata-modes.js'
import { Scope } from './lock/metadata-object.js'
import type { LockedTables } from './locked-tables.js'
import { mustKnow } from './table-options.js'

/** How a coarse lock is waited for. */
export interface CoarseWait {
  /** Milliseconds per wait. Default: metadataLockTimeout. */
  wait?: number
  /** Ends a wait with ERR_ABORTED. */
  signal?: AbortSignal
}

export interface SchemaChangeOptions extends CoarseWait {
  /** Table locks of the caller's, under which the change is made: it need not wait for them, and they are held on. */
  under?: LockedTables
}

/** Raises ERR_INVALID_ARGUMENT. */
export function checkCoarseWait(options: SchemaChangeOptions, what: string, known: ReadonlySet<string> = COARSE_WAIT): void {
  if (typeof options !== 'object' || options === null)
    throw new InvalidArgumentError(`the options of ${what} are an object, not ${describe(options)}`)
  mustKnow(options, known, what)
  const { wait } = options
  if (wait !== undefined && !(typeof wait === 'number' && wait >= 0))
    throw new InvalidArgumentError(`option 'wait' of ${what} is a number of milliseconds, not ${describe(wait)}`, { wait })
}

const COARSE_WAIT: ReadonlySet<string> = new Set(['wait', 'signal'])
export const SCHEMA_CHANGE: ReadonlySet<string> = new Set([...COARSE_WAIT, 'under'])

/**
 * The metadata locks of something that is no transaction: a schema change, LOCK TABLES, a freeze. They are held until they are given
 * back, and a deadlock takes them last.
 *
 *   using locks = new SchemaLocks(db, `drop of table '${name}'`)
 *   await locks.change()                       // a freeze waits for this, and this for a freeze
 *   await locks.lock(name, MetadataLock.X)     // open transactions on the table are waited for
 *
 * Under table locks of the caller's, the owner is theirs, and what it held before is what it holds again afterwards.
 */
export class SchemaLocks implements Disposable {
  readonly owner: LockOwner
  readonly #db: Database
  readonly #options: SchemaChangeOptions
  /** Under locks of the caller's: what they were on each object locked since. */
  readonly #before: Map<number, number> = new Map()

  /** @param what For reports: "drop of table 't'". */
  constructor(db: Database, what: string, options: SchemaChangeOptions = {}) {
    this.#db = db
    this.#options = options
    this.owner = options.under?.beginChange(db) ?? new LockOwner(0, what)
    this.owner.diesLast = true
  }

  /** Every change of a schema comes under this, from before its first lock to after its commit. */
  change(): Promise<void> {
    return this.lockScope(Scope.Global, MetadataLock.IX)
  }

  /**
   * Locks a table's name, be there such a table or not. Held in a weaker mode already, this is an upgrade.
   * Raises ERR_LOCK_WAIT_TIMEOUT, ERR_DEADLOCK, ERR_ABORTED, ERR_CLOSED; what was locked before stays locked.
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
    const object = this.#locks.metadataObject(name)
    this.#locks.unlockMetadata(this.owner, object, Duration.Explicit, (1 << lock) | (this.#before.get(object) ?? 0))
  }

  unlockScope(scope: Scope): void {
    this.#locks.unlockMetadata(this.owner, scope, Duration.Explicit)
  }

  /** Gives everything back. */
  release(): void {
    const { under } = this.#options
    if (under === undefined) this.#locks.releaseAll(this.owner)
    else {
      for (const [object, before] of this.#before) this.#locks.unlockMetadata(this.owner, object, Duration.Explicit, before)
      under.endChange()
    }
  }

  [Symbol.dispose](): void {
    this.release()
  }

  get #locks(): LockSystem {
    return this.#db.engine.rowLocks.locks
  }

  async #lock(object: number, lock: MetadataLock): Promise<void> {
    this.#db.mustBeOpen()
    const { under, wait, signal } = this.#options
    if (under !== undefined && !this.#before.has(object))
      this.#before.set(object, this.#locks.metadataHeld(this.owner, object, Duration.Explicit))
    const result = this.#locks.lockMetadata(this.owner, object, lock, Duration.Explicit, true)
    if (result <= LockResult.AlreadyHeld) return
    const steps = this.#db.engine.rowLocks.settleOf(this.owner, result)
    const first = steps.next()
    if (first.done !== true) await this.#db.waits.finish(steps, first.value, this.#db.timeouts(wait, signal))
  }
}
