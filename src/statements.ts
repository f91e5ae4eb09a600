import { describe, DuplicateKeyError, InvalidArgumentError, NextkeyError } from './base/errors.js'
import { NO_PAGE } from './base/ids.js'
import { KeyBuffer } from './codec/key-encoding.js'
import { encodeShaped } from './range.js'
import type { Engine } from './txn/engine.js'
import { OverflowWriter } from './txn/overflow.js'
import { needsOverflow, type RowImage } from './txn/row-writer.js'
import type { TableStore } from './txn/table-store.js'
import { markOf, type Trx } from './txn/trx.js'

/** What an insert does when a row with the same key, or the same key in a unique index, is there. */
export type OnDuplicate<Row = unknown> =
  /** Leave the row that is there (INSERT IGNORE). */
  | 'ignore'
  /** Delete every row in the way, then insert (REPLACE). */
  | 'replace'
  /** Change the row that is there (ON DUPLICATE KEY UPDATE). */
  | ((old: Row) => Row)

/** A row on its way in: encoded, its key and entries checked, before anything is touched. */
interface Prepared {
  readonly key: KeyBuffer
  readonly image: RowImage
  /** What the stored bytes decode to; undefined where nothing needs it. */
  row: unknown
}

/**
 * The statements that change one row, synchronous, each atomic: whatever is raised inside, the statement is undone and the
 * transaction goes on. What users' calls, in all three forms, come down to.
 */
export class Statements {
  readonly #engine: Engine
  readonly #key: KeyBuffer = new KeyBuffer()
  readonly #entry: KeyBuffer = new KeyBuffer()
  readonly #image: RowImage = { bytes: new Uint8Array(0), start: 0, end: 0, chain: NO_PAGE }
  readonly #prepared: Prepared = { key: this.#key, image: this.#image, row: undefined }

  constructor(engine: Engine) {
    this.#engine = engine
  }

  /** Returns the row's key; with onDuplicate 'ignore' and a row in the way, undefined. */
  insert(trx: Trx, table: TableStore, row: unknown, key: unknown, onDuplicate: OnDuplicate | undefined): unknown {
    this.#engine.mustWrite()
    const [given, keyGiven] = this.#withGeneratedKey(table, row, key)
    const prepared = this.#prepare(table, given, keyGiven)
    const mark = markOf(trx)
    try {
      return this.#insertPrepared(trx, table, prepared, onDuplicate)
    } catch (error) {
      // Rows that were replaced on the way come back.
      if (this.#engine.broken === undefined) this.#engine.undoTo(trx, mark)
      throw error
    }
  }

  #insertPrepared(trx: Trx, table: TableStore, prepared: Prepared, onDuplicate: OnDuplicate | undefined): unknown {
    for (;;) {
      try {
        prepared.image.chain = NO_PAGE
        this.#write(trx, () => this.#engine.writer.insert(trx, table, prepared.key, this.#place(trx, table, prepared), prepared.row))
        return this.#finishInsert(table, prepared)
      } catch (error) {
        if (!(error instanceof DuplicateKeyError) || onDuplicate === undefined) throw error
        if (onDuplicate === 'ignore') return undefined
        if (onDuplicate !== 'replace') return this.#updateDuplicate(trx, table, error, onDuplicate)
        this.#deleteEncoded(trx, table, error.existing)
      }
    }
  }

