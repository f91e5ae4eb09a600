import { crc32 } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import type { NextkeyError } from '../../src/base/errors.js'
import type { LogPosition } from '../../src/base/ids.js'
import { encodeHeader, NO_EPOCH } from '../../src/wal/log-format.js'
import { openLog } from '../../src/wal/open-log.js'
import { Prng } from '../support/seeded.js'
import type { SimulatedDisk } from '../support/simulated-disk.js'
import {
  append,
  appendGroup,
  codeOf,
  DATABASE_ID,
  DIRECTORY,
  groupBytes,
  newLog,
  options,
  type ReadGroup,
  readAll,
  reopen,
  type World,
  world,
} from './support.js'

const BLOCK = 4096
const EMPTY_HEADER = { sequence: 0, epoch: NO_EPOCH, first: 0 as LogPosition, predecessorSequence: 0, predecessorEpoch: NO_EPOCH }

function fileOf(number: number): string {
  return `${DIRECTORY}/${number}.log`
}

function readBytes(disk: SimulatedDisk, path: string): Buffer {
  const file = disk.open(path, { readOnly: true })
  const bytes = Buffer.alloc(file.size())
  file.readSync(bytes, 0, bytes.length, 0)
  file.close()
  return bytes
}

/** Changes bytes on the disk behind the log's back. */
function change(disk: SimulatedDisk, path: string, edit: (bytes: Buffer) => void): void {
  const bytes = readBytes(disk, path)
  edit(bytes)
  const file = disk.open(path)
  file.writeSync(bytes, 0, bytes.length, 0)
  file.close()
}

function damaged(disk: SimulatedDisk, path: string, edit: (bytes: Buffer) => void): World {
  const copy = disk.clone()
  change(copy, path, edit)
  return world(copy, 2)
}

/** Of all segments, by sequence. */
function segmentPaths({ fileSystem }: World): string[] {
  const paths = fileSystem.list(DIRECTORY).flatMap((name) => (name.endsWith('.log') ? [`${DIRECTORY}/${name}`] : []))
  const sequence = (path: string): number => readBytes(fileSystem, path).readUInt32LE(32)
  return paths.sort((a, b) => sequence(a) - sequence(b))
}

function errorOf(work: () => unknown): NextkeyError {
  try {
    work()
  } catch (error) {
    return error as NextkeyError
  }
  throw new Error('nothing was raised')
}

/** Groups of which each knows how many of its predecessors were synced when it was framed. */
function smallLog(): { env: World; groups: ReadGroup[]; syncedBefore: number[] } {
  const env = world()
  const log = newLog(env)
  const syncedBefore: number[] = []
  let synced = 0
  for (const [i, sync] of [true, true, false, false, true, false, false].entries()) {
    syncedBefore.push(synced)
    appendGroup(log, i, 21 + 2 * i)
    if (sync) {
      log.syncNow()
      synced = i + 1
    }
  }
  log.write()
  return { env, groups: readAll(env).groups, syncedBefore }
}

describe('any bit that flips', () => {
  it('in a frame is damage if a later group proves that it was synced, and else the tail', () => {
    const { env, groups, syncedBefore } = smallLog()
    let damages = 0
    let tails = 0
    for (const [index, { position, endPosition, bytes }] of groups.entries()) {
      const proven = syncedBefore.slice(index + 1).some((count) => count > index)
      for (let bit = 8 * position; bit < 8 * (position + 16 + bytes.length); bit++) {
        const flipped = damaged(env.fileSystem, fileOf(1), (image) => {
          image[BLOCK + (bit >> 3)] ^= 1 << (bit & 7)
        })
        if (proven) {
          damages++
          const error = errorOf(() => readAll(flipped))
          expect(error.code).toBe('ERR_LOG_DAMAGED')
          expect(error.details).toMatchObject({ file: fileOf(1), position, offset: BLOCK + position })
        } else {
          tails++
          const { groups: left, tail } = readAll(flipped)
          expect(left).toHaveLength(index)
          expect(tail).toBe(position)
        }
      }
      expect(endPosition - position - 16 - bytes.length).toBeLessThan(4)
    }
    expect([damages > 1000, tails > 500]).toEqual([true, true])
  })

  it('in padding or beyond the tail changes nothing', () => {
    const { env, groups } = smallLog()
    const last = groups.at(-1) as ReadGroup
    const padding = groups.flatMap(({ position, endPosition, bytes }) =>
      Array.from({ length: endPosition - position - 16 - bytes.length }, (_, i) => endPosition - 1 - i),
    )
    for (const at of [...padding, last.endPosition, last.endPosition + 4, last.endPosition + 17, 8191]) {
      const flipped = damaged(env.fileSystem, fileOf(1), (image) => {
        image[BLOCK + at] ^= 0x10
      })
      expect(readAll(flipped).groups).toHaveLength(groups.length)
    }
  })

  it('in a header is mended by its second copy', () => {
    const { env, groups } = smallLog()
    for (let at = 0; at < BLOCK; at++) {
      if (at > 100 && (at < 2040 || at > 2150)) continue
      const flipped = damaged(env.fileSystem, fileOf(1), (image) => {
        image[at] ^= 1 << (at & 7)
      })
      expect(readAll(flipped).groups).toHaveLength(groups.length)
    }
  })
})

