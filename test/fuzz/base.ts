import { type Database, openWith } from '../../src/database.js'
import type { OpenOptions } from '../../src/options.js'
import { abandon } from '../support/open-test-database.js'
import { Prng } from '../support/seeded.js'
import { SimulatedDisk } from '../support/simulated-disk.js'
import { simulatedEnvironment } from '../support/simulated-environment.js'

/** A table's rows by key, as text: so they are compared. */
export type Rows = ReadonlyMap<string, string>
export type State = ReadonlyMap<string, Rows>

/** A database that is whole, and everything it may rightly be found to be. */
export interface Base {
  seed: number
  disk: SimulatedDisk
  /** Earlier states of the same files: where stale blocks come from. */
  earlier: SimulatedDisk[]
  /** After each commit, the oldest first. */
  states: State[]
  /** The first of them that the newest checkpoint does not have: of those from here on the log may lose the last unnoticed. */
  since: number
}

export const OPTIONS: OpenOptions = { cacheSize: 2 * 2 ** 20, logSegmentSize: 65536, checkpointInterval: 1_000_000 }

/** Two tables, one with indexes, a few dozen pages; closed, or left in the midst of its work with a log to replay. */
export async function makeBase(seed: number): Promise<Base> {
  const random = new Prng(seed)
  const disk = new SimulatedDisk({ seed })
  const base: Base = { seed, disk, earlier: [], states: [], since: 0 }
  const db = await openWith(simulatedEnvironment({ disk, seed }), '/database', OPTIONS)
  const items = await db.table('items', {
    key: 'id',
    autoIncrement: true,
    indexes: { group: { on: 'group' }, name: { on: ['name', 'id'], unique: true } },
  })
  const blobs = await db.table('blobs', { value: 'binary' })
  const live = { items: new Map<string, string>(), blobs: new Map<string, string>() }
  // Before the first row: no table, one, both.
  base.states.push(
    new Map(),
    new Map([['items', new Map()]]),
    new Map([
      ['items', new Map()],
      ['blobs', new Map()],
    ]),
  )
  const commits = 8 + random.int(25)
  const size = random.pick([20, 200, 800])
  for (let commit = 0; commit < commits; commit++) {
    if (random.int(5) === 0) {
      await db.checkpoint()
      base.earlier.push(disk.clone())
      base.since = base.states.length
    }
    await db.transaction(async (tx) => {
      for (let change = 1 + random.int(60); change > 0; change--) {
        const id = 1 + random.int(400)
        const blob = random.int(40)
        const kind = random.int(10)
        if (kind < 6) {
          const row = { id, group: random.int(9), name: `n${random.int(1000)}`, text: 'abcdefgh'.repeat(random.int(size) >> 2), commit }
          await tx.put(items, row)
          live.items.set(String(id), JSON.stringify(row))
        } else if (kind < 8) {
          await tx.delete(items, id)
          live.items.delete(String(id))
        } else {
          const bytes = new Uint8Array(random.int(20) === 0 ? 40_000 : random.int(300)).fill(commit)
          await tx.put(blobs, blob, bytes)
          live.blobs.set(String(blob), textOf(bytes))
        }
      }
    })
    base.states.push(new Map(Object.entries(live).map(([name, rows]) => [name, new Map(rows)])))
  }
  await leave(db, base, random)
  return base
}

/** Closed; or killed, with a transaction open that the newest checkpoint may have. */
async function leave(db: Database, base: Base, random: Prng): Promise<void> {
  const items = await db.table('items')
  if (random.int(2) === 0) {
    await db.close()
    base.since = base.states.length
    return
  }
  const tx = await db.begin()
  for (let id = 1; id < 40; id += 3) await tx.update(items, id, { text: 'never committed' })
  await tx.delete(items, 2)
  if (random.int(2) === 0) {
    await db.checkpoint()
    base.since = base.states.length
  }
  const left = base.disk
  base.disk = left.killProcess(random)
  await abandon(db, left)
}

export function textOf(value: unknown): string {
  return value instanceof Uint8Array ? `${value.length} bytes ${value[0]}` : JSON.stringify(value)
}
