import { AsyncLocalStorage } from 'node:async_hooks'
import { NextkeyError } from '../../src/base/errors.js'
import { decodeKey } from '../../src/codec/key-decoding.js'
import type { Database } from '../../src/database.js'
import { COMMIT_HEADER } from '../../src/txn/log-records.js'
import { readRedo } from '../../src/txn/redo-buffer.js'
import type { Trx } from '../../src/txn/trx.js'

/** Told when a commit of its context is appended to the log or, if big, begins to wait for a checkpoint. */
export type CommitListener = (commit: AppendedCommit) => void

export interface AppendedCommit {
  /** It will be in a checkpoint, not in the log. */
  readonly big: boolean
  /** The key of the last row it wrote; undefined for a big one. */
  readonly lastKey: () => unknown
}

/**
 * The order of commits in the log, learnt where it is made: at the very call that appends them. Whose commit it is follows from the
 * asynchronous context of that call. A commit that leaves no trace in the log is not told.
 */
export class CommitOrder {
  readonly #listener: AsyncLocalStorage<CommitListener> = new AsyncLocalStorage()

  constructor({ engine }: Database) {
    const commit = engine.commit.bind(engine)
    const commitByCheckpoint = engine.commitByCheckpoint.bind(engine)
    const commitByCheckpointSync = engine.commitByCheckpointSync.bind(engine)
    engine.commit = (trx) => {
      if (trx.redo.isEmpty) return commit(trx)
      const { bytes, length } = trx.redo
      const lastKey = (): unknown => lastKeyIn(bytes, length)
      try {
        const position = commit(trx)
        this.#tell({ big: false, lastKey })
        return position
      } catch (error) {
        // It may be in the log all the same.
        if (error instanceof NextkeyError && error.code === 'ERR_COMMIT_UNKNOWN') this.#tell({ big: false, lastKey })
        throw error
      }
    }
    engine.commitByCheckpoint = (trx) => {
      this.#tell(BIG)
      return commitByCheckpoint(trx)
    }
    engine.commitByCheckpointSync = (trx: Trx) => {
      this.#tell(BIG)
      commitByCheckpointSync(trx)
    }
  }

  /** Runs `work`; the listener is told of the commits that it, and what it awaits, leads to. */
  watch<T>(listener: CommitListener, work: () => T): T {
    return this.#listener.run(listener, work)
  }

  #tell(commit: AppendedCommit): void {
    this.#listener.getStore()?.(commit)
  }
}

const BIG: AppendedCommit = { big: true, lastKey: () => undefined }

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
