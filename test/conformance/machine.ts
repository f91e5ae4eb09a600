/**
 * A simulated machine with this engine on it: the disk is in memory, time stands still until it is moved, so a run costs no I/O, waits for no timer
 * and is the same every time.
 */
import { Prng } from '../support/seeded.js'
import { type SimulatedEnvironment, simulatedEnvironment } from '../support/simulated-environment.js'
import type { Face, FaceDatabase, FaceOpenOptions } from './nextkey-face.js'

const DIRECTORY = '/db'

export class Machine {
  readonly #face: Face
  readonly #prng: Prng
  #environment: SimulatedEnvironment

  constructor(face: Face, seed: number) {
    this.#face = face
    this.#prng = new Prng(seed)
    this.#environment = simulatedEnvironment({ seed })
  }

  open(options: FaceOpenOptions): Promise<FaceDatabase> {
    return this.#face.openWith(this.#environment, DIRECTORY, options)
  }

  /** Moves time on by this many milliseconds; timers fire. */
  async advance(ms: number): Promise<void> {
    await this.#environment.clock.advanceAsync(ms)
  }

  /**
   * What runs on it now goes on with a machine nobody looks at any more; this one is the next, with the disk as it was left: after the death of the
   * process, or after a power loss, which keeps of what was not synced whatever it likes.
   */
  crash(how: 'process' | 'power'): void {
    const { fileSystem } = this.#environment
    const disk =
      how === 'process'
        ? fileSystem.killProcess(this.#prng.fork())
        : fileSystem.crash(this.#prng.fork(), this.#prng.pick(['none', 'torn', 'random'] as const))
    this.#environment = simulatedEnvironment({ seed: this.#prng.next(), disk })
  }
}
