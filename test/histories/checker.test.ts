import { describe, expect, it } from 'vitest'
import type { Anomaly } from './anomalies.js'
import { type CheckOptions, checkHistory, MalformedHistoryError } from './checker.js'
import { components, Edge, EdgeList } from './graph.js'
import type { History, Operation, RecordedTransaction, TransactionOutcome } from './history.js'

const append = (key: number, value: number): Operation => ({ f: 'append', key, value })
const list = (key: number, ...value: number[]): Operation => ({ f: 'readList', key, value })
const write = (key: number, value: number, version?: number): Operation => ({
  f: 'write',
  key,
  value,
  ...(version === undefined ? {} : { version }),
})
const read = (key: number, value?: number): Operation => ({ f: 'read', key, value })
const enter = (group: number, member: number): Operation => ({ f: 'enter', group, member })
const leave = (group: number, member: number): Operation => ({ f: 'leave', group, member })
const scan = (group: number, ...members: number[]): Operation => ({ f: 'scan', group, lower: 0, upper: 9, found: members })
const locking = (op: Operation): Operation => ({ ...op, locking: true }) as Operation

type Line = Operation[] | { outcome: TransactionOutcome; ops: Operation[] }
const aborted = (...ops: Operation[]): Line => ({ outcome: 'aborted', ops })
const unknown = (...ops: Operation[]): Line => ({ outcome: 'unknown', ops })

/** Transactions that all overlap, ending in the order given. */
function overlapping(...lines: Line[]): RecordedTransaction[] {
  return lines.map((line, i) => ({ ...(Array.isArray(line) ? { outcome: 'committed', ops: line } : line), began: i, ended: 100 + i }))
}

/** Transactions one after the other. */
function successive(...lines: Line[]): RecordedTransaction[] {
  return overlapping(...lines).map((transaction, i) => ({ ...transaction, began: 2 * i, ended: 2 * i + 1 }))
}

function found(transactions: RecordedTransaction[], rest: Omit<History, 'transactions'> = {}, options: CheckOptions = {}): Anomaly[] {
  return checkHistory({ transactions, ...rest }, options).anomalies.kinds.sort()
}

describe('a clean history', () => {
  it('of lists, registers and groups in serial order shows nothing', () => {
    const history = successive(
      [append(1, 10), write(2, 20), enter(3, 1)],
      [list(1, 10), read(2, 20), scan(3, 1, 2), append(1, 11)],
      [leave(3, 2), list(1, 10, 11), write(2, 21)],
      aborted(append(1, 12), write(2, 22), enter(3, 5)),
      [list(1, 10, 11), read(2, 21), scan(3, 1)],
    )
    expect(found(history, { initialMembers: new Map([[3, new Set([2])]]), readsEverythingAtEnd: true }, { realTime: true })).toEqual([])
  })

  it('of a transaction that reads what it wrote shows nothing', () => {
    expect(
      found(
        overlapping([list(1), append(1, 1), list(1, 1), append(1, 2), list(1, 1, 2), write(2, 5), read(2, 5), write(2, 6), read(2, 6)]),
      ),
    ).toEqual([])
  })

  it('in which a read-only transaction sees an older state shows nothing without real time', () => {
    const history = successive([append(1, 1)], [append(1, 2)], [list(1, 1)], [list(1, 1, 2)])
    expect(found(history)).toEqual([])
    expect(found(history, {}, { realTime: true })).toEqual(['realtime'])
  })
})

describe('G0, dirty write', () => {
  it('two transactions append to two lists in opposite orders', () => {
    expect(found(overlapping([append(1, 1), append(2, 1)], [append(1, 2), append(2, 2)], [list(1, 1, 2), list(2, 2, 1)]))).toContain('G0')
  })

  it('two transactions write two registers in opposite orders', () => {
    expect(found(overlapping([write(1, 10, 1), write(2, 10, 2)], [write(1, 20, 2), write(2, 20, 1)]))).toEqual(['G0'])
  })
})

