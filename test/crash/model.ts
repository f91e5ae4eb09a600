import type { Durability } from '../../src/wal/write-ahead-log.js'
import {
  fingerprintOfTable,
  type Key,
  keyText,
  rowRenamed,
  type StoredRow,
  storedRow,
  type TableSpec,
  type UniqueKeys,
  type Value,
} from './rows.js'

/**
 * What the database must hold, kept in plain Maps beside it, and which states a crash may leave.
 *
 * Commits lie in the log one after another, so what survives a crash is the state after the first k of them: those that were
 * acknowledged, and perhaps some in flight. A *big* commit is not in the log but in a checkpoint: it survives or not by itself, but
 * - not without the commits before its checkpoint began (k ≥ `from`),
 * - and whoever committed after it was acknowledged stands on it (k > `to` implies it).
 * Nobody else changes the rows of a commit in flight, so its effect on the state's fingerprint is the same wherever it falls.
 */
/** One row's change; undefined: not there. */
export interface Effect {
  readonly table: string
  readonly key: string
  readonly before: StoredRow | undefined
  readonly after: StoredRow | undefined
}

/** What a transaction did so far, as seen by itself. */
export class Work {
  readonly label: string
  effects: Effect[] = []
  /** Values given out by auto-increment, kept or not, and how often the table had been truncated by then. */
  readonly generated: { table: string; value: number; truncations: number }[] = []
  tableCreated: TableSpec | undefined
  tableDropped: string | undefined
  /** Tables whose auto-increment begins anew. */
  readonly countersReset: string[] = []
  /** Set when it is in the log, or waits for a checkpoint. */
  commit: Commit | undefined

  constructor(label: string) {
    this.label = label
  }
}

export interface Commit {
  readonly label: string
  readonly delta: bigint
  readonly effects: readonly Effect[]
  /** Commits in the log before it. For a big one: when it was asked for. */
  readonly from: number
  readonly big: boolean
  /** For a big one: commits in the log when it was acknowledged. */
  to: number
  acknowledged: boolean
}

interface Counter {
  readonly table: string
  readonly value: number
  /** The state after this many commits must not give the value out again … */
  readonly from: number
  /** … unless it is one after this many, when the table had been truncated. */
  until: number
}

/** A state that a crash may leave. */
export interface Candidate {
  readonly fingerprint: bigint
  readonly commits: number
  readonly big: readonly Commit[]
}

/** The states that a crash at some moment may leave, and how to explain them. */
export interface Legal {
  readonly candidates: readonly Candidate[]
  /** Those that may be there. */
  readonly tables: ReadonlyMap<string, TableSpec>
  /** Indexes made online that must be there if their table is. */
  readonly indexes: ReadonlyMap<string, ReadonlySet<string>>
  counterAfter(table: string, candidate: Candidate): number
  /** Rows of a candidate, by `table key`. */
  rowsOf(candidate: Candidate): Map<string, StoredRow>
}

export type Death = 'power' | 'process'

export class Model {
  /** Those that are there, as far as is committed. */
  readonly tables: Map<string, TableSpec> = new Map()
  /** These, and those that are there no more but may be after a crash. */
  readonly #known: Map<string, TableSpec> = new Map()
  readonly #indexes: Map<string, Set<string>> = new Map()
  readonly #durability: Durability
  /** Everything committed, acknowledged or not. */
  readonly #rows: Map<string, Map<string, StoredRow>> = new Map()
  /** Commits before the oldest in flight are folded into these. */
  #settled = new Map<string, StoredRow>()
  #settledFingerprint = 0n
  #settledCount = 0
  /** In the log, in order, from `#settledCount` on. */
  #commits: Commit[] = []
  #big: Commit[] = []
  #counters: Counter[] = []
  /** By table: after how many commits it was truncated, dropped or renamed. */
  readonly #truncations: Map<string, number[]> = new Map()
  /** Commits, from the first, that no death of the machine may take. */
  #floor = 0
  /** Of everything committed, acknowledged or not: rows and tables. */
  fingerprint = 0n
  /** Big commits so far. */
  bigCount = 0
  #bigApplied = 0

  constructor(durability: Durability) {
    this.#durability = durability
  }

