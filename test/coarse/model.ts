/** What the clients of a round share: the database, the tables it may have, what has been done so far, and what must never happen. */
import { createHash, type Hash } from 'node:crypto'
import { NextkeyError } from '../../src/base/errors.js'
import type { Database } from '../../src/database.js'
import type { Table } from '../../src/table.js'
import type { Scheduler } from '../support/scheduler.js'

export interface Thing {
  id: number
  group: number
  code: number | null
  text: string
}

export const NAMES: readonly string[] = ['a', 'b', 'c', 'd']
export const KEYS = 24

export const DEFINITION = {
  key: 'id',
  autoIncrement: true,
  indexes: { code: { on: 'code', unique: true }, group: { on: 'group' } },
} as const

/** What statements and schema changes may meet when others change tables under them; a transaction that meets the first two is over. */
const EXPECTED: ReadonlySet<string> = new Set([
  'ERR_DEADLOCK',
  'ERR_CONFLICT',
  'ERR_DUPLICATE_KEY',
  'ERR_INDEX_EXISTS',
  'ERR_LOCK_NOT_AVAILABLE',
  'ERR_NO_SUCH_INDEX',
  'ERR_NO_SUCH_TABLE',
  'ERR_TABLE_CHANGED',
  'ERR_TABLE_EXISTS',
  'ERR_TABLE_MISMATCH',
])

/** Something that must not happen did. */
export class Violation extends Error {
  override readonly name = 'Violation'
}

export class Shared {
  readonly scheduler: Scheduler
  readonly db: Database
  /** Statements and schema changes begun. */
  operations = 0
  readonly outcomes: Map<string, number> = new Map()
  /** Of every table there ever was. */
  readonly #handles: Set<Table<Thing>> = new Set()
  readonly #digest: Hash = createHash('sha256')

  constructor(scheduler: Scheduler, db: Database) {
    this.scheduler = scheduler
    this.db = db
  }

  /** `attempt`, to be called by itself. */
  readonly bound: { attempt: Shared['attempt'] } = { attempt: (what, operation) => this.attempt(what, operation) }

  turn(): Promise<void> {
    return this.scheduler.turn()
  }

  /** One operation: its outcome is noted; what may not come of it is a violation. Resolves to the error's code, if there is one. */
  async attempt(what: string, operation: () => Promise<unknown> | unknown): Promise<string | undefined> {
    this.operations++
    await this.turn()
    let outcome = 'done'
    try {
      await operation()
    } catch (error) {
      if (!(error instanceof NextkeyError) || !EXPECTED.has(error.code)) throw error
      outcome = error.code
    }
    this.note(`${what} ${outcome}`)
    return outcome === 'done' ? undefined : outcome
  }

  note(event: string): void {
    this.outcomes.set(event, (this.outcomes.get(event) ?? 0) + 1)
    this.#digest.update(`${event}\n`)
  }

  /** The same for the same seed. */
  get digest(): string {
    return this.#digest.copy().digest('hex').slice(0, 16)
  }

  /** The table of this name, made if there is none. */
  async table(name: string): Promise<Table<Thing>> {
    const table = await this.db.table<Thing>(name, this.db.tables().includes(name) ? undefined : DEFINITION)
    this.#handles.add(table)
    return table
  }

  /** Every table that clients know of, also if it is no more. */
  known(): readonly Table<Thing>[] {
    return [...this.#handles]
  }

  /** What is committed in these tables: names, definitions, rows. */
  state(tables: readonly Table<Thing>[]): string {
    const found = tables.filter((table) => !isGone(table))
    return JSON.stringify(found.map((table) => [table.name, table.definition, table.values().toArray()]))
  }

  /** Nobody may have changed what `state` told of these tables. */
  mustBe(before: string, tables: readonly Table<Thing>[], who: string): void {
    const now = this.state(tables)
    if (now !== before) throw new Violation(`${who}: something was changed meanwhile\nbefore ${before}\nnow    ${now}`)
  }
}

function isGone(table: Table<Thing>): boolean {
  try {
    table.count({ limit: 1 })
    return false
  } catch (error) {
    if (error instanceof NextkeyError && error.code === 'ERR_NO_SUCH_TABLE') return true
    throw error
  }
}
