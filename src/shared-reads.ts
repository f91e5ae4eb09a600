import { InvalidArgumentError, SnapshotGoneError } from './base/errors.js'
import type { Range } from './range.js'
import { Reads, type ViewSource } from './reads.js'
import type { Results } from './results.js'
import { noSuchTable } from './schema-changes.js'
import type { Engine } from './txn/engine.js'
import type { Want } from './txn/range-scan.js'
import type { Visibility } from './txn/row-reader.js'
import type { SharedReader } from './txn/shared-reader.js'
import type { IndexStore, TableStore } from './txn/table-store.js'

/**
 * The reads of a reader beside the owner of the directory (Q3, Q4). A read that is one step and has no view to keep to moves on to the
 * newest checkpoint and tries again when it meets pages that were written over; every other one raises ERR_SNAPSHOT_GONE.
 */
export class SharedReads extends Reads {
  readonly #shared: SharedReader

  constructor(engine: Engine, shared: SharedReader) {
    super(engine)
    this.#shared = shared
  }

  override get(table: TableStore, key: unknown, view: Visibility): unknown {
    return this.#again(table, view, () => super.get(table, key, view))
  }

  override getMany(table: TableStore, keys: Iterable<unknown>, view: Visibility): unknown[] {
    const all = [...keys]
    return this.#again(table, view, () => all.map((key) => super.get(table, key, view)))
  }

  override has(table: TableStore, key: unknown, view: Visibility): boolean {
    return this.#again(table, view, () => super.has(table, key, view))
  }

  override getByIndex(table: TableStore, index: IndexStore, key: unknown, view: Visibility): unknown {
    return this.#again(table, view, () => super.getByIndex(table, this.#now(table, index), key, view))
  }

  override count(table: TableStore, index: IndexStore | undefined, range: Range, view: Visibility): number {
    return this.#again(table, view, () => super.count(table, index && this.#now(table, index), range, view))
  }

  override results<T>(table: TableStore, index: IndexStore | undefined, range: Range, want: Want, open: () => ViewSource): Results<T> {
    return super.results<T>(table, index, range, want, () => {
      const source = open()
      // Whoever reads what is uncommitted has no view that would have seen to it.
      if (typeof source.view !== 'object') this.#shared.keepUp()
      return source
    })
  }

  #again<T>(table: TableStore, view: Visibility, read: () => T): T {
    if (typeof view === 'object') return read()
    for (let attempt = 1; ; attempt++) {
      this.#shared.keepUp()
      if (table.dropped) throw noSuchTable(table.name)
      try {
        return read()
      } catch (error) {
        if (!(error instanceof SnapshotGoneError) || attempt === ATTEMPTS) throw error
      }
    }
  }

  /** The index as it is in the checkpoint that is shown now. */
  #now(table: TableStore, index: IndexStore): IndexStore {
    return index.dropped ? this.index(table, index.definition.name) : index
  }
}

/** What moves a reader beside an owner on. Raises ERR_INVALID_ARGUMENT if the database is none. */
export function mustBeShared({ shared }: Engine): SharedReader {
  if (shared !== undefined) return shared
  throw new InvalidArgumentError(
    'refresh() is for readers beside an owner: open({ readOnly: true, unsafeShared: true }); this database shows what is there',
  )
}

/** Times that a single read moves on before it gives up. */
const ATTEMPTS = 20
