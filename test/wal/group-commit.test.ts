import { describe, expect, it } from 'vitest'
import type { LogPosition } from '../../src/base/ids.js'
import type { WriteAheadLog } from '../../src/wal/write-ahead-log.js'
import { Prng } from '../support/seeded.js'
import type { SimulatedDisk } from '../support/simulated-disk.js'
import { append, appendGroup, groupBytes, newDisk, newLog, readAll, settle, type World, world } from './support.js'

const BIG = { segmentSize: 4_194_304 }

/** A log whose asynchronous calls complete when the test says so, and a count of its operations. */
function manualLog(
  durability: 'sync' | 'write' | 'lazy' = 'sync',
  processors = 2,
): {
  env: World
  disk: SimulatedDisk
  log: WriteAheadLog
  count: (kind: string) => number
} {
  const disk = newDisk({ completion: 'manual' })
  const env = { ...world(disk), processors }
  const log = newLog(env, { durability, ...BIG })
  const counts = new Map<string, number>()
  disk.onOperation = ({ kind }) => counts.set(kind, (counts.get(kind) ?? 0) + 1)
  return { env, disk, log, count: (kind) => counts.get(kind) ?? 0 }
}

/** What a power loss now would leave. */
function durableGroups(disk: SimulatedDisk): number {
  return readAll(world(disk.crash(new Prng(1), 'none')), undefined, BIG).groups.length
}

function stateOf(promise: Promise<void> | undefined): { settled: boolean } {
  const state = { settled: promise === undefined }
  void promise?.then(
    () => {
      state.settled = true
    },
    () => {
      state.settled = true
    },
  )
  return state
}

