import { NO_PAGE, type PageId, type TreeId } from '../base/ids.js'
import type { BTree } from '../storage/btree.js'
import { Page, PageType } from '../storage/page-format.js'
import type { Engine } from './engine.js'
import { eachPage } from './overflow.js'
import { Clustered, Flag, OverflowRef } from './record-format.js'
import { rootRecordPages } from './root-record.js'
import { Undo, UndoHeader, UndoKind, UndoPage } from './undo-format.js'

export interface PageCounts {
  total: number
  trees: number
  overflow: number
  undo: number
  root: number
}

/**
 * Who owns which page: each that exists must have exactly one owner. Owners are gathered over many turns, and pages change hands without
 * being written to the other owner's knowledge; so as soon as anything was changed since the beginning, this gives up, and reports nothing.
 */
export class PageOwnership {
  readonly #engine: Engine
  readonly #report: (problem: string) => void
  readonly #problems: string[] = []
  readonly #owned: Map<PageId, string> = new Map()
  readonly #counts: PageCounts = { total: 0, trees: 0, overflow: 0, undo: 0, root: 0 }
  /** Overflow chains of active transactions; some have no row yet. */
  readonly #newChains: PageId[] = []
  /** Trees that no table names, and that are about to be freed. */
  readonly #leftTrees: Set<TreeId>
  readonly #lastChange: number

  constructor(engine: Engine, report: (problem: string) => void) {
    this.#engine = engine
    this.#report = report
    this.#lastChange = engine.pager.lastChange
    this.#leftTrees = new Set(engine.schema.removals)
  }

