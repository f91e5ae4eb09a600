import { DuplicateKeyError, describe, InvalidArgumentError } from './base/errors.js'
import { NO_PAGE } from './base/ids.js'
import { decodeCompound, decodeKey, KeyBuffer } from './codec/key-encoding.js'
import { LockMode, TableLock } from './lock/lock-modes.js'
import type { LockRequest } from './lock/lock-request.js'
import { encodeRange, encodeShaped } from './range.js'
import { AutoIncrement, type AutoIncrementLockMode, needsKey, type StatementValues } from './txn/auto-increment.js'
import type { Engine } from './txn/engine.js'
import { Advance, LockingScan, type ScanRequest } from './txn/locking-scan.js'
import { OverflowWriter } from './txn/overflow.js'
import { RangeScan, Want } from './txn/range-scan.js'
import type { Steps, WaitPolicy } from './txn/row-locks.js'
import { decodeTableKey } from './txn/row-reader.js'
import { needsOverflow } from './txn/row-writer.js'
import type { TableStore } from './txn/table-store.js'
import { markOf, type Trx, type UndoMark } from './txn/trx.js'

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

/** Rows that a locking range statement works on. */
export type Target = Omit<ScanRequest, 'changes' | 'semiConsistent' | 'mode' | 'covering'>

/**
 * The statements, each atomic: whatever is raised inside, the statement is undone and the transaction goes on. They are steps that may
 * wait for locks; what users' calls, in all three forms, come down to.
 */
export class Statements {
  readonly #engine: Engine
  readonly autoIncrement: AutoIncrement
  readonly #entry: KeyBuffer = new KeyBuffer()

  constructor(engine: Engine, autoIncrementLockMode: AutoIncrementLockMode) {
    this.#engine = engine
    this.autoIncrement = new AutoIncrement(engine, autoIncrementLockMode)
  }

  /** Begins a statement of a transaction: the point to which an error undoes it. */
  mark(trx: Trx): UndoMark {
    this.#engine.pager.beginOperation()
    return markOf(trx)
  }