describe('group commit', () => {
  it('shares one write and one sync among the commits of one turn', async () => {
    const { disk, log, count } = manualLog()
    const waits = Array.from({ length: 64 }, (_, i) => log.commitDurability(appendGroup(log, i, 100)))
    expect(new Set(waits).size).toBe(1)
    await settle()
    expect([count('write'), count('sync'), disk.pending]).toEqual([1, 0, 1])
    disk.completeOne()
    await Promise.all(waits)
    expect(count('sync')).toBe(1)
    expect(durableGroups(disk)).toBe(64)
  })

  it('begins a sync in the midst of a turn once its batch has gathered for longer than a sync takes', async () => {
    const { env, disk, log } = manualLog()
    const commit = (number: number): { settled: boolean } => stateOf(log.commitDurability(appendGroup(log, number, 100)))
    const first = commit(0)
    await settle()
    env.clock.advance(2)
    disk.completeOne()
    await settle()
    expect(first.settled).toBe(true)
    const second = commit(1)
    env.clock.advance(1)
    commit(2)
    expect(disk.pending).toBe(0)
    env.clock.advance(2)
    const third = commit(3)
    // It began within this call; what comes now is the next one's.
    expect(disk.pending).toBe(1)
    const fourth = commit(4)
    disk.completeOne()
    await settle()
    expect([second.settled, third.settled, fourth.settled]).toEqual([true, true, false])
    disk.completeOne()
    await settle()
    expect(fourth.settled).toBe(true)
  })

  it('begins none in the midst of a turn where the sync would take its only processor', async () => {
    const { env, disk, log } = manualLog('sync', 1)
    const commit = (number: number): { settled: boolean } => stateOf(log.commitDurability(appendGroup(log, number, 100)))
    commit(0)
    await settle()
    env.clock.advance(2)
    disk.completeOne()
    await settle()
    const second = commit(1)
    env.clock.advance(3)
    const third = commit(2)
    expect(disk.pending).toBe(0)
    await settle()
    disk.completeOne()
    await settle()
    expect([second.settled, third.settled, disk.pending]).toEqual([true, true, 0])
  })

  it('gathers what comes while a sync is under way for the next one', async () => {
    const { disk, log, count } = manualLog()
    const first = stateOf(log.commitDurability(appendGroup(log, 0, 100)))
    await settle()
    const later = Array.from({ length: 10 }, (_, i) => stateOf(log.commitDurability(appendGroup(log, 1 + i, 100))))
    await settle()
    expect([count('write'), disk.pending]).toEqual([1, 1])
    disk.completeOne()
    await settle()
    expect(first.settled).toBe(true)
    expect(later.some(({ settled }) => settled)).toBe(false)
    expect([count('write'), disk.pending]).toEqual([2, 1])
    disk.completeOne()
    await settle()
    expect(later.every(({ settled }) => settled)).toBe(true)
    expect(count('sync')).toBe(2)
  })

  it('lets committers that go on together share the next sync', async () => {
    const { disk, log, count } = manualLog()
    const committer = async (n: number): Promise<void> => {
      for (let i = 0; i < 5; i++) await log.commitDurability(appendGroup(log, n * 5 + i, 50))
    }
    let running = true
    const all = Promise.all(Array.from({ length: 20 }, (_, n) => committer(n))).then(() => {
      running = false
    })
    while (running) {
      await settle(2)
      disk.completeOne()
    }
    await all
    expect(count('sync')).toBe(5)
  })

  it('does not acknowledge what was written after the sync began', async () => {
    const { disk, log } = manualLog()
    const first = stateOf(log.waitDurable(appendGroup(log, 0, 100)))
    await settle()
    const end = appendGroup(log, 1, 100)
    log.write()
    const second = stateOf(log.waitDurable(end))
    disk.completeOne()
    await settle()
    expect([first.settled, second.settled]).toEqual([true, false])
    expect(log.durableThrough).toBeLessThan(end)
    expect(durableGroups(disk)).toBe(1)
  })

  it('has nothing to wait for where everything is durable', async () => {
    const { disk, log, count } = manualLog()
    const end = appendGroup(log, 0, 100)
    expect(log.isDurable(end)).toBe(false)
    log.syncNow()
    expect(log.isDurable(end)).toBe(true)
    expect(log.waitDurable(end)).toBeUndefined()
    log.syncNow()
    await log.flush()
    await settle()
    expect([count('sync'), disk.pending]).toEqual([1, 0])
  })

  it('lets a waiter join the sync under way that covers it', async () => {
    const { disk, log, count } = manualLog()
    const early = appendGroup(log, 0, 100)
    const last = appendGroup(log, 1, 100)
    const one = stateOf(log.waitDurable(last))
    await settle()
    const two = stateOf(log.waitDurable(early))
    disk.completeOne()
    await settle()
    expect([one.settled, two.settled, count('sync'), disk.pending]).toEqual([true, true, 1, 0])
  })

  it('reports how far it has come', async () => {
    const { disk, log } = manualLog()
    const end = appendGroup(log, 0, 100)
    expect([log.end, log.writtenThrough, log.durableThrough]).toEqual([end, 0, 0])
    log.write()
    expect([log.end, log.writtenThrough, log.durableThrough]).toEqual([end, end, 0])
    const wait = log.waitDurable(end)
    await settle()
    disk.completeOne()
    await wait
    expect([log.end, log.writtenThrough, log.durableThrough]).toEqual([end, end, end])
    expect(log.status()).toMatchObject({ syncs: 1, bytesWritten: end })
  })
})

describe('a synchronous commit', () => {
  it('is on disk when it returns, beside a sync under way', async () => {
    const { disk, log } = manualLog()
    const waiting = stateOf(log.commitDurability(appendGroup(log, 0, 100)))
    await settle()
    log.commitDurabilitySync(appendGroup(log, 1, 100))
    expect(durableGroups(disk)).toBe(2)
    expect(log.durableThrough).toBe(log.end)
    await settle()
    expect(waiting.settled).toBe(true)
    const next = appendGroup(log, 2, 100)
    const wait = stateOf(log.waitDurable(next))
    disk.completeOne()
    await settle()
    expect([log.isDurable(next), wait.settled]).toEqual([false, false])
    disk.completeOne()
    await settle()
    expect([log.isDurable(next), wait.settled]).toEqual([true, true])
  })

  it('costs one write and one sync', () => {
    const { log, count } = manualLog()
    for (let i = 0; i < 10; i++) log.commitDurabilitySync(appendGroup(log, i, 100))
    expect([count('write'), count('sync')]).toEqual([10, 10])
  })
})

