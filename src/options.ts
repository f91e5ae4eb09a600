import { totalmem } from 'node:os'
import { constrainedMemory } from 'node:process'
import { describe, InvalidArgumentError } from './base/errors.js'
import type { LockWait } from './lock/directory-lock.js'
import type { Environment } from './platform/environment.js'
import { MAX_FRAMES, MIN_FRAMES } from './storage/frame-pool.js'
import { Page } from './storage/page-format.js'
import type { RecoveryOptions, RecoveryProgress } from './txn/recovery.js'
import type { IsolationLevel } from './txn/trx.js'
import type { Durability } from './wal/write-ahead-log.js'

export interface OpenOptions {
  /** Isolation of transactions that do not say otherwise. Default 'repeatable-read', as InnoDB. */
  isolation?: IsolationLevel
  /**
   * What an acknowledged commit has behind it: 'sync' (default), it is on disk; 'write', the operating system has it, and it is
   * synced within a second or so: power loss may take the last second, a crash of the process nothing; 'lazy', neither is sure
   * for about a second. As innodb_flush_log_at_trx_commit 1, 2 and 0.
   */
  durability?: Durability
  /**
   * How auto-increment values are given, as innodb_autoinc_lock_mode: 0, traditional: one statement at a time; 1 (default), consecutive:
   * only streams (`insertFrom`) make others wait; 2, interleaved: nobody waits, and a stream's values may have gaps. docs/locking.md, A.
   */
  autoIncrementLockMode?: 0 | 1 | 2
  /** Milliseconds a statement waits for a lock. Default 50,000. */
  lockWaitTimeout?: number
  /** Milliseconds that a statement or schema change waits for a metadata lock. Default: lockWaitTimeout. */
  metadataLockTimeout?: number
  /** Bytes of memory for pages: 2 MiB to 2 GiB. Default: a quarter of the memory there is, at most 1 GiB. It is taken only as it is used. */
  cacheSize?: number
  /** Milliseconds to keep trying while somebody else has the directory. Default 0. */
  waitForLock?: number
  /** Called when somebody else has the directory, and after every further attempt in vain (each 50 ms). What it raises ends the wait. */
  onLockWait?: (wait: LockWait) => void
  /**
   * Milliseconds for which a snapshot, a transaction's view or a range read may hold back purge. One that does so for longer is given
   * up: its next read raises ERR_SNAPSHOT_TOO_OLD. Default: for ever.
   */
  maxViewAge?: number
  /** Milliseconds after which an open transaction is long: `db.on('longTransaction', …)`. Default 10,000. */
  longTransactionTime?: number
  /**
   * Refuses with ERR_SELF_WAIT a call, made inside a transaction's function, that would wait for a lock of that very transaction, and
   * tells in messages where transactions were begun. Costs speed, in every promise of the process. Default: when NODE_ENV is
   * 'development' or 'test'.
   */
  detectSelfWaits?: boolean
  /** Directory of the write-ahead log. Default: `wal` within the database's. It must always be given alike. */
  walDirectory?: string
  /** Shows the newest checkpoint and changes nothing. Default false. */
  readOnly?: boolean
  /**
   * Opens without the directory lock. With `readOnly`: beside whoever has it, showing its newest checkpoint, which `db.refresh()` moves on.
   * Without: instead of whoever has it, who gets ERR_ANOTHER_WRITER from then on; read docs/guarantees.md first. Default false.
   */
  unsafeShared?: boolean
  /** Log bytes after which a checkpoint begins. Default 64 MiB: what recovery has to read at most, more or less. */
  checkpointBytes?: number
  /** Milliseconds after which a checkpoint begins if anything was committed. Default 60,000. */
  checkpointInterval?: number
  /** Bytes of one log file. Default 16 MiB. */
  logSegmentSize?: number
  /**
   * Answers `npx nextkey status`, `locks` and `backup` from other processes of this machine while the database is open, through a local
   * socket in the directory that only this user can reach. Default false.
   */
  inspect?: boolean
  /** Called now and then while a long recovery is under way. */
  onRecovery?: (progress: RecoveryProgress) => void
}

export type ResolvedOptions = Required<Omit<OpenOptions, WithoutDefault>> & Pick<OpenOptions, WithoutDefault>

type WithoutDefault = 'walDirectory' | 'onLockWait' | 'onRecovery' | 'logSegmentSize' | 'maxViewAge' | 'detectSelfWaits'

export const ISOLATION_LEVELS: readonly IsolationLevel[] = [
  'read-uncommitted',
  'read-committed',
  'repeatable-read',
  'serializable',
  'snapshot',
]

