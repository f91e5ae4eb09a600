/**
 * A SQL connection on top of the API: isolation level, autocommit flag, BEGIN … COMMIT, savepoints by name, LOCK TABLES, FLUSH TABLES WITH
 * READ LOCK. A statement outside a transaction is a transaction of its own, a plain read too: as a statement of SQL, it may have to wait for the
 * definition of its table, which the reads of a table handle never do.
 */
import type { Finished } from './adapter.js'
import type { IsolationCode, StatementResult, Step } from './format.js'
import type { FaceDatabase, FaceIsolation, FaceLockedTables, FaceSchemaChange, FaceTable, FaceTransaction } from './nextkey-face.js'
import {
  insert,
  insertSelect,
  isPlainRead,
  isRead,
  type OpenTable,
  read,
  remove,
  type StatementContext,
  update,
} from './nextkey-statements.js'

export const ISOLATION_OF: Readonly<Record<IsolationCode, FaceIsolation>> = {
  RU: 'read-uncommitted',
  RC: 'read-committed',
  RR: 'repeatable-read',
  SER: 'serializable',
}

/** The error codes of the golden data. */
const GOLDEN_CODE: Readonly<Record<string, string>> = {
  ERR_DEADLOCK: 'deadlock',
  ERR_DUPLICATE_KEY: 'duplicateKey',
  ERR_LOCK_NOT_AVAILABLE: 'lockNotAvailable',
  ERR_LOCK_WAIT_TIMEOUT: 'lockWaitTimeout',
  ERR_READ_ONLY: 'readOnlyTransaction',
  ERR_CONFLICT: 'recordChanged',
  ERR_TABLE_CHANGED: 'tableDefinitionChanged',
  ERR_NO_SUCH_TABLE: 'noSuchTable',
  ERR_AUTO_INCREMENT_EXHAUSTED: 'autoIncReadFailed',
}

/** Errors that end the whole transaction. */
const ENDS_TRANSACTION: ReadonlySet<string> = new Set(['ERR_DEADLOCK', 'ERR_CONFLICT'])

/** What the sessions of one run share. */
export interface Shared {
  db(): FaceDatabase
  table(name: string | undefined): OpenTable
  /** Schema calls, purge, restart: whatever is not a session's own. */
  administer(step: Step, options: FaceSchemaChange): Promise<StatementResult>
}

function codeOf(error: unknown): string {
  const code = (error as { code?: unknown } | undefined)?.code
  return typeof code === 'string' ? code : ''
}

export function goldenError(error: unknown): { code: string; message?: string } {
  const code = codeOf(error)
  const golden = GOLDEN_CODE[code]
  if (golden !== undefined) return { code: golden }
  return { code: code || 'unexpected', message: error instanceof Error ? (error.stack ?? error.message) : String(error) }
}

/** Schema changes commit the session's open transaction first. */
const SCHEMA_CHANGES: ReadonlySet<string> = new Set(['truncate', 'createIndex', 'dropTable', 'renameTable', 'setAutoIncrement'])
const ADMINISTRATION: ReadonlySet<string> = new Set([...SCHEMA_CHANGES, 'waitForPurge', 'restartServer', 'sleep'])

const NOTHING_AFFECTED: StatementResult = { affected: 0 }

export class Session {
  readonly #shared: Shared
  #isolation: FaceIsolation
  #autocommit = true
  #lockWaitTimeout: number | undefined
  #lastInsertId = 0
  /** Begun by BEGIN, or by the first statement without autocommit. */
  #open: FaceTransaction | undefined
  /** The locks of LOCK TABLES, until they are given up; transactions run under them meanwhile. */
  #lockedTables: FaceLockedTables | undefined
  /** The transaction of the one autocommit statement under way. */
  #single: FaceTransaction | undefined
  #savepoints = new Map<string, { tx: FaceTransaction; mark: unknown } | undefined>()
  #thaw: (() => void) | undefined
  #ending = false

  constructor(shared: Shared, isolation: FaceIsolation) {
    this.#shared = shared
    this.#isolation = isolation
  }