describe("in 'write' mode a commit", () => {
  it('is handed to the operating system, and waits for nothing else', async () => {
    const { disk, log, count } = manualLog('write')
    const end = appendGroup(log, 0, 100)
    await log.commitDurability(end)
    expect([log.writtenThrough, count('write'), count('sync'), disk.pending]).toEqual([end, 1, 0, 0])
    log.commitDurabilitySync(appendGroup(log, 1, 100))
    expect(log.writtenThrough).toBe(log.end)
    expect(readAll(world(disk.killProcess(new Prng(1))), undefined, BIG).groups).toHaveLength(2)
  })

  it('shares its write with those that commit before the next microtask', async () => {
    const { log, count } = manualLog('write')
    const committer = async (n: number): Promise<void> => {
      for (let i = 0; i < 5; i++) await log.commitDurability(appendGroup(log, n * 5 + i, 50))
    }
    await Promise.all(Array.from({ length: 64 }, (_, n) => committer(n)))
    expect([count('write'), log.writtenThrough]).toEqual([5, log.end])
  })

  it('waits for no write when a synchronous one has written it meanwhile', async () => {
    const { log, count } = manualLog('write')
    const first = log.commitDurability(appendGroup(log, 0, 100))
    log.commitDurabilitySync(appendGroup(log, 1, 100))
    expect(log.writtenThrough).toBe(log.end)
    await first
    expect(count('write')).toBe(1)
    expect(log.commitDurability(log.end)).toBeUndefined()
  })

  it('is synced a second later', async () => {
    const { env, disk, log } = manualLog('write')
    await log.commitDurability(appendGroup(log, 0, 100))
    env.clock.advance(999)
    expect(disk.pending).toBe(0)
    env.clock.advance(1)
    expect(disk.pending).toBe(1)
    disk.completeOne()
    await settle()
    expect(log.durableThrough).toBe(log.end)
  })
})

describe("in 'lazy' mode a commit", () => {
  it('does nothing; a second later it is written and synced', async () => {
    const { env, disk, log, count } = manualLog('lazy')
    expect(log.commitDurability(appendGroup(log, 0, 100))).toBeUndefined()
    log.commitDurabilitySync(appendGroup(log, 1, 100))
    expect([count('write'), disk.pending]).toEqual([0, 0])
    env.clock.advance(1000)
    expect([count('write'), disk.pending]).toEqual([1, 1])
    disk.completeOne()
    await settle()
    expect(log.durableThrough).toBe(log.end)
  })
})

