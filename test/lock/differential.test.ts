import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { TreeId } from '../../src/base/ids.js'
import { SUPREMUM } from '../../src/lock/lock-key.js'
import { type LockKind, LockMode, recordLock } from '../../src/lock/lock-modes.js'
import { LockOwner } from '../../src/lock/lock-owner.js'
import { type LockInfo, LockResult } from '../../src/lock/lock-request.js'
import { LockSystem } from '../../src/lock/lock-system.js'
import { RUN_STARTS_AFTER, ScanLock } from '../../src/lock/scan-lock.js'
import { type Kind, NaiveLocks } from './naive-locks.js'

const INDEX = 3 as TreeId
const KEYS = 30
const OWNERS = 6
const KINDS: readonly Kind[] = ['record', 'gap', 'next-key', 'insert-intention']
const END = Number.POSITIVE_INFINITY

/** Keys lie on both sides of 0x80, where signed and unsigned order differ. */
const LOWEST_BYTE = 0x7d

/** Keys of different lengths, in the order of the numbers; some differ only in trailing zero bytes. */
function encode(key: number): Uint8Array {
  const bytes = new Uint8Array(1 + (key % 5))
  bytes[0] = LOWEST_BYTE + Math.floor(key / 5)
  return bytes
}

function decode(bytes: Uint8Array): number {
  return (bytes[0] - LOWEST_BYTE) * 5 + bytes.length - 1
}

interface Scan {
  lock: ScanLock
  at: number
  end: number
  mode: 'S' | 'X'
  kind: Kind
  /** READ COMMITTED: every entry it rejects is unlocked again. */
  rejects: number
}

/** The lock system and the model, given the same calls, compared after each. */
class Pair {
  readonly system = new LockSystem()
  readonly model: NaiveLocks
  readonly owners: LockOwner[] = []
  readonly present = new Set<number>()
  /** Who wrote an entry and not yet ended: its implicit lock. */
  readonly writers = new Map<number, number>()
  readonly scans = new Map<number, Scan>()

  constructor(present: number[], readCommitted: boolean[]) {
    for (const key of present) this.present.add(key)
    for (let id = 0; id < OWNERS; id++) {
      const owner = new LockOwner(id)
      owner.takesGapLocks = !readCommitted[id]
      this.owners.push(owner)
    }
    this.model = new NaiveLocks(this.owners)
  }

  successor(key: number): number {
    return Math.min(END, ...[...this.present].filter((other) => other > key))
  }

  isWaiting(id: number): boolean {
    return this.owners[id].waiting !== null
  }

  request(id: number, key: number, mode: 'S' | 'X', kind: Kind, mayWait: boolean): LockResult {
    if (kind === 'insert-intention') mode = 'X'
    if (key === END && kind === 'record') kind = 'gap'
    this.#expose(key, id)
    const lock = recordLock(mode === 'X' ? LockMode.X : LockMode.S, KINDS.indexOf(kind) as LockKind)
    const bytes = key === END ? new Uint8Array(0) : encode(key)
    const result = this.system.lockRecord(this.owners[id], INDEX, bytes, key === END ? SUPREMUM : bytes.length, lock, mayWait)
    this.#expectResult(result, id, key, mode, kind, mayWait)
    return result
  }

  insert(id: number, key: number): void {
    if (this.present.has(key)) return
    const successor = this.successor(key)
    if (this.request(id, successor, 'X', 'insert-intention', true) !== LockResult.Granted) return
    this.present.add(key)
    this.writers.set(key, id)
    this.model.inserted(key, successor)
    const [bytes, next] = [encode(key), successor === END ? new Uint8Array(0) : encode(successor)]
    this.system.entryInserted(INDEX, bytes, bytes.length, next, successor === END ? SUPREMUM : next.length)
  }

  remove(key: number): void {
    if (!this.present.delete(key)) return
    this.writers.delete(key)
    const successor = this.successor(key)
    this.model.removed(key, successor)
    const [bytes, next] = [encode(key), successor === END ? new Uint8Array(0) : encode(successor)]
    this.system.entryRemoved(INDEX, bytes, bytes.length, next, successor === END ? SUPREMUM : next.length)
    this.#resolve()
  }

  release(id: number): void {
    if (this.isWaiting(id)) this.cancel(id)
    this.scans.delete(id)
    for (const [key, writer] of this.writers) if (writer === id) this.writers.delete(key)
    this.system.releaseAll(this.owners[id])
    this.model.release(id)
  }

  cancel(id: number): void {
    const request = this.owners[id].waiting
    if (request === null) return
    this.system.cancel(request, 'timeout')
    this.model.cancel(id)
  }

