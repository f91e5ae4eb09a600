import { mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, it } from 'vitest'
import { crc32 } from '../../src/base/crc32.js'
import { NextkeyError } from '../../src/base/errors.js'
import { type Database, open } from '../../src/database.js'
import { Witness } from '../../src/storage/superblock.js'
import type { Table } from '../../src/table.js'
import { openTest } from '../support/open-test-database.js'

/** Runs what must be refused; returns the error. */
async function refused(work: () => unknown): Promise<NextkeyError> {
  try {
    await work()
  } catch (error) {
    if (error instanceof NextkeyError) return error
    throw error
  }
  throw new Error('nothing was refused')
}

async function code(work: () => unknown): Promise<string> {
  return (await refused(work)).code
}

const directories: string[] = []
function temporary(): string {
  const directory = mkdtempSync(join(tmpdir(), 'nextkey-misuse-'))
  directories.push(directory)
  return directory
}
afterEach(() => {
  for (const directory of directories.splice(0)) rmSync(directory, { recursive: true, force: true })
})

interface Person {
  id: number
  name: string | null
}

async function people(db: Database): Promise<Table<Person>> {
  return db.table<Person>('people', { key: 'id', indexes: { name: { on: 'name', unique: true }, both: { on: ['name', 'id'] } } })
}

