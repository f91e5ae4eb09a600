/**
 * Engines with something taken away: a lock, a rule of a queue, a bound. A history test is worth what it finds in these, so each must be found out,
 * at the level whose guarantee hangs on the missing part. `npm run histories -- --mutations` prints the table.
 *
 * A mutation replaces public methods of the engine's classes while it is applied. What finds it is an anomaly the level forbids, or the engine
 * itself, whose assertions and `db.check()` see states that cannot be.
 */
import { CLASS_CONFLICTS, CONFLICTS, type LockMode, RecordBits, RecordLock, RequestClass } from '../../src/lock/lock-modes.js'
import type { LockOwner } from '../../src/lock/lock-owner.js'
import { LockResult } from '../../src/lock/lock-request.js'
import { LockSystem } from '../../src/lock/lock-system.js'
import { WaitGraph } from '../../src/lock/wait-graph.js'
import { Statements } from '../../src/statements.js'
import { TransactionCore } from '../../src/transaction-core.js'
import { Engine } from '../../src/txn/engine.js'
import { ReadView } from '../../src/txn/read-view.js'
import { RowLocks } from '../../src/txn/row-locks.js'
import { TrxSystem } from '../../src/txn/trx-system.js'
import { WriteAheadLog } from '../../src/wal/write-ahead-log.js'
import type { Level } from './anomalies.js'
import { judge, playRound } from './campaign.js'
import { NextkeyStore } from './nextkey-store.js'
import type { WorkloadOptions } from './workload.js'

export interface Mutation {
  readonly name: string
  /** What is missing, in words. */
  readonly without: string
  /** The level at which it must be noticed. */
  readonly level: Level
  /** What the workload should look like to hit it soon, where chance alone would take long. */
  readonly focus?: Partial<WorkloadOptions>
  /** Replaces methods of the engine through the patches given. */
  apply(patches: Patches): void
}

/** Methods and getters replaced, to be put back. */
export class Patches {
  readonly #undo: (() => void)[] = []

  /** Replaces a method; `make` gets the one that was there. */
  method<T, Name extends keyof T>(prototype: T, name: Name, make: (original: T[Name]) => T[Name]): void {
    const original = prototype[name]
    this.#undo.push(() => {
      prototype[name] = original
    })
    prototype[name] = make(original)
  }

  getter<T extends object>(prototype: T, name: keyof T, get: (this: T) => unknown): void {
    const original = Object.getOwnPropertyDescriptor(prototype, name) as PropertyDescriptor
    this.#undo.push(() => Object.defineProperty(prototype, name, original))
    Object.defineProperty(prototype, name, { ...original, get })
  }

  /** Takes bits out of an element of a table of masks. */
  without(table: Uint8Array, at: number, bits: number): void {
    const original = table[at]
    this.#undo.push(() => {
      table[at] = original
    })
    table[at] &= ~bits
  }

  restore(): void {
    for (const undo of this.#undo.reverse()) undo()
  }
}

const RECORD_OF: Partial<Record<RecordLock, RecordLock>> = {
  [RecordLock.SNextKey]: RecordLock.SRecord,
  [RecordLock.XNextKey]: RecordLock.XRecord,
}

/** Locks the record where a next-key lock was asked for. */
function withoutGaps(patches: Patches): void {
  patches.method(LockSystem.prototype, 'lockRecord', (lockRecord) => {
    return function (this: LockSystem, owner, index, key, length, lock, mayWait) {
      if (lock === RecordLock.SGap || lock === RecordLock.XGap || length < 0) return LockResult.Granted
      return lockRecord.call(this, owner, index, key, length, RECORD_OF[lock] ?? lock, mayWait)
    }
  })
  patches.method(RowLocks.prototype, 'tryNext', () => {
    return function (this: RowLocks, trx, scan, key, length, writer, mayWait) {
      return this.try(trx, scan.index, key, length, scan.lock, writer, mayWait)
    }
  })
}

/** A few clients in few groups: there entries come and go within gaps that somebody has locked. */
const CLOSE_QUARTERS: Partial<WorkloadOptions> = { predicates: 1, window: 4, clients: 6, maxOperations: 8, restarts: 0 }

