import { describe, expect, it } from 'vitest'
import type { NextkeyError } from '../../src/base/errors.js'
import { openLog } from '../../src/wal/open-log.js'
import { Prng } from '../support/seeded.js'
import type { Fault } from '../support/simulated-faults.js'
import {
  append,
  appendGroup,
  codeOf,
  groupBytes,
  newDisk,
  newLog,
  options,
  readAll,
  rejectionOf,
  reopen,
  settle,
  world,
} from './support.js'

const BIG = { segmentSize: 4_194_304 }

describe('a failed sync', () => {
  it('leaves the fate of every waiter unknown and closes the log', async () => {
    const env = world()
    const failures: NextkeyError[] = []
    const log = newLog(env, { onFailure: (error) => failures.push(error) })
    const safe = appendGroup(log, 0, 100)
    log.syncNow()
    const covered = appendGroup(log, 1, 100)
    const wait = log.commitDurability(covered)
    env.fileSystem.failAt({ on: 'sync' })
    const error = (await wait?.catch((reason: unknown) => reason)) as NextkeyError
    expect(error.code).toBe('ERR_COMMIT_UNKNOWN')
    expect(error.retryable).toBe(false)
    expect((error.cause as { code: string }).code).toBe('EIO')
    expect(failures.map(({ code }) => code)).toEqual(['ERR_POISONED'])
    expect(log.poisoned).toBe(true)
    expect(codeOf(() => appendGroup(log, 2, 100))).toBe('ERR_POISONED')
    expect(codeOf(() => log.reserve(100))).toBe('ERR_POISONED')
    expect(codeOf(() => log.release(safe))).toBe('ERR_POISONED')
    expect(codeOf(() => log.waitDurable(covered))).toBe('ERR_COMMIT_UNKNOWN')
    expect(codeOf(() => log.syncNow())).toBe('ERR_COMMIT_UNKNOWN')
    expect(await rejectionOf(log.flush())).toBe('ERR_COMMIT_UNKNOWN')
    expect(log.waitDurable(safe)).toBeUndefined()
    await log.close()
  })

  it('is not tried again: nothing is written or synced any more', async () => {
    const env = world()
    const log = newLog(env, { durability: 'write' })
    log.commitDurability(appendGroup(log, 0, 100))
    env.fileSystem.failAt({ on: 'sync' })
    await env.clock.advanceAsync(1000)
    await settle()
    expect(log.poisoned).toBe(true)
    const before = env.fileSystem.operations
    await env.clock.advanceAsync(10_000)
    expect(codeOf(() => log.write())).toBe('none')
    await log.close()
    expect(env.fileSystem.operations).toBe(before)
    expect(env.clock.pendingTimers).toBe(0)
  })

  it('also ends those who gather for the next sync', async () => {
    const env = world(newDisk({ completion: 'manual' }))
    const log = newLog(env)
    const first = rejectionOf(log.commitDurability(appendGroup(log, 0, 100)))
    await settle()
    const second = rejectionOf(log.commitDurability(appendGroup(log, 1, 100)))
    env.fileSystem.failAt({ on: 'sync' })
    env.fileSystem.completeOne()
    expect(await first).toBe('ERR_COMMIT_UNKNOWN')
    expect(await second).toBe('ERR_COMMIT_UNKNOWN')
  })

  it('inline is raised at the caller and told to those who wait', async () => {
    const env = world(newDisk({ completion: 'manual' }))
    const log = newLog(env)
    const waiting = rejectionOf(log.commitDurability(appendGroup(log, 0, 100)))
    await settle()
    env.fileSystem.failAt({ on: 'sync' })
    expect(codeOf(() => log.commitDurabilitySync(appendGroup(log, 1, 100)))).toBe('ERR_COMMIT_UNKNOWN')
    expect(await waiting).toBe('ERR_COMMIT_UNKNOWN')
    env.fileSystem.completeOne()
    await settle()
    expect(log.durableThrough).toBe(0)
  })

  it('does not end the process when nobody awaits the commit', async () => {
    const env = world()
    const log = newLog(env)
    log.commitDurability(appendGroup(log, 0, 100))
    env.fileSystem.failAt({ on: 'sync' })
    await settle()
    expect(log.poisoned).toBe(true)
  })
})

