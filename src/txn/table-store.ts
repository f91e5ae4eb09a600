import { assert } from '../base/assert.js'
import { InvalidArgumentError } from '../base/errors.js'
import type { TableId, TreeId } from '../base/ids.js'
import { encodeKey, type KeyBuffer } from '../codec/key-encoding.js'
import type { KeyPaths } from '../codec/key-path.js'
import type { ValueCodec } from '../codec/row-codec.js'
import type { BTree } from '../storage/btree.js'
import { MAX_ENTRY } from '../storage/slotted-page-layout.js'
import { TreeCursor } from '../storage/tree-cursor.js'
import { Entry } from './record-format.js'

/** A secondary index as the catalogue has it. */
export interface IndexDefinition {
  tree: TreeId
  name: string
  /** Key paths, in order. */
  on: readonly string[]
  unique: boolean
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

/** A table that is open: its trees, its codec, its counter. */
export class TableStore {
  readonly definition: TableDefinition
  readonly clustered: BTree
  readonly indexes: readonly IndexStore[]
  readonly codec: ValueCodec
  /** Null: keys are given beside the rows. */
  readonly keyPaths: KeyPaths | null
  readonly shape: KeyShape
  /** The next auto-increment value. */
  counter = 1
  /** The next one after a restart: beyond every key a row was given, be it undone since (A5). */
  restartCounter = 1
  /** Set when the table is dropped: handles to it are dead. */
  dropped = false

  constructor(definition: TableDefinition, clustered: BTree, indexes: readonly IndexStore[], codec: ValueCodec, keyPaths: KeyPaths | null) {
    this.definition = definition
    this.clustered = clustered
    this.indexes = indexes
    this.codec = codec
    this.keyPaths = keyPaths
    const { key, name } = definition
    this.shape = { compound: Array.isArray(key), parts: Array.isArray(key) ? key.length : 1, name: `table '${name}'` }
  }

  get id(): TableId {
    return this.definition.id
  }

  get name(): string {
    return this.definition.name
  }

  index(name: string): IndexStore | undefined {
    return this.indexes.find((index) => index.definition.name === name)
  }
}

export class IndexStore {
  readonly definition: IndexDefinition
  readonly tree: BTree
  readonly paths: KeyPaths
  readonly shape: KeyShape
  /** For looks within one synchronous step. */
  readonly cursor: TreeCursor
  /** Of the entry that `encodeEntry` made last: length of its index key, and whether a part of it is null. */
  keyLength = 0
  hasNull = false

  constructor(definition: IndexDefinition, tree: BTree, paths: KeyPaths, table: string) {
    this.definition = definition
    this.shape = { compound: definition.on.length > 1, parts: definition.on.length, name: `index '${definition.name}' of table '${table}'` }
    this.tree = tree
    this.cursor = new TreeCursor(tree)
    this.paths = paths
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

/** Encodes an out-of-line key. */
export function encodePlainKey(key: unknown, target: KeyBuffer): void {
  target.reset()
  encodeKey(key, target)
}
