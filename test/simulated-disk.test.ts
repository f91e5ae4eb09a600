import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { File } from '../src/platform/file-system.js'
import { Prng } from './support/seeded.js'
import { CRASH_MODES, SimulatedDisk, type SimulatedDiskOptions } from './support/simulated-disk.js'
import { CrashSignal } from './support/simulated-faults.js'

const SECTOR = 512

/** A disk with one durable, empty file. */
function diskWithFile(options: SimulatedDiskOptions = {}): { disk: SimulatedDisk; file: File } {
  const disk = new SimulatedDisk(options)
  disk.makeDirectory('/db')
  disk.syncDirectorySync('/')
  const file = disk.open('/db/data', { create: true })
  disk.syncDirectorySync('/db')
  return { disk, file }
}

function bytes(length: number, value: number): Uint8Array {
  return new Uint8Array(length).fill(value)
}

function write(file: File, content: Uint8Array, position: number): void {
  file.writeSync(content, 0, content.length, position)
}

function contentOf(disk: SimulatedDisk, path = '/db/data'): Uint8Array {
  const file = disk.open(path, { readOnly: true })
  const content = new Uint8Array(file.size())
  expect(file.readSync(content, 0, content.length, 0)).toBe(content.length)
  file.close()
  return content
}

function code(action: () => unknown): unknown {
  try {
    action()
  } catch (error) {
    return (error as { code?: unknown }).code ?? (error as Error).name
  }
  return 'nothing thrown'
}

/** What many crashes of one moment leave, each rendered by `look`. */
function outcomes(
  disk: SimulatedDisk,
  look: (after: SimulatedDisk) => string,
  mode: 'random' | 'torn' = 'random',
  crashes = 400,
): Set<string> {
  const seen = new Set<string>()
  const random = new Prng(7)
  for (let i = 0; i < crashes; i++) seen.add(look(disk.crash(random, mode)))
  return seen
}

/** First byte of each sector, as letters; '.' for zero. */
function sectors(disk: SimulatedDisk): string {
  const content = contentOf(disk)
  let text = ''
  for (let at = 0; at < content.length; at += SECTOR) text += content[at] === 0 ? '.' : String.fromCharCode(content[at] as number)
  return text
}

const a = (length: number): Uint8Array => bytes(length, 97)
const b = (length: number): Uint8Array => bytes(length, 98)
const c = (length: number): Uint8Array => bytes(length, 99)

