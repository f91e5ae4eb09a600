/**
 * The workloads' objects in this engine. Lists and registers are rows that are changed in every way there is, always on the newest row under its
 * lock. Members of groups are rows found through a secondary index, or by their key. Some enter and leave by insert and delete, and one that enters takes
 * the primary key of one that has left; the others move within the index from and to a parking group. So entries come, go and come back in every way.
 *
 * It runs on a machine of the scheduler, so that a seed repeats a run exactly. At a restart the process dies or the power fails; what the old instance
 * answers after that is thrown away: nobody was there to hear it.
 */
import { DuplicateKeyError } from '../../src/base/errors.js'
import { type Database, openWith } from '../../src/database.js'
import type { Table } from '../../src/table.js'
import type { Transaction } from '../../src/transaction.js'
import type { Durability } from '../../src/wal/write-ahead-log.js'
import type { ScheduledMachine, Scheduler } from '../support/scheduler.js'
import type { Level } from './anomalies.js'
import { type InitialState, type Store, StoreAbort, type StoreTransaction } from './store.js'
import { LEAVERS_PER_GROUP } from './workload.js'

const REASONS: Readonly<Record<string, StoreAbort['reason']>> = {
  ERR_DEADLOCK: 'deadlock',
  ERR_CONFLICT: 'conflict',
  ERR_LOCK_WAIT_TIMEOUT: 'timeout',
}

const DIRECTORY = '/db'
/** So long that nobody times out: who does was not woken, or stood in a deadlock that was not seen. */
const NO_TIMEOUT_MS = 3_600_000

export interface NextkeyStoreOptions {
  readonly level: Level
  /** Whether the store will be restarted: then what is acknowledged must be on disk. */
  readonly restarts: boolean
  /** Milliseconds after which a wait for a lock is given up; undefined: never. */
  readonly lockWaitTimeout: number | undefined
  /** Bytes of pages in memory: fewer, and pages are evicted and read back. */
  readonly cacheSize: number
  /** Bytes of log after which a checkpoint begins. */
  readonly checkpointBytes: number
}

interface List {
  readonly id: number
  readonly values: readonly number[]
}

interface Register {
  readonly id: number
  readonly version: number
  readonly value: number | null
}

interface Member {
  readonly id: number
  readonly group: number
  readonly member: number
}

interface Tables {
  readonly lists: Table<List>
  readonly registers: Table<Register>
  readonly members: Table<Member>
}

/** One opening of the database; a crash begins another. */
interface Incarnation {
  readonly db: Database
  readonly machine: ScheduledMachine
  readonly tables: Tables
  gone: boolean
}

/** What `db.check()` found at the end of a round. */
export class StoreDamaged extends Error {}

export class NextkeyStore implements Store {
  readonly #scheduler: Scheduler
  readonly #options: NextkeyStoreOptions
  #restarts = 0
  #current: Incarnation

  private constructor(scheduler: Scheduler, options: NextkeyStoreOptions, first: Incarnation) {
    this.#scheduler = scheduler
    this.#options = options
    this.#current = first
  }

  static async open(scheduler: Scheduler, options: NextkeyStoreOptions): Promise<NextkeyStore> {
    return new NextkeyStore(scheduler, options, await openOn(scheduler.machine(), options))
  }

  async prepare({ lists, registers, members }: InitialState): Promise<void> {
    const { db, tables } = this.#current
    const rows = members.flatMap(({ group, member, present }) => {
      if (present) return [memberRow(group, member, group)]
      return moves(member) ? [memberRow(group, member, parking(group))] : []
    })
    await db.transaction(async (tx) => {
      await tx.insertMany(
        tables.lists,
        lists.map((id) => ({ id, values: [] })),
      )
      await tx.insertMany(
        tables.registers,
        registers.map((id) => ({ id, version: 0, value: null })),
      )
      await tx.insertMany(tables.members, rows)
    })
  }

