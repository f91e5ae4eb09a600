import { NextkeyError } from '../../src/base/errors.js'
import { type Database, openWith } from '../../src/database.js'
import type { OpenOptions } from '../../src/options.js'
import { type Losses, repair } from '../../src/repair.js'
import type { SimulatedDisk } from '../support/simulated-disk.js'
import { simulatedEnvironment } from '../support/simulated-environment.js'
import { type Base, OPTIONS, type Rows, type State, textOf } from './base.js'

/**
 * What a damaged database may do:
 *
 * J1. It opens, or says with a typed error what is damaged, naming the file.
 * J2. What is read is what was there: of the state after one of the commits that the newest checkpoint has not, or the last that it has. (The
 *     end of the log may be lost unnoticed: a commit whose frame rots before a later one testifies to its sync looks like one that never ended.)
 *     Reading may end with a typed error that names the place.
 * J3. If `check` finds nothing, all rows are there, through every index.
 *     A reader beside the owner shows no log, and must show the newest checkpoint or more.
 * J4. `repair` saves rows of one state alone, and every row of that state that is missing is in what it lists as lost.
 */
export class Fuzzed extends Error {
  override readonly name = 'Fuzzed'
}

export interface Outcome {
  opened: boolean
  clean: boolean
  repaired: boolean
  whole: boolean
}

const TOLERATED = new Set(['ERR_DAMAGED', 'ERR_LOG_DAMAGED', 'ERR_NOT_A_DATABASE'])
/** What follows from damage that was met in the middle of a change. */
const FOLLOWING = new Set([...TOLERATED, 'ERR_POISONED'])
/** Beside an owner, that there may be. */
const READER: OpenOptions = { cacheSize: 2 * 2 ** 20, readOnly: true, unsafeShared: true }
/** I/O calls: a database that takes more is going round in circles. */
const MOST_CALLS = 200_000

export async function judge(base: Base, disk: SimulatedDisk): Promise<Outcome> {
  const outcome: Outcome = { opened: false, clean: false, repaired: false, whole: false }
  await judgeRepair(base, disk.clone(), outcome)
  await judgeOpening(base, disk.clone(), READER)
  outcome.clean = await judgeOpening(base, disk, OPTIONS, () => {
    outcome.opened = true
  })
  return outcome
}

/** Whether it opens, and `check` finds nothing. */
async function judgeOpening(base: Base, disk: SimulatedDisk, options: OpenOptions, onOpen?: () => void): Promise<boolean> {
  const who = options.readOnly === true ? 'a reader: ' : ''
  limit(disk)
  let db: Database
  try {
    db = await openWith(simulatedEnvironment({ disk, seed: base.seed }), '/database', options)
  } catch (error) {
    mustBeTyped(error, TOLERATED, `${who}open()`)
    return false
  }
  onOpen?.()
  try {
    const { problems } = await db.check()
    const clean = problems.length === 0
    const found = await readAll(db, clean)
    const legal = base.states.slice(Math.max(0, base.since - 1))
    if (!legal.some((state) => agrees(found, state, clean)))
      throw new Fuzzed(`${who}rows that never were so:\n${differences(found, legal)}`)
    return clean
  } finally {
    await db.close().catch((error: unknown) => mustBeTyped(error, FOLLOWING, `${who}close()`))
  }
}

async function judgeRepair(base: Base, disk: SimulatedDisk, outcome: Outcome): Promise<void> {
  limit(disk)
  const environment = simulatedEnvironment({ disk, seed: base.seed })
  let losses: Losses
  try {
    losses = (await repair(environment, '/database', '/repaired', { newDatabase: { cacheSize: 2 * 2 ** 20, logSegmentSize: 65536 } }))
      .losses
  } catch (error) {
    mustBeTyped(error, TOLERATED, 'repair()')
    return
  }
  outcome.repaired = true
  outcome.whole = losses.pages.length + losses.tables.length + losses.structure.length + losses.log.length === 0
  const db = await openWith(environment, '/repaired', OPTIONS)
  try {
    const { problems } = await db.check()
    if (problems.length > 0) throw new Fuzzed(`the repaired database is not whole:\n${problems.join('\n')}`)
    const found = await readAll(db, true)
    // An older checkpoint may be all there is, but not without saying so.
    const legal = losses.structure.length > 0 || losses.log.length > 0 ? base.states : base.states.slice(Math.max(0, base.since - 1))
    if (!legal.some((state) => isAccountedFor(found, state, losses)))
      throw new Fuzzed(
        `repair saved what never was so, or lost rows and did not say so:\n${JSON.stringify(losses, null, 1).slice(0, 3000)}\n${differences(found, legal)}`,
      )
  } finally {
    await db.close()
  }
}