export const MUTATIONS: readonly Mutation[] = [
  {
    name: 'no gap locks',
    without: 'gap and next-key locks: records alone are locked',
    level: 'serializable',
    apply: withoutGaps,
  },
  {
    name: 'no insert intention',
    without: 'the wait of an insert for locks on its gap (L2)',
    level: 'serializable',
    apply: (patches) =>
      patches.method(LockSystem.prototype, 'lockRecord', (lockRecord) => {
        return function (this: LockSystem, owner, index, key, length, lock, mayWait) {
          if (lock === RecordLock.XInsertIntention) return LockResult.Granted
          return lockRecord.call(this, owner, index, key, length, lock, mayWait)
        }
      }),
  },
  {
    name: 'no inheritance by a new entry',
    without: 'the gap locks that an entry inherits when it splits a locked gap (I1)',
    level: 'serializable',
    focus: CLOSE_QUARTERS,
    apply: (patches) => patches.method(LockSystem.prototype, 'entryInserted', () => () => {}),
  },
  {
    name: 'no inheritance from a removed entry',
    without: 'the gap locks that an entry leaves to its successor when it is purged or rolled back (I2)',
    level: 'serializable',
    focus: CLOSE_QUARTERS,
    apply: (patches) =>
      patches.method(LockSystem.prototype, 'entryRemoved', (entryRemoved) => {
        return function (this: LockSystem, index, key, length) {
          // To a successor that never is: those that wait are told, nothing is inherited where it matters.
          entryRemoved.call(this, index, key, length, NOWHERE, NOWHERE.length)
        }
      }),
  },
  {
    name: 'no implicit locks',
    without: 'the conversion of a writer’s implicit lock when somebody asks for its row (L1)',
    level: 'read-committed',
    apply: (patches) => patches.method(LockSystem.prototype, 'makeExplicit', () => () => {}),
  },
  {
    name: 'locks end with the statement',
    without: 'locks held to the end of the transaction: they go when their statement ends',
    level: 'serializable',
    apply: (patches) => {
      const systems = new WeakMap<LockOwner, LockSystem>()
      patches.method(LockSystem.prototype, 'lockTable', (lockTable) => {
        return function (this: LockSystem, owner, table, lock, mayWait) {
          systems.set(owner, this)
          return lockTable.call(this, owner, table, lock, mayWait)
        }
      })
      patches.method(Statements.prototype, 'end', (end) => {
        return function (this: Statements, trx) {
          end.call(this, trx)
          if (trx.owner.waiting === null) systems.get(trx.owner)?.releaseAll(trx.owner)
        }
      })
    },
  },
  {
    name: 'writers pass readers',
    without: 'the wait of X for S: a locked row may be changed under those who read it',
    level: 'serializable',
    apply: (patches) => {
      patches.without(CONFLICTS, RecordLock.XRecord, RecordBits.OnRecordS)
      patches.without(CONFLICTS, RecordLock.XNextKey, RecordBits.OnRecordS)
      patches.without(CLASS_CONFLICTS, RequestClass.ExclusiveRecord, RecordBits.OnRecordS)
    },
  },
  {
    name: 'readers pass writers',
    without: 'the wait of S for X: locking reads see rows that somebody is changing',
    level: 'serializable',
    apply: (patches) => {
      patches.without(CONFLICTS, RecordLock.SRecord, RecordBits.OnRecordX)
      patches.without(CONFLICTS, RecordLock.SNextKey, RecordBits.OnRecordX)
      patches.without(CLASS_CONFLICTS, RequestClass.SharedRecord, RecordBits.OnRecordX)
    },
  },
  {
    name: 'plain reads take no locks',
    without: 'the shared locks of plain reads under SERIALIZABLE',
    level: 'serializable',
    apply: (patches) =>
      patches.method(TransactionCore.prototype, 'lockMode', (lockMode) => {
        return function (this: TransactionCore, options) {
          return options.lock === undefined ? (undefined as LockMode | undefined) : lockMode.call(this, options)
        }
      }),
  },
  {
    name: 'no conflicts of snapshots',
    without: 'the conflict of a write with what was committed since the snapshot: `snapshot` as REPEATABLE READ',
    level: 'snapshot',
    apply: (patches) =>
      patches.method(TrxSystem.prototype, 'begin', (begin) => {
        return function (this: TrxSystem, isolation) {
          return begin.call(this, isolation === 'snapshot' ? 'repeatable-read' : isolation)
        }
      }),
  },
  {
    name: 'view made late',
    without: 'the one view of a transaction: each statement makes its own',
    level: 'repeatable-read',
    apply: (patches) =>
      patches.method(TransactionCore.prototype, 'visibility', (visibility) => {
        return function (this: TransactionCore) {
          if (this.trx.view !== undefined) this.db.engine.system.closeView(this.trx.view)
          this.trx.view = undefined
          return visibility.call(this)
        }
      }),
  },
  {
    name: 'view that forgets who is active',
    without: 'the list of transactions that were under way when the view was made',
    level: 'repeatable-read',
    apply: (patches) =>
      patches.method(ReadView.prototype, 'sees', () => {
        return function (this: ReadView, trxId) {
          return trxId === this.own || trxId < this.high
        }
      }),
  },
  {
    name: 'reads of what is not committed',
    without: 'views under READ COMMITTED: the newest row is read',
    level: 'read-committed',
    apply: (patches) => patches.method(TransactionCore.prototype, 'visibility', () => () => 'newest'),
  },
  {
    name: 'purge that ignores views',
    without: 'the bound that views set to purge (G1)',
    level: 'repeatable-read',
    apply: (patches) =>
      patches.getter(TrxSystem.prototype, 'purgeLimit', function () {
        return this.nextCommitNumber
      }),
  },
  {
    name: 'rollback that undoes nothing',
    without: 'undo: what a transaction wrote stays when it is rolled back',
    level: 'read-committed',
    apply: (patches) => patches.method(Engine.prototype, 'undoStep', () => () => true),
  },
  {
    name: 'no deadlock detection',
    without: 'the search for cycles when a wait begins (G2)',
    level: 'repeatable-read',
    apply: (patches) => patches.method(WaitGraph.prototype, 'check', () => () => {}),
  },
  {
    name: 'lost wake-ups',
    without: 'one in a hundred of the messages that a wait is over',
    level: 'repeatable-read',
    apply: (patches) => {
      let count = 0
      patches.method(WaitGraph.prototype, 'settle', (settle) => {
        return function (this: WaitGraph, request, outcome) {
          if (++count % 100 === 0) request.onSettled = null
          settle.call(this, request, outcome)
        }
      })
    },
  },
  {
    name: 'commits acknowledged early',
    without: 'the wait of a commit for its log to be on disk, where the machine crashes now and then',
    level: 'read-committed',
    apply: (patches) => patches.method(WriteAheadLog.prototype, 'commitDurability', () => () => undefined),
  },
]

