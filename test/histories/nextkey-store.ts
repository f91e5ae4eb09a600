/**
 * The workloads' objects in this engine: lists and registers are rows changed by an updater, which acts on the newest row under its lock; members of
 * groups are rows found through a secondary index. Half of the members enter and leave by insert and delete, the other half by moving within the
 * index from and to a parking group, so that entries come and go in both ways.
 *
 * It runs on a simulated machine, so that a seed repeats a run exactly. At a restart the process dies or the power fails; what the old instance
 * answers after that is thrown away: nobody was there to hear it.
 */
import { Machine } from '../conformance/machine.js'
import type { Face, FaceDatabase, FaceRow, FaceTable, FaceTransaction } from '../conformance/nextkey-face.js'
import type { Level } from './anomalies.js'
import { type InitialState, type Store, StoreAbort, type StoreTransaction } from './store.js'

const REASONS: Readonly<Record<string, StoreAbort['reason']>> = {
  ERR_DEADLOCK: 'deadlock',
  ERR_CONFLICT: 'conflict',
  ERR_LOCK_WAIT_TIMEOUT: 'timeout',
  ERR_CLOSED: 'closed',
  ERR_TRANSACTION_ENDED: 'closed',
  ERR_COMMIT_UNKNOWN: 'closed',
}

/** Small, so that pages are evicted and read back. */
const CACHE_BYTES = 4 * 2 ** 20
const LOG_SEGMENT_BYTES = 256 * 1024

export interface NextkeyStoreOptions {
  readonly level: Level
  readonly seed: number
  /** Whether the store will be restarted: then what is acknowledged must be on disk. */
  readonly restarts: boolean
}

interface Tables {
  readonly lists: FaceTable
  readonly registers: FaceTable
  readonly members: FaceTable
}

/** One opening of the database; a crash begins another. */
interface Incarnation {
  readonly db: FaceDatabase
  readonly tables: Tables
  gone: boolean
}

export class NextkeyStore implements Store {
  readonly #machine: Machine
  readonly #options: NextkeyStoreOptions
  #restarts = 0
  #current!: Incarnation

  private constructor(face: Face, options: NextkeyStoreOptions) {
    this.#machine = new Machine(face, options.seed)
    this.#options = options
  }

  static async open(face: Face, options: NextkeyStoreOptions): Promise<NextkeyStore> {
    const store = new NextkeyStore(face, options)
    store.#current = await store.#open()
    return store
  }

  async #open(): Promise<Incarnation> {
    const { level, restarts } = this.#options
    const db = await this.#machine.open({
      isolation: level,
      durability: restarts ? 'sync' : 'lazy',
      cacheSize: CACHE_BYTES,
      logSegmentSize: LOG_SEGMENT_BYTES,
    })
    const tables = {
      lists: await db.table('lists', { key: 'id' }),
      registers: await db.table('registers', { key: 'id' }),
      members: await db.table('members', { key: 'id', indexes: { place: { on: ['group', 'member'] } } }),
    }
    return { db, tables, gone: false }
  }

  async prepare({ lists, registers, members }: InitialState): Promise<void> {
    const { db, tables } = this.#current
    const tx = await db.begin()
    for (const table of Object.values(tables)) await tx.deleteRange(table, {})
    await tx.insertMany(
      tables.lists,
      lists.map((id) => ({ id, values: [] })),
    )
    await tx.insertMany(
      tables.registers,
      registers.map((id) => ({ id, version: 0, value: null })),
    )
    const rows = members.flatMap(({ group, member, present }) => {
      if (present) return [memberRow(group, member, group)]
      return moves(member) ? [memberRow(group, member, parking(group))] : []
    })
    await tx.insertMany(tables.members, rows)
    await tx.commit()
  }

  async begin(): Promise<StoreTransaction> {
    const incarnation = this.#current
    const tx = await answerOf(incarnation, incarnation.db.begin())
    return new NextkeyTransaction(incarnation, tx)
  }

  async restart(): Promise<void> {
    const old = this.#current
    // In one turn: nothing is answered between the crash and the end of what it ended.
    this.#machine.crash(this.#restarts++ % 2 === 0 ? 'power' : 'process')
    old.gone = true
    await old.db.close()
    this.#current = await this.#open()
  }

  async close(): Promise<void> {
    await this.#current.db.close()
  }
}

