import type { Environment } from '../../src/platform/environment.js'
import { type Prng, SimulatedClock, seededRandom } from '../support/seeded.js'
import type { SimulatedDisk } from '../support/simulated-disk.js'
import { MemoryDirectoryLocker } from '../support/simulated-environment.js'
import { WriteOrder } from './write-order.js'

/** A clock whose macrotasks, too, come only when they are told to. */
class SteppedClock extends SimulatedClock {
  readonly #tasks: (() => void)[] = []

  override macrotask(): Promise<void> {
    return new Promise((resolve) => this.#tasks.push(resolve))
  }

  get pending(): number {
    return this.#tasks.length
  }

  runOne(): boolean {
    const task = this.#tasks.shift()
    task?.()
    return task !== undefined
  }
}

/**
 * A simulated machine on which nothing happens by itself: the workload decides when an I/O call ends, a macrotask runs, time
 * passes. Between two steps all is still, so crash images may be looked at meanwhile without changing what comes next.
 */
export class Machine implements Environment {
  readonly disk: SimulatedDisk
  /** The disk, watched. */
  readonly fileSystem: WriteOrder
  readonly directoryLocker: MemoryDirectoryLocker = new MemoryDirectoryLocker()
  readonly clock: SteppedClock = new SteppedClock()
  readonly random: Environment['random']
  readonly processors = 2
  readonly variable = (): undefined => undefined
  readonly #prng: Prng

  /** @param disk With `completion: 'manual'`. */
  constructor(disk: SimulatedDisk, prng: Prng) {
    this.disk = disk
    this.fileSystem = new WriteOrder(disk)
    this.#prng = prng
    this.random = seededRandom(prng.next())
  }

  /** Whatever could go on without I/O or time has gone on when this resolves. */
  quiet(): Promise<void> {
    return new Promise((resolve) => setImmediate(resolve))
  }

  /** Lets one thing happen, an I/O call or a macrotask; false if there is none. */
  step(): boolean {
    const tasks = this.clock.pending
    const calls = this.disk.pending
    if (tasks + calls === 0) return false
    return this.#prng.int(tasks + calls) < tasks ? this.clock.runOne() : this.disk.completeOne()
  }

  /** Lets things happen, and time pass when nothing else does, until the promise settles; calls `after` after each. */
  async settle<T>(work: Promise<T>, after: () => Promise<void> = noop): Promise<T> {
    let settled = false
    const end = (): void => {
      settled = true
    }
    work.then(end, end)
    for (let idle = 0; ; ) {
      await this.quiet()
      await after()
      if (settled) return work
      if (this.step()) idle = 0
      else if (++idle > PATIENCE) throw new Error('the database hangs: nothing is under way, and time does not help')
      else this.clock.advance(250)
    }
  }
}

async function noop(): Promise<void> {}

/** In steps of a quarter second: longer than any timeout of the workload. */
const PATIENCE = 400
