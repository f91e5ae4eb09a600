import { NextkeyError } from '../../src/base/errors.js'
import type { Database } from '../../src/database.js'
import type { Table } from '../../src/table.js'
import type { Prng } from '../support/seeded.js'
import type { CommitListener, CommitOrder } from './commit-order.js'
import type { Model, Work } from './model.js'
import type { Value } from './rows.js'

/** A schema change that somebody is about to make. */
export interface SchemaChange {
  readonly text: string
  run(): Promise<void>
}

/**
 * Draws schema changes, and tells the model what they come to: of the rows, at the moment of the commit; of indexes made online, that
 * they are there once their making was acknowledged, until their drop is begun.
 *
 * Whoever drops or renames a table takes it from the others first, for their statements know it by its name; what is under way in it goes
 * on, and is waited for. One change of a table at a time, so that the model knows whose commit it sees.
 */
export class SchemaChanges {
  readonly #db: Database
  readonly #model: Model
  readonly #random: Prng
  readonly #tables: Map<string, Table<Value>>
  readonly #order: CommitOrder
  readonly #changing: Set<string> = new Set()
  #renamed = 0

  constructor(db: Database, model: Model, random: Prng, tables: Map<string, Table<Value>>, order: CommitOrder) {
    this.#db = db
    this.#model = model
    this.#random = random
    this.#tables = tables
    this.#order = order
    // Little is done at a time, so that much may happen, and go wrong, in between.
    db.engine.schema.rowsPerSlice = 1 + random.int(8)
  }

  /** Whether one is under way. */
  get changing(): boolean {
    return this.#changing.size > 0
  }

  /** A change for which `listener` tells the model of the commit, when `before` has worked out what it is; undefined if none can be made. */
  draw(work: Work, listener: (before: () => void) => CommitListener): SchemaChange | undefined {
    const name = this.#random.pick([...this.#tables.keys()])
    if (this.#changing.has(name)) return undefined
    const table = this.#tables.get(name) as Table<Value>
    const dice = this.#random.int(100)
    if (dice < 40) return this.#createIndex(name, table)
    if (dice < 60) return this.#dropIndex(name, table)
    if (dice < 75)
      return this.#committed(
        name,
        `truncates ${name}`,
        work,
        listener,
        () => this.#model.emptied(work, name),
        () => table.truncate(),
      )
    if (this.#tables.size < 2) return undefined
    if (dice < 88) return this.#renameTable(name, table, work, listener)
    return this.#taken(
      name,
      table,
      this.#committed(
        name,
        `drops ${name}`,
        work,
        listener,
        () => this.#model.dropped(work, name),
        () => this.#db.dropTable(name),
      ),
    )
  }

  #createIndex(name: string, table: Table<Value>): SchemaChange | undefined {
    const shape = this.#model.tables.get(name)?.shape
    const index = this.#random.pick(Object.keys(ONLINE))
    if (shape === 'blob' || table.definition.indexes.some((known) => known.name === index)) return undefined
    const abort = new AbortController()
    const givesUp = this.#random.int(100) < 25
    return this.#alone(name, `creates index ${index} of ${name}${givesUp ? ', and changes its mind' : ''}`, async () => {
      let slices = this.#random.int(6)
      const onProgress = (): void => {
        if (givesUp && slices-- <= 0) abort.abort()
      }
      try {
        await table.createIndex(index, ONLINE[index], { signal: abort.signal, onProgress })
      } catch (error) {
        if (error instanceof NextkeyError && error.code === 'ERR_ABORTED' && abort.signal.aborted) return
        throw error
      }
      this.#model.indexesOf(name).add(index)
    })
  }

  #dropIndex(name: string, table: Table<Value>): SchemaChange | undefined {
    const index = table.definition.indexes.find((known) => known.online)?.name
    if (index === undefined) return undefined
    const online = this.#model.indexesOf(name)
    return this.#alone(name, `drops index ${index} of ${name}`, async () => {
      const wasSure = online.delete(index)
      try {
        await table.dropIndex(index)
      } catch (error) {
        if (wasSure && isWait(error)) online.add(index)
        throw error
      }
    })
  }

  #renameTable(name: string, table: Table<Value>, work: Work, listener: (before: () => void) => CommitListener): SchemaChange | undefined {
    // Values of a few bytes are known by their table's name and their length, which the model does not keep.
    if (this.#model.tables.get(name)?.shape === 'blob') return undefined
    let to = ''
    do to = `${name.split('~')[0]}~${++this.#renamed}`
    while (this.#model.knows(to))
    for (const index of this.#model.indexesOf(name)) this.#model.indexesOf(to).add(index)
    const change = this.#committed(
      name,
      `renames ${name} to ${to}`,
      work,
      listener,
      () => this.#model.renamed(work, name, to),
      () => this.#db.renameTable(name, to),
    )
    return this.#taken(name, table, change, to)
  }

  /** A change that is a commit in the log. */
  #committed(
    name: string,
    text: string,
    work: Work,
    listener: (before: () => void) => CommitListener,
    before: () => void,
    change: () => Promise<unknown>,
  ): SchemaChange {
    return this.#alone(name, text, async () => {
      this.#order.watchSchema(name, listener(before))
      try {
        await change()
      } finally {
        this.#order.forgetSchema(name)
      }
      this.#model.acknowledged(work)
    })
  }

  /** The table is not for others while it is changed; afterwards it is by the name it has then, if any. */
  #taken(name: string, table: Table<Value>, { text, run }: SchemaChange, to?: string): SchemaChange {
    return {
      text,
      run: async () => {
        this.#tables.delete(name)
        try {
          await run()
          if (to !== undefined) this.#tables.set(to, table)
        } catch (error) {
          if (isWait(error)) this.#tables.set(name, table)
          throw error
        }
      },
    }
  }

  #alone(name: string, text: string, change: () => Promise<void>): SchemaChange {
    return {
      text,
      run: async () => {
        this.#changing.add(name)
        try {
          await change()
        } finally {
          this.#changing.delete(name)
        }
      },
    }
  }
}

/** It was refused before it did anything. */
function isWait(error: unknown): boolean {
  return error instanceof NextkeyError && (error.code === 'ERR_LOCK_WAIT_TIMEOUT' || error.code === 'ERR_DEADLOCK')
}

const ONLINE: Readonly<Record<string, { on: string | readonly string[]; unique?: boolean }>> = {
  'online-version': { on: 'version', unique: true },
  'online-state': { on: ['state', 'version'] },
  'online-city': { on: 'city' },
}
