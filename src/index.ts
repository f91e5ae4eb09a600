export type { BackupOptions, BackupReport } from './backup.js'
export {
  ConflictError,
  DamagedError,
  DirectoryLockedError,
  DuplicateKeyError,
  type ErrorCode,
  InternalError,
  InvalidArgumentError,
  NextkeyError,
  SnapshotGoneError,
} from './base/errors.js'
export type { Key } from './codec/key-encoding.js'
export type { CompactReport } from './compact.js'
export { type Database, open } from './database.js'
export type { Lock, LongTransaction, TransactionInfo } from './introspection.js'
export type { Deadlock } from './lock/deadlock.js'
export type { LockWait } from './lock/directory-lock.js'
export type { AnyTable, LockedTables, TablesToLock } from './locked-tables.js'
export type { LongWorkOptions } from './long-work.js'
export type { MetadataLockInfo } from './metadata.js'
export type { OpenOptions } from './options.js'
export type { Range } from './range.js'
export type { Results } from './results.js'
export type { OnDuplicate } from './row-statements.js'
export type { IndexBuildOptions } from './schema-changes.js'
export type { CoarseWait, SchemaChangeOptions } from './schema-locks.js'
export type { Snapshot } from './snapshot.js'
export type { Status } from './status.js'
export type { SyncTransaction } from './sync-transaction.js'
export type { Index, InsertOptions, Row, Table } from './table.js'
export type { IndexOptions, TableOptions } from './table-options.js'
export type { AsyncResults, Transaction } from './transaction.js'
export type {
  LockOptions,
  ManagedTransactionOptions,
  Savepoint,
  TransactionOptions,
  TransactionRange,
} from './transaction-core.js'
export type { CheckReport } from './txn/check.js'
export type { RecoveryProgress } from './txn/recovery.js'
export type { IsolationLevel } from './txn/trx.js'
export type { WaitOption } from './wait-option.js'
export type { Durability } from './wal/write-ahead-log.js'
export type { DatabaseEvents } from './watch.js'