/** Checks every option, by name, type and range, before anything is touched. Raises ERR_INVALID_ARGUMENT. */
export function resolveOptions(options: OpenOptions): ResolvedOptions {
  if (typeof options !== 'object' || options === null)
    throw new InvalidArgumentError(`the options of open() are an object, not ${describe(options)}`)
  for (const [name, value] of Object.entries(options)) {
    const check = CHECKS[name as keyof OpenOptions]
    if (check === undefined) throw new InvalidArgumentError(`open() has no option '${name}'${suggestion(name)}`, { option: name })
    if (value === undefined) continue
    const wanted = check(value)
    if (wanted !== undefined)
      throw new InvalidArgumentError(`option '${name}' of open() must be ${wanted}, not ${describe(value)}`, { option: name, value })
  }
  return {
    ...DEFAULTS,
    ...withoutUndefined(options),
    cacheSize: options.cacheSize ?? defaultCacheSize(),
    metadataLockTimeout: options.metadataLockTimeout ?? options.lockWaitTimeout ?? DEFAULTS.lockWaitTimeout,
  }
}

export function detectsSelfWaits({ detectSelfWaits }: ResolvedOptions, environment: Environment): boolean {
  return detectSelfWaits ?? DEVELOPMENT.has(environment.variable('NODE_ENV') ?? '')
}

const DEVELOPMENT: ReadonlySet<string> = new Set(['development', 'test'])

/** What the engine is opened with, in this directory. */
export function recoveryOptions(directory: string, options: ResolvedOptions): RecoveryOptions {
  return {
    directory,
    logDirectory: options.walDirectory ?? `${directory}/wal`,
    durability: options.durability,
    cacheSize: options.cacheSize,
    checkpointBytes: options.checkpointBytes,
    checkpointInterval: options.checkpointInterval,
    maxViewAge: options.maxViewAge,
    readOnly: options.readOnly,
    shared: options.unsafeShared,
    segmentSize: options.logSegmentSize,
    onProgress: options.onRecovery,
  }
}

const DEFAULTS: Omit<ResolvedOptions, 'cacheSize' | 'metadataLockTimeout'> = {
  isolation: 'repeatable-read',
  durability: 'sync',
  autoIncrementLockMode: 1,
  lockWaitTimeout: 50_000,
  waitForLock: 0,
  longTransactionTime: 10_000,
  readOnly: false,
  unsafeShared: false,
  inspect: false,
  checkpointBytes: 64 * 2 ** 20,
  checkpointInterval: 60_000,
}

type Check = (value: unknown) => string | undefined

const CHECKS: Record<keyof OpenOptions, Check> = {
  isolation: oneOf(...ISOLATION_LEVELS),
  durability: oneOf('sync', 'write', 'lazy'),
  autoIncrementLockMode: oneOf(0, 1, 2),
  lockWaitTimeout: between(0, 2 ** 31 - 1, 'milliseconds'),
  metadataLockTimeout: between(0, 2 ** 31 - 1, 'milliseconds'),
  cacheSize: between(MIN_FRAMES * Page.Size, MAX_FRAMES * Page.Size, 'bytes'),
  waitForLock: between(0, 2 ** 31 - 1, 'milliseconds'),
  maxViewAge: between(1, 2 ** 31 - 1, 'milliseconds'),
  longTransactionTime: between(1, 2 ** 31 - 1, 'milliseconds'),
  detectSelfWaits: oneOf(true, false),
  walDirectory: (value) => (typeof value === 'string' && value !== '' ? undefined : 'the path of a directory'),
  readOnly: oneOf(true, false),
  unsafeShared: oneOf(true, false),
  inspect: oneOf(true, false),
  checkpointBytes: between(65536, 2 ** 40, 'bytes'),
  checkpointInterval: between(1, 2 ** 31 - 1, 'milliseconds'),
  logSegmentSize: (value) =>
    Number.isInteger(value) && (value as number) >= 65536 && (value as number) <= 2 ** 30 && (value as number) % 4096 === 0
      ? undefined
      : 'a multiple of 4096 from 65536 to 1 GiB',
  onLockWait: aFunction,
  onRecovery: aFunction,
}

function aFunction(value: unknown): string | undefined {
  return typeof value === 'function' ? undefined : 'a function'
}

function oneOf(...values: unknown[]): Check {
  const list = values.map((value) => describe(value)).join(', ')
  return (value) => (values.includes(value) ? undefined : `one of ${list}`)
}

function between(least: number, most: number, unit: string): Check {
  return (value) =>
    typeof value === 'number' && value >= least && value <= most ? undefined : `a number from ${least} to ${most} (${unit})`
}

function defaultCacheSize(): number {
  // 0 and absurdly large values mean "not constrained".
  const constrained = constrainedMemory() ?? 0
  const memory = constrained > 0 && constrained < totalmem() ? constrained : totalmem()
  return Math.max(MIN_FRAMES * Page.Size, Math.min(2 ** 30, Math.floor(memory / 4)))
}

function withoutUndefined(options: OpenOptions): OpenOptions {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined))
}

/** The option that was meant, if one is near. */
function suggestion(name: string): string {
  const wanted = name.toLowerCase()
  const near = Object.keys(CHECKS).find((known) => known.toLowerCase() === wanted || known.toLowerCase().startsWith(wanted.slice(0, 5)))
  return near === undefined ? `; there are ${Object.keys(CHECKS).join(', ')}` : `: did you mean '${near}'?`
}
