/**
 * The runner's view of this engine: a fresh database per scenario, on a simulated machine, with the sessions of nextkey-session.ts.
 *
 * A step is certainly waiting when its session's transaction is listed as waiting for several turns of the event loop in which nothing else
 * finished. A wait under a lock wait timeout that the scenario has set is then waited out, by moving the clock.
 */
import { setImmediate as turn } from 'node:timers/promises'
import type { EngineAdapter, EngineRun, Finished } from './adapter.js'
import type {
  Lock,
  ProbeGroup,
  ProbeOutcome,
  ProbeTarget,
  Row,
  Scenario,
  StatementResult,
  Step,
  TableSpec,
  Value,
  WaitsFor,
} from './format.js'
import { tablesOf } from './format.js'
import { Machine } from './machine.js'
import type { Face, FaceDatabase, FaceIsolation, FaceLock, FaceSchemaChange, FaceSyncTransaction, FaceTable } from './nextkey-face.js'
import { goldenError, ISOLATION_OF, Session } from './nextkey-session.js'
import { completeRow, keyOf, type OpenTable, valuesOf } from './nextkey-statements.js'

const STILL_TURNS = 3
/** Turns without anything finished after which a step that does not wait hangs: there is no I/O to take long. */
const HANG_TURNS = 2_000
/** So long that nothing times out unless a scenario sets its own. */
const LOCK_WAIT_TIMEOUT_MS = 50_000
const CACHE_BYTES = 4 * 2 ** 20
const LOG_SEGMENT_BYTES = 65_536

export function nextkeyAdapter(face: Face): EngineAdapter {
  return { name: 'nextkey', open: (scenario) => NextkeyRun.open(face, scenario) }
}

function isolationOf(scenario: Scenario): FaceIsolation {
  // MariaDB's innodb_snapshot_isolation turns REPEATABLE READ into what is called `snapshot` here.
  return scenario.sessionSql?.includes('innodb_snapshot_isolation=ON') === true ? 'snapshot' : ISOLATION_OF[scenario.isolation]
}

class NextkeyRun implements EngineRun {
  readonly #scenario: Scenario
  readonly #machine: Machine
  readonly #sessions = new Map<string, Session>()
  readonly #tables = new Map<string, OpenTable>()
  /** Sessions with a step under way. */
  readonly #underWay = new Map<string, Step>()
  #db!: FaceDatabase

  private constructor(face: Face, scenario: Scenario) {
    this.#scenario = scenario
    this.#machine = new Machine(face, 1)
  }

  static async open(face: Face, scenario: Scenario): Promise<NextkeyRun> {
    const run = new NextkeyRun(face, scenario)
    try {
      run.#db = await run.#openDatabase()
      for (const spec of tablesOf(scenario)) await run.#createTable(spec)
      await run.#db.purge()
    } catch (error) {
      await run.close()
      throw error
    }
    return run
  }

