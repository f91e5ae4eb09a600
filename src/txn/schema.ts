import type { TreeId } from '../base/ids.js'
import { KeyBuffer } from '../codec/key-encoding.js'
import type { PageStore } from '../storage/page-store.js'
import type { Catalog } from './catalog.js'
import { IndexBuild } from './index-build.js'
import type { RowReader } from './row-reader.js'
import type { IndexDefinition, TableDefinition, TableStore } from './table-store.js'
import type { TreeRemoval } from './tree-removal.js'
import type { Trx } from './trx.js'
import type { TrxSystem } from './trx-system.js'
import { UndoKind } from './undo-format.js'

/**
 * What schema changes do beneath the rows of the catalogue (D13). Whoever calls holds the metadata locks that keep everybody else away
 * from the table, and does all of one change in one turn, commit included.
 *
 * Z1. A change is a transaction that writes rows of the catalogue and nothing else that is logged. Trees are made before its commit, so a
 *     crash may leave trees that no definition names: recovery frees them. They are never freed before it.
 * Z2. Trees that a change leaves behind stand in its undo log, and are freed by purge when its turn comes: no view is older then.
 * Z3. A view made before a change must not take what the change made for what was always there: it gets ERR_TABLE_CHANGED. Numbers
 *     tell: commit numbers of views and of changes grow in one line (`visibleFrom`).
 * Z4. An index comes to be by a checkpoint, not by the log: its catalogue row is part of a transaction that the checkpoint marks as
 *     committed. What is in the log before its freeze is replayed onto trees without the index, what comes after onto trees with it.
 */
export class Schema {
  /** Most rows that a slice of an index build passes; time bounds it as well. */
  rowsPerSlice = 4096
  /** Indexes being built. */
  readonly builds: Set<IndexBuild> = new Set()
  /** Trees that are being freed without being in the history: of index builds given up. */
  readonly removals: Set<TreeId> = new Set()
  readonly #store: PageStore
  readonly #system: TrxSystem
  readonly #reader: RowReader
  readonly #catalog: Catalog

  constructor(store: PageStore, system: TrxSystem, reader: RowReader, catalog: Catalog) {
    this.#store = store
    this.#system = system
    this.#reader = reader
    this.#catalog = catalog
  }

  /** An id that no table has had. */
  newTableId(): TableDefinition['id'] {
    return this.#catalog.nextTableId++ as TableDefinition['id']
  }

  /** An id that no tree has had. */
  newTreeId(): TreeId {
    return this.#catalog.nextTreeId++ as TreeId
  }

  /** Notes in the change's undo log that the table's trees are to be freed (Z2). */
  leaveTable(trx: Trx, { definition }: TableStore): void {
    this.#leave(trx, UndoKind.DropRowTree, definition.tree)
    for (const index of definition.indexes) this.leaveIndex(trx, index)
  }

  leaveIndex(trx: Trx, { tree }: IndexDefinition): void {
    this.#leave(trx, UndoKind.DropIndexTree, tree)
  }

  /** The change is committed: the table is what this says from now on. Views made before may not read what is new. */
  publish(definition: TableDefinition): TableStore {
    const before = this.#catalog.tableById(definition.id)
    const oldTree = before?.definition.tree
    const oldIndexes = before?.indexes ?? []
    const table = this.#catalog.publish(definition)
    const visibleFrom = this.#system.nextGeneration()
    if (definition.tree !== oldTree) table.visibleFrom = visibleFrom
    for (const index of table.indexes) if (!oldIndexes.includes(index)) index.visibleFrom = visibleFrom
    return table
  }

  forget(table: TableStore): void {
    this.#catalog.forget(table)
  }

  // ── building an index ─────────────────────────────────────────────────────────────────────────────────────────────

  /** Makes an empty index that writers keep up to date from now on. Nobody has the table in use. */
  beginBuild(table: TableStore, shape: Omit<IndexDefinition, 'tree'>): IndexBuild {
    const definition: IndexDefinition = { ...shape, tree: this.newTreeId() }
    this.#catalog.createTree(definition.tree)
    const index = this.#catalog.addBuilding(table, definition)
    const build = new IndexBuild(this.#store, this.#system, this.#reader, table, index)
    index.build = build
    this.builds.add(build)
    return build
  }

  /** The table's definition with the index in it. */
  definitionWith({ table, index }: IndexBuild): TableDefinition {
    return { ...table.definition, indexes: [...table.definition.indexes, index.definition] }
  }

  /** The index is complete, and part of the definition from now on. Nobody has the table in use. */
  finishBuild(build: IndexBuild, definition: TableDefinition): void {
    const { index } = build
    this.builds.delete(build)
    index.build = undefined
    this.#catalog.publish(definition)
    index.visibleFrom = this.#system.nextGeneration()
  }

  /** The index will not be: writers and rollbacks leave it alone from now on. Returns the work of freeing what there is of it. */
  abandonBuild(build: IndexBuild): TreeRemoval | undefined {
    const { table, index } = build
    if (!this.builds.delete(build)) return undefined
    this.#catalog.removeBuilding(table, index)
    this.removals.add(index.definition.tree)
    return this.#catalog.removal(index.definition.tree, false)
  }

  /** That work is done. */
  removed({ index }: IndexBuild): void {
    this.removals.delete(index.definition.tree)
  }

  #leave(trx: Trx, kind: UndoKind, tree: TreeId): void {
    this.#store.beginOperation()
    this.#system.startWriting(trx)
    this.#system.undo.append(trx, kind, tree, NO_KEY.bytes, 0, NO_KEY.bytes, 0, 0)
    trx.needsPurge = true
  }
}

const NO_KEY = new KeyBuffer()
