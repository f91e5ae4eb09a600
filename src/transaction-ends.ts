import type { Database } from './database.js'
import { LockResult } from './lock/lock-request.js'
import { MetadataLock } from './lock/metadata-modes.js'
import type { TransactionCore } from './transaction-core.js'
import type { Engine } from './txn/engine.js'
import { type Outcome, Remaining, type Steps } from './txn/outcome.js'
import { type Trx, TrxState } from './txn/trx.js'
import { undoInSlices } from './undoing.js'

/**
 * How transactions end: committed, rolled back, or, if they are one statement, with it.
 *
 * What need not pause or wait happens in the call; what remains is a promise, which close() waits for as well.
 */
export class TransactionEnds {
  readonly #db: Database
  readonly #engine: Engine
  /** Statements that are transactions by themselves, and wait. */
  readonly #waiting: Set<Trx> = new Set()

  constructor(db: Database) {
    this.#db = db
    this.#engine = db.engine
  }

  /** Undefined: nothing remains to be awaited. */
  commit(core: TransactionCore): Promise<void> | undefined {
    core.end('was committed')
    return this.#commit(core.trx)
  }

  /** The same within this call. */
  commitSync(core: TransactionCore): void {
    const engine = this.#engine
    core.end('was committed')
    if (engine.isBig(core.trx)) engine.commitByCheckpointSync(core.trx)
    else engine.wal?.commitDurabilitySync(engine.commit(core.trx))
  }

  /** Resolves when the transaction's auto-increment values are as sure not to be given again as a commit's. */
  async rollback(core: TransactionCore): Promise<void> {
    await this.undo(core, 'was rolled back')
    if (this.#engine.failure === undefined) await this.durable(core.trx.commitPosition)
  }

  /** Rolls a transaction back unless it has ended; others get their turn meanwhile. */
  undo(core: TransactionCore, how: string): Promise<void> | undefined {
    return this.#drive(core.rollbackInSlices(how))
  }

  /** Rolls back within this call what is still active. */
  giveUp(trx: Trx): void {
    if (trx.state === TrxState.Active) this.#engine.rollback(trx)
  }

  /** At close(): statements that still wait are rolled back. */
  giveUpWaiting(): void {
    for (const trx of this.#waiting) this.giveUp(trx)
  }

  /** To be awaited until the log is as durable through the position as commits are to be; close() sees to it as well. */
  durable(position: ReturnType<Engine['commit']>): Promise<void> | undefined {
    return this.#engine.wal?.commitDurability(position)
  }

  /** One statement as a transaction of its own. */
  async autocommit<T>(table: object, statement: (trx: Trx) => Outcome<T>): Promise<T> {
    const db = this.#db
    db.mustBeOpen()
    const trx = this.#engine.begin(db.options.isolation)
    trx.inSlices = true
    this.#engine.pager.beginOperation()
    let result: T
    try {
      const use = db.tableUse.try(trx, db.storeOf(table), MetadataLock.SW)
      const outcome =
        use <= LockResult.AlreadyHeld
          ? db.statements.begin(trx, statement)
          : new Remaining(db.tableUse.before(trx, () => db.storeOf(table), use, statement))
      if (!(outcome instanceof Remaining)) result = outcome
      else {
        this.#waiting.add(trx)
        result = await this.#finish(outcome.steps)
      }
    } catch (error) {
      if (trx.hasLog && this.#engine.failure === undefined) {
        this.#waiting.add(trx)
        await this.#drive(undoInSlices(this.#engine, trx, undefined))
      }
      this.giveUp(trx)
      throw error
    } finally {
      this.#waiting.delete(trx)
    }
    const wait = this.#commit(trx)
    if (wait !== undefined) await wait
    const pause = db.pause()
    if (pause !== undefined) await pause
    return result
  }

  #commit(trx: Trx): Promise<void> | undefined {
    const engine = this.#engine
    if (engine.isBig(trx)) return this.#db.track(engine.commitByCheckpoint(trx))
    let position: ReturnType<Engine['commit']>
    try {
      position = engine.commit(trx)
    } catch (error) {
      this.giveUp(trx)
      throw error
    }
    engine.payDebts()
    return this.durable(position)
  }

  async #finish<T>(remaining: Steps<T>): Promise<T> {
    const steps = this.#db.statements.judged(remaining)
    const first = steps.next()
    return first.done === true ? first.value : this.#db.waits.finish(steps, first.value, this.#db.timeouts())
  }

  #drive(steps: Steps<void>): Promise<void> | undefined {
    const first = steps.next()
    return first.done === true ? undefined : this.#db.track(this.#db.waits.finish(steps, first.value, this.#db.timeouts()))
  }
}