  #openDatabase(): Promise<FaceDatabase> {
    return this.#machine.open({
      durability: 'sync',
      autoIncrementLockMode: this.#scenario.autoincMode ?? 1,
      lockWaitTimeout: LOCK_WAIT_TIMEOUT_MS,
      cacheSize: CACHE_BYTES,
      logSegmentSize: LOG_SEGMENT_BYTES,
    })
  }

  #openTable(spec: TableSpec): Promise<FaceTable> {
    const indexes = Object.fromEntries(
      spec.indexes.map(({ name, columns, unique }) => [name, { on: columns.length === 1 ? columns[0] : columns, unique }]),
    )
    return this.#db.table(spec.name, {
      key: spec.pk.length === 1 ? spec.pk[0] : spec.pk,
      ...(spec.columns.some((column) => column.autoIncrement === true) ? { autoIncrement: true } : {}),
      ...(spec.indexes.length > 0 ? { indexes } : {}),
    })
  }

  async #createTable(spec: TableSpec): Promise<void> {
    const handle = await this.#openTable(spec)
    this.#tables.set(spec.name, { spec, handle })
    if (spec.autoIncrementStart !== undefined) await handle.setAutoIncrement(spec.autoIncrementStart)
    const rows = spec.rows.map((values) => completeRow(spec, namedRow(spec, values)))
    this.#db.transactionSync((tx) => {
      for (const row of rows) tx.insert(handle, row)
    })
  }

  submit(step: Step): Promise<Finished> {
    let session = this.#sessions.get(step.session)
    if (session === undefined) {
      session = new Session(
        { db: () => this.#db, table: (name) => this.#table(name), administer: (admin, options) => this.#administer(admin, options) },
        isolationOf(this.#scenario),
      )
      this.#sessions.set(step.session, session)
    }
    this.#underWay.set(step.session, step)
    return session.run(step).finally(() => this.#underWay.delete(step.session))
  }

  #table(name: string | undefined): OpenTable {
    const table = this.#tables.get(name ?? '')
    if (table === undefined) throw Object.assign(new Error(`no table ${name}`), { code: 'ERR_NO_SUCH_TABLE' })
    return table
  }

  async #administer({ op, args }: Step, options: FaceSchemaChange): Promise<StatementResult> {
    switch (op) {
      case 'waitForPurge':
        await this.#db.purge()
        return {}
      case 'restartServer':
        await this.#restart(args.kind === 'crash')
        return {}
      case 'sleep':
        await this.#machine.advance((args.seconds ?? 0) * 1000)
        break
      case 'truncate':
        await this.#table(args.table).handle.truncate(options)
        break
      case 'createIndex':
        await this.#table(args.table).handle.createIndex(`i_${args.columns?.join('_')}`, { on: args.columns ?? [] }, options)
        break
      case 'setAutoIncrement':
        await this.#table(args.table).handle.setAutoIncrement(args.value ?? 1)
        break
      case 'dropTable':
        await this.#db.dropTable(this.#table(args.table).handle.name, options)
        this.#tables.delete(args.table ?? '')
        break
      case 'renameTable':
        await this.#rename(args.table ?? '', args.to ?? '', options)
        break
      default:
        throw new Error(`the adapter does not know the operation ${op}`)
    }
    return { affected: 0 }
  }

  async #rename(from: string, to: string, options: FaceSchemaChange): Promise<void> {
    const { spec } = this.#table(from)
    await this.#db.renameTable(from, to, options)
    this.#tables.delete(from)
    const renamed = { ...spec, name: to }
    this.#tables.set(to, { spec: renamed, handle: await this.#openTable(renamed) })
  }

  async #restart(crash: boolean): Promise<void> {
    if (crash) this.#machine.crash('process')
    await this.#db.close()
    for (const session of this.#sessions.values()) session.disconnect()
    this.#db = await this.#openDatabase()
    for (const [name, { spec }] of this.#tables) this.#tables.set(name, { spec, handle: await this.#openTable(spec) })
  }

  async settle(): Promise<void> {
    let still = 0
    for (let turns = 0; turns < HANG_TURNS && still < STILL_TURNS; turns++) {
      const before = this.#underWay.size
      await turn()
      if (this.#underWay.size === 0) return
      if (this.#underWay.size !== before) turns = 0
      const waiting = this.waiting()
      const allWait = [...this.#underWay.keys()].every((name) => waiting.has(name))
      still = allWait && this.#underWay.size === before ? still + 1 : 0
      if (still === STILL_TURNS) still = await this.#waitOut()
    }
  }

  /** Lets the shortest timeout pass that a waiting session has set. Returns how long everything has been still then. */
  async #waitOut(): Promise<number> {
    const timeouts = [...this.#underWay.keys()].flatMap((name) => this.#sessions.get(name)?.lockWaitTimeout ?? [])
    if (timeouts.length === 0) return STILL_TURNS
    await this.#machine.advance(Math.min(...timeouts))
    return 0
  }

  #sessionOf(): Map<number, string> {
    const sessions = new Map<number, string>()
    for (const [name, session] of this.#sessions) for (const id of session.transactionIds) sessions.set(id, name)
    return sessions
  }

  waiting(): ReadonlyMap<string, WaitsFor> {
    const waits = new Map<string, WaitsFor>()
    for (const lock of this.locks()) {
      if (lock.status === 'waiting' && this.#underWay.has(lock.session)) waits.set(lock.session, lock)
    }
    const metadata = this.#db.metadataLocks().filter((lock) => lock.status === 'waiting')
    const sessions = this.#sessionOf()
    const owned = new Map(
      metadata.map((lock) => [lock.transaction === undefined ? undefined : sessions.get(lock.transaction), lock.object]),
    )
    for (const name of this.#underWay.keys()) {
      // A statement outside any transaction (a schema change, a freeze) has no id to be known by.
      const object = owned.get(name) ?? (this.#sessions.get(name)?.transactionIds.length === 0 ? owned.get(undefined) : undefined)
      if (object !== undefined && !waits.has(name)) waits.set(name, { metadata: object })
    }
    return waits
  }

  locks(): Lock[] {
    const sessions = this.#sessionOf()
    return this.#db.locks().map((lock) => goldenLock(lock, sessions.get(lock.transaction) ?? `transaction ${lock.transaction}`))
  }

  async probe(group: ProbeGroup, target: ProbeTarget): Promise<ProbeOutcome | { readonly error: string }> {
    const table = this.#table(group.table)
    try {
      // Never reached when it is thrown: the probe is always undone.
      this.#db.transactionSync(
        (tx) => {
          throw new Probed(runProbe(tx, table, group, target))
        },
        { isolation: 'read-committed' },
      )
    } catch (error) {
      if (error instanceof Probed) return error.outcome
      const { code, message } = goldenError(error)
      if (code === 'lockNotAvailable') return 'blocked'
      if (code === 'duplicateKey') return 'duplicate'
      return { error: message ?? code }
    }
    return { error: 'the probe was committed' }
  }

  /** All at once: a session that waits can end only when the one it waits for does. */
  async rollbackAll(): Promise<void> {
    await Promise.all([...this.#sessions.values()].map((session) => session.end()))
    await this.settle()
  }

  async rows(name: string): Promise<readonly Row[] | { readonly error: string }> {
    const table = this.#tables.get(name)
    if (table === undefined) return { error: 'noSuchTable' }
    const view = this.#db.snapshot()
    try {
      return [...view.values(table.handle, {})] as Row[]
    } finally {
      view.close()
    }
  }

  async close(): Promise<void> {
    await this.#db?.close()
  }
}

/** Carries a probe's outcome out of the transaction it undoes. */
class Probed extends Error {
  constructor(readonly outcome: ProbeOutcome) {
    super(outcome)
  }
}

function runProbe(tx: FaceSyncTransaction, { spec, handle }: OpenTable, group: ProbeGroup, target: ProbeTarget): ProbeOutcome {
  if ('key' in target) {
    // A search for a whole key of a unique index is for that key alone: the first entry that has it decides.
    const unique = spec.indexes.find((index) => index.name === group.index)?.unique === true
    const isUniqueSearch = unique && !target.key.includes(null)
    const entry = {
      ...(group.index === undefined ? {} : { index: group.index }),
      eq: keyOf(target.key),
      ...(isUniqueSearch ? {} : { primaryKey: keyOf(target.pk) }),
    }
    const found = [...tx.primaryKeys(handle, entry, { lock: 'share' })].map((key) => JSON.stringify(key))
    return found.includes(JSON.stringify(keyOf(target.pk))) ? 'granted' : 'noRow'
  }
  const found = (there: boolean): ProbeOutcome => (there ? 'granted' : 'noRow')
  switch (group.op) {
    case 'insert':
      tx.insert(handle, completeRow(spec, Object.fromEntries((group.columns ?? []).map((column, i) => [column, target[i]]))))
      return 'granted'
    case 'getForShare':
      return found(tx.get(handle, keyOf(target), { lock: 'share' }) !== undefined)
    case 'getForUpdate':
      return found(tx.get(handle, keyOf(target), { lock: 'update' }) !== undefined)
    case 'update':
      return found(tx.update(handle, keyOf(target), (row) => ({ ...row, ...group.set })))
    case 'delete':
      return found(tx.delete(handle, keyOf(target)))
    case 'lockIndexEntryForShare':
      throw new Error('an index entry is named by its key and primary key')
  }
}

function namedRow(spec: TableSpec, values: readonly Value[]): Row {
  return Object.fromEntries(spec.columns.map((column, i) => [column.name, values[i]]))
}

function goldenLock(lock: FaceLock, session: string): Lock {
  const { table, mode, kind, status } = lock
  if (kind === 'table' || lock.index === undefined) return { session, table, kind: 'table', mode, status }
  if (lock.supremum === true) return { session, table, index: lock.index, supremum: true, mode, kind, status }
  const pk = lock.index === 'PRIMARY' ? {} : { pk: valuesOf(lock.primaryKey) }
  return { session, table, index: lock.index, key: valuesOf(lock.key), ...pk, mode, kind, status }
}
