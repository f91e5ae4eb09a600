import { describe, expect, it } from 'vitest'
import type { Database } from '../../src/database.js'
import type { LongTransaction } from '../../src/introspection.js'
import { openTest, type TestDatabase } from '../support/open-test-database.js'
import type { SimulatedClock } from '../support/seeded.js'
import { expectNothingLeft, outcomeOf, row, standstill, things } from '../txn/things.js'

/** What the database tells of itself: events, and views that outlive their welcome. */

const clockOf = (test: TestDatabase): SimulatedClock => test.environment.clock as SimulatedClock

describe('longTransaction', () => {
  function reportsOf(db: Database): LongTransaction[] {
    const reports: LongTransaction[] = []
    db.on('longTransaction', (report) => reports.push(report))
    return reports
  }

  it('tells once of each transaction that stays open for longTransactionTime, with what it holds', async () => {
    await using test = await things({ longTransactionTime: 500 })
    const { db, table } = test
    const reports = reportsOf(db)
    const first = await db.begin()
    await first.get(table, 20, { lock: 'update' })
    clockOf(test).advance(300)
    const second = await db.begin({ isolation: 'serializable' })
    clockOf(test).advance(199)
    expect(reports).toEqual([])
    clockOf(test).advance(1)
    expect(reports).toMatchObject([{ id: first.id, age: 500, isolation: 'repeatable-read', waitingFor: undefined }])
    expect(reports[0].held.map(({ mode, kind, key }) => `${mode} ${kind} ${key}`)).toEqual(['IX table undefined', 'X record 20'])
    clockOf(test).advance(10_000)
    expect(reports.map(({ id, age }) => [id, age])).toEqual([
      [first.id, 500],
      [second.id, 500],
    ])
    await first.commit()
    await second.commit()
    await expectNothingLeft(db)
  })

  it('says nothing of those that end before, nor of synchronous ones', async () => {
    await using test = await things()
    const { db, table } = test
    const reports = reportsOf(db)
    const tx = await db.begin()
    clockOf(test).advance(9_999)
    await tx.commit()
    db.transactionSync((sync) => {
      sync.insert(table, row(1))
      clockOf(test).advance(20_000)
    })
    expect(reports).toEqual([])
  })

  it('is told also to those who listen later, and costs no timer before or when nothing is open', async () => {
    await using test = await things()
    const { db } = test
    const timers = clockOf(test).pendingTimers
    const tx = await db.begin()
    expect(clockOf(test).pendingTimers).toBe(timers)
    clockOf(test).advance(30_000)
    const idle = clockOf(test).pendingTimers
    db.on('longTransaction', () => {})
    const reports = reportsOf(db)
    expect(reports.map(({ id }) => id)).toEqual([])
    const other = await db.begin()
    expect(clockOf(test).pendingTimers).toBe(idle + 1)
    clockOf(test).advance(10_000)
    expect(reports.map(({ id }) => id)).toEqual([other.id])
    expect(clockOf(test).pendingTimers).toBe(idle)
    await tx.commit()
    await other.commit()
  })
})

describe('checkpoint and deadlock', () => {
  it('are told of when they are over, and a listener that throws does not disturb the engine', async () => {
    await using test = await things()
    const { db, table } = test
    const numbers: number[] = []
    db.on('checkpoint', ({ number }) => numbers.push(number))
    await db.checkpoint()
    await standstill()
    expect(numbers).toEqual([db.status().checkpoint.number])

    const deadlocks: string[] = []
    db.on('deadlock', (deadlock) => deadlocks.push(String(deadlock)))
    const [a, b] = [await db.begin(), await db.begin()]
    await a.update(table, 10, { size: 1 })
    await b.update(table, 20, { size: 1 })
    const waits = a.update(table, 20, { size: 2 })
    expect(await outcomeOf(b.update(table, 10, { size: 2 }))).toBe('ERR_DEADLOCK')
    await waits
    await a.commit()
    expect(deadlocks).toEqual([String(db.latestDeadlock)])
  })
})

