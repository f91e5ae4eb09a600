/**
 * The error catalogue. Every error that reaches a caller is a NextkeyError: a stable `code`, whether a new attempt
 * of the same work can succeed (`retryable`), and a message that says what happened and what to do.
 * A new kind of error is a new code here and, where callers would want to catch it by class or read fields, a subclass.
 */
export type ErrorCode =
  // Raised by any call, before anything is touched.
  | 'ERR_INVALID_ARGUMENT' // an option, key, row or range that has no meaning here
  | 'ERR_INVALID_KEY' // a value that cannot be a key
  | 'ERR_KEY_TOO_LONG' // a key longer than 2,048 bytes encoded, or an index entry longer than a quarter of a page
  | 'ERR_VALUE_TOO_LARGE' // a value beyond what the store can hold
  | 'ERR_INVALID_ROW' // a row that is not a plain object, lacks its key, or cannot be encoded
  | 'ERR_CLOSED' // the database is closed or closing
  | 'ERR_READ_ONLY' // a write to a database opened read-only
  // Raised when opening.
  | 'ERR_DIRECTORY_LOCKED' // somebody else has the directory open
  | 'ERR_LOCK_UNSUPPORTED' // the file system cannot take the directory lock
  | 'ERR_NOT_A_DATABASE' // the directory holds something else
  | 'ERR_FORMAT_VERSION' // written by a newer version
  | 'ERR_NOT_FOUND' // read-only open of a directory without a database
  // Raised by backups.
  | 'ERR_BACKUP_MISMATCH' // the copy that is there does not belong to the past of this database
  | 'ERR_BACKUP_RUNNING' // one at a time
  // Raised by schema calls.
  | 'ERR_TABLE_MISMATCH' // the table exists with another definition
  | 'ERR_NO_SUCH_TABLE'
  | 'ERR_NO_SUCH_INDEX'
  | 'ERR_INDEX_EXISTS'
  | 'ERR_TABLE_EXISTS'
  // Raised by statements and transactions.
  | 'ERR_DUPLICATE_KEY'
  | 'ERR_CONFLICT' // another transaction is changing this row, or changed it since the snapshot
  | 'ERR_DEADLOCK'
  | 'ERR_LOCK_WAIT_TIMEOUT'
  | 'ERR_LOCK_NOT_AVAILABLE' // nowait, or a synchronous call that would have to wait
  | 'ERR_SELF_WAIT' // waits for a lock held by the transaction it runs inside of
  | 'ERR_ABORTED' // an abort signal fired
  | 'ERR_TRANSACTION_ENDED' // the transaction was committed, rolled back or abandoned
  | 'ERR_TRANSACTION_OPEN' // a transaction under the same table locks is not ended yet
  | 'ERR_STATEMENT_PENDING' // commit with a statement nobody awaited, or a synchronous call beside one under way
  | 'ERR_NO_SUCH_SAVEPOINT'
  | 'ERR_SNAPSHOT_GONE' // the snapshot was closed, or its pages were reused
  | 'ERR_SNAPSHOT_TOO_OLD' // the snapshot or transaction outlived maxViewAge: what it showed is being purged
  | 'ERR_TABLE_CHANGED' // the table or index was made, truncated or dropped since the view was made
  | 'ERR_AUTO_INCREMENT_EXHAUSTED' // no safe integer left
  // Raised when the machine fails.
  | 'ERR_COMMIT_UNKNOWN' // the log could not be synced: the commit may or may not survive
  | 'ERR_IO' // the operating system refused a read or write
  | 'ERR_DISK_FULL'
  | 'ERR_ANOTHER_WRITER' // somebody else opened the directory for writing since: this one writes nothing more
  | 'ERR_POISONED' // an earlier failure closed the database to writes; reopen to recover
  | 'ERR_DAMAGED' // bytes on disk are not what was written
  | 'ERR_LOG_DAMAGED' // acknowledged commits in the write-ahead log cannot be read
  | 'ERR_INTERNAL' // an impossible state: a bug in nextkey

export interface ErrorDetails {
  /** Whether the same work, tried again in a new transaction, can succeed. Default false. */
  retryable?: boolean
  cause?: unknown
  /** Further facts for programs: the offending value, the table, the index, the file … */
  details?: Record<string, unknown>
}

export class NextkeyError extends Error {
  readonly code: ErrorCode
  readonly retryable: boolean
  readonly details: Readonly<Record<string, unknown>>

  constructor(code: ErrorCode, message: string, options: ErrorDetails = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.name = new.target.name
    this.code = code
    this.retryable = options.retryable ?? false
    this.details = options.details ?? {}
  }
}

/** A value or argument that has no meaning where it was given. Nothing was touched. */
export class InvalidArgumentError extends NextkeyError {
  constructor(message: string, details?: Record<string, unknown>, code: ErrorCode = 'ERR_INVALID_ARGUMENT') {
    super(code, message, details === undefined ? {} : { details })
  }
}

export class DuplicateKeyError extends NextkeyError {
  readonly table: string
  /** The index whose uniqueness was violated; 'PRIMARY' for the table's key. */
  readonly index: string
  readonly key: unknown
  /** Primary key of the row that is there. */
  readonly existing: unknown

