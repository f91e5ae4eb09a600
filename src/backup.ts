import { DamagedError, describe, InvalidArgumentError, NextkeyError, SnapshotGoneError } from './base/errors.js'
import type { CheckpointNumber } from './base/ids.js'
import { asNextkeyError } from './directory.js'
import { lockDirectory } from './lock/directory-lock.js'
import { checkLongWork, type LongWorkOptions, mustGoOn } from './long-work.js'
import type { File } from './platform/file-system.js'
import { copyCheckpoint } from './storage/copy-checkpoint.js'
import { CopyTarget } from './storage/copy-target.js'
import { readSuperblocks } from './storage/data-file.js'
import type { Superblock } from './storage/superblock.js'
import type { Engine } from './txn/engine.js'
import { ownerAt } from './txn/owners.js'
import { dataPath } from './txn/recovery.js'

export type BackupOptions = LongWorkOptions

export interface BackupReport {
  directory: string
  /** 'incremental': there was a copy, and only pages that changed since were written. */
  kind: 'full' | 'incremental'
  /** The checkpoint that the copy holds, and the one it held before. */
  checkpoint: number
  since: number | undefined
  /** Pages in the copy, and those among them that were written. */
  pages: number
  written: number
  /** Bytes of the copy's file. */
  size: number
}

/**
 * Hot backup: copies a checkpoint while writers go on.
 *
 * H1. The blocks of the checkpoint are pinned, and let go one by one as they are copied. So the file grows, at most, by the blocks
 *     that writers replace before the copy has come to them: never by more than the checkpoint's own size.
 * H2. A copy is brought up to date only if its checkpoint belongs to the past of this very database. Checkpoint numbers do not say
 *     so: a database that was set back to an older state gives them a second time. Therefore the database keeps, for each
 *     opening, the first checkpoint and the random token that its superblocks carry; the copy's must be the one of its time.
 * H3. Whatever ends a backup early, the source is as if it had not been begun, and so is the copy that was to be brought up to date. A
 *     new copy has the name of a database only when it is whole.
 * H4. A reader beside an owner cannot pin. What it finds damaged may be what the owner has used again: then the backup is to be begun anew.
 */
export async function backUp(engine: Engine, directory: string, options: BackupOptions): Promise<BackupReport> {
  checkOptions(directory, options)
  const { fileSystem, directoryLocker: locker, clock } = engine.environment
  const path = directory.length > 1 && directory.endsWith('/') ? directory.slice(0, -1) : directory
  mustBeTarget(engine, path)
  const lock = await lockDirectory(path, { locker, clock })
  try {
    const isNew = !fileSystem.exists(dataPath(path))
    const staged = isNew ? `${dataPath(path)}${PARTIAL_SUFFIX}` : dataPath(path)
    const file = fileSystem.open(staged, { create: isNew })
    let report: BackupReport
    try {
      if (isNew) file.truncate(0)
      report = await copyTo(engine, path, file, isNew ? undefined : presentCopy(path, file), options)
    } catch (error) {
      file.close()
      if (isNew) removeQuietly(engine, staged)
      throw error
    }
    file.close()
    if (isNew) fileSystem.rename(staged, dataPath(path))
    await fileSystem.syncDirectory(path)
    return report
  } catch (error) {
    throw asNextkeyError(error, path)
  } finally {
    lock.release()
  }
}

async function copyTo(
  engine: Engine,
  directory: string,
  file: File,
  present: Superblock | undefined,
  { onProgress, signal }: BackupOptions,
): Promise<BackupReport> {
  const { allocator } = engine.pager
  if (engine.backingUp) {
    throw new NextkeyError('ERR_BACKUP_RUNNING', 'a backup of this database is under way: wait until it is over', { retryable: true })
  }
  engine.backingUp = true
  try {
    engine.shared?.keepUp()
    const superblock = await checkpointToCopy(engine, present?.checkpoint)
    const pinned = !engine.options.readOnly
    if (pinned) allocator.pin()
    try {
      if (present !== undefined) mustDescend(engine, superblock, present, directory)
      const target = new CopyTarget(file, present)
      const figures = await copyCheckpoint({ file: engine.file, superblock, copied: (block) => pinned && allocator.unpin(block) }, target, {
        onProgress: (done, total) => onProgress?.({ done, total }),
        pause: async () => {
          mustGoOn(signal)
          await engine.environment.clock.macrotask()
        },
      })
      return {
        directory,
        kind: present === undefined ? 'full' : 'incremental',
        checkpoint: superblock.checkpoint,
        since: present?.checkpoint,
        ...figures,
        size: file.size(),
      }
    } catch (error) {
      throw error instanceof DamagedError && engine.shared?.isGone(superblock.checkpoint) === true
        ? goneMeanwhile(superblock, error)
        : error
    } finally {
      if (pinned) allocator.unpinAll()
    }
  } finally {
    engine.backingUp = false
  }
}

