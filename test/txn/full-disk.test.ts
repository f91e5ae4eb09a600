import { describe, expect, it } from 'vitest'
import { NextkeyError } from '../../src/base/errors.js'
import { openTest, type TestDatabase } from '../support/open-test-database.js'
import { Prng } from '../support/seeded.js'
import type { SimulatedEnvironment } from '../support/simulated-environment.js'

interface Row {
  id: number
  n: number
  pad: string
}

const SMALL = { cacheSize: 2 ** 21, checkpointBytes: 65_536, logSegmentSize: 65_536 }

function clockOf(test: TestDatabase): SimulatedEnvironment['clock'] {
  return (test.environment as SimulatedEnvironment).clock
}

/** The code it is refused with; undefined if it is not. */
async function codeOf(work: () => unknown): Promise<string | undefined> {
  try {
    await work()
    return undefined
  } catch (error) {
    if (error instanceof NextkeyError) return error.code
    throw error
  }
}

/** Rows until one is refused because the data file cannot grow: the log has room. */
async function fill(test: TestDatabase, from: number): Promise<number> {
  const table = await test.db.table<Row>('t', { key: 'id' })
  for (let id = from; ; id++) {
    const code = await codeOf(() => table.put({ id, n: 0, pad: 'p'.repeat(1_000) }))
    if (code === undefined) continue
    expect(code).toBe('ERR_DISK_FULL')
    return id
  }
}

async function makeRoom(test: TestDatabase): Promise<void> {
  test.disk.capacity = Number.POSITIVE_INFINITY
  for (let turn = 0; turn < 10; turn++) await clockOf(test).advanceAsync(turn === 0 ? 100 : 0)
}

