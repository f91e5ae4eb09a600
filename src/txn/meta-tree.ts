import type { PageId, TreeId } from '../base/ids.js'
import { BTree } from '../storage/btree.js'
import type { PageStore } from '../storage/page-store.js'
import { TreeCursor } from '../storage/tree-cursor.js'

/**
 * A small physical B-tree beside the tables: what is true of the files, not of transactions. It is neither versioned nor
 * locked nor logged as such; a checkpoint holds it, and replay brings it up to date from log records of its own kinds.
 *
 * Keys are nine bytes: kind, a 32-bit id and a 32-bit number, big-endian. Values:
 *   Root       (tree id, 0)             u32 root page of the tree
 *   Structure  (table id, structure id) the record structure's fields, as JSON
 *   Counter    (table id, 0)            the next auto-increment value, as a double
 *   Owner      (checkpoint number, 0)   owner token of the opening whose first checkpoint that is
 */
export const enum MetaKind {
  Root = 1,
  Structure = 2,
  Counter = 3,
  Owner = 4,
}

export class MetaTree {
  readonly root: PageId
  readonly tree: BTree
  readonly #store: PageStore
  readonly #cursor: TreeCursor
  readonly #key: Uint8Array = new Uint8Array(KEY_LENGTH + 8)
  readonly #found: Uint8Array = new Uint8Array(KEY_LENGTH + 8)

  constructor(store: PageStore, root: PageId) {
    this.#store = store
    this.root = root
    this.tree = new BTree(store, META_TREE, root)
    this.#cursor = new TreeCursor(this.tree)
  }

  static create(store: PageStore): MetaTree {
    store.beginOperation()
    return new MetaTree(store, BTree.create(store, META_TREE))
  }

  get(kind: MetaKind, id: number, number: number): Uint8Array | undefined {
    this.#store.beginOperation()
    this.#setKey(kind, id, number)
    if (!this.tree.find(this.#key, KEY_LENGTH)) return undefined
    return this.#store.u8.slice(this.tree.valueOffset, this.tree.valueOffset + this.tree.valueLength)
  }

  set(kind: MetaKind, id: number, number: number, value: Uint8Array): void {
    this.#store.beginOperation()
    this.#setKey(kind, id, number)
    if (this.tree.find(this.#key, KEY_LENGTH)) this.tree.replaceValue(value, 0, value.length)
    else this.tree.insertAtHit(this.#key, KEY_LENGTH, value, 0, value.length)
  }

  delete(kind: MetaKind, id: number, number: number): void {
    this.#store.beginOperation()
    this.#setKey(kind, id, number)
    if (this.tree.find(this.#key, KEY_LENGTH)) this.tree.remove()
  }

  /** All entries of a kind (and id, if given), in order. */
  list(kind: MetaKind, id?: number): MetaEntry[] {
    const entries: MetaEntry[] = []
    this.#store.beginOperation()
    this.#setKey(kind, id ?? 0, 0)
    for (let more = this.#cursor.seek(this.#key, KEY_LENGTH); more; more = this.#cursor.next()) {
      this.#cursor.copyKey(this.#found)
      const view = new DataView(this.#found.buffer)
      if (this.#found[0] !== kind) break
      const entryId = view.getUint32(1)
      if (id !== undefined && entryId !== id) break
      const at = this.#cursor.valueOffset
      entries.push({ id: entryId, number: view.getUint32(5), value: this.#store.u8.slice(at, at + this.#cursor.valueLength) })
    }
    return entries
  }

  #setKey(kind: MetaKind, id: number, number: number): void {
    const view = new DataView(this.#key.buffer)
    this.#key[0] = kind
    view.setUint32(1, id)
    view.setUint32(5, number)
  }
}

export interface MetaEntry {
  id: number
  number: number
  value: Uint8Array
}

const META_TREE = 1 as TreeId
const KEY_LENGTH = 9
