import type { Database } from './database.js'
import { checkLongWork, type LongWorkHooks, type LongWorkOptions, longWorkHooks } from './long-work.js'
import type { BTree } from './storage/btree.js'
import { Page } from './storage/page-format.js'
import type { TableDefinition } from './txn/table-store.js'

export interface TreeFigures {
  /** Bytes of its pages, without overflow pages. */
  size: number
  pages: number
  depth: number
  /** Records or entries, those included that are deleted and not yet purged. */
  entries: number
  /** Part of the leaves that is in use: 0 to 1. */
  fill: number
  /** Places that are damaged or contradict others, as far as they were met: what lies behind them is not counted. `db.check()` names them. */
  problems: number
}

export interface TableStatistics extends TreeFigures {
  name: string
  definition: Pick<TableDefinition, 'key' | 'autoIncrement' | 'value'>
  /** The next auto-increment value. */
  next: number | undefined
  indexes: (TreeFigures & { name: string; on: readonly string[]; unique: boolean })[]
}

/** Reads every tree, in slices. What is wrong with one is counted, and for `db.check()` to say. Raises ERR_DAMAGED, ERR_SNAPSHOT_GONE, ERR_ABORTED. */
export async function describeTables(db: Database, options: LongWorkOptions = {}): Promise<TableStatistics[]> {
  checkLongWork(options, 'describeTables()')
  const { catalog, pager } = db.engine
  const hooks = longWorkHooks(options, db)
  const total = pager.map.pageCount
  const found: TableStatistics[] = []
  let done = 0
  const measure = async (tree: BTree): Promise<TreeFigures> => {
    const figures = await measureTree(tree, hooks, (pages) => hooks.onProgress(Math.min(done + pages, total), total))
    done += figures.pages
    return figures
  }
  for (const table of catalog.tables()) {
    const { name, key, autoIncrement, value } = table.definition
    const indexes: TableStatistics['indexes'] = []
    const figures = await measure(table.clustered)
    for (const { definition, tree } of table.indexes) {
      indexes.push({ name: definition.name, on: definition.on, unique: definition.unique, ...(await measure(tree)) })
    }
    found.push({ name, definition: { key, autoIncrement, value }, next: autoIncrement ? table.counter : undefined, ...figures, indexes })
  }
  hooks.onProgress(total, total)
  return found
}

async function measureTree(tree: BTree, hooks: LongWorkHooks, onPages: (pages: number) => void): Promise<TreeFigures> {
  let problems = 0
  const verification = tree.verification(() => problems++)
  const { statistics } = verification
  while (!verification.step()) {
    onPages(statistics.pages)
    const pause = hooks.pause()
    if (pause !== undefined) await pause
  }
  const { pages, depth, entries, leafFill } = statistics
  return { size: pages * Page.Size, pages, depth, entries, fill: leafFill, problems }
}