describe('on a full disk', () => {
  it('changes are refused, everything can be read, and all goes on when there is space', async () => {
    await using test = await openTest(SMALL)
    const table = await test.db.table<Row>('t', { key: 'id' })
    await table.put({ id: -1, n: 1, pad: '' })
    await table.update(-1, (row) => ({ ...row, n: 0 }))
    test.disk.capacity = test.disk.used + 2 * 2 ** 20
    const first = await fill(test, 0)
    expect(test.db.status()).toMatchObject({ state: 'disk full', failure: expect.stringContaining('free some space') })
    const refused: Record<string, () => unknown> = {
      put: () => table.put({ id: -2, n: 0, pad: '' }),
      update: () => table.update(-1, (row) => ({ ...row, n: 1 })),
      transaction: () => test.db.transaction((tx) => tx.put(table, { id: -2, n: 0, pad: '' })),
      transactionSync: () => test.db.transactionSync((tx) => tx.put(table, { id: -2, n: 0, pad: '' })),
      checkpoint: () => test.db.checkpoint(),
      compact: () => test.db.compact(),
      backup: () => test.db.backup('/copy'),
      purge: () => test.db.purge(),
      'a new index': () => table.createIndex('n', { on: 'n' }),
      'a new table': () => test.db.table('u', { key: 'id' }),
    }
    for (const [what, work] of Object.entries(refused)) expect([what, await codeOf(work)]).toEqual([what, 'ERR_DISK_FULL'])
    expect(table.count()).toBe(first + 1)
    expect(Array.from(table.keys()).length).toBe(first + 1)
    expect(table.get(-1)).toEqual({ id: -1, n: 0, pad: '' })
    await makeRoom(test)
    await test.db.checkpoint()
    expect(test.db.status().state).toBe('open')
    for (const [what, work] of Object.entries(refused)) expect([what, await codeOf(work)]).toEqual([what, undefined])
    await test.crash('none')
    expect((await test.db.table('t')).count()).toBe(first + 2)
  })

  it('a transaction under way is refused its commit, and what it did is undone; or it may be rolled back', async () => {
    await using test = await openTest(SMALL)
    const table = await test.db.table<Row>('t', { key: 'id' })
    await table.put({ id: -1, n: 0, pad: '' })
    const [one, other] = [await test.db.begin(), await test.db.begin()]
    await one.put(table, { id: -2, n: 0, pad: '' })
    await other.put(table, { id: -3, n: 0, pad: '' })
    test.disk.capacity = test.disk.used + 2 * 2 ** 20
    const first = await fill(test, 0)
    expect(await codeOf(() => one.commit())).toBe('ERR_DISK_FULL')
    await other.rollback()
    expect([table.get(-2), table.get(-3), table.count()]).toEqual([undefined, undefined, first + 1])
    await makeRoom(test)
    expect(await codeOf(() => table.put({ id: -2, n: 1, pad: '' }))).toBeUndefined()
  })

  it('a log that is full to the brim has a checkpoint wait, too, which cannot say that it is complete', async () => {
    await using test = await openTest({ ...SMALL, checkpointBytes: 2 ** 30 })
    const table = await test.db.table<Row>('t', { key: 'id' })
    // The log alone cannot grow.
    test.disk.failAt({ on: 'create', path: '.new', times: Number.POSITIVE_INFINITY, code: 'ENOSPC' })
    let n = 0
    const put = async (pad = ''): Promise<string | undefined> => codeOf(() => table.put({ id: 0, n: n + 1, pad }))
    const random = new Prng(1)
    let waited = 0
    for (let round = 0; round < 40 && waited === 0; round++) {
      while ((await put('p'.repeat(random.int(100)))) === undefined) n++
      // The smallest commits fill what is left.
      while ((await put()) === undefined) n++
      const code = await codeOf(() => test.db.checkpoint())
      if (code === undefined) continue
      expect([code, test.db.status().state]).toEqual(['ERR_DISK_FULL', 'disk full'])
      waited++
    }
    expect(waited).toBeGreaterThan(0)
    expect(table.get(0)?.n).toBe(n)
    test.disk.clearFaults()
    await makeRoom(test)
    expect([await put(), test.db.status().state]).toEqual([undefined, 'open'])
    await test.crash('none')
    expect((await test.db.table<Row>('t')).get(0)?.n).toBe(n + 1)
  })

  it('closing does not wait for space, and what was acknowledged is there when it is opened again', async () => {
    await using test = await openTest(SMALL)
    await test.db.table<Row>('t', { key: 'id' })
    test.disk.capacity = test.disk.used + 2 * 2 ** 20
    const first = await fill(test, 0)
    await test.db.close()
    // Where recovery needs more than there is, opening says so; to look at it needs nothing.
    expect(await codeOf(() => test.reopen())).toBe('ERR_DISK_FULL')
    await test.reopen({ readOnly: true })
    await test.close()
    test.disk.capacity = Number.POSITIVE_INFINITY
    await test.reopen()
    expect((await test.db.table('t')).count()).toBe(first)
  })

  it.each([1, 2, 3, 4, 5, 6, 7, 8])(
    'that fills and empties under many clients, nothing is lost, and nothing closes the database (seed %i)',
    async (seed) => {
      const random = new Prng(seed)
      await using test = await openTest({ ...SMALL, cacheSize: 8 * 2 ** 20, seed })
      const clock = clockOf(test)
      const table = await test.db.table<Row>('t', { key: 'id', indexes: { n: { on: 'n' } } })
      const values = new Map<number, number>()
      // Every other seed with much more than the cache holds.
      const rows = seed % 2 === 0 ? 300 : 5_000
      const all = Array.from({ length: 4 * rows }, (_, at) => Math.floor(at / rows) * 10_000 + (at % rows))
      await table.insertMany(all.map((id) => ({ id, n: 0, pad: 'p'.repeat(1_000) })))
      for (const id of all) values.set(id, 0)
      await test.db.checkpoint()
      const codes: Record<string, number> = {}
      let over = false
      const client = async (number: number): Promise<void> => {
        for (let n = 1; !over; n++) {
          const id = number * 10_000 + random.int(rows)
          const pad = 'p'.repeat(random.int(2_000))
          const work = random.int(3)
          const code = await codeOf(async () => {
            if (work === 0) await table.put({ id, n, pad })
            else if (work === 1) await test.db.transaction((tx) => tx.put(table, { id, n, pad }))
            else test.db.transactionSync((tx) => tx.put(table, { id, n, pad }))
          })
          if (code === undefined) values.set(id, n)
          else codes[code] = (codes[code] ?? 0) + 1
          if (code !== undefined) await clock.macrotask()
        }
      }
      const clients = Array.from({ length: 4 }, (_, number) => client(number))
      for (let round = 0; round < 12; round++) {
        test.disk.capacity = test.disk.used + random.int(60) * 16_384
        for (let turn = 0; turn < 60; turn++) await clock.macrotask()
        test.disk.capacity = Number.POSITIVE_INFINITY
        clock.advance(100)
        for (let turn = 0; turn < 40; turn++) await clock.macrotask()
      }
      over = true
      await Promise.all(clients)
      expect(Object.keys(codes)).toEqual(['ERR_DISK_FULL'])
      expect(test.db.engine.failure).toBeUndefined()
      await test.crash('torn')
      const found = await test.db.table<Row>('t')
      expect(new Map(Array.from(found.values(), ({ id, n }) => [id, n]))).toEqual(values)
    },
  )
})
