import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { TreeId } from '../../src/base/ids.js'
import { compareKeys, keyBytes, PackedKey } from '../../src/lock/lock-key.js'
import { RecordBits } from '../../src/lock/lock-modes.js'
import { LockOwner } from '../../src/lock/lock-owner.js'
import { type LockRun, LockRuns } from '../../src/lock/lock-runs.js'

const INDEX = 1 as TreeId

function pack(bytes: Uint8Array): PackedKey {
  return new PackedKey().pack(INDEX, bytes, bytes.length)
}

function at(number: number): PackedKey {
  return pack(Uint8Array.of(number >> 8, number & 255))
}

function covering(runs: LockRuns, number: number): Set<LockRun> {
  const found: LockRun[] = []
  runs.stab(INDEX, at(number), found)
  const distinct = new Set(found)
  if (distinct.size !== found.length) throw new Error(`a run was found twice for ${number}`)
  return distinct
}

describe('packed keys', () => {
  const bytes = fc.uint8Array({ maxLength: 11 })

  it('are ordered as their bytes are', () => {
    fc.assert(
      fc.property(bytes, bytes, (a, b) => {
        const [left, right] = [pack(a), pack(b)]
        expect(Math.sign(compareKeys(left.words, left.length, right.words, right.length))).toBe(Buffer.compare(a, b))
      }),
      { seed: 1, numRuns: 2000 },
    )
  })

  it('give their bytes back', () => {
    const property = fc.property(bytes, (key) => {
      expect(keyBytes(pack(key).words, 0, key.length)).toEqual(key)
    })
    fc.assert(property, { seed: 2, numRuns: 500 })
  })
})

/** An interval of a list of runs: [first, last] with flags, the naive counterpart. */
interface Interval {
  first: number
  last: number
  firstOpen: boolean
  lastOpen: boolean
}

function contains({ first, last, firstOpen, lastOpen }: Interval, key: number): boolean {
  return (firstOpen ? key > first : key >= first) && (lastOpen ? key < last : key <= last)
}

describe('lock runs', () => {
  it('are found by any key within, however they overlap, grow, split and go away', () => {
    const number = fc.nat({ max: 60 })
    const step = fc.oneof(
      { weight: 3, arbitrary: fc.record({ do: fc.constant('start' as const), key: number }) },
      {
        weight: 6,
        arbitrary: fc.record({ do: fc.constant('grow' as const), pick: fc.nat(), by: fc.integer({ min: 1, max: 20 }), down: fc.boolean() }),
      },
      { weight: 2, arbitrary: fc.record({ do: fc.constant('cut' as const), key: number }) },
      { weight: 1, arbitrary: fc.record({ do: fc.constant('remove' as const), pick: fc.nat() }) },
    )
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40, size: 'max' }), (steps) => {
        const runs = new LockRuns()
        const owner = new LockOwner(1)
        const intervals = new Map<LockRun, Interval>()
        const pick = (chosen: number): [LockRun, Interval] | undefined => [...intervals][chosen % Math.max(1, intervals.size)]
        for (const one of steps) {
          if (one.do === 'start') {
            intervals.set(runs.start(owner, INDEX, RecordBits.XRecord, at(one.key)), {
              first: one.key,
              last: one.key,
              firstOpen: false,
              lastOpen: false,
            })
          } else if (one.do === 'grow') {
            const [run, interval] = pick(one.pick) ?? []
            if (run === undefined || interval === undefined) continue
            runs.grow(run, at(one.down ? Math.max(0, interval.first - one.by) : interval.last + one.by), one.down)
            if (one.down) Object.assign(interval, { first: Math.max(0, interval.first - one.by), firstOpen: false })
            else Object.assign(interval, { last: interval.last + one.by, lastOpen: false })
          } else if (one.do === 'cut') {
            cutEverything(runs, intervals, one.key)
          } else {
            const [run] = pick(one.pick) ?? []
            if (run === undefined) continue
            runs.remove(run)
            intervals.delete(run)
          }
          expect(misjudged(runs, intervals)).toEqual([])
          expect(runs.count).toBe(intervals.size)
        }
      }),
      { seed: 3, numRuns: 300 },
    )
  })

  it('stay fast to find when there are many', () => {
    const runs = new LockRuns()
    const owner = new LockOwner(1)
    // In ascending order, the worst one for an unbalanced tree: its depth would overflow the stack.
    for (let number = 0; number < 30_000; number++) runs.start(owner, INDEX, RecordBits.SRecord, at(number))
    expect(covering(runs, 29_999).size).toBe(1)
    while (owner.firstRun !== null) runs.remove(owner.firstRun)
    expect(runs.count).toBe(0)
  })
})

/** Keys for which the runs found are not those whose interval contains them. */
function misjudged(runs: LockRuns, intervals: Map<LockRun, Interval>): number[] {
  const wrong: number[] = []
  for (let key = 0; key <= 81; key++) {
    const found = covering(runs, key)
    for (const [run, interval] of intervals) if (contains(interval, key) !== found.delete(run)) wrong.push(key)
    if (found.size > 0) wrong.push(key)
  }
  return wrong
}

/** Cuts a key out of every run that covers it, on both sides. New runs are recognised by their absence so far. */
function cutEverything(runs: LockRuns, intervals: Map<LockRun, Interval>, key: number): void {
  for (const run of covering(runs, key)) {
    const interval = intervals.get(run) as Interval
    const upper: Interval = { ...interval, first: key, firstOpen: true }
    runs.cutOut(run, at(key))
    Object.assign(interval, { last: key, lastOpen: true })
    if (run.tree === null) {
      expect(interval.first).toBe(key)
      intervals.delete(run)
    }
    const newest = run.owner.firstRun
    if (newest !== null && !intervals.has(newest)) intervals.set(newest, upper)
    else expect(upper.last).toBe(key)
  }
}
