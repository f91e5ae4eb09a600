import { type ErrorCode, NextkeyError, SnapshotGoneError } from '../base/errors.js'
import { KeyBuffer } from '../codec/key-encoding.js'
import type { BTree } from '../storage/btree.js'
import { checkBlocks, checkFreeSpace } from '../storage/check-blocks.js'
import { TreeCursor } from '../storage/tree-cursor.js'
import { PageOwnership } from './check-ownership.js'
import type { Engine } from './engine.js'
import { Clustered, Entry, entryFlags, entryKeyLength, Flag, OverflowRef, trxIdAt } from './record-format.js'
import type { IndexStore, TableStore } from './table-store.js'

/** What `db.check()` finds. */
export interface CheckReport {
  /** One sentence each, the first hundred; empty when all is well. */
  problems: string[]
  tables: CheckedTable[]
  /** Pages that exist, by what they are for; undefined if somebody wrote meanwhile. */
  pages: { total: number; trees: number; overflow: number; undo: number; root: number } | undefined
  /** Blocks of the data file that were read and compared with their checksums. */
  blocks: number
}

export interface CheckedTable extends CheckedTree {
  name: string
  /** As its writers have left them, committed or not. */
  rows: number
  indexes: (CheckedTree & { name: string; entries: number })[]
}

/** Sizes are those of the moment at which the tree was looked at. */
export interface CheckedTree {
  pages: number
  depth: number
  /** Part of the leaves that is in use: 0 to 1. */
  fill: number
}

export interface CheckHooks {
  /** Called often; a promise must be awaited before going on. May throw, to end the check. */
  pause(): Promise<void> | undefined
  onProgress(done: number, total: number): void
}

/**
 * Looks at everything: every block of the data file against its checksum, the structure of every tree, that indexes and rows agree both
 * ways, that undo and overflow chains are whole, that each page that exists has exactly one owner and each block is accounted
 * for. Reports all it finds rather than stopping at the first.
 *
 * It works in slices, and writers may go on between them. So every comparison is made within one synchronous step, between things that
 * agree at the end of every step of a writer; whoever waits in the midst of a row is known. Page owners can be compared only if nobody wrote at all.
 *
 * In a reader beside an owner, a problem is one only while the checkpoint is the newest: its blocks are used again after that. Raises ERR_SNAPSHOT_GONE.
 */
export async function checkDatabase(engine: Engine, hooks: CheckHooks): Promise<CheckReport> {
  return new Checker(engine, hooks).run()
}

class Checker {
  readonly #engine: Engine
  readonly #hooks: CheckHooks
  readonly #owners: PageOwnership
  readonly #key: KeyBuffer = new KeyBuffer()
  readonly #entry: KeyBuffer = new KeyBuffer()
  readonly #expected: KeyBuffer = new KeyBuffer()
  readonly #report: CheckReport = { problems: [], tables: [], pages: undefined, blocks: 0 }
  readonly #total: number
  /** What a reader beside an owner checks. */
  readonly #checkpoint: number
  #done = 0

  constructor(engine: Engine, hooks: CheckHooks) {
    this.#engine = engine
    this.#hooks = hooks
    engine.shared?.keepUp()
    this.#checkpoint = engine.shared?.checkpoint ?? 0
    this.#owners = new PageOwnership(engine, (problem) => this.#problem(problem))
    // Each page is seen on disk, in its tree, and again for its rows.
    this.#total = engine.pager.map.pageCount * 3
  }

