/**
 * Lock sets, compared as unions.
 *
 * Two entries may describe one record: an S and an X request of the same transaction, or a gap and a next-key lock. What counts is what they
 * forbid together. So the granted entries of one session on one record are joined into a record strength and a gap strength (S below X,
 * next-key being both), those on one table into the modes that no other mode there covers. Waiting requests stay apart, since each is one request.
 * A granted insert intention blocks nobody: it is the trace of an insert that had to wait, and is left out. Delete marks are not compared.
 */
import type { Lock, LockTarget, WaitsFor } from './format.js'

type TableMode = Lock['mode']

/** Which table modes each mode makes superfluous. */
const COVERED: Readonly<Record<TableMode, readonly TableMode[]>> = {
  IS: [],
  IX: ['IS'],
  S: ['IS'],
  X: ['IS', 'IX', 'S'],
  'AUTO-INC': [],
}

interface RecordStrength {
  record: '' | 'S' | 'X'
  gap: '' | 'S' | 'X'
}

/** Name of the place a lock lies on, for people: `t.PRIMARY [10]`, `t.ik [20] of [7]`, `t.ik supremum`, `t`. */
export function describePlace(lock: LockTarget): string {
  if (lock.kind === 'table' || lock.index === undefined) return `table ${lock.table}`
  if (lock.supremum === true) return `${lock.table}.${lock.index} supremum`
  const entry = `${lock.table}.${lock.index} ${JSON.stringify(lock.key)}`
  return lock.pk === undefined ? entry : `${entry} of ${JSON.stringify(lock.pk)}`
}

/** Mode and kind; a next-key lock on the supremum is its gap. */
function describeRequest(lock: LockTarget): string {
  if (lock.kind === 'table') return lock.mode
  return `${lock.mode} ${lock.supremum === true && lock.kind === 'next-key' ? 'gap' : lock.kind}`
}

/** What a statement waits for, in a form in which equal waits are equal strings. All metadata waits are alike. */
export function describeWait(on: WaitsFor): string {
  return 'metadata' in on ? 'a metadata lock' : `${describePlace(on)} ${describeRequest(on)}`
}

function stronger(a: '' | 'S' | 'X', b: '' | 'S' | 'X'): '' | 'S' | 'X' {
  return a === 'X' || b === 'X' ? 'X' : a === 'S' || b === 'S' ? 'S' : ''
}

function describeStrength({ record, gap }: RecordStrength): string {
  if (record === gap) return `${record} next-key`
  return [record && `${record} record`, gap && `${gap} gap`].filter(Boolean).join(' + ')
}

/** The union of a lock set: `session place` → what is held there, and `session place waiting` → what is asked for. */
export function unionOf(locks: readonly Lock[]): Map<string, string> {
  const records = new Map<string, RecordStrength>()
  const tables = new Map<string, Set<TableMode>>()
  const union = new Map<string, string>()
  for (const lock of locks) {
    const place = `${lock.session} ${describePlace(lock)}`
    if (lock.status === 'waiting') {
      const before = union.get(`${place} waiting`)
      const request = describeRequest(lock)
      union.set(`${place} waiting`, before === undefined ? request : [...before.split(' + '), request].sort().join(' + '))
    } else if (lock.kind === 'table') {
      const modes = tables.get(place) ?? new Set()
      tables.set(place, modes.add(lock.mode))
    } else if (lock.kind !== 'insert-intention') {
      const mode = lock.mode === 'S' ? 'S' : 'X'
      const held = records.get(place) ?? { record: '', gap: '' }
      if (lock.kind !== 'gap' && lock.supremum !== true) held.record = stronger(held.record, mode)
      if (lock.kind !== 'record') held.gap = stronger(held.gap, mode)
      records.set(place, held)
    }
  }
  for (const [place, strength] of records) union.set(place, describeStrength(strength))
  for (const [place, modes] of tables) {
    const needed = [...modes].filter((mode) => ![...modes].some((other) => COVERED[other].includes(mode)))
    union.set(place, needed.sort().join(' + '))
  }
  return union
}

export interface LockDifference {
  readonly place: string
  readonly expected: string
  readonly actual: string
}

const NOTHING = 'nothing'

/** Every place where the two unions are not the same. */
export function compareLocks(expected: readonly Lock[], actual: readonly Lock[]): LockDifference[] {
  const wanted = unionOf(expected)
  const found = unionOf(actual)
  const differences: LockDifference[] = []
  for (const [place, held] of wanted) {
    const actually = found.get(place)
    if (actually !== held) differences.push({ place, expected: held, actual: actually ?? NOTHING })
  }
  for (const [place, held] of found) {
    if (!wanted.has(place)) differences.push({ place, expected: NOTHING, actual: held })
  }
  return differences
}