  /** `second`: primary key of another row that has it, too, which keeps a unique index from being built. */
  constructor(table: string, index: string, key: unknown, existing: unknown, second?: unknown) {
    super(
      'ERR_DUPLICATE_KEY',
      second === undefined
        ? `table '${table}' already has a row with ${index === 'PRIMARY' ? 'key' : `index '${index}' key`} ${describe(key)}; use put() or { onDuplicate } to replace it`
        : `index '${index}' of table '${table}' cannot be unique: the rows ${describe(existing)} and ${describe(second)} both have the key ${describe(key)}`,
      {
        details: { table, index, key, existing, ...(second === undefined ? {} : { second }) },
      },
    )
    this.existing = existing
    this.table = table
    this.index = index
    this.key = key
  }
}

/** Another transaction is changing, or has since changed, what this one wanted. Try the transaction again. */
export class ConflictError extends NextkeyError {
  constructor(message: string, details?: Record<string, unknown>) {
    super('ERR_CONFLICT', message, details === undefined ? { retryable: true } : { retryable: true, details })
  }
}

/** A lock was not free, and the statement was told not to wait, or could not: NOWAIT, or a synchronous transaction. */
export class LockNotAvailableError extends NextkeyError {
  constructor() {
    super(
      'ERR_LOCK_NOT_AVAILABLE',
      'the lock is held by another transaction and this statement does not wait: try again when that has ended',
      { retryable: true },
    )
  }
}

/** A lock was waited for until the time was over. The statement was undone, the transaction goes on. */
export class LockWaitTimeoutError extends NextkeyError {
  /** `holders` as `details` has them; `described` for the message. */
  constructor(lock: string, holders: readonly string[], described: readonly string[] = holders) {
    const held = described.length === 0 ? '' : `, held by ${described.join(', ')}`
    super('ERR_LOCK_WAIT_TIMEOUT', `the ${lock} was not free in time${held}: the statement was undone; try it again, or roll back`, {
      retryable: true,
      details: { lock, holders },
    })
  }
}

/** A view, or a loop over rows, is older than what a schema change has made of the table. Try the transaction again. */
export class TableChangedError extends NextkeyError {
  constructor(table: string, index?: string) {
    const what = index === undefined ? `table '${table}'` : `index '${index}' of table '${table}'`
    super(
      'ERR_TABLE_CHANGED',
      `the definition of ${what} has changed since this view was made: begin another transaction, snapshot or loop`,
      {
        retryable: true,
        details: { table, ...(index === undefined ? {} : { index }) },
      },
    )
  }
}

export class DirectoryLockedError extends NextkeyError {
  /** What is known of the holder; fields are missing where it could not be read. */
  readonly holder: Readonly<Record<string, unknown>>

  constructor(message: string, holder: Record<string, unknown>) {
    super('ERR_DIRECTORY_LOCKED', message, { retryable: true, details: { holder } })
    this.holder = holder
  }
}

/**
 * What was being read is no more: the snapshot was closed, or, in a reader beside the owner of the directory, the owner has written over
 * its pages, or the reader has moved on. Begin the read again.
 */
export class SnapshotGoneError extends NextkeyError {
  constructor(message: string, details?: Record<string, unknown>) {
    super('ERR_SNAPSHOT_GONE', message, details === undefined ? { retryable: true } : { retryable: true, details })
  }
}

/** Bytes on disk are not what was written. `details` names file, place and what did not match. */
export class DamagedError extends NextkeyError {
  constructor(message: string, details: Record<string, unknown>, code: 'ERR_DAMAGED' | 'ERR_LOG_DAMAGED' = 'ERR_DAMAGED') {
    super(code, message, { details })
  }
}

/** An impossible state. The database stops before it writes anything more. */
export class InternalError extends NextkeyError {
  constructor(message: string, details?: Record<string, unknown>) {
    super('ERR_INTERNAL', `${message} (this is a bug in nextkey, please report it)`, details === undefined ? {} : { details })
  }
}

/** The ERR_ANOTHER_WRITER that this error is, or was caused by: no failure of the machine, and reopening would be the wrong advice. */
export function anotherWriterIn(error: unknown): NextkeyError | undefined {
  for (let at = error; at instanceof NextkeyError; at = at.cause) if (at.code === 'ERR_ANOTHER_WRITER') return at
  return undefined
}

/** A short, safe rendering of a user's value for a message. */
export function describe(value: unknown): string {
  if (typeof value === 'string') return value.length > 60 ? `${JSON.stringify(value.slice(0, 57))}…` : JSON.stringify(value)
  if (typeof value === 'bigint') return `${value}n`
  if (value instanceof Uint8Array) return `Uint8Array(${value.length})`
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? 'Invalid Date' : value.toISOString()
  if (typeof value === 'function') return `function ${value.name || '(anonymous)'}`
  if (Array.isArray(value)) return `[${value.slice(0, 8).map(describe).join(', ')}${value.length > 8 ? ', …' : ''}]`
  if (typeof value === 'object' && value !== null) return `{${Object.keys(value).slice(0, 8).join(', ')}}`
  return String(value)
}
