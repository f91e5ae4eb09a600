/**
 * The write-ahead log beside bare system calls on a preallocated file.
 *
 *   npx tsx bench/micro/wal.ts [directory] [rounds, default 20]
 *
 * The scenarios take turns of 200 ms, so that what else the machine and its disk are doing falls on all of them alike. Reported
 * are the median and the best turn.
 */
import { closeSync, fdatasyncSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { LogPosition } from '../../src/base/ids.js'
import { systemEnvironment } from '../../src/platform/environment.js'
import { openLog } from '../../src/wal/open-log.js'
import type { Durability, WriteAheadLog } from '../../src/wal/write-ahead-log.js'

const TURN = 200
const SEGMENT = 16_777_216
const record: Uint8Array = new Uint8Array(128).map((_, i) => i)

interface Scenario {
  readonly name: string
  /** Runs until `until` and returns the number of commits. */
  turn(until: number): Promise<number>
  close(): Promise<void>
}

function newLog(directory: string, name: string, durability: Durability): WriteAheadLog {
  return openLog(systemEnvironment, { directory: join(directory, name), databaseId: new Uint8Array(16), durability }).startNew(
    0 as LogPosition,
  )
}

/** Appends alone, the writing of the buffer included, syncs not. Returns ns. */
async function appendCost(directory: string, length: number): Promise<number> {
  const log = newLog(directory, `append-${length}`, 'lazy')
  const count = Math.floor(800_000 / (length + 16))
  let best = Infinity
  for (let round = 0; round < 200; round++) {
    const begin = performance.now()
    for (let i = 0; i < count; i++) log.append(1, record, 0, length)
    best = Math.min(best, (performance.now() - begin) / count)
    await log.flush()
    log.release(log.durableThrough)
  }
  await log.close()
  return best * 1e6
}

function bare(directory: string): Scenario {
  const fd = openSync(join(directory, 'bare'), 'w+')
  writeSync(fd, new Uint8Array(SEGMENT), 0, SEGMENT, 0)
  fdatasyncSync(fd)
  let at = 0
  return {
    name: 'bare writeSync + fdatasyncSync',
    async turn(until) {
      let count = 0
      for (; performance.now() < until; count++) {
        writeSync(fd, record, 0, 128, at)
        fdatasyncSync(fd)
        at = (at + 144) % (SEGMENT - 144)
      }
      return count
    },
    async close() {
      closeSync(fd)
    },
  }
}

function loneSynchronous(directory: string): Scenario {
  const log = newLog(directory, 'lone', 'sync')
  return {
    name: 'one synchronous committer',
    async turn(until) {
      let count = 0
      for (; performance.now() < until; count++) log.commitDurabilitySync(log.append(1, record, 0, 128))
      log.release(log.durableThrough)
      return count
    },
    close: () => log.close(),
  }
}

function committers(directory: string, n: number): Scenario {
  const log = newLog(directory, `committers-${n}`, 'sync')
  return {
    name: `${n} asynchronous committer${n === 1 ? '' : 's'}`,
    async turn(until) {
      let count = 0
      const committer = async (): Promise<void> => {
        while (performance.now() < until) {
          const wait = log.commitDurability(log.append(1, record, 0, 128))
          if (wait !== undefined) await wait
          count++
        }
      }
      await Promise.all(Array.from({ length: n }, committer))
      log.release(log.durableThrough)
      return count
    },
    close: () => log.close(),
  }
}

function line(name: string, ...values: number[]): void {
  console.log(name.padEnd(40), ...values.map((value) => value.toFixed(value < 100 ? 1 : 0).padStart(10)))
}

async function main(): Promise<void> {
  const directory = mkdtempSync(join(process.argv[2] ?? tmpdir(), 'nextkey-wal-'))
  const rounds = Number(process.argv[3] ?? 20)
  try {
    line('append, best of 200 rounds (ns)')
    for (const length of [16, 64, 100, 128]) line(`  ${length} bytes`, await appendCost(directory, length))
    const scenarios = [bare(directory), loneSynchronous(directory), ...[1, 8, 64].map((n) => committers(directory, n))]
    const rates = scenarios.map((): number[] => [])
    for (let round = 0; round < rounds; round++) {
      for (const [i, scenario] of scenarios.entries()) {
        const begin = performance.now()
        const count = await scenario.turn(begin + TURN)
        rates[i].push((count * 1000) / (performance.now() - begin))
      }
    }
    line('commits of 128 bytes (1/s): median, best')
    for (const [i, scenario] of scenarios.entries()) {
      const sorted = rates[i].sort((a, b) => a - b)
      line(`  ${scenario.name}`, sorted[Math.floor(rounds / 2)], sorted[rounds - 1])
      await scenario.close()
    }
  } finally {
    rmSync(directory, { recursive: true })
  }
}

await main()
