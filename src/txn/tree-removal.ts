import type { PageId } from '../base/ids.js'
import type { BTree } from '../storage/btree.js'
import type { PageStore } from '../storage/page-store.js'
import { MetaKind, type MetaTree } from './meta-tree.js'
import { freeOverflow } from './overflow.js'
import { Clustered, Flag, OverflowRef } from './record-format.js'

/**
 * Frees the pages of a tree that nothing names any more: of a dropped table or index, or of one that never came to be.
 *
 * F1. Whatever a step frees it also takes out of the tree, in one turn: a checkpoint may fall between any two steps, and whoever
 *     goes on, after a restart too, needs nothing but the tree itself.
 * F2. A chain belongs to the record that refers to it, and goes with the leaf that the record lies in. Chains of older versions belong
 *     to undo records, which purge frees, before or after.
 * F3. The root's entry in the meta tree goes in the turn in which the root is freed: a tree has an entry as long as it has a page.
 */
export class TreeRemoval {
  readonly #store: PageStore
  readonly #meta: MetaTree
  readonly #tree: BTree
  readonly #freeChains: ((leaf: PageId) => void) | undefined

  /** @param ownsChains Values in its leaves may own overflow chains: leaves are read. */
  constructor(store: PageStore, meta: MetaTree, tree: BTree, ownsChains: boolean) {
    this.#store = store
    this.#meta = meta
    this.#tree = tree
    this.#freeChains = ownsChains ? (leaf) => this.#freeChainsOf(leaf) : undefined
  }

  /** Frees a leaf, with its chains, or an inner page; true when the tree is gone. */
  step(): boolean {
    if (!this.#tree.dropSlice(1, this.#freeChains)) return false
    this.#meta.delete(MetaKind.Root, this.#tree.tree, 0)
    return true
  }

  #freeChainsOf(leaf: PageId): void {
    const store = this.#store
    const { pages } = this.#tree
    const chains: PageId[] = []
    const base = store.fetch(leaf)
    for (let slot = pages.count(base) - 1; slot >= 0; slot--) {
      const at = pages.valueOffset(base, slot)
      if ((store.u8[at + Clustered.Flags] & Flag.Overflow) !== 0) chains.push(store.u32[(at + OverflowRef.FirstExtent) >> 2] as PageId)
    }
    for (const chain of chains) freeOverflow(store, chain)
  }
}
