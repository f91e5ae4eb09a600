import type { EventEmitter } from 'node:events'
import { callSite } from './base/call-site.js'
import type { OrderedList } from './base/ordered-list.js'
import { describeTransaction, type LongTransaction, listLocks } from './introspection.js'
import type { Deadlock } from './lock/deadlock.js'
import type { LockOwner } from './lock/lock-owner.js'
import { LongTransactions } from './long-transactions.js'
import { detectsSelfWaits, type ResolvedOptions } from './options.js'
import { SelfWaits } from './self-waits.js'
import type { TransactionCore } from './transaction-core.js'
import type { Engine } from './txn/engine.js'

/** What `db.on(…)` tells. Listeners run when what they are told of is over, and cannot disturb it. */
export interface DatabaseEvents {
  /** A checkpoint is complete. */
  checkpoint: [{ number: number }]
  /** A deadlock was found and resolved; `String()` of it reads like InnoDB's. */
  deadlock: [Deadlock]
  /** A transaction has been open for `longTransactionTime`; once for each. */
  longTransaction: [LongTransaction]
}

/** Sees what becomes of transactions that outlast the call they began in, and tells those who listen. */
export class Watch {
  /** Undefined where waits for oneself are not looked for. */
  readonly selfWaits: SelfWaits | undefined
  readonly #long: LongTransactions

  constructor(db: EventEmitter<DatabaseEvents>, engine: Engine, options: ResolvedOptions, open: OrderedList<TransactionCore>) {
    const { clock } = engine.environment
    this.selfWaits = detectsSelfWaits(options, engine.environment) ? new SelfWaits() : undefined
    this.#long = new LongTransactions(clock, options.longTransactionTime, open, (core) =>
      db.emit('longTransaction', describeLongTransaction(engine, core)),
    )
    ;(db as EventEmitter).on('newListener', (event: string) => {
      if (event === 'longTransaction') this.#long.listen()
    })
    engine.rowLocks.locks.graph.onDeadlock = (deadlock) => queueMicrotask(() => db.emit('deadlock', deadlock))
    engine.checkpoints.onComplete = (number) => queueMicrotask(() => db.emit('checkpoint', { number }))
  }

  begun(core: TransactionCore): void {
    if (this.selfWaits !== undefined) core.trx.owner.begunBy = callSite()
    this.#long.begun(core)
  }

  /** Runs the function of a managed transaction, or of a freeze. */
  inside<T>(owner: LockOwner, work: () => T): T {
    return this.selfWaits === undefined ? work() : this.selfWaits.run(owner, work)
  }

  stop(): void {
    this.#long.stop()
  }
}

function describeLongTransaction(engine: Engine, core: TransactionCore): LongTransaction {
  const held = listLocks(engine).filter(({ transaction }) => transaction === core.trx.number)
  return { ...describeTransaction(engine, core), held }
}