describe('G1', () => {
  it('a: a value of an aborted transaction is read', () => {
    expect(found(overlapping(aborted(append(1, 1)), [list(1, 1)]))).toEqual(['G1a'])
    expect(found(overlapping(aborted(write(1, 1)), [read(1, 1)]))).toEqual(['G1a'])
    expect(found(overlapping(aborted(enter(1, 1)), [scan(1, 1)]))).toEqual(['G1a'])
  })

  it('a: what was read of aborted transactions is no part of the order of versions', () => {
    expect(found(overlapping(aborted(append(1, 8), append(1, 9)), [list(1, 8, 9)], [append(1, 1)], [list(1, 1)]))).toEqual(['G1a'])
  })

  it('b: a value is read that its writer then overwrites', () => {
    expect(found(overlapping([append(1, 1), append(1, 2)], [list(1, 1)], [list(1, 1, 2)]))).toContain('G1b')
    expect(found(overlapping([write(1, 1, 1), write(1, 2, 2)], [read(1, 1)]))).toContain('G1b')
  })

  it('c: two transactions read each other', () => {
    expect(found(overlapping([append(1, 1), list(2, 2)], [append(2, 2), list(1, 1)]))).toEqual(['G1c'])
    expect(found(overlapping([write(1, 1), read(2, 2)], [write(2, 2), read(1, 1)]))).toEqual(['G1c'])
    expect(found(overlapping([enter(1, 1), scan(2, 2)], [enter(2, 2), scan(1, 1)]))).toEqual(['G1c'])
  })
})

describe('G-single, read skew', () => {
  it('one object is read before, another after somebody wrote both', () => {
    expect(found(overlapping([list(1), list(2, 2)], [append(1, 1), append(2, 2)], [list(1, 1), list(2, 2)]))).toEqual(['G-single'])
    expect(found(overlapping([read(1), read(2, 20)], [write(1, 10, 1), write(2, 20, 1)]))).toEqual(['G-single'])
  })

  it('a scan misses what a second scan of another group shows of the same writer', () => {
    expect(found(overlapping([scan(1), scan(2, 2)], [enter(1, 1), enter(2, 2)]))).toEqual(['G-single'])
  })

  it('a transaction that leaves is half seen', () => {
    const initialMembers = new Map([[1, new Set([1])]])
    expect(found(overlapping([scan(1, 1), read(2, 20)], [leave(1, 1), write(2, 20, 1)]), { initialMembers })).toEqual(['G-single'])
  })

  it('the way back may go through other transactions', () => {
    const history = overlapping([list(1), list(3, 3)], [append(1, 1), append(2, 2)], [list(2, 2), append(3, 3)], [list(1, 1)])
    expect(found(history)).toEqual(['G-single'])
  })
})

describe('lost update', () => {
  it('two transactions read one version and both write', () => {
    expect(found(overlapping([list(1), append(1, 1)], [list(1), append(1, 2)], [list(1, 1, 2)]))).toEqual(['G-single', 'lost-update'])
    expect(found(overlapping([read(1), write(1, 10, 1)], [read(1), write(1, 20, 2)]))).toEqual(['G-single', 'lost-update'])
  })

  it('is inferred for registers without version numbers', () => {
    expect(found(overlapping([write(1, 1)], [read(1, 1), write(1, 10)], [read(1, 1), write(1, 20)]))).toContain('lost-update')
  })

  it('is none when the object is read again before it is written', () => {
    const history = overlapping([list(1), list(1, 2), append(1, 1)], [append(1, 2)], [list(1, 2, 1)])
    expect(found(history)).not.toContain('lost-update')
    expect(found(history)).toContain('non-repeatable-read')
  })
})

