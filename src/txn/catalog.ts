import { assert } from '../base/assert.js'
import { NextkeyError } from '../base/errors.js'
import type { TableId, TreeId } from '../base/ids.js'
import type { KeyBuffer } from '../codec/key-encoding.js'
import { KeyPaths } from '../codec/key-path.js'
import { createValueCodec } from '../codec/row-codec.js'
import { BTree } from '../storage/btree.js'
import type { PageStore } from '../storage/page-store.js'
import { TreeCursor } from '../storage/tree-cursor.js'
import { MetaKind, type MetaTree } from './meta-tree.js'
import type { StoreDirectory } from './rollback.js'
import type { RowReader } from './row-reader.js'
import { encodePlainKey, type IndexDefinition, IndexStore, type TableDefinition, TableStore } from './table-store.js'

/**
 * Which tables there are. The catalogue is itself a table, of JSON rows by table name, changed by ordinary transactions and
 * redone from the log like any other; the open tables here are its image in memory.
 *
 * Where a tree's root page lies is physical, not transactional: the meta tree knows. A tree that no committed catalogue row
 * names (its creation was interrupted) is dropped at recovery.
 */
export class Catalog implements StoreDirectory {
  readonly store: PageStore
  readonly meta: MetaTree
  readonly table: TableStore
  nextTreeId: number
  nextTableId: number
  /** Called before a row that uses a new record structure can be stored. */
  onNewStructure: (table: TableId, id: number, fields: readonly string[]) => void = () => {}

  readonly #byName: Map<string, TableStore> = new Map()
  readonly #byId: Map<TableId, TableStore> = new Map()
  readonly #indexes: Map<TreeId, IndexStore> = new Map()

  constructor(store: PageStore, meta: MetaTree, nextTreeId: number, nextTableId: number) {
    this.store = store
    this.meta = meta
    this.nextTreeId = nextTreeId
    this.nextTableId = nextTableId
    this.table = this.#open(CATALOG_TABLE)
    this.#byId.set(CATALOG_TABLE.id, this.table)
  }

  /** In a new database: the catalogue's own tree. */
  static create(store: PageStore, meta: MetaTree): Catalog {
    store.beginOperation()
    setRoot(meta, CATALOG_TABLE.tree, BTree.create(store, CATALOG_TABLE.tree))
    return new Catalog(store, meta, FIRST_TREE_ID, FIRST_TABLE_ID)
  }

  tableByName(name: string): TableStore | undefined {
    return this.#byName.get(name)
  }

  tableById(id: TableId): TableStore | undefined {
    return this.#byId.get(id)
  }

  indexByTree(tree: TreeId): IndexStore | undefined {
    return this.#indexes.get(tree)
  }

  /** Whose tree this is: a table's clustered index, or one of its secondary indexes. */
  placeOf(tree: TreeId): { table: TableStore; index: IndexStore | undefined } | undefined {
    for (const table of this.#byId.values()) {
      if (table.definition.tree === tree) return { table, index: undefined }
      const index = table.indexes.find((candidate) => candidate.definition.tree === tree)
      if (index !== undefined) return { table, index }
    }
    return undefined
  }

