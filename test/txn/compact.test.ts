import { describe, expect, it } from 'vitest'
import { Page } from '../../src/storage/page-format.js'
import { openTest } from '../support/open-test-database.js'

interface Row {
  id: number
  pad: string
}

describe('compact', () => {
  it.each([100, 2_000, 10_000])(
    'of %i rows of which most are gone leaves little more than the pages there are, and once is enough',
    async (count) => {
      await using test = await openTest()
      const table = await test.db.table<Row>('t', { key: 'id' })
      await table.insertMany(Array.from({ length: count }, (_, id) => ({ id, pad: 'p'.repeat(200) })))
      await test.db.checkpoint()
      await test.db.transaction(async (tx) => {
        for (let id = 0; id < count; id++) if (id % 4 > 0) await tx.delete(table, id)
      })
      await test.db.purge()
      const { before, after } = await test.db.compact()
      expect(after).toBeLessThanOrEqual(before)
      const { pager, checkpoints } = test.db.engine
      // Two superblocks, the map, and what the last checkpoint has replaced: the root record, the map again.
      expect(after / Page.Size).toBeLessThanOrEqual(pager.map.pageCount + 2 + checkpoints.mapBlocks * 2 + 4)
      expect(await test.db.compact()).toEqual({ before: after, after })
      expect(test.disk.open(`${test.directory}/nextkey.db`).size()).toBe(after)
      expect(Array.from(table.keys()).length).toBe(Math.ceil(count / 4))
    },
  )

  it('goes on beside writers, and nothing is lost', async () => {
    await using test = await openTest({ checkpointBytes: 65_536 })
    const table = await test.db.table<Row>('t', { key: 'id' })
    await table.insertMany(Array.from({ length: 3_000 }, (_, id) => ({ id, pad: 'p'.repeat(500) })))
    await test.db.checkpoint()
    for (let id = 0; id < 2_000; id++) await table.delete(id)
    let over = false
    const compacting = test.db.compact().finally(() => {
      over = true
    })
    let written = 0
    for (; !over; written++) await table.put({ id: 10_000 + written, pad: 'q'.repeat(500) })
    await compacting
    expect(table.count()).toBe(1_000 + written)
    await test.crash('torn')
    expect((await test.db.table('t')).count()).toBe(1_000 + written)
  })
})
