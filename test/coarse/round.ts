/** One round: a database of its own, some clients at once, a crash now and then; at its end nothing may be left and everything must agree. */
import type { Database } from '../../src/database.js'
import { abandon, openChecked } from '../support/open-test-database.js'
import { Scheduler } from '../support/scheduler.js'
import { Prng } from '../support/seeded.js'
import { Client } from './clients.js'
import { NAMES, Shared, Violation } from './model.js'

export interface RoundResult {
  readonly operations: number
  readonly outcomes: ReadonlyMap<string, number>
  /** The same for the same seed. */
  readonly digest: string
  readonly crashed: boolean
}

/** So long that only a deadlock nobody saw could last until then. */
const NEVER_MS = 2 ** 31 - 1
const DIRECTORY = '/database'
const CRASHES = 0.3

/** Rejects with what was violated, and by which seed. */
export async function runRound(seed: number, operations: number): Promise<RoundResult> {
  const scheduler = new Scheduler(seed)
  try {
    return await scheduler.run(playRound(seed, operations, scheduler))
  } catch (error) {
    throw new Error(`seed ${seed}, ${operations} operations: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`, {
      cause: error,
    })
  }
}

async function playRound(seed: number, operations: number, scheduler: Scheduler): Promise<RoundResult> {
  const prng = new Prng(seed).fork()
  const options = {
    cacheSize: prng.pick([4, 8]) * 2 ** 20,
    logSegmentSize: 65_536,
    checkpointInterval: prng.pick([50, 60_000]),
    lockWaitTimeout: NEVER_MS,
    autoIncrementLockMode: prng.pick([0, 1, 2] as const),
    durability: prng.pick(['sync', 'write', 'lazy'] as const),
  }
  const machine = scheduler.machine()
  const db = await openChecked(machine, DIRECTORY, options)
  const shared = new Shared(scheduler, db)
  for (const name of NAMES.slice(0, 3)) await shared.table(name)
  const clients = Array.from({ length: 3 + prng.int(8) }, () => new Client(shared, prng.fork()))
  const crashes = prng.bool(CRASHES)
  const work = Promise.all(clients.map((client) => client.run(operations)))
  if (!crashes) {
    await work
    await mustBeEmpty(db)
    await db.close()
  } else {
    const last = 1 + prng.int(operations)
    const gone = work.catch(() => {})
    while (shared.operations < last) await shared.turn()
    const disk = scheduler.crash(machine, prng.pick(['process', 'power'] as const))
    await abandon(db, machine.fileSystem)
    await gone
    const again = await openChecked(scheduler.machine(disk), DIRECTORY, options)
    await mustBeEmpty(again)
    await again.close()
  }
  return { operations: shared.operations, outcomes: shared.outcomes, digest: shared.digest, crashed: crashes }
}

/** No lock, no wait, no transaction; indexes that agree with rows are seen to by the check at every close. */
async function mustBeEmpty(db: Database): Promise<void> {
  await db.purge()
  const { owners, records, recordHolds, runs, tableHolds, metadataHolds, waiting } = db.engine.rowLocks.locks.counts()
  const left = { owners, records, recordHolds, runs, tableHolds, metadataHolds, waiting, open: db.transactions().length }
  if (Object.values(left).some((count) => count !== 0)) throw new Violation(`something is left at the end: ${JSON.stringify(left)}`)
}
