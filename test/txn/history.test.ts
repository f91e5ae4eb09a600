import { expect, test } from 'vitest'
import type { CommitNumber, PageId, TrxId } from '../../src/base/ids.js'
import { History } from '../../src/txn/history.js'
import { isSmallInteger } from '../support/small-integer.js'

test('pages and offsets leave the history list as small integers: what they are handed to is compiled for those', () => {
  const history = new History()
  history.push(1 as TrxId, 2 as CommitNumber, 3 as PageId, 64)
  expect([history.pageAt(0), history.offsetAt(0)]).toEqual([3, 64])
  expect(isSmallInteger(history.pageAt(0)) && isSmallInteger(history.offsetAt(0))).toBe(true)
  expect(isSmallInteger(new Float64Array([3])[0])).toBe(false)
})