  async run(): Promise<CheckReport> {
    this.#guardNow('the history', () => this.#engine.shared?.loadHistory())
    const { catalog, pager, shared } = this.#engine
    const problem = (text: string): void => this.#problem(text)
    await this.#steps(
      'the data file',
      checkBlocks(pager, problem, () => this.#report.blocks++),
    )
    await this.#guard('the catalogue', async () => {
      await this.#checkTree('of what lies where', catalog.meta.tree, () => false)
      for (const table of [catalog.table, ...catalog.tables()]) {
        if (!table.dropped) await this.#guard(`table '${table.name}'`, () => this.#checkTable(table))
      }
    })
    this.#guardNow('the undo log', () => this.#owners.ownUndo())
    this.#guardNow('trees that no table names', () => this.#owners.ownLeftTrees())
    this.#guardNow('the root record', () => this.#owners.ownRoot())
    if (this.#report.problems.length === 0) {
      this.#report.pages = this.#owners.count()
      checkFreeSpace(pager, this.#engine.checkpoints.mapBlocks, problem)
    }
    if (shared !== undefined && shared.checkpoint !== this.#checkpoint) throw goneMeanwhile(this.#checkpoint)
    this.#hooks.onProgress(this.#total, this.#total)
    return this.#report
  }

  /** Between two steps a schema change may come, and make the tree's pages free: then the check of it is over. */
  async #checkTree(name: string, tree: BTree, isGone: () => boolean): Promise<CheckedTree> {
    const before = this.#report.problems.length
    const verification = tree.verification((problem) => this.#problem(`tree ${tree.tree}: ${problem}`))
    await this.#guard(`tree ${name}`, async () => {
      for (let seen = 0; !verification.step(); seen = verification.statistics.pages) {
        const pause = this.#advance(verification.statistics.pages - seen)
        if (pause !== undefined) await pause
        if (isGone()) return
      }
      if (this.#report.problems.length === before) this.#owners.ownTree(tree.root, tree.tree)
    })
    const { pages, depth, leafFill } = verification.statistics
    return { pages, depth, fill: leafFill }
  }

  async #checkTable(table: TableStore): Promise<void> {
    const rowTree = table.clustered
    const isGone = (): boolean => table.dropped || table.clustered !== rowTree
    const clustered = await this.#checkTree(`of table '${table.name}'`, rowTree, isGone)
    if (isGone()) return
    const rows = await this.#checkRows(table, isGone)
    const indexes: CheckedTable['indexes'] = []
    for (const index of table.indexes) {
      const tree = await this.#checkTree(`of index '${index.definition.name}' of table '${table.name}'`, index.tree, () => index.dropped)
      // One that is being built lacks entries.
      if (index.dropped || index.build !== undefined) continue
      indexes.push({ name: index.definition.name, entries: await this.#checkEntries(table, index), ...tree })
    }
    if (table !== this.#engine.catalog.table) this.#report.tables.push({ name: table.name, rows, ...clustered, indexes })
  }

  /** Every live row has its entries. Returns the number of rows that are not marked. */
  async #checkRows(table: TableStore, isGone: () => boolean): Promise<number> {
    const { pager } = this.#engine
    const cursor = new TreeCursor(table.clustered)
    let rows = 0
    pager.beginOperation()
    for (let more = cursor.first(); more; ) {
      this.#key.length = cursor.copyKey(this.#key.bytes)
      const at = cursor.valueOffset
      const flags = pager.u8[at + Clustered.Flags]
      const chain = (flags & Flag.Overflow) === 0 ? 0 : pager.u32[(at + OverflowRef.FirstExtent) >> 2]
      const marked = (flags & Flag.Deleted) !== 0
      const live = !marked && !this.#isUnderWay(at)
      cursor.hold()
      if (!marked) rows++
      this.#guardNow(`a row of table '${table.name}'`, () => {
        if (chain !== 0) this.#owners.ownChain(chain as never, `a row of table '${table.name}'`)
        if (live) this.#mustHaveEntries(table, cursor)
      })
      const pause = this.#advance(1 / ROWS_PER_PAGE)
      if (pause !== undefined) await pause
      if (isGone()) return rows
      pager.beginOperation()
      cursor.resume()
      more = cursor.next()
    }
    return rows
  }

  #mustHaveEntries(table: TableStore, cursor: TreeCursor): void {
    const { pager, reader } = this.#engine
    pager.beginOperation()
    cursor.resume()
    const row = reader.decodeRecord(table, cursor.valueOffset, cursor.valueOffset + cursor.valueLength)
    for (const index of table.indexes) {
      if (index.build !== undefined) continue
      index.encodeEntry(row, this.#key, this.#entry)
      pager.beginOperation()
      const found = index.tree.find(this.#entry.bytes, this.#entry.length)
      if (found && (entryFlags(pager.u32[(index.tree.valueOffset + Entry.Word) >> 2]) & Flag.Deleted) === 0) continue
      this.#problem(
        `index '${index.definition.name}' of table '${table.name}' ${found ? 'has a deleted entry' : 'lacks the entry'} for the row with key ${String(reader.decodePrimaryKey(table, this.#key))}`,
      )
    }
  }

  /** Every live entry stands for a live row that has this key. Returns the number of entries. */
  async #checkEntries(table: TableStore, index: IndexStore): Promise<number> {
    const { pager } = this.#engine
    const cursor = new TreeCursor(index.tree)
    let entries = 0
    pager.beginOperation()
    for (let more = cursor.first(); more; ) {
      entries++
      const word = pager.u32[(cursor.valueOffset + Entry.Word) >> 2]
      const length = cursor.keyLength
      const live = (entryFlags(word) & Flag.Deleted) === 0 && !this.#isUnderWay(cursor.valueOffset)
      if (entryKeyLength(word) > length)
        this.#problem(`an entry of index '${index.definition.name}' of table '${table.name}' has an impossible key length`)
      else if (live) {
        this.#entry.length = cursor.copyKey(this.#entry.bytes)
        cursor.hold()
        this.#guardNow(`an entry of index '${index.definition.name}' of table '${table.name}'`, () =>
          this.#mustHaveRow(table, index, entryKeyLength(word)),
        )
        pager.beginOperation()
        cursor.resume()
      }
      const pause = this.#advance(1 / ROWS_PER_PAGE)
      if (pause !== undefined) {
        cursor.hold()
        await pause
        if (index.dropped) return entries
        pager.beginOperation()
        cursor.resume()
      }
      more = cursor.next()
    }
    return entries
  }

  #mustHaveRow(table: TableStore, index: IndexStore, indexKeyLength: number): void {
    const { pager, reader } = this.#engine
    const { clustered } = table
    this.#key.set(this.#entry.bytes, indexKeyLength, this.#entry.length)
    pager.beginOperation()
    const found = clustered.find(this.#key.bytes, this.#key.length)
    if (found && this.#isUnderWay(clustered.valueOffset)) return
    if (found && (pager.u8[clustered.valueOffset + Clustered.Flags] & Flag.Deleted) === 0) {
      const row = reader.decodeRecord(table, clustered.valueOffset, clustered.valueOffset + clustered.valueLength)
      index.encodeEntry(row, this.#key, this.#expected)
      if (Buffer.compare(this.#expected.toBytes(), this.#entry.toBytes()) === 0) return
    }
    this.#problem(
      `index '${index.definition.name}' of table '${table.name}' has a live entry for the row with key ${String(reader.decodePrimaryKey(table, this.#key))}, which ${found ? 'has another key there, or is deleted' : 'is not there'}`,
    )
  }

  /**
   * Whether the writer of the record or entry waits for a lock: between a row and its entries it may have done one and not yet the other.
   * What was active in a checkpoint that is shown read-only may have been waiting then.
   */
  #isUnderWay(at: number): boolean {
    const trx = this.#engine.system.active.get(trxIdAt(this.#engine.pager.u32, at))
    return trx !== undefined && (this.#engine.options.readOnly || trx.owner.waiting !== null)
  }

  async #steps(what: string, steps: Generator<void, void, void>): Promise<void> {
    await this.#guard(what, async () => {
      while (steps.next().done !== true) {
        const pause = this.#advance(1)
        if (pause !== undefined) await pause
      }
    })
  }

  /** So many more pages were seen. */
  #advance(pages: number): Promise<void> | undefined {
    const before = Math.floor(this.#done)
    this.#done += pages
    if (Math.floor(this.#done) !== before) this.#hooks.onProgress(Math.min(Math.floor(this.#done), this.#total), this.#total)
    return this.#hooks.pause()
  }

  #problem(problem: string): void {
    if (this.#engine.shared?.isGone(this.#checkpoint) === true) throw goneMeanwhile(this.#checkpoint)
    const { problems } = this.#report
    if (problems.length < MOST_PROBLEMS && !problems.includes(problem)) problems.push(problem)
  }

  async #guard(what: string, look: () => Promise<void>): Promise<void> {
    try {
      await look()
    } catch (error) {
      this.#judge(what, error)
    }
  }

  #guardNow(what: string, look: () => void): void {
    try {
      look()
    } catch (error) {
      this.#judge(what, error)
    }
  }

  #judge(what: string, error: unknown): void {
    if (!(error instanceof NextkeyError) || ENDS_CHECK.has(error.code)) throw error
    this.#problem(`${what}: ${error.message}`)
  }
}

function goneMeanwhile(checkpoint: number): SnapshotGoneError {
  return new SnapshotGoneError(
    `the owner of the database has written over parts of checkpoint ${checkpoint} while this reader checked it: check again, let the owner itself call db.check(), or check a backup`,
    { checkpoint },
  )
}

const ENDS_CHECK: ReadonlySet<string> = new Set<ErrorCode>(['ERR_ABORTED', 'ERR_CLOSED', 'ERR_SNAPSHOT_GONE'])
const MOST_PROBLEMS = 100
/** A guess, for progress only. */
const ROWS_PER_PAGE = 64