describe('a disk that works', () => {
  test('reads back what was written, zeros in holes, nothing beyond the end', () => {
    const { file } = diskWithFile()
    write(file, a(10), 40_000)
    const target = bytes(30, 1)
    expect(file.readSync(target, 5, 20, 39_990)).toBe(20)
    expect([...target]).toEqual([...bytes(5, 1), ...bytes(10, 0), ...a(10), ...bytes(5, 1)])
    expect(file.readSync(target, 0, 30, 40_005)).toBe(5)
    expect(file.readSync(target, 0, 30, 50_000)).toBe(0)
    expect(file.size()).toBe(40_010)
  })

  test('a file cut short and grown again shows zeros', () => {
    const { file } = diskWithFile()
    write(file, a(40_000), 0)
    file.truncate(100)
    file.truncate(40_000)
    const target = new Uint8Array(40_000)
    file.readSync(target, 0, 40_000, 0)
    expect(target.indexOf(0)).toBe(100)
    expect(target.lastIndexOf(97)).toBe(99)
  })

  test('agrees with a plain array under any writes, cuts and syncs', () => {
    const step = fc.record({
      kind: fc.constantFrom('write', 'write', 'write', 'truncate', 'sync', 'clone'),
      position: fc.nat(50_000),
      length: fc.nat(20_000),
      value: fc.integer({ min: 1, max: 255 }),
    })
    fc.assert(
      fc.property(fc.array(step, { maxLength: 20 }), (steps) => {
        const { disk, file } = diskWithFile()
        let model = new Uint8Array(0)
        for (const { kind, position, length, value } of steps) {
          if (kind === 'write') {
            write(file, bytes(length, value), position)
            if (length > 0) model = resized(model, Math.max(model.length, position + length)).fill(value, position, position + length)
          } else if (kind === 'truncate') {
            file.truncate(position)
            model = resized(model, position)
          } else if (kind === 'sync') file.syncSync()
          else {
            // A copy that is scribbled over must not show in the original.
            const copy = disk.clone().open('/db/data')
            write(copy, bytes(60_000, 255), 0)
          }
        }
        expect(Buffer.compare(contentOf(disk), model)).toBe(0)
        expect(Buffer.compare(contentOf(disk.crash(new Prng(1), 'all')), model)).toBe(0)
        file.syncSync()
        for (const mode of CRASH_MODES) expect(Buffer.compare(contentOf(disk.crash(new Prng(1), mode)), model)).toBe(0)
      }),
      { seed: 1, numRuns: 200 },
    )
  })

  test('names files as an operating system does', () => {
    const disk = new SimulatedDisk()
    expect(code(() => disk.open('/db/data', { create: true }))).toBe('ENOENT')
    expect(code(() => disk.list('/db'))).toBe('ENOENT')
    disk.makeDirectory('/db/sub')
    disk.makeDirectory('/db/sub')
    for (const name of ['b', 'a', 'sub/c']) disk.open(`/db/${name}`, { create: true }).close()
    expect(disk.list('/db')).toEqual(['a', 'b', 'sub'])
    expect(code(() => disk.open('/db/a', { create: true, exclusive: true }))).toBe('EEXIST')
    expect(code(() => disk.open('/db/none'))).toBe('ENOENT')
    expect(code(() => disk.open('/db/sub'))).toBe('EISDIR')
    expect(code(() => disk.list('/db/a'))).toBe('ENOTDIR')
    write(disk.open('/db/a'), a(3), 0)
    disk.rename('/db/a', '/db/b')
    expect(disk.list('/db')).toEqual(['b', 'sub'])
    expect([...contentOf(disk, '/db/b')]).toEqual([97, 97, 97])
    disk.remove('/db/b')
    expect(disk.exists('/db/b')).toBe(false)
    expect(code(() => disk.remove('/db/b'))).toBe('ENOENT')
  })

  test('a removed file lives on for who has it open; a closed one answers nobody', () => {
    const { disk, file } = diskWithFile()
    write(file, a(10), 0)
    disk.remove('/db/data')
    expect(file.size()).toBe(10)
    expect(disk.used).toBe(16384)
    file.close()
    expect(disk.used).toBe(0)
    expect(code(() => file.size())).toBe('EBADF')
  })

  test('a file opened read-only refuses writes', () => {
    const { disk } = diskWithFile()
    const file = disk.open('/db/data', { readOnly: true })
    expect(code(() => write(file, a(1), 0))).toBe('EBADF')
    expect(code(() => file.truncate(0))).toBe('EBADF')
  })
})

