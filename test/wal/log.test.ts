import { describe, expect, it } from 'vitest'
import type { LogPosition } from '../../src/base/ids.js'
import { Header } from '../../src/wal/log-format.js'
import { openLog } from '../../src/wal/open-log.js'
import {
  append,
  appendGroup,
  codeOf,
  DATABASE_ID,
  groupBytes,
  newLog,
  options,
  readAll,
  reopen,
  START,
  settle,
  type World,
  world,
} from './support.js'

describe('a log', () => {
  it('gives back the groups that were appended, in order, with kind and positions', () => {
    const env = world()
    const log = newLog(env)
    const ends = [1, 2, 3, 100, 255, 300].map((length, i) => appendGroup(log, i, length))
    log.syncNow()
    const { groups, tail } = readAll(env)
    expect(groups.map((group) => group.bytes)).toEqual([1, 2, 3, 100, 255, 300].map((length, i) => groupBytes(i, length)))
    expect(groups.map((group) => group.kind)).toEqual([0, 1, 2, 3, 4, 5])
    expect(groups.map((group) => group.endPosition)).toEqual(ends)
    expect(groups.map((group) => group.position)).toEqual([START, ...ends.slice(0, -1)])
    expect(tail).toBe(log.end)
  })

  it('appends a part of a buffer', () => {
    const env = world()
    const log = newLog(env)
    log.append(7, Buffer.from('..abc..'), 2, 5)
    log.syncNow()
    expect(readAll(env).groups.map(({ bytes }) => bytes.toString())).toEqual(['abc'])
  })

  describe('keeps a mark beside it', () => {
    const markOf = (env: World): number => openLog(env, options()).mark

    it('which is 0 at first, and then the last one that was left, whatever happens to the frames', () => {
      const env = world()
      const log = newLog(env)
      expect(markOf(env)).toBe(0)
      appendGroup(log, 0, 100)
      log.mark(7)
      log.mark(2 ** 40 + 8)
      appendGroup(log, 1, 100)
      log.syncNow()
      expect(markOf(env)).toBe(2 ** 40 + 8)
      expect(readAll(env).groups.map(({ bytes }) => bytes)).toEqual([groupBytes(0, 100), groupBytes(1, 100)])
    })

    it('and finds the largest, in whichever segment it lies', () => {
      const env = world()
      const log = newLog(env)
      log.mark(1)
      for (let i = 0; i < 20; i++) appendGroup(log, i, 1000)
      log.mark(2)
      log.syncNow()
      expect(openLog(env, options()).segments.map(({ mark }) => mark)).toEqual([1, 0, 2])
      expect(markOf(env)).toBe(2)
      reopen(env)
      expect(markOf(env)).toBe(2)
    })

    it('which is lost with its sector alone, and counts for no other database', () => {
      const env = world()
      const log = newLog(env)
      appendGroup(log, 0, 100)
      log.mark(5)
      log.syncNow()
      const [{ path }] = openLog(env, options()).segments
      const other = { ...options(), databaseId: new Uint8Array(16) }
      expect(openLog(env, other).mark).toBe(0)
      const file = env.fileSystem.open(path)
      file.writeSync(Uint8Array.of(4), 0, 1, Header.Mark)
      file.close()
      expect(markOf(env)).toBe(0)
      expect(readAll(env).groups).toHaveLength(1)
    })

    it('and takes no more commits if that cannot be written', () => {
      const env = world()
      const log = newLog(env)
      env.fileSystem.failAt({ on: 'write' })
      expect(codeOf(() => log.mark(1))).toBe('ERR_POISONED')
      expect(log.poisoned).toBe(true)
      expect(codeOf(() => appendGroup(log, 0, 10))).toBe('ERR_POISONED')
    })
  })

  it('keeps no reference to the bytes appended', () => {
    const env = world()
    const log = newLog(env)
    const bytes = Buffer.from('first')
    append(log, bytes)
    bytes.write('later')
    log.syncNow()
    expect(readAll(env).groups[0]?.bytes.toString()).toBe('first')
  })

  it('holds any number of groups of any size across segments', () => {
    const env = world()
    const log = newLog(env)
    const lengths = Array.from({ length: 400 }, (_, i) => 1 + ((i * 7919) % 1200))
    for (const [i, length] of lengths.entries()) appendGroup(log, i, length)
    log.syncNow()
    const { groups, tail } = readAll(env)
    expect(groups.map((group) => group.bytes)).toEqual(lengths.map((length, i) => groupBytes(i, length)))
    expect(tail).toBe(log.end)
  })

  it.each([0, 1, 15, 16, 17, 18, 19, 20, 21, 23, 24, 25])('ends a segment well when a group leaves %i bytes of it', (left) => {
    const env = world()
    const log = newLog(env)
    appendGroup(log, 0, 8192 - 16 - left)
    appendGroup(log, 1, 50)
    appendGroup(log, 2, 50)
    log.syncNow()
    expect(readAll(env).groups.map((group) => group.bytes)).toEqual([groupBytes(0, 8192 - 16 - left), groupBytes(1, 50), groupBytes(2, 50)])
  })

  it('holds a group larger than several segments and larger than the buffer', () => {
    const env = world()
    const log = newLog(env, { segmentSize: 4096 + 400_000 })
    const big = groupBytes(1, 3_000_000)
    appendGroup(log, 0, 10)
    append(log, big, 9)
    appendGroup(log, 2, 10)
    log.syncNow()
    const { groups } = readAll(env)
    expect(groups.map(({ kind, bytes }) => [kind, bytes.length])).toEqual([
      [0, 10],
      [9, 3_000_000],
      [2, 10],
    ])
    expect(groups[1]?.bytes.equals(big)).toBe(true)
  })

  it('can be read from between any two groups', () => {
    const env = world()
    const log = newLog(env)
    const ends = Array.from({ length: 100 }, (_, i) => appendGroup(log, i, 400))
    log.syncNow()
    for (const [i, end] of ends.entries()) expect(readAll(env, end).groups).toHaveLength(99 - i)
  })

  it('begins where its first log began', () => {
    const env = world()
    const start = (2 ** 45 + 8) as LogPosition
    const log = newLog(env, {}, start)
    const end = appendGroup(log, 0, 100)
    expect(end).toBe(start + 116)
    log.syncNow()
    expect(readAll(env, start).tail).toBe(end)
  })

  it('refuses to be read from where it does not reach', () => {
    const env = world()
    const log = newLog(env, {}, 1000 as LogPosition)
    appendGroup(log, 0, 100)
    log.syncNow()
    expect(codeOf(() => readAll(env, 996 as LogPosition))).toBe('ERR_LOG_DAMAGED')
    expect(codeOf(() => readAll(env, 100_000 as LogPosition))).toBe('ERR_LOG_DAMAGED')
    expect(codeOf(() => readAll(world()))).toBe('ERR_LOG_DAMAGED')
  })

  it('ignores the segments of other databases', () => {
    const env = world()
    const other = newLog(env, { databaseId: DATABASE_ID.map((byte) => byte + 1) })
    appendGroup(other, 0, 100)
    other.syncNow()
    expect(openLog(env, options()).empty).toBe(true)
    const log = newLog(env)
    appendGroup(log, 1, 100)
    log.syncNow()
    expect(readAll(env).groups.map((group) => group.bytes)).toEqual([groupBytes(1, 100)])
    expect(readAll(env, START, { databaseId: DATABASE_ID.map((byte) => byte + 1) }).groups).toHaveLength(1)
  })

  it('goes on after each reopening, and is read as one', () => {
    const env = world()
    let log = newLog(env)
    const expected: Buffer[] = []
    for (let run = 0; run < 5; run++) {
      for (let i = 0; i < 10; i++) {
        expected.push(groupBytes(expected.length, 500))
        append(log, expected.at(-1) as Buffer)
      }
      log.syncNow()
      log = reopen(env)
    }
    expect(readAll(env).groups.map((group) => group.bytes)).toEqual(expected)
  })

  it('does not grow when it is reopened again and again without a group', () => {
    const env = world()
    const log = newLog(env)
    appendGroup(log, 0, 100)
    log.syncNow()
    reopen(env)
    const files = env.fileSystem.list('/db/wal')
    for (let i = 0; i < 10; i++) reopen(env)
    expect(env.fileSystem.list('/db/wal')).toEqual(files)
    expect(readAll(env).groups).toHaveLength(1)
  })

  it('never appends to what was read: a new run begins a new segment', () => {
    const env = world()
    const log = newLog(env)
    appendGroup(log, 0, 100)
    log.syncNow()
    const before = env.fileSystem.open('/db/wal/1.log')
    const image = new Uint8Array(12_288)
    before.readSync(image, 0, image.length, 0)
    const next = reopen(env)
    appendGroup(next, 1, 100)
    next.syncNow()
    const after = new Uint8Array(12_288)
    before.readSync(after, 0, after.length, 0)
    expect(Buffer.compare(after, image)).toBe(0)
  })

  it('must be read to its end before a new one begins', () => {
    const env = world()
    const log = newLog(env)
    appendGroup(log, 0, 100)
    const end = appendGroup(log, 1, 100)
    log.syncNow()
    const found = openLog(env, options())
    expect(() => found.startNew(end)).toThrow('begins where reading')
    const reader = found.reader(START)
    reader.next()
    expect(() => found.startNew(reader.endPosition)).toThrow('begins where reading')
    reader.next()
    expect(reader.next()).toBe(false)
    expect(() => found.startNew((reader.endPosition - 4) as LogPosition)).toThrow('begins where reading')
    expect(found.startNew(end).end).toBe(end)
  })
})

