import { availableParallelism } from 'node:os'
import { type Clock, systemClock } from './clock.js'
import { type DirectoryLocker, nativeDirectoryLocker } from './directory-locker.js'
import type { FileSystem } from './file-system.js'
import { nodeFileSystem } from './node-file-system.js'
import { type Random, systemRandom } from './random.js'

/** The seams together: everything outside the process that the engine touches. */
export interface Environment {
  readonly fileSystem: FileSystem
  readonly directoryLocker: DirectoryLocker
  readonly clock: Clock
  readonly random: Random
  /** How many processors the process may use. */
  readonly processors: number
  /** A variable of the process's environment. */
  variable(name: string): string | undefined
}

export const systemEnvironment: Environment = {
  fileSystem: nodeFileSystem,
  directoryLocker: nativeDirectoryLocker,
  clock: systemClock,
  random: systemRandom,
  processors: availableParallelism(),
  variable: (name) => process.env[name],
}