  /** Ids of the transactions that are this session's. */
  get transactionIds(): number[] {
    return [this.#open, this.#single].flatMap((tx) => (tx === undefined ? [] : [tx.id]))
  }

  /** Milliseconds a wait of this session lasts at most, where it has said so itself. */
  get lockWaitTimeout(): number | undefined {
    return this.#lockWaitTimeout
  }

  async run(step: Step): Promise<Finished> {
    try {
      return { result: await this.#perform(step) }
    } catch (error) {
      return { error: goldenError(error) }
    }
  }

  /** Rolls back whatever is open, a statement that still waits included. */
  async end(): Promise<void> {
    this.#ending = true
    this.#thaw?.()
    const open = this.#open
    this.#forgetTransaction()
    await open?.rollback()
    this.#lockedTables?.unlock()
    this.#lockedTables = undefined
  }

  /** The server went away and with it everything this session had open. */
  disconnect(): void {
    this.#forgetTransaction()
    this.#lockedTables = undefined
  }

  #perform(step: Step): Promise<StatementResult> | StatementResult {
    const { op, args } = step
    switch (op) {
      case 'begin':
        return this.#begin(args.consistentSnapshot === true, args.readOnly === true)
      case 'commit':
      case 'rollback':
        return this.#finish(op)
      case 'savepoint':
        return this.#savepoint(args.name ?? '')
      case 'rollbackToSavepoint':
        return this.#rollbackTo(args.name ?? '')
      case 'setAutocommit':
        return this.#setAutocommit(args.on === true)
      case 'setIsolation':
        this.#isolation = ISOLATION_OF[args.level ?? 'RR']
        return NOTHING_AFFECTED
      case 'setLockWaitTimeout':
      case 'setMetadataLockTimeout':
        this.#lockWaitTimeout = (args.seconds ?? 0) * 1000
        return NOTHING_AFFECTED
      case 'lastInsertId':
        return { rows: [{ id: this.#lastInsertId }] }
      case 'noop':
        return { rows: [{ one: 1 }] }
      case 'lockTables':
        return this.#lockTables(args.tables ?? [])
      case 'unlockTables':
        return this.#unlockTables()
      case 'flushTablesWithReadLock':
        return this.#freeze()
      default:
        return ADMINISTRATION.has(op) ? this.#administer(step) : this.#statement(step)
    }
  }

  async #begin(snapshotNow: boolean, readOnly: boolean): Promise<StatementResult> {
    await this.#finish('commit')
    if (this.#lockedTables !== undefined) await this.#unlockTables()
    this.#open = await this.#beginTransaction({ snapshotNow, readOnly })
    return NOTHING_AFFECTED
  }

  #beginTransaction(options: { snapshotNow?: boolean; readOnly?: boolean } = {}, isolation = this.#isolation): Promise<FaceTransaction> {
    const snapshotNow = options.snapshotNow === true ? { snapshotNow: true } : {}
    const readOnly = options.readOnly === true ? { readOnly: true } : {}
    return (this.#lockedTables ?? this.#shared.db()).begin({ isolation, ...snapshotNow, ...readOnly })
  }

  #forgetTransaction(): void {
    this.#open = undefined
    this.#savepoints.clear()
  }

  async #finish(how: 'commit' | 'rollback'): Promise<StatementResult> {
    const tx = this.#open
    if (tx === undefined) return NOTHING_AFFECTED
    await tx[how]()
    this.#forgetTransaction()
    return NOTHING_AFFECTED
  }

  #savepoint(name: string): StatementResult {
    this.#savepoints.set(name, this.#open && { tx: this.#open, mark: this.#open.savepoint() })
    return NOTHING_AFFECTED
  }

  async #rollbackTo(name: string): Promise<StatementResult> {
    const savepoint = this.#savepoints.get(name)
    if (savepoint !== undefined) await savepoint.tx.rollbackTo(savepoint.mark)
    // Set before the transaction had begun: nothing precedes it.
    else if (this.#savepoints.has(name)) await this.#finish('rollback')
    return NOTHING_AFFECTED
  }

  async #setAutocommit(on: boolean): Promise<StatementResult> {
    if (on) await this.#finish('commit')
    this.#autocommit = on
    return NOTHING_AFFECTED
  }

