import type { Engine } from './txn/engine.js'
import type { Steps } from './txn/outcome.js'
import { PAUSE, Slice } from './txn/slice.js'
import { type Trx, TrxState, type UndoMark } from './txn/trx.js'

/**
 * Undoes what a transaction did since the mark, or, without one, all of it; in slices, if its calls are asynchronous. Stops if somebody
 * else ends the transaction meanwhile, or the database fails. Where it ends, every page is whole: an error raised next has stopped no change
 * half-way.
 */
export function* undoInSlices(engine: Engine, trx: Trx, mark: UndoMark | undefined): Steps<void> {
  if (trx.inSlices) yield* undoSlices(engine, trx, mark)
  else engine.undoStep(trx, mark, Number.POSITIVE_INFINITY)
  engine.pager.beginOperation()
}

function* undoSlices(engine: Engine, trx: Trx, mark: UndoMark | undefined): Steps<void> {
  const slice = new Slice(engine.environment.clock)
  while (!engine.undoStep(trx, mark, CHANGES_PER_STEP)) {
    if (!slice.isOver(CHANGES_PER_STEP)) continue
    yield PAUSE
    if (trx.state !== TrxState.Active || engine.failure !== undefined) return
  }
}

/** Undone between two looks at the clock. */
const CHANGES_PER_STEP = 64
