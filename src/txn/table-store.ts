import { assert } from '../base/assert.js'
import { InvalidArgumentError } from '../base/errors.js'
import type { CommitNumber, TableId, TreeId } from '../base/ids.js'
import type { KeyBuffer } from '../codec/key-encoding.js'
import { KeyPaths } from '../codec/key-path.js'
import type { ValueCodec } from '../codec/row-codec.js'
import type { BTree } from '../storage/btree.js'
import { MAX_ENTRY } from '../storage/slotted-page-layout.js'
import { TreeCursor } from '../storage/tree-cursor.js'
import type { IndexBuild } from './index-build.js'
import { Entry } from './record-format.js'

/** A secondary index as the catalogue has it. */
export interface IndexDefinition {
  tree: TreeId
  name: string
  /** Key paths, in order. */
  on: readonly string[]
  unique: boolean
  /** Made by createIndex() when the table was there: programs that do not name it may open the table. */
  online?: true
}

/** A table as the catalogue has it; plain data, stored as JSON. */
export interface TableDefinition {
  id: TableId
  tree: TreeId
  name: string
  /** Key path, compound key path, or null for out-of-line keys. */
  key: string | readonly string[] | null
  autoIncrement: boolean
  value: 'row' | 'binary'
  indexes: readonly IndexDefinition[]
}

/** How keys of a table or index are written. */
export interface KeyShape {
  /** Several key paths: a key is an array of their values. */
  readonly compound: boolean
  /** Number of key paths; 1 for out-of-line keys. */
  readonly parts: number
  /** For messages: "table 'accounts'" or "index 'owner' of table 'accounts'". */
  readonly name: string
}

/**
 * A table that is open: its trees, its codec, its counter. It is one object for as long as the table exists: schema changes take
 * place in it, so that handles and statements that wait go on with what there is then.
 */
export class TableStore {
  definition: TableDefinition
  clustered: BTree
  /** Every index that writers keep up to date: those of the definition, and those being built. */
  indexes: readonly IndexStore[]
  codec: ValueCodec
  /** Null: keys are given beside the rows. */
  readonly keyPaths: KeyPaths | null
  shape: KeyShape
  /** The next auto-increment value. */
  counter = 1
  /** The next one after a restart: beyond every key a row was given, be it undone since (A5). */
  restartCounter = 1
  /** Set when the table is dropped: handles to it are dead. */
  dropped = false
  /** Views with a lower number are older than the table, or than its last truncation, and may not read it. */
  visibleFrom: CommitNumber = 0 as CommitNumber
  /** By which its name is locked (metadata locks); negative until somebody asks. */
  lockObject = -1

  constructor(definition: TableDefinition, clustered: BTree, indexes: readonly IndexStore[], codec: ValueCodec) {
    this.definition = definition
    this.clustered = clustered
    this.indexes = indexes
    this.codec = codec
    const { key, name } = definition
    this.keyPaths = key === null ? null : KeyPaths.parse(key, `key of table '${name}'`)
    this.shape = shapeOf(definition)
  }

  get id(): TableId {
    return this.definition.id
  }

  get name(): string {
    return this.definition.name
  }

  /** An index that may be read; one that is being built may not. */
  index(name: string): IndexStore | undefined {
    return this.indexes.find((index) => index.definition.name === name && index.build === undefined)
  }

  /** Takes over what a schema change has made of it. */
  redefine(definition: TableDefinition, clustered: BTree, indexes: readonly IndexStore[]): void {
    if (definition.name !== this.name) this.lockObject = -1
    this.definition = definition
    this.clustered = clustered
    this.indexes = indexes
    this.shape = shapeOf(definition)
    for (const index of indexes) index.shape = indexShapeOf(index.definition, definition.name)
  }

  /** Becomes what the same table is in a later checkpoint. Trees that are the same stay the objects they are. */
  takeOver(later: TableStore): void {
    const indexes = later.indexes.map((index) => this.indexes.find((known) => sameTree(known.tree, index.tree)) ?? index)
    for (const index of this.indexes) if (!indexes.includes(index)) index.dropped = true
    this.redefine(later.definition, sameTree(this.clustered, later.clustered) ? this.clustered : later.clustered, indexes)
    this.codec = later.codec
    this.counter = later.counter
    this.restartCounter = later.restartCounter
  }
}

function sameTree(a: BTree, b: BTree): boolean {
  return a.tree === b.tree && a.root === b.root
}

function shapeOf({ key, name }: TableDefinition): KeyShape {
  return { compound: Array.isArray(key), parts: Array.isArray(key) ? key.length : 1, name: `table '${name}'` }
}

function indexShapeOf({ name, on }: IndexDefinition, table: string): KeyShape {
  return { compound: on.length > 1, parts: on.length, name: `index '${name}' of table '${table}'` }
}

export class IndexStore {
  readonly definition: IndexDefinition
  readonly tree: BTree
  readonly paths: KeyPaths
  shape: KeyShape
  /** For looks within one synchronous step. */
  readonly cursor: TreeCursor
  /** Of the entry that `encodeEntry` made last: length of its index key, and whether a part of it is null. */
  keyLength = 0
  hasNull = false
  /** Set while the index is being built, and for ever if the building was given up. */
  build: IndexBuild | undefined
  /** It was dropped, or its table was, or truncated: whoever was reading it must stop. */
  dropped = false
  /** Views with a lower number are older than the index, and may not read it. */
  visibleFrom: CommitNumber = 0 as CommitNumber

  constructor(definition: IndexDefinition, tree: BTree, table: string) {
    this.definition = definition
    this.shape = indexShapeOf(definition, table)
    this.tree = tree
    this.cursor = new TreeCursor(tree)
    this.paths = KeyPaths.parse([...definition.on], this.shape.name)
  }

  /**
   * The entry's key for a stored row: index key ++ primary key. Missing fields count as null.
   * Raises ERR_INVALID_KEY for a field that cannot be a key, ERR_KEY_TOO_LONG for an entry that does not fit.
   */
  encodeEntry(row: unknown, primaryKey: KeyBuffer, target: KeyBuffer): void {
    target.reset()
    this.hasNull = this.paths.appendIndexKey(row, target)
    this.keyLength = target.length
    target.append(primaryKey.bytes, 0, primaryKey.length)
    if (target.length + Entry.Size > MAX_ENTRY) {
      throw new InvalidArgumentError(
        `an entry of index '${this.definition.name}' would take ${target.length} bytes (index key and primary key, encoded); the most is ${MAX_ENTRY - Entry.Size}`,
        { index: this.definition.name, length: target.length, limit: MAX_ENTRY - Entry.Size },
        'ERR_KEY_TOO_LONG',
      )
    }
    assert(this.keyLength <= 2048, 'an index key passed the key limit')
  }
}