describe('a header', () => {
  it('of which neither copy is whole is damage, and never a shorter log', () => {
    const { env } = smallLog()
    for (let field = 0; field < 80; field += 4) {
      if (field === 60) continue
      const flipped = damaged(env.fileSystem, fileOf(1), (image) => {
        image[field] ^= 1
        image[2048 + field] ^= 1
      })
      const error = errorOf(() => readAll(flipped))
      expect([error.code, error.details['file']]).toEqual(['ERR_LOG_DAMAGED', fileOf(1)])
    }
    const wiped = damaged(env.fileSystem, fileOf(1), (image) => image.fill(0, 0, BLOCK))
    expect(codeOf(() => readAll(wiped))).toBe('ERR_LOG_DAMAGED')
  })

  it('of a newer format is refused as such', () => {
    const { env } = smallLog()
    const newer = damaged(env.fileSystem, fileOf(1), (image) => {
      image.writeUInt32LE(2, 8)
      image.writeUInt32LE(crc32(Buffer.concat([image.subarray(0, 12), image.subarray(16, 80)])), 12)
    })
    expect(codeOf(() => readAll(newer))).toBe('ERR_FORMAT_VERSION')
  })

  it('that says another size than the file has is damage', () => {
    const { env } = smallLog()
    const file = env.fileSystem.open(fileOf(1))
    file.truncate(8192)
    expect(codeOf(() => readAll(env))).toBe('ERR_LOG_DAMAGED')
  })
})

describe('a group of several fragments', () => {
  it('is dropped whole when any of its fragments is the tail', () => {
    const env = world()
    const log = newLog(env)
    const position = appendGroup(log, 0, 100)
    append(log, groupBytes(1, 30_000))
    log.write()
    for (const number of [1, 2, 3, 4]) {
      const broken = damaged(env.fileSystem, fileOf(number), (image) => {
        image[BLOCK + 200] ^= 1
      })
      const { groups, tail } = readAll(broken)
      expect([groups.length, tail]).toEqual([1, position])
      const next = reopen(broken)
      expect(next.end).toBe(position)
      appendGroup(next, 2, 100)
      next.syncNow()
      expect(readAll(broken).groups.map(({ bytes }) => bytes.length)).toEqual([100, 100])
    }
  })

  it('is damage when a later group proves that it was synced', () => {
    const env = world()
    const log = newLog(env)
    append(log, groupBytes(1, 30_000))
    log.syncNow()
    appendGroup(log, 2, 10)
    log.write()
    for (const number of [1, 2, 3, 4]) {
      const broken = damaged(env.fileSystem, fileOf(number), (image) => {
        image[BLOCK + 200] ^= 1
      })
      const error = errorOf(() => readAll(broken))
      expect([error.code, error.details['file']]).toEqual(['ERR_LOG_DAMAGED', fileOf(number)])
    }
  })
})