  /** Inserts the row, or replaces the one with the same key. Returns the key. */
  put(trx: Trx, table: TableStore, row: unknown, key: unknown): unknown {
    this.#engine.mustWrite()
    const [given, keyGiven] = this.#withGeneratedKey(table, row, key)
    const prepared = this.#prepare(table, given, keyGiven)
    this.#write(trx, () => {
      const image = this.#place(trx, table, prepared)
      if (!this.#engine.writer.update(trx, table, prepared.key, image, prepared.row)) {
        this.#engine.writer.insert(trx, table, prepared.key, image, prepared.row)
      }
    })
    return this.#finishInsert(table, prepared)
  }

  /** Changes the row with this key: by the fields of a patch, or to what the function makes of it. False if there is none. */
  update(trx: Trx, table: TableStore, key: unknown, change: object | ((row: never) => unknown)): boolean {
    this.#engine.mustWrite()
    if (typeof change !== 'function') mustBePatch(table, change)
    this.#encodeKey(table, key, this.#key)
    if (!this.#engine.writer.claim(trx, table, this.#key)) return false
    const old = this.#engine.reader.get(table, this.#key, 'newest')
    const oldKey = this.#key.toBytes()
    const row = typeof change === 'function' ? (change as (row: unknown) => unknown)(old) : patched(table, old, change)
    const prepared = this.#prepare(table, row, table.keyPaths === null ? key : undefined)
    if (sameKey(oldKey, prepared.key)) {
      return this.#write(trx, () => this.#engine.writer.update(trx, table, prepared.key, this.#place(trx, table, prepared), prepared.row))
    }
    const moved = this.#write(trx, () => {
      const before = new KeyBuffer()
      before.set(oldKey, 0, oldKey.length)
      if (!this.#engine.writer.delete(trx, table, before)) return false
      this.#engine.writer.insert(trx, table, prepared.key, this.#place(trx, table, prepared), prepared.row)
      return true
    })
    // A larger key than the counter's moves it, as an insert does (golden `autoinc/mode0/update-to-larger-id`).
    if (moved) this.#finishInsert(table, prepared)
    return moved
  }

  delete(trx: Trx, table: TableStore, key: unknown): boolean {
    this.#engine.mustWrite()
    this.#encodeKey(table, key, this.#key)
    return this.#write(trx, () => this.#engine.writer.delete(trx, table, this.#key))
  }

  /** Encodes a primary key as users write it. Raises ERR_INVALID_KEY, ERR_KEY_TOO_LONG. */
  #encodeKey(table: TableStore, key: unknown, target: KeyBuffer): void {
    encodeTableKey(table, key, target)
  }

  /** Runs one statement's row operations; on any error they are undone. */
  #write<T>(trx: Trx, operations: () => T): T {
    const engine = this.#engine
    const mark = markOf(trx)
    try {
      const result = engine.attempt(operations)
      engine.payDebts()
      return result
    } catch (error) {
      if (engine.broken === undefined) engine.undoTo(trx, mark)
      throw error
    }
  }

  #deleteEncoded(trx: Trx, table: TableStore, key: unknown): void {
    const encoded = new KeyBuffer()
    this.#encodeKey(table, key, encoded)
    this.#write(trx, () => this.#engine.writer.delete(trx, table, encoded))
  }

  #updateDuplicate(trx: Trx, table: TableStore, duplicate: DuplicateKeyError, change: (old: unknown) => unknown): unknown {
    this.update(trx, table, duplicate.existing, change as (row: never) => unknown)
    return duplicate.existing
  }

  /**
   * Encodes a row and its key, and tries every index key of it, so that bad input fails here. Keys are taken from what the
   * stored bytes decode to (D5). The result is good until the next call.
   */
  #prepare(table: TableStore, row: unknown, key: unknown): Prepared {
    const { codec, keyPaths } = table
    if (row === undefined) throw new InvalidArgumentError(`a value to store in table '${table.name}' is missing`, undefined, 'ERR_INVALID_ROW')
    codec.encode(row)
    const image = this.#image
    image.bytes = codec.bytes
    image.start = codec.start
    image.end = codec.end
    image.chain = NO_PAGE
    const prepared = this.#prepared
    prepared.row = keyPaths === null && table.indexes.length === 0 ? undefined : codec.decode(codec.bytes, codec.start, codec.end)
    if (keyPaths === null) this.#encodeKey(table, key, this.#key)
    else {
      this.#key.reset()
      keyPaths.appendPrimaryKey(prepared.row, this.#key)
    }
    for (const index of table.indexes) index.encodeEntry(prepared.row, this.#key, this.#entry)
    return prepared
  }

  /** A row too long for a leaf goes to an overflow chain first. */
  #place(trx: Trx, table: TableStore, prepared: Prepared): RowImage {
    const { image, key } = prepared
    if (image.chain !== NO_PAGE || !needsOverflow(key.length, image.end - image.start)) return image
    const { pager, writer, system } = this.#engine
    system.startWriting(trx)
    pager.beginOperation()
    const chain = new OverflowWriter(pager, table.definition.tree, image.bytes, image.start, image.end)
    writer.noteChain(trx, chain.firstExtent)
    chain.step(Number.POSITIVE_INFINITY)
    image.chain = chain.firstExtent
    return image
  }

  /** A row without its auto-increment key gets the next value. */
  #withGeneratedKey(table: TableStore, row: unknown, key: unknown): [row: unknown, key: unknown] {
    const { autoIncrement, key: path } = table.definition
    if (!autoIncrement) return [row, key]
    if (path === null) return key === undefined ? [row, this.#nextValue(table)] : [row, key]
    if (typeof row !== 'object' || row === null || ((row as Record<string, unknown>)[path as string] ?? undefined) !== undefined) return [row, key]
    return [{ ...row, [path as string]: this.#nextValue(table) }, key]
  }

  #nextValue(table: TableStore): number {
    if (table.counter >= Number.MAX_SAFE_INTEGER) {
      throw new NextkeyError('ERR_AUTO_INCREMENT_EXHAUSTED', `table '${table.name}' has given out its last auto-increment value`)
    }
    const value = table.counter++
    this.#engine.counterMoved(table)
    return value
  }

  #finishInsert(table: TableStore, prepared: Prepared): unknown {
    const { autoIncrement } = table.definition
    const key = this.#engine.reader.decodePrimaryKey(table, prepared.key)
    if (autoIncrement && typeof key === 'number' && key >= table.counter && Number.isSafeInteger(key)) {
      table.counter = key + 1
      this.#engine.counterMoved(table)
    }
    return key
  }
}

/** Encodes a primary key as users write it. */
export function encodeTableKey(table: TableStore, key: unknown, target: KeyBuffer): void {
  encodeShaped(key, { compound: Array.isArray(table.definition.key), name: `table '${table.name}'` }, target)
}

function mustBePatch(table: TableStore, patch: unknown): void {
  if (typeof patch !== 'object' || patch === null || Array.isArray(patch)) {
    throw new InvalidArgumentError(`update() of table '${table.name}' takes an object of fields to change, or a function, not ${describe(patch)}`)
  }
}

function patched(table: TableStore, old: unknown, patch: object): unknown {
  if (typeof old !== 'object' || old === null || old instanceof Uint8Array || Array.isArray(old)) {
    throw new InvalidArgumentError(`the value in table '${table.name}' is ${describe(old)}, which has no fields to change: give update() a function`, undefined, 'ERR_INVALID_ROW')
  }
  return { ...old, ...patch }
}

function sameKey(bytes: Uint8Array, key: KeyBuffer): boolean {
  if (bytes.length !== key.length) return false
  for (let at = 0; at < bytes.length; at++) if (bytes[at] !== key.bytes[at]) return false
  return true
}
