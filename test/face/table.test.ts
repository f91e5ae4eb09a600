import { describe, expect, it } from 'vitest'
import { DuplicateKeyError } from '../../src/base/errors.js'
import { openTest } from '../support/open-test-database.js'

interface City {
  id: number
  name: string
  country?: string | null
  people: number
}

const DEFINITION = {
  key: 'id',
  autoIncrement: true,
  indexes: { name: { on: 'name', unique: true }, place: { on: ['country', 'people'] }, country: { on: 'country' } },
} as const

async function cities() {
  const test = await openTest()
  const table = await test.db.table<City>('cities', DEFINITION)
  await table.insertMany([
    { name: 'Rome', country: 'IT', people: 28 },
    { name: 'Milan', country: 'IT', people: 13 },
    { name: 'Oslo', country: 'NO', people: 7 },
    { name: 'Atlantis', people: 0 },
    { name: 'Eldorado', country: null, people: 1 },
  ])
  return Object.assign(test, { table })
}

describe('a table', () => {
  it('gives rows without a key the next number, also after a reopen, and never one twice', async () => {
    await using test = await cities()
    expect(await test.table.insert({ name: 'Turin', people: 8 })).toBe(6)
    await test.table.delete(6)
    await expect(test.table.insert({ name: 'Rome', people: 1 })).rejects.toThrow(DuplicateKeyError)
    await test.table.insert({ id: 20, name: 'Bari', people: 3 })
    await test.reopen()
    const again = await test.db.table<City>('cities')
    expect(await again.insert({ name: 'Lima', people: 9 })).toBe(21)
  })

  it('reads ranges both ways, with limits, by any index', async () => {
    await using test = await cities()
    const { table } = test
    expect(
      table
        .values({ gt: 1, lte: 3 })
        .toArray()
        .map((city) => city.name),
    ).toEqual(['Milan', 'Oslo'])
    expect(table.keys({ gte: 2, reverse: true, limit: 2 }).toArray()).toEqual([5, 4])
    expect(
      table
        .index('place')
        .values({ prefix: ['IT'] })
        .toArray()
        .map((city) => city.name),
    ).toEqual(['Milan', 'Rome'])
    expect(
      table
        .index('place')
        .values({ gt: ['IT', 13] })
        .toArray()
        .map((city) => city.name),
    ).toEqual(['Rome', 'Oslo'])
    expect(
      table
        .index('place')
        .values({ lt: ['IT', 28], reverse: true })
        .toArray()
        .map((city) => city.name),
    ).toEqual(['Milan', 'Eldorado', 'Atlantis'])
    expect(table.index('country').keys().toArray()).toEqual([null, null, 'IT', 'IT', 'NO'])
    expect(table.index('country').primaryKeys({ eq: 'IT' }).toArray()).toEqual([1, 2])
    expect(table.index('name').get('Oslo')?.id).toBe(3)
    expect(table.index('name').entries({ limit: 1 }).toArray()[0][0]).toBe('Atlantis')
    expect(table.entries({ eq: 3 }).toArray()).toEqual([[3, { id: 3, name: 'Oslo', country: 'NO', people: 7 }]])
    expect([table.count(), table.count({ lt: 3 }), table.index('country').count({ eq: 'IT' }), table.count({ limit: 2 })]).toEqual([
      5, 2, 2, 2,
    ])
    expect(table.getMany([3, 99, 1]).map((city) => city?.name)).toEqual(['Oslo', undefined, 'Rome'])
  })

  it('keeps indexes right through every kind of write', async () => {
    await using test = await cities()
    const { table } = test
    await table.update(1, { country: 'XX' })
    await table.update(2, (city) => ({ ...city, people: city.people + 1 }))
    await table.put({ id: 3, name: 'Oslo', people: 8 })
    await table.put({ id: 7, name: 'Quito', country: 'EC', people: 2 })
    await table.delete(5)
    expect(
      table
        .index('country')
        .entries()
        .toArray()
        .map(([key, city]) => [key, city.name]),
    ).toEqual(
      [
        [null, 'Oslo'],
        [null, 'Atlantis'],
        ['EC', 'Quito'],
        ['IT', 'Milan'],
        ['XX', 'Rome'],
      ].sort((a, b) => (a[0] === null && b[0] === null ? (a[1] === 'Oslo' ? -1 : 1) : 0)),
    )
    expect(table.index('place').get(['IT', 14])?.name).toBe('Milan')
    expect(await table.update(99, { people: 1 })).toBe(false)
    expect(await table.delete(99)).toBe(false)
  })

  it('moves a row whose key an update changes', async () => {
    await using test = await cities()
    expect(await test.table.update(3, { id: 33 })).toBe(true)
    expect(test.table.get(3)).toBeUndefined()
    expect(test.table.index('name').get('Oslo')?.id).toBe(33)
    await expect(test.table.update(33, { id: 1 })).rejects.toMatchObject({ code: 'ERR_DUPLICATE_KEY', index: 'PRIMARY' })
    expect(test.table.get(33)?.name).toBe('Oslo')
  })

  it('admits many nulls in a unique index, and a key again once it is free', async () => {
    await using test = await openTest()
    const table = await test.db.table<{ id: number; tag?: string | null }>('t', {
      key: 'id',
      indexes: { tag: { on: 'tag', unique: true } },
    })
    await table.insertMany([{ id: 1 }, { id: 2, tag: null }, { id: 3, tag: 'a' }])
    await expect(table.insert({ id: 4, tag: 'a' })).rejects.toMatchObject({ index: 'tag', key: 'a', existing: 3 })
    await table.delete(3)
    await table.insert({ id: 4, tag: 'a' })
    await table.update(4, { tag: 'b' })
    await table.insert({ id: 5, tag: 'a' })
    expect(table.index('tag').primaryKeys().toArray()).toEqual([1, 2, 5, 4])
  })

  it('handles duplicates as asked', async () => {
    await using test = await cities()
    const { table } = test
    expect(await table.insert({ name: 'Rome', people: 1 }, { onDuplicate: 'ignore' })).toBeUndefined()
    expect(await table.insert({ name: 'Rome', people: 1 }, { onDuplicate: (old) => ({ ...old, people: old.people + 1 }) })).toBe(1)
    expect(table.get(1)?.people).toBe(29)
    const replaced = await table.insert({ id: 2, name: 'Rome', people: 5 }, { onDuplicate: 'replace' })
    expect([replaced, table.get(1), table.get(2)?.name, table.count()]).toEqual([2, undefined, 'Rome', 4])
  })

  it('inserts many or none', async () => {
    await using test = await cities()
    await expect(
      test.table.insertMany([
        { name: 'A', people: 1 },
        { name: 'Oslo', people: 1 },
      ]),
    ).rejects.toThrow(DuplicateKeyError)
    expect(test.table.index('name').get('A')).toBeUndefined()
    async function* stream() {
      for (let number = 0; number < 3000; number++) yield { name: `City ${number}`, people: number }
    }
    expect(await test.table.insertFrom(stream())).toBe(3000)
    expect(test.table.count()).toBe(3005)
  })

  it('stores values from no bytes to hundreds of MiB', async () => {
    await using test = await openTest({ on: 'real', cacheSize: 16 * 2 ** 20, durability: 'lazy' })
    const blobs = await test.db.table<Uint8Array>('blobs', { value: 'binary' })
    const sizes = [0, 1, 4000, 4072, 4073, 16352, 16353, 70_000, 5_000_000, 256 * 2 ** 20]
    for (const size of sizes) {
      const bytes = new Uint8Array(size).fill(size & 255)
      if (size > 0) bytes[size - 1] = 77
      await blobs.put(size, bytes)
    }
    await test.reopen()
    const again = await test.db.table<Uint8Array>('blobs')
    for (const size of sizes) {
      const bytes = again.get(size)
      expect(bytes?.length).toBe(size)
      if (size > 0) expect(bytes?.[size - 1]).toBe(77)
    }
    for (const size of sizes) await again.delete(size)
  })

  it('tells keys apart that differ only in type, and not those that do not', async () => {
    await using test = await openTest()
    const table = await test.db.table('t')
    await table.put(0, 'zero')
    await table.put(-0, 'minus zero')
    await table.put(0n, 'bigint')
    await table.put('\u{10000}', 'astral')
    await table.put('\uffff', 'last of the plane')
    await table.put([1, 'a'], 'array')
    expect(table.entries().toArray()).toEqual([
      [0, 'minus zero'],
      [0n, 'bigint'],
      ['\uffff', 'last of the plane'],
      ['\u{10000}', 'astral'],
      [[1, 'a'], 'array'],
    ])
  })
})

