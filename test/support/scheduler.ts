/**
 * A deterministic scheduler: from a seed it decides everything that on a real machine is left to chance, so that the seed repeats an
 * interleaving exactly.
 *
 * D1. Nothing happens by itself. Whoever wants to go on stands in a list: clients that asked for their `turn()`, macrotasks of the engine (a
 *     slice of purge, a group commit about to begin, the end of a long turn), calls to the disk that are under way, timers. A step lets one of them go
 *     on; what follows from it without waiting is over before the next step.
 * D2. Now and then several clients go on in one step: then their promises interleave.
 * D3. Time passes between steps by small amounts, and whenever nothing else can happen, to the next timer. It also creeps on whenever somebody looks at
 *     the clock, mostly by microseconds, so that slices of work end early or late.
 * D4. How fast the disk is, and how fast time passes, is different for each seed.
 * D5. When nothing is left that could happen, and the work is not done, somebody waits for ever: that is an error at once, not after a time.
 */
import type { Environment } from '../../src/platform/environment.js'
import { Prng, SimulatedClock, seededRandom } from './seeded.js'
import { SimulatedDisk } from './simulated-disk.js'
import { MemoryDirectoryLocker } from './simulated-environment.js'

const MAX_BURST = 3
/** Steps in one turn of the event loop: each is an immediate of its own, with all its microtasks. */
const STEPS_PER_TURN = 32
/** Steps without anything to do after which nobody will ever have. */
const STILL_STEPS = 3
const LONGEST_LOOK_MS = 3

/** Time as D3 has it, and macrotasks that run when the scheduler says so. */
class ScheduledClock extends SimulatedClock {
  readonly tasks: (() => void)[] = []
  readonly #prng: Prng
  #crept = 0

  constructor(prng: Prng) {
    super()
    this.#prng = prng
  }

  override now(): number {
    this.#crept += this.#prng.bool(0.02) ? this.#prng.float() * LONGEST_LOOK_MS : this.#prng.float() / 50
    return super.now() + this.#crept
  }

  override macrotask(): Promise<void> {
    return new Promise((resolve) => this.tasks.push(resolve))
  }
}

/** A machine for the engine whose every event the scheduler decides. */
export interface ScheduledMachine extends Environment {
  readonly fileSystem: SimulatedDisk
}

export class Scheduler {
  readonly #prng: Prng
  readonly #clock: ScheduledClock
  readonly #disks: SimulatedDisk[] = []
  readonly #turns: (() => void)[] = []
  /** How much likelier than a client a call to the disk, a macrotask, goes on (D4). */
  readonly #diskPace: number
  readonly #taskPace: number
  /** Chance of time passing in a step, and by how many ms at most. */
  readonly #timePace: number
  readonly #timeStep: number
  #steps = 0

  constructor(seed: number) {
    this.#prng = new Prng(seed)
    this.#clock = new ScheduledClock(this.#prng.fork())
    this.#diskPace = this.#prng.pick([1, 4, 20])
    this.#taskPace = this.#prng.pick([1, 4, 20])
    this.#timePace = this.#prng.pick([0.01, 0.05, 0.2])
    this.#timeStep = this.#prng.pick([1, 5, 20])
  }

  /** Steps so far. */
  get steps(): number {
    return this.#steps
  }

  /** A machine with this disk, or an empty one, running on the scheduler's time. */
  machine(disk?: SimulatedDisk): ScheduledMachine {
    const fileSystem = disk ?? new SimulatedDisk({ seed: this.#prng.next(), completion: 'manual' })
    this.#disks.push(fileSystem)
    return {
      fileSystem,
      directoryLocker: new MemoryDirectoryLocker(),
      clock: this.#clock,
      random: seededRandom(this.#prng.next()),
      processors: 2,
      variable: () => undefined,
    }
  }

  /** The disk of a machine after the death of the process, or after a power loss, which keeps of what was not synced whatever it likes. */
  crash({ fileSystem }: ScheduledMachine, how: 'process' | 'power'): SimulatedDisk {
    return how === 'process'
      ? fileSystem.killProcess(this.#prng.fork())
      : fileSystem.crash(this.#prng.fork(), this.#prng.pick(['none', 'torn', 'random'] as const))
  }

  /** Resolves when the caller may go on. */
  turn(): Promise<void> {
    return new Promise((resolve) => this.#turns.push(resolve))
  }

  /** Lets things happen until `work` is settled, and answers as it does. Rejects when somebody waits for ever (D5). */
  run<T>(work: Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      let over = false
      let still = 0
      const end = (settle: () => void): void => {
        over = true
        settle()
      }
      work.then(
        (value) => end(() => resolve(value)),
        (error) => end(() => reject(error)),
      )
      const step = (): void => {
        if (over) return
        try {
          still = this.#step() ? 0 : still + 1
          if (still > STILL_STEPS) end(() => reject(new Error('no client can move: everybody waits for somebody else')))
          setImmediate(step)
        } catch (error) {
          end(() => reject(error))
        }
      }
      for (let i = 0; i < STEPS_PER_TURN; i++) setImmediate(step)
    })
  }

  /** One step; false if there was nothing that could happen. */
  #step(): boolean {
    this.#steps++
    const prng = this.#prng
    const clients = this.#turns.length
    const tasks = this.#clock.tasks.length * this.#taskPace
    let calls = 0
    for (const disk of this.#disks) calls += disk.pending
    calls *= this.#diskPace
    if (clients + tasks + calls === 0) return this.#clock.advanceToNext()
    if (prng.bool(this.#timePace)) this.#clock.advance(prng.float() * this.#timeStep)
    const chosen = prng.int(clients + tasks + calls)
    if (chosen < clients) for (let burst = 1 + prng.int(MAX_BURST); burst > 0 && this.#turns.length > 0; burst--) this.#giveTurn()
    else if (chosen < clients + tasks) this.#clock.tasks.shift()?.()
    else this.#completeCall()
    return true
  }

  #giveTurn(): void {
    const turns = this.#turns
    const i = this.#prng.int(turns.length)
    const last = turns.pop() as () => void
    const chosen = i < turns.length ? turns[i] : last
    if (chosen !== last) turns[i] = last
    chosen()
  }

  #completeCall(): void {
    const busy = this.#disks.filter((disk) => disk.pending > 0)
    this.#prng.pick(busy).completeOne()
  }
}
