import { AsyncLocalStorage } from 'node:async_hooks'
import { NextkeyError } from '../../src/base/errors.js'
import { decodeKey } from '../../src/codec/key-decoding.js'
import type { Database } from '../../src/database.js'
import { COMMIT_HEADER } from '../../src/txn/log-records.js'
import { readRedo } from '../../src/txn/redo-buffer.js'
import type { Trx } from '../../src/txn/trx.js'

/** Told of the commits of its context. */
export interface CommitListener {
  /** It is appended to the log, and visible; `lastKey` gives the key of the last row it wrote. */
  appended(lastKey: () => unknown): void
  /** It waits for a checkpoint, and is not in the log: it is big. */
  waits(): void
  /** The checkpoint is complete: it is visible, and on disk. */
  visible(): void
}

/**
 * The order of commits in the log, learnt where it is made: at the very call that appends them. Whose commit it is follows from the
 * asynchronous context of that call. A commit that leaves no trace in the log is not told.
 */
export class CommitOrder {
  readonly #listener: AsyncLocalStorage<CommitListener> = new AsyncLocalStorage()
  readonly #waiting: WeakMap<Trx, CommitListener> = new WeakMap()

  constructor({ engine }: Database) {
    const commit = engine.commit.bind(engine)
    const commitByCheckpoint = engine.commitByCheckpoint.bind(engine)
    const commitByCheckpointSync = engine.commitByCheckpointSync.bind(engine)
    engine.commit = (trx) => {
      if (trx.redo.isEmpty) return commit(trx)
      const { bytes, length } = trx.redo
      const appended = (): void => this.#listener.getStore()?.appended(() => lastKeyIn(bytes, length))
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
    engine.commitByCheckpoint = (trx) => {
      this.#begin(trx)
      return commitByCheckpoint(trx)
    }
    engine.commitByCheckpointSync = (trx) => {
      this.#begin(trx)
      commitByCheckpointSync(trx)
    }
    const finishCommit = engine.system.finishCommit.bind(engine.system)
    engine.system.finishCommit = (trx) => {
      finishCommit(trx)
      this.#waiting.get(trx)?.visible()
    }
  }

  /** Runs `work`; the listener is told of the commits that it, and what it awaits, leads to. */
  watch<T>(listener: CommitListener, work: () => T): T {
    return this.#listener.run(listener, work)
  }

  #begin(trx: Trx): void {
    const listener = this.#listener.getStore()
    if (listener === undefined) return
    this.#waiting.set(trx, listener)
    listener.waits()
  }
}

function lastKeyIn(bytes: Uint8Array, length: number): unknown {
  let from = 0
  let to = 0
  const note = (_table: number, _bytes: Uint8Array, keyStart: number, keyEnd: number): void => {
    from = keyStart
    to = keyEnd
  }
  readRedo(bytes, COMMIT_HEADER, length, { put: note, delete: note })
  return decodeKey(bytes, from, to)
}
