import { crc32 } from '../base/crc32.js'
import { DamagedError, NextkeyError } from '../base/errors.js'
import type { BlockNumber, CheckpointNumber, LogPosition, PageId } from '../base/ids.js'
import type { File } from '../platform/file-system.js'
import type { BlockAllocator } from './block-allocator.js'
import { Checkpointer, type DatabaseIdentity } from './checkpoint.js'
import { Page } from './page-format.js'
import { CHUNK_ENTRIES, type PageMap } from './page-map.js'
import { Pager } from './pager.js'
import { decodeSuperblock, decodeWitness, encodeSuperblock, type MapReference, SUPERBLOCKS, type Superblock } from './superblock.js'

/** The data file's beginnings: making an empty one, reading its superblocks, loading its page map. */

/** Writes what an empty database looks like, as checkpoint 1, and syncs it. The caller makes its name durable. */
export function formatDataFile(file: File, identity: DatabaseIdentity): void {
  const superblock = encodeSuperblock({
    ...identity,
    checkpoint: 1 as CheckpointNumber,
    logPosition: 0 as LogPosition,
    nextPage: 1 as PageId,
    rootPage: 0 as PageId,
    blocks: 2,
    directory: [],
  })
  file.writeSync(Buffer.alloc(Page.Size), 0, Page.Size, 0)
  file.writeSync(superblock, 0, Page.Size, Page.Size)
  file.syncSync()
}

/** The valid superblocks, newest first: none, one or two. Throws ERR_FORMAT_VERSION for one this version cannot read. */
export function readSuperblocks(file: File): Superblock[] {
  const found: Superblock[] = []
  for (let slot = 0; slot < SUPERBLOCKS; slot++) {
    const bytes = Buffer.alloc(Page.Size)
    if (file.readSync(bytes, 0, Page.Size, slot * Page.Size) < Page.Size) continue
    const superblock = decodeSuperblock(bytes)
    // One in the other's place was never written there by us.
    if (superblock !== undefined && (superblock.checkpoint & 1) === slot) found.push(superblock)
  }
  return found.sort((a, b) => b.checkpoint - a.checkpoint)
}

/** ERR_DAMAGED if a superblock bears witness to a checkpoint newer than the newest that can be read: what that one leads to may be gone. */
export function lossByWitness(file: File, newest: Superblock): DamagedError | undefined {
  if (newest.sealed === true) return undefined
  for (let slot = 0; slot < SUPERBLOCKS; slot++) {
    const bytes = Buffer.alloc(Page.Size)
    if (file.readSync(bytes, 0, Page.Size, slot * Page.Size) < Page.Size) continue
    const witnessed = decodeWitness(bytes, newest.databaseId)
    if (witnessed > newest.checkpoint && (witnessed & 1) !== slot)
      return lostCheckpoint(file, newest, witnessed, 'the superblock before it')
  }
  return undefined
}

/** The same if the number that the log keeps of the newest complete checkpoint (`FoundLog.mark`) is larger. */
export function lossByMark(file: File, newest: Superblock, mark: number): DamagedError | undefined {
  if (newest.sealed === true || mark <= newest.checkpoint) return undefined
  return lostCheckpoint(file, newest, mark as CheckpointNumber, 'the header of the write-ahead log')
}

/** The newest superblock that can be read is not the newest that was complete. */
export function lostCheckpoint(file: File, used: Superblock, lost: CheckpointNumber, witness: string): DamagedError {
  return new DamagedError(
    `the superblock of checkpoint ${lost} in ${file.path} is damaged: ${witness} says that the checkpoint was complete, but the newest whole superblock is of checkpoint ${used.checkpoint}`,
    { file: file.path, block: lost & 1, what: 'superblock', checkpoint: lost },
  )
}

/**
 * A pager over the database as of this superblock, and what writes its checkpoints.
 *
 * @param older The superblock before it, if that is readable. What its map refers to is not written over before the next checkpoint is
 *   complete: the evidence that it is not needed, the log's "complete" frame, may itself be in the page cache alone (the process that
 *   wrote it was killed before its sync, or the sync failed), and gone when the power goes during this recovery.
 */