describe('a crash', () => {
  test('takes all that was not synced, or none of it, as told', () => {
    const { disk, file } = diskWithFile()
    write(file, a(2 * SECTOR), 0)
    file.syncSync()
    write(file, b(SECTOR), 0)
    write(file, b(SECTOR), 2 * SECTOR)
    expect(sectors(disk.crash(new Prng(1), 'none'))).toBe('aa')
    expect(sectors(disk.crash(new Prng(1), 'all'))).toBe('bab')
    expect(sectors(disk)).toBe('bab')
  })

  test('loses and reorders sectors in every combination', () => {
    const { disk, file } = diskWithFile()
    write(file, a(3 * SECTOR), 0)
    file.syncSync()
    write(file, b(3 * SECTOR), 0)
    expect([...outcomes(disk, sectors)].sort()).toEqual(['aaa', 'aab', 'aba', 'abb', 'baa', 'bab', 'bba', 'bbb'])
  })

  test('can leave a sector as it was at any time since the sync', () => {
    const { disk, file } = diskWithFile()
    write(file, a(SECTOR), 0)
    file.syncSync()
    write(file, b(SECTOR), 0)
    write(file, c(SECTOR), 0)
    expect([...outcomes(disk, sectors)].sort()).toEqual(['a', 'b', 'c'])
  })

  test('never tears within a sector, and never mixes the bytes of one', () => {
    const { disk, file } = diskWithFile()
    write(file, a(SECTOR), 0)
    file.syncSync()
    write(file, b(100), 50)
    write(file, c(100), 100)
    const look = (after: SimulatedDisk): string =>
      Buffer.from(contentOf(after))
        .toString('latin1')
        .replace(/(.)\1*/g, (run) => `${run[0]}${run.length} `)
    expect([...outcomes(disk, look)].sort()).toEqual(['a50 b100 a362 ', 'a50 b50 c100 a312 ', 'a512 '])
  })

  test('can leave a size without its data, and data without its size', () => {
    const { disk, file } = diskWithFile()
    write(file, a(SECTOR), 0)
    file.syncSync()
    write(file, b(SECTOR), SECTOR)
    expect([...outcomes(disk, sectors)].sort()).toEqual(['a', 'a.', 'ab'])
    const grown = (after: SimulatedDisk): string => {
      const before = sectors(after)
      after.open('/db/data').truncate(4 * SECTOR)
      return `${before} ${sectors(after)}`
    }
    expect([...outcomes(disk, grown)].sort()).toEqual(['a a...', 'a. a...', 'ab ab..'])
  })

  test('can undo a cut, or keep it, or keep the cut and lose the size', () => {
    const { disk, file } = diskWithFile()
    write(file, a(3 * SECTOR), 0)
    file.syncSync()
    file.truncate(SECTOR)
    const seen = outcomes(disk, sectors)
    expect(seen).toContain('aaa')
    expect(seen).toContain('a')
    expect(seen).toContain('a..')
  })

  test('in torn mode keeps what came before a moment and nothing after it', () => {
    const { disk, file } = diskWithFile()
    write(file, a(4 * SECTOR), 0)
    file.syncSync()
    write(file, b(SECTOR), 0)
    write(file, b(2 * SECTOR), SECTOR)
    write(file, b(SECTOR), 3 * SECTOR)
    expect([...outcomes(disk, sectors, 'torn')].sort()).toEqual(['aaaa', 'baaa', 'baba', 'bbaa', 'bbba', 'bbbb'])
  })

  test('leaves in each sector something it held since the last sync, and a size it had', () => {
    const step = fc.record({
      kind: fc.constantFrom('write', 'write', 'write', 'truncate', 'sync'),
      first: fc.nat(40),
      count: fc.integer({ min: 1, max: 40 }),
      value: fc.integer({ min: 1, max: 255 }),
    })
    const modes = fc.constantFrom('random' as const, 'torn' as const)
    fc.assert(
      fc.property(fc.array(step, { maxLength: 12 }), modes, fc.nat(), (steps, mode, seed) => {
        const { disk, file } = diskWithFile()
        let now: number[] = []
        let held: Set<number>[] = []
        let sizes = new Set([0])
        let synced: number[] = []
        const note = (): void => {
          sizes.add(now.length)
          for (let i = 0; i < 81; i++) (held[i] ??= new Set([0])).add(now[i] ?? 0)
        }
        for (const { kind, first, count, value } of steps) {
          if (kind === 'write') {
            write(file, bytes(count * SECTOR, value), first * SECTOR)
            for (let i = now.length; i < first; i++) now[i] = 0
            for (let i = first; i < first + count; i++) now[i] = value
          } else if (kind === 'truncate') {
            file.truncate(first * SECTOR)
            now = Array.from({ length: first }, (_, i) => now[i] ?? 0)
          } else {
            file.syncSync()
            held = []
            sizes = new Set()
            synced = now.slice()
            for (let i = 0; i < 81; i++) held[i] = new Set([now[i] ?? 0])
          }
          note()
        }
        const after = contentOf(disk.crash(new Prng(seed), mode))
        expect(sizes).toContain(after.length / SECTOR)
        for (let at = 0; at < after.length; at += SECTOR) {
          const value = after[at] as number
          expect(Buffer.compare(after.subarray(at, at + SECTOR), bytes(SECTOR, value))).toBe(0)
          expect(held[at / SECTOR]).toContain(value)
        }
        const least = contentOf(disk.crash(new Prng(seed), 'none'))
        expect(Array.from({ length: least.length / SECTOR }, (_, i) => least[i * SECTOR])).toEqual(synced)
      }),
      { seed: 2, numRuns: 500 },
    )
  })

  test('makes what it left durable: the next crash changes nothing', () => {
    const { disk, file } = diskWithFile()
    for (let i = 0; i < 20; i++) write(file, bytes(3 * SECTOR, 97 + i), i * SECTOR)
    const random = new Prng(3)
    for (let i = 0; i < 50; i++) {
      const after = disk.crash(random, 'random')
      expect(sectors(after.crash(random, 'random'))).toBe(sectors(after))
      expect(sectors(after.crash(random, 'none'))).toBe(sectors(after))
    }
  })

  test('is the same for the same seed', () => {
    const run = (): string[] => {
      const { disk, file } = diskWithFile({ seed: 5 })
      for (let i = 0; i < 10; i++) write(file, bytes(3 * SECTOR, 97 + i), i * SECTOR)
      const random = new Prng(11)
      return CRASH_MODES.map((mode) => sectors(disk.crash(random, mode)))
    }
    expect(run()).toEqual(run())
  })

  test('leaves the disk, and other crashes of the same moment, alone', () => {
    const { disk, file } = diskWithFile()
    write(file, a(4 * SECTOR), 0)
    file.syncSync()
    const first = disk.crash(new Prng(1), 'all')
    const second = disk.crash(new Prng(1), 'all')
    write(first.open('/db/data'), b(SECTOR), 0)
    write(file, c(SECTOR), SECTOR)
    expect([sectors(first), sectors(second), sectors(disk)]).toEqual(['baaa', 'aaaa', 'acaa'])
  })
})

