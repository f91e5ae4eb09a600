import { NextkeyError } from '../../src/base/errors.js'
import { decodeKey } from '../../src/codec/key-decoding.js'
import type { Database } from '../../src/database.js'
import { CATALOG_TABLE } from '../../src/txn/catalog.js'
import { COMMIT_HEADER } from '../../src/txn/log-records.js'
import { readRedo } from '../../src/txn/redo-buffer.js'
import { type Trx, TrxState } from '../../src/txn/trx.js'

/** Told what becomes of a transaction's commit. */
export interface CommitListener {
  /** It is appended to the log, and visible; `lastKey` gives the key of the last row it wrote. */
  appended(lastKey: () => unknown): void
  /** It waits for a checkpoint, and is not in the log: it is big. */
  waits(): void
  /** The checkpoint is complete: it is visible, and on disk. */
  visible(): void
}

/**
 * The order of commits in the log, learnt where it is made: at the very call that appends them. A commit that leaves no trace in the
 * log is not told.
 */
export class CommitOrder {
  readonly #listeners: WeakMap<Trx, CommitListener> = new WeakMap()
  /** Whose call is being made. */
  #listener: CommitListener | undefined
  /** By table: who waits for its row in the catalogue to change. */
  readonly #ofSchema: Map<string, CommitListener> = new Map()

  constructor({ engine }: Database) {
    const begin = engine.begin.bind(engine)
    engine.begin = (isolation) => {
      const trx = begin(isolation)
      if (this.#listener !== undefined) this.#listeners.set(trx, this.#listener)
      return trx
    }
    const commit = engine.commit.bind(engine)
    engine.commit = (trx) => {
      if (trx.redo.isEmpty) return commit(trx)
      const { bytes, length } = trx.redo
      const listener = this.#listeners.get(trx) ?? this.#ofSchemaChange(bytes, length)
      const appended = (): void => listener?.appended(() => lastKeyIn(bytes, length))
      try {
        const position = commit(trx)
        appended()
        return position
      } catch (error) {
        // It may be in the log all the same.
        if (error instanceof NextkeyError && error.code === 'ERR_COMMIT_UNKNOWN') appended()
        throw error
      }
    }
    const commitByCheckpoint = engine.commitByCheckpoint.bind(engine)
    engine.commitByCheckpoint = (trx) => {
      this.#listeners.get(trx)?.waits()
      return commitByCheckpoint(trx)
    }
    const commitByCheckpointSync = engine.commitByCheckpointSync.bind(engine)
    engine.commitByCheckpointSync = (trx) => {
      this.#listeners.get(trx)?.waits()
      commitByCheckpointSync(trx)
    }
    const finishCommit = engine.system.finishCommit.bind(engine.system)
    engine.system.finishCommit = (trx) => {
      const big = trx.state === TrxState.Committing
      finishCommit(trx)
      if (big) this.#listeners.get(trx)?.visible()
    }
  }

  /** The listener is told of the next commit that changes the row of this table in the catalogue: schema changes wait before they begin. */
  watchSchema(table: string, listener: CommitListener): void {
    this.#ofSchema.set(table, listener)
  }

  /** The change did not come to a commit, or has been told of. */
  forgetSchema(table: string): void {
    this.#ofSchema.delete(table)
  }

  #ofSchemaChange(bytes: Uint8Array, length: number): CommitListener | undefined {
    if (this.#ofSchema.size === 0) return undefined
    let found: CommitListener | undefined
    eachRowIn(bytes, length, (table, key) => {
      if (table !== CATALOG_TABLE.id) return
      found ??= this.#ofSchema.get(key as string)
      this.#ofSchema.delete(key as string)
    })
    return found
  }

  /** Makes a call that begins a transaction in the same turn; the listener is told of its commit. */
  watch<T>(listener: CommitListener, call: () => T): T {
    this.#listener = listener
    try {
      return call()
    } finally {
      this.#listener = undefined
    }
  }
}

function lastKeyIn(bytes: Uint8Array, length: number): unknown {
  let key: unknown
  eachRowIn(bytes, length, (_table, itsKey) => {
    key = itsKey
  })
  return key
}

function eachRowIn(bytes: Uint8Array, length: number, visit: (table: number, key: unknown) => void): void {
  const row = (table: number, _bytes: Uint8Array, keyStart: number, keyEnd: number): void =>
    visit(table, decodeKey(bytes, keyStart, keyEnd))
  readRedo(bytes, COMMIT_HEADER, length, { put: row, delete: row })
}