  /** Moves whenever what is committed does. */
  get moment(): number {
    return this.count + this.#bigApplied
  }

  /** Commits in the log so far. */
  get count(): number {
    return this.#settledCount + this.#commits.length
  }

  row(work: Work, table: string, key: Key): StoredRow | undefined {
    const text = keyText(key)
    for (let at = work.effects.length - 1; at >= 0; at--) {
      const effect = work.effects[at]
      if (effect.table === table && effect.key === text) return effect.after
    }
    return this.#rows.get(table)?.get(text)
  }

  /** Rows, other than `key`'s own, that have one of these unique keys, as the transaction sees them. */
  rivals(work: Work, table: string, key: Key | undefined, unique: UniqueKeys): StoredRow[] {
    if (unique.every((value) => value === null)) return []
    const found = new Map<string, StoredRow>()
    const own = key === undefined ? undefined : keyText(key)
    const look = (row: StoredRow, text: string): void => {
      if (text !== own && row.unique.some((value, at) => value !== null && value === unique[at])) found.set(text, row)
    }
    for (const [text, row] of this.#rows.get(table) ?? []) look(row, text)
    for (const effect of work.effects) {
      if (effect.table !== table) continue
      found.delete(effect.key)
      if (effect.after !== undefined) look(effect.after, effect.key)
    }
    return [...found.values()]
  }

  keys(table: string): Key[] {
    return Array.from(this.#rows.get(table)?.values() ?? [], (row) => row.key)
  }

  write(work: Work, table: string, key: Key, value: Value | undefined): void {
    const spec = this.tables.get(table) as TableSpec
    const before = this.row(work, table, key)
    const after = value === undefined ? undefined : storedRow(spec, key, value)
    if (before !== undefined || after !== undefined) work.effects.push({ table, key: keyText(key), before, after })
  }

  /** Whether there is, or may be after a crash, a table of this name. */
  knows(table: string): boolean {
    return this.#known.has(table)
  }

  /** Indexes of the table that were made online and acknowledged, and that nobody has begun to drop. */
  indexesOf(table: string): Set<string> {
    let indexes = this.#indexes.get(table)
    if (indexes === undefined) {
      indexes = new Set()
      this.#indexes.set(table, indexes)
    }
    return indexes
  }

  /** A row was given this auto-increment value, by the table or by hand. */
  gave(work: Work, table: string, value: number): void {
    work.generated.push({ table, value, truncations: this.#truncationsOf(table).length })
  }

  #truncationsOf(table: string): number[] {
    let found = this.#truncations.get(table)
    if (found === undefined) {
      found = []
      this.#truncations.set(table, found)
    }
    return found
  }

  /** What the truncation of a table, about to be committed, does. */
  emptied(work: Work, table: string): void {
    for (const [key, before] of this.#rows.get(table) ?? []) work.effects.push({ table, key, before, after: undefined })
    work.countersReset.push(table)
  }

  dropped(work: Work, table: string): void {
    this.emptied(work, table)
    work.tableDropped = table
  }

  renamed(work: Work, from: string, to: string): void {
    for (const [key, row] of this.#rows.get(from) ?? [])
      work.effects.push({ table: to, key, before: undefined, after: rowRenamed(row, to) })
    const value = this.#counters.reduce(
      (most, counter) => (counter.table === from && counter.until === FOR_EVER ? Math.max(most, counter.value) : most),
      0,
    )
    this.gave(work, to, value)
    this.dropped(work, from)
    work.tableCreated = { ...(this.tables.get(from) as TableSpec), name: to }
  }

  /** The transaction's group is in the log, or (big) it waits for a checkpoint; its row locks keep everybody else away. */
  committed(work: Work, big: boolean): Commit {
    let delta = work.tableCreated === undefined ? 0n : fingerprintOfTable(work.tableCreated.name)
    if (work.tableDropped !== undefined) delta ^= fingerprintOfTable(work.tableDropped)
    for (const { before, after } of work.effects) delta ^= (before?.fingerprint ?? 0n) ^ (after?.fingerprint ?? 0n)
    const commit: Commit = {
      label: work.label,
      delta,
      effects: work.effects,
      from: this.count,
      big,
      to: Number.POSITIVE_INFINITY,
      acknowledged: false,
    }
    work.commit = commit
    if (work.tableDropped !== undefined) this.tables.delete(work.tableDropped)
    if (work.tableCreated !== undefined) {
      this.tables.set(work.tableCreated.name, work.tableCreated)
      this.#known.set(work.tableCreated.name, work.tableCreated)
    }
    for (const table of work.countersReset) this.#truncationsOf(table).push(commit.from + 1)
    for (const counter of this.#counters)
      if (work.countersReset.includes(counter.table)) counter.until = Math.min(counter.until, commit.from + 1)
    if (big) {
      this.#big.push(commit)
      this.bigCount++
    } else {
      this.#commits.push(commit)
      this.#apply(commit)
    }
    this.#noteCounters(work)
    return commit
  }

  /** The checkpoint that a big commit waited for is complete. */
  becameVisible({ commit }: Work): void {
    if (commit === undefined) return
    commit.acknowledged = true
    commit.to = this.count
    this.#bigApplied++
    this.#apply(commit)
    this.flushed(commit.from)
  }

  acknowledged(work: Work): void {
    const { commit } = work
    this.#noteCounters(work, this.#durability === 'sync')
    if (commit === undefined || commit.big) return
    commit.acknowledged = true
    if (this.#durability === 'sync') this.flushed(commit.from + 1)
  }

  /**
   * It ended without a trace, but for the values it was given: they are in the log from here on, and, after a rollback that was awaited
   * and did not fail (`acknowledged`), as durable as a commit.
   */
  rolledBack(work: Work, acknowledged: boolean = false): void {
    this.#noteCounters(work, acknowledged && this.#durability === 'sync')
  }

  /** The first `count` commits are on disk, whatever the durability. */
  flushed(count: number): void {
    this.#floor = Math.max(this.#floor, count)
    this.#settle()
  }

  /** After a crash or close: this is what is there, for good. */
  restart(legal: Legal, candidate: Candidate, tables: readonly string[], rows: Iterable<StoredRow>): void {
    for (const [name, spec] of this.#known) {
      if (tables.includes(name)) this.tables.set(name, spec)
      else {
        this.tables.delete(name)
        this.#known.delete(name)
        // Another table may come to have the name.
        this.#indexes.delete(name)
      }
    }
    this.#rows.clear()
    this.#settled.clear()
    for (const row of rows) {
      tableOf(this.#rows, row.table).set(keyText(row.key), row)
      this.#settled.set(`${row.table} ${keyText(row.key)}`, row)
    }
    this.fingerprint = candidate.fingerprint
    this.#settledFingerprint = candidate.fingerprint
    this.#settledCount = candidate.commits
    this.#floor = candidate.commits
    this.#commits = []
    this.#big = []
    const names = new Set(this.#counters.map(({ table }) => table).filter((name) => tables.includes(name)))
    this.#counters = Array.from(names, (table) => ({ table, value: legal.counterAfter(table, candidate), from: 0, until: FOR_EVER }))
  }

  /** What the death of the machine, or of the process alone, may leave at this moment. */
  legal(death: Death): Legal {
    const floor = this.#floorOf(death) - this.#settledCount
    const candidates: Candidate[] = []
    let fingerprint = this.#settledFingerprint
    for (let at = 0; at <= this.#commits.length; at++) {
      if (at >= floor) this.#addCandidates(candidates, fingerprint, this.#settledCount + at)
      if (at < this.#commits.length) fingerprint ^= this.#commits[at].delta
    }
    const settled = this.#settled
    const commits = this.#commits.slice()
    const base = this.#settledCount
    const counters = this.#counters.slice()
    return {
      candidates,
      tables: new Map(this.#known),
      indexes: new Map(Array.from(this.#indexes, ([name, indexes]) => [name, new Set(indexes)])),
      counterAfter: (table, candidate) =>
        counters.reduce(
          (most, counter) =>
            counter.table === table && counter.from <= candidate.commits && candidate.commits < counter.until
              ? Math.max(most, counter.value)
              : most,
          0,
        ),
      rowsOf: (candidate) => {
        const rows = new Map(settled)
        // A big commit comes before those that may stand on it.
        for (let at = base; at <= candidate.commits; at++) {
          for (const big of candidate.big) if (big.to === at || (at === candidate.commits && big.to > at)) replay(rows, big)
          if (at < candidate.commits) replay(rows, commits[at - base])
        }
        return rows
      },
    }
  }

  /** 'write' hands every acknowledged commit to the operating system, 'lazy' promises nothing before a flush. */
  #floorOf(death: Death): number {
    if (death === 'power' || this.#durability !== 'write') return this.#floor
    let floor = this.#floor
    this.#commits.forEach((commit, at) => {
      if (commit.acknowledged) floor = Math.max(floor, this.#settledCount + at + 1)
    })
    return floor
  }

  #addCandidates(candidates: Candidate[], fingerprint: bigint, commits: number): void {
    const open = this.#big.filter((commit) => !commit.acknowledged && commits >= commit.from)
    const settled = this.#big.filter((commit) => commit.acknowledged)
    if (settled.some((commit) => commits < commit.from)) return
    for (let choice = 0; choice < 1 << open.length; choice++) {
      const big = [...settled, ...open.filter((_, at) => (choice & (1 << at)) !== 0)]
      candidates.push({ fingerprint: big.reduce((sum, commit) => sum ^ commit.delta, fingerprint), commits, big })
    }
  }

  #apply(commit: Commit): void {
    this.fingerprint ^= commit.delta
    for (const { table, key, after } of commit.effects) {
      if (after === undefined) this.#rows.get(table)?.delete(key)
      else tableOf(this.#rows, table).set(key, after)
    }
  }

  /** Folds what can no longer be lost; a big commit only when nothing before it is in flight. */
  #settle(): void {
    const count = Math.max(0, this.#floor - this.#settledCount)
    for (const commit of this.#commits.splice(0, count)) {
      this.#foldBig(this.#settledCount)
      this.#fold(commit)
      this.#settledCount++
    }
    this.#foldBig(this.#settledCount)
  }

  #foldBig(count: number): void {
    for (const commit of this.#big) if (commit.acknowledged && commit.to <= count) this.#fold(commit)
    this.#big = this.#big.filter((commit) => !(commit.acknowledged && commit.to <= count))
  }

  #fold(commit: Commit): void {
    replay(this.#settled, commit)
    this.#settledFingerprint ^= commit.delta
  }

  /** Whatever was given out is in the log at the end of the transaction: just before its group, or before the next commit's. */
  #noteCounters(work: Work, durable: boolean = false): void {
    const from = durable ? 0 : work.commit === undefined || work.commit.big ? this.count + 1 : work.commit.from + 1
    for (const { table, value, truncations } of work.generated) {
      // Whoever was given it had ended when the table was truncated since, but may come to know it only now (a deadlock).
      const until = this.#truncationsOf(table)[truncations] ?? FOR_EVER
      if (from < until) this.#counters.push({ table, value, from, until })
    }
    work.generated.length = 0
    if (this.#counters.length > MANY_COUNTERS) this.#foldCounters()
  }

  #foldCounters(): void {
    const settled = new Map<string, number>()
    const later: Counter[] = []
    for (const counter of this.#counters) {
      if (counter.until <= this.#settledCount) continue
      if (counter.from <= this.#settledCount && counter.until === FOR_EVER)
        settled.set(counter.table, Math.max(counter.value, settled.get(counter.table) ?? 0))
      else later.push(counter)
    }
    this.#counters = [...Array.from(settled, ([table, value]) => ({ table, value, from: 0, until: FOR_EVER })), ...later]
  }
}

function tableOf(rows: Map<string, Map<string, StoredRow>>, table: string): Map<string, StoredRow> {
  let found = rows.get(table)
  if (found === undefined) {
    found = new Map()
    rows.set(table, found)
  }
  return found
}

function replay(rows: Map<string, StoredRow>, commit: Commit): void {
  for (const { table, key, after } of commit.effects) {
    if (after === undefined) rows.delete(`${table} ${key}`)
    else rows.set(`${table} ${key}`, after)
  }
}

const FOR_EVER = Number.POSITIVE_INFINITY
const MANY_COUNTERS = 200
