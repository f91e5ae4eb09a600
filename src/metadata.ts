import type { LockInfo } from './lock/lock-request.js'
import type { MetadataModeName } from './lock/metadata-modes.js'
import type { Engine } from './txn/engine.js'

/** A metadata lock held or waited for, as MySQL's metadata_locks has it. */
export interface MetadataLockInfo {
  /** `tx.id` of the transaction; undefined for what is none: a schema change, a freeze, LOCK TABLES between its transactions. */
  transaction: number | undefined
  /** Who holds it or waits for it, for people: 'transaction 7', "drop of table 'accounts'". */
  holder: string
  /** The table's name; or 'GLOBAL' (every change), 'COMMIT' (every commit), 'TABLE LOCKS' (every LOCK TABLES). */
  object: string
  kind: 'table' | 'scope'
  mode: MetadataModeName
  status: 'granted' | 'waiting'
  /** Of a waiting lock: the holders it waits for. */
  blockedBy: string[]
}

/** Lists the metadata locks, scopes first. While nobody freezes the database, statements and commits under way are not in it. */
export function listMetadataLocks(engine: Engine): MetadataLockInfo[] {
  return Array.from(engine.rowLocks.locks.metadataLocks(), describeMetadataLock)
}

function describeMetadataLock({ owner, object, kind, mode, status, blockedBy }: LockInfo): MetadataLockInfo {
  return {
    transaction: owner.id === 0 ? undefined : owner.id,
    holder: owner.name,
    object: object ?? '',
    kind: kind === 'scope' ? 'scope' : 'table',
    mode: mode as MetadataModeName,
    status,
    blockedBy: [...new Set(blockedBy.map((blocker) => blocker.name))],
  }
}
