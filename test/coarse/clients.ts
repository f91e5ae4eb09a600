/**
 * What clients do, one thing after the other: transactions of rows, single statements, schema changes, LOCK TABLES in both forms, freezes.
 * Each watches what its locks promise:
 *
 * C1. While a transaction is open, a table it has used keeps its definition.
 * C2. While somebody has locked a table, for reading or writing, nobody else changes what is committed in it, nor its definition.
 * C3. While the database is frozen nothing changes at all.
 */
import type { LockedTables } from '../../src/locked-tables.js'
import type { Table } from '../../src/table.js'
import type { Transaction } from '../../src/transaction.js'
import type { IsolationLevel } from '../../src/txn/trx.js'
import type { Prng } from '../support/seeded.js'
import { KEYS, NAMES, type Shared, type Thing, Violation } from './model.js'

const LEVELS: readonly IsolationLevel[] = ['read-committed', 'repeatable-read', 'serializable', 'snapshot']
const ENDING: ReadonlySet<string> = new Set(['ERR_DEADLOCK', 'ERR_CONFLICT'])

export class Client {
  readonly #shared: Shared
  readonly #prng: Prng

  constructor(shared: Shared, prng: Prng) {
    this.#shared = shared
    this.#prng = prng
  }

  async run(operations: number): Promise<void> {
    while (this.#shared.operations < operations) {
      const dice = this.#prng.int(100)
      if (dice < 45) await this.#transaction()
      else if (dice < 75) await this.#single()
      else if (dice < 88) await this.#schemaChange()
      else if (dice < 94) await this.#lockTables()
      else await this.#freeze()
    }
  }

  // ── rows ──────────────────────────────────────────────────────────────────────────────────────────────────────────