describe('maxViewAge', () => {
  async function aged(): Promise<Awaited<ReturnType<typeof things>>> {
    return things({ maxViewAge: 1_000 })
  }

  async function change(test: Awaited<ReturnType<typeof things>>): Promise<void> {
    await test.table.update(20, { size: Math.random() })
  }

  it('gives up a snapshot that holds back purge for longer: its next read says so, and may be retried', async () => {
    await using test = await aged()
    const { db } = test
    const view = db.snapshot()
    await change(test)
    clockOf(test).advance(999)
    expect(view.get(test.table, 20)).toMatchObject({ size: 6 })
    expect(db.status().purge).toMatchObject({ views: 1, oldestView: { age: 999, madeBy: expect.stringContaining('watching.test.ts') } })
    clockOf(test).advance(1)
    expect(() => view.get(test.table, 20)).toThrow(expect.objectContaining({ code: 'ERR_SNAPSHOT_TOO_OLD', retryable: true }))
    expect(() => view.values(test.table)).toThrow(/maxViewAge/)
    expect(db.status().purge).toMatchObject({ views: 0, oldestView: undefined })
    await db.purge()
    expect(db.status().purge.historyLength).toBe(0)
    view.close()
    await expectNothingLeft(db)
  })

  it('and the view of a transaction, whose locking reads and writes go on', async () => {
    await using test = await aged()
    const { db, table } = test
    const tx = await db.begin()
    expect(await tx.get(table, 20)).toMatchObject({ size: 6 })
    const loop = tx.values(table)
    await change(test)
    clockOf(test).advance(1_000)
    expect(await outcomeOf(tx.get(table, 20))).toBe('ERR_SNAPSHOT_TOO_OLD')
    expect(await outcomeOf(loop.toArray())).toBe('ERR_SNAPSHOT_TOO_OLD')
    await tx.update(table, 10, { size: 77 })
    await tx.commit()
    expect(table.get(10)).toMatchObject({ size: 77 })
    await expectNothingLeft(db)
  })

  it('and that of a loop over a table', async () => {
    await using test = await aged()
    const { db, table } = test
    await table.insertMany(Array.from({ length: 100 }, (_, i) => row(100 + i)))
    const loop = table.values()
    loop.next()
    await change(test)
    clockOf(test).advance(1_000)
    expect(() => [...loop]).toThrow(/maxViewAge/)
    await expectNothingLeft(db)
  })

  it('makes a managed transaction try again, with a new view', async () => {
    await using test = await aged()
    const { db, table } = test
    let attempts = 0
    const work = db.transaction(
      async (tx) => {
        attempts++
        const before = await tx.get(table, 20)
        if (attempts === 1) {
          await change(test)
          clockOf(test).advance(1_000)
        }
        return [before, await tx.get(table, 20)]
      },
      { retries: 1 },
    )
    await standstill()
    clockOf(test).advance(100)
    const [first, second] = await work
    expect(attempts).toBe(2)
    expect(first).toEqual(second)
  })

  it('fails every statement of a transaction under `snapshot`, which relies on its view', async () => {
    await using test = await aged()
    const { db, table } = test
    const tx = await db.begin({ isolation: 'snapshot' })
    await tx.get(table, 10)
    await change(test)
    clockOf(test).advance(1_000)
    expect(await outcomeOf(tx.update(table, 20, { size: 1 }))).toBe('ERR_SNAPSHOT_TOO_OLD')
    await tx.rollback()
  })

  it("leaves alone a view in nobody's way, and by default every view", async () => {
    await using test = await aged()
    const view = test.db.snapshot()
    await test.db.purge()
    clockOf(test).advance(100_000)
    expect(view.get(test.table, 20)).toMatchObject({ size: 6 })
    view.close()

    await using patient = await things()
    const old = patient.db.snapshot()
    await patient.table.update(20, { size: 1 })
    clockOf(patient).advance(10 ** 9)
    expect(old.get(patient.table, 20)).toMatchObject({ size: 6 })
    old.close()
  })
})

describe('the option', () => {
  it.each([
    ['maxViewAge', 0],
    ['maxViewAge', '1s'],
    ['longTransactionTime', -1],
    ['detectSelfWaits', 'yes'],
  ])('%s is refused as %s', async (name, value) => {
    await expect(openTest({ [name]: value } as never)).rejects.toThrow(name)
  })
})
