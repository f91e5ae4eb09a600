import type { Database } from '../../src/database.js'
import type { Snapshot } from '../../src/snapshot.js'
import type { Table } from '../../src/table.js'
import type { Model } from './model.js'
import { fingerprintOf, fingerprintOfTable, type Key, type Value } from './rows.js'

/**
 * Keeps a snapshot for a while, then compares it with what was committed when it was made: by the tables themselves and by each of their
 * indexes. Whatever others have changed since, and purge has removed, it must look as it did.
 */
export class Onlooker {
  readonly #db: Database
  readonly #model: Model
  readonly #tables: ReadonlyMap<string, Table<Value>>
  #view: { readonly snapshot: Snapshot; readonly tables: readonly Table<Value>[]; readonly fingerprint: bigint } | undefined

  constructor(db: Database, model: Model, tables: ReadonlyMap<string, Table<Value>>) {
    this.#db = db
    this.#model = model
    this.#tables = tables
  }

  get looking(): boolean {
    return this.#view !== undefined
  }

  begin(): void {
    let fingerprint = this.#model.fingerprint
    for (const name of this.#model.tables.keys()) fingerprint ^= fingerprintOfTable(name)
    this.#view = { snapshot: this.#db.snapshot(), tables: [...this.#tables.values()], fingerprint }
  }

  /** The schema is about to change, and a view does not show what is new: there is nothing to compare it with. */
  forget(): void {
    this.#view?.snapshot.close()
    this.#view = undefined
  }

  /** Raises what differs; an error of the database's if it cannot read. */
  end(): void {
    if (this.#view === undefined) return
    const { snapshot, tables, fingerprint } = this.#view
    this.#view = undefined
    try {
      let rows = 0n
      for (const table of tables) {
        let ofTable = 0n
        for (const [key, value] of snapshot.entries<Value, Key>(table)) ofTable ^= fingerprintOf(table.name, key, value)
        for (const index of Object.keys(this.#model.tables.get(table.name)?.options.indexes ?? {})) {
          let ofIndex = 0n
          for (const value of snapshot.values<Value>(table, { index })) ofIndex ^= fingerprintOf(table.name, NO_KEY, value)
          if (ofIndex !== ofTable) throw new Error(`a snapshot shows other rows of table '${table.name}' by its index '${index}'`)
        }
        rows ^= ofTable
      }
      if (rows !== fingerprint) throw new Error('a snapshot does not show what was committed when it was made')
    } finally {
      snapshot.close()
    }
  }
}

/** Values of tables with indexes are known by their version. */
const NO_KEY = ''
