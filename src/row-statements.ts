import { DuplicateKeyError, describe, InvalidArgumentError } from './base/errors.js'
import { NO_PAGE } from './base/ids.js'
import { KeyBuffer } from './codec/key-encoding.js'
import { LockMode, TableLock } from './lock/lock-modes.js'
import { encodeRange, encodeShaped } from './range.js'
import { type AutoIncrement, needsKey, type StatementValues } from './txn/auto-increment.js'
import type { Engine } from './txn/engine.js'
import { finish, followedBy, type Outcome, Remaining, type Steps } from './txn/outcome.js'
import { OVERFLOW_BYTES, OverflowWriter } from './txn/overflow.js'
import { RangeScan, Want } from './txn/range-scan.js'
import type { WaitPolicy } from './txn/row-locks.js'
import { needsOverflow } from './txn/row-writer.js'
import type { TableStore } from './txn/table-store.js'
import { markOf, type Trx } from './txn/trx.js'
import { undoInSlices } from './undoing.js'

/** What an insert does when a row with the same key, or the same key in a unique index, is there. */
export type OnDuplicate<Row = unknown> =
  /** Leave the row that is there (INSERT IGNORE). */
  | 'ignore'
  /** Delete every row in the way, then insert (REPLACE). */
  | 'replace'
  /** Change the row that is there (ON DUPLICATE KEY UPDATE). */
  | ((old: Row) => Row)

/** What the statements of a transaction take beside the row. */
export interface StatementOptions {
  onDuplicate: OnDuplicate | undefined
  /** Told each row that is removed to make place for a new one. */
  onReplaced: ((row: never) => void) | undefined
  policy: WaitPolicy
  /** Auto-increment values of a statement that inserts several rows, or a stream; undefined for a row alone. */
  values: StatementValues | undefined
}

export const PLAIN: StatementOptions = { onDuplicate: undefined, onReplaced: undefined, policy: 'wait', values: undefined }

/**
 * The statements that work on one row, found by its key. What need not wait happens in the call; what has to, in the steps returned.
 *
 * Where a statement has parts after a wait, they are written once, as a function that either path calls.
 */
export class RowStatements {
  readonly autoIncrement: AutoIncrement
  readonly #engine: Engine
  readonly #entry: KeyBuffer = new KeyBuffer()
  /** Buffers at rest, for keys that are needed after user code has run. */
  readonly #keys: KeyBuffer[] = []

  constructor(engine: Engine, autoIncrement: AutoIncrement) {
    this.#engine = engine
    this.autoIncrement = autoIncrement
  }

