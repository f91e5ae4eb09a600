import { assert } from './base/assert.js'
import type { LogPosition } from './base/ids.js'
import type { Database } from './database.js'
import { PLAIN, type RowStatements } from './row-statements.js'
import { encodeDefinition, treesOf } from './txn/catalog.js'
import { type Outcome, Remaining } from './txn/outcome.js'
import type { TableDefinition } from './txn/table-store.js'
import { type Trx, TrxState } from './txn/trx.js'

/**
 * A transaction that changes rows of the catalogue, made and committed in one turn: a checkpoint never finds it under way, and it never
 * waits, for whoever makes it holds the metadata locks of all names in it.
 */
export class CatalogChange {
  readonly trx: Trx
  readonly #db: Database
  /** Trees made for it: freed again if it comes to nothing. */
  readonly #made: TableDefinition[] = []

  private constructor(db: Database) {
    this.#db = db
    db.engine.mustWrite()
    this.trx = db.engine.begin('read-committed')
    this.trx.mayWait = false
  }

  /** Makes a change, by `work`, and commits it. Returns the log position that must be durable before it may be acknowledged. */
  static commit(db: Database, work: (change: CatalogChange) => void): LogPosition {
    const change = new CatalogChange(db)
    return change.#attempt(() => {
      work(change)
      return db.engine.commit(change.trx)
    })
  }

  /** Makes a change that is committed by a checkpoint alone: nothing of it goes to the log. The caller commits. */
  static begin(db: Database, work: (change: CatalogChange) => void): Trx {
    const change = new CatalogChange(db)
    change.trx.redo.drop()
    change.#attempt(() => work(change))
    return change.trx
  }

  insert(definition: TableDefinition): void {
    const { engine } = this.#db
    this.#made.push(definition)
    engine.change(() => engine.catalog.createTrees(definition))
    this.#run((rows) => rows.insert(this.trx, engine.catalog.table, encodeDefinition(definition), definition.name, PLAIN))
  }

  /** `newTrees`: other ids stand in it than before. */
  replace(definition: TableDefinition, newTrees: boolean): void {
    const { engine } = this.#db
    if (newTrees) {
      this.#made.push(definition)
      engine.change(() => engine.catalog.createTrees(definition))
    }
    this.#run((rows) => rows.put(this.trx, engine.catalog.table, encodeDefinition(definition), definition.name))
  }

  /** Under its new name; the row under the old one goes. In this order replay knows the table under both. */
  rename(definition: TableDefinition, from: string): void {
    const { catalog } = this.#db.engine
    this.#run((rows) => rows.insert(this.trx, catalog.table, encodeDefinition(definition), definition.name, PLAIN))
    this.delete(from)
  }

  delete(name: string): void {
    this.#run((rows) => rows.delete(this.trx, this.#db.engine.catalog.table, name, 'wait'))
  }

  #run(change: (rows: RowStatements) => Outcome<unknown>): void {
    const { statements } = this.#db
    assert(!(statements.begin(this.trx, () => change(statements.rows)) instanceof Remaining), 'a change of the catalogue had to wait')
  }

  #attempt<T>(work: () => T): T {
    const { engine } = this.#db
    try {
      return work()
    } catch (caught) {
      const error = engine.judge(caught)
      if (this.trx.state === TrxState.Active) engine.rollback(this.trx)
      if (engine.failure === undefined) engine.change(() => this.#freeMade())
      throw error
    }
  }

  /** They are empty: a page each. */
  #freeMade(): void {
    const { catalog } = this.#db.engine
    for (const tree of this.#made.flatMap(treesOf)) {
      const removal = catalog.removal(tree, false)
      while (removal !== undefined && !removal.step());
    }
  }
}
