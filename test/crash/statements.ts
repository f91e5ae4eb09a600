import { NextkeyError } from '../../src/base/errors.js'
import type { Table } from '../../src/table.js'
import type { Prng } from '../support/seeded.js'
import type { Model, Work } from './model.js'
import { drawKey, type Key, keyText, makeValue, type Sizes, type TableSpec, uniqueKeysOf, type Value } from './rows.js'

/** What transactions of every form, and tables themselves, have in common. */
export interface Writer {
  insert(table: Table<Value>, ...args: unknown[]): Promise<unknown> | unknown
  put(table: Table<Value>, ...args: unknown[]): Promise<unknown> | unknown
  update(table: Table<Value>, key: unknown, change: (row: Value) => Value): Promise<boolean> | boolean
  delete(table: Table<Value>, key: unknown): Promise<boolean> | boolean
}

/** A statement: how to do it, and what it must come to. */
export interface Statement {
  readonly text: string
  /** Its key is the next auto-increment value. */
  readonly generates: boolean
  run(on: Writer): Promise<unknown> | unknown
  /**
   * Tells the model what the statement does to the rows as `work` sees them. `key` is the one that was generated, if it did that and
   * was not refused.
   */
  effect(work: Work, key: unknown): Outcome
}

export type Outcome = { readonly returns: unknown } | 'duplicate'

/** Draws statements, and knows what they must do. */
export class Statements {
  readonly #model: Model
  readonly #random: Prng
  readonly #sizes: Sizes
  /** The next version number. */
  version: number

  constructor(model: Model, random: Prng, sizes: Sizes, version: number) {
    this.#model = model
    this.#random = random
    this.#sizes = sizes
    this.version = version
  }

  draw(tables: readonly Table<Value>[]): Statement {
    const table = this.#random.pick(tables)
    const spec = this.#model.tables.get(table.name) as TableSpec
    const version = this.version++
    const dice = this.#random.int(100)
    if (dice < 22) return this.#insert(table, spec, version, undefined)
    if (dice < 28) return this.#insert(table, spec, version, 'ignore')
    if (dice < 36) return this.#insert(table, spec, version, 'replace')
    if (dice < 60) return this.#put(table, spec, version)
    const known = this.#model.keys(table.name)
    const key = known.length > 0 && this.#random.bool(0.8) ? this.#random.pick(known) : drawKey(spec.shape, this.#random, this.#sizes)
    return dice < 80 ? this.#update(table, spec, version, key) : this.#delete(table, key)
  }

