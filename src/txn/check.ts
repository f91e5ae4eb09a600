import { NextkeyError } from '../base/errors.js'
import { NO_PAGE, type PageId, type TrxId } from '../base/ids.js'
import { KeyBuffer } from '../codec/key-encoding.js'
import { Page, PageType } from '../storage/page-format.js'
import { TreeCursor } from '../storage/tree-cursor.js'
import type { Engine } from './engine.js'
import { eachPage } from './overflow.js'
import { Clustered, Entry, entryFlags, entryKeyLength, Flag, OverflowRef, trxIdAt } from './record-format.js'
import { rootRecordPages } from './root-record.js'
import type { IndexStore, TableStore } from './table-store.js'
import { Undo, UndoHeader, UndoKind, UndoPage } from './undo-format.js'

/** What `db.check()` finds. */
export interface CheckReport {
  /** One sentence each; empty when all is well. */
  problems: string[]
  tables: { name: string; rows: number; pages: number; depth: number; indexes: { name: string; entries: number; pages: number }[] }[]
  /** Pages that exist, by what they are for. */
  pages: { total: number; trees: number; overflow: number; undo: number; root: number }
}

/**
 * Looks at everything: the structure of every tree, that indexes and rows agree both ways, that undo and overflow chains are whole, and that
 * each page that exists has exactly one owner. Reports all it finds rather than stopping at the first.
 *
 * Synchronous but for a macrotask between trees: writers in between are no problem for a tree already looked at, but pages are counted at
 * the end, so that count is made only if nobody wrote meanwhile.
 */
export async function checkDatabase(engine: Engine): Promise<CheckReport> {
  return new Checker(engine).run()
}

class Checker {
  readonly #engine: Engine
  readonly #problems: string[] = []
  readonly #owned: Map<PageId, string> = new Map()
  readonly #report: CheckReport
  readonly #key: KeyBuffer = new KeyBuffer()
  readonly #entry: KeyBuffer = new KeyBuffer()
  /** Transactions that wait for a lock: between a row and its entries, or a chain and its row, they may have done one and not yet the other. */
  readonly #waiting: Set<TrxId> = new Set()
  /** Overflow chains of active transactions; some have no row yet. */
  readonly #newChains: PageId[] = []

  constructor(engine: Engine) {
    this.#engine = engine
    this.#report = { problems: this.#problems, tables: [], pages: { total: 0, trees: 0, overflow: 0, undo: 0, root: 0 } }
    for (const trx of engine.system.active.values()) {
      // What was active in a checkpoint that is shown read-only may have been waiting then.
      if (engine.options.readOnly || trx.owner.waiting !== null) this.#waiting.add(trx.trxId)
    }
  }