describe('a failed write', () => {
  it('closes the log', async () => {
    const env = world()
    const log = newLog(env)
    const wait = rejectionOf(log.commitDurability(appendGroup(log, 0, 100)))
    env.fileSystem.failAt({ on: 'write' })
    expect(await wait).toBe('ERR_COMMIT_UNKNOWN')
    expect(codeOf(() => appendGroup(log, 1, 100))).toBe('ERR_POISONED')
  })

  it('of the header of the next segment closes the log as well', async () => {
    const env = world()
    const log = newLog(env)
    while (log.end < 20_000) appendGroup(log, 1, 400)
    log.syncNow()
    await settle()
    log.release(log.end)
    env.fileSystem.failAt({ on: 'write', path: '.log' })
    for (let i = 0; i < 30 && !log.poisoned; i++) appendGroup(log, 1, 400)
    expect(log.poisoned).toBe(true)
    expect(codeOf(() => appendGroup(log, 2, 4))).toBe('ERR_POISONED')
    expect(codeOf(() => log.waitDurable(log.end))).toBe('ERR_COMMIT_UNKNOWN')
  })

  it("is raised in 'write' mode, also by a commit that comes before it is known", async () => {
    const env = world()
    const log = newLog(env, { durability: 'write' })
    env.fileSystem.failAt({ on: 'write' })
    const first = log.commitDurability(appendGroup(log, 0, 100))
    const end = appendGroup(log, 0, 100)
    const second = log.commitDurability(end)
    expect([await rejectionOf(first), await rejectionOf(second)]).toEqual(['ERR_COMMIT_UNKNOWN', 'ERR_COMMIT_UNKNOWN'])
    expect(codeOf(() => log.commitDurability(end))).toBe('ERR_COMMIT_UNKNOWN')
    expect(codeOf(() => log.commitDurabilitySync(end))).toBe('ERR_COMMIT_UNKNOWN')
  })

  it('in the middle of a large group leaves no part of it', () => {
    const env = world()
    const log = newLog(env, BIG)
    appendGroup(log, 0, 100)
    log.syncNow()
    env.fileSystem.failAt({ on: 'write', nth: 2 })
    expect(codeOf(() => append(log, groupBytes(1, 3_500_000)))).toBe('ERR_COMMIT_UNKNOWN')
    expect(readAll(world(env.fileSystem.killProcess(new Prng(1))), undefined, BIG).groups).toHaveLength(1)
  })
})

describe('whatever call fails', () => {
  it('what was acknowledged is still there, and nothing hangs', async () => {
    const faults: Partial<Fault>[] = [
      { on: 'write' },
      { on: 'sync' },
      { on: 'create' },
      { on: 'rename' },
      { on: 'syncDirectory' },
      { on: 'open' },
      { on: 'remove' },
      { on: 'any', times: Infinity },
    ]
    for (const fault of faults) {
      for (let nth = 1; nth <= 20; nth++) {
        for (const code of ['EIO', 'ENOSPC']) {
          const disk = newDisk({ seed: nth })
          const env = world(disk)
          const log = newLog(env)
          disk.failAt({ ...fault, nth, code } as Fault)
          let acknowledged = 0
          try {
            for (let i = 0; i < 60; i++) {
              const end = appendGroup(log, i, 1 + ((i * 397) % 1500))
              if (i % 3 === 0) log.commitDurabilitySync(end)
              else await log.commitDurability(end)
              acknowledged = i + 1
            }
          } catch (error) {
            expect(['ERR_COMMIT_UNKNOWN', 'ERR_POISONED', 'ERR_DISK_FULL', 'ERR_IO']).toContain((error as NextkeyError).code)
          }
          await log.close().catch(() => {})
          disk.clearFaults()
          for (const mode of ['none', 'all', 'random'] as const) {
            const after = world(disk.crash(new Prng(nth), mode))
            const { groups } = readAll(after)
            expect(groups.length).toBeGreaterThanOrEqual(acknowledged)
            expect(groups.every(({ bytes }, i) => bytes.equals(groupBytes(i, 1 + ((i * 397) % 1500))))).toBe(true)
            await reopen(after).close()
          }
        }
      }
    }
  })

  it('when a log is found or begun, that can be tried again', async () => {
    for (const on of [
      'open',
      'list',
      'read',
      'write',
      'sync',
      'create',
      'rename',
      'syncDirectory',
      'makeDirectory',
      'remove',
      'size',
    ] as const) {
      for (const code of ['EIO', 'ENOSPC', 'EMFILE']) {
        for (let nth = 1; nth <= 6; nth++) {
          const env = world()
          const log = newLog(env)
          for (let i = 0; i < 30; i++) appendGroup(log, i, 500)
          log.syncNow()
          await log.close()
          env.fileSystem.failAt({ on, nth, code })
          const failures: NextkeyError[] = []
          const raised = codeOf(() => reopen(env, undefined, { onFailure: (error) => failures.push(error) }))
          expect(['none', 'ERR_IO', 'ERR_DISK_FULL']).toContain(raised)
          expect(failures).toEqual([])
          env.fileSystem.clearFaults()
          const again = reopen(env)
          appendGroup(again, 30, 500)
          again.syncNow()
          const { groups } = readAll(env)
          expect(groups).toHaveLength(31)
          expect(groups.every(({ bytes }, i) => bytes.equals(groupBytes(i, 500)))).toBe(true)
        }
      }
    }
  })
})

