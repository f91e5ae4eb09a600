import { describe, expect, it } from 'vitest'
import type { LogPosition } from '../../src/base/ids.js'
import { openLog } from '../../src/wal/open-log.js'
import type { Durability, WriteAheadLog } from '../../src/wal/write-ahead-log.js'
import { Prng } from '../support/seeded.js'
import { CRASH_MODES, type CrashMode, type SimulatedDisk } from '../support/simulated-disk.js'
import { groupBytes, newDisk, options, START, settle, type World, world } from './support.js'

/**
 * What must hold whatever the disk does: a log read back is a prefix of what was appended, group by group; it holds at least
 * what was acknowledged; a new log begun after it goes on from there.
 *
 * The `Witness` is the machine beside the one that crashes: it remembers what was appended and what was acknowledged.
 */
class Witness {
  readonly groups: { index: number; length: number; end: number }[] = []
  /** Number of groups known to be on disk. */
  acknowledged = 0
  /** Number of groups that need not be kept, and where the log is read from. */
  released = 0
  from: LogPosition = START
  /** What a machine promises after its end, to a program still running in this test, counts for nothing. */
  life = 0
  #nextIndex = 0

  append(log: WriteAheadLog, length: number): LogPosition {
    const index = this.#nextIndex++
    const bytes = groupBytes(index, length)
    // It may be in the log even if the append fails on the way.
    this.groups.push({ index, length, end: Number.NaN })
    const end = log.append(index % 200, bytes, 0, length)
    this.groups[this.groups.length - 1] = { index, length, end }
    return end
  }

  acknowledge(count: number): void {
    this.acknowledged = Math.max(this.acknowledged, count)
  }

  release(log: WriteAheadLog, count: number): void {
    this.released = count
    this.from = this.groups[count - 1]?.end as LogPosition
    log.release(this.from)
  }

  /** Reads the log, checks it, and makes what it holds the truth. */
  recover(env: World, durability: Durability): WriteAheadLog {
    this.life++
    const found = openLog(env, options({ durability, spareSegments: 1 }))
    if (found.empty) {
      if (this.acknowledged > 0) throw new Error('an acknowledged log has vanished')
      this.groups.length = 0
      return found.startNew(START)
    }
    let count = this.released
    const tail = found.read(this.from, (kind, bytes, start, end, position, endPosition) => {
      const group = this.groups[count]
      if (group === undefined) throw new Error(`group ${count} was never appended`)
      expect(position).toBe(count === 0 ? START : this.groups[count - 1]?.end)
      if (!Number.isNaN(group.end)) expect(endPosition).toBe(group.end)
      if (kind !== group.index % 200 || groupBytes(group.index, group.length).compare(bytes, start, end) !== 0)
        throw new Error(`group ${count} is not what was appended`)
      this.groups[count] = { ...group, end: endPosition }
      count++
    })
    if (count < this.acknowledged) throw new Error(`${this.acknowledged} groups were acknowledged, ${count} are left`)
    this.groups.length = count
    const log = found.startNew(tail)
    this.acknowledge(count)
    return log
  }
}

/** NEXTKEY_LONG=1 runs for some minutes. */
const SCALE = process.env['NEXTKEY_LONG'] === '1' ? 20 : 1

/** Uses a log for a while, as its seed has it. Ends early when the disk does. */
async function use(env: World, log: WriteAheadLog, witness: Witness, random: Prng, steps: number, durability: Durability): Promise<void> {
  for (let step = 0; step < steps; step++) {
    const choice = random.int(20)
    if (choice < 11) {
      const end = witness.append(log, random.bool(0.06) ? 1 + random.int(20_000) : 1 + random.int(400))
      const count = witness.groups.length
      if (random.bool(0.7)) {
        const asCommitted = random.bool()
        const wait = asCommitted ? log.commitDurability(end) : log.waitDurable(end)
        if (wait === undefined) {
          if (log.isDurable(end)) witness.acknowledge(count)
          else if (durability === 'sync') throw new Error('a commit was acknowledged before it was durable')
        } else {
          const { life } = witness
          const saysDurable = durability === 'sync' || !asCommitted
          void wait.then(
            () => witness.life === life && (saysDurable || log.isDurable(end)) && witness.acknowledge(count),
            () => {},
          )
        }
      }
    } else if (choice === 11) {
      log.syncNow()
      witness.acknowledge(witness.groups.length)
    } else if (choice === 12) log.write()
    else if (choice === 13) {
      const count = witness.groups.length
      await log.flush()
      witness.acknowledge(count)
    } else if (choice === 14) {
      if (witness.acknowledged > witness.released)
        witness.release(log, witness.released + 1 + random.int(witness.acknowledged - witness.released))
    } else if (choice === 15) env.clock.advance(random.int(3000))
    else await settle(1 + random.int(4))
  }
}