  run(): CheckReport {
    const { catalog, pager } = this.#engine
    this.#guard('the catalogue', () => {
      for (const tree of [catalog.meta.tree, ...catalog.trees()]) {
        this.#guard(`tree ${tree.tree}`, () => {
          const before = this.#problems.length
          tree.verify((problem) => this.#problem(`tree ${tree.tree}: ${problem}`))
          if (this.#problems.length === before) this.#ownTree(tree.root, tree.tree)
        })
      }
      for (const table of [catalog.table, ...catalog.tables()]) this.#guard(`table '${table.name}'`, () => this.#checkTable(table))
    })
    this.#guard('the undo log', () => this.#ownUndo())
    this.#guard('the root record', () => {
      for (const page of rootRecordPages(pager, this.#engine.checkpoints.rootPage)) this.#own(page, 'the root record', 'root')
    })
    if (this.#problems.length === 0) this.#countPages()
    return this.#report
  }

  #checkTable(table: TableStore): void {
    const { pager, reader } = this.#engine
    const cursor = new TreeCursor(table.clustered)
    let rows = 0
    pager.beginOperation()
    for (let more = cursor.first(); more; ) {
      const key = this.#key
      key.length = cursor.copyKey(key.bytes)
      const at = cursor.valueOffset
      const flags = pager.u8[at + Clustered.Flags]
      const live = (flags & Flag.Deleted) === 0
      cursor.hold()
      this.#guard(`a row of table '${table.name}'`, () => {
        if ((flags & Flag.Overflow) !== 0)
          this.#ownChain(pager.u32[(at + OverflowRef.FirstExtent) >> 2] as PageId, `a row of table '${table.name}'`)
        if (!live || this.#waiting.has(trxIdAt(pager.u32, at))) return
        rows++
        pager.beginOperation()
        cursor.resume()
        const row = reader.decodeRecord(table, cursor.valueOffset, cursor.valueOffset + cursor.valueLength)
        for (const index of table.indexes) this.#mustHaveEntry(table, index, row)
      })
      pager.beginOperation()
      cursor.resume()
      more = cursor.next()
    }
    const indexes = table.indexes.map((index) => this.#checkIndex(table, index, rows))
    const { pages, depth } = table.clustered.verify(() => {})
    this.#report.tables.push({ name: table.name, rows, pages, depth, indexes })
  }

  #mustHaveEntry(table: TableStore, index: IndexStore, row: unknown): void {
    const { pager, reader } = this.#engine
    index.encodeEntry(row, this.#key, this.#entry)
    pager.beginOperation()
    const found = index.tree.find(this.#entry.bytes, this.#entry.length)
    if (found && (entryFlags(pager.u32[(index.tree.valueOffset + Entry.Word) >> 2]) & Flag.Deleted) === 0) return
    const key = String(reader.decodePrimaryKey(table, this.#key))
    this.#problem(
      `index '${index.definition.name}' of table '${table.name}' ${found ? 'has a deleted entry' : 'lacks the entry'} for the row with key ${key}`,
    )
  }

  /** As many live entries as rows looked at, each with its key length right: with `mustHaveEntry`, they agree. */
  #checkIndex(table: TableStore, index: IndexStore, rows: number): { name: string; entries: number; pages: number } {
    const { pager } = this.#engine
    const cursor = new TreeCursor(index.tree)
    let live = 0
    let entries = 0
    pager.beginOperation()
    for (let more = cursor.first(); more; more = cursor.next()) {
      entries++
      const word = pager.u32[(cursor.valueOffset + Entry.Word) >> 2]
      if (entryKeyLength(word) > cursor.keyLength)
        this.#problem(`an entry of index '${index.definition.name}' of table '${table.name}' has an impossible key length`)
      if ((entryFlags(word) & Flag.Deleted) === 0 && !this.#isUnderWay(table, cursor, entryKeyLength(word))) live++
    }
    if (live !== rows) this.#problem(`index '${index.definition.name}' of table '${table.name}' has ${live} live entries for ${rows} rows`)
    const { pages } = index.tree.verify(() => {})
    return { name: index.definition.name, entries, pages }
  }

  /** Whether the row of the entry at the cursor is one that a waiting transaction is changing. */
  #isUnderWay(table: TableStore, cursor: TreeCursor, indexKeyLength: number): boolean {
    if (this.#waiting.size === 0) return false
    const { pager } = this.#engine
    const { clustered } = table
    this.#entry.length = cursor.copyKey(this.#entry.bytes)
    this.#key.set(this.#entry.bytes, indexKeyLength, this.#entry.length)
    cursor.hold()
    pager.beginOperation()
    const found = clustered.find(this.#key.bytes, this.#key.length)
    const underWay = found && this.#waiting.has(trxIdAt(pager.u32, clustered.valueOffset))
    pager.beginOperation()
    cursor.resume()
    return underWay
  }

  #ownTree(root: PageId, tree: number): void {
    const { pager } = this.#engine
    pager.beginOperation()
    this.#own(root, `tree ${tree}`, 'trees')
    const base = pager.fetch(root)
    if (pager.u8[base + Page.Type] !== PageType.Inner) return
    const count = pager.u16[(base + Page.Count) >> 1]
    for (let slot = 0; slot < count; slot++) {
      pager.beginOperation()
      const child = pager.u32[(pager.fetch(root) + Page.HeaderSize + slot * 12 + 8) >> 2] as PageId
      this.#ownTree(child, tree)
    }
  }

  #ownUndo(): void {
    const { system, pager } = this.#engine
    for (const page of system.undo.partFilled) this.#own(page, 'part-filled undo', 'undo')
    for (const trx of system.active.values()) if (trx.hasLog) this.#ownUndoLog(trx.firstPage, trx.firstOffset, trx.lastPage, trx.lastOffset)
    for (const chain of this.#newChains) if (!this.#owned.has(chain)) this.#ownChain(chain, 'a row on its way')
    for (let index = 0; index < system.history.length; index++) {
      pager.beginOperation()
      const page = system.history.pageAt(index)
      const offset = system.history.offsetAt(index)
      const at = system.undo.locate(page, offset)
      this.#ownUndoLog(page, offset, pager.u32[(at + UndoHeader.LastPage) >> 2] as PageId, pager.u32[(at + UndoHeader.LastOffset) >> 2])
    }
  }

  /** Walks a log's records: owns its pages and the chains that its images own. */
  #ownUndoLog(page: PageId, offset: number, lastPage: PageId, lastOffset: number): void {
    const { pager, system } = this.#engine
    for (;;) {
      pager.beginOperation()
      if (!this.#owned.has(page)) this.#own(page, 'an undo log', 'undo')
      const at = system.undo.locate(page, offset)
      if (pager.u8[at + Undo.Kind] === UndoKind.Chain) this.#newChains.push(pager.u32[(at + Undo.Owner) >> 2] as PageId)
      if (pager.u8[at + Undo.Kind] === UndoKind.Update) {
        const image = at + ((Undo.Key + pager.u16[(at + Undo.KeyLength) >> 1] + 3) & ~3)
        if ((pager.u8[image + Clustered.Flags] & Flag.Overflow) !== 0)
          this.#ownChain(pager.u32[(image + OverflowRef.FirstExtent) >> 2] as PageId, 'an undo record')
      }
      if (page === lastPage && offset === lastOffset) return
      pager.beginOperation()
      const base = pager.fetch(page)
      offset += pager.u16[(base + offset) >> 1]
      if (page !== lastPage && offset >= pager.u16[(base + UndoPage.End) >> 1]) {
        page = pager.u32[(base + Page.Right) >> 2] as PageId
        offset = Page.HeaderSize
        if (page === NO_PAGE) {
          this.#problem('an undo log ends before its last record')
          return
        }
      }
    }
  }

  #ownChain(extent: PageId, owner: string): void {
    const store = this.#engine.pager
    store.beginOperation()
    eachPage(
      store,
      extent,
      (page) => this.#own(page, owner, 'overflow'),
      (page) => this.#own(page, owner, 'overflow'),
    )
  }

  #own(page: PageId, owner: string, kind: 'trees' | 'overflow' | 'undo' | 'root'): void {
    const other = this.#owned.get(page)
    if (other !== undefined) this.#problem(`page ${page} belongs to ${other} and to ${owner}`)
    this.#owned.set(page, owner)
    this.#report.pages[kind]++
  }

  #countPages(): void {
    const { map } = this.#engine.pager
    this.#report.pages.total = map.pageCount
    if (this.#owned.size !== map.pageCount)
      this.#problem(`${map.pageCount} pages exist, but ${this.#owned.size} are in use: the others are lost`)
  }

  #problem(problem: string): void {
    if (this.#problems.length < MOST_PROBLEMS) this.#problems.push(problem)
  }

  #guard(what: string, look: () => void): void {
    try {
      look()
    } catch (error) {
      if (!(error instanceof NextkeyError)) throw error
      this.#problem(`${what}: ${error.message}`)
    }
  }
}

const MOST_PROBLEMS = 100
