import { NextkeyError } from './base/errors.js'
import type { TableId, TreeId } from './base/ids.js'
import { decodeCompound, decodeKey } from './codec/key-encoding.js'
import type { Database } from './database.js'
import type { Table } from './table.js'
import { describeTable } from './transfer.js'
import { CATALOG_TABLE, parseDefinition } from './txn/catalog.js'
import { COMMIT_HEADER } from './txn/log-records.js'
import { readRedo } from './txn/redo-buffer.js'
import type { Salvage, SalvagedRecord } from './txn/salvage.js'
import type { SalvagedSchema } from './txn/salvaged-schema.js'
import type { TableDefinition } from './txn/table-store.js'

export interface LostTable {
  name: string
  /** Rows in these ranges may be lost; undefined: to the very end. */
  ranges: { after: unknown; before: unknown }[]
  /** Rows known to be lost, by key: the first 10,000. */
  rows: { key: unknown; problem: string }[]
  /** How many rows are known to be lost. In `ranges` there may be more, if the table has no index that tells. */
  known: number
}

interface Open {
  definition: TableDefinition
  table: Table
  /** Where its rows lie at this point of the log: another tree means that the table was truncated. */
  tree: TreeId | undefined
  lost: LostTable
}

interface Change {
  open: Open
  kind: 'put' | 'delete' | 'truncate'
  key: Uint8Array
  row: unknown
}

/** The new database, being filled. */
export class RepairTarget {
  readonly #db: Database
  readonly #schema: SalvagedSchema
  readonly #tables: Map<TableId, Open> = new Map()
  #changes: Change[] = []
  /** Table id and key of rows that the log deletes: an index of the checkpoint may still have them. */
  readonly #deleted: Set<string> = new Set()

  private constructor(db: Database, schema: SalvagedSchema) {
    this.#db = db
    this.#schema = schema
  }