  /** `eachLeaf` is called if something in the leaves owns pages that nobody else tells of. */
  ownTree(root: PageId, tree: number, eachLeaf?: (leaf: PageId) => void): void {
    if (!this.#isSame) return
    const { pager } = this.#engine
    pager.beginOperation()
    this.#own(root, `tree ${tree}`, 'trees')
    const base = pager.fetch(root)
    if (pager.u8[base + Page.Type] !== PageType.Inner) {
      eachLeaf?.(root)
      return
    }
    const level = pager.u8[base + Page.Level]
    const count = pager.u16[(base + Page.Count) >> 1]
    for (let slot = 0; slot < count; slot++) {
      pager.beginOperation()
      const child = pager.u32[(pager.fetch(root) + Page.HeaderSize + slot * 12 + 8) >> 2] as PageId
      if (level === 1) {
        this.#own(child, `tree ${tree}`, 'trees')
        eachLeaf?.(child)
      } else this.ownTree(child, tree, eachLeaf)
    }
  }

  ownChain(extent: PageId, owner: string): void {
    if (!this.#isSame) return
    const store = this.#engine.pager
    store.beginOperation()
    eachPage(
      store,
      extent,
      (page) => this.#own(page, owner, 'overflow'),
      (page) => this.#own(page, owner, 'overflow'),
    )
  }

  ownUndo(): void {
    if (!this.#isSame) return
    const { system, pager } = this.#engine
    for (const page of system.undo.partFilled) this.#own(page, 'part-filled undo', 'undo')
    for (const trx of system.active) if (trx.hasLog) this.#ownUndoLog(trx.firstPage, trx.firstOffset, trx.lastPage, trx.lastOffset)
    for (const chain of this.#newChains) if (!this.#owned.has(chain)) this.ownChain(chain, 'a row on its way')
    for (let index = 0; index < system.history.length; index++) {
      pager.beginOperation()
      const page = system.history.pageAt(index)
      const offset = system.history.offsetAt(index)
      const at = system.undo.locate(page, offset)
      this.#ownUndoLog(page, offset, pager.u32[(at + UndoHeader.LastPage) >> 2] as PageId, pager.u32[(at + UndoHeader.LastOffset) >> 2])
    }
  }

  /**
   * Trees that no table names belong to somebody only until they are freed: because undo says so, or an index build was given up. A
   * checkpoint that is shown read-only may have others, in the making, which the next opening frees.
   */
  ownLeftTrees(): void {
    const { catalog, options } = this.#engine
    for (const tree of catalog.trees()) {
      if (!this.#isSame || catalog.placeOf(tree.tree) !== undefined) continue
      if (!this.#leftTrees.has(tree.tree) && !options.readOnly)
        this.#problems.push(`tree ${tree.tree} belongs to no table, and nobody is going to free it`)
      this.ownTree(tree.root, tree.tree, (leaf) => this.#ownChainsOf(tree, leaf))
    }
  }

  #ownChainsOf({ pages, tree }: BTree, leaf: PageId): void {
    const { pager } = this.#engine
    pager.beginOperation()
    const base = pager.fetch(leaf)
    const chains: PageId[] = []
    for (let slot = 0; slot < pages.count(base); slot++) {
      const at = pages.valueOffset(base, slot)
      if ((pager.u8[at + Clustered.Flags] & Flag.Overflow) !== 0) chains.push(pager.u32[(at + OverflowRef.FirstExtent) >> 2] as PageId)
    }
    for (const chain of chains) this.ownChain(chain, `a row of tree ${tree}`)
  }

  ownRoot(): void {
    if (!this.#isSame) return
    for (const page of rootRecordPages(this.#engine.pager, this.#engine.checkpoints.rootPage)) this.#own(page, 'the root record', 'root')
  }

  /** How many pages there are of each kind, now that all owners are known; undefined if anything was changed. */
  count(): PageCounts | undefined {
    if (!this.#isSame) return undefined
    for (const problem of this.#problems) this.#report(problem)
    const total = this.#engine.pager.map.pageCount
    if (this.#owned.size !== total) this.#report(`${total} pages exist, but ${this.#owned.size} are in use: the others are lost`)
    return { ...this.#counts, total }
  }

  get #isSame(): boolean {
    return this.#engine.pager.lastChange === this.#lastChange
  }

  /** Walks a log's records: owns its pages and the chains that its images own. */
  #ownUndoLog(page: PageId, offset: number, lastPage: PageId, lastOffset: number): void {
    const { pager, system } = this.#engine
    for (;;) {
      pager.beginOperation()
      if (!this.#owned.has(page)) this.#own(page, 'an undo log', 'undo')
      const at = system.undo.locate(page, offset)
      const kind = pager.u8[at + Undo.Kind]
      const owner = pager.u32[(at + Undo.Owner) >> 2]
      if (kind === UndoKind.Chain) this.#newChains.push(owner as PageId)
      if (kind === UndoKind.DropRowTree || kind === UndoKind.DropIndexTree) this.#leftTrees.add(owner as TreeId)
      if (kind === UndoKind.Update) {
        const image = at + ((Undo.Key + pager.u16[(at + Undo.KeyLength) >> 1] + 3) & ~3)
        if ((pager.u8[image + Clustered.Flags] & Flag.Overflow) !== 0)
          this.ownChain(pager.u32[(image + OverflowRef.FirstExtent) >> 2] as PageId, 'an undo record')
      }
      if (page === lastPage && offset === lastOffset) return
      pager.beginOperation()
      const base = pager.fetch(page)
      offset += pager.u16[(base + offset) >> 1]
      if (page !== lastPage && offset >= pager.u16[(base + UndoPage.End) >> 1]) {
        page = pager.u32[(base + Page.Right) >> 2] as PageId
        offset = Page.HeaderSize
        if (page === NO_PAGE) {
          this.#problems.push('an undo log ends before its last record')
          return
        }
      }
    }
  }

  #own(page: PageId, owner: string, kind: 'trees' | 'overflow' | 'undo' | 'root'): void {
    const other = this.#owned.get(page)
    if (other !== undefined) this.#problems.push(`page ${page} belongs to ${other} and to ${owner}`)
    this.#owned.set(page, owner)
    this.#counts[kind]++
  }
}
