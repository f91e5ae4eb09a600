import { describe, expect, it } from 'vitest'
import type { TrxId } from '../../src/base/ids.js'
import { ActiveTransactions } from '../../src/txn/active-transactions.js'
import type { Trx } from '../../src/txn/trx.js'
import { Prng } from '../support/seeded.js'

const trx = (trxId: number): Trx => ({ trxId: trxId as TrxId, before: null, after: null }) as Trx
const ids = (active: ActiveTransactions): number[] => Array.from(active, ({ trxId }) => trxId)

describe('the table of active transactions', () => {
  it('finds exactly those that came and have not left, whatever their ids, and lists them in order', () => {
    for (let seed = 1; seed <= 20; seed++) {
      const random = new Prng(seed)
      const active = new ActiveTransactions()
      const expected = new Map<number, Trx>()
      let next = seed % 2 === 0 ? 2 ** 32 - 50 : 1
      for (let step = 0; step < 2000; step++) {
        if (expected.size < 40 * random.int(3) || expected.size === 0) {
          // Gaps make ids collide that lie far from each other.
          next += 1 + random.int(40)
          const one = trx(next)
          active.add(one)
          expected.set(next, one)
        } else {
          const id = random.pick([...expected.keys()])
          active.remove(expected.get(id) as Trx)
          expected.delete(id)
        }
        const probe = (next - random.int(200)) as TrxId
        expect(active.get(probe)).toBe(expected.get(probe))
        expect(active.size).toBe(expected.size)
        expect(active.oldest?.trxId).toBe(expected.keys().next().value)
      }
      expect(ids(active)).toEqual([...expected.keys()])
      for (const [id, one] of expected) expect(active.get(id as TrxId)).toBe(one)
    }
  })

  it('takes no notice of one that leaves and is not there', () => {
    const active = new ActiveTransactions()
    active.add(trx(5))
    active.remove(trx(21))
    expect(ids(active)).toEqual([5])
  })
})