describe('one state for a whole loop', () => {
  it('writes during the loop do not show in it, and it sees each row once', async () => {
    await using test = await openTest()
    const table = await test.db.table<{ id: number; at: number }>('t', { key: 'id', indexes: { at: { on: 'at' } } })
    await table.insertMany(Array.from({ length: 3000 }, (_, id) => ({ id, at: id })))
    const seen: number[] = []
    for (const row of table.index('at').values()) {
      seen.push(row.id)
      // Halloween: the row moves ahead of the loop.
      test.db.transactionSync((tx) => tx.update(table, row.id, { at: row.at + 10_000 }))
    }
    expect(seen).toEqual(Array.from({ length: 3000 }, (_, id) => id))
    expect(table.index('at').count({ gte: 10_000 })).toBe(3000)
  })

  it('a snapshot goes on showing what was, through the key and through an index whose entries changed, went and came back', async () => {
    await using test = await cities()
    const { table } = test
    using view = test.db.snapshot()
    await table.update(1, { country: 'ZZ' })
    await table.delete(2)
    await table.insert({ id: 2, name: 'Milan', country: 'IT', people: 99 })
    await table.update(1, { country: 'IT' })
    await table.insert({ name: 'New', country: 'IT', people: 13 })
    expect(
      view
        .values(table, { index: 'place', prefix: ['IT'] })
        .toArray()
        .map((city) => [city.name, city.people]),
    ).toEqual([
      ['Milan', 13],
      ['Rome', 28],
    ])
    expect(view.count(table)).toBe(5)
    expect(view.get(table, 2)?.people).toBe(13)
    expect(test.db.status().purge).toMatchObject({ views: 1, oldestView: { madeBy: expect.stringContaining('table.test.ts') } })
  })

  it('a loop that is left half-way lets go of its view', async () => {
    await using test = await cities()
    for (const city of test.table.values()) if (city.id === 2) break
    test.table.values().next()
    expect(test.db.status().purge.views).toBeLessThanOrEqual(1)
  })
})