describe('directory entries', () => {
  const names = (disk: SimulatedDisk): string => (disk.exists('/db') ? disk.list('/db').join(' ') : 'no directory')

  test('come and go in any combination until the directory is synced', () => {
    const { disk } = diskWithFile()
    disk.open('/db/new', { create: true }).syncSync()
    disk.remove('/db/data')
    expect([...outcomes(disk, names)].sort()).toEqual(['', 'data', 'data new', 'new'])
    disk.syncDirectorySync('/db')
    expect([...outcomes(disk, names)]).toEqual(['new'])
  })

  test('of a rename change together', () => {
    const { disk } = diskWithFile()
    write(disk.open('/db/data'), a(1), 0)
    const next = disk.open('/db/next', { create: true })
    write(next, b(1), 0)
    next.syncSync()
    disk.open('/db/data').syncSync()
    disk.syncDirectorySync('/db')
    disk.rename('/db/next', '/db/data')
    const look = (after: SimulatedDisk): string => `${names(after)}: ${sectors(after)}`
    expect([...outcomes(disk, look)].sort()).toEqual(['data next: a', 'data: b'])
  })

  test('are not made durable by syncing the file, nor by syncing another directory', () => {
    const disk = new SimulatedDisk()
    disk.makeDirectory('/db')
    disk.open('/db/data', { create: true }).syncSync()
    disk.syncDirectorySync('/db')
    const after = disk.crash(new Prng(1), 'none')
    expect(names(after)).toBe('no directory')
    expect(after.exists('/db/data')).toBe(false)
    disk.syncDirectorySync('/')
    expect(names(disk.crash(new Prng(1), 'none'))).toBe('data')
  })
})