describe('a wrong argument is refused with its own error, and nothing changes', () => {
  it('keys that cannot be keys', async () => {
    await using test = await openTest()
    const table = await people(test.db)
    const plain = await test.db.table('plain')
    for (const key of [Number.NaN, undefined, Symbol('x'), () => 1, {}, new Date(Number.NaN), '\ud800', [[Number.NaN]]]) {
      expect(await code(() => plain.put(key, 1))).toBe('ERR_INVALID_KEY')
      expect(await code(() => plain.get(key))).toBe('ERR_INVALID_KEY')
    }
    expect(await code(() => table.put({ id: Number.NaN, name: 'a' }))).toBe('ERR_INVALID_KEY')
    expect(await code(() => table.insert({ name: 'a' } as Person))).toBe('ERR_INVALID_ROW')
    expect(await code(() => table.insert({ id: null, name: 'a' } as never))).toBe('ERR_INVALID_ROW')
    expect(await code(() => table.put({ id: 1, name: { no: 'key' } } as never))).toBe('ERR_INVALID_KEY')
    expect(plain.count() + table.count()).toBe(0)
  })

  it('a key of 2,048 bytes is taken, one more is not', async () => {
    await using test = await openTest()
    const plain = await test.db.table('plain')
    const longest = 'k'.repeat(2046) // tag and terminator
    await plain.put(longest, 'x')
    expect(plain.get(longest)).toBe('x')
    const error = await refused(() => plain.put(`${longest}k`, 'x'))
    expect(error.code).toBe('ERR_KEY_TOO_LONG')
    expect(error.message).toMatch(/2049.*2048|2,049.*2,048/)
    const table = await people(test.db)
    expect(await code(() => table.put({ id: 1, name: 'n'.repeat(2047) }))).toBe('ERR_KEY_TOO_LONG')
    expect(table.count()).toBe(0)
  })

  it('an index entry of index key and primary key together that does not fit', async () => {
    await using test = await openTest()
    const table = await test.db.table('t', { key: 'id', indexes: { other: { on: 'other' } } })
    expect(await code(() => table.put({ id: 'i'.repeat(2046), other: 'o'.repeat(2046) }))).toBe('ERR_KEY_TOO_LONG')
    await table.put({ id: 'i'.repeat(2000), other: 'o'.repeat(2000) })
    expect(table.count()).toBe(1)
  })

  it('rows that cannot be stored', async () => {
    await using test = await openTest()
    const table = await people(test.db)
    const binary = await test.db.table('binary', { value: 'binary' })
    expect(await code(() => table.put({ id: 1, name: () => 1 } as never))).toBe('ERR_INVALID_ROW')
    expect(await code(() => table.put(undefined as never))).toBe('ERR_INVALID_ROW')
    const circular: Record<string, unknown> = { id: 1 }
    circular['self'] = circular
    expect(await code(() => table.put(circular as never))).toBe('ERR_INVALID_ROW')
    expect(await code(() => binary.put('k', 'text' as never))).toBe('ERR_INVALID_ROW')
    expect(table.count()).toBe(0)
  })

  it('unknown options, by name, with what there is', async () => {
    await using test = await openTest()
    const table = await people(test.db)
    expect((await refused(() => open(temporary(), { cachesize: 1 } as never))).message).toContain("did you mean 'cacheSize'")
    expect(await code(() => open(temporary(), { durability: 'maybe' } as never))).toBe('ERR_INVALID_ARGUMENT')
    expect(await code(() => open(temporary(), { cacheSize: 5 }))).toBe('ERR_INVALID_ARGUMENT')
    expect(await code(() => open(''))).toBe('ERR_INVALID_ARGUMENT')
    expect(await code(() => test.db.table('x', { keys: 'id' } as never))).toBe('ERR_INVALID_ARGUMENT')
    expect(await code(() => test.db.table(''))).toBe('ERR_INVALID_ARGUMENT')
    expect(await code(() => test.db.table('nextkey.catalog'))).toBe('ERR_INVALID_ARGUMENT')
    expect(await code(() => test.db.table('x', { key: 'a..b' }))).toBe('ERR_INVALID_ARGUMENT')
    expect(await code(() => test.db.begin({ isolation: 'chaos' } as never))).toBe('ERR_INVALID_ARGUMENT')
    expect(await code(() => table.values({ from: 1 } as never))).toBe('ERR_INVALID_ARGUMENT')
    expect(await code(() => table.values({ gt: 1, gte: 1 }))).toBe('ERR_INVALID_ARGUMENT')
    expect(await code(() => table.values({ eq: 1, lt: 1 }))).toBe('ERR_INVALID_ARGUMENT')
    expect(await code(() => table.values({ limit: -1 }))).toBe('ERR_INVALID_ARGUMENT')
    expect(await code(() => table.insert({ id: 1, name: 'a' }, { onDuplicate: 'skip' } as never))).toBe('ERR_INVALID_ARGUMENT')
    expect(await code(() => table.update(1, 'text' as never))).toBe('ERR_INVALID_ARGUMENT')
    expect(test.db.tables()).toEqual(['people'])
  })

  it('an index or table that is not there, or not of this database', async () => {
    await using test = await openTest()
    await using other = await openTest()
    const table = await people(test.db)
    const error = await refused(() => table.index('nmae'))
    expect(error.code).toBe('ERR_NO_SUCH_INDEX')
    expect(error.message).toContain("'name', 'both'")
    expect(await code(() => table.index('both').get(['ada']))).toBe('ERR_INVALID_KEY')
    expect(await code(() => table.index('both').get('ada'))).toBe('ERR_INVALID_KEY')
    expect(await code(() => other.db.transactionSync((tx) => tx.get(table, 1)))).toBe('ERR_INVALID_ARGUMENT')
  })

  it('another definition of a table: the error names the difference', async () => {
    await using test = await openTest()
    await people(test.db)
    for (const [definition, difference] of [
      [{ key: 'name' }, 'key'],
      [{ key: 'id' }, "index 'name'"],
      [{ key: 'id', autoIncrement: true }, 'autoIncrement'],
      [{ key: 'id', indexes: { name: { on: 'name' }, both: { on: ['name', 'id'] } } }, 'unique'],
      [{ key: 'id', indexes: { name: { on: 'other', unique: true }, both: { on: ['name', 'id'] } } }, 'other'],
    ] as const) {
      const error = await refused(() => test.db.table('people', definition))
      expect(error.code).toBe('ERR_TABLE_MISMATCH')
      expect(error.message).toContain(difference)
    }
    await people(test.db)
    await test.db.table('people')
  })
})