  /** Returns the row's key; undefined if it was left out for a row in the way; the key of the row changed instead. */
  insert(trx: Trx, table: TableStore, row: unknown, key: unknown, options: StatementOptions): Outcome<unknown> {
    this.#engine.mustWrite()
    if (options !== PLAIN || table.definition.autoIncrement) return new Remaining(this.#insertInSteps(trx, table, row, key, options))
    const stored = this.prepare(table, row, key)
    const result = this.#keyOf(table)
    if (this.isLong) return new Remaining(this.#insertLong(trx, table, stored, result))
    const inserted = this.#engine.writer.insert(trx, table, stored, false)
    return inserted instanceof Remaining ? new Remaining(followedBy(inserted.steps, result)) : result
  }

  *#insertLong(trx: Trx, table: TableStore, stored: unknown, result: unknown): Steps<unknown> {
    yield* this.placeLong(trx, table)
    yield* finish(this.#engine.writer.insert(trx, table, stored, false))
    return result
  }

  *#insertInSteps(trx: Trx, table: TableStore, row: unknown, key: unknown, options: StatementOptions): Steps<unknown> {
    const { mayWait } = trx
    if (options.policy === 'nowait') trx.mayWait = false
    try {
      return yield* this.#insert(trx, table, row, key, options)
    } finally {
      trx.mayWait = mayWait
    }
  }

  *#insert(trx: Trx, table: TableStore, row: unknown, key: unknown, options: StatementOptions): Steps<unknown> {
    const { writer, pager } = this.#engine
    const { onDuplicate, values } = options
    const exclusive = onDuplicate !== undefined && onDuplicate !== 'ignore'
    const { autoIncrement } = table.definition
    const valueBefore = values === undefined ? 0 : values.next
    let generated = 0
    let given = row
    let keyGiven = key
    pager.beginOperation()
    if (autoIncrement && needsKey(table, row, key)) {
      if (this.autoIncrement.mustLock(table, isSimple(values))) yield* this.autoIncrement.lock(trx, table)
      generated = this.autoIncrement.generate(table, values)
      if (table.keyPaths === null) keyGiven = generated
      else given = { ...(row as object), [table.definition.key as string]: generated }
    }
    for (;;) {
      const stored = this.prepare(table, given, keyGiven)
      const inserted = this.#keyOf(table)
      if (autoIncrement) this.autoIncrement.trying(table, inserted, values)
      const mark = markOf(trx)
      try {
        if (this.isLong) yield* this.placeLong(trx, table)
        yield* finish(writer.insert(trx, table, stored, exclusive))
      } catch (caught) {
        if (!(caught instanceof DuplicateKeyError)) throw caught
        const counts = autoIncrement && (onDuplicate === 'replace' || !isSimple(values))
        if (onDuplicate === undefined && !counts) throw caught
        // The insert got as far as the index with the duplicate: what it did before goes (K5), leaving gap locks (R4 of rollback).
        yield* undoInSlices(this.#engine, trx, mark)
        if (counts) yield* this.autoIncrement.moveLocked(trx, table, inserted, isSimple(values))
        if (onDuplicate === undefined) throw caught
        if (onDuplicate === 'replace') {
          // A row is not replaced by one that was to be new.
          if (generated !== 0 && caught.index === 'PRIMARY') throw caught
          if (!(yield* this.#replaceDuplicate(trx, table, caught, given, keyGiven, options))) continue
          return inserted
        }
        values?.giveBack(valueBefore, generated)
        if (onDuplicate === 'ignore') return undefined
        yield* finish(this.#change(trx, table, caught.existing, onDuplicate as (row: unknown) => unknown, 'wait', options))
        return caught.existing
      }
      if (autoIncrement && !this.autoIncrement.tryMove(table, inserted, generated, values))
        yield* this.autoIncrement.moveLocked(trx, table, inserted, isSimple(values))
      return inserted
    }
  }

  /** REPLACE: the row in the way becomes the new one, or, while more unique indexes follow, is deleted, and the insert tried again. */
  *#replaceDuplicate(
    trx: Trx,
    table: TableStore,
    duplicate: DuplicateKeyError,
    row: unknown,
    key: unknown,
    options: StatementOptions,
  ): Steps<boolean> {
    const { writer, reader } = this.#engine
    this.#encodeKey(table, duplicate.existing)
    if ((yield* finish(writer.lock(trx, table, LockMode.X, 'wait'))) !== true) return false
    const old = writer.key.toBytes()
    options.onReplaced?.(reader.get(table, writer.key, 'newest') as never)
    const unique = table.indexes.filter((index) => index.definition.unique && index.build === undefined)
    const last = unique.at(-1)?.definition.name ?? 'PRIMARY'
    if (duplicate.index !== last) {
      writer.key.set(old, 0, old.length)
      yield* finish(writer.delete(trx, table))
      return false
    }
    yield* finish(this.store(trx, table, old, old.length, row, key, options))
    return true
  }

  /** Inserts the row, or replaces the one with the same key. Returns the key. */
  put(trx: Trx, table: TableStore, row: unknown, key: unknown): Outcome<unknown> {
    this.#engine.mustWrite()
    if (table.definition.autoIncrement) return new Remaining(this.#putInSteps(trx, table, row, key))
    const stored = this.prepare(table, row, key)
    const result = this.#keyOf(table)
    if (this.isLong) return new Remaining(this.#putLong(trx, table, stored, result))
    const { writer } = this.#engine
    const inserted = writer.insertUnlessThere(trx, table, stored, true)
    const done = inserted === true ? undefined : inserted === false ? writer.update(trx, table, stored, false) : inserted
    if (!(done instanceof Remaining)) return result
    return new Remaining(inserted === false ? followedBy(done.steps, result) : this.#putLater(trx, table, stored, result, inserted))
  }

  *#putLong(trx: Trx, table: TableStore, stored: unknown, result: unknown): Steps<unknown> {
    yield* this.placeLong(trx, table)
    return yield* this.#putLater(trx, table, stored, result, this.#engine.writer.insertUnlessThere(trx, table, stored, true))
  }

  *#putLater(trx: Trx, table: TableStore, stored: unknown, result: unknown, inserted: Outcome<boolean>): Steps<unknown> {
    if (!(yield* finish(inserted))) yield* finish(this.#engine.writer.update(trx, table, stored, false))
    return result
  }

  /** With a generated key, which may have to be waited for, or one that moves the counter. */
  *#putInSteps(trx: Trx, table: TableStore, row: unknown, key: unknown): Steps<unknown> {
    const { writer } = this.#engine
    let generated = 0
    let given = row
    let keyGiven = key
    if (needsKey(table, row, key)) {
      if (this.autoIncrement.mustLock(table, true)) yield* this.autoIncrement.lock(trx, table)
      generated = this.autoIncrement.generate(table, undefined)
      if (table.keyPaths === null) keyGiven = generated
      else given = { ...(row as object), [table.definition.key as string]: generated }
    }
    const stored = this.prepare(table, given, keyGiven)
    const result = this.#keyOf(table)
    this.autoIncrement.trying(table, result, undefined)
    if (this.isLong) yield* this.placeLong(trx, table)
    yield* this.#putLater(trx, table, stored, result, writer.insertUnlessThere(trx, table, stored, true))
    if (!this.autoIncrement.tryMove(table, result, generated, undefined)) yield* this.autoIncrement.moveLocked(trx, table, result, true)
    return result
  }

  /** Changes the row with this key: by the fields of a patch, or to what the function makes of it. False if there is none. */
  update(trx: Trx, table: TableStore, key: unknown, change: object | ((row: never) => unknown), policy: WaitPolicy): Outcome<boolean> {
    this.#engine.mustWrite()
    if (typeof change !== 'function') mustBePatch(table, change)
    const apply = typeof change === 'function' ? (change as (row: unknown) => unknown) : (old: unknown) => patched(table, old, change)
    return this.#change(trx, table, key, apply, policy, undefined)
  }

  /** `insert`: the options of the insert that met the row instead of adding one; undefined for an update. */
  #change(
    trx: Trx,
    table: TableStore,
    key: unknown,
    apply: (row: unknown) => unknown,
    policy: WaitPolicy,
    insert: StatementOptions | undefined,
  ): Outcome<boolean> {
    this.#encodeKey(table, key)
    const locked = this.#engine.writer.lock(trx, table, LockMode.X, policy)
    if (locked instanceof Remaining) return new Remaining(this.#changeLater(trx, table, key, apply, insert, locked.steps))
    return locked === true ? this.#changeLocked(trx, table, key, apply, insert) : false
  }

  *#changeLater(
    trx: Trx,
    table: TableStore,
    key: unknown,
    apply: (row: unknown) => unknown,
    insert: StatementOptions | undefined,
    locked: Steps<boolean | undefined>,
  ): Steps<boolean> {
    return (yield* locked) === true ? yield* finish(this.#changeLocked(trx, table, key, apply, insert)) : false
  }

  /** The same for the row on which the clustered tree stands. */
  #changeLocked(
    trx: Trx,
    table: TableStore,
    key: unknown,
    apply: (row: unknown) => unknown,
    insert: StatementOptions | undefined,
  ): Outcome<boolean> {
    const { writer } = this.#engine
    // User code runs in between, which may use the writer's own buffer.
    const old = this.#keys.pop() ?? new KeyBuffer()
    old.set(writer.key.bytes, 0, writer.key.length)
    const stored = this.store(trx, table, old.bytes, old.length, apply(this.#rowAtHand(table)), key, insert)
    if (stored instanceof Remaining) return new Remaining(followedBy(stored.steps, true))
    this.#keys.push(old)
    return true
  }

  /** The row on which the clustered tree stands, as it is now. */
  #rowAtHand(table: TableStore): unknown {
    const { valueOffset, valueLength } = table.clustered
    return this.#engine.reader.decodeRecord(table, valueOffset, valueOffset + valueLength)
  }

  /** Puts a row in the place of the one at the encoded key `old`, which is locked. Its own key may be another. `insert`: as of #change. */
  store(
    trx: Trx,
    table: TableStore,
    old: Uint8Array,
    oldLength: number,
    row: unknown,
    key: unknown,
    insert: StatementOptions | undefined,
  ): Outcome<void> {
    const { writer } = this.#engine
    const stored = this.prepare(table, row, key)
    const { autoIncrement } = table.definition
    if ((autoIncrement && insert !== undefined) || !writer.key.equals(old, oldLength))
      return new Remaining(this.#storeInSteps(trx, table, old, oldLength, row, key, insert))
    if (this.isLong) return new Remaining(this.#updateLong(trx, table, stored, insert !== undefined))
    return writer.update(trx, table, stored, insert !== undefined)
  }

  *#updateLong(trx: Trx, table: TableStore, stored: unknown, exclusive: boolean): Steps<void> {
    yield* this.placeLong(trx, table)
    yield* finish(this.#engine.writer.update(trx, table, stored, exclusive))
  }

  *#storeInSteps(
    trx: Trx,
    table: TableStore,
    old: Uint8Array,
    oldLength: number,
    row: unknown,
    key: unknown,
    insert: StatementOptions | undefined,
  ): Steps<void> {
    const { writer } = this.#engine
    const { autoIncrement } = table.definition
    const exclusive = insert !== undefined
    let stored = this.prepare(table, row, key)
    const newKey = autoIncrement ? this.#keyOf(table) : undefined
    const moves = !writer.key.equals(old, oldLength)
    if (moves) {
      writer.key.set(old, 0, oldLength)
      yield* finish(writer.delete(trx, table))
      stored = this.prepare(table, row, key)
      if (autoIncrement) this.autoIncrement.trying(table, newKey, undefined)
    }
    if (this.isLong) yield* this.placeLong(trx, table)
    yield* finish(moves ? writer.insert(trx, table, stored, exclusive) : writer.update(trx, table, stored, exclusive))
    if (autoIncrement && (moves || insert !== undefined))
      yield* this.autoIncrement.moveLocked(trx, table, newKey, insert !== undefined && isSimple(insert.values))
  }

  delete(trx: Trx, table: TableStore, key: unknown, policy: WaitPolicy): Outcome<boolean> {
    this.#engine.mustWrite()
    const { writer } = this.#engine
    this.#encodeKey(table, key)
    const locked = writer.lock(trx, table, LockMode.X, policy)
    if (locked instanceof Remaining) return new Remaining(this.#deleteLater(trx, table, locked.steps))
    if (locked !== true) return false
    const deleted = writer.delete(trx, table)
    return deleted instanceof Remaining ? new Remaining(followedBy(deleted.steps, true)) : true
  }

  *#deleteLater(trx: Trx, table: TableStore, locked: Steps<boolean | undefined>): Steps<boolean> {
    if ((yield* locked) !== true) return false
    yield* finish(this.#engine.writer.delete(trx, table))
    return true
  }

  /** The newest row with this key, locked. */
  get(trx: Trx, table: TableStore, key: unknown, mode: LockMode, policy: WaitPolicy): Outcome<unknown> {
    this.#engine.mustRead()
    this.#encodeKey(table, key)
    const locked = this.#engine.writer.lock(trx, table, mode, policy)
    if (locked instanceof Remaining) return new Remaining(this.#getLater(table, locked.steps))
    return locked === true ? this.#rowAtHand(table) : undefined
  }

  *#getLater(table: TableStore, locked: Steps<boolean | undefined>): Steps<unknown> {
    return (yield* locked) === true ? this.#rowAtHand(table) : undefined
  }

  /** Sets the next auto-increment value, but not to one that is in use. Waits until nobody else has changed the table. */
  setAutoIncrement(trx: Trx, table: TableStore, next: number): Outcome<void> {
    this.#engine.mustWrite()
    return new Remaining(this.#setAutoIncrement(trx, table, next))
  }

  *#setAutoIncrement(trx: Trx, table: TableStore, next: number): Steps<void> {
    yield* this.#engine.rowLocks.table(trx, table.id, TableLock.X)
    this.#engine.pager.beginOperation()
    this.#engine.setCounter(table, Math.max(next, largestKey(this.#engine, table) + 1))
  }

  #encodeKey(table: TableStore, key: unknown): void {
    encodeTableKey(table, key, this.#engine.writer.key)
  }

  /**
   * Encodes a row and its key into the writer's scratch, and tries every index key of it, so that bad input fails here. Keys are
   * taken from what the stored bytes decode to (D5), which is returned where something needs it.
   */
  prepare(table: TableStore, row: unknown, key: unknown): unknown {
    const { codec, keyPaths } = table
    const { writer, pager } = this.#engine
    // Whatever the row makes raise, it is raised before this step has changed anything.
    pager.beginOperation()
    if (row === undefined)
      throw new InvalidArgumentError(`a value to store in table '${table.name}' is missing`, undefined, 'ERR_INVALID_ROW')
    codec.encode(row)
    const { image } = writer
    image.bytes = codec.bytes
    image.start = codec.start
    image.end = codec.end
    image.ascii = codec.ascii
    image.chain = NO_PAGE
    if (table.indexes.length === 0 && this.#takeKeyAlone(table, key)) return undefined
    const stored = codec.decode(codec.bytes, codec.start, codec.end, codec.ascii)
    if (keyPaths === null) this.#encodeKey(table, key)
    else {
      writer.key.reset()
      keyPaths.appendPrimaryKey(stored, writer.key)
    }
    for (const index of table.indexes) if (index.build === undefined) index.encodeEntry(stored, writer.key, this.#entry)
    return stored
  }

  /** Where nothing else is needed of what the stored bytes decode to. False: the key is not to be had alone. */
  #takeKeyAlone({ codec, keyPaths, shape }: TableStore, key: unknown): boolean {
    const target = this.#engine.writer.key
    if (keyPaths === null) {
      encodeShaped(key, shape, target)
      return true
    }
    const value = keyPaths.field === null ? null : (codec.decodeField(keyPaths.field) ?? null)
    if (value === null) return false
    target.reset()
    keyPaths.appendPrimaryValue(value, target)
    return true
  }

  /** Whether the row prepared is too long for a leaf and is to be placed in an overflow chain first. */
  get isLong(): boolean {
    const { image, key } = this.#engine.writer
    return image.chain === NO_PAGE && needsOverflow(key.length, image.end - image.start)
  }

  /** Writes the chain, in slices: what was prepared is kept meanwhile, for the scratch is everybody's. */
  *placeLong(trx: Trx, table: TableStore): Steps<void> {
    const { pager, writer, system, rowLocks } = this.#engine
    const { image } = writer
    const inSlices = trx.inSlices && image.end - image.start > PAGES_PER_SLICE * OVERFLOW_BYTES
    const bytes = inSlices ? image.bytes.slice(image.start, image.end) : image.bytes
    const start = inSlices ? 0 : image.start
    const end = inSlices ? bytes.length : image.end
    const key = inSlices ? writer.key.toBytes() : undefined
    system.startWriting(trx)
    pager.beginOperation()
    const chain = new OverflowWriter(pager, table.definition.tree, bytes, start, end)
    writer.noteChain(trx, chain.firstExtent)
    while (!chain.step(inSlices ? PAGES_PER_SLICE : Number.POSITIVE_INFINITY)) yield* rowLocks.pause(trx)
    if (key !== undefined) writer.key.set(key, 0, key.length)
    image.bytes = bytes
    image.start = start
    image.end = end
    image.chain = chain.firstExtent
  }

  /** The key prepared, as users see it. */
  #keyOf(table: TableStore): unknown {
    return this.#engine.reader.decodePrimaryKey(table, this.#engine.writer.key)
  }
}

/** 1 MiB. */
const PAGES_PER_SLICE = 64

/** An insert of rows whose number is known; a stream is not (D14). */
function isSimple(values: StatementValues | undefined): boolean {
  return values === undefined || values.rows > 0
}

/** The largest number among a table's keys, rounded down; 0 if there is none above. */
function largestKey({ pager, reader }: Engine, table: TableStore): number {
  const keys: unknown[] = []
  const range = encodeRange({ gte: 0, lte: Number.MAX_VALUE }, table.shape)
  new RangeScan(pager, reader, table, undefined, range, true, Want.PrimaryKeys, 'newest').fill(keys, 1, true)
  return keys.length === 0 ? 0 : Math.floor(Number(keys[0]))
}

/** Encodes a primary key as users write it. */
export function encodeTableKey(table: TableStore, key: unknown, target: KeyBuffer): void {
  encodeShaped(key, table.shape, target)
}

function mustBePatch(table: TableStore, patch: unknown): void {
  if (typeof patch !== 'object' || patch === null || Array.isArray(patch)) {
    throw new InvalidArgumentError(
      `update() of table '${table.name}' takes an object of fields to change, or a function, not ${describe(patch)}`,
    )
  }
}

function patched(table: TableStore, old: unknown, patch: object): unknown {
  if (typeof old !== 'object' || old === null || old instanceof Uint8Array || Array.isArray(old)) {
    throw new InvalidArgumentError(
      `the value in table '${table.name}' is ${describe(old)}, which has no fields to change: give update() a function`,
      undefined,
      'ERR_INVALID_ROW',
    )
  }
  return { ...old, ...patch }
}