describe('faults', () => {
  test('a full disk takes what fits, says ENOSPC, and still overwrites', () => {
    const { file, disk } = diskWithFile({ capacity: 32_768 })
    expect(code(() => write(file, a(40_000), 100))).toBe('ENOSPC')
    expect(file.size()).toBe(32_768)
    expect(code(() => write(file, b(10), 32_768))).toBe('ENOSPC')
    write(file, b(32_768), 0)
    expect(code(() => disk.open('/db/more', { create: true }))).toBe('ENOSPC')
    file.truncate(16_384)
    disk.open('/db/more', { create: true })
    write(file, c(16_384), 16_384)
  })

  test('a write that fails has written some of its sectors', () => {
    const seen = new Set<string>()
    for (let seed = 0; seed < 100; seed++) {
      const { disk, file } = diskWithFile({ seed })
      write(file, a(3 * SECTOR), 0)
      disk.failAt({ on: 'write' })
      expect(code(() => write(file, b(3 * SECTOR), 0))).toBe('EIO')
      seen.add(sectors(disk))
    }
    expect([...seen].sort()).toEqual(['aaa', 'baa', 'bba', 'bbb'])
  })

  test('a failed sync loses its data for good, though reads and later syncs say otherwise', () => {
    const { disk, file } = diskWithFile()
    write(file, a(3 * SECTOR), 0)
    file.syncSync()
    write(file, b(2 * SECTOR), 0)
    disk.failAt({ on: 'sync' })
    expect(code(() => file.syncSync())).toBe('EIO')
    file.syncSync()
    expect(sectors(disk)).toBe('bba')
    expect(sectors(disk.crash(new Prng(1), 'none'))).toBe('aaa')
    expect(sectors(disk.crash(new Prng(1), 'all'))).toBe('aaa')
    expect(outcomes(disk, sectors)).toContain('aba')
    // Writing the sector again makes it dirty again.
    write(file, c(1), 10)
    expect(sectors(disk.crash(new Prng(1), 'all'))).toBe('baa')
    expect(sectors(disk.crash(new Prng(1), 'none'))).toBe('aaa')
    file.syncSync()
    expect(sectors(disk.crash(new Prng(1), 'none'))).toBe('baa')
  })

  test('a failed sync loses the size too', () => {
    const { disk, file } = diskWithFile()
    write(file, a(SECTOR), 0)
    file.syncSync()
    write(file, b(SECTOR), SECTOR)
    disk.failAt({ on: 'sync' })
    expect(code(() => file.syncSync())).toBe('EIO')
    file.syncSync()
    expect(sectors(disk.crash(new Prng(1), 'all'))).toBe('a')
    write(file, c(SECTOR), 2 * SECTOR)
    file.syncSync()
    expect(sectors(disk.crash(new Prng(1), 'none'))).toBe('a.c')
  })

  test('… until it is written to there again: what a sync has written can be read back', () => {
    const { disk, file } = diskWithFile()
    write(file, a(SECTOR), 0)
    file.syncSync()
    write(file, b(2 * SECTOR), SECTOR)
    disk.failAt({ on: 'sync' })
    expect(code(() => file.syncSync())).toBe('EIO')
    write(file, c(SECTOR), SECTOR)
    expect(sectors(disk.crash(new Prng(1), 'none'))).toBe('a')
    file.syncSync()
    expect(sectors(disk.crash(new Prng(1), 'none'))).toBe('ac')
  })

  test('a failed directory sync loses the names', () => {
    const { disk } = diskWithFile()
    disk.open('/db/new', { create: true })
    disk.failAt({ on: 'syncDirectory' })
    expect(code(() => disk.syncDirectorySync('/db'))).toBe('EIO')
    disk.syncDirectorySync('/db')
    expect(disk.list('/db')).toEqual(['data', 'new'])
    expect(disk.crash(new Prng(1), 'all').list('/db')).toEqual(['data'])
  })

  test('strike the n-th call of a kind, for a path, as often as told', () => {
    const { disk, file } = diskWithFile()
    disk.failAt({ on: 'read', nth: 2, times: 2, path: 'data', code: 'EAGAIN' })
    const read = (): unknown => code(() => file.readSync(bytes(1, 0), 0, 1, 0))
    expect([read(), read(), read(), read()]).toEqual(['nothing thrown', 'EAGAIN', 'EAGAIN', 'nothing thrown'])
    disk.failAt({ on: 'any', path: 'other', times: Infinity })
    expect(read()).toBe('nothing thrown')
    disk.failAt({ on: 'any', times: Infinity })
    expect([read(), code(() => disk.list('/db')), code(() => file.syncSync())]).toEqual(['EIO', 'EIO', 'EIO'])
    disk.clearFaults()
    expect(read()).toBe('nothing thrown')
  })
})