  async #transaction(): Promise<void> {
    const tx = await this.#shared.db.begin({ isolation: this.#prng.pick(LEVELS) })
    await this.#statements(tx, true)
  }

  /** Statements in a transaction, and its end. */
  async #statements(tx: Transaction, mayLock: boolean): Promise<void> {
    const used = new Map<Table<Thing>, string>()
    for (let left = 1 + this.#prng.int(6); left > 0; left--) {
      const table = await this.#anyTable()
      if (table === undefined) continue
      const code = await this.#statement(tx, table, mayLock)
      if (code !== undefined && ENDING.has(code)) return
      if (code === undefined) this.#mustBeTheSame(table, used)
      for (const known of used.keys()) this.#mustBeTheSame(known, used)
    }
    if (this.#prng.bool(0.8)) await this.#shared.attempt('commit', () => tx.commit())
    else await this.#shared.attempt('rollback', () => tx.rollback())
  }

  /** C1. */
  #mustBeTheSame(table: Table<Thing>, used: Map<Table<Thing>, string>): void {
    const now = JSON.stringify([table.name, table.definition])
    const before = used.get(table)
    if (before !== undefined && before !== now) throw new Violation(`a table changed under a transaction: ${before} became ${now}`)
    used.set(table, now)
  }

  #statement(tx: Transaction, table: Table<Thing>, mayLock: boolean): Promise<string | undefined> {
    const prng = this.#prng
    const key = 1 + prng.int(KEYS)
    const lock = prng.pick(['share', 'update'] as const)
    const range = { gte: key, lt: key + prng.int(8) }
    const grow = (row: Thing): Thing => ({ ...row, group: row.group + 1 })
    const { attempt } = this.#shared.bound
    switch (prng.int(mayLock ? 14 : 12)) {
      case 0:
        return attempt('insert', () => tx.insert(table, this.#row()))
      case 1:
        return attempt('insertMany', () => tx.insertMany(table, [this.#row(), this.#row()], { onDuplicate: 'ignore' }))
      case 2:
        return attempt('insertFrom', () => tx.insertFrom(table, this.#stream(), { onDuplicate: 'ignore' }))
      case 3:
      case 4:
        return attempt('update', () => tx.update(table, key, grow))
      case 5:
        return attempt('delete', () => tx.delete(table, key))
      case 6:
        return attempt('get', () => tx.get(table, key))
      case 7:
        return attempt(`get ${lock}`, () => tx.get(table, key, { lock }))
      case 8:
        return attempt(`values ${lock}`, () => tx.values(table, { index: 'group', eq: prng.int(4) }, { lock }).toArray())
      case 9:
        return attempt('updateRange', () => tx.updateRange(table, range, grow))
      case 10:
        return attempt('deleteRange', () => tx.deleteRange(table, range))
      case 11:
        return attempt('undone', async () => {
          // Read before: what is used only after a savepoint is given back by the rollback to it.
          await tx.get(table, key)
          const savepoint = tx.savepoint()
          await tx.update(table, key, grow)
          await tx.rollbackTo(savepoint)
        })
      case 12:
        return attempt('lockTable', async () => {
          await tx.get(table, key)
          await tx.lockTable(table, prng.pick(['read', 'write'] as const))
        })
      default:
        return attempt('unlockTables', async () => {
          await tx.get(table, key)
          await tx.unlockTables()
        })
    }
  }

  async #single(): Promise<void> {
    const table = await this.#anyTable()
    if (table === undefined) return
    const prng = this.#prng
    const { attempt } = this.#shared.bound
    const key = 1 + prng.int(KEYS)
    const what = prng.int(6)
    if (what === 0) await attempt('alone: insert', () => table.insert(this.#row()))
    else if (what === 1) await attempt('alone: put', () => table.put({ ...this.#row(), id: key }))
    else if (what === 2) await attempt('alone: update', () => table.update(key, (row) => ({ ...row, code: prng.int(KEYS) })))
    else if (what === 3) await attempt('alone: delete', () => table.delete(key))
    else if (what === 4) await attempt('alone: read', () => table.index('group').values({ lte: 2 }).toArray())
    else
      await attempt('alone: synchronous', () =>
        this.#shared.db.transactionSync((tx) => {
          tx.get(table, key, { lock: 'update' })
          tx.put(table, { ...this.#row(), id: key })
        }),
      )
  }

  // ── tables ────────────────────────────────────────────────────────────────────────────────────────────────────────

  async #schemaChange(): Promise<void> {
    const prng = this.#prng
    const { db } = this.#shared
    const { attempt } = this.#shared.bound
    const name = prng.pick(NAMES)
    const what = prng.int(10)
    if (what < 3) await attempt('create', () => this.#shared.table(name))
    else if (what === 3) await attempt('drop', () => db.dropTable(name))
    else if (what === 4) await attempt('rename', () => db.renameTable(name, prng.pick(NAMES)))
    else {
      const table = await this.#anyTable()
      if (table !== undefined) await this.#changeTable(table)
    }
  }

  async #changeTable(table: Table<Thing>, under?: LockedTables): Promise<void> {
    const prng = this.#prng
    const { attempt } = this.#shared.bound
    const options = under === undefined ? {} : { under }
    const what = prng.int(8)
    if (what < 2) await attempt('truncate', () => table.truncate(options))
    else if (what < 4) await attempt('dropIndex', () => table.dropIndex(prng.pick(['group', 'code']), options))
    else if (what === 4 && under === undefined) await attempt('setAutoIncrement', () => table.setAutoIncrement(1 + prng.int(KEYS)))
    else if (what === 5) await attempt('createIndex code', () => table.createIndex('code', { on: 'code', unique: true }, options))
    else await attempt('createIndex group', () => table.createIndex('group', { on: 'group' }, options))
  }

  /** C2. */
  async #lockTables(): Promise<void> {
    const prng = this.#prng
    const shared = this.#shared
    const [read, write] = [await this.#anyTable(), await this.#anyTable()]
    let locked: LockedTables | undefined
    const tables = { read: read === undefined ? [] : [read], write: write === undefined || prng.bool(0.3) ? [] : [write] }
    if (tables.read.length + tables.write.length === 0) return
    await shared.attempt('LOCK TABLES', async () => {
      locked = await shared.db.lockTables(tables)
    })
    if (locked === undefined) return
    for (let left = prng.int(3); left > 0; left--) {
      const all = [...tables.read, ...tables.write]
      const before = shared.state(all)
      for (let turns = prng.int(4); turns > 0; turns--) await shared.turn()
      shared.mustBe(before, all, 'under LOCK TABLES')
      if (write !== undefined && tables.write.length > 0 && prng.bool(0.3)) await this.#changeTable(write, locked)
      else await this.#statements(await locked.begin({ isolation: prng.pick(LEVELS) }), false)
    }
    locked.unlock()
  }

  /** C3. */
  async #freeze(): Promise<void> {
    const shared = this.#shared
    await shared.attempt('freeze', () =>
      shared.db.freeze(async () => {
        const all = shared.known()
        const [names, before] = [String(shared.db.tables()), shared.state(all)]
        for (let turns = this.#prng.int(8); turns > 0; turns--) await shared.turn()
        shared.mustBe(before, all, 'under a freeze')
        if (String(shared.db.tables()) !== names)
          throw new Violation(`under a freeze: the tables were ${names} and are ${shared.db.tables()}`)
      }),
    )
  }

  // ── what they work on ─────────────────────────────────────────────────────────────────────────────────────────────

  async #anyTable(): Promise<Table<Thing> | undefined> {
    const name = this.#prng.pick(NAMES)
    return this.#shared.db.tables().includes(name) ? this.#shared.table(name) : undefined
  }

  #row(): Thing {
    const prng = this.#prng
    const row = { group: prng.int(4), code: prng.bool(0.6) ? prng.int(KEYS) : null, text: 'x'.repeat(prng.int(20) * prng.int(20)) }
    return (prng.bool(0.5) ? row : { ...row, id: 1 + prng.int(KEYS) }) as Thing
  }

  async *#stream(): AsyncGenerator<Thing> {
    for (let left = 1 + this.#prng.int(3); left > 0; left--) {
      yield this.#row()
      if (this.#prng.bool()) await this.#shared.turn()
    }
  }
}
