import type { Clock } from '../platform/clock.js'
import type { Environment } from '../platform/environment.js'
import type { File, FileSystem } from '../platform/file-system.js'
import { GuardedFileSystem } from '../platform/guarded-file-system.js'
import { describeSelf } from '../platform/holder.js'
import { notADatabase, readSuperblocks } from '../storage/data-file.js'
import { GRACE, OwnerClaim } from '../storage/owner-claim.js'

/** The data file, and what else of the database is changed by way of the file system, in the hands of one opening. */
export interface OpenedFiles {
  readonly file: File
  readonly fileSystem: FileSystem
  /** Undefined if nothing may be changed. */
  readonly claim: OwnerClaim | undefined
}

/**
 * Opens the data file for writing and claims it (Y1); beside the lock with the grace that takes (Y3). What comes back looks for the claim whenever
 * it changes something (Y2). A file that is no database is left as it is.
 * Raises ERR_NOT_A_DATABASE, ERR_FORMAT_VERSION, ERR_DAMAGED, ERR_ANOTHER_WRITER.
 */
export async function takeOver(environment: Environment, path: string, besideLock: boolean): Promise<OpenedFiles> {
  const { fileSystem, clock, random } = environment
  const token = new Uint8Array(16)
  random.fill(token)
  const self = describeSelf(clock, false)
  let file = fileSystem.open(path)
  try {
    if (readSuperblocks(file).length === 0) throw notADatabase(file)
    let claim = new OwnerClaim(file, token, self)
    claim.make()
    if (besideLock) {
      await pause(clock, GRACE)
      file.close()
      file = fileSystem.open(path)
      claim = new OwnerClaim(file, token, self)
      claim.mustHold()
    }
    const guarded = new GuardedFileSystem(fileSystem, claim.mustHold)
    return { file: guarded.guard(file), fileSystem: guarded, claim }
  } catch (error) {
    file.close()
    throw error
  }
}

/** Somebody awaits the opening, so the process stays alive for it. */
function pause(clock: Clock, ms: number): Promise<void> {
  return new Promise((resolve) => clock.setTimer(ms, resolve, true))
}
