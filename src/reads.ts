import { describe, NextkeyError } from './base/errors.js'
import { KeyBuffer } from './codec/key-encoding.js'
import { encodeRange, type Range } from './range.js'
import { type ResultSource, Results } from './results.js'
import { encodeTableKey } from './row-statements.js'
import type { Engine } from './txn/engine.js'
import { RangeScan, Want } from './txn/range-scan.js'
import { mustShow, type Visibility } from './txn/row-reader.js'
import type { IndexStore, TableStore } from './txn/table-store.js'

/** How a range read gets its view, and knows that it may go on. */
export interface ViewSource {
  view: Visibility
  check(): void
  release(): void
}

/** Consistent reads of tables and indexes, synchronous: what autocommit reads, snapshots and transactions share. */
export class Reads {
  readonly #engine: Engine
  readonly #key: KeyBuffer = new KeyBuffer()

  constructor(engine: Engine) {
    this.#engine = engine
  }

  get(table: TableStore, key: unknown, view: Visibility): unknown {
    this.#engine.mustRead()
    mustShow(view, table)
    encodeTableKey(table, key, this.#key)
    return this.#engine.reader.get(table, this.#key, view)
  }

  /** The rows with these keys, all from one state. */
  getMany(table: TableStore, keys: Iterable<unknown>, view: Visibility): unknown[] {
    return Array.from(keys, (key) => this.get(table, key, view))
  }

  has(table: TableStore, key: unknown, view: Visibility): boolean {
    this.#engine.mustRead()
    mustShow(view, table)
    encodeTableKey(table, key, this.#key)
    return this.#engine.reader.has(table, this.#key, view)
  }

  /** The first row, in key order, with this index key. */
  getByIndex(table: TableStore, index: IndexStore, key: unknown, view: Visibility): unknown {
    this.#engine.mustRead()
    const rows: unknown[] = []
    this.scan(table, index, { eq: key }, Want.Values, view).fill(rows, 1, true)
    return rows[0]
  }

  scan(table: TableStore, index: IndexStore | undefined, range: Range, want: Want, view: Visibility): RangeScan {
    const { pager, reader } = this.#engine
    return new RangeScan(pager, reader, table, index, encodeRange(range, (index ?? table).shape), range.reverse === true, want, view)
  }

  /** A lazy range read; its view is made by `open` when the first row is asked for. The range is checked now. */
  results<T>(table: TableStore, index: IndexStore | undefined, range: Range, want: Want, open: () => ViewSource): Results<T> {
    const { pager, reader } = this.#engine
    const bounds = encodeRange(range, (index ?? table).shape)
    return new Results<T>(this.#engine, range.limit, (): ResultSource => {
      const source = open()
      try {
        const scan = new RangeScan(pager, reader, table, index, bounds, range.reverse === true, want, source.view)
        return {
          scan,
          check: () => {
            source.check()
            if (typeof source.view === 'object') source.view.mustLast()
          },
          release: () => source.release(),
        }
      } catch (error) {
        source.release()
        throw error
      }
    })
  }

  count(table: TableStore, index: IndexStore | undefined, range: Range, view: Visibility): number {
    this.#engine.mustRead()
    const count = this.scan(table, index, range, Want.Keys, view).count()
    return range.limit === undefined ? count : Math.min(count, range.limit)
  }

  /** The open index of this name. Raises ERR_NO_SUCH_INDEX. */
  index(table: TableStore, name: string): IndexStore {
    const index = table.index(name)
    if (index !== undefined) return index
    const names = table.definition.indexes.map((other) => `'${other.name}'`).join(', ')
    throw new NextkeyError(
      'ERR_NO_SUCH_INDEX',
      `table '${table.name}' has no index ${describe(name)}; it has ${names === '' ? 'none' : names}`,
      {
        details: { table: table.name, index: name },
      },
    )
  }
}
