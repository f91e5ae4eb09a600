import type { NextkeyError } from '../../src/base/errors.js'
import type { LogPosition } from '../../src/base/ids.js'
import { type LogEnvironment, type LogOptions, openLog } from '../../src/wal/open-log.js'
import type { WriteAheadLog } from '../../src/wal/write-ahead-log.js'
import { SimulatedClock, seededRandom } from '../support/seeded.js'
import { SimulatedDisk, type SimulatedDiskOptions } from '../support/simulated-disk.js'

export const DIRECTORY = '/db/wal'
export const DATABASE_ID: Uint8Array = Uint8Array.from({ length: 16 }, (_, i) => i + 1)
export const START = 0 as LogPosition

/** Small segments: 12 KiB files with a body of 8 KiB. */
export const SMALL: Partial<LogOptions> = { segmentSize: 12_288 }

export interface World extends LogEnvironment {
  readonly fileSystem: SimulatedDisk
  readonly clock: SimulatedClock
}

export function world(disk: SimulatedDisk = newDisk(), seed: number = 1): World {
  return { fileSystem: disk, clock: new SimulatedClock(), random: seededRandom(seed), processors: 2 }
}

/** A disk with a directory for the database, durable by name. */
export function newDisk(more: SimulatedDiskOptions = {}): SimulatedDisk {
  const disk = new SimulatedDisk(more)
  disk.makeDirectory('/db')
  disk.syncDirectorySync('/')
  return disk
}

export function options(more: Partial<LogOptions> = {}): LogOptions {
  return { directory: DIRECTORY, databaseId: DATABASE_ID, ...SMALL, ...more }
}

/** A log that has never existed before. */
export function newLog(environment: LogEnvironment, more: Partial<LogOptions> = {}, start: LogPosition = START): WriteAheadLog {
  return openLog(environment, options(more)).startNew(start)
}

export interface ReadGroup {
  kind: number
  bytes: Buffer
  position: number
  endPosition: number
}

/** All groups from `from` on, and where the log ends. */
export function readAll(
  environment: LogEnvironment,
  from: LogPosition = START,
  more: Partial<LogOptions> = {},
): { groups: ReadGroup[]; tail: LogPosition } {
  const groups: ReadGroup[] = []
  const tail = openLog(environment, options(more)).read(from, (kind, bytes, start, end, position, endPosition) => {
    groups.push({ kind, bytes: Buffer.from(bytes.slice(start, end)), position, endPosition })
  })
  return { groups, tail }
}

/** Reads a log and begins a new one after it. */
export function reopen(environment: LogEnvironment, from: LogPosition = START, more: Partial<LogOptions> = {}): WriteAheadLog {
  const found = openLog(environment, options(more))
  return found.startNew(found.read(from, () => {}))
}

/** The bytes of group number `index`: they say which one it is, and no two are alike. */
export function groupBytes(index: number, length: number): Buffer {
  const words = new Uint32Array(Math.ceil(length / 4))
  for (let i = 0, word = index; i < words.length; i++) {
    words[i] = word
    word = Math.imul(word + index + 1, 0x9e37_79b1) ^ (word >>> 15)
  }
  return Buffer.from(words.buffer, 0, length)
}

export function append(log: WriteAheadLog, bytes: Uint8Array, kind: number = 1): LogPosition {
  return log.append(kind, bytes, 0, bytes.length)
}

export function appendGroup(log: WriteAheadLog, index: number, length: number): LogPosition {
  return append(log, groupBytes(index, length), index % 251)
}

export function codeOf(work: () => unknown): string {
  try {
    work()
  } catch (error) {
    return (error as NextkeyError).code
  }
  return 'none'
}

export async function rejectionOf(work: Promise<unknown> | undefined): Promise<string> {
  try {
    await work
  } catch (error) {
    return (error as NextkeyError).code
  }
  return 'none'
}

/** Lets everything that the event loop has ready happen. */
export async function settle(turns: number = 20): Promise<void> {
  for (let i = 0; i < turns; i++) await new Promise((resolve) => setImmediate(resolve))
}
