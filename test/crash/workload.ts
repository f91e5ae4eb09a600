import { NextkeyError } from '../../src/base/errors.js'
import type { Database } from '../../src/database.js'
import type { SyncTransaction } from '../../src/sync-transaction.js'
import type { Table } from '../../src/table.js'
import type { Transaction } from '../../src/transaction.js'
import type { Savepoint } from '../../src/transaction-core.js'
import type { Prng } from '../support/seeded.js'
import { type CommitListener, CommitOrder } from './commit-order.js'
import { type Model, Work } from './model.js'
import { Onlooker } from './onlooker.js'
import { OPTIONS, type Shape, type Sizes, type TableSpec, type Value } from './rows.js'
import { SchemaChanges } from './schema-changes.js'
import { judge, mustReturn, type Outcome, type Statement, type StatementEnd, Statements, type Writer } from './statements.js'

/**
 * Clients that use one database at the same time, in all the ways there are, and the model that is told what they did.
 *
 * What a statement must do is worked out from the model when it ends. Conflicts, deadlocks and timeouts may come at any time.
 */
export interface WorkloadSettings {
  readonly clients: number
  readonly sizes: Sizes
  /** Most statements of a transaction. */
  readonly statements: number
  /** Of a hundred transactions, how many do much at once. */
  readonly bursts: number
  /** Whether tables are also dropped, renamed and truncated, and indexes made and dropped. */
  readonly schema: boolean
  /** Shapes of the tables to be made, in order. */
  readonly tables: readonly Shape[]
}

interface Client {
  readonly name: string
  /** It awaits something. */
  busy: boolean
  tx: Transaction | undefined
  work: Work
  savepoints: { savepoint: Savepoint; effects: number }[]
  /** Statements it will still make. */
  left: number
  /** It met a conflict, which may have ended its transaction. */
  refused: boolean
}

export class Workload {
  /** What was done, newest last: for whoever reads a failure. */
  readonly trace: string[]
  /** Codes of the errors that a failing machine has caused. */
  readonly failures: string[] = []
  /** Those it may cause; none while it works. */
  tolerated: ReadonlySet<string> = NOTHING
  /** The database is being closed under everybody's hands. */
  closing = false
  readonly #db: Database
  readonly #model: Model
  readonly #random: Prng
  readonly #settings: WorkloadSettings
  readonly #statements: Statements
  readonly #clients: Client[] = []
  readonly #tables: Map<string, Table<Value>> = new Map()
  #tablesBegun = 0
  readonly #order: CommitOrder
  readonly #onlooker: Onlooker
  readonly #schemaChanges: SchemaChanges | undefined
  readonly #underWay: Set<Promise<void>> = new Set()
  #error: unknown