describe('transactions', () => {
  it('do not see each other before commit, and do not overwrite each other', async () => {
    await using test = await cities()
    const { db, table } = test
    const one = await db.begin()
    const two = await db.begin()
    await one.update(table, 1, { people: 100 })
    await one.insert(table, { name: 'Draft', people: 1 })
    expect((await one.get(table, 1))?.people).toBe(100)
    expect((await two.get(table, 1))?.people).toBe(28)
    expect(table.get(1)?.people).toBe(28)
    expect(await two.count(table)).toBe(5)
    await expect(two.update(table, 1, { people: 5 }, { wait: 'nowait' })).rejects.toMatchObject({
      code: 'ERR_LOCK_NOT_AVAILABLE',
      retryable: true,
    })
    await expect(two.insert(table, { name: 'Draft', people: 2 }, { wait: 'nowait' })).rejects.toMatchObject({
      code: 'ERR_LOCK_NOT_AVAILABLE',
    })
    await expect(two.delete(table, 1, { wait: 'nowait' })).rejects.toMatchObject({ code: 'ERR_LOCK_NOT_AVAILABLE' })
    await two.update(table, 3, { people: 6 })
    await one.commit()
    expect((await two.get(table, 1))?.people).toBe(28)
    await two.commit()
    expect([table.get(1)?.people, table.get(3)?.people, table.count()]).toEqual([100, 6, 6])
  })

  it('read committed looks anew with each statement', async () => {
    await using test = await cities()
    const tx = await test.db.begin({ isolation: 'read-committed' })
    expect((await tx.get(test.table, 1))?.people).toBe(28)
    await test.table.update(1, { people: 29 })
    expect((await tx.get(test.table, 1))?.people).toBe(29)
    await tx.rollback()
    expect(test.db.status().purge.views).toBe(0)
  })

  it('a failed statement is undone alone', async () => {
    await using test = await cities()
    const { db, table } = test
    await db.transaction(async (tx) => {
      await tx.insert(table, { name: 'Kept', people: 1 })
      await expect(tx.insert(table, { id: 50, name: 'Rome', country: 'IT', people: 1 })).rejects.toThrow(DuplicateKeyError)
      await expect(tx.update(table, 3, { name: 'Milan' })).rejects.toThrow(DuplicateKeyError)
      expect((await tx.get(table, 3))?.name).toBe('Oslo')
    })
    expect([table.get(50), table.index('name').get('Kept')?.people, table.count()]).toEqual([undefined, 1, 6])
  })

  it('roll back to savepoints, more than once, and refuse undone ones', async () => {
    await using test = await cities()
    const { db, table } = test
    const tx = await db.begin()
    await tx.update(table, 1, { people: 1 })
    const first = tx.savepoint()
    await tx.update(table, 1, { people: 2, country: 'AA' })
    const second = tx.savepoint()
    await tx.delete(table, 1)
    await tx.rollbackTo(second)
    expect((await tx.get(table, 1))?.people).toBe(2)
    await tx.rollbackTo(first)
    await expect(tx.rollbackTo(second)).rejects.toMatchObject({ code: 'ERR_NO_SUCH_SAVEPOINT' })
    await tx.insert(table, { name: 'After', people: 3 })
    await tx.rollbackTo(first)
    await tx.commit()
    expect([table.get(1)?.people, table.get(1)?.country, table.index('name').get('After')]).toEqual([1, 'IT', undefined])
  })

  it('retry conflicts by attempts, with a new transaction object each time', async () => {
    await using test = await openTest({ on: 'real' })
    const table = await test.db.table<{ id: number; n: number }>('counters', { key: 'id' })
    await table.put({ id: 1, n: 0 })
    const seen = new Set<unknown>()
    await Promise.all(
      Array.from({ length: 8 }, () =>
        test.db.transaction(
          async (tx) => {
            seen.add(tx)
            await tx.update(table, 1, (row) => ({ ...row, n: row.n + 1 }))
            await new Promise((resolve) => setTimeout(resolve, 1))
          },
          { retries: 1000 },
        ),
      ),
    )
    expect(table.get(1)?.n).toBe(8)
    expect(seen.size).toBeGreaterThanOrEqual(8)
  })

  it("an async transfer that throws half-way leaves nothing, whatever happens beside it (bun's and lmdb's reproductions)", async () => {
    await using test = await openTest()
    const table = await test.db.table<{ id: string; balance: number }>('accounts', { key: 'id' })
    await table.insertMany([
      { id: 'a', balance: 100 },
      { id: 'b', balance: 0 },
    ])
    const transfer = test.db.transaction(async (tx) => {
      await tx.update(table, 'a', (row) => ({ ...row, balance: row.balance - 60 }))
      await put
      throw new Error('no such account')
    })
    const put = table.put({ id: 'c', balance: 7 }).then(() => expect(table.get('a')?.balance).toBe(100))
    await expect(transfer).rejects.toThrow('no such account')
    expect(table.values().toArray()).toEqual([
      { id: 'a', balance: 100 },
      { id: 'b', balance: 0 },
      { id: 'c', balance: 7 },
    ])
  })

  it('an abort signal undoes the transaction', async () => {
    await using test = await cities()
    const controller = new AbortController()
    await expect(
      test.db.transaction(
        async (tx) => {
          await tx.delete(test.table, 1)
          controller.abort()
        },
        { signal: controller.signal },
      ),
    ).rejects.toMatchObject({ name: 'AbortError' })
    expect(test.table.get(1)?.name).toBe('Rome')
  })

  it('leave no undo, no view and no history behind, however they end', async () => {
    await using test = await openTest({ on: 'real' })
    const table = await test.db.table<{ id: number; n: number }>('t', { key: 'id', indexes: { n: { on: 'n' } } })
    await table.insertMany(Array.from({ length: 100 }, (_, id) => ({ id, n: id })))
    for (let round = 0; round < 300; round++) {
      const tx = await test.db.begin()
      await tx.update(table, round % 100, { n: round })
      if (round % 3 === 0) await tx.delete(table, (round + 1) % 100)
      if (round % 2 === 0) await tx.commit()
      else await tx.rollback()
      if (round % 3 === 0) await table.put({ id: (round + 1) % 100, n: round })
    }
    while (test.db.status().purge.historyLength > 0) await new Promise((resolve) => setTimeout(resolve, 1))
    const report = await test.db.check()
    expect(report.problems).toEqual([])
    expect(report.pages?.undo).toBeLessThanOrEqual(4)
    expect(report.tables.find((found) => found.name === 't')?.indexes[0].entries).toBe(100)
    expect(test.db.status()).toMatchObject({ transactions: { open: 0, active: 0 }, purge: { views: 0 } })
  })
})
