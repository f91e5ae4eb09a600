import type { Database } from '../../src/database.js'
import { TreeCursor } from '../../src/storage/tree-cursor.js'
import { Clustered, Entry, entryFlags, Flag } from '../../src/txn/record-format.js'

/**
 * Purges everything, and finds the trees that still have records or entries marked as deleted: with no history and no transaction, none
 * of them can ever go. Expects that nobody else uses the database.
 */
export function leftoversOf({ engine }: Database): string[] {
  engine.purging.payAll()
  const { pager, catalog, system } = engine
  const found: string[] = []
  if (system.history.length > 0) found.push(`${system.history.length} transactions in the history that nobody's view keeps there`)
  const count = (what: string, cursor: TreeCursor, isMarked: (at: number) => boolean): void => {
    let marked = 0
    pager.beginOperation()
    for (let more = cursor.first(); more; more = cursor.next()) {
      if (isMarked(cursor.valueOffset)) marked++
      pager.beginOperation()
    }
    if (marked > 0) found.push(`${marked} in ${what}`)
  }
  for (const table of catalog.tables()) {
    count(`table '${table.name}'`, new TreeCursor(table.clustered), (at) => (pager.u8[at + Clustered.Flags] & Flag.Deleted) !== 0)
    for (const { tree, definition } of table.indexes) {
      const isMarked = (at: number): boolean => (entryFlags(pager.u32[(at + Entry.Word) >> 2]) & Flag.Deleted) !== 0
      count(`index '${definition.name}' of table '${table.name}'`, new TreeCursor(tree), isMarked)
    }
  }
  return found
}