describe('cycles with several anti-dependencies', () => {
  it('write skew on items is G2-item', () => {
    const history = overlapping([list(1), append(2, 2)], [list(2), append(1, 1)], [list(1, 1), list(2, 2)])
    expect(found(history)).toEqual(['G2-item'])
    expect(found(overlapping([read(1), write(2, 20, 1)], [read(2), write(1, 10, 1)]))).toEqual(['G2-item'])
  })

  it('write skew on predicates is G2', () => {
    expect(found(overlapping([scan(1), enter(1, 1)], [scan(1), enter(1, 2)]))).toEqual(['G2'])
  })

  it('an item on one side and a predicate on the other is G2', () => {
    expect(found(overlapping([scan(1), write(2, 20, 1)], [read(2), enter(1, 1)]))).toEqual(['G2'])
  })

  it('the read-only anomaly of snapshot isolation is G2-item, with adjacent anti-dependencies', () => {
    const history = overlapping([list(1), list(2), append(1, 1)], [append(2, 2)], [list(1), list(2, 2)], [list(1, 1), list(2, 2)])
    expect(found(history)).toEqual(['G2-item'])
  })

  it('a long fork is G-nonadjacent as well', () => {
    const history = overlapping([append(1, 1)], [append(2, 2)], [list(1, 1), list(2)], [list(1), list(2, 2)], [list(1, 1), list(2, 2)])
    expect(found(history)).toEqual(['G-nonadjacent', 'G2-item'])
  })
})

describe('what needs no cycle', () => {
  it('a transaction that misses its own write', () => {
    expect(found(overlapping([append(1, 1), list(1)]))).toEqual(['internal'])
    expect(found(overlapping([write(1, 1), read(1)]))).toEqual(['internal'])
    expect(found(overlapping([enter(1, 1), scan(1)]))).toEqual(['internal'])
  })

  it('a transaction that reads its own future', () => {
    expect(found(overlapping([list(1, 1), append(1, 1)]))).toEqual(['internal'])
    expect(found(overlapping([scan(1, 1), enter(1, 1)]))).toEqual(['internal'])
  })

  it('two reads that differ, unless one of them locked', () => {
    expect(found(overlapping([list(1), list(1, 1)], [append(1, 1)]))).toEqual(['G-single', 'non-repeatable-read'])
    expect(found(overlapping([read(1), read(1, 1)], [write(1, 1, 1)]))).toEqual(['G-single', 'non-repeatable-read'])
    expect(found(overlapping([scan(1), scan(1, 1)], [enter(1, 1)]))).toEqual(['G-single', 'non-repeatable-read'])
    expect(found(overlapping([list(1), locking(list(1, 1))], [append(1, 1)]))).toEqual(['G-single'])
  })

  it('a write that brings newer changes of others into view', () => {
    expect(found(overlapping([list(1), append(1, 2), list(1, 1, 2)], [append(1, 1)]))).toEqual([
      'G-single',
      'lost-update',
      'moved-snapshot',
    ])
  })

  it('a member whose row was taken over', () => {
    const initialMembers = new Map([[1, new Set([1])]])
    const takesOver: Operation = { f: 'enter', group: 1, member: 2, insteadOf: 1 }
    const history = overlapping([scan(1, 1), takesOver, scan(1, 2)], [leave(1, 1)])
    expect(found(history, { initialMembers })).toEqual(['G-single', 'moved-snapshot'])
  })

  it('a value nobody wrote, a member nobody added or removed', () => {
    expect(found(overlapping([list(1, 9)]))).toEqual(['garbage-read'])
    expect(found(overlapping([read(1, 9)]))).toEqual(['garbage-read'])
    expect(found(overlapping([scan(1, 9)]))).toEqual(['garbage-read'])
    expect(found(overlapping([scan(1)]), { initialMembers: new Map([[1, new Set([4])]]) })).toEqual(['garbage-read'])
  })

  it('a list that shows a value twice', () => {
    expect(found(overlapping([append(1, 1)], [list(1, 1, 1)]))).toContain('duplicate-write')
  })

  it('lists no order explains', () => {
    expect(found(overlapping([append(1, 1)], [append(1, 2)], [list(1, 1)], [list(1, 2, 1)]))).toContain('incompatible-order')
  })

  it('two writers of one version', () => {
    expect(found(overlapping([write(1, 10, 1)], [write(1, 20, 1)]))).toContain('incompatible-order')
  })

  it('a committed write missing at the end', () => {
    const history = successive([append(1, 1)], [append(1, 2)], [list(1, 2)])
    expect(found(history, { readsEverythingAtEnd: true })).toContain('lost-write')
    expect(found(history)).not.toContain('lost-write')
  })
})

