import { describe, InvalidArgumentError } from './base/errors.js'
import type { Database } from './database.js'
import { MetadataLock } from './lock/metadata-modes.js'
import { Scope } from './lock/metadata-object.js'
import { type CoarseWait, checkCoarseWait, SchemaLocks } from './schema-locks.js'

/**
 * FLUSH TABLES WITH READ LOCK. In this order:
 *
 * 1. S on everything: no statement that changes rows and no schema change begins; those under way are waited for.
 * 2. S on table locks, given back at once: whoever has locked tables is waited for.
 * 3. S on commits: transactions that have changed rows stay open.
 *
 * Whatever it waits for, and whoever waits for it, is in the one graph; being light on locks, it is nevertheless taken last.
 */
export async function freeze<T>(db: Database, work: () => Promise<T> | T, options: CoarseWait): Promise<T> {
  checkCoarseWait(options, 'freeze()')
  if (typeof work !== 'function') throw new InvalidArgumentError(`freeze() takes a function to run, not ${describe(work)}`)
  // Not in the turn of a caller who may be in the middle of a statement: an updater, a condition.
  await db.engine.environment.clock.macrotask()
  db.mustBeOpen()
  const locks = new SchemaLocks(db, 'freeze', options)
  db.tableUse.beginFreeze()
  try {
    await locks.lockScope(Scope.Global, MetadataLock.S)
    await locks.lockScope(Scope.TableLocks, MetadataLock.S)
    locks.unlockScope(Scope.TableLocks)
    await locks.lockScope(Scope.Commit, MetadataLock.S)
    return await db.watch.inside(locks.owner, work)
  } finally {
    locks.release()
    db.tableUse.endFreeze()
  }
}
