import { NextkeyError } from '../../src/base/errors.js'
import type { DirectoryLocker, LockFile } from '../../src/platform/directory-locker.js'
import type { Environment } from '../../src/platform/environment.js'
import { SimulatedClock, seededRandom } from './seeded.js'
import { SimulatedDisk, type SimulatedDiskOptions } from './simulated-disk.js'

/** Locks of a simulated machine: they live in its memory, and are gone when it is. */
export class MemoryDirectoryLocker implements DirectoryLocker {
  /** Set to make every lock attempt fail as on a file system without locks. */
  unsupported = false
  /** Lock files opened and not closed, whether they hold the lock or not. */
  openFiles = 0
  readonly #states = new Map<string, { holders: Map<LockFile, 'shared' | 'exclusive'>; note: string }>()

  open(directory: string): Promise<LockFile> {
    let state = this.#states.get(directory)
    if (state === undefined) {
      state = { holders: new Map(), note: '' }
      this.#states.set(directory, state)
    }
    const { holders } = state
    this.openFiles++
    const file: LockFile = {
      directory,
      tryLock: (shared) => {
        if (this.unsupported) throw new NextkeyError('ERR_LOCK_UNSUPPORTED', 'this simulated machine has no locks')
        for (const [other, mode] of holders) if (other !== file && !(shared && mode === 'shared')) return false
        holders.set(file, shared ? 'shared' : 'exclusive')
        return true
      },
      readNote: () => state.note,
      writeNote: (note) => {
        state.note = note
      },
      close: () => {
        holders.delete(file)
        this.openFiles--
      },
    }
    return Promise.resolve(file)
  }
}

/** A machine to run the engine on: every seam simulated, everything decided by the seed. */
export interface SimulatedEnvironment extends Environment {
  readonly fileSystem: SimulatedDisk
  readonly directoryLocker: MemoryDirectoryLocker
  readonly clock: SimulatedClock
}

/** Pass `disk` to start on what a crash left; else the machine has a new one. */
export function simulatedEnvironment(
  options: SimulatedDiskOptions & { disk?: SimulatedDisk; nodeEnv?: string | undefined } = {},
): SimulatedEnvironment {
  const { disk, nodeEnv, ...diskOptions } = options
  return {
    fileSystem: disk ?? new SimulatedDisk(diskOptions),
    directoryLocker: new MemoryDirectoryLocker(),
    clock: new SimulatedClock(),
    random: seededRandom(options.seed ?? 0),
    processors: 2,
    variable: (name) => (name === 'NODE_ENV' ? nodeEnv : undefined),
  }
}