  /** Starts a scan, or goes on with the one under way, for some entries. */
  scan(id: number, from: number, mode: 'S' | 'X', kind: Kind, descending: boolean, steps: number, rejects: number): void {
    let scan = this.scans.get(id)
    if (scan === undefined) {
      const lock = recordLock(mode === 'X' ? LockMode.X : LockMode.S, KINDS.indexOf(kind) as LockKind)
      const end = descending ? -1 : KEYS
      scan = { lock: new ScanLock(this.owners[id], INDEX, lock, descending), at: from, end, mode, kind, rejects }
      this.scans.set(id, scan)
    }
    for (let step = 0; step < steps; step++) {
      const ahead = [...this.present].filter((key) => (scan.lock.descending ? key < scan.at : key > scan.at))
      if (ahead.length === 0) {
        this.scans.delete(id)
        return
      }
      const key = scan.lock.descending ? Math.max(...ahead) : Math.min(...ahead)
      scan.at = key
      this.#expose(key, id)
      const bytes = encode(key)
      const mayWait = steps % 2 === 0
      const result = this.system.lockNext(scan.lock, bytes, bytes.length, mayWait)
      this.#expectResult(result, id, key, scan.mode, scan.kind, mayWait)
      if (result === LockResult.Granted && scan.rejects > 0 && key % scan.rejects === 0) {
        this.system.unlockRecord(this.owners[id], INDEX, bytes, bytes.length, scan.lock.lock)
        this.model.unlock(id, key, scan.mode, scan.kind)
      }
      if (result > LockResult.AlreadyHeld) return
    }
  }

  /** What everybody effectively holds and waits for, on both sides. */
  compare(): void {
    const listed = [...this.system.locks((_index, interval) => this.#within(interval))]
    expect(effective(listed.map(fromInfo))).toEqual(effective(this.model.rows))
    for (const info of listed) {
      if (info.status !== 'waiting') continue
      expect(new Set(info.blockedBy.map((owner) => owner.id)).size).toBeGreaterThan(0)
      for (const blocker of info.blockedBy) expect(this.model.blockersOf(info.owner.id)).toContain(blocker.id)
    }
  }

  #within(interval: { first: Uint8Array; firstOpen: boolean; last: Uint8Array; lastOpen: boolean }): Uint8Array[] {
    const [first, last] = [decode(interval.first), decode(interval.last)]
    return [...this.present]
      .filter((key) => (interval.firstOpen ? key > first : key >= first) && (interval.lastOpen ? key < last : key <= last))
      .sort((a, b) => a - b)
      .map(encode)
  }

  #expose(key: number, id: number): void {
    const writer = this.writers.get(key)
    if (writer === undefined || writer === id) return
    const bytes = encode(key)
    this.system.makeExplicit(this.owners[writer], INDEX, bytes, bytes.length)
    this.model.makeExplicit(writer, key)
    this.writers.delete(key)
  }

  #expectResult(result: LockResult, id: number, key: number, mode: 'S' | 'X', kind: Kind, mayWait: boolean): void {
    const expected = this.model.request(id, key, mode, kind)
    if (expected === 'granted') expect(result).toBe(LockResult.Granted)
    else if (expected === 'held') expect(result).toBe(LockResult.AlreadyHeld)
    else if (!mayWait) expect(result).toBe(LockResult.NotAvailable)
    else {
      this.model.wait(id, key, mode, kind)
      const victims = this.#resolve()
      if (result === LockResult.Deadlock) expect(victims).toContain(id)
      else if (result === LockResult.Granted) expect(victims.length).toBeGreaterThan(0)
      else expect(result).toBe(LockResult.Waiting)
    }
  }

  /** Cycles must be gone from the model once the victims the system chose are taken out of their queues. */
  #resolve(): number[] {
    const victims: number[] = []
    for (const deadlock of this.deadlocks.splice(0)) {
      const { participants, victim } = deadlock
      participants.forEach((participant, at) => {
        const next = participants[(at + 1) % participants.length].owner.id
        expect(this.model.blockersOf(participant.owner.id)).toContain(next)
        const weight = participant.undoRecords + participant.lockStructures
        expect(weight).toBeGreaterThanOrEqual(participants[victim].undoRecords + participants[victim].lockStructures)
      })
      victims.push(participants[victim].owner.id)
      this.model.cancel(participants[victim].owner.id)
    }
    expect(this.model.hasCycle()).toBe(false)
    return victims
  }

  readonly deadlocks: NonNullable<LockSystem['latestDeadlock']>[] = []
}

interface Part {
  owner: number
  key: number
  mode: 'S' | 'X'
  kind: string
  waiting: boolean
}

function fromInfo(info: LockInfo): Part {
  const key = info.key === null ? END : decode(info.key)
  return { owner: info.owner.id, key, mode: info.mode === 'X' ? 'X' : 'S', kind: info.kind, waiting: info.status === 'waiting' }
}

/** Per owner and key: the strongest mode on the record and on the gap; waiting requests as they are. Sorted. */
function effective(rows: Part[]): string[] {
  const strongest = new Map<string, 'S' | 'X'>()
  const lines: string[] = []
  for (const { owner, key, mode, kind, waiting } of rows) {
    if (waiting) {
      lines.push(`${owner} waits for ${mode} ${kind} ${key}`)
      continue
    }
    for (const part of ['record', 'gap']) {
      const name = `${owner} holds ${key} ${part}`
      if ((kind === part || kind === 'next-key') && strongest.get(name) !== 'X') strongest.set(name, mode)
    }
  }
  for (const [name, mode] of strongest) lines.push(`${name} ${mode}`)
  return lines.sort()
}

