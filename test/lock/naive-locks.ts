/**
 * The lock manager as a list: obviously correct and hopelessly slow. Locks are rows; a request is compared with every
 * row in the way InnoDB's rule is written; there are no runs, no queues, no counters. The model of the differential test.
 */
export type Kind = 'record' | 'gap' | 'next-key' | 'insert-intention'

export interface Row {
  owner: number
  /** Infinity is the supremum. */
  key: number
  mode: 'S' | 'X'
  kind: Kind
  waiting: boolean
}

export interface Owner {
  takesGapLocks: boolean
  inheritsAll: boolean
}

export class NaiveLocks {
  /** In the order in which the requests came. */
  rows: Row[] = []
  readonly owners: Owner[]

  constructor(owners: Owner[]) {
    this.owners = owners
  }

  /** What a request would meet now; 'granted' and 'held' take effect, 'blocked' does not. */
  request(owner: number, key: number, mode: 'S' | 'X', kind: Kind): 'granted' | 'held' | 'blocked' {
    if (key === Number.POSITIVE_INFINITY && kind === 'next-key') kind = 'gap'
    if (kind !== 'insert-intention') {
      const onRecord = this.#holds(owner, key, mode, 'record')
      const onGap = this.#holds(owner, key, mode, 'gap')
      if (kind === 'record' && onRecord) return 'held'
      if (kind === 'gap' && onGap) return 'held'
      if (kind === 'next-key' && onRecord) {
        if (!onGap) this.rows.push({ owner, key, mode, kind: 'gap', waiting: false })
        return 'held'
      }
    }
    const row: Row = { owner, key, mode, kind, waiting: true }
    if (this.inTheWayOf(row, this.rows).length > 0) return 'blocked'
    if (kind !== 'insert-intention') this.rows.push({ ...row, waiting: false })
    return 'granted'
  }

  wait(owner: number, key: number, mode: 'S' | 'X', kind: Kind): void {
    this.rows.push({ owner, key, mode, kind: key === Number.POSITIVE_INFINITY && kind === 'next-key' ? 'gap' : kind, waiting: true })
  }

  /** Rows of others that a request has to wait for, of those given: held ones, and waiting ones ahead of it. */
  inTheWayOf(request: Row, among: Row[]): Row[] {
    const holdsRecord = this.#holds(request.owner, request.key, 'S', 'record')
    return among.filter((row) => {
      if (row.owner === request.owner || row.key !== request.key) return false
      if (row.mode === 'S' && request.mode === 'S') return false
      if (request.kind === 'gap') return false
      if (row.kind === 'insert-intention') return false
      if (request.kind === 'insert-intention') return row.kind !== 'record'
      if (row.kind === 'gap') return false
      return !(row.waiting && row.mode === 'X' && request.mode === 'X' && holdsRecord)
    })
  }

  /** Grants, in order, whatever nothing is in the way of; until nothing changes. */
  settle(): void {
    for (let changed = true; changed; ) {
      changed = false
      for (const row of this.rows.filter((candidate) => candidate.waiting)) {
        if (this.#blockersOf(row).length > 0) continue
        row.waiting = false
        if (row.kind === 'insert-intention') this.rows = this.rows.filter((other) => other !== row)
        changed = true
      }
    }
  }

  unlock(owner: number, key: number, mode: 'S' | 'X', kind: Kind): void {
    this.rows = this.rows.filter((row) => row.waiting || row.owner !== owner || row.key !== key || row.mode !== mode || row.kind !== kind)
    this.settle()
  }

  cancel(owner: number): void {
    this.rows = this.rows.filter((row) => !row.waiting || row.owner !== owner)
    this.settle()
  }

  release(owner: number): void {
    this.rows = this.rows.filter((row) => row.owner !== owner)
    this.settle()
  }

  makeExplicit(owner: number, key: number): void {
    if (!this.#holds(owner, key, 'X', 'record')) this.rows.push({ owner, key, mode: 'X', kind: 'record', waiting: false })
  }

  inserted(key: number, successor: number): void {
    for (const row of this.rows.filter((candidate) => candidate.key === successor)) {
      if (row.kind === 'gap' || row.kind === 'next-key') this.rows.push({ ...row, key, kind: 'gap', waiting: false })
    }
  }

  removed(key: number, successor: number): void {
    for (const row of this.rows.filter((candidate) => candidate.key === key)) {
      const { takesGapLocks, inheritsAll } = this.owners[row.owner]
      if (row.kind === 'insert-intention' || !(takesGapLocks || inheritsAll)) continue
      this.rows.push({ ...row, key: successor, kind: 'gap', waiting: false })
    }
    this.rows = this.rows.filter((row) => row.key !== key)
  }

  /** Owners a waiting owner waits for. */
  blockersOf(owner: number): Set<number> {
    const row = this.rows.find((candidate) => candidate.waiting && candidate.owner === owner)
    return new Set(row === undefined ? [] : this.#blockersOf(row).map((blocker) => blocker.owner))
  }

  hasCycle(): boolean {
    const reaches = (from: number, seen: Set<number>): Set<number> => {
      for (const next of this.blockersOf(from)) {
        if (seen.has(next)) continue
        seen.add(next)
        reaches(next, seen)
      }
      return seen
    }
    return this.owners.some((_owner, id) => reaches(id, new Set()).has(id))
  }

  #blockersOf(row: Row): Row[] {
    const place = this.rows.indexOf(row)
    return this.inTheWayOf(
      row,
      this.rows.filter((other, at) => !other.waiting || at < place),
    )
  }

  /** Whether granted locks of the owner cover this part of the key in at least this mode. */
  #holds(owner: number, key: number, mode: 'S' | 'X', part: 'record' | 'gap'): boolean {
    return this.rows.some(
      (row) =>
        row.owner === owner &&
        row.key === key &&
        !row.waiting &&
        (row.kind === part || row.kind === 'next-key') &&
        (row.mode === 'X' || mode === 'S'),
    )
  }
}