export function loadDataFile(
  file: File,
  superblock: Superblock,
  older: Superblock | undefined,
  cacheSize: number,
  owner: Omit<DatabaseIdentity, 'databaseId'>,
): { pager: Pager; checkpointer: Checkpointer } {
  const blocksInFile = Math.floor(file.size() / Page.Size)
  const pager = new Pager(file, cacheSize, Math.max(blocksInFile, 2))
  pager.completed = superblock.checkpoint
  const chunks = loadMap(file, superblock, pager.map, pager.allocator)
  if (older !== undefined) for (const block of blocksOf(file, older, chunks)) pager.allocator.reserveUntilCheckpoint(block)
  const identity: DatabaseIdentity = { databaseId: superblock.databaseId, ...owner }
  return { pager, checkpointer: new Checkpointer(pager, identity, chunks, superblock.directory) }
}

/** Fills an empty map, and tells the allocator what it uses; returns where the map's chunks lie. Raises ERR_DAMAGED. */
export function loadMap(file: File, superblock: Superblock, map: PageMap, allocator: BlockAllocator): MapReference[] {
  const chunks = readDirectory(file, superblock)
  for (const { block } of superblock.directory) allocator.markUsed(block)
  chunks.forEach((reference, chunk) => {
    if (reference.block === 0) return
    allocator.markUsed(reference.block)
    map.loadChunk(chunk, readMapBlock(file, reference, 'page map chunk'), superblock.nextPage)
  })
  map.finishLoading(superblock.nextPage)
  return chunks
}

/** Where the map's chunks lie. Raises ERR_DAMAGED. */
export function readDirectory(file: File, superblock: Superblock): MapReference[] {
  const chunks: MapReference[] = []
  for (const reference of superblock.directory) {
    const bytes = readMapBlock(file, reference, 'page map directory')
    for (let entry = 0; entry < CHUNK_ENTRIES; entry++) {
      chunks.push({ block: bytes.readUInt32LE(entry * 8) as BlockNumber, checksum: bytes.readInt32LE(entry * 8 + 4) })
    }
  }
  chunks.length = Math.min(chunks.length, Math.ceil(superblock.nextPage / CHUNK_ENTRIES))
  return chunks
}

/**
 * Blocks that the map of an older checkpoint refers to, without those of the chunks it shares with the newer one. None if any piece of it
 * was written over: the newer checkpoint was complete then, beyond doubt.
 */
function blocksOf(file: File, older: Superblock, newerChunks: readonly MapReference[]): BlockNumber[] {
  const blocks: BlockNumber[] = older.directory.map(({ block }) => block)
  try {
    readDirectory(file, older).forEach((reference, chunk) => {
      if (reference.block === 0 || reference.block === newerChunks[chunk]?.block) return
      blocks.push(reference.block)
      const bytes = readMapBlock(file, reference, 'page map chunk')
      for (let entry = 0; entry < CHUNK_ENTRIES; entry++) blocks.push(bytes.readInt32LE(entry * 8) as BlockNumber)
    })
  } catch (error) {
    if (error instanceof DamagedError) return []
    throw error
  }
  return blocks
}

/** A piece of the map, whose checksum was right. Raises ERR_DAMAGED. */
export function readMapBlock(file: File, reference: MapReference, what: string): Buffer {
  const bytes = Buffer.alloc(Page.Size)
  const got = file.readSync(bytes, 0, Page.Size, reference.block * Page.Size)
  if (got === Page.Size && (crc32(bytes, 0, Page.Size, 0) | 0) === (reference.checksum | 0)) return bytes
  throw new DamagedError(
    `the ${what} at block ${reference.block} (byte ${reference.block * Page.Size}) of ${file.path} is damaged: ${
      got === Page.Size ? 'its checksum does not match' : 'the file ends before it'
    }`,
    { file: file.path, block: reference.block, what },
  )
}

/** Why a file without any valid superblock cannot be opened: ERR_DAMAGED if it ever was ours, else ERR_NOT_A_DATABASE. */
export function notADatabase(file: File): NextkeyError {
  const head = Buffer.alloc(8)
  const ours = [0, Page.Size].some((position) => {
    file.readSync(head, 0, 8, position)
    return head.toString('latin1') === 'NEXTKEY1'
  })
  if (ours) {
    return new DamagedError(`neither superblock of ${file.path} is whole: the checksum of both does not match`, {
      file: file.path,
      block: 0,
      what: 'superblocks',
    })
  }
  return new NextkeyError('ERR_NOT_A_DATABASE', `${file.path} is not a nextkey database`, { details: { file: file.path } })
}