describe('a full disk', () => {
  const CAPACITY = 5 * 16_384

  it('refuses an append before it is accepted, and the log goes on when there is room', async () => {
    const disk = newDisk({ capacity: CAPACITY })
    const env = world(disk)
    const log = newLog(env)
    const ends: number[] = []
    let refused: NextkeyError | undefined
    for (let i = 0; refused === undefined; i++) {
      try {
        ends.push(appendGroup(log, i, 500))
        await log.commitDurability(log.end)
      } catch (error) {
        refused = error as NextkeyError
      }
    }
    expect(refused.code).toBe('ERR_DISK_FULL')
    expect(refused.retryable).toBe(true)
    expect(log.poisoned).toBe(false)
    expect(log.end).toBe(ends.at(-1))
    expect(readAll(env).groups).toHaveLength(ends.length)
    log.release(log.durableThrough)
    const end = appendGroup(log, ends.length, 500)
    await log.commitDurability(end)
    expect(readAll(env, ends.at(-1) as typeof end).groups).toHaveLength(1)
  })

  it('is found out by reserve, before anything is appended', () => {
    const disk = newDisk({ capacity: CAPACITY })
    const env = world(disk)
    const log = newLog(env)
    log.reserve(20_000)
    expect(codeOf(() => log.reserve(100_000))).toBe('ERR_DISK_FULL')
    expect(log.poisoned).toBe(false)
    const end = append(log, groupBytes(1, 20_000))
    log.commitDurabilitySync(end)
    expect(readAll(env).groups).toHaveLength(1)
  })

  it('does not fail what was reserved', () => {
    for (let size = 1; size < 40_000; size += 1237) {
      const disk = newDisk()
      const env = world(disk)
      const log = newLog(env)
      const groups = 1 + (size % 7)
      log.reserve(size * groups, groups)
      disk.failAt({ on: 'create', times: Infinity, code: 'ENOSPC' })
      for (let i = 0; i < groups; i++) append(log, groupBytes(i, size))
      log.syncNow()
      expect(readAll(env).groups).toHaveLength(groups)
    }
  })

  it('only delays the segment prepared ahead of need', async () => {
    const env = world()
    const log = newLog(env)
    env.fileSystem.failAt({ on: 'write', path: '.new', code: 'ENOSPC' })
    for (let i = 0; i < 10; i++) appendGroup(log, i, 600)
    log.syncNow()
    await settle()
    expect([log.poisoned, log.status().files]).toEqual([false, 1])
    for (let i = 10; i < 40; i++) appendGroup(log, i, 600)
    log.syncNow()
    expect(readAll(env).groups).toHaveLength(40)
    await log.close()
    expect(env.fileSystem.list('/db/wal').filter((name) => name.endsWith('.new'))).toEqual([])
  })

  it('keeps an existing log from being begun anew, until there is room', () => {
    const disk = newDisk({ capacity: 16_384 })
    const env = world(disk)
    const log = newLog(env)
    appendGroup(log, 0, 100)
    log.syncNow()
    expect(codeOf(() => reopen(env))).toBe('ERR_DISK_FULL')
    expect(readAll(env).groups).toHaveLength(1)
    expect(openLog(env, options()).empty).toBe(false)
  })
})
