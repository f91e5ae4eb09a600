/**
 * Breadth-first exploration of every interleaving. A state is visited once; what is remembered of it is a 53-bit hash
 * (of ten million states, the odds that any two share one are below 1 in 100). Breadth first, so that a counterexample is a
 * shortest one.
 */
import { canCrash, crashes, initialState, type Program, steps, withoutMemory } from './recovery-model.js'
import { type Bug, Damaged, type State, Violation } from './state.js'

export interface Result {
  states: number
  transitions: number
  /** States in which the process crashed, counted by what differs on disk or in the oracle. */
  crashed: number
  /** Every label of a step or crash that was taken. */
  labels: ReadonlySet<string>
  violation: { invariant: string; message: string; trace: string[] } | null
}

function hash53(text: string): number {
  let high = 0xdeadbeef
  let low = 0x41c6ce57
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i)
    high = Math.imul(high ^ code, 0x9e3779b1)
    low = Math.imul(low ^ code, 0x5f356495)
  }
  high = Math.imul(high ^ (high >>> 16), 0x85ebca6b) ^ Math.imul(low ^ (low >>> 13), 0xc2b2ae35)
  low = Math.imul(low ^ (low >>> 16), 0x85ebca6b) ^ Math.imul(high ^ (high >>> 13), 0xc2b2ae35)
  return (low >>> 0) * 0x200000 + (high >>> 11)
}

/** A Set holds at most 2^24 numbers, and a long exploration meets more states. */
class HashSet {
  readonly #shards: Set<number>[] = Array.from({ length: 64 }, () => new Set())
  size = 0

  /** Whether it was new. */
  add(hash: number): boolean {
    const shard = this.#shards[hash % 64]
    if (shard.has(hash)) return false
    shard.add(hash)
    this.size++
    return true
  }
}

class Explorer {
  readonly #seen = new HashSet()
  readonly #crashed = new HashSet()
  readonly #queue: (string | null)[] = []
  readonly #parents: number[] = []
  readonly #labels: number[] = []
  readonly #labelNumbers = new Map<string, number>()
  #transitions = 0

  add(parent: number, label: string, state: State): void {
    this.#transitions++
    const number = this.#labelNumbers.get(label) ?? this.#labelNumbers.size
    this.#labelNumbers.set(label, number)
    if (state.over) return
    const text = JSON.stringify(state)
    if (!this.#seen.add(hash53(text))) return
    this.#queue.push(text)
    this.#parents.push(parent)
    this.#labels.push(number)
  }

  run(limit: number): Result {
    for (let at = 0; at < this.#queue.length && at < limit; at++) {
      const text = this.#queue[at]!
      this.#queue[at] = null
      const state = JSON.parse(text) as State
      for (const [label, run] of steps(state)) {
        const next = JSON.parse(text) as State
        const error = attempt(() => run(next))
        if (error instanceof Damaged && next.ghost.rotten) continue
        if (error !== null) return this.#result({ at, label, error })
        this.add(at, label, next)
      }
      if (canCrash(state)) this.#crash(at, withoutMemory(state))
    }
    return this.#result(null)
  }

  #crash(at: number, bare: State): void {
    if (!this.#crashed.add(hash53(JSON.stringify(bare)))) return
    for (const [label, next] of crashes(bare)) this.add(at, label, next)
  }

  #result(found: { at: number; label: string; error: Violation | Damaged } | null): Result {
    const labels = [...this.#labelNumbers.keys()]
    const counts = { states: this.#seen.size, transitions: this.#transitions, crashed: this.#crashed.size, labels: new Set(labels) }
    if (found === null) return { ...counts, violation: null }
    const trace = [found.label]
    for (let at = found.at; at > 0; at = this.#parents[at]) trace.unshift(labels[this.#labels[at]])
    const { error } = found
    if (error instanceof Violation) return { ...counts, violation: { invariant: error.invariant, message: error.message, trace } }
    return { ...counts, violation: { invariant: 'I6', message: `after a mere crash damage is reported: ${error.message}`, trace } }
  }
}

function attempt(run: () => void): Violation | Damaged | null {
  try {
    run()
    return null
  } catch (error) {
    if (error instanceof Violation || error instanceof Damaged) return error
    throw error
  }
}

/** Explores the program with a correct engine, or with a broken one. Stops at the first violation or after `limit` states. */
export function explore(program: Program, bug?: Bug, limit: number = Number.POSITIVE_INFINITY): Result {
  const explorer = new Explorer()
  explorer.add(-1, 'start', initialState(program, bug))
  return explorer.run(limit)
}
