import { decodeCompound, decodeKey, KeyBuffer } from './codec/key-encoding.js'
import { LockMode } from './lock/lock-modes.js'
import { RowStatements } from './row-statements.js'
import { AutoIncrement, type AutoIncrementLockMode } from './txn/auto-increment.js'
import type { Engine } from './txn/engine.js'
import { Advance, LockingScan, type ScanRequest } from './txn/locking-scan.js'
import { finish, type Outcome, type Steps } from './txn/outcome.js'
import { Want } from './txn/range-scan.js'
import { decodeTableKey } from './txn/row-reader.js'
import { Slice } from './txn/slice.js'
import { markOf, type Trx, type UndoMark } from './txn/trx.js'
import { undoInSlices } from './undoing.js'

/** Rows that a locking range statement works on. */
export type Target = Omit<ScanRequest, 'changes' | 'semiConsistent' | 'mode' | 'covering'>

/**
 * The statements, each atomic: whatever is raised inside, the statement is undone and the transaction goes on. They are steps that may
 * wait for locks; what users' calls, in all three forms, come down to.
 */
export class Statements {
  readonly #engine: Engine
  readonly autoIncrement: AutoIncrement
  /** Those that work on one row. */
  readonly rows: RowStatements
  readonly #entry: KeyBuffer = new KeyBuffer()

  constructor(engine: Engine, autoIncrementLockMode: AutoIncrementLockMode) {
    this.#engine = engine
    this.autoIncrement = new AutoIncrement(engine, autoIncrementLockMode)
    this.rows = new RowStatements(engine, this.autoIncrement)
  }

  /** Begins a statement of a transaction: the point to which an error undoes it. */
  mark(trx: Trx): UndoMark {
    this.#engine.pager.beginOperation()
    return markOf(trx)
  }

  /** Undoes a statement in which this was raised; returns what its caller is told. */
  *undo(trx: Trx, mark: UndoMark, caught: unknown): Steps<unknown> {
    const error = this.#engine.judge(caught)
    if (this.#engine.broken === undefined) yield* undoInSlices(this.#engine, trx, mark)
    return error
  }

  /** Does the same to one thing after another, in slices. */
  *each<R>(trx: Trx, things: readonly R[], work: (thing: R) => Outcome<unknown>): Steps<unknown[]> {
    const { rowLocks, environment } = this.#engine
    const slice = new Slice(environment.clock)
    const results: unknown[] = []
    for (const thing of things) {
      results.push(yield* finish(work(thing)))
      if (trx.inSlices && slice.isOver()) yield* rowLocks.pause(trx)
    }
    return results
  }

  /** Ends a statement, however it went. */
  end(trx: Trx): void {
    trx.owner.inheritsAll = false
    if (trx.streams === 0) this.autoIncrement.release(trx)
  }

  /** Begins a statement that is a transaction by itself. What it raises is judged in the turn in which it does: later the flags are of other operations. */
  begin<T>(trx: Trx, statement: (trx: Trx) => Outcome<T>): Outcome<T> {
    try {
      return statement(trx)
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

  /** Rows, or keys alone, of a range, locked. */
  *collect(trx: Trx, target: Target, mode: LockMode, want: Want): Steps<unknown[]> {
    this.#engine.mustRead()
    const scan = this.#scan(trx, { ...target, mode, covering: isCovering(target, want), changes: false, semiConsistent: false })
    const out: unknown[] = []
    const slice = new Slice(this.#engine.environment.clock)
    yield* scan.begin()
    for (let step = scan.advance(); step !== Advance.End; step = scan.advance()) {
      if (step === Advance.Found) out.push(resultOf(scan, target, want))
      else yield* scan.wait()
      if (!trx.inSlices || !slice.isOver()) continue
      scan.rest()
      yield* this.#engine.rowLocks.pause(trx)
    }
    return out
  }

  /** How many rows or entries of a range there are, locked as `collect` of the keys locks them. */
  *count(trx: Trx, target: Target, mode: LockMode): Steps<number> {
    this.#engine.mustRead()
    const scan = this.#scan(trx, { ...target, mode, covering: isCovering(target, Want.Keys), changes: false, semiConsistent: false })
    let count = 0
    yield* scan.begin()
    for (let step = scan.advance(); step !== Advance.End; step = scan.advance()) {
      if (step === Advance.Found) count++
      else yield* scan.wait()
    }
    return count
  }

  /** As `collect`, a row at a time. */
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
    const { writer, rowLocks, environment } = this.#engine
    const { table, index } = target
    const slice = new Slice(environment.clock)
    const scan = this.#scan(trx, { ...target, mode: LockMode.X, covering: false, changes: true, semiConsistent: true })
    // A row that moves in the index being scanned is changed when the scan is over: it must not be met again (Halloween).
    const moving: [key: Uint8Array, row: unknown, keyBeside: unknown][] = []
    let count = 0
    for (; yield* nextOf(scan); count++) {
      const key = scan.key.toBytes()
      const entry = scan.entryKey.toBytes()
      const row = change(scan.row as never)
      const keyBeside = table.keyPaths === null ? decodeTableKey(table, key, 0, key.length) : undefined
      const stored = this.rows.prepare(table, row, keyBeside)
      if (index !== undefined) index.encodeEntry(stored, writer.key, this.#entry)
      if (!writer.key.equals(key, key.length) || (index !== undefined && !this.#entry.equals(entry, entry.length)))
        moving.push([key, row, keyBeside])
      else {
        if (this.rows.isLong) yield* this.rows.placeLong(trx, table)
        yield* finish(writer.update(trx, table, stored, false))
      }
      if (trx.inSlices && slice.isOver()) yield* rowLocks.pause(trx)
    }
    yield* this.each(trx, moving, ([key, row, keyBeside]) => this.rows.store(trx, table, key, key.length, row, keyBeside, undefined))
    return count
  }

  /** Deletes every matching row; returns how many there were. */
  *deleteRange(trx: Trx, target: Target): Steps<number> {
    this.#engine.mustWrite()
    const { writer, rowLocks, environment } = this.#engine
    const scan = this.#scan(trx, { ...target, mode: LockMode.X, covering: false, changes: true, semiConsistent: false })
    const slice = new Slice(environment.clock)
    let count = 0
    for (; yield* nextOf(scan); count++) {
      writer.key.set(scan.key.bytes, 0, scan.key.length)
      yield* finish(writer.delete(trx, target.table))
      if (trx.inSlices && slice.isOver()) yield* rowLocks.pause(trx)
    }
    return count
  }

  #scan(trx: Trx, request: ScanRequest): LockingScan {
    const { pager, reader, rowLocks } = this.#engine
    return new LockingScan(pager, reader, rowLocks, trx, request)
  }
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