describe('released segments', () => {
  it('are used again, up to the number of spares, and the rest removed', async () => {
    const env = world()
    const log = newLog(env, { spareSegments: 2 })
    for (let i = 0; i < 200; i++) appendGroup(log, i, 400)
    log.syncNow()
    const before = log.status()
    expect(before.totalSize).toBe(before.files * 12_288)
    log.release(log.end)
    await settle()
    const after = log.status()
    expect(after.files).toBe(4) // The current one, the next one, two spares.
    expect(after.totalSize).toBe(4 * 12_288)
    expect(env.fileSystem.list('/db/wal')).toHaveLength(4)
    await log.close()
  })

  it('never show the groups of an earlier life', async () => {
    const env = world()
    const log = newLog(env, { spareSegments: 3 })
    const lengths = [100, 1, 700, 52, 3000, 9, 8200]
    let from = START
    for (let i = 0; i < 500; i++) {
      const end = appendGroup(log, i, lengths[i % lengths.length] as number)
      if (i % 3 === 0) log.syncNow()
      if (i % 7 === 0) await settle(2)
      const { groups, tail } = readAll(env, from)
      expect(tail).toBe(log.writtenThrough)
      if (groups.length > 0) expect(groups[0]?.position).toBe(from)
      if (i % 10 === 9) {
        log.syncNow()
        from = end
        log.release(from)
      }
    }
    expect(env.fileSystem.list('/db/wal').length).toBeLessThan(12)
  })

  it('keep everything from the released position on', () => {
    const env = world()
    const log = newLog(env)
    const ends = Array.from({ length: 100 }, (_, i) => appendGroup(log, i, 500))
    log.syncNow()
    for (const [i, end] of ends.entries()) {
      log.release(end)
      expect(readAll(env, end).groups).toHaveLength(99 - i)
    }
  })

  it('of earlier runs are released by position as well', async () => {
    const env = world()
    let log = newLog(env)
    for (let run = 0; run < 4; run++) {
      for (let i = 0; i < 50; i++) appendGroup(log, i, 500)
      log.syncNow()
      log = reopen(env)
    }
    log.release(log.end)
    await settle()
    expect(log.status().files).toBe(1 + 4)
    expect(readAll(env, log.end).groups).toEqual([])
  })
})