  /** Undoes a statement in which this was raised; returns what its caller is told. */
  undo(trx: Trx, mark: UndoMark, caught: unknown): unknown {
    const error = this.#engine.judge(caught)
    if (this.#engine.broken === undefined) this.#engine.undoTo(trx, mark)
    return error
  }

  /** Ends a statement, however it went. */
  end(trx: Trx): void {
    trx.owner.inheritsAll = false
    if (trx.streams === 0) this.autoIncrement.release(trx)
  }

  /** Begins a statement that is a transaction by itself. What it raises is judged in the turn in which it does: later the flags are of other operations. */
  begin<T>(steps: Steps<T>): IteratorResult<LockRequest, T> {
    try {
      return steps.next()
    } catch (caught) {
      throw this.#engine.judge(caught)
    }
  }

  /** The same for what remains of it after a wait. */
  *judged<T>(steps: Steps<T>): Steps<T> {
    try {
      return yield* steps
    } catch (caught) {
      throw this.#engine.judge(caught)
    }
  }

  /** Returns the row's key; undefined if it was left out for a row in the way; the key of the row changed instead. */
  *insert(trx: Trx, table: TableStore, row: unknown, key: unknown, options: StatementOptions): Steps<unknown> {
    this.#engine.mustWrite()
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
      const stored = this.#prepare(table, given, keyGiven)
      const inserted = this.#keyOf(table)
      if (autoIncrement) this.autoIncrement.trying(table, inserted, values)
      const mark = markOf(trx)
      try {
        this.#place(trx, table)
        yield* writer.insert(trx, table, stored, exclusive)
      } catch (caught) {
        if (!(caught instanceof DuplicateKeyError)) throw caught
        const counts = autoIncrement && (onDuplicate === 'replace' || !isSimple(values))
        if (onDuplicate === undefined && !counts) throw caught
        // The insert got as far as the index with the duplicate: what it did before goes (K5), leaving gap locks (R4 of rollback).
        this.#engine.undoTo(trx, mark)
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
        yield* this.#change(trx, table, caught.existing, onDuplicate as (row: unknown) => unknown, 'wait', options)
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
    if ((yield* writer.lock(trx, table, LockMode.X, 'wait')) !== true) return false
    const old = writer.key.toBytes()
    options.onReplaced?.(reader.get(table, writer.key, 'newest') as never)
    const unique = table.indexes.filter((index) => index.definition.unique && index.build === undefined)
    const last = unique.at(-1)?.definition.name ?? 'PRIMARY'
    if (duplicate.index !== last) {
      writer.key.set(old, 0, old.length)
      yield* writer.delete(trx, table)
      return false
    }
    yield* this.#store(trx, table, old, row, key, options)
    return true
  }

  /** Inserts the row, or replaces the one with the same key. Returns the key. */
  *put(trx: Trx, table: TableStore, row: unknown, key: unknown): Steps<unknown> {
    this.#engine.mustWrite()
    const { writer } = this.#engine
    const { autoIncrement } = table.definition
    let generated = 0
    let given = row
    let keyGiven = key
    if (autoIncrement && needsKey(table, row, key)) {
      if (this.autoIncrement.mustLock(table, true)) yield* this.autoIncrement.lock(trx, table)
      generated = this.autoIncrement.generate(table, undefined)
      if (table.keyPaths === null) keyGiven = generated
      else given = { ...(row as object), [table.definition.key as string]: generated }
    }
    const stored = this.#prepare(table, given, keyGiven)
    const result = this.#keyOf(table)
    if (autoIncrement) this.autoIncrement.trying(table, result, undefined)
    this.#place(trx, table)
    if (!(yield* writer.insertUnlessThere(trx, table, stored, true))) yield* writer.update(trx, table, stored, false)
    if (autoIncrement && !this.autoIncrement.tryMove(table, result, generated, undefined))
      yield* this.autoIncrement.moveLocked(trx, table, result, true)
    return result
  }

  /** Changes the row with this key: by the fields of a patch, or to what the function makes of it. False if there is none. */
  *update(trx: Trx, table: TableStore, key: unknown, change: object | ((row: never) => unknown), policy: WaitPolicy): Steps<boolean> {
    this.#engine.mustWrite()
    if (typeof change !== 'function') mustBePatch(table, change)
    const apply = typeof change === 'function' ? (change as (row: unknown) => unknown) : (old: unknown) => patched(table, old, change)
    return yield* this.#change(trx, table, key, apply, policy, undefined)
  }

  /** `insert`: the options of the insert that met the row instead of adding one; undefined for an update. */
  *#change(
    trx: Trx,
    table: TableStore,
    key: unknown,
    apply: (row: unknown) => unknown,
    policy: WaitPolicy,
    insert: StatementOptions | undefined,
  ): Steps<boolean> {
    const { writer, reader } = this.#engine
    this.#encodeKey(table, key)
    if ((yield* writer.lock(trx, table, LockMode.X, policy)) !== true) return false
    const old = writer.key.toBytes()
    yield* this.#store(trx, table, old, apply(reader.get(table, writer.key, 'newest')), key, insert)
    return true
  }

  /** Puts a row in the place of the one at the encoded key `old`, which is locked. Its own key may be another. `insert`: as of #change. */
  *#store(trx: Trx, table: TableStore, old: Uint8Array, row: unknown, key: unknown, insert: StatementOptions | undefined): Steps<void> {
    const { writer } = this.#engine
    const { autoIncrement } = table.definition
    const exclusive = insert !== undefined
    let stored = this.#prepare(table, row, key)
    const newKey = autoIncrement ? this.#keyOf(table) : undefined
    const moves = !sameKey(old, writer.key)
    if (moves) {
      writer.key.set(old, 0, old.length)
      yield* writer.delete(trx, table)
      stored = this.#prepare(table, row, key)
      if (autoIncrement) this.autoIncrement.trying(table, newKey, undefined)
    }
    this.#place(trx, table)
    if (moves) yield* writer.insert(trx, table, stored, exclusive)
    else yield* writer.update(trx, table, stored, exclusive)
    if (autoIncrement && (moves || insert !== undefined))
      yield* this.autoIncrement.moveLocked(trx, table, newKey, insert !== undefined && isSimple(insert.values))
  }

