import { NextkeyError } from './base/errors.js'
import { MetadataLock } from './lock/metadata-modes.js'
import type { Results } from './results.js'
import type { InsertOptions, Row, Table } from './table.js'
import type { LockOptions, Savepoint, TransactionCore, TransactionRange } from './transaction-core.js'
import { StatementValues } from './txn/auto-increment.js'
import { type Outcome, Remaining } from './txn/outcome.js'
import { Want } from './txn/range-scan.js'
import type { Use } from './txn/table-use.js'
import type { WaitOption } from './wait-option.js'

/**
 * An interactive transaction: any number of them may be under way at once, each isolated from the others across every await.
 * Its statements run one at a time, in the order in which they were called.
 */
export class Transaction {
  readonly #core: TransactionCore
  /** Settles when the last statement called so far is over; undefined while none is under way. */
  #last: Promise<void> | undefined
  #pending = 0

  /** @internal */
  constructor(core: TransactionCore) {
    this.#core = core
    core.trx.inSlices = true
    core.trx.signal = core.signal
    core.db.watch.begun(core)
  }

  /** As `db.locks()` and errors name it. */
  get id(): number {
    return this.#core.trx.number
  }

  /** The row with this key: as the isolation level shows it, or, with a lock, the newest. */
  get<R>(table: Table<R>, key: unknown, options: LockOptions = {}): Promise<R | undefined> {
    return this.#run(() => this.#core.get(table, key, options), options, table, this.#core.useOf(options)) as Promise<R | undefined>
  }

  async has<R>(table: Table<R>, key: unknown, options: LockOptions = {}): Promise<boolean> {
    return (await this.get(table, key, options)) !== undefined
  }

  count<R>(table: Table<R>, range: TransactionRange = {}): Promise<number> {
    return this.#run(() => this.#core.count(table, range), {}, table)
  }

  /** Rows of a range, by the primary key or an index: from one view, or, with a lock, the newest. */
  values<R>(table: Table<R>, range: TransactionRange = {}, options: LockOptions = {}): AsyncResults<R> {
    return this.#results<R>(table, range, options, Want.Values)
  }

  /** Index keys, from the index alone; with a shared lock, it alone is locked. */
  keys<R, Key = unknown>(table: Table<R>, range: TransactionRange = {}, options: LockOptions = {}): AsyncResults<Key> {
    return this.#results<Key>(table, range, options, Want.Keys)
  }

  primaryKeys<R, Key = unknown>(table: Table<R>, range: TransactionRange = {}, options: LockOptions = {}): AsyncResults<Key> {
    return this.#results<Key>(table, range, options, Want.PrimaryKeys)
  }

  insert<R>(table: Table<R>, row: Row<R>, options?: InsertOptions<R>): Promise<unknown>
  insert<R>(table: Table<R>, key: unknown, value: R, options?: InsertOptions<R>): Promise<unknown>
  insert(table: object, ...args: unknown[]): Promise<unknown> {
    return this.#run(() => this.#core.insert(table, args), waitOf(args), table, MetadataLock.SW)
  }

  /** Inserts all rows or none, as one statement. Resolves to their keys, as `insert` does to each. */
  insertMany<R>(table: Table<R>, rows: Iterable<Row<R>>, options?: InsertOptions<R>): Promise<unknown[]> {
    return this.#run(() => this.#core.insertMany(table, rows, options), options ?? {}, table, MetadataLock.SW)
  }

  /** Inserts rows as they come, all or none. What the source does in this transaction happens in between. */
  async insertFrom<R>(
    table: Table<R>,
    source: AsyncIterable<Row<R>> | Iterable<Row<R>>,
    options?: InsertOptions<R>,
  ): Promise<{ count: number; firstKey: unknown }> {
    const core = this.#core
    const { trx } = core
    let count = 0
    let firstKey: unknown
    let mark: Savepoint | undefined
    const insert = core.rowInserter(table, options, new StatementValues(0))
    trx.streams++
    try {
      mark = await this.#run(() => core.savepoint(), {})
      for await (const row of source) {
        const key = await this.#run(() => insert(row), options ?? {}, table, MetadataLock.SW)
        if (key === undefined) continue
        if (count++ === 0) firstKey = key
      }
    } catch (error) {
      if (core.ended === undefined && mark !== undefined) await this.rollbackTo(mark)
      throw error
    } finally {
      if (--trx.streams === 0) {
        core.db.statements.autoIncrement.release(trx)
        core.db.tableUse.endStatement(trx)
      }
    }
    return { count, firstKey }
  }