/** The log's own errors after the machine or a call has failed are expected; anything else is a failed check. */
async function untilFailure(disk: SimulatedDisk, faulty: boolean, work: () => Promise<void>): Promise<void> {
  try {
    await work()
  } catch (error) {
    if (!disk.crashed && !faulty) throw error
    const { code, message } = error as { code?: string; message: string }
    if (!message.includes('simulated machine') && !['ERR_POISONED', 'ERR_COMMIT_UNKNOWN', 'ERR_IO'].includes(code ?? '')) throw error
  }
}

/**
 * The machine runs, crashes after so many operations, is started again, for as many lives as there are numbers. In some lives, as
 * likely as `faults` says, the disk fails a call; most of those end with the process alone, and the next one reads a
 * page cache that shows what the disk has not got.
 */
async function live(seed: number, durability: Durability, lives: readonly number[], mode: CrashMode, faults = 0): Promise<number> {
  const random = new Prng(seed)
  const witness = new Witness()
  let disk = newDisk({ seed })
  let operations = 0
  try {
    for (const [life, crashAt] of lives.entries()) {
      const env = world(disk, seed * 10 + life)
      disk.crashAfter(crashAt)
      const faulty = random.bool(faults)
      if (faulty) disk.failAt({ on: random.pick(['sync', 'sync', 'write', 'any'] as const), nth: 1 + random.int(15), path: 'wal' })
      await untilFailure(disk, faulty, async () => {
        const log = witness.recover(env, durability)
        await use(env, log, witness, random, 40, durability)
      })
      operations = disk.operations
      witness.life++
      disk = random.bool(faulty ? 0.8 : 0.2) ? disk.killProcess(random) : disk.crash(random, mode)
    }
    const env = world(disk, seed)
    const log = witness.recover(env, durability)
    witness.append(log, 100)
    log.syncNow()
    witness.acknowledge(witness.groups.length)
    witness.recover(env, durability)
  } catch (error) {
    throw new Error(`seed ${seed}, ${durability}, lives ${lives.join()}, mode ${mode}: ${(error as Error).message}`, { cause: error })
  }
  return operations
}

describe('a crash', () => {
  describe.each(['sync', 'write', 'lazy'] as const)("in '%s' mode", (durability) => {
    it.each(CRASH_MODES)(
      'at any operation loses nothing acknowledged and no part of a group (%s)',
      async (mode) => {
        for (let seed = 1; seed <= 2 * SCALE; seed++) {
          for (let at = 1; ; at++) {
            const operations = await live(seed, durability, [at], mode)
            if (operations < at) break
          }
        }
      },
      60_000 * SCALE,
    )

    it(
      'during recovery, again and again, loses nothing either',
      async () => {
        const random = new Prng(7)
        for (let seed = 1; seed <= 80 * SCALE; seed++) {
          const lives = Array.from({ length: 5 }, () => (random.bool(0.6) ? 1 + random.int(12) : 1 + random.int(120)))
          lives[0] = 40 + random.int(100)
          await live(seed, durability, lives, random.pick(CRASH_MODES))
        }
      },
      60_000 * SCALE,
    )

    it(
      'after a failed sync loses nothing that a process has read from the page cache and gone on from',
      async () => {
        const random = new Prng(8)
        for (let seed = 1; seed <= 80 * SCALE; seed++) {
          const lives = Array.from({ length: 6 }, () => 1 + random.int(150))
          await live(seed, durability, lives, random.pick(CRASH_MODES), 0.5)
        }
      },
      60_000 * SCALE,
    )
  })
})