const NOWHERE = Uint8Array.of(0xff, 0xff)

/** How a mutation was found out. */
export interface Finding {
  readonly rounds: number
  readonly seed: number
  /** Anomalies that the level forbids, or what the engine or the harness said. */
  readonly by: string
}

export interface Effort {
  /** Seed of the first round. */
  readonly seed: number
  /** Rounds after which the search is given up. */
  readonly rounds: number
  readonly roundSize: number
  readonly clients: number
}

/** Plays rounds on the mutated engine until something is found; undefined if nothing is. */
export async function findOut(
  { level, apply, focus }: Mutation,
  { seed: first, rounds, roundSize, clients }: Effort,
): Promise<Finding | undefined> {
  const patches = new Patches()
  apply(patches)
  try {
    for (let round = 0; round < rounds; round++) {
      const seed = first + round
      const by = await symptomOf(level, seed, roundSize, clients, focus)
      if (by !== undefined) return { rounds: round + 1, seed, by }
    }
    return undefined
  } finally {
    patches.restore()
  }
}

async function symptomOf(
  level: Level,
  seed: number,
  roundSize: number,
  clients: number,
  focus?: Partial<WorkloadOptions>,
): Promise<string | undefined> {
  try {
    const { history } = await playRound(NextkeyStore.open, { level, roundSize, clients, restarts: true }, seed, focus)
    const forbidden = judge(history, level).forbiddenAt(level)
    return forbidden.length === 0 ? undefined : forbidden.join(', ')
  } catch (error) {
    return (error as Error).message.split('\n')[0]
  }
}