  put<R>(table: Table<R>, row: Row<R>): Promise<unknown>
  put<R>(table: Table<R>, key: unknown, value: R): Promise<unknown>
  put(table: object, ...args: unknown[]): Promise<unknown> {
    return this.#run(() => this.#core.put(table, args), {}, table, MetadataLock.SW)
  }

  update<R>(table: Table<R>, key: unknown, change: Partial<R> | ((row: R) => R), options: WaitOption = {}): Promise<boolean> {
    return this.#run(() => this.#core.update(table, key, change as object, options), options, table, MetadataLock.SW)
  }

  delete<R>(table: Table<R>, key: unknown, options: WaitOption = {}): Promise<boolean> {
    return this.#run(() => this.#core.delete(table, key, options), options, table, MetadataLock.SW)
  }

  /** Changes every row of the range that matches `where`; resolves to their number. */
  updateRange<R>(table: Table<R>, range: TransactionRange, change: (row: R) => R, options: WaitOption = {}): Promise<number> {
    return this.#run(
      () => this.#core.updateRange(table, range, change as (row: never) => unknown, options),
      options,
      table,
      MetadataLock.SW,
    )
  }

  /** Deletes every row of the range that matches `where`; resolves to their number. */
  deleteRange<R>(table: Table<R>, range: TransactionRange, options: WaitOption = {}): Promise<number> {
    return this.#run(() => this.#core.deleteRange(table, range, options), options, table, MetadataLock.SW)
  }

  /**
   * Locks a whole table until the transaction ends or unlocks it (LOCK TABLES): 'read', nobody changes it; 'write', nobody else locks or
   * changes anything in it, or reads it in a transaction. Waits for open transactions that are in the way.
   */
  lockTable<R>(table: Table<R>, mode: 'read' | 'write', options: { wait?: 'nowait' | number } = {}): Promise<void> {
    return this.#run(() => this.#core.lockTable(table, mode), options)
  }

  /** Gives back what `lockTable` has locked. Rows that were read, locked or changed meanwhile stay so to the end of the transaction. */
  unlockTables(): Promise<void> {
    return this.#run(() => this.#core.unlockTables(), {})
  }

  /** Raises ERR_STATEMENT_PENDING while a statement is under way. */
  savepoint(): Savepoint {
    this.#mustBeIdle('a savepoint')
    return this.#core.savepoint()
  }

  rollbackTo(savepoint: Savepoint): Promise<void> {
    return this.#run(() => this.#core.rollbackTo(savepoint), {})
  }

  /**
   * Makes the changes permanent; resolves when they are as durable as the database was opened for.
   * A statement still under way, which nobody can have awaited, is waited for; then the transaction is rolled back with
   * ERR_STATEMENT_PENDING.
   */
  async commit(): Promise<void> {
    this.#core.mustBeOpen()
    if (this.#isBusy) {
      await this.#last
      await this.#core.db.ends.undo(this.#core, 'was rolled back: it was committed while a statement was under way')
      throw new NextkeyError(
        'ERR_STATEMENT_PENDING',
        'commit() was called while a statement of the transaction was under way: await every statement; the transaction was rolled back',
      )
    }
    if (this.#core.db.tableUse.mustAskToCommit(this.#core.trx)) {
      await this.#askToCommit()
      // The database may have been closed meanwhile.
      this.#core.mustBeOpen()
    }
    const wait = this.#core.db.ends.commit(this.#core)
    if (wait !== undefined) await wait
  }

  async #askToCommit(): Promise<void> {
    try {
      await this.#run(() => new Remaining(this.#core.db.tableUse.askToCommit(this.#core.trx)), {})
    } catch (error) {
      await this.#core.db.ends.undo(this.#core, 'was rolled back: it waited in vain for its turn to commit')
      throw error
    }
  }

  async rollback(): Promise<void> {
    await this.#last
    this.#core.mustBeOpen()
    await this.#core.db.ends.rollback(this.#core)
  }

  /** Rolls back unless it has ended. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#last
    await this.#core.db.ends.undo(this.#core, 'was rolled back when it left its scope')
  }

  #results<T>(table: object, range: TransactionRange, options: LockOptions, want: Want): AsyncResults<T> {
    this.#core.mustBeOpen()
    const mode = this.#core.lockMode(options)
    const core = this.#core
    if (mode === undefined) return new AsyncResults(() => this.#run(() => core.results<T>(table, range, want), {}, table))
    const { statements } = core.db
    const use = core.useOf(options)
    return new AsyncResults(
      () =>
        this.#run(
          () => new Remaining(statements.collect(core.trx, core.target(table, range, options), mode, want)),
          options,
          table,
          use,
        ) as Promise<T[]>,
      () => {
        let rows: ReturnType<typeof statements.oneByOne> | undefined
        const next = (): Outcome<IteratorResult<unknown, undefined>> => {
          rows ??= statements.oneByOne(core.trx, core.target(table, range, options), mode, want)
          return new Remaining(rows.next())
        }
        return () => this.#run(next, options, table, use) as Promise<IteratorResult<T, undefined>>
      },
    )
  }

  /** A statement is under way: one that waits, or a stream that waits for its source. */
  get #isBusy(): boolean {
    return this.#pending > 0 || this.#core.trx.streams > 0
  }

  #mustBeIdle(what: string): void {
    if (this.#isBusy)
      throw new NextkeyError(
        'ERR_STATEMENT_PENDING',
        `${what} was asked for while a statement of the transaction is under way: await it first`,
      )
  }

  /** Runs a statement: now, if none is under way, else when its turn comes. What need not wait happens in this call. */
  async #run<T>(work: () => Outcome<T>, options: WaitOption, table?: object, use?: Use): Promise<T> {
    const { db } = this.#core
    let release: (() => void) | undefined
    const turn = this.#last
    if (turn !== undefined) {
      release = this.#begin()
      await turn
    }
    try {
      const outcome = this.#core.statement(work, options.wait, table, use)
      let result: T
      if (!(outcome instanceof Remaining)) result = outcome
      else {
        const first = outcome.steps.next()
        if (first.done === true) result = first.value
        else {
          release ??= this.#begin()
          result = await db.waits.finish(outcome.steps, first.value, db.timeouts(options.wait, this.#core.signal))
        }
      }
      // Without a turn of the event loop now and then, a long chain of awaits would starve every timer (D1).
      const pause = db.pause()
      if (pause !== undefined) {
        release ??= this.#begin()
        await pause
      }
      return result
    } finally {
      release?.()
    }
  }

  /** The statement takes its place in the queue; the function returned ends it. */
  #begin(): () => void {
    let done = noop
    const over = new Promise<void>((resolve) => {
      done = resolve
    })
    this.#last = over
    this.#pending++
    return () => {
      this.#pending--
      if (this.#last === over) this.#last = undefined
      done()
    }
  }
}

function waitOf(args: unknown[]): WaitOption {
  const last = args.at(-1)
  return typeof last === 'object' && last !== null && 'wait' in last && args.length > 1 ? (last as WaitOption) : {}
}

/**
 * Results whose rows are awaited, because a locking read may have to wait. `toArray()` is one statement; a `for await` loop over a
 * locking read locks row by row as it goes.
 */
export class AsyncResults<T> implements AsyncIterable<T> {
  readonly #read: () => Promise<Results<T> | T[]>
  readonly #iterate: (() => () => Promise<IteratorResult<T, undefined>>) | undefined

  /** @internal */
  constructor(read: () => Promise<Results<T> | T[]>, iterate?: () => () => Promise<IteratorResult<T, undefined>>) {
    this.#read = read
    this.#iterate = iterate
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<T, void, void> {
    if (this.#iterate === undefined) {
      for (const row of await this.#read()) yield row
      return
    }
    const next = this.#iterate()
    for (let result = await next(); result.done !== true; result = await next()) yield result.value
  }

  async toArray(): Promise<T[]> {
    const rows = await this.#read()
    return Array.isArray(rows) ? rows : rows.toArray()
  }
}

function noop(): void {}