describe('a crash point', () => {
  test('kills the machine at the n-th operation, before or after it took effect', () => {
    const seen = new Set<string>()
    for (let seed = 0; seed < 20; seed++) {
      const { disk, file } = diskWithFile({ seed })
      disk.crashAfter(2)
      write(file, a(SECTOR), 0)
      expect(() => write(file, b(SECTOR), SECTOR)).toThrow(CrashSignal)
      expect(disk.crashed).toBe(true)
      expect(() => file.size()).toThrow(CrashSignal)
      expect(() => disk.exists('/db')).toThrow(CrashSignal)
      seen.add(sectors(disk.crash(new Prng(1), 'all')))
    }
    expect([...seen].sort()).toEqual(['a', 'ab'])
  })

  test('can be set at each operation of a run in turn, reads not counted', () => {
    const run = (disk: SimulatedDisk): void => {
      disk.makeDirectory('/db')
      const file = disk.open('/db/x', { create: true })
      write(file, a(1), 0)
      file.readSync(bytes(1, 0), 0, 1, 0)
      file.syncSync()
      file.truncate(0)
      disk.rename('/db/x', '/db/y')
      disk.remove('/db/y')
      disk.syncDirectorySync('/db')
    }
    const whole = new SimulatedDisk()
    run(whole)
    expect(whole.operations).toBe(8)
    for (let n = 1; n <= 8; n++) {
      const disk = new SimulatedDisk()
      disk.crashAfter(n)
      expect(() => run(disk)).toThrow(CrashSignal)
      expect(disk.operations).toBe(n)
    }
  })

  test('is traced with the operations before it', () => {
    const disk = new SimulatedDisk({ trace: true })
    disk.crashAfter(3)
    const file = disk.open('/x', { create: true })
    write(file, a(5), 7)
    expect(() => file.syncSync()).toThrow(CrashSignal)
    expect(disk.trace?.slice(0, 3)).toEqual(['#1 create /x', '#2 write /x 7+5', '#3 sync /x'])
    expect(disk.trace?.[3]).toMatch(/^crash (before|after) #3$/)
  })

  test('may be taken by an observer at every operation of one run', () => {
    const { disk, file } = diskWithFile()
    const images: string[] = []
    disk.onOperation = () => images.push(sectors(disk.crash(new Prng(1), 'none')))
    write(file, a(SECTOR), 0)
    file.syncSync()
    write(file, b(SECTOR), 0)
    file.syncSync()
    file.syncSync()
    expect(images).toEqual(['', '', 'a', 'a', 'b'])
  })
})

describe('asynchronous calls', () => {
  test('complete in macrotasks or microtasks, as told', async () => {
    for (const completion of ['macrotask', 'microtask'] as const) {
      const { disk, file } = diskWithFile({ completion })
      await file.write(a(SECTOR), 0, SECTOR, 0)
      await file.sync()
      disk.open('/db/new', { create: true })
      await disk.syncDirectory('/db')
      expect(sectors(disk.crash(new Prng(1), 'none'))).toBe('a')
      expect(disk.crash(new Prng(1), 'none').list('/db')).toEqual(['data', 'new'])
    }
  })

  test('complete when the test says so, in an order the seed decides', async () => {
    const orders = new Set<string>()
    for (let seed = 0; seed < 30; seed++) {
      const { disk, file } = diskWithFile({ completion: 'manual', seed })
      const order: number[] = []
      const calls = [0, 1, 2].map((i) => file.write(a(SECTOR), 0, SECTOR, i * SECTOR).then(() => order.push(i)))
      expect(disk.pending).toBe(3)
      while (disk.pending > 0) disk.completeOne()
      await Promise.all(calls)
      orders.add(order.join(''))
    }
    expect(orders.size).toBe(6)
  })

  test('a write under way at the crash is applied in part', () => {
    const { disk, file } = diskWithFile({ completion: 'manual' })
    write(file, a(2 * SECTOR), 0)
    file.syncSync()
    void file.write(b(2 * SECTOR), 0, 2 * SECTOR, 0)
    expect([...outcomes(disk, sectors)].sort()).toEqual(['aa', 'ab', 'ba', 'bb'])
    expect([...outcomes(disk, sectors, 'torn')].sort()).toEqual(['aa', 'ab', 'ba', 'bb'])
    expect(sectors(disk.crash(new Prng(1), 'none'))).toBe('aa')
    expect(sectors(disk)).toBe('aa')
  })

  test('a sync covers no write that ended after it was called', async () => {
    const { disk, file } = diskWithFile({ completion: 'manual' })
    write(file, a(SECTOR), 0)
    const sync = file.sync()
    write(file, b(SECTOR), 0)
    disk.completeOne()
    await sync
    expect(sectors(disk.crash(new Prng(1), 'none'))).toBe('a')
    expect([...outcomes(disk, sectors)].sort()).toEqual(['a', 'b'])
  })

  test('a directory sync covers no name made after it was called', async () => {
    const { disk } = diskWithFile({ completion: 'manual' })
    disk.open('/db/before', { create: true })
    const sync = disk.syncDirectory('/db')
    disk.open('/db/later', { create: true })
    disk.completeOne()
    await sync
    expect(disk.crash(new Prng(1), 'none').list('/db')).toEqual(['before', 'data'])
  })

  test('fail with the error injected, or with the machine', async () => {
    const { disk, file } = diskWithFile()
    disk.failAt({ on: 'sync', code: 'EIO' })
    await expect(file.sync()).rejects.toMatchObject({ code: 'EIO' })
    disk.crashAfter(1)
    const first = file.write(a(1), 0, 1, 0)
    const second = file.sync()
    await expect(first).rejects.toThrow(CrashSignal)
    await expect(second).rejects.toThrow(CrashSignal)
    await expect(file.write(a(1), 0, 1, 0)).rejects.toThrow(CrashSignal)
  })

  test('a buffer changed under a write is found out', () => {
    const { disk, file } = diskWithFile({ completion: 'manual' })
    const buffer = Buffer.alloc(10)
    file.write(buffer, 0, 10, 0).catch(() => {})
    buffer[3] = 1
    expect(() => disk.completeOne()).toThrow('buffer changed')
  })
})

describe('the death of the process', () => {
  test('leaves the page cache, still unsynced', () => {
    const { disk, file } = diskWithFile()
    write(file, a(2 * SECTOR), 0)
    disk.open('/db/new', { create: true })
    const after = disk.killProcess(new Prng(1))
    expect(sectors(after)).toBe('aa')
    expect(after.list('/db')).toEqual(['data', 'new'])
    expect(after.operations).toBe(0)
    expect(sectors(after.crash(new Prng(1), 'none'))).toBe('')
    after.open('/db/data').syncSync()
    expect(sectors(after.crash(new Prng(1), 'none'))).toBe('aa')
  })

  test('cuts a write under way short', () => {
    const { disk, file } = diskWithFile({ completion: 'manual' })
    void file.write(a(1000), 0, 1000, 0)
    const random = new Prng(1)
    const sizes = new Set<number>()
    for (let i = 0; i < 100; i++) sizes.add(contentOf(disk.killProcess(random)).length)
    expect(sizes.size).toBeGreaterThan(50)
  })
})

function resized(content: Uint8Array<ArrayBuffer>, size: number): Uint8Array<ArrayBuffer> {
  const next = new Uint8Array(size)
  next.set(content.subarray(0, Math.min(size, content.length)))
  return next
}
