import { expect, it } from 'vitest'
import type { NextkeyError } from '../../src/base/errors.js'
import { openWith } from '../../src/database.js'
import { openTest } from '../support/open-test-database.js'
import { SimulatedDisk } from '../support/simulated-disk.js'
import { simulatedEnvironment } from '../support/simulated-environment.js'

it('a database that is closed while a transaction too big for the log asks to commit rolls it back, and tells it so', async () => {
  const disk = new SimulatedDisk({ seed: 1 })
  const options = { cacheSize: 2 ** 21, logSegmentSize: 65_536 }
  // The way of openTest runs a check first, and the commit would be over.
  const db = await openWith(simulatedEnvironment({ disk }), '/database', options)
  const table = await db.table<{ id: number; pad: string }>('t', { key: 'id' })
  const tx = await db.begin()
  for (let id = 0; id < 100; id++) await tx.put(table, { id, pad: 'p'.repeat(20_000) })
  const committing = tx.commit().then(
    () => 'committed',
    (error: NextkeyError) => error.code,
  )
  await db.close()
  expect(await committing).toBe('ERR_TRANSACTION_ENDED')
  await using test = await openTest({ disk, ...options })
  expect((await test.db.table('t')).count()).toBe(0)
})