  async #lockTables(tables: readonly { table: string; mode: string }[]): Promise<StatementResult> {
    await this.#finish('commit')
    await this.#unlockTables()
    const wanted = tables.map(
      ({ table, mode }) => ({ handle: this.#shared.table(table).handle, mode: mode === 'write' ? 'write' : 'read' }) as const,
    )
    const ofMode = (mode: 'read' | 'write'): FaceTable[] => wanted.flatMap((each) => (each.mode === mode ? [each.handle] : []))
    this.#lockedTables = await this.#shared.db().lockTables({ read: ofMode('read'), write: ofMode('write') }, this.#waitOption())
    if (this.#ending) await this.end()
    else if (!this.#autocommit) {
      // InnoDB's own table locks are for the transaction, which LOCK TABLES begins.
      this.#open = await this.#beginTransaction()
      for (const { handle, mode } of wanted) await this.#open.lockTable(handle, mode)
    }
    return NOTHING_AFFECTED
  }

  async #unlockTables(): Promise<StatementResult> {
    this.#thaw?.()
    if (this.#lockedTables === undefined) return NOTHING_AFFECTED
    await this.#finish('commit')
    this.#lockedTables.unlock()
    this.#lockedTables = undefined
    return NOTHING_AFFECTED
  }

  #waitOption(): { wait?: number } {
    return this.#lockWaitTimeout === undefined ? {} : { wait: this.#lockWaitTimeout }
  }

  /** Resolves once everything is frozen; the thaw comes with UNLOCK TABLES. */
  #freeze(): Promise<StatementResult> {
    return new Promise((resolve, reject) => {
      const thawed = new Promise<void>((thaw) => {
        this.#thaw = () => {
          this.#thaw = undefined
          thaw()
        }
      })
      this.#shared
        .db()
        .freeze(() => {
          resolve(NOTHING_AFFECTED)
          if (this.#ending) this.#thaw?.()
          return thawed
        }, this.#waitOption())
        .catch(reject)
    })
  }

  async #administer(step: Step): Promise<StatementResult> {
    if (SCHEMA_CHANGES.has(step.op)) await this.#finish('commit')
    const under = this.#lockedTables === undefined ? {} : { under: this.#lockedTables }
    return this.#shared.administer(step, { ...under, ...this.#waitOption() })
  }

  #context(): StatementContext {
    return {
      table: (name) => this.#shared.table(name),
      lockWaitTimeout: this.#lockWaitTimeout,
      locksSource: this.#isolation === 'repeatable-read' || this.#isolation === 'serializable' || this.#isolation === 'snapshot',
      generated: (id) => {
        this.#lastInsertId = id
      },
    }
  }

  async #statement(step: Step): Promise<StatementResult> {
    if (this.#open === undefined && this.#autocommit) return this.#autocommitStatement(step)
    this.#open ??= await this.#beginTransaction()
    try {
      return await this.#execute(this.#open, step)
    } catch (error) {
      if (ENDS_TRANSACTION.has(codeOf(error))) this.#forgetTransaction()
      throw error
    }
  }

  async #autocommitStatement(step: Step): Promise<StatementResult> {
    // Outside transactions SERIALIZABLE leaves plain reads alone.
    const isPlain = isPlainRead(step.op) && this.#isolation === 'serializable'
    const tx = await this.#beginTransaction({}, isPlain ? 'repeatable-read' : this.#isolation)
    this.#single = tx
    try {
      const result = await this.#execute(tx, step)
      await (this.#ending ? tx.rollback() : tx.commit())
      return result
    } catch (error) {
      if (!ENDS_TRANSACTION.has(codeOf(error))) await tx.rollback()
      throw error
    } finally {
      this.#single = undefined
    }
  }

  #execute(tx: FaceTransaction, { op, args }: Step): Promise<StatementResult> {
    const context = this.#context()
    if (isRead(op)) return read(context, tx, op, args)
    switch (op) {
      case 'update':
        return update(context, tx, args)
      case 'delete':
        return remove(context, tx, args)
      case 'insertSelect':
        return insertSelect(context, tx, args)
      case 'insert':
      case 'insertIgnore':
      case 'upsert':
      case 'replace':
        return insert(context, tx, op, args)
      default:
        throw new Error(`the adapter does not know the operation ${op}`)
    }
  }
}