describe('fragments that do not belong together', () => {
  /** Gives the frame at `offset` other values than the log wrote, and the checksum that goes with them. */
  function forge(image: Buffer, offset: number, edit: (frame: Buffer) => void): void {
    const frame = image.subarray(BLOCK + offset)
    edit(frame)
    const seed = (image.readUInt32BE(40) + Math.imul(image.readUInt32LE(32), 0x9e3779b1) + offset) >>> 0
    frame.writeUInt32LE(crc32(frame.subarray(4, 16 + frame.readUInt32LE(4)), seed), 0)
  }

  function forged(number: number, offset: number, edit: (frame: Buffer) => void): number {
    const env = world()
    const log = newLog(env)
    appendGroup(log, 0, 84)
    append(log, groupBytes(1, 20_000))
    log.write()
    return readAll(damaged(env.fileSystem, fileOf(number), (image) => forge(image, offset, edit))).groups.length
  }

  it('make no group', () => {
    expect(forged(1, 0, () => {})).toBe(2)
    for (const fragment of [1, 2, 3, 4]) expect(forged(1, 0, (frame) => frame.writeUInt8(fragment, 13))).toBe(0)
    for (const fragment of [0, 2, 3]) expect(forged(1, 100, (frame) => frame.writeUInt8(fragment, 13))).toBe(fragment === 0 ? 2 : 1)
    for (const fragment of [0, 1]) expect(forged(2, 0, (frame) => frame.writeUInt8(fragment, 13))).toBe(1)
    expect(forged(2, 0, (frame) => frame.writeUInt8(77, 12))).toBe(1)
  })

  it('nor does a length of nothing or of too much', () => {
    for (const length of [0, 8192, 262_145, 2 ** 31]) {
      expect(
        forged(1, 0, (frame) => {
          frame.writeUInt32LE(length, 4)
        }),
      ).toBe(0)
    }
  })
})

describe('segments', () => {
  function threeRuns(): { env: World; from: LogPosition; paths: string[] } {
    const env = world()
    let log = newLog(env)
    for (let run = 0; run < 3; run++) {
      for (let i = 0; i < 30; i++) appendGroup(log, i, 500)
      log.syncNow()
      log = reopen(env)
    }
    return { env, from: 0 as LogPosition, paths: segmentPaths(env) }
  }

  it('that are missing are damage, wherever they lay', () => {
    const { env, from, paths } = threeRuns()
    expect(readAll(env, from).groups).toHaveLength(90)
    for (const path of paths) {
      const copy = env.fileSystem.clone()
      copy.remove(path)
      const left = world(copy)
      // Only the newest can go unnoticed, if nothing was ever in it.
      if (path === paths.at(-1)) expect(readAll(left, from).groups).toHaveLength(90)
      else expect(codeOf(() => readAll(left, from))).toBe('ERR_LOG_DAMAGED')
    }
  })

  it('that hold the end of the log under the header of an earlier use are damage', () => {
    const env = world()
    const log = newLog(env)
    const lives = new Map<string, Buffer[]>()
    let reused: Buffer[] = []
    for (let index = 0; reused.length < 2; index++) {
      const end = appendGroup(log, index, 3000)
      log.syncNow()
      log.release(Math.max(0, end - 16_384) as LogPosition)
      const path = segmentPaths(env).at(-1) as string
      const image = readBytes(env.fileSystem, path)
      // A header alone is no log yet.
      if (image.readUInt32LE(BLOCK + 4) === 0) continue
      const headers = lives.get(path) ?? []
      if (headers.at(-1)?.readUInt32LE(32) !== image.readUInt32LE(32)) headers.push(image.subarray(0, BLOCK))
      lives.set(path, headers)
      reused = headers
    }
    const last = segmentPaths(env).at(-1) as string
    const unused = Buffer.alloc(BLOCK)
    encodeHeader(unused, { ...EMPTY_HEADER, length: 8192 }, DATABASE_ID)
    for (const old of [reused[0] as Buffer, unused]) {
      const error = errorOf(() =>
        openLog(
          damaged(env.fileSystem, last, (bytes) => bytes.set(old)),
          options(),
        ),
      )
      expect([error.code, error.message.includes('under the header of an earlier use')]).toEqual(['ERR_LOG_DAMAGED', true])
    }
  })

  it('are known by their headers, not by their names', () => {
    const { env, from, paths } = threeRuns()
    for (const [i, path] of paths.entries()) env.fileSystem.rename(path, `${DIRECTORY}/${1000 - i}.log`)
    expect(readAll(env, from).groups).toHaveLength(90)
  })

  it('that are there twice are damage', () => {
    const { env, paths } = threeRuns()
    const bytes = readBytes(env.fileSystem, paths[1] as string)
    const copy = env.fileSystem.open(`${DIRECTORY}/77.log`, { create: true })
    copy.writeSync(bytes, 0, bytes.length, 0)
    expect(codeOf(() => openLog(env, options()))).toBe('ERR_LOG_DAMAGED')
  })

  it('of an earlier run are damage where they were read once and cannot be now', () => {
    const env = world()
    const log = newLog(env)
    for (let i = 0; i < 10; i++) appendGroup(log, i, 100)
    log.write()
    reopen(env)
    const broken = damaged(env.fileSystem, fileOf(1), (image) => {
      image[BLOCK + 9 * 116 + 50] ^= 1
    })
    const error = errorOf(() => readAll(broken))
    expect([error.code, error.message.includes('begun by a recovery')]).toEqual(['ERR_LOG_DAMAGED', true])
  })

  it('that a recovery cut off are never log again', () => {
    const env = world()
    const log = newLog(env)
    for (let i = 0; i < 60; i++) appendGroup(log, i, 400)
    log.write()
    const expected = 10
    change(env.fileSystem, fileOf(1), (image) => {
      image[BLOCK + expected * 416] ^= 1
    })
    expect(readAll(env).groups).toHaveLength(expected)
    const next = reopen(env)
    appendGroup(next, 100, 300)
    next.syncNow()
    change(env.fileSystem, fileOf(1), (image) => {
      image[BLOCK + expected * 416] ^= 1 // Whole again, and yet not log.
    })
    expect(readAll(env).groups.map(({ bytes }) => bytes.length)).toEqual([...Array.from({ length: expected }, () => 400), 300])
  })

  it('with names that are not ours are left alone', () => {
    const { env, from } = threeRuns()
    for (const name of ['notes.txt', 'x.log', '1.log.bak']) env.fileSystem.open(`${DIRECTORY}/${name}`, { create: true }).close()
    expect(readAll(env, from).groups).toHaveLength(90)
  })

  it('whose making was interrupted go when a log is begun', () => {
    const { env } = threeRuns()
    env.fileSystem.open(`${DIRECTORY}/500.new`, { create: true }).close()
    reopen(env)
    expect(env.fileSystem.exists(`${DIRECTORY}/500.new`)).toBe(false)
  })
})