/** H4. */
function goneMeanwhile({ checkpoint }: Superblock, cause: DamagedError): SnapshotGoneError {
  return new SnapshotGoneError(
    `the owner of the database has written over parts of checkpoint ${checkpoint} while this reader copied it: begin the backup again, or let the owner itself call db.backup() (${cause.message})`,
    { checkpoint },
  )
}

/** A checkpoint of this moment; its superblock and that of the copy lie in different places (K1). */
async function checkpointToCopy(engine: Engine, copied: CheckpointNumber | undefined): Promise<Superblock> {
  const { pager, checkpoints, shared } = engine
  if (shared !== undefined) return shared.superblock
  if (!engine.options.readOnly) {
    do await checkpoints.nextUnlessFull()
    while (copied !== undefined && (pager.completed & 1) === (copied & 1))
  }
  const superblock = readSuperblocks(engine.file).find(({ checkpoint }) => checkpoint === pager.completed)
  if (superblock !== undefined) return superblock
  throw new NextkeyError('ERR_DAMAGED', `the superblock of checkpoint ${pager.completed} cannot be read back from ${engine.file.path}`, {
    details: { file: engine.file.path, block: pager.completed & 1 },
  })
}

/** H2. */
function mustDescend(engine: Engine, superblock: Superblock, present: Superblock, directory: string): void {
  const same = Buffer.compare(superblock.databaseId, present.databaseId) === 0
  const owner = same ? ownerAt(engine.catalog.meta, present.checkpoint) : undefined
  const parity = (superblock.checkpoint & 1) !== (present.checkpoint & 1)
  if (owner !== undefined && parity && present.checkpoint < superblock.checkpoint && Buffer.compare(owner, present.ownerToken) === 0) return
  const why = !same
    ? 'it is of another database'
    : parity
      ? `its checkpoint ${present.checkpoint} does not belong to the past of this database`
      : 'the database is open read-only, and its checkpoint cannot stand beside the one of the copy'
  throw new NextkeyError(
    'ERR_BACKUP_MISMATCH',
    `the copy in ${directory} cannot be brought up to date: ${why}; make a new one in another directory`,
    { details: { directory, checkpoint: present.checkpoint } },
  )
}

/** The copy that is there. Raises ERR_BACKUP_MISMATCH if the directory holds a database that is no copy, or no longer one. */
function presentCopy(directory: string, file: File): Superblock {
  const [newest] = readSuperblocks(file)
  if (newest?.sealed === true) return newest
  const what = newest === undefined ? 'is damaged' : 'is a database that was opened and changed, or never was a copy'
  throw new NextkeyError('ERR_BACKUP_MISMATCH', `what lies in ${directory} ${what}: make the copy in another directory`, {
    details: { directory },
  })
}

/** An empty directory, made if there is none, or one with a database. */
function mustBeTarget({ environment, file }: Engine, path: string): void {
  const { fileSystem } = environment
  try {
    if (!fileSystem.exists(path)) {
      fileSystem.makeDirectory(path)
      const slash = path.lastIndexOf('/')
      fileSystem.syncDirectorySync(slash < 0 ? '.' : path.slice(0, slash) || '/')
    }
    const names = fileSystem.list(path)
    const strangers = names.filter((name) => !TARGET_NAMES.has(name))
    if (names.includes('nextkey.db') || strangers.length === 0) return
    throw new InvalidArgumentError(
      `${path} holds other files (${strangers.slice(0, 3).join(', ')}): give the copy a directory of its own, empty or with an older copy of ${file.path} in it`,
      { directory: path, found: strangers },
    )
  } catch (error) {
    throw asNextkeyError(error, path)
  }
}

function removeQuietly({ environment }: Engine, path: string): void {
  try {
    environment.fileSystem.remove(path)
  } catch {
    // It is in the way of nothing: the next attempt begins it anew.
  }
}

function checkOptions(directory: unknown, options: BackupOptions): void {
  if (typeof directory !== 'string' || directory === '')
    throw new InvalidArgumentError(`backup() takes the path of a directory, not ${describe(directory)}`)
  checkLongWork(options, 'backup()')
}

/** Of a copy that is not whole yet. */
const PARTIAL_SUFFIX = '.partial'
const TARGET_NAMES = new Set(['nextkey.lock', `nextkey.db${PARTIAL_SUFFIX}`])
