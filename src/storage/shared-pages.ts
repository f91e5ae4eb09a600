import { DamagedError, type NextkeyError, SnapshotGoneError } from '../base/errors.js'
import type { BlockNumber, PageId } from '../base/ids.js'
import type { File } from '../platform/file-system.js'
import { BlockAllocator } from './block-allocator.js'
import { Checkpointer } from './checkpoint.js'
import { loadMap, lossByWitness, notADatabase, readSuperblocks } from './data-file.js'
import { PageMap } from './page-map.js'
import { Pager } from './pager.js'
import { type MapReference, SUPERBLOCKS, type Superblock } from './superblock.js'

/**
 * The pages of one checkpoint, read from a data file whose owner, in another process, goes on writing (D15). Nothing is written and nothing
 * is locked, so the owner knows nothing of it and uses blocks again as soon as it needs them.
 *
 * R1. Any valid superblock will do to read from: all that it leads to was on disk, and the log through its P, before it was written (C2).
 * R2. A block that checkpoint n leads to is written over only when checkpoint n + 1 is complete (B2, B3), and so after the superblock of n + 1
 *     was written. A block that was, or is being, written over does not match the checksum that n's map has for it, or bears another page id,
 *     or an interval beyond n. What matches is what n has, whoever wrote it when.
 * R3. So when a block does not match, the superblocks are read again. If there is a newer one, the block may have been used again: this
 *     checkpoint is gone. If there is none, it is damage. (One case looks like it and is not: the owner crashed between writing a superblock
 *     and saying in the log that its checkpoint is complete, and whoever recovers began with the one before. It ends with the recovery.)
 * R4. A superblock that is being written, and torn, is not valid; then the other one is the newest.
 * R5. Superblocks are told apart by number and owner: the recovery of R3 writes another one of the same number.
 */
export class SharedPages {
  readonly pager: Pager
  /** Of the checkpoint that `pager` shows. */
  superblock: Superblock
  checkpointer: Checkpointer
  /** A block of the checkpoint was found written over. Reads may fail from now on; what is in memory is right. */
  gone = false
  readonly #file: File

  /** At the newest checkpoint. Raises as `newest`. */
  constructor(file: File, cacheSize: number) {
    this.#file = file
    this.pager = new Pager(file, cacheSize, SUPERBLOCKS)
    this.pager.besideOwner = true
    this.pager.onMismatch = (page, block) => this.#judge(page, block)
    const image = this.newest()
    this.superblock = image.superblock
    this.checkpointer = this.#take(image)
  }

  /** Whether there is a newer checkpoint. */
  get isBehind(): boolean {
    const newest = newestOf(this.#file)
    return newest.checkpoint >= this.superblock.checkpoint && !isSame(newest, this.superblock)
  }

  /** What leads to the pages of the newest checkpoint, in memory. Raises ERR_DAMAGED, ERR_NOT_A_DATABASE, and, if the owner outruns it, ERR_SNAPSHOT_GONE. */
  newest(): CheckpointImage {
    for (let attempt = 1; ; attempt++) {
      const superblock = newestOf(this.#file)
      const allocator = new BlockAllocator(SUPERBLOCKS, superblock.blocks)
      const map = new PageMap(allocator)
      try {
        return { superblock, map, allocator, chunks: loadMap(this.#file, superblock, map, allocator) }
      } catch (error) {
        if (!(error instanceof DamagedError) || isSame(newestOf(this.#file), superblock)) throw error
        if (attempt === ATTEMPTS) throw outrun(superblock)
      }
    }
  }

  /** Moves the pager to a checkpoint. Returns where it was, to move back to: what is gone then is noticed again. */
  moveTo(image: CheckpointImage): CheckpointImage {
    const before: CheckpointImage = {
      superblock: this.superblock,
      map: this.pager.map,
      allocator: this.pager.allocator,
      chunks: [],
    }
    this.checkpointer = this.#take(image)
    return before
  }

  #take({ superblock, map, allocator, chunks }: CheckpointImage): Checkpointer {
    this.superblock = superblock
    this.gone = false
    this.pager.moveTo(superblock.checkpoint, map, allocator)
    return new Checkpointer(this.pager, superblock, chunks, superblock.directory)
  }

  /** R3. */
  #judge(page: PageId, block: BlockNumber): NextkeyError | undefined {
    if (!this.isBehind) return undefined
    this.gone = true
    const { checkpoint } = this.superblock
    return new SnapshotGoneError(
      `page ${page} of checkpoint ${checkpoint}, which this reader shows, was written over by the owner of the database: begin the read again`,
      { file: this.#file.path, page, block, checkpoint },
    )
  }
}

/** A checkpoint, as far as it must be in memory to read its pages. */
export interface CheckpointImage {
  superblock: Superblock
  map: PageMap
  allocator: BlockAllocator
  chunks: MapReference[]
}

/** Looks more than once before it says that something is wrong: the owner may have written one superblock while the other was read. */
function newestOf(file: File): Superblock {
  for (let look = 1; ; look++) {
    const [newest] = readSuperblocks(file)
    const problem = newest === undefined ? notADatabase(file) : lossByWitness(file, newest)
    if (problem === undefined) return newest
    if (look === LOOKS) throw problem
  }
}

/** R5. */
function isSame(a: Superblock, b: Superblock): boolean {
  return a.checkpoint === b.checkpoint && Buffer.compare(a.ownerToken, b.ownerToken) === 0
}

export function outrun({ checkpoint }: Superblock): SnapshotGoneError {
  return new SnapshotGoneError(
    `the owner of the database writes checkpoints faster than this reader can take one up (the last it saw is ${checkpoint}): try again, or let the owner write them less often`,
    { checkpoint },
  )
}

/** Checkpoints begun with that were gone before they were in memory. */
const ATTEMPTS = 20
/** At superblocks that seem to be damaged. */
export const LOOKS = 3
