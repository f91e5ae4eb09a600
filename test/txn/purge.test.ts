import { expect, it } from 'vitest'
import type { Engine } from '../../src/txn/engine.js'
import { Purge } from '../../src/txn/purge.js'
import { openTest } from '../support/open-test-database.js'

/** Rows of some pages each. */
const row = (id: number, letter: string): object => ({ id, text: letter.repeat(60_000) })

/** Purges until something is freed, as a first slice might. The simulated clock stands still: nobody else purges. */
function purgeUntilFreed(engine: Engine): void {
  const purge = new Purge(engine.pager, engine.system, engine.catalog, engine.rowLocks)
  const before = engine.pager.map.pageCount
  while (engine.pager.map.pageCount === before && purge.hasWork) engine.change(() => purge.step(1))
}

it('purge that a crash cut off in the middle of a transaction frees no chain again, though its pages hold another row by now', async () => {
  await using test = await openTest()
  const rows = await test.db.table('rows', { key: 'id' })
  await test.db.transaction(async (tx) => {
    for (let id = 1; id <= 3; id++) await tx.put(rows, row(id, 'a'))
  })
  await test.db.purge()
  await test.db.transaction(async (tx) => {
    for (let id = 1; id <= 3; id++) await tx.put(rows, row(id, 'b'))
  })
  const { map } = test.db.engine.pager
  const before = map.pageCount
  purgeUntilFreed(test.db.engine)
  expect(before - map.pageCount).toBeGreaterThanOrEqual(4)
  expect(test.db.engine.system.history.length).toBe(1)
  await rows.put(row(4, 'c'))
  expect(map.pageCount).toBe(before)
  await test.db.checkpoint()
  await test.crash('none')
  await test.db.purge()
  const again = await test.db.table('rows')
  expect(Array.from(again.values())).toEqual([row(1, 'b'), row(2, 'b'), row(3, 'b'), row(4, 'c')])
})