  *delete(trx: Trx, table: TableStore, key: unknown, policy: WaitPolicy): Steps<boolean> {
    this.#engine.mustWrite()
    const { writer } = this.#engine
    this.#encodeKey(table, key)
    if ((yield* writer.lock(trx, table, LockMode.X, policy)) !== true) return false
    yield* writer.delete(trx, table)
    return true
  }

  /** The newest row with this key, locked. */
  *get(trx: Trx, table: TableStore, key: unknown, mode: LockMode, policy: WaitPolicy): Steps<unknown> {
    const { writer, reader } = this.#engine
    this.#engine.mustRead()
    this.#encodeKey(table, key)
    return (yield* writer.lock(trx, table, mode, policy)) === true ? reader.get(table, writer.key, 'newest') : undefined
  }

  /** Rows, or keys alone, of a range, locked. */
  *collect(trx: Trx, target: Target, mode: LockMode, want: Want): Steps<unknown[]> {
    this.#engine.mustRead()
    const scan = this.#scan(trx, { ...target, mode, covering: isCovering(target, want), changes: false, semiConsistent: false })
    const out: unknown[] = []
    yield* scan.begin()
    for (let step = scan.advance(); step !== Advance.End; step = scan.advance()) {
      if (step === Advance.Found) out.push(resultOf(scan, target, want))
      else yield* scan.wait()
    }
    return out
  }

  /** The same, a row at a time. */
  oneByOne(trx: Trx, target: Target, mode: LockMode, want: Want): { next(): Steps<IteratorResult<unknown, undefined>> } {
    const scan = this.#scan(trx, { ...target, mode, covering: isCovering(target, want), changes: false, semiConsistent: false })
    return {
      *next(): Steps<IteratorResult<unknown, undefined>> {
        return (yield* nextOf(scan)) ? { done: false, value: resultOf(scan, target, want) } : { done: true, value: undefined }
      },
    }
  }