describe('transactions whose outcome is unknown', () => {
  it('count as committed once somebody saw their writes', () => {
    expect(found(overlapping(unknown(append(1, 1), append(2, 2)), [list(1, 1), list(2)], [list(2, 2)]))).toEqual(['G-single'])
    expect(found(overlapping(unknown(leave(1, 1)), [scan(1)]), { initialMembers: new Map([[1, new Set([1])]]) })).toEqual([])
  })

  it('otherwise count as never having been', () => {
    expect(found(overlapping(unknown(append(1, 1)), [list(1)]), { readsEverythingAtEnd: true })).toEqual([])
  })

  it('are not proven by dirty reads, but by reads after they were cut off', () => {
    const [cutOff, reader] = overlapping(unknown(append(1, 1)), [list(1, 1)])
    expect(found([cutOff, reader], {}, { dirtyReads: true })).toEqual(['G1a'])
    expect(found([cutOff, reader], {})).toEqual([])
    expect(found([cutOff, { ...reader, began: cutOff.ended + 1 }], {}, { dirtyReads: true })).toEqual([])
  })

  it('vouch for one another', () => {
    expect(found(overlapping(unknown(append(1, 1)), unknown(list(1, 1), append(2, 2)), [list(2, 2), list(1)]))).toEqual(['G-single'])
  })
})

describe('the report', () => {
  it('shows the cycle and what its transactions did', () => {
    const { anomalies } = checkHistory({
      transactions: overlapping([list(1), append(2, 2)], [list(2), append(1, 1)], [list(1, 1), list(2, 2)]),
    })
    expect(anomalies.examples('G2-item')[0]).toBe(
      ['T0 –rw 1→ T1 –rw 2→ T0', 'T0: read 1 []; append 2 2', 'T1: read 2 []; append 1 1'].join('\n    '),
    )
  })

  it('counts no more cycles than asked for', () => {
    const skew = (n: number): Line[] => [
      [list(2 * n), append(2 * n + 1, 1)],
      [list(2 * n + 1), append(2 * n, 1)],
      [list(2 * n, 1), list(2 * n + 1, 1)],
    ]
    const transactions = overlapping(...Array.from({ length: 20 }, (_, n) => skew(n)).flat())
    expect(checkHistory({ transactions }, { witnesses: 5 }).anomalies.count('G2-item')).toBe(5)
  })

  it('refuses a history in which a value is written twice or a member changes twice', () => {
    expect(() => found(overlapping([append(1, 1)], [append(1, 1)]))).toThrow(MalformedHistoryError)
    expect(() => found(overlapping([enter(1, 1)], [enter(1, 1)]))).toThrow(MalformedHistoryError)
    expect(() => found(overlapping([leave(1, 1)]))).toThrow(MalformedHistoryError)
  })
})

describe('components', () => {
  it('agree with reachability on random graphs', () => {
    let state = 7
    const random = (n: number) => {
      state = (Math.imul(state, 1103515245) + 12345) >>> 0
      return Math.floor((state / 2 ** 32) * n)
    }
    for (let round = 0; round < 60; round++) {
      const nodes = 2 + random(9)
      const edges = new EdgeList(nodes)
      const reach = Array.from({ length: nodes }, (_, i) =>
        Array<boolean>(nodes)
          .fill(false)
          .fill(true, i, i + 1),
      )
      for (let e = random(20); e > 0; e--) {
        const [a, b] = [random(nodes), random(nodes)]
        edges.add(a, b, Edge.WriteWrite, 0)
        reach[a][b] = true
      }
      for (let k = 0; k < nodes; k++)
        for (let i = 0; i < nodes; i++) for (let j = 0; j < nodes; j++) reach[i][j] ||= reach[i][k] && reach[k][j]
      const { of } = components(edges.build(), Edge.WriteWrite)
      for (let i = 0; i < nodes; i++) {
        for (let j = 0; j < nodes; j++) {
          expect(of[i] === of[j]).toBe(reach[i][j] && reach[j][i])
          if (reach[i][j] && !reach[j][i]) expect(of[i]).toBeGreaterThan(of[j])
        }
      }
    }
  })
})