async function readAll(db: Database, clean: boolean): Promise<State> {
  const found = new Map<string, Map<string, string>>()
  for (const name of db.tables()) {
    const rows = new Map<string, string>()
    found.set(name, rows)
    try {
      const table = await db.table(name)
      for (const [key, row] of table.entries()) rows.set(String(key), textOf(row))
      for (const { name: index } of table.definition.indexes) {
        let count = 0
        for (const row of table.index(index).values()) {
          count++
          const key = String((row as { id: number }).id)
          if (rows.get(key) !== textOf(row)) throw new Fuzzed(`index '${index}' has another row ${key} than the table`)
        }
        if (count !== rows.size && clean) throw new Fuzzed(`index '${index}' has ${count} rows, the table ${rows.size}`)
      }
    } catch (error) {
      if (error instanceof Fuzzed) throw error
      mustBeTyped(error, FOLLOWING, 'reading')
      if (clean) throw new Fuzzed(`check() found nothing, and yet: ${String(error)}`)
    }
  }
  return found
}

/** Whether what was found is that state, or, unless it is said to be whole, a part of it. */
function agrees(found: State, state: State, whole: boolean): boolean {
  for (const [name, rows] of found) {
    const expected = state.get(name)
    if (expected === undefined) return false
    if (!isPart(rows, expected) || (whole && rows.size !== expected.size)) return false
  }
  return !whole || found.size === state.size
}

function isPart(rows: Rows, expected: Rows): boolean {
  for (const [key, row] of rows) if (expected.get(key) !== row) return false
  return true
}

function isAccountedFor(found: State, state: State, losses: Losses): boolean {
  if (!agrees(found, state, false)) return false
  const missing = [...state].flatMap(([name, rows]) =>
    [...rows.keys()].filter((key) => found.get(name)?.has(key) !== true).map((key) => ({ name, key: Number(key) })),
  )
  // A lost piece of the catalogue or of the map may cost anything, and is listed itself.
  if (losses.structure.length > 0) return true
  return missing.every(({ name, key }) => {
    const lost = losses.tables.find((table) => table.name === name)
    return (
      lost !== undefined &&
      (lost.rows.some((row) => row.key === key) ||
        lost.ranges.some(
          ({ after, before }) => (after === undefined || key > (after as number)) && (before === undefined || key < (before as number)),
        ))
    )
  })
}

function mustBeTyped(error: unknown, tolerated: ReadonlySet<string>, doing: string): void {
  if (!(error instanceof NextkeyError)) throw new Fuzzed(`${doing} raised ${String((error as Error)?.stack ?? error)}`)
  if (!tolerated.has(error.code))
    throw new Fuzzed(`${doing} raised ${error.code}: ${error.stack}${error.cause instanceof Error ? `\n${error.cause.stack}` : ''}`)
  if (error.code !== 'ERR_POISONED' && !/\/(database|repaired)/.test(error.message))
    throw new Fuzzed(`${doing}: the error names no place: ${error.message}`)
}

function limit(disk: SimulatedDisk): void {
  const most = disk.calls + MOST_CALLS
  disk.onOperation = () => {
    if (disk.calls > most) throw new Fuzzed('it does not come to an end')
  }
}

function differences(found: State, legal: readonly State[]): string {
  const last = legal.at(-1)
  return [...found]
    .flatMap(([name, rows]) =>
      [...rows]
        .filter(([key, row]) => last?.get(name)?.get(key) !== row)
        .map(([key, row]) => `${name} ${key}: ${row.slice(0, 100)}, at last ${last?.get(name)?.get(key)?.slice(0, 100)}`),
    )
    .slice(0, 10)
    .join('\n')
}
