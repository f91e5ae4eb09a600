import { DamagedError } from '../base/errors.js'
import type { TableId, TreeId } from '../base/ids.js'
import { decodeKey } from '../codec/key-encoding.js'
import { decodeRow, makeStructureReader, type StructureReader } from '../codec/row-decoder.js'
import { CATALOG_TABLE, parseDefinition } from './catalog.js'
import { COMMIT_HEADER, LogKind } from './log-records.js'
import { MetaKind } from './meta-tree.js'
import { readRedo } from './redo-buffer.js'
import type { Salvage } from './salvage.js'
import type { TableDefinition } from './table-store.js'

/** Tables, record structures and counters of a damaged database: those of the checkpoint, and as the log changes them. */
export class SalvagedSchema {
  /** What is lost of it, one sentence each. */
  readonly problems: string[] = []
  readonly #salvage: Salvage
  /** As of the checkpoint, by table id. */
  readonly #atCheckpoint: Map<TableId, TableDefinition> = new Map()
  /** As of the log's end. */
  readonly #now: Map<TableId, TableDefinition> = new Map()
  readonly #structures: Map<TableId, StructureReader[]> = new Map()
  readonly #counters: Map<TableId, number> = new Map()

  constructor(salvage: Salvage) {
    this.#salvage = salvage
  }

  /** Reads catalogue and meta tree of the checkpoint. */
  load(): void {
    for (const { key, row, problem } of this.#salvage.records(CATALOG_TABLE.tree)) {
      if (row === undefined) this.problems.push(`the definition of table '${String(decodeKey(key, 0, key.length))}' is lost: ${problem}`)
      else {
        const definition = parseDefinition(row)
        this.#atCheckpoint.set(definition.id, definition)
        this.#now.set(definition.id, definition)
      }
    }
    if (this.#salvage.gaps(CATALOG_TABLE.tree).length > 0) this.problems.push('a part of the catalogue is lost: tables may be missing')
    if (this.#salvage.gaps(META_TREE).length > 0)
      this.problems.push('a part of the meta tree is lost: rows of some tables cannot be decoded')
    for (const { key, value } of this.#salvage.entries(META_TREE)) {
      const view = new DataView(key.buffer)
      const id = view.getUint32(1) as TableId
      if (key[0] === MetaKind.Structure) this.#define(id, view.getUint32(5), value)
      else if (key[0] === MetaKind.Counter) this.#counters.set(id, Buffer.from(value).readDoubleLE(0))
    }
  }

  /** Takes in a group of the log. */
  replay(kind: number, bytes: Uint8Array, start: number, end: number): void {
    const view = new DataView(bytes.buffer, bytes.byteOffset + start, end - start)
    if (kind === LogKind.Structure) this.#define(view.getUint32(0, true) as TableId, view.getUint32(4, true), bytes.slice(start + 8, end))
    else if (kind === LogKind.Counter) this.#counters.set(view.getUint32(0, true) as TableId, view.getFloat64(4, true))
    else if (kind === LogKind.Commit) {
      readRedo(bytes, start + COMMIT_HEADER, end, {
        put: (table, source, _keyStart, _keyEnd, rowStart, rowEnd) => {
          if (table !== CATALOG_TABLE.id) return
          const definition = parseDefinition(source.slice(rowStart, rowEnd))
          this.#now.set(definition.id, definition)
        },
        delete: (table, source, keyStart, keyEnd) => {
          if (table === CATALOG_TABLE.id) this.#drop(String(decodeKey(source, keyStart, keyEnd)))
        },
      })
    }
  }

  /** Tables that are to be in the new database. */
  get tables(): TableDefinition[] {
    return [...this.#now.values()]
  }

  /** Tables whose rows the checkpoint has, and that were not dropped or truncated since. */
  checkpointTables(): TableDefinition[] {
    return [...this.#atCheckpoint.values()].filter(({ id, tree }) => this.#now.get(id)?.tree === tree)
  }

  /** The tree of a table's rows in the checkpoint; undefined if it was made, or emptied, since. */
  treeOf(table: TableDefinition): TreeId | undefined {
    const before = this.#atCheckpoint.get(table.id)
    return before?.tree === table.tree ? before.tree : undefined
  }

  treeAtCheckpoint(id: TableId): TreeId | undefined {
    return this.#atCheckpoint.get(id)?.tree
  }

  indexesAtCheckpoint(table: TableDefinition): TableDefinition['indexes'] {
    return this.#atCheckpoint.get(table.id)?.indexes ?? []
  }

  counterOf(id: TableId): number | undefined {
    return this.#counters.get(id)
  }

  /** Raises ERR_DAMAGED. */
  decode(definition: TableDefinition, row: Uint8Array): unknown {
    if (definition.value === 'binary') return row.slice()
    return decodeRow(row, 0, row.length, this.#structures.get(definition.id) ?? [], false, false)
  }

  knows(tree: TreeId): boolean {
    if (tree === META_TREE || tree === CATALOG_TABLE.tree) return true
    return [...this.#atCheckpoint.values()].some((table) => table.tree === tree || table.indexes.some((index) => index.tree === tree))
  }

  nameOf(tree: TreeId): string {
    if (tree === META_TREE) return 'the meta tree'
    if (tree === CATALOG_TABLE.tree) return 'the catalogue'
    for (const table of this.#atCheckpoint.values()) {
      if (table.tree === tree) return `table '${table.name}'`
      const index = table.indexes.find((candidate) => candidate.tree === tree)
      if (index !== undefined) return `index '${index.name}' of table '${table.name}', which is made anew`
    }
    return `tree ${tree}`
  }

  /** By name: a table that was renamed has another name by now, and is not meant. */
  #drop(name: string): void {
    for (const [id, definition] of this.#now) if (definition.name === name) this.#now.delete(id)
  }

  #define(table: TableId, id: number, json: Uint8Array): void {
    const readers = this.#structures.get(table) ?? []
    this.#structures.set(table, readers)
    const fields: unknown = JSON.parse(Buffer.from(json).toString('utf8'))
    if (!Array.isArray(fields)) throw new DamagedError(`record structure ${id} of table ${table} is no list of fields`, { table, id })
    readers[id] = makeStructureReader(fields as string[])
  }
}

const META_TREE = 1 as TreeId
