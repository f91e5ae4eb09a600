import { describe, InvalidArgumentError, NextkeyError } from './base/errors.js'
import type { LogPosition } from './base/ids.js'
import { CatalogChange } from './catalog-change.js'
import type { Database } from './database.js'
import { IndexCreation } from './index-creation.js'
import { MetadataLock } from './lock/metadata-modes.js'
import { type LongWorkOptions, mustGoOn } from './long-work.js'
import { checkCoarseWait, SCHEMA_CHANGE, type SchemaChangeOptions, SchemaLocks } from './schema-locks.js'
import { type IndexOptions, mustBeTableName, resolveIndex, type TableShape } from './table-options.js'
import type { Engine } from './txn/engine.js'
import type { IndexDefinition, TableDefinition, TableStore } from './txn/table-store.js'

/**
 * Schema changes as users ask for them, each a transaction of its own: wait until nobody has the table in use, then make the whole
 * change, commit included, in one turn. What a definition says is looked at after the wait: others may have changed it meanwhile.
 */
export class SchemaChanges {
  readonly #db: Database
  readonly #engine: Engine

  constructor(db: Database) {
    this.#db = db
    this.#engine = db.engine
  }

  /** Makes the table, or returns the one that somebody else has made meanwhile. */
  async createTable(shape: TableShape): Promise<TableStore> {
    const { catalog, schema } = this.#engine
    return this.#change(`creation of table '${shape.name}'`, {}, async (locks) => {
      await locks.lock(shape.name, MetadataLock.X)
      const made = catalog.tableByName(shape.name)
      if (made !== undefined) return { result: made }
      const definition: TableDefinition = {
        ...shape,
        id: schema.newTableId(),
        tree: schema.newTreeId(),
        indexes: shape.indexes.map((index) => this.#withNewTree(index)),
      }
      const position = CatalogChange.commit(this.#db, (change) => change.insert(definition))
      return { result: schema.publish(definition), position }
    })
  }