  /** @param version The first version number it may use. */
  constructor(db: Database, model: Model, random: Prng, settings: WorkloadSettings, version: number, trace: string[]) {
    this.trace = trace
    this.#db = db
    this.#model = model
    this.#random = random
    this.#settings = settings
    this.#order = new CommitOrder(db)
    this.#onlooker = new Onlooker(db, model, this.#tables)
    this.#schemaChanges = settings.schema ? new SchemaChanges(db, model, random, this.#tables, this.#order) : undefined
    this.#statements = new Statements(model, random, settings.sizes, version)
    for (let number = 1; number <= settings.clients; number++) {
      this.#clients.push({
        name: `client ${number}`,
        busy: false,
        tx: undefined,
        work: new Work(''),
        savepoints: [],
        left: 0,
        refused: false,
      })
    }
  }

  /** First version number that was not used. */
  get nextVersion(): number {
    return this.#statements.version
  }

  /** Everybody waits for something. */
  get stuck(): boolean {
    return this.#clients.every((client) => client.busy)
  }

  /** Raises what went wrong since it was last asked. */
  check(): void {
    const error = this.#error
    this.#error = undefined
    if (error !== undefined) throw error
  }

  /** Takes over the tables that are there. */
  async openTables(): Promise<void> {
    for (const { name, options } of this.#model.tables.values()) this.#tables.set(name, await this.#db.table<Value>(name, options))
    this.#tablesBegun = this.#tables.size
  }

  /** Somebody's next move. */
  act(): void {
    if (this.#random.int(100) < 6) return this.#administer()
    const idle = this.#clients.filter((client) => !client.busy)
    if (idle.length === 0) return
    const client = this.#random.pick(idle)
    if (client.tx === undefined) this.#begin(client)
    else this.#goOn(client)
  }

  /** Resolves when nothing is under way any more. */
  async finished(): Promise<void> {
    while (this.#underWay.size > 0) await Promise.all(this.#underWay)
  }

  #begin(client: Client): void {
    const dice = this.#random.int(100)
    const { bursts } = this.#settings
    client.work = new Work(client.name)
    if (this.#tables.size === 0 || dice < (this.#tablesBegun < 5 ? 20 : 2)) this.#createTable(client)
    else if (this.#schemaChanges !== undefined && dice < 12) this.#changeSchema(client, this.#schemaChanges)
    else if (dice < 35) this.#autocommit(client)
    else if (dice < 45) this.#transactionSync(client)
    else if (dice < 45 + bursts) this.#burst(client)
    else this.#open(client)
  }

  #goOn(client: Client): void {
    if (client.left-- > 0) {
      const dice = this.#random.int(100)
      if (dice < 8) this.#savepoint(client)
      else if (dice < 16 && client.savepoints.length > 0) this.#rollbackTo(client)
      else this.#statement(client)
    } else if (this.#random.int(100) < 22) this.#rollback(client)
    else this.#commit(client)
  }

  // ── an interactive transaction, step by step ──────────────────────────────────────────────────────────────────────

  #open(client: Client): void {
    const isolation = this.#random.pick(['repeatable-read', 'read-committed', 'serializable'] as const)
    const snapshotNow = this.#random.bool(0.2)
    client.savepoints = []
    client.left = 1 + this.#random.int(this.#settings.statements)
    client.refused = false
    this.#do(client, 'begins', async () => {
      client.tx = await this.#watch(client.work, () => this.#db.begin({ isolation, snapshotNow }))
    })
  }

  #statement(client: Client): void {
    const statement = this.#draw()
    // After a refusal some go on and some give up.
    const goesOn = this.#random.bool()
    this.#doWithin(client, statement.text, async (tx) => {
      try {
        await this.#perform(client.work, statement, tx as unknown as Writer)
      } catch (error) {
        if (!isRefusal(error)) throw error
        this.trace.push(`${client.name}: ${error.code}`)
        client.refused = true
        if (!goesOn) client.left = 0
      }
    })
  }

  #savepoint(client: Client): void {
    this.#doWithin(client, 'sets a savepoint', async (tx) => {
      client.savepoints.push({ savepoint: tx.savepoint(), effects: client.work.effects.length })
    })
  }

  #rollbackTo(client: Client): void {
    const at = this.#random.int(client.savepoints.length)
    this.#doWithin(client, `rolls back to savepoint ${at + 1}`, async (tx) => {
      await tx.rollbackTo(client.savepoints[at].savepoint)
      client.work.effects.length = client.savepoints[at].effects
      client.savepoints.length = at + 1
    })
  }

  #rollback(client: Client): void {
    this.#doWithin(client, 'rolls back', async (tx) => {
      client.tx = undefined
      await tx.rollback()
      this.#model.rolledBack(client.work, this.#db.engine.failure === undefined)
    })
  }

  #commit(client: Client): void {
    const { work } = client
    this.#doWithin(client, `commits ${work.effects.length} change(s)`, async (tx) => {
      client.tx = undefined
      await tx.commit()
      this.#acknowledged(client)
    })
  }

  /** A step of an open transaction, which a refusal may have ended. */
  #doWithin(client: Client, text: string, step: (tx: Transaction) => Promise<void>): void {
    this.#do(client, text, async () => {
      try {
        await step(client.tx as Transaction)
      } catch (error) {
        if (!(error instanceof NextkeyError) || !client.refused || error.code !== 'ERR_TRANSACTION_ENDED') throw error
        client.tx = undefined
        this.#model.rolledBack(client.work)
      }
    })
  }

  // ── transactions in one go ────────────────────────────────────────────────────────────────────────────────────────

  /** A statement by itself. What it does must be known when its commit is appended, before its result is. */
  #autocommit(client: Client): void {
    const { work } = client
    const statement = this.#draw()
    const { moment } = this.#model
    let outcome: Outcome | undefined
    this.#doWhole(client, `autocommit: ${statement.text}`, async () => {
      const end = await endOf(() =>
        this.#watch(
          work,
          () => statement.run(BY_ITSELF),
          (lastKey) => {
            outcome = statement.effect(work, statement.generates ? lastKey() : undefined)
          },
        ),
      )
      // Without a commit in the log it has changed nothing.
      if (outcome === undefined) judge(statement, work, end, moment === this.#model.moment)
      else if ('error' in end) throw end.error
      else mustReturn(statement, outcome, end.result)
      if (outcome === undefined) this.#model.rolledBack(work)
      else this.#acknowledged(client)
    })
  }

  #transactionSync(client: Client): void {
    const { work } = client
    const count = 1 + this.#random.int(this.#settings.statements)
    const fails = this.#random.int(100) < 15
    this.#doWhole(client, `transactionSync of ${count} statement(s)${fails ? ', which fails' : ''}`, async () => {
      this.#watch(work, () => this.#db.transactionSync((tx) => this.#manySync(work, tx, count, fails)))
      this.#acknowledged(client)
    })
  }

  #manySync(work: Work, tx: SyncTransaction, count: number, fails: boolean): void {
    for (let number = 0; number < count; number++) {
      const savepoint = this.#random.int(100) < 10 ? tx.savepoint() : undefined
      const { length } = work.effects
      this.#performSync(work, this.#draw(), tx as unknown as Writer)
      if (savepoint === undefined) continue
      tx.rollbackTo(savepoint)
      work.effects.length = length
    }
    if (fails) throw new ChangeOfMind()
  }

  /** A managed transaction that does much at once: enough, sometimes, to be too big for the log. */
  #burst(client: Client): void {
    const { work } = client
    const count = 3 + this.#random.int(this.#settings.statements * 4)
    this.#doWhole(client, `transaction of ${count} statements`, async () => {
      await this.#watch(work, () =>
        this.#db.transaction(async (tx) => {
          for (let number = 0; number < count; number++) {
            const statement = this.#draw()
            this.trace.push(`  ${client.name}, within: ${statement.text}`)
            await this.#perform(work, statement, tx as unknown as Writer)
          }
        }),
      )
      this.#acknowledged(client)
    })
  }

  #createTable(client: Client): void {
    const shape = this.#settings.tables[this.#tablesBegun]
    if (shape === undefined) return
    let number = this.#tablesBegun++
    while (this.#model.knows(`${shape}-${number + 1}`)) number++
    const { work } = client
    const spec: TableSpec = { name: `${shape}-${number + 1}`, shape, options: OPTIONS[shape] }
    work.tableCreated = spec
    this.#doWhole(client, `creates table ${spec.name}`, async () => {
      this.#order.watchSchema(spec.name, this.#listener(work))
      this.#tables.set(spec.name, await this.#db.table<Value>(spec.name, spec.options))
      this.#acknowledged(client)
    })
  }

  #changeSchema(client: Client, changes: SchemaChanges): void {
    const { work } = client
    const change = changes.draw(work, (before) => this.#listener(work, before))
    if (change === undefined) return
    this.#onlooker.forget()
    this.#doWhole(client, change.text, async () => {
      await change.run()
      this.trace.push(`${client.name}: acknowledged`)
    })
  }

  /** As `#do`, for what leaves nothing when it is refused. */
  #doWhole(client: Client, text: string, whole: () => Promise<void>): void {
    const { work } = client
    this.#do(client, text, async () => {
      try {
        await whole()
      } catch (error) {
        if (!isRefusal(error) && !(error instanceof ChangeOfMind)) throw error
        this.trace.push(`${client.name}: ${error instanceof NextkeyError ? error.code : 'changed its mind'}`)
        this.#model.rolledBack(work)
      }
    })
  }

  #acknowledged(client: Client): void {
    this.#model.acknowledged(client.work)
    this.trace.push(`${client.name}: acknowledged`)
  }

  #administer(): void {
    const dice = this.#random.int(100)
    const before = this.#model.count
    if (dice < 25)
      this.#track(
        'checkpoint()',
        this.#db.checkpoint().then(() => this.#model.flushed(before)),
      )
    else if (dice < 50)
      this.#track(
        'flush()',
        this.#db.flush().then(() => this.#model.flushed(before)),
      )
    else if (dice < 60 || this.#db.engine.failure !== undefined)
      this.#track(
        'compact()',
        this.#db.compact().then(() => {}),
      )
    else if (this.#onlooker.looking) this.#track('looks at its snapshot', (async () => this.#onlooker.end())())
    else if (this.#schemaChanges?.changing !== true) this.#onlooker.begin()
  }

  // ── doing it ──────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Makes the call that begins the transaction of `work`; `before` is called when its commit is appended, before the model is told. */
  #watch<T>(work: Work, call: () => T, before?: (lastKey: () => unknown) => void): T {
    return this.#order.watch(this.#listener(work, before), call)
  }

  #listener(work: Work, before?: (lastKey: () => unknown) => void): CommitListener {
    return {
      appended: (lastKey) => {
        before?.(lastKey)
        this.#model.committed(work, false)
      },
      waits: () => {
        before?.(() => undefined)
        this.#model.committed(work, true)
      },
      visible: () => this.#model.becameVisible(work),
    }
  }

  #draw(): Statement {
    return this.#statements.draw([...this.#tables.values()])
  }

  async #perform(work: Work, statement: Statement, on: Writer): Promise<void> {
    const { moment } = this.#model
    const end = await endOf(() => statement.run(on))
    judge(statement, work, end, moment === this.#model.moment)
  }

  #performSync(work: Work, statement: Statement, on: Writer): void {
    this.trace.push(`  ${statement.text}`)
    let end: StatementEnd
    try {
      end = { result: statement.run(on) }
    } catch (error) {
      end = { error }
    }
    judge(statement, work, end, true)
  }

  #do(client: Client, text: string, work: () => Promise<void>): void {
    client.busy = true
    this.trace.push(`${client.name} ${text}`)
    const done = work().finally(() => {
      client.busy = false
    })
    this.#track(`${client.name} ${text}`, done)
  }

  #track(text: string, work: Promise<void>): void {
    const tracked = work.catch((error: unknown) => {
      const code = error instanceof NextkeyError ? error.code : ''
      this.trace.push(`${text}: failed, ${String(error)}`)
      if (this.tolerated.has(code)) this.failures.push(code)
      else if (this.closing && ENDED.has(code)) return
      else this.#error ??= new Error(`${text}: ${String(error)}`, { cause: error })
    })
    this.#underWay.add(tracked)
    void tracked.then(() => this.#underWay.delete(tracked))
  }
}

async function endOf(call: () => unknown): Promise<StatementEnd> {
  try {
    return { result: await call() }
  } catch (error) {
    return { error }
  }
}

/** A statement outside transactions: the calls of the tables. */
const BY_ITSELF: Writer = {
  insert: (table, ...args) => (table.insert as (...all: unknown[]) => Promise<unknown>).apply(table, args),
  put: (table, ...args) => (table.put as (...all: unknown[]) => Promise<unknown>).apply(table, args),
  update: (table, key, change) => table.update(key, change),
  delete: (table, key) => table.delete(key),
}

/** What may be raised although nothing is wrong. */
const REFUSALS: ReadonlySet<string> = new Set(['ERR_CONFLICT', 'ERR_DEADLOCK', 'ERR_LOCK_WAIT_TIMEOUT', 'ERR_LOCK_NOT_AVAILABLE'])

function isRefusal(error: unknown): error is NextkeyError {
  return error instanceof NextkeyError && REFUSALS.has(error.code)
}

class ChangeOfMind extends Error {}

const NOTHING: ReadonlySet<string> = new Set()
/** Of calls that a close has met. */
const ENDED: ReadonlySet<string> = new Set(['ERR_CLOSED', 'ERR_TRANSACTION_ENDED'])