/** Every third member moves instead of coming and going. */
function moves(member: number): boolean {
  return member % 3 === 0
}

function parking(group: number): number {
  return -1 - group
}

const MEMBERS = 1000

function memberId(group: number, member: number): number {
  return group * MEMBERS + member
}

function memberRow(home: number, member: number, group: number): FaceRow {
  return { id: memberId(home, member), group, member }
}

/** The answer, unless it comes from an instance that is gone; errors that end a transaction become StoreAbort. */
async function answerOf<T>(incarnation: Incarnation, call: Promise<T>): Promise<T> {
  try {
    const answer = await call
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
  readonly #tx: FaceTransaction
  readonly #tables: Tables

  constructor(incarnation: Incarnation, tx: FaceTransaction) {
    this.#incarnation = incarnation
    this.#tx = tx
    this.#tables = incarnation.tables
  }

  /** A lock wait timeout undoes the statement alone; here it ends the transaction, as the workload takes it. */
  async #run<T>(call: Promise<T>): Promise<T> {
    try {
      return await answerOf(this.#incarnation, call)
    } catch (error) {
      if (error instanceof StoreAbort && error.reason === 'timeout') await this.#tx.rollback()
      throw error
    }
  }

  async #get(table: FaceTable, key: number, locking: boolean): Promise<FaceRow> {
    const row = await this.#run(this.#tx.get(table, key, locking ? { lock: key % 2 === 0 ? 'share' : 'update' } : {}))
    if (row === undefined) throw new Error(`row ${key} of ${table.name} is gone`)
    return row
  }

  async readList(key: number, locking: boolean): Promise<readonly number[]> {
    return (await this.#get(this.#tables.lists, key, locking)).values as number[]
  }

  async append(key: number, value: number): Promise<void> {
    await this.#run(this.#tx.update(this.#tables.lists, key, (row) => ({ ...row, values: [...(row.values as number[]), value] })))
  }

  async read(key: number, locking: boolean): Promise<number | undefined> {
    return ((await this.#get(this.#tables.registers, key, locking)).value as number | null) ?? undefined
  }

  async write(key: number, value: number): Promise<number> {
    let version = 0
    const change = (row: FaceRow): FaceRow => {
      version = (row.version as number) + 1
      return { ...row, version, value }
    }
    await this.#run(this.#tx.update(this.#tables.registers, key, change))
    return version
  }

  async enter(group: number, member: number): Promise<void> {
    const { members } = this.#tables
    if (moves(member)) await this.#run(this.#tx.update(members, memberId(group, member), { group }))
    else await this.#run(this.#tx.insert(members, memberRow(group, member, group)))
  }

  async leave(group: number, member: number): Promise<void> {
    const { members } = this.#tables
    const id = memberId(group, member)
    const there = await this.#run(moves(member) ? this.#tx.update(members, id, { group: parking(group) }) : this.#tx.delete(members, id))
    if (!there) throw new Error(`member ${member} of group ${group} is gone`)
  }

  /** Through the rows or, every other time, through the index entries alone. */
  async scan(group: number, lower: number, upper: number, locking: boolean): Promise<readonly number[]> {
    const range = { index: 'place', gte: [group, lower], lte: [group, upper] }
    const options = locking ? ({ lock: 'share' } as const) : {}
    if (upper % 2 === 0) {
      const rows = await this.#run(this.#tx.values(this.#tables.members, range, options).toArray())
      return rows.map((row) => row.member as number)
    }
    const keys = await this.#run(this.#tx.keys(this.#tables.members, range, options).toArray())
    return keys.map((key) => (key as number[])[1])
  }

  commit(): Promise<void> {
    return this.#run(this.#tx.commit())
  }

  abort(): Promise<void> {
    return this.#run(this.#tx.rollback())
  }
}