  /** Raises ERR_NO_SUCH_TABLE. */
  async dropTable(name: string, options: SchemaChangeOptions): Promise<TableStore> {
    const { catalog, schema } = this.#engine
    mustBeTableName(name)
    checkCoarseWait(options, 'dropTable()', SCHEMA_CHANGE)
    return this.#change(`drop of table '${name}'`, options, async (locks) => {
      await locks.lock(name, MetadataLock.X)
      const table = catalog.tableByName(name)
      if (table === undefined) throw noSuchTable(name)
      const position = CatalogChange.commit(this.#db, (change) => {
        change.delete(name)
        schema.leaveTable(change.trx, table)
      })
      this.#engine.change(() => schema.forget(table))
      return { result: table, position }
    })
  }

  /** Raises ERR_NO_SUCH_TABLE, ERR_TABLE_EXISTS. */
  async renameTable(from: string, to: string, options: SchemaChangeOptions): Promise<void> {
    const { catalog, schema } = this.#engine
    mustBeTableName(from)
    mustBeTableName(to)
    checkCoarseWait(options, 'renameTable()', SCHEMA_CHANGE)
    await this.#change(`renaming of table '${from}' to '${to}'`, options, async (locks) => {
      // In one order, whoever renames what: two of them never wait for each other.
      for (const name of [from, to].sort()) await locks.lock(name, MetadataLock.X)
      const table = catalog.tableByName(from)
      if (table === undefined) throw noSuchTable(from)
      if (catalog.tableByName(to) !== undefined) throw new NextkeyError('ERR_TABLE_EXISTS', `there is a table '${to}' already`)
      const definition: TableDefinition = { ...table.definition, name: to }
      const position = CatalogChange.commit(this.#db, (change) => change.rename(definition, from))
      schema.publish(definition)
      return { result: undefined, position }
    })
  }

  /** Raises ERR_NO_SUCH_TABLE. */
  async truncate(table: TableStore, options: SchemaChangeOptions): Promise<void> {
    const { schema } = this.#engine
    checkCoarseWait(options, 'truncate()', SCHEMA_CHANGE)
    await this.#change(`truncation of table '${table.name}'`, options, async (locks) => {
      await this.#lockTable(locks, table)
      const definition: TableDefinition = {
        ...table.definition,
        tree: schema.newTreeId(),
        indexes: table.definition.indexes.map((index) => this.#withNewTree(index)),
      }
      const position = CatalogChange.commit(this.#db, (change) => {
        change.replace(definition, true)
        schema.leaveTable(change.trx, table)
      })
      this.#engine.change(() => schema.publish(definition))
      return { result: undefined, position }
    })
  }

  /** Raises ERR_NO_SUCH_TABLE, ERR_INDEX_EXISTS, DuplicateKeyError, ERR_INVALID_KEY, ERR_ABORTED; then nothing of the index is left. */
  async createIndex(table: TableStore, name: string, options: IndexOptions, work: IndexBuildOptions): Promise<void> {
    const shape = resolveIndex(table.name, name, options)
    if (table.definition.value === 'binary')
      throw new InvalidArgumentError(`index '${name}' of table '${table.name}': binary values have no fields`)
    checkCoarseWait(work, 'createIndex()', INDEX_BUILD)
    mustGoOn(work.signal)
    await this.#change(`creation of index '${name}' of table '${table.name}'`, work, async (locks) => {
      await this.#lockTable(locks, table, MetadataLock.SU)
      if (table.definition.indexes.some((index) => index.name === name))
        throw new NextkeyError('ERR_INDEX_EXISTS', `table '${table.name}' has an index '${name}' already`, {
          details: { table: table.name, index: name },
        })
      await new IndexCreation(this.#db, locks, table, { ...shape, online: true }, work).run()
      return { result: undefined }
    })
  }

  /** Raises ERR_NO_SUCH_TABLE, ERR_NO_SUCH_INDEX. */
  async dropIndex(table: TableStore, name: string, options: SchemaChangeOptions): Promise<void> {
    const { schema } = this.#engine
    checkCoarseWait(options, 'dropIndex()', SCHEMA_CHANGE)
    this.#db.reads.index(table, name)
    await this.#change(`drop of index '${name}' of table '${table.name}'`, options, async (locks) => {
      await this.#lockTable(locks, table)
      const { definition: dropped } = this.#db.reads.index(table, name)
      const definition: TableDefinition = { ...table.definition, indexes: table.definition.indexes.filter((index) => index !== dropped) }
      const position = CatalogChange.commit(this.#db, (change) => {
        change.replace(definition, false)
        schema.leaveIndex(change.trx, dropped)
      })
      schema.publish(definition)
      return { result: undefined, position }
    })
  }

  #change<T>(what: string, options: SchemaChangeOptions, work: (locks: SchemaLocks) => Promise<Changed<T>>): Promise<T> {
    return this.#db.track(this.#lockAndChange(what, options, work))
  }

  /** Under its locks, which are given back before it is durable: others see it at once, as they see any commit. */
  async #lockAndChange<T>(what: string, options: SchemaChangeOptions, work: (locks: SchemaLocks) => Promise<Changed<T>>): Promise<T> {
    this.#engine.mustWrite()
    const locks = new SchemaLocks(this.#db, what, options)
    let changed: Changed<T>
    try {
      await locks.change()
      changed = await work(locks)
    } finally {
      locks.release()
    }
    this.#engine.purging.poke()
    if (changed.position !== undefined) await this.#db.ends.durable(changed.position)
    return changed.result
  }

  /** By the name it has when the lock is granted. */
  async #lockTable(locks: SchemaLocks, table: TableStore, lock: MetadataLock = MetadataLock.X): Promise<void> {
    for (let name = ''; name !== table.name; ) {
      name = table.name
      await locks.lock(name, lock)
      if (table.dropped) throw noSuchTable(name)
    }
  }

  #withNewTree(index: Omit<IndexDefinition, 'tree'>): IndexDefinition {
    return { ...index, tree: this.#engine.schema.newTreeId() }
  }
}

/** How an index is built. */
export interface IndexBuildOptions extends LongWorkOptions, SchemaChangeOptions {}

const INDEX_BUILD: ReadonlySet<string> = new Set([...SCHEMA_CHANGE, 'onProgress'])

interface Changed<T> {
  result: T
  /** Log position that must be durable before the change is acknowledged. */
  position?: LogPosition
}

export function noSuchTable(name: string): NextkeyError {
  return new NextkeyError('ERR_NO_SUCH_TABLE', `there is no table ${describe(name)}: it was never made, or was dropped`, {
    details: { table: name },
  })
}