  async begin(): Promise<StoreTransaction> {
    const incarnation = this.#current
    const tx = await answerOf(incarnation, () => incarnation.db.begin())
    return new NextkeyTransaction(incarnation, tx, this.#options)
  }

  async restart(): Promise<void> {
    const old = this.#current
    // In one turn: nothing is answered between the crash and the end of what it ended. Nobody forgot the transactions it ends.
    const disk = this.#scheduler.crash(old.machine, this.#restarts++ % 2 === 0 ? 'power' : 'process')
    old.gone = true
    await old.db.close()
    this.#current = await openOn(this.#scheduler.machine(disk), this.#options)
  }

  async close(): Promise<void> {
    const { db } = this.#current
    const { problems } = await db.check().finally(() => db.close())
    if (problems.length > 0) throw new StoreDamaged(`db.check() found:\n  ${problems.join('\n  ')}`)
  }
}

async function openOn(machine: ScheduledMachine, options: NextkeyStoreOptions): Promise<Incarnation> {
  const { level, restarts, lockWaitTimeout = NO_TIMEOUT_MS, cacheSize, checkpointBytes } = options
  const durability: Durability = restarts ? 'sync' : 'lazy'
  const db = await openWith(machine, DIRECTORY, {
    isolation: level,
    durability,
    lockWaitTimeout,
    cacheSize,
    checkpointBytes,
    logSegmentSize: 256 * 1024,
  })
  const tables: Tables = {
    lists: await db.table('lists', { key: 'id' }),
    registers: await db.table('registers', { key: 'id' }),
    members: await db.table('members', { key: 'id', indexes: { place: { on: ['group', 'member'] } } }),
  }
  return { db, machine, tables, gone: false }
}

/** Every third member moves instead of coming and going. */
function moves(member: number): boolean {
  return member % 3 === 0
}

function parking(group: number): number {
  return -1 - group
}

const MEMBERS = 1000

/** Those that come and go share a key, one that leaves and one that enters. */
function memberId(group: number, member: number): number {
  return group * MEMBERS + (moves(member) ? member : member % LEAVERS_PER_GROUP)
}

function memberRow(home: number, member: number, group: number): Member {
  return { id: memberId(home, member), group, member }
}

/** The answer, unless it comes from an instance that is gone; errors that end a transaction become StoreAbort. */
async function answerOf<T>(incarnation: Incarnation, call: () => Promise<T>): Promise<T> {
  try {
    const answer = await call()
    if (incarnation.gone) throw new StoreAbort('closed')
    return answer
  } catch (error) {
    if (error instanceof StoreAbort) throw error
    const reason = incarnation.gone ? 'closed' : REASONS[(error as { code?: string }).code ?? '']
    if (reason === undefined) throw error
    throw new StoreAbort(reason, error)
  }
}

class NextkeyTransaction implements StoreTransaction {
  readonly #incarnation: Incarnation
  readonly #tx: Transaction
  readonly #tables: Tables
  readonly #options: NextkeyStoreOptions

  constructor(incarnation: Incarnation, tx: Transaction, options: NextkeyStoreOptions) {
    this.#incarnation = incarnation
    this.#tx = tx
    this.#tables = incarnation.tables
    this.#options = options
  }