  #insert(table: Table<Value>, spec: TableSpec, version: number, mode: 'ignore' | 'replace' | undefined): Statement {
    const generated = spec.options.autoIncrement === true && this.#random.bool(0.6)
    const inline = spec.options.key !== undefined
    const onDuplicate = generated && !inline ? undefined : mode
    const key = generated ? undefined : drawKey(spec.shape, this.#random, this.#sizes)
    const value = makeValue(spec.shape, version, key, this.#sizes)
    const options = onDuplicate === undefined ? [] : [{ onDuplicate }]
    const args = inline || generated ? [value, ...options] : [key, value, ...options]
    return {
      text: `inserts ${table.name} ${generated ? 'next' : keyText(key)} version ${version}${onDuplicate === undefined ? '' : ` or ${onDuplicate}`}`,
      generates: generated,
      run: (on) => on.insert(table, ...args),
      effect: (work, generatedKey) => {
        const to = key ?? (generatedKey as Key | undefined) ?? NO_KEY
        const rivals = this.#model.rivals(work, spec.name, to, uniqueKeysOf(spec.shape, value))
        if (rivals.length > 0 || (!generated && this.#model.row(work, spec.name, to) !== undefined)) {
          if (onDuplicate === undefined) return 'duplicate'
          if (onDuplicate === 'ignore') return { returns: undefined }
          for (const rival of rivals) this.#model.write(work, spec.name, rival.key, undefined)
        }
        return this.#wrote(work, spec, to, value, to)
      },
    }
  }

  #put(table: Table<Value>, spec: TableSpec, version: number): Statement {
    const key = drawKey(spec.shape, this.#random, this.#sizes)
    const value = makeValue(spec.shape, version, key, this.#sizes)
    return {
      text: `puts ${table.name} ${keyText(key)} version ${version}`,
      generates: false,
      run: (on) => (spec.options.key === undefined ? on.put(table, key, value) : on.put(table, value)),
      effect: (work) => {
        if (this.#model.rivals(work, spec.name, key, uniqueKeysOf(spec.shape, value)).length > 0) return 'duplicate'
        return this.#wrote(work, spec, key, value, key)
      },
    }
  }

  #update(table: Table<Value>, spec: TableSpec, version: number, key: Key): Statement {
    // Now and then to another key: a delete and an insert.
    const target = spec.options.key !== undefined && this.#random.int(100) < 15 ? drawKey(spec.shape, this.#random, this.#sizes) : key
    const value = makeValue(spec.shape, version, target, this.#sizes)
    const moves = keyText(target) !== keyText(key)
    return {
      text: `updates ${table.name} ${keyText(key)}${moves ? ` to ${keyText(target)}` : ''} version ${version}`,
      generates: false,
      run: (on) => on.update(table, key, () => value),
      effect: (work) => {
        if (this.#model.row(work, spec.name, key) === undefined) return { returns: false }
        if (moves && this.#model.row(work, spec.name, target) !== undefined) return 'duplicate'
        const rivals = this.#model.rivals(work, spec.name, target, uniqueKeysOf(spec.shape, value))
        if (rivals.some((rival) => keyText(rival.key) !== keyText(key))) return 'duplicate'
        if (moves) this.#model.write(work, spec.name, key, undefined)
        if (moves) return this.#wrote(work, spec, target, value, true)
        this.#model.write(work, spec.name, target, value)
        return { returns: true }
      },
    }
  }

  #delete(table: Table<Value>, key: Key): Statement {
    return {
      text: `deletes ${table.name} ${keyText(key)}`,
      generates: false,
      run: (on) => on.delete(table, key),
      effect: (work) => {
        const there = this.#model.row(work, table.name, key) !== undefined
        this.#model.write(work, table.name, key, undefined)
        return { returns: there }
      },
    }
  }

  #wrote(work: Work, spec: TableSpec, key: Key, value: Value, returns: unknown): Outcome {
    this.#model.write(work, spec.name, key, value)
    // A larger value than the counter's, given by hand, moves it too.
    if (spec.options.autoIncrement === true && typeof key === 'number') this.#model.gave(work, spec.name, key)
    return { returns }
  }
}

/**
 * Tells the model of a statement that is over, and raises what is wrong with its result or refusal.
 *
 * What changed rows may be judged at any time while the transaction is open: nobody else can touch them. That nothing was to be changed
 * was true at one moment during the call: it can be judged only if nobody has committed since it began (`settled`).
 */
export function judge(statement: Statement, work: Work, end: StatementEnd, settled: boolean): void {
  const { length } = work.effects
  if ('error' in end) {
    const { error } = end
    if (!(error instanceof NextkeyError) || error.code !== 'ERR_DUPLICATE_KEY') throw error
    const outcome = statement.effect(work, undefined)
    work.effects.length = length
    if (settled && outcome !== 'duplicate')
      throw new Error(`${statement.text}: refused, but there is no duplicate (${error.message})`, { cause: error })
    return
  }
  const { result } = end
  if (!settled && (result === false || result === undefined)) return
  const outcome = statement.effect(work, result)
  mustReturn(statement, outcome, result)
}

export type StatementEnd = { readonly result: unknown } | { readonly error: unknown }

/** Raises what is wrong if a statement that returned should not have, or not this. */
export function mustReturn(statement: Statement, outcome: Outcome, result: unknown): void {
  if (outcome === 'duplicate') throw new Error(`${statement.text}: there is a duplicate, but it returned ${keyText(result)}`)
  if (keyText(outcome.returns) !== keyText(result))
    throw new Error(`${statement.text}: returned ${keyText(result)}, not ${keyText(outcome.returns)}`)
}

/** Of a refused insert's row. */
const NO_KEY = 'none'