  /** Changes every matching row; returns how many there were. */
  *updateRange(trx: Trx, target: Target, change: (row: never) => unknown): Steps<number> {
    this.#engine.mustWrite()
    const { writer } = this.#engine
    const { table, index } = target
    const scan = this.#scan(trx, { ...target, mode: LockMode.X, covering: false, changes: true, semiConsistent: true })
    // A row that moves in the index being scanned is changed when the scan is over: it must not be met again (Halloween).
    const moving: [key: Uint8Array, row: unknown, keyBeside: unknown][] = []
    let count = 0
    for (; yield* nextOf(scan); count++) {
      const key = scan.key.toBytes()
      const entry = scan.entryKey.toBytes()
      const row = change(scan.row as never)
      const keyBeside = table.keyPaths === null ? decodeTableKey(table, key, 0, key.length) : undefined
      const stored = this.#prepare(table, row, keyBeside)
      if (index !== undefined) index.encodeEntry(stored, writer.key, this.#entry)
      if (!sameKey(key, writer.key) || (index !== undefined && !sameKey(entry, this.#entry))) moving.push([key, row, keyBeside])
      else {
        this.#place(trx, table)
        yield* writer.update(trx, table, stored, false)
      }
    }
    for (const [key, row, keyBeside] of moving) yield* this.#store(trx, table, key, row, keyBeside, undefined)
    return count
  }

  /** Deletes every matching row; returns how many there were. */
  *deleteRange(trx: Trx, target: Target): Steps<number> {
    this.#engine.mustWrite()
    const { writer } = this.#engine
    const scan = this.#scan(trx, { ...target, mode: LockMode.X, covering: false, changes: true, semiConsistent: false })
    let count = 0
    for (; yield* nextOf(scan); count++) {
      writer.key.set(scan.key.bytes, 0, scan.key.length)
      yield* writer.delete(trx, target.table)
    }
    return count
  }

  /** Sets the next auto-increment value, but not to one that is in use. Waits until nobody else has changed the table. */
  *setAutoIncrement(trx: Trx, table: TableStore, next: number): Steps<void> {
    this.#engine.mustWrite()
    yield* this.#engine.rowLocks.table(trx, table.id, TableLock.X)
    this.#engine.pager.beginOperation()
    this.#engine.setCounter(table, Math.max(next, largestKey(this.#engine, table) + 1))
  }

  #scan(trx: Trx, request: ScanRequest): LockingScan {
    const { pager, reader, rowLocks } = this.#engine
    return new LockingScan(pager, reader, rowLocks, trx, request)
  }

  #encodeKey(table: TableStore, key: unknown): void {
    encodeTableKey(table, key, this.#engine.writer.key)
  }

  /**
   * Encodes a row and its key into the writer's scratch, and tries every index key of it, so that bad input fails here. Keys are
   * taken from what the stored bytes decode to (D5), which is returned where something needs it.
   */
  #prepare(table: TableStore, row: unknown, key: unknown): unknown {
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
    image.chain = NO_PAGE
    const stored = keyPaths === null && table.indexes.length === 0 ? undefined : codec.decode(codec.bytes, codec.start, codec.end)
    if (keyPaths === null) this.#encodeKey(table, key)
    else {
      writer.key.reset()
      keyPaths.appendPrimaryKey(stored, writer.key)
    }
    for (const index of table.indexes) if (index.build === undefined) index.encodeEntry(stored, writer.key, this.#entry)
    return stored
  }

  /** A row too long for a leaf goes to an overflow chain first. */
  #place(trx: Trx, table: TableStore): void {
    const { pager, writer, system } = this.#engine
    const { image, key } = writer
    if (image.chain !== NO_PAGE || !needsOverflow(key.length, image.end - image.start)) return
    system.startWriting(trx)
    pager.beginOperation()
    const chain = new OverflowWriter(pager, table.definition.tree, image.bytes, image.start, image.end)
    writer.noteChain(trx, chain.firstExtent)
    chain.step(Number.POSITIVE_INFINITY)
    image.chain = chain.firstExtent
  }

  /** The key prepared, as users see it. */
  #keyOf(table: TableStore): unknown {
    return this.#engine.reader.decodePrimaryKey(table, this.#engine.writer.key)
  }
}

/** An insert of rows whose number is known; a stream is not (D14). */
function isSimple(values: StatementValues | undefined): boolean {
  return values === undefined || values.rows > 0
}

/** Whether entries alone answer a read (S9): keys are asked for, and no condition on the row. */
function isCovering({ where }: Target, want: Want): boolean {
  return where === undefined && (want === Want.Keys || want === Want.PrimaryKeys)
}

/** Goes to the next row, waiting where it must; false when there is none. */
function* nextOf(scan: LockingScan): Steps<boolean> {
  if (!scan.begun) yield* scan.begin()
  for (;;) {
    const step = scan.advance()
    if (step === Advance.Found) scan.rest()
    if (step !== Advance.Wait) return step === Advance.Found
    yield* scan.wait()
  }
}

function resultOf(scan: LockingScan, { table, index }: Target, want: Want): unknown {
  if (want === Want.Values) return scan.row
  const primary = decodeTableKey(table, scan.key.bytes, 0, scan.key.length)
  if (want === Want.PrimaryKeys) return primary
  const { bytes } = scan.entryKey
  const key =
    index === undefined
      ? primary
      : index.definition.on.length === 1
        ? decodeKey(bytes, 0, scan.indexKeyLength)
        : decodeCompound(bytes, 0, scan.indexKeyLength)
  return want === Want.Keys ? key : [key, scan.row]
}

/** The largest number among a table's keys, rounded down; 0 if there is none above. */
function largestKey({ pager, reader }: Engine, table: TableStore): number {
  const keys: unknown[] = []
  const range = encodeRange({ gte: 0, lte: Number.MAX_VALUE }, table.shape)
  new RangeScan(pager, reader, table, undefined, range, true, Want.PrimaryKeys, 'newest').fill(keys, 1)
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

function sameKey(bytes: Uint8Array, key: KeyBuffer): boolean {
  if (bytes.length !== key.length) return false
  for (let at = 0; at < bytes.length; at++) if (bytes[at] !== key.bytes[at]) return false
  return true
}