const mode = fc.constantFrom<'S' | 'X'>('S', 'X')
const id = fc.nat({ max: OWNERS - 1 })

/** Steps on the keys below `keys`, with these weights. */
function stepOn(keys: number, weights: { insert: number; remove: number; release: number; scan: number }): fc.Arbitrary<Step> {
  const key = fc.nat({ max: keys - 1 })
  const kind = fc.constantFrom(...KINDS.slice(0, 3))
  return fc.oneof(
    { weight: 6, arbitrary: fc.record({ do: fc.constant('lock' as const), id, key, mode, kind, mayWait: fc.boolean() }) },
    { weight: weights.insert, arbitrary: fc.record({ do: fc.constant('insert' as const), id, key }) },
    { weight: weights.remove, arbitrary: fc.record({ do: fc.constant('remove' as const), key }) },
    { weight: weights.release, arbitrary: fc.record({ do: fc.constant('release' as const), id }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('cancel' as const), id }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('check' as const), id, on: fc.boolean() }) },
    {
      weight: weights.scan,
      arbitrary: fc.record({
        do: fc.constant('scan' as const),
        id,
        key: fc.integer({ min: -1, max: keys }),
        mode,
        kind: fc.constantFrom<Kind>('record', 'next-key'),
        descending: fc.boolean(),
        steps: fc.integer({ min: 1, max: 2 * RUN_STARTS_AFTER }),
        rejects: fc.constantFrom(0, 0, 0, 7, 11),
      }),
    },
  )
}

/** Plays random steps, comparing after each; returns how often interesting things were seen. */
function play(
  keys: number,
  fewest: number,
  step: fc.Arbitrary<Step>,
  seed: number,
  numRuns: number,
): { runs: number; deadlocks: number; waits: number } {
  const seen = { runs: 0, deadlocks: 0, waits: 0 }
  const present = fc.uniqueArray(fc.nat({ max: keys - 1 }), { minLength: fewest, maxLength: keys })
  const isolation = fc.array(fc.boolean(), { minLength: OWNERS, maxLength: OWNERS })
  const steps = fc.array(step, { minLength: 1, maxLength: 60, size: 'max' })
  const property = fc.property(present, isolation, steps, (initial, readCommitted, script) => {
    const pair = new Pair(initial, readCommitted)
    pair.system.graph.onDeadlock = (deadlock) => {
      seen.deadlocks++
      pair.deadlocks.push(deadlock)
    }
    for (const one of script) {
      run(pair, one)
      pair.compare()
      seen.runs += pair.system.counts().runs
      seen.waits += pair.system.counts().waiting
    }
    for (let owner = 0; owner < OWNERS; owner++) pair.release(owner)
    expect(pair.system.counts()).toMatchObject({ owners: 0, records: 0, recordHolds: 0, runs: 0, waiting: 0 })
  })
  fc.assert(property, { seed, numRuns })
  return seen
}

// A generator that never gets anywhere interesting would prove nothing: hence the counts.
describe('the lock system agrees with a naive list of locks', () => {
  it('over random scans, requests, inserts and removals on thirty keys', () => {
    const seen = play(KEYS, KEYS - 10, stepOn(KEYS, { insert: 4, remove: 3, release: 2, scan: 5 }), 20260725, 600)
    expect(seen.runs).toBeGreaterThan(500)
    expect(seen.waits).toBeGreaterThan(500)
  })

  it('over long queues on three keys', () => {
    const seen = play(3, 1, stepOn(3, { insert: 3, remove: 1, release: 1, scan: 0 }), 20260726, 800)
    expect(seen.deadlocks).toBeGreaterThan(200)
    expect(seen.waits).toBeGreaterThan(5000)
  })
})

type Step =
  | { do: 'lock'; id: number; key: number; mode: 'S' | 'X'; kind: Kind; mayWait: boolean }
  | { do: 'insert'; id: number; key: number }
  | { do: 'remove'; key: number }
  | { do: 'release'; id: number }
  | { do: 'cancel'; id: number }
  | { do: 'check'; id: number; on: boolean }
  | { do: 'scan'; id: number; key: number; mode: 'S' | 'X'; kind: Kind; descending: boolean; steps: number; rejects: number }

function run(pair: Pair, one: Step): void {
  if (one.do === 'remove') return pair.remove(one.key)
  if (one.do === 'release') return pair.release(one.id)
  if (one.do === 'cancel') return pair.cancel(one.id)
  if (pair.isWaiting(one.id)) return
  if (one.do === 'insert') return pair.insert(one.id, one.key)
  if (one.do === 'scan') return pair.scan(one.id, one.key, one.mode, one.kind, one.descending, one.steps, one.rejects)
  if (one.do === 'check') {
    pair.owners[one.id].inheritsAll = one.on
    return
  }
  const target = pair.present.has(one.key) ? one.key : pair.successor(one.key)
  pair.request(one.id, target, one.mode, one.kind, one.mayWait)
}