  /** Users' tables, by name. */
  tables(): TableStore[] {
    return [...this.#byName.values()].sort((a, b) => (a.name < b.name ? -1 : 1))
  }

  /** Opens every table that the catalogue has a visible row of. `newest` takes uncommitted rows too: rollback needs their trees. */
  load(reader: RowReader, newest: boolean): void {
    this.#byName.clear()
    this.#indexes.clear()
    for (const id of this.#byId.keys()) if (id !== CATALOG_TABLE.id) this.#byId.delete(id)
    const cursor = new TreeCursor(this.table.clustered)
    const rows: TableDefinition[] = []
    this.store.beginOperation()
    for (let more = cursor.first(); more; more = cursor.next()) {
      const at = cursor.valueOffset
      const row = reader.decodeVisible(this.table, at, at + cursor.valueLength, newest ? 'newest' : undefined)
      if (row !== undefined) rows.push(parseDefinition(row as Uint8Array))
    }
    for (const definition of rows) this.publish(definition)
  }

  /** Makes the trees of a table that is being created. */
  createTrees(definition: TableDefinition): void {
    for (const tree of [definition.tree, ...definition.indexes.map((index) => index.tree)]) this.createTree(tree)
  }

  createTree(tree: TreeId): void {
    if (this.meta.get(MetaKind.Root, tree, 0) !== undefined) return
    this.store.beginOperation()
    setRoot(this.meta, tree, BTree.create(this.store, tree))
    this.nextTreeId = Math.max(this.nextTreeId, tree + 1)
  }

  /** Frees a tree, whole. Its pages go back in one turn: for trees known to be small, and for recovery. */
  dropTree(tree: TreeId): void {
    const stored = this.meta.get(MetaKind.Root, tree, 0)
    if (stored === undefined) return
    const btree = this.#tree(tree)
    while (!btree.dropSlice(PAGES_PER_SLICE));
    this.meta.delete(MetaKind.Root, tree, 0)
  }

  /** The table is part of the committed schema from now on. */
  publish(definition: TableDefinition): TableStore {
    const table = this.#open(definition)
    this.#byName.set(definition.name, table)
    this.#byId.set(definition.id, table)
    for (const index of table.indexes) this.#indexes.set(index.definition.tree, index)
    this.nextTableId = Math.max(this.nextTableId, definition.id + 1)
    for (const index of definition.indexes) this.nextTreeId = Math.max(this.nextTreeId, index.tree + 1)
    this.nextTreeId = Math.max(this.nextTreeId, definition.tree + 1)
    return table
  }

  /** Replay: a catalogue row was written. Trees the checkpoint does not have yet are made. */
  replayed(row: Uint8Array): void {
    const definition = parseDefinition(row)
    this.createTrees(definition)
    this.publish(definition)
  }

  /** Drops trees that no table names. */
  dropOrphans(): void {
    const known = new Set<number>([CATALOG_TABLE.tree])
    for (const { definition } of this.#byId.values()) {
      known.add(definition.tree)
      for (const index of definition.indexes) known.add(index.tree)
    }
    for (const { id } of this.meta.list(MetaKind.Root)) if (!known.has(id)) this.dropTree(id as TreeId)
  }

  /** All trees and their roots; for checks. */
  trees(): BTree[] {
    return this.meta.list(MetaKind.Root).map(({ id }) => this.#tree(id as TreeId))
  }

  encodeName(name: string, target: KeyBuffer): void {
    encodePlainKey(name, target)
  }

  #tree(tree: TreeId): BTree {
    const stored = this.meta.get(MetaKind.Root, tree, 0)
    if (stored === undefined) throw new NextkeyError('ERR_INTERNAL', `tree ${tree} has no root page`)
    return new BTree(this.store, tree, Buffer.from(stored).readUInt32LE(0) as never)
  }

  #open(definition: TableDefinition): TableStore {
    const indexes = definition.indexes.map((index: IndexDefinition) => {
      const paths = KeyPaths.parse([...index.on], `index '${index.name}' of table '${definition.name}'`)
      return new IndexStore(index, this.#tree(index.tree), paths, definition.name)
    })
    const codec = createValueCodec(definition.value, (id, fields) => this.onNewStructure(definition.id, id, fields))
    const structures = this.meta.list(MetaKind.Structure, definition.id)
    if (structures.length > 0) {
      for (const [at, { number }] of structures.entries())
        assert(number === at, `record structure ${at} of table '${definition.name}' is missing`)
      codec.loadStructures(structures.map(({ value }) => JSON.parse(Buffer.from(value).toString('utf8')) as string[]))
    }
    const paths = definition.key === null ? null : KeyPaths.parse(definition.key, `key of table '${definition.name}'`)
    const table = new TableStore(definition, this.#tree(definition.tree), indexes, codec, paths)
    const counter = this.meta.get(MetaKind.Counter, definition.id, 0)
    if (counter !== undefined) table.counter = table.restartCounter = Buffer.from(counter).readDoubleLE(0)
    return table
  }
}

export function encodeDefinition(definition: TableDefinition): Uint8Array {
  return Buffer.from(JSON.stringify(definition), 'utf8')
}

export function parseDefinition(row: Uint8Array): TableDefinition {
  return JSON.parse(Buffer.from(row).toString('utf8')) as TableDefinition
}

function setRoot(meta: MetaTree, tree: TreeId, root: number): void {
  const value = Buffer.alloc(4)
  value.writeUInt32LE(root)
  meta.set(MetaKind.Root, tree, 0, value)
}

export const CATALOG_TABLE: TableDefinition = {
  id: 1 as TableId,
  tree: 2 as TreeId,
  name: 'nextkey.catalog',
  key: null,
  autoIncrement: false,
  value: 'binary',
  indexes: [],
}
const FIRST_TREE_ID = 16
const FIRST_TABLE_ID = 16
const PAGES_PER_SLICE = 1024