describe('bytes that look like log', () => {
  it('within a record testify to nothing', () => {
    const env = world()
    const log = newLog(env)
    appendGroup(log, 0, 200)
    log.syncNow()
    appendGroup(log, 1, 200)
    log.syncNow()
    const image = readBytes(env.fileSystem, fileOf(1)).subarray(BLOCK, BLOCK + 2 * 216)
    const position = log.end
    append(log, Buffer.concat([image, image, image]))
    log.write()
    const torn = damaged(env.fileSystem, fileOf(1), (bytes) => {
      bytes[BLOCK + position] ^= 1
    })
    expect(readAll(torn)).toMatchObject({ tail: position })
  })

  it('from an earlier life of the segment are no log, though all groups are alike', () => {
    const random = new Prng(5)
    for (let round = 0; round < 20; round++) {
      const env = world()
      const log = newLog(env, { spareSegments: 1 })
      const bytes = groupBytes(0, 4 * (1 + random.int(30)))
      const starts: LogPosition[] = []
      while (log.end < 60_000) {
        starts.push(log.end)
        append(log, bytes)
        if (random.bool(0.3)) log.syncNow()
        if (random.bool(0.1)) {
          log.syncNow()
          log.release(log.end)
          starts.length = 0
        }
        if (starts.length % 17 === 1) expect(readAll(env, starts[0]).tail).toBe(log.writtenThrough)
      }
    }
  })

  it('from an earlier life prove nothing about a torn tail', () => {
    const env = world()
    const log = newLog(env, { spareSegments: 1 })
    const bytes = groupBytes(0, 100)
    while (log.end < 30_000) {
      append(log, bytes)
      log.syncNow()
      log.release(log.end)
    }
    const position = append(log, bytes)
    log.syncNow()
    append(log, bytes)
    log.write()
    for (const path of segmentPaths(env)) {
      const first = readBytes(env.fileSystem, path).readUInt32LE(48)
      if (position < first || position >= first + 8192) continue
      const torn = damaged(env.fileSystem, path, (image) => {
        image[BLOCK + position - first + 50] ^= 1
      })
      expect(readAll(torn, position)).toMatchObject({ groups: [], tail: position })
      return
    }
    expect.unreachable('the group lies in a segment')
  })
})