describe('whatever the mode', () => {
  it.each(['sync', 'write', 'lazy'] as const)("flush puts everything on disk ('%s')", async (durability) => {
    const { disk, log } = manualLog(durability)
    const end = appendGroup(log, 0, 100)
    const flush = log.flush()
    await settle()
    disk.completeOne()
    await flush
    expect(log.isDurable(end)).toBe(true)
    expect(durableGroups(disk)).toBe(1)
  })

  it.each(['sync', 'write', 'lazy'] as const)("a group nobody waits for is on disk after a second ('%s')", async (durability) => {
    const { env, disk, log } = manualLog(durability)
    appendGroup(log, 0, 100)
    env.clock.advance(1000)
    disk.completeOne()
    await settle()
    expect(durableGroups(disk)).toBe(1)
  })

  it('a group nobody waits for is not forgotten when a sync is under way as its second ends', async () => {
    const { env, disk, log } = manualLog()
    log.commitDurability(appendGroup(log, 0, 100))
    await settle()
    appendGroup(log, 1, 100)
    env.clock.advance(1000)
    expect(disk.pending).toBe(1)
    disk.completeOne()
    await settle()
    expect(durableGroups(disk)).toBe(1)
    env.clock.advance(1000)
    disk.completeOne()
    await settle()
    expect(durableGroups(disk)).toBe(2)
  })

  it('a timer is set only while there is something to do', async () => {
    const env = world()
    const log = newLog(env, { durability: 'lazy', ...BIG })
    expect(env.clock.pendingTimers).toBe(0)
    appendGroup(log, 0, 100)
    appendGroup(log, 1, 100)
    expect(env.clock.pendingTimers).toBe(1)
    await env.clock.advanceAsync(3000)
    expect(env.clock.pendingTimers).toBe(0)
    appendGroup(log, 2, 100)
    expect(env.clock.pendingTimers).toBe(1)
    await log.close()
    expect(env.clock.pendingTimers).toBe(0)
  })

  it('close puts everything on disk', async () => {
    const env = world()
    const log = newLog(env, { durability: 'lazy' })
    appendGroup(log, 0, 100)
    await log.close()
    await log.close()
    expect(readAll(world(env.fileSystem.crash(new Prng(1), 'none'))).groups).toHaveLength(1)
  })
})

/**
 * A program that never lets the event loop turn: no timer fires, no sync completes. Time goes on, though.
 */
describe('a starved event loop', () => {
  it.each(['write', 'lazy'] as const)("syncs inline once the timer is overdue ('%s')", (durability) => {
    const env = world()
    const log = newLog(env, { durability, ...BIG })
    const durableAt: number[] = []
    const { clock } = env
    let now = 0
    clock.now = () => now
    for (let i = 0; i < 100; i++) {
      now = i * 100
      log.commitDurability(appendGroup(log, i, 100))
      durableAt.push(log.durableThrough)
    }
    expect(durableAt[29]).toBe(0)
    expect(durableAt[31]).toBe(31 * 116 + 116)
    expect(log.status().syncs).toBe(3)
  })

  it('syncs inline when a sync that waiters need never ends', () => {
    const { env, disk, log } = manualLog()
    const wait = log.commitDurability(appendGroup(log, 0, 100))
    expect(wait).toBeInstanceOf(Promise)
    env.clock.now = () => 3001
    expect(log.commitDurability(appendGroup(log, 1, 100))).toBeUndefined()
    expect(durableGroups(disk)).toBe(2)
  })

  it.each(['sync', 'write', 'lazy'] as const)("writes and syncs inline past a bound of bytes ('%s')", (durability) => {
    const { disk, log, count } = manualLog(durability)
    const bytes = groupBytes(1, 100_000)
    let unsynced = 0
    for (let i = 0; i < 400; i++) {
      log.commitDurability(append(log, bytes))
      expect(log.end - log.writtenThrough).toBeLessThan(1_500_000)
      unsynced = Math.max(unsynced, log.end - log.durableThrough)
    }
    expect(unsynced).toBeGreaterThan(15_000_000)
    expect(unsynced).toBeLessThan(18_500_000)
    expect(count('sync')).toBeGreaterThan(2)
    expect(readAll(world(disk.crash(new Prng(1), 'none')), undefined, BIG).groups.length).toBeGreaterThan(200)
  })

  it('really makes progress under a loop of awaits', async () => {
    const env = world()
    const log = newLog(env, { durability: 'write', ...BIG })
    let now = 0
    env.clock.now = () => now
    let turned = false
    setImmediate(() => {
      turned = true
    })
    for (let i = 0; i < 5000; i++) {
      now++
      await log.commitDurability(appendGroup(log, i, 20))
    }
    expect(turned).toBe(false)
    expect(log.durableThrough).toBeGreaterThan(0)
  })
})

describe('a wait', () => {
  it('for what was never appended is a bug of the caller', () => {
    const { log } = manualLog()
    expect(() => log.waitDurable((log.end + 4) as LogPosition)).toThrow('waits for what was appended')
  })
})
