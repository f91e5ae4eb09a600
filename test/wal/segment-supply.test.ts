import { describe, expect, it } from 'vitest'
import { Prng } from '../support/seeded.js'
import { CRASH_MODES } from '../support/simulated-disk.js'
import { append, appendGroup, groupBytes, newDisk, newLog, readAll, reopen, settle, world } from './support.js'

describe('the next segment', () => {
  it('is prepared in the background from half a segment on, so that appends need not wait', async () => {
    const env = world()
    const log = newLog(env)
    const inline: string[] = []
    let appending = false
    env.fileSystem.onOperation = ({ kind }) => {
      if (appending) inline.push(kind)
    }
    for (let i = 0; i < 100; i++) {
      appending = true
      appendGroup(log, i, 400)
      appending = false
      await settle(3)
    }
    // A file is opened by the append that finds half of the segment full; nothing is written or synced inline.
    expect(new Set(inline)).toEqual(new Set(['create']))
    expect(inline).toHaveLength(5)
    expect(log.end).toBeGreaterThan(4 * 8192)
  })

  it('is not made before half of the current one is full', async () => {
    const env = world()
    const log = newLog(env)
    while (log.end < 4096 - 500) appendGroup(log, 1, 400)
    await settle()
    expect(log.status().files).toBe(1)
    appendGroup(log, 1, 400)
    await settle()
    expect(log.status().files).toBe(2)
  })

  it('comes from the spares where there are any: nothing is zeroed again', async () => {
    const env = world()
    const log = newLog(env)
    const created: string[] = []
    env.fileSystem.onOperation = ({ kind, path }) => {
      if (kind === 'create') created.push(path)
    }
    for (let i = 0; i < 500; i++) {
      appendGroup(log, i, 400)
      log.syncNow()
      log.release(log.durableThrough)
      await settle(2)
    }
    expect(created).toHaveLength(1)
    expect(env.fileSystem.list('/db/wal')).toHaveLength(2)
  })

  it('is prepared inline for who is caught out, and a file still being zeroed is left alone', async () => {
    // However far the background had come.
    for (let steps = 0; steps < 8; steps++) {
      const env = world(newDisk({ completion: 'manual' }))
      const log = newLog(env)
      appendGroup(log, 0, 5000)
      await settle(2)
      for (let step = 0; step < steps; step++) {
        env.fileSystem.completeOne()
        await settle(2)
      }
      append(log, groupBytes(1, 30_000))
      log.syncNow()
      for (let i = 0; i < 40; i++) {
        env.fileSystem.completeOne()
        await settle(2)
      }
      expect(env.fileSystem.list('/db/wal').filter((name) => name.endsWith('.new'))).toEqual([])
      if (steps < 3) expect(log.status().spareFiles).toBe(1)
      const after = world(env.fileSystem.crash(new Prng(steps), 'none'), 2)
      expect(readAll(after).groups.map(({ bytes }) => bytes.length)).toEqual([5000, 30_000])
      appendGroup(log, 2, 20_000)
      log.syncNow()
      expect(readAll(env).groups[1]?.bytes.equals(groupBytes(1, 30_000))).toBe(true)
      expect(readAll(env).groups).toHaveLength(3)
    }
  })

  it('never gets a header before that of its predecessor is on disk', async () => {
    for (let steps = 0; steps < 8; steps++) {
      for (let seed = 0; seed < 20; seed++) {
        const env = world(newDisk({ completion: 'manual', seed }))
        const log = newLog(env)
        appendGroup(log, 0, 5000)
        log.syncNow()
        await settle(1)
        for (let step = 0; step < steps; step++) {
          env.fileSystem.completeOne()
          await settle(1)
        }
        env.fileSystem.crashAfter(1 + (seed % 20))
        try {
          log.reserve(40_000)
        } catch (error) {
          if (!env.fileSystem.crashed) throw error
        }
        for (const mode of CRASH_MODES) {
          const after = world(env.fileSystem.crash(new Prng(seed), mode), 2)
          expect(readAll(after).groups).toHaveLength(1)
          await reopen(after).close()
        }
      }
    }
  })
})

describe('a segment', () => {
  it('is really written with zeros when it is made, and has its size from the start', () => {
    const env = world()
    newLog(env)
    expect(env.fileSystem.used).toBe(16_384)
    expect(env.fileSystem.open('/db/wal/1.log').size()).toBe(12_288)
  })

  it('of another size than the log uses now is still read, and goes when it is released', () => {
    const env = world()
    const log = newLog(env, { segmentSize: 20_480 })
    for (let i = 0; i < 100; i++) appendGroup(log, i, 400)
    log.syncNow()
    const next = reopen(env)
    appendGroup(next, 100, 400)
    next.syncNow()
    expect(readAll(env).groups).toHaveLength(101)
    next.release(next.end)
    expect(next.status()).toMatchObject({ files: 1, totalSize: 12_288 })
    expect(env.fileSystem.list('/db/wal')).toHaveLength(1)
  })
})