describe('after its end', () => {
  it('a transaction refuses everything', async () => {
    await using test = await openTest()
    const table = await people(test.db)
    for (const end of ['commit', 'rollback'] as const) {
      const tx = await test.db.begin()
      await tx.put(table, { id: 1, name: 'a' })
      await tx[end]()
      for (const use of [
        () => tx.get(table, 1),
        () => tx.put(table, { id: 2, name: 'b' }),
        () => tx.commit(),
        () => tx.rollback(),
        () => tx.savepoint(),
        () => tx.values(table),
      ]) {
        expect(await code(use)).toBe('ERR_TRANSACTION_ENDED')
      }
    }
    expect(table.count()).toBe(1)
  })

  it('a managed transaction that threw stays dead, across its retries too', async () => {
    await using test = await openTest()
    const table = await people(test.db)
    let kept: { put: (table: Table<Person>, row: Person) => Promise<unknown> } | undefined
    await expect(
      test.db.transaction(async (tx) => {
        kept = tx
        await tx.put(table, { id: 1, name: 'a' })
        throw new Error('mine')
      }),
    ).rejects.toThrow('mine')
    expect(await code(() => kept?.put(table, { id: 1, name: 'a' }))).toBe('ERR_TRANSACTION_ENDED')
    expect(table.count()).toBe(0)
  })

  it('a closed database refuses everything, and closing twice is one close', async () => {
    const test = await openTest()
    const { db } = test
    const table = await people(db)
    const tx = await db.begin()
    await tx.put(table, { id: 9, name: 'open' })
    const snapshot = db.snapshot()
    const rows = table.values()
    rows.next()
    const closing = db.close()
    expect(db.close()).toBe(closing)
    await closing
    for (const use of [
      () => table.get(1),
      () => table.put({ id: 1, name: 'a' }),
      () => table.values().toArray(),
      () => tx.get(table, 1),
      () => snapshot.get(table, 1),
      () => db.begin(),
      () => db.transaction(() => {}),
      () => db.transactionSync(() => {}),
      () => db.check(),
      () => db.table('x'),
    ]) {
      expect(['ERR_CLOSED', 'ERR_TRANSACTION_ENDED']).toContain(await code(use))
    }
    await test.reopen()
    expect((await people(test.db)).count()).toBe(0)
    await test.close()
  })

  it('a closed snapshot says so', async () => {
    await using test = await openTest()
    const table = await people(test.db)
    const view = test.db.snapshot()
    view.close()
    expect(await code(() => view.get(table, 1))).toBe('ERR_SNAPSHOT_GONE')
  })

  it('commit with a statement under way fails, and the transaction is undone', async () => {
    await using test = await openTest()
    const table = await people(test.db)
    const tx = await test.db.begin()
    // A queue forms when a statement ends its turn with a pause: make so many that one does.
    const statements = Array.from({ length: 2000 }, (_, id) => tx.put(table, { id, name: `n${id}` }))
    const commit = tx.commit()
    void Promise.allSettled(statements)
    expect(await code(() => commit)).toBe('ERR_STATEMENT_PENDING')
    expect(table.count()).toBe(0)
  })

  it('transactionSync refuses an async function and undoes it', async () => {
    await using test = await openTest()
    const table = await people(test.db)
    expect(await code(() => test.db.transactionSync((tx) => Promise.resolve(tx.put(table, { id: 1, name: 'a' }))))).toBe(
      'ERR_INVALID_ARGUMENT',
    )
    expect(table.count()).toBe(0)
  })
})

