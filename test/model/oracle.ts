/** What may be seen after a recovery (I1, I2, I4), and what must be gone once everything is purged (I7). */
import { isLogDurable } from './disk.js'
import { read, running } from './engine.js'
import { CELL_PAGES, type Cell, type GhostCommit, NOT_SWITCHED, PAGES, type State, UNDO_PAGES, Violation } from './state.js'

type Rows = (string | null)[]

function apply(base: Rows, commits: GhostCommit[]): Rows {
  const result = [...base]
  for (const { writes } of commits) for (const [page, value] of writes) result[page] = value
  return result
}

/**
 * The sets of commits that may survive: a prefix of those in the log, and big ones, which come with their checkpoint:
 * present or not, but present if something that followed their switch is.
 */
function survivors(commits: GhostCommit[]): GhostCommit[][] {
  const small = commits.filter((each) => !each.big)
  const big = commits.filter((each) => each.big)
  const sets: GhostCommit[][] = []
  for (let prefix = 0; prefix <= small.length; prefix++) {
    for (let mask = 0; mask < 1 << big.length; mask++) {
      const chosen = new Set([...small.slice(0, prefix), ...big.filter((_, i) => mask & (1 << i))])
      const last = Math.max(-1, ...commits.flatMap((each, i) => (!each.big && chosen.has(each) ? [i] : [])))
      const whole = commits.every((each, i) => chosen.has(each) || !each.big || each.at === NOT_SWITCHED || i > last)
      if (whole) sets.push(commits.filter((each) => chosen.has(each)))
    }
  }
  return sets
}

const show = (rows: Rows): string => rows.map((value, page) => `${PAGES[page]}=${value ?? '–'}`).join(' ')

export function checkRecovered(s: State, rows: Rows): void {
  const { base, commits, recovered, rotten } = s.ghost
  const matching = survivors(commits).filter((set) => `${apply(base, set)}` === `${rows}`)
  if (matching.length === 0) throw new Violation('I2', `recovered ${show(rows)}, which no set of whole commits gives`)
  const found = matching.find((set) => commits.every((each) => !each.acked || set.includes(each)))
  if (found === undefined) throw new Violation('I1', `recovered ${show(rows)}: an acknowledged commit is missing`)
  const same =
    !recovered || (rotten ? matching.some((set) => `${logged(set)}` === `${recovered.logged}`) : `${recovered.rows}` === `${rows}`)
  if (!same) throw new Violation('I4', `recovered ${show(rows)}, but the recovery that was cut short had ${show(recovered.rows)}`)
  if (isLogDurable(s.disk)) s.ghost.recovered = { rows, logged: logged(found) }
}

/** I4 makes an exception for big transactions: one that nobody was told of may go when a superblock rots. */
function logged(set: GhostCommit[]): number[] {
  return set.filter((each) => !each.big).map((each) => each.trx)
}

export function restartOracle(s: State, rows: Rows): void {
  s.ghost.base = rows
  s.ghost.commits = []
  delete s.ghost.recovered
}

export function checkNothingLeft(s: State): void {
  const memory = running(s)
  if (memory.phase !== 'run' || memory.history.length > 0 || memory.transactions.length > 0) return
  for (const page of CELL_PAGES) {
    if ((read(s, page) as Cell | null)?.marked) throw new Violation('I7', `everything is purged, but ${PAGES[page]} is still marked`)
  }
  for (const page of UNDO_PAGES) {
    if (read(s, page) !== null) throw new Violation('I7', `nobody owns undo page ${PAGES[page]}, but it is not free`)
  }
}