  /** With all tables, and no rows. */
  static async create(db: Database, schema: SalvagedSchema): Promise<RepairTarget> {
    const target = new RepairTarget(db, schema)
    for (const definition of schema.tables) {
      const { name, key, autoIncrement, value, indexes } = definition
      const table = await db.table(name, {
        ...(key === null ? {} : { key }),
        autoIncrement,
        value,
        ...(indexes.length === 0
          ? {}
          : { indexes: Object.fromEntries(indexes.map((index) => [index.name, { on: index.on, unique: index.unique }])) }),
      })
      target.#tables.set(definition.id, {
        definition,
        table,
        tree: schema.treeAtCheckpoint(definition.id),
        lost: { name, ranges: [], rows: [], known: 0 },
      })
    }
    return target
  }

  /** A row of the checkpoint. */
  take(id: TableId, { key, row, problem }: SalvagedRecord): void {
    const open = this.#tables.get(id)
    if (open === undefined) return
    if (row === undefined) this.#lose(open, key, problem ?? '')
    else this.#put(open, key, row)
  }

  /** A commit of the log. */
  replay(bytes: Uint8Array, start: number, end: number): void {
    readRedo(bytes, start + COMMIT_HEADER, end, {
      put: (id, source, keyStart, keyEnd, rowStart, rowEnd) => {
        const row = source.slice(rowStart, rowEnd)
        if (id === CATALOG_TABLE.id) this.#redefine(parseDefinition(row))
        const open = this.#tables.get(id as TableId)
        if (open !== undefined) this.#put(open, source.slice(keyStart, keyEnd), row)
      },
      delete: (id, source, keyStart, keyEnd) => {
        const open = this.#tables.get(id as TableId)
        if (open !== undefined) this.#change({ open, kind: 'delete', key: source.slice(keyStart, keyEnd), row: undefined })
      },
    })
  }

  /** Changes taken and not yet written. */
  get pending(): number {
    return this.#changes.length
  }

  /** Writes what was taken. */
  async flush(): Promise<void> {
    const changes = this.#changes
    this.#changes = []
    for (let at = 0; at < changes.length; ) {
      const next = changes.findIndex(({ kind }, index) => index >= at && kind === 'truncate')
      const end = Math.min(next < 0 ? changes.length : next, at + ROWS_PER_TRANSACTION)
      if (end > at) await this.#write(changes.slice(at, end))
      else await changes[at].open.table.truncate()
      at = Math.max(end, at + 1)
    }
  }

  async #write(changes: readonly Change[]): Promise<void> {
    try {
      await this.#db.transaction(async (tx) => {
        for (const { open, kind, key, row } of changes) {
          const { table, definition } = open
          if (kind === 'delete') await tx.delete(table, keyOf(definition, key))
          else if (definition.key === null) await tx.put(table, keyOf(definition, key), row)
          else await tx.put(table, row as never)
        }
      })
    } catch (error) {
      if (!(error instanceof NextkeyError) || error.code !== 'ERR_DUPLICATE_KEY') throw error
      // One of them contradicts another row: that can be so only if something that came between is lost.
      if (changes.length === 1) this.#lose(changes[0].open, changes[0].key, error.message)
      else for (const change of changes) await this.#write([change])
    }
  }

  /** Counters, and everything on disk. */
  async finish(): Promise<void> {
    for (const { table, definition } of this.#tables.values()) {
      const next = this.#schema.counterOf(definition.id)
      const own = describeTable(this.#db, table).next
      if (next !== undefined && own !== undefined && own < next) await table.setAutoIncrement(next)
    }
    await this.#db.checkpoint()
  }

  counts(): { name: string; rows: number }[] {
    return [...this.#tables.values()].map(({ table }) => ({ name: table.name, rows: table.count() }))
  }

  /** What is missing of each table that is not whole. */
  async losses(salvage: Salvage): Promise<LostTable[]> {
    for (const open of this.#tables.values()) {
      const tree = this.#schema.treeOf(open.definition)
      if (tree !== undefined) this.#findLost(open, salvage)
      // What the log wrote again is there.
      open.lost.rows = open.lost.rows.filter(({ key }) => !open.table.has(key))
      open.lost.known = Math.max(open.lost.rows.length, open.lost.known)
    }
    return [...this.#tables.values()].map(({ lost }) => lost).filter(({ ranges, rows }) => ranges.length > 0 || rows.length > 0)
  }

  #findLost(open: Open, salvage: Salvage): void {
    const { definition, table, lost } = open
    const show = (key: Uint8Array | undefined): unknown => (key === undefined ? undefined : keyOf(definition, key))
    lost.ranges = salvage.gaps(definition.tree).map(({ after, before }) => ({ after: show(after), before: show(before) }))
    if (lost.ranges.length === 0) return
    const seen = new Set<string>()
    for (const index of this.#schema.indexesAtCheckpoint(definition)) {
      for (const key of salvage.primaryKeys(index.tree)) {
        const name = Buffer.from(key).toString('latin1')
        if (seen.has(name) || table.has(keyOf(definition, key))) continue
        seen.add(name)
        if (!this.#deleted.has(`${definition.id} ${name}`)) this.#lose(open, key, `its page is lost; index '${index.name}' has its key`)
      }
    }
  }

  /** A table's row in the catalogue, as the log has it. */
  #redefine({ id, tree }: TableDefinition): void {
    const open = this.#tables.get(id)
    if (open === undefined) return
    if (open.tree !== undefined && open.tree !== tree) this.#change({ open, kind: 'truncate', key: NO_KEY, row: undefined })
    open.tree = tree
  }

  #put(open: Open, key: Uint8Array, row: Uint8Array): void {
    let value: unknown
    try {
      value = this.#schema.decode(open.definition, row)
    } catch (error) {
      if (!(error instanceof NextkeyError)) throw error
      this.#lose(open, key, error.message)
      // An older state of it must not stay.
      this.#change({ open, kind: 'delete', key, row: undefined })
      return
    }
    this.#change({ open, kind: 'put', key, row: value })
  }

  #change(change: Change): void {
    const name = `${change.open.definition.id} ${Buffer.from(change.key).toString('latin1')}`
    if (change.kind === 'delete') this.#deleted.add(name)
    else this.#deleted.delete(name)
    this.#changes.push(change)
  }

  #lose({ definition, lost }: Open, key: Uint8Array, problem: string): void {
    lost.known++
    if (lost.rows.length < MOST_ROWS) lost.rows.push({ key: keyOf(definition, key), problem })
  }
}

function keyOf(definition: TableDefinition, key: Uint8Array): unknown {
  return Array.isArray(definition.key) ? decodeCompound(key, 0, key.length) : decodeKey(key, 0, key.length)
}

const NO_KEY = new Uint8Array(0)
const MOST_ROWS = 10_000
const ROWS_PER_TRANSACTION = 1000
