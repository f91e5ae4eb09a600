/** The phenomena the checker tells apart, and which of them each isolation level forbids. */

/** What can be seen without looking for cycles. */
export type LocalAnomaly =
  /** A read shows a value nobody wrote, or misses a member nobody removed. */
  | 'garbage-read'
  /** One value stands twice in a list. */
  | 'duplicate-write'
  /** No single order of versions explains what was read: two writers made the same version. */
  | 'incompatible-order'
  /** The final state lacks a committed write. */
  | 'lost-write'
  /** A transaction does not see its own writes, or sees its own future. */
  | 'internal'
  /** Adya's G1a: a committed transaction read a value whose writer aborted. */
  | 'G1a'
  /** Adya's G1b: it read a value its writer then overwrote itself. */
  | 'G1b'
  /** Two plain reads of one object by one transaction, with no write of its own between them, differ. */
  | 'non-repeatable-read'
  /** Having written a row, a transaction sees others' changes to it that its earlier read did not show. */
  | 'moved-snapshot'
  /** A transaction read a version, another overwrote it, and then the first wrote as well. */
  | 'lost-update'

/** Cycles, by the edges they are made of. */
export type CyclicAnomaly =
  /** Adya's G0, dirty write: write-write edges only. */
  | 'G0'
  /** Adya's G1c, circular information flow: write-write and write-read edges. */
  | 'G1c'
  /** Exactly one anti-dependency: read skew. */
  | 'G-single'
  /** Several anti-dependencies, no two of them adjacent: what snapshot isolation forbids beyond G-single (long fork). */
  | 'G-nonadjacent'
  /** Several anti-dependencies on items: write skew. */
  | 'G2-item'
  /** Several anti-dependencies, one at least on a predicate. */
  | 'G2'
  /** A cycle only when what ended before something else began counts as being before it. */
  | 'realtime'

export type Anomaly = LocalAnomaly | CyclicAnomaly

export type Level = 'read-uncommitted' | 'read-committed' | 'repeatable-read' | 'snapshot' | 'serializable'
export const LEVELS: readonly Level[] = ['read-uncommitted', 'read-committed', 'repeatable-read', 'snapshot', 'serializable']

const AT_ANY_LEVEL: readonly Anomaly[] = ['garbage-read', 'duplicate-write', 'incompatible-order', 'lost-write', 'internal', 'G0']
const FROM_READ_COMMITTED: readonly Anomaly[] = [...AT_ANY_LEVEL, 'G1a', 'G1b', 'G1c']
const FROM_REPEATABLE_READ: readonly Anomaly[] = [...FROM_READ_COMMITTED, 'non-repeatable-read']
const FROM_SNAPSHOT: readonly Anomaly[] = [...FROM_REPEATABLE_READ, 'moved-snapshot', 'lost-update', 'G-single', 'G-nonadjacent']

/**
 * What must never be seen at a level. REPEATABLE READ is InnoDB's: reads repeat, but writes act on the newest rows, so updates are lost
 * and a written row brings its newest version into view; it shows G-single by that. `snapshot` closes exactly this.
 */
export const FORBIDDEN: Readonly<Record<Level, ReadonlySet<Anomaly>>> = {
  'read-uncommitted': new Set(AT_ANY_LEVEL),
  'read-committed': new Set(FROM_READ_COMMITTED),
  'repeatable-read': new Set(FROM_REPEATABLE_READ),
  snapshot: new Set(FROM_SNAPSHOT),
  serializable: new Set<Anomaly>([...FROM_SNAPSHOT, 'G2-item', 'G2', 'realtime']),
}

/** Counts and the first few examples of each anomaly. */
export class AnomalyLog {
  readonly #found = new Map<Anomaly, { count: number; examples: string[] }>()
  readonly #examples: number

  /** @param examples How many of each kind are described. */
  constructor(examples = 4) {
    this.#examples = examples
  }

  add(anomaly: Anomaly, describe: () => string, count = 1): void {
    let entry = this.#found.get(anomaly)
    if (entry === undefined) {
      entry = { count: 0, examples: [] }
      this.#found.set(anomaly, entry)
    }
    entry.count += count
    if (entry.examples.length < this.#examples) entry.examples.push(describe())
  }

  merge(other: AnomalyLog): void {
    for (const [anomaly, { count, examples }] of other.#found) {
      const mine = this.#found.get(anomaly) ?? { count: 0, examples: [] }
      mine.count += count
      mine.examples.push(...examples.slice(0, this.#examples - mine.examples.length))
      this.#found.set(anomaly, mine)
    }
  }

  has(anomaly: Anomaly): boolean {
    return this.#found.has(anomaly)
  }

  count(anomaly: Anomaly): number {
    return this.#found.get(anomaly)?.count ?? 0
  }

  examples(anomaly: Anomaly): readonly string[] {
    return this.#found.get(anomaly)?.examples ?? []
  }

  /** In the order in which they were first seen. */
  get kinds(): Anomaly[] {
    return [...this.#found.keys()]
  }

  forbiddenAt(level: Level): Anomaly[] {
    return this.kinds.filter((anomaly) => FORBIDDEN[level].has(anomaly))
  }
}
