import { CatalogChange } from './catalog-change.js'
import type { Database } from './database.js'
import { MetadataLock } from './lock/metadata-modes.js'
import { type LongWorkOptions, mustGoOn } from './long-work.js'
import type { SchemaLocks } from './schema-locks.js'
import type { IndexBuild } from './txn/index-build.js'
import type { IndexDefinition, TableStore } from './txn/table-store.js'

/**
 * Builds an index while the table is written to (D13):
 *
 *   SU, against other schema changes → X, when nobody has the table in use: writers maintain the index from here on → SU: the backfill,
 *   in slices → X: the index is part of the definition → SU: a checkpoint that holds it is completed
 *
 * Until that checkpoint is complete a crash leaves the old schema: nothing about the index is ever in the log, so nothing is rebuilt by
 * replay. Whatever ends the work before the second X takes the index out of the writers' hands at once, and frees its pages.
 */
export class IndexCreation {
  readonly #db: Database
  readonly #locks: SchemaLocks
  readonly #table: TableStore
  readonly #shape: Omit<IndexDefinition, 'tree'>
  readonly #work: LongWorkOptions

  constructor(db: Database, locks: SchemaLocks, table: TableStore, shape: Omit<IndexDefinition, 'tree'>, work: LongWorkOptions) {
    this.#db = db
    this.#locks = locks
    this.#table = table
    this.#shape = shape
    this.#work = work
  }

  /** The caller holds SU. */
  async run(): Promise<void> {
    const { engine } = this.#db
    const { name } = this.#table
    await this.#locks.lock(name, MetadataLock.X)
    this.#mustGoOn()
    const build = engine.change(() => engine.schema.beginBuild(this.#table, this.#shape))
    try {
      this.#locks.downgrade(name, MetadataLock.SU)
      await this.#scan(build)
      await this.#locks.lock(name, MetadataLock.X)
      this.#mustGoOn()
      const trx = this.#finish(build)
      this.#locks.downgrade(name, MetadataLock.SU)
      await engine.commitByCheckpoint(trx)
    } catch (error) {
      await this.#abandon(build)
      throw error
    }
  }

  async #scan(build: IndexBuild): Promise<void> {
    const { engine } = this.#db
    const { clock } = engine.environment
    let rest = 0
    let { nextTrxId } = engine.system
    while (!build.scanned) {
      // Before each slice, the first included: writers get their turn, and, if there are any, as much time as the slice before took.
      await engine.pager.space.orFull(engine.checkpoints.stepAside() ?? engine.pager.cleaner.behind ?? clock.macrotask())
      const isBusy = engine.system.nextTrxId !== nextTrxId
      nextTrxId = engine.system.nextTrxId
      if (isBusy && rest > 0) await new Promise<void>((resolve) => clock.setTimer(rest, resolve, true))
      this.#mustGoOn()
      const start = clock.now()
      this.#slice(build)
      engine.payDebts()
      rest = clock.now() - start
      const { onProgress } = this.#work
      if (onProgress !== undefined) onProgress({ done: build.rows, total: Math.round(build.rows / Math.max(build.fraction, 1e-9)) })
    }
  }

  #slice(build: IndexBuild): void {
    const { engine } = this.#db
    const { clock } = engine.environment
    const { rowsPerSlice } = engine.schema
    const until = clock.now() + SLICE_MS
    try {
      for (let rows = 0; rows < rowsPerSlice && !build.scanned && clock.now() < until; rows += ROWS_PER_STEP)
        build.step(Math.min(ROWS_PER_STEP, rowsPerSlice))
      build.checkUnique(false)
    } catch (error) {
      throw engine.judge(error)
    }
    if (build.failure !== undefined) throw build.failure
  }

  /** The index is complete: one turn, in which nobody else has the table in use. */
  #finish(build: IndexBuild): ReturnType<typeof CatalogChange.begin> {
    const { schema } = this.#db.engine
    build.checkUnique(true)
    if (build.failure !== undefined) throw build.failure
    const definition = schema.definitionWith(build)
    const trx = CatalogChange.begin(this.#db, (change) => change.replace(definition, false))
    schema.finishBuild(build, definition)
    return trx
  }

  /** Frees what there is of the index. A database that is being closed leaves that to its next opening. */
  async #abandon(build: IndexBuild): Promise<void> {
    const { engine } = this.#db
    const { clock } = engine.environment
    const removal = engine.schema.abandonBuild(build)
    if (removal === undefined) return
    while (engine.failure === undefined && !this.#db.isClosing) {
      for (const until = clock.now() + SLICE_MS; clock.now() <= until; ) {
        if (!engine.change(() => removal.step())) continue
        engine.schema.removed(build)
        return
      }
      await clock.macrotask()
    }
  }

  #mustGoOn(): void {
    this.#db.mustBeOpen()
    this.#db.engine.mustWrite()
    mustGoOn(this.#work.signal)
  }
}

/** A slice of work between two turns of the event loop. */
const SLICE_MS = 2
const ROWS_PER_STEP = 128
