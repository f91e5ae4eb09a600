import { expect, it } from 'vitest'
import { openTest } from '../support/open-test-database.js'

/** Rows of which four fill a page, in a table of more pages than a small file may have in excess. */
const ROWS = 20_000
const row = (id: number, letter: string): object => ({ id, text: letter.repeat(3500) })

it('a checkpoint of a database of which every page was changed makes nobody wait for it', async () => {
  await using test = await openTest({ cacheSize: 256 * 2 ** 20, checkpointBytes: 1024 * 2 ** 20, durability: 'lazy' })
  const { db } = test
  const table = await db.table('rows', { key: 'id' })
  const fill = (letter: string): void => {
    for (let first = 0; first < ROWS; first += 1000)
      db.transactionSync((tx) => {
        for (let id = first; id < first + 1000; id++) tx.put(table, row(id, letter))
      })
  }
  fill('a')
  await db.purge()
  await db.checkpoint()
  fill('b')
  await db.purge()
  let over = false
  const checkpoint = db.checkpoint().finally(() => {
    over = true
  })
  let turns = 0
  let mostReplaced = 0
  while (!over) {
    expect(db.engine.checkpoints.overdue()).toBeUndefined()
    mostReplaced = Math.max(mostReplaced, db.engine.pager.allocator.replacedByFrozen)
    await test.environment.clock.macrotask()
    turns++
  }
  await checkpoint
  // Enough that it would be overdue if what it has replaced counted.
  expect(mostReplaced).toBeGreaterThan(4000)
  expect(turns).toBeGreaterThan(10)
})