  /** A lock wait timeout undoes the statement alone; here it ends the transaction, as the workload takes it. */
  async #run<T>(call: () => Promise<T>): Promise<T> {
    try {
      return await answerOf(this.#incarnation, call)
    } catch (error) {
      if (error instanceof StoreAbort && error.reason === 'timeout') {
        if (this.#options.lockWaitTimeout === undefined) throw error.cause
        // A crash may come first.
        await answerOf(this.#incarnation, () => this.#tx.rollback())
      }
      throw error
    }
  }

  async #get<R>(table: Table<R>, key: number, locking: boolean): Promise<R> {
    const row = await this.#run(() => this.#tx.get(table, key, locking ? { lock: key % 2 === 0 ? 'share' : 'update' } : {}))
    if (row === undefined) throw new Error(`row ${key} of ${table.name} is gone`)
    return row
  }

  async readList(key: number, locking: boolean): Promise<readonly number[]> {
    return (await this.#get(this.#tables.lists, key, locking)).values
  }

  /** By one of the ways there are to change a row. */
  async append(key: number, value: number): Promise<void> {
    const { lists } = this.#tables
    const tx = this.#tx
    const longer = (row: List): List => ({ ...row, values: [...row.values, value] })
    const way = value % 8
    if (way === 0) await this.#run(() => tx.updateRange(lists, { eq: key }, longer))
    else if (way === 1)
      await this.#run(() => tx.updateRange(lists, { gte: key, lte: key + 1, where: (row) => (row as List).id === key }, longer))
    else if (way === 2 || (way === 3 && this.#options.level !== 'read-uncommitted')) {
      const row = await this.#run(() => tx.get(lists, key, { lock: 'update' }))
      if (row === undefined) throw new Error(`list ${key} is gone`)
      if (way === 3) await this.#run(() => tx.delete(lists, key))
      await this.#run(() => (way === 3 ? tx.insert(lists, longer(row)) : tx.put(lists, longer(row))))
    } else await this.#run(() => tx.update(lists, key, longer))
  }

  async read(key: number, locking: boolean): Promise<number | undefined> {
    return (await this.#get(this.#tables.registers, key, locking)).value ?? undefined
  }

  async write(key: number, value: number): Promise<number> {
    let version = 0
    const change = (row: Register): Register => {
      version = row.version + 1
      return { ...row, version, value }
    }
    await this.#run(() => this.#tx.update(this.#tables.registers, key, change))
    return version
  }

  async enter(group: number, member: number): Promise<boolean> {
    const { members } = this.#tables
    if (moves(member)) return this.#run(() => this.#tx.update(members, memberId(group, member), { group }))
    try {
      await this.#run(() => this.#tx.insert(members, memberRow(group, member, group)))
      return true
    } catch (error) {
      if (error instanceof DuplicateKeyError) return false
      throw error
    }
  }

  async leave(group: number, member: number): Promise<boolean> {
    const { members } = this.#tables
    const id = memberId(group, member)
    const there = await this.#run(async () => {
      if (moves(member)) return this.#tx.update(members, id, { group: parking(group) })
      return member % 2 === 0
        ? this.#tx.delete(members, id)
        : (await this.#tx.deleteRange(members, { index: 'place', eq: [group, member] })) === 1
    })
    if (!there) throw new Error(`member ${member} of group ${group} is gone`)
    return true
  }

  /** Through the index, upwards or downwards, by the rows or by the entries alone; one member also by its primary key. */
  async scan(group: number, lower: number, upper: number, locking: boolean): Promise<readonly number[]> {
    const { members } = this.#tables
    const options = locking ? { lock: lower % 2 === 0 ? ('share' as const) : ('update' as const) } : {}
    if (lower === upper && lower % 2 === 0) {
      const row = await this.#run(() => this.#tx.get(members, memberId(group, lower), options))
      return row?.group === group && row.member === lower ? [lower] : []
    }
    const reverse = (lower + upper) % 3 === 0
    const range = { index: 'place', ...(lower === upper ? { eq: [group, lower] } : { gte: [group, lower], lte: [group, upper] }), reverse }
    const found =
      upper % 2 === 0
        ? (await this.#run(() => this.#tx.values(members, range, options).toArray())).map((row) => row.member)
        : (await this.#run(() => this.#tx.keys<Member, [number, number]>(members, range, options).toArray())).map(([, member]) => member)
    return reverse ? found.reverse() : found
  }

  async savepoint(): Promise<() => Promise<void>> {
    const savepoint = await this.#run(async () => this.#tx.savepoint())
    return () => this.#run(() => this.#tx.rollbackTo(savepoint))
  }

  commit(): Promise<void> {
    return this.#run(() => this.#tx.commit())
  }

  abort(): Promise<void> {
    return this.#run(() => this.#tx.rollback())
  }
}

/** Restarts leave transactions behind on purpose: this process does not warn of that. */
export function hideLeaks(): void {
  process.removeAllListeners('warning')
  process.on('warning', (warning) => {
    if ((warning as { code?: string }).code !== 'NEXTKEY_LEAK') process.stderr.write(`${warning.stack}\n`)
  })
}
