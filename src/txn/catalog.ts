import { assert } from '../base/assert.js'
import { NextkeyError } from '../base/errors.js'
import type { TableId, TreeId } from '../base/ids.js'
import { createValueCodec } from '../codec/row-codec.js'
import { BTree } from '../storage/btree.js'
import type { PageStore } from '../storage/page-store.js'
import { TreeCursor } from '../storage/tree-cursor.js'
import { MetaKind, type MetaTree } from './meta-tree.js'
import type { StoreDirectory } from './rollback.js'
import type { RowReader, Visibility } from './row-reader.js'
import { type IndexDefinition, IndexStore, type TableDefinition, TableStore } from './table-store.js'
import { TreeRemoval } from './tree-removal.js'

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

  #byName: Map<string, TableStore> = new Map()
  #byId: Map<TableId, TableStore> = new Map()
  #indexes: Map<TreeId, IndexStore> = new Map()

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

  /** Opens every table that the catalogue has a visible row of. 'newest' takes uncommitted rows too: rollback needs their trees. */
  load(reader: RowReader, view: Visibility): void {
    this.#byName.clear()
    this.#indexes.clear()
    for (const id of this.#byId.keys()) if (id !== CATALOG_TABLE.id) this.#byId.delete(id)
    const cursor = new TreeCursor(this.table.clustered)
    const rows: TableDefinition[] = []
    this.store.beginOperation()
    for (let more = cursor.first(); more; more = cursor.next()) {
      const at = cursor.valueOffset
      cursor.hold()
      const row = reader.decodeVisible(this.table, at, at + cursor.valueLength, view)
      if (row !== undefined) rows.push(parseDefinition(row as Uint8Array))
      // A long row lies in an overflow chain, which is read in operations of its own.
      this.store.beginOperation()
      cursor.resume()
    }
    for (const definition of rows) this.publish(definition)
  }

  /** Makes the trees that a definition names and that are not there yet. */
  createTrees(definition: TableDefinition): void {
    for (const tree of treesOf(definition)) this.createTree(tree)
  }

  createTree(tree: TreeId): void {
    if (this.meta.get(MetaKind.Root, tree, 0) !== undefined) return
    this.store.beginOperation()
    setRoot(this.meta, tree, BTree.create(this.store, tree))
    this.nextTreeId = Math.max(this.nextTreeId, tree + 1)
  }

  /** The work of freeing a tree; undefined if it is gone already. `ownsChains`: some of its values may own overflow chains. */
  removal(tree: TreeId, ownsChains: boolean): TreeRemoval | undefined {
    if (this.meta.get(MetaKind.Root, tree, 0) === undefined) return undefined
    return new TreeRemoval(this.store, this.meta, this.#tree(tree), ownsChains)
  }

  /** This is the committed definition of the table from now on. Its trees are there. */
  publish(definition: TableDefinition): TableStore {
    this.#noteIds(definition)
    const known = this.#byId.get(definition.id)
    if (known !== undefined) return this.#redefine(known, definition)
    const table = this.#open(definition)
    this.#byName.set(definition.name, table)
    this.#byId.set(definition.id, table)
    for (const index of table.indexes) this.#indexes.set(index.definition.tree, index)
    return table
  }

  /**
   * In a reader: the tables are those of this catalogue, of a later checkpoint, from now on; it is used up. Nothing is read or written. Tables
   * that are in both stay the objects they are, so that handles to them go on.
   */
  takeOver(later: Catalog): void {
    for (const table of this.tables()) {
      const fresh = later.#byId.get(table.id)
      if (fresh === undefined) this.#kill(table)
      else {
        table.takeOver(fresh)
        later.#byId.set(table.id, table)
        later.#byName.set(table.name, table)
      }
    }
    later.#byId.set(this.table.id, this.table)
    this.#byId = later.#byId
    this.#byName = later.#byName
    this.#indexes = new Map()
    for (const table of this.#byName.values()) for (const index of table.indexes) this.#indexes.set(index.definition.tree, index)
    this.nextTreeId = later.nextTreeId
    this.nextTableId = later.nextTableId
  }

  #kill(table: TableStore): void {
    table.dropped = true
    for (const index of table.indexes) index.dropped = true
  }

  /** The table is dropped: nothing of it is in the committed schema any more. Its trees are freed by others. */
  forget(table: TableStore): void {
    table.dropped = true
    this.#byId.delete(table.id)
    if (this.#byName.get(table.name) === table) this.#byName.delete(table.name)
    for (const index of table.indexes) this.#forgetIndex(index)
    this.meta.delete(MetaKind.Counter, table.id, 0)
    for (const { number } of this.meta.list(MetaKind.Structure, table.id)) this.meta.delete(MetaKind.Structure, table.id, number)
  }

  /**
   * Writers keep this index up to date from now on; it is in no definition yet, and nobody may read it. It is the last, and the only one
   * that comes and goes while statements wait: they go on with the next index by its number.
   */
  addBuilding(table: TableStore, definition: IndexDefinition): IndexStore {
    const index = this.#openIndex(table.name, definition)
    this.#indexes.set(definition.tree, index)
    table.redefine(table.definition, table.clustered, [...table.indexes, index])
    return index
  }

  /** The building of an index was given up: what undo records say of it is skipped from now on. */
  removeBuilding(table: TableStore, index: IndexStore): void {
    this.#forgetIndex(index)
    const others = table.indexes.filter((other) => other !== index)
    table.redefine(table.definition, table.clustered, others)
  }

  /** Replay: a catalogue row was written. Trees the checkpoint does not have yet are made. */
  replayed(row: Uint8Array): void {
    const definition = parseDefinition(row)
    this.createTrees(definition)
    this.publish(definition)
  }

  /** Replay: a catalogue row was deleted, because the table was dropped or, before this, got another name. */
  replayedDelete(name: string): void {
    const table = this.#byName.get(name)
    if (table !== undefined) this.forget(table)
  }

  /** Trees that no table names: of tables dropped in the log, of creations and index builds that a crash cut short. */
  orphans(): TreeId[] {
    const known = new Set<TreeId>()
    for (const { definition } of this.#byId.values()) for (const tree of treesOf(definition)) known.add(tree)
    return this.meta
      .list(MetaKind.Root)
      .map(({ id }) => id as TreeId)
      .filter((tree) => !known.has(tree))
  }

  /** All trees and their roots; for checks. */
  trees(): BTree[] {
    return this.meta.list(MetaKind.Root).map(({ id }) => this.#tree(id as TreeId))
  }

  #tree(tree: TreeId): BTree {
    const stored = this.meta.get(MetaKind.Root, tree, 0)
    if (stored === undefined) throw new NextkeyError('ERR_INTERNAL', `tree ${tree} has no root page`)
    return new BTree(this.store, tree, Buffer.from(stored).readUInt32LE(0) as never)
  }

  /** What may have changed: the name, the indexes, and, by a truncation, every tree. */
  #redefine(table: TableStore, definition: TableDefinition): TableStore {
    const before = table.definition
    if (before.name !== definition.name) {
      if (this.#byName.get(before.name) === table) this.#byName.delete(before.name)
      this.#byName.set(definition.name, table)
    }
    const truncated = before.tree !== definition.tree
    const indexes = definition.indexes.map(
      (index) => table.indexes.find((known) => known.definition.tree === index.tree) ?? this.#openIndex(definition.name, index),
    )
    for (const index of table.indexes) if (!indexes.includes(index)) this.#forgetIndex(index)
    for (const index of indexes) this.#indexes.set(index.definition.tree, index)
    table.redefine(definition, truncated ? this.#tree(definition.tree) : table.clustered, indexes)
    if (truncated) {
      table.counter = table.restartCounter = 1
      this.meta.delete(MetaKind.Counter, table.id, 0)
    }
    return table
  }

  #open(definition: TableDefinition): TableStore {
    const indexes = definition.indexes.map((index) => this.#openIndex(definition.name, index))
    const codec = createValueCodec(definition.value, (id, fields) => this.onNewStructure(definition.id, id, fields))
    const structures = this.meta.list(MetaKind.Structure, definition.id)
    if (structures.length > 0) {
      for (const [at, { number }] of structures.entries())
        assert(number === at, `record structure ${at} of table '${definition.name}' is missing`)
      codec.loadStructures(structures.map(({ value }) => JSON.parse(Buffer.from(value).toString('utf8')) as string[]))
    }
    const table = new TableStore(definition, this.#tree(definition.tree), indexes, codec)
    const counter = this.meta.get(MetaKind.Counter, definition.id, 0)
    if (counter !== undefined) table.counter = table.restartCounter = Buffer.from(counter).readDoubleLE(0)
    return table
  }

  #openIndex(table: string, definition: IndexDefinition): IndexStore {
    return new IndexStore(definition, this.#tree(definition.tree), table)
  }

  #forgetIndex(index: IndexStore): void {
    index.dropped = true
    this.#indexes.delete(index.definition.tree)
  }

  /** Ids are never given to anything else, whatever becomes of the table. */
  #noteIds(definition: TableDefinition): void {
    this.nextTableId = Math.max(this.nextTableId, definition.id + 1)
    for (const tree of treesOf(definition)) this.nextTreeId = Math.max(this.nextTreeId, tree + 1)
  }
}

/** The tree of its rows, then those of its indexes. */
export function treesOf(definition: TableDefinition): TreeId[] {
  return [definition.tree, ...definition.indexes.map((index) => index.tree)]
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