describe('opening', () => {
  it('a directory that holds something else is left alone', async () => {
    const directory = temporary()
    writeFileSync(join(directory, 'thesis.txt'), 'important')
    const error = await refused(() => open(directory))
    expect(error.code).toBe('ERR_NOT_A_DATABASE')
    expect(error.message).toContain('thesis.txt')
    writeFileSync(join(directory, 'nextkey.db'), 'not what it seems '.repeat(3000))
    expect(await code(() => open(directory))).toBe('ERR_NOT_A_DATABASE')
  })

  it('read-only, where nothing is', async () => {
    expect(await code(() => open(join(temporary(), 'none'), { readOnly: true }))).toBe('ERR_NOT_FOUND')
    const empty = temporary()
    mkdirSync(join(empty, 'sub'))
    expect(await code(() => open(join(empty, 'sub'), { readOnly: true }))).toBe('ERR_NOT_FOUND')
  })

  it('read-only shows the newest checkpoint and refuses writes', async () => {
    const directory = temporary()
    const db = await open(directory)
    await (await people(db)).put({ id: 1, name: 'a' })
    await db.close()
    const reader = await open(directory, { readOnly: true })
    const table = await reader.table<Person>('people')
    expect(table.get(1)).toEqual({ id: 1, name: 'a' })
    expect(await code(() => table.put({ id: 2, name: 'b' }))).toBe('ERR_READ_ONLY')
    expect(await code(() => reader.table('new', { key: 'id' }))).toBe('ERR_READ_ONLY')
    await reader.close()
  })

  it('a second time, in the same process, names the holder', async () => {
    const directory = temporary()
    const db = await open(directory)
    const error = await refused(() => open(directory))
    expect(error.code).toBe('ERR_DIRECTORY_LOCKED')
    expect(error.message).toContain('misuse.test.ts')
    expect(error.details).toMatchObject({ holder: { pid: process.pid } })
    await db.close()
    await (await open(directory)).close()
  })

  it('a file of a newer format version', async () => {
    const directory = temporary()
    await (await open(directory)).close()
    damage(directory, (bytes) => {
      for (const slot of [0, 16384]) {
        bytes.writeUInt32LE(99, slot + 8)
        // Not part of what the checksum covers.
        bytes.fill(0, slot + Witness.Offset, slot + Witness.Offset + Witness.Size)
        bytes.writeUInt32LE(crc32(bytes, slot, slot + 16380, 0), slot + 16380)
      }
    })
    const error = await refused(() => open(directory))
    expect(error.code).toBe('ERR_FORMAT_VERSION')
    expect(error.details).toMatchObject({ found: 99, supported: 1 })
  })

  it('a damaged page costs what is on it; the error names file, page and block', async () => {
    const directory = temporary()
    const db = await open(directory)
    const table = await db.table('t', { key: 'id' })
    await table.insertMany(Array.from({ length: 2000 }, (_, id) => ({ id, text: `row ${id} `.repeat(10) })))
    await db.close()
    damage(directory, (bytes) => {
      const at = bytes.indexOf('row 1500 row')
      bytes[at] ^= 1
    })
    const again = await open(directory)
    const damaged = await again.table('t')
    const error = await refused(() => damaged.get(1500))
    expect(error.code).toBe('ERR_DAMAGED')
    expect(error.details).toMatchObject({ file: `${directory}/nextkey.db`, page: expect.any(Number), block: expect.any(Number) })
    expect(damaged.get(3)).toMatchObject({ id: 3 })
    expect(await code(() => damaged.put({ id: 1500, text: 'new' }))).toBe('ERR_DAMAGED')
    await damaged.put({ id: 3, text: 'still writable' })
    expect(damaged.get(3)).toEqual({ id: 3, text: 'still writable' })
    expect((await again.check()).problems.join()).toContain('damaged')
    await again.close()
  })

  it('both superblocks damaged', async () => {
    const directory = temporary()
    await (await open(directory)).close()
    damage(directory, (bytes) => {
      bytes[100] ^= 1
      bytes[16384 + 100] ^= 1
    })
    expect(await code(() => open(directory))).toBe('ERR_DAMAGED')
  })

  it('a log that was taken away', async () => {
    const directory = temporary()
    await (await open(directory)).close()
    rmSync(join(directory, 'wal'), { recursive: true })
    expect(await code(() => open(directory))).toBe('ERR_LOG_DAMAGED')
  })
})

function damage(directory: string, change: (bytes: Buffer) => void): void {
  const path = join(directory, 'nextkey.db')
  const bytes = readFileSync(path)
  change(bytes)
  writeSync(openSync(path, 'r+'), bytes)
}
