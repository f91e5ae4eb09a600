import { crc32 } from '../../src/base/crc32.js'
import type { File, FileSystem, OpenOptions } from '../../src/platform/file-system.js'
import { readSuperblocks } from '../../src/storage/data-file.js'
import { Page } from '../../src/storage/page-format.js'
import { CHUNK_ENTRIES } from '../../src/storage/page-map.js'
import { Claim, decodeSuperblock, type MapReference, type Superblock, Witness } from '../../src/storage/superblock.js'
import { Header } from '../../src/wal/log-format.js'

/**
 * A file system that watches the engine write, and raises WriteOrderError at the very write that breaks a rule of shadow
 * checkpoints, whether a crash would show it or not:
 *
 * S1. When a superblock is written, every block that its checkpoint refers to is on disk, and is what its map says.
 * S2. … and so is the log up to the position P that the superblock names.
 * S3. No block is written that one of the two newest checkpoints refers to. The older one of them counts until something was written to
 *     the log after the newer superblock was on disk, and is on disk itself: the word that the newer one is complete.
 *
 * "On disk": written by a call that had ended when a sync began that has ended well. What it knows of the files, it has from the calls.
 */
export class WriteOrder implements FileSystem {
  readonly #disk: FileSystem
  /** Raised first; later ones follow from it. */
  violation: WriteOrderError | undefined
  /** Calls so far: a clock. */
  #now = 0
  /** Blocks of the data file that may not be on disk, and when they were written. */
  readonly #unsynced: Map<number, number> = new Map()
  readonly #logs: Map<string, LogFile> = new Map()
  /** Checkpoints whose blocks must not be written, newest first. */
  #protected: Checkpoint[] = []
  /** The newest checkpoint that an opening found, until a superblock is written. */
  #doubtful: Checkpoint | undefined
  #overDoubtful: string | undefined
  /** The superblock being written, until it is synced. */
  #next: Checkpoint | undefined
  /** Checksum of what was written to each block last. */
  readonly #contents: Map<number, number> = new Map()

  constructor(disk: FileSystem) {
    this.#disk = disk
  }

  open(path: string, options?: OpenOptions): File {
    const file = this.#disk.open(path, options)
    if (path.endsWith('/nextkey.db')) {
      this.#protectWhatIsThere(file)
      return new WatchedFile(file, {
        beforeWrite: (bytes, offset, length, position) => this.#beforeDataWrite(file, bytes, offset, length, position),
        afterWrite: (bytes, offset, length, position) => this.#afterDataWrite(bytes, offset, length, position),
        beforeSync: () => ++this.#now,
        afterSync: (begun) => this.#afterDataSync(begun),
      })
    }
    if (!path.endsWith('.log')) return file
    const log = this.#log(path, file)
    return new WatchedFile(file, {
      beforeWrite: (bytes, offset, length, position) => log.beforeWrite(bytes, offset, length, position, ++this.#now),
      afterWrite: () => {},
      beforeSync: () => ++this.#now,
      afterSync: (begun) => this.#afterLogSync(log, begun),
    })
  }

  exists(path: string): boolean {
    return this.#disk.exists(path)
  }

  list(path: string): string[] {
    return this.#disk.list(path)
  }

  makeDirectory(path: string): void {
    this.#disk.makeDirectory(path)
  }

  rename(from: string, to: string): void {
    this.#disk.rename(from, to)
    this.#logs.delete(to)
    const log = this.#logs.get(from)
    if (log !== undefined) this.#logs.set(to, log)
  }

  remove(path: string): void {
    this.#disk.remove(path)
    this.#logs.delete(path)
  }

  syncDirectory(path: string): Promise<void> {
    return this.#disk.syncDirectory(path)
  }

  syncDirectorySync(path: string): void {
    this.#disk.syncDirectorySync(path)
  }

  /** Raises the first violation, also if the engine took it for a failure of the disk. */
  check(): void {
    if (this.violation !== undefined) throw this.violation
  }

  #log(path: string, file: File): LogFile {
    let log = this.#logs.get(path)
    if (log === undefined) {
      log = new LogFile()
      log.read(file)
      this.#logs.set(path, log)
    }
    return log
  }

  #protectWhatIsThere(file: File): void {
    if (this.#protected.length > 0) return
    for (const superblock of readSuperblocks(file)) {
      const blocks = blocksOf(file, superblock)
      // If its map was written over, it was of no use any more.
      if (blocks !== undefined) this.#protected.push({ superblock, blocks, writtenAt: 0, syncedAt: 0 })
    }
    if (this.#protected.length === 2) this.#doubtful = this.#protected[0]
  }

  #beforeDataWrite(file: File, bytes: Uint8Array, offset: number, length: number, position: number): void {
    this.#now++
    if (position < FIRST_BLOCK * Page.Size) {
      if (length === Page.Size) this.#beforeSuperblock(file, bytes, offset)
      else if (!isWitness(length, position) && !(length === Claim.Size && position === Claim.Offset))
        this.#violate(`${length} bytes are written into a superblock, at ${position}`)
      return
    }
    for (let block = position / Page.Size; block * Page.Size < position + length; block++) {
      const owner = this.#protected.find(({ blocks }) => blocks.has(block))
      if (owner === undefined) continue
      const what = `block ${block} is written over, which checkpoint ${owner.superblock.checkpoint} refers to`
      // An opening may find that the newest checkpoint never was complete; then it makes it anew.
      if (owner !== this.#doubtful) this.#violate(what)
      this.#overDoubtful ??= what
    }
  }

  #afterDataWrite(bytes: Uint8Array, offset: number, length: number, position: number): void {
    this.#now++
    // A witness or a claim, which nothing is built on.
    if (length < Page.Size) return
    for (let at = 0; at < length; at += Page.Size) {
      const block = (position + at) / Page.Size
      const checksum = crc32(bytes, offset + at, offset + at + Page.Size, 0) | 0
      // A write that was overtaken changes nothing when it ends at last.
      if (this.#contents.get(block) === checksum) continue
      this.#contents.set(block, checksum)
      this.#unsynced.set(block, this.#now)
    }
  }

  #beforeSuperblock(file: File, bytes: Uint8Array, offset: number): void {
    const superblock = decodeSuperblock(Buffer.from(bytes.buffer, bytes.byteOffset + offset, Page.Size))
    if (superblock === undefined) return this.#violate('what is written in the place of a superblock is none')
    const { checkpoint, logPosition } = superblock
    const blocks = blocksOf(file, superblock)
    if (blocks === undefined) return this.#violate(`superblock ${checkpoint} is written before its map`)
    for (const [block, checksum] of blocks) {
      if (this.#unsynced.has(block)) this.#violate(`superblock ${checkpoint} is written while its block ${block} may not be on disk`)
      const content = this.#contents.get(block)
      if (content !== undefined && content !== checksum)
        this.#violate(`superblock ${checkpoint} is written while its block ${block} holds something else than its map says`)
    }
    const logs = [...this.#logs.values()].filter(({ first, end }) => first <= logPosition && logPosition <= end)
    if (logs.length > 0 && logs.every((log) => log.durableThrough < logPosition)) {
      this.#violate(`superblock ${checkpoint} names log position ${logPosition}, but the log is on disk up to ${logs[0].durableThrough}`)
    }
    if (this.#overDoubtful !== undefined && checkpoint > (this.#doubtful as Checkpoint).superblock.checkpoint)
      this.#violate(this.#overDoubtful)
    this.#doubtful = undefined
    this.#overDoubtful = undefined
    // What the slot held is gone from here on.
    this.#protected = this.#protected.filter((one) => (one.superblock.checkpoint & 1) !== (checkpoint & 1))
    this.#next = { superblock, blocks, writtenAt: this.#now, syncedAt: 0 }
  }

  #afterDataSync(begun: number): void {
    for (const [block, writtenAt] of this.#unsynced) if (writtenAt <= begun) this.#unsynced.delete(block)
    if (this.#next === undefined || this.#next.writtenAt > begun) return
    this.#protected.unshift({ ...this.#next, syncedAt: ++this.#now })
    this.#next = undefined
  }

  #afterLogSync(log: LogFile, begun: number): void {
    log.ended(begun)
    const [newest] = this.#protected
    if (newest === undefined || newest.syncedAt === 0 || log.newestSynced < newest.syncedAt) return
    this.#protected = [newest]
  }

  #violate(what: string): never {
    const error = new WriteOrderError(what)
    this.violation ??= error
    throw error
  }
}

export class WriteOrderError extends Error {
  override readonly name = 'WriteOrderError'
}

interface Checkpoint {
  readonly superblock: Superblock
  /** Checksums by block. */
  readonly blocks: ReadonlyMap<number, number>
  /** When its superblock was written, and when it was on disk; 0 before the file was opened. */
  readonly writtenAt: number
  readonly syncedAt: number
}

/** A segment of the log, by what was written to it. */
class LogFile {
  /** Positions of the body; until its header was seen, none. */
  first = Number.POSITIVE_INFINITY
  end = -1
  durableThrough = 0
  /** When the newest frame that is on disk was handed over. */
  newestSynced = 0
  #unsynced: { at: number; through: number }[] = []

  /** Of a log that was there before, opening knows by its frames what is on disk; here it is taken on trust. */
  read(file: File): void {
    const header = Buffer.alloc(Header.Size)
    if (file.readSync(header, 0, Header.Size, 0) < Header.Size) return
    this.#takeHeader(header)
    this.durableThrough = this.end
  }

  beforeWrite(bytes: Uint8Array, offset: number, length: number, position: number, now: number): void {
    if (position === 0) {
      this.#takeHeader(Buffer.from(bytes.buffer, bytes.byteOffset + offset, length))
      return
    }
    this.#unsynced.push({ at: now, through: this.first + position - Header.BlockSize + length })
  }

  #takeHeader(header: Buffer): void {
    this.first = Number(header.readBigUInt64LE(Header.First))
    this.end = this.first + header.readUInt32LE(Header.Length)
    this.durableThrough = this.first
    this.#unsynced = []
  }

  /** A sync that began at this time ended well. */
  ended(begun: number): void {
    for (const { at, through } of this.#unsynced) {
      if (at > begun) continue
      this.durableThrough = Math.max(this.durableThrough, through)
      this.newestSynced = Math.max(this.newestSynced, at)
    }
    this.#unsynced = this.#unsynced.filter(({ at }) => at > begun)
  }
}

interface Watcher {
  beforeWrite(bytes: Uint8Array, offset: number, length: number, position: number): void
  afterWrite(bytes: Uint8Array, offset: number, length: number, position: number): void
  /** Returns when the sync began. */
  beforeSync(): number
  afterSync(begun: number): void
}

class WatchedFile implements File {
  readonly path: string
  readonly #file: File
  readonly #watcher: Watcher

  constructor(file: File, watcher: Watcher) {
    this.path = file.path
    this.#file = file
    this.#watcher = watcher
  }

  size(): number {
    return this.#file.size()
  }

  readSync(buffer: Uint8Array, offset: number, length: number, position: number): number {
    return this.#file.readSync(buffer, offset, length, position)
  }

  writeSync(buffer: Uint8Array, offset: number, length: number, position: number): void {
    this.#watcher.beforeWrite(buffer, offset, length, position)
    this.#file.writeSync(buffer, offset, length, position)
    this.#watcher.afterWrite(buffer, offset, length, position)
  }

  async write(buffer: Uint8Array, offset: number, length: number, position: number): Promise<void> {
    this.#watcher.beforeWrite(buffer, offset, length, position)
    await this.#file.write(buffer, offset, length, position)
    this.#watcher.afterWrite(buffer, offset, length, position)
  }

  syncSync(): void {
    const begun = this.#watcher.beforeSync()
    this.#file.syncSync()
    this.#watcher.afterSync(begun)
  }

  async sync(): Promise<void> {
    const begun = this.#watcher.beforeSync()
    await this.#file.sync()
    this.#watcher.afterSync(begun)
  }

  truncate(size: number): void {
    this.#file.truncate(size)
  }

  settled(): Promise<void> {
    return this.#file.settled()
  }

  close(): void {
    this.#file.close()
  }
}

/**
 * Every block a checkpoint refers to, with its checksum; undefined if its map is not whole, or the file ends before one of its blocks: it was cut
 * when a newer checkpoint was complete.
 */
function blocksOf(file: File, { directory, nextPage }: Superblock): Map<number, number> | undefined {
  const blocks = new Map<number, number>()
  const chunks: MapReference[] = []
  for (const reference of directory) {
    const bytes = readBlock(file, reference)
    if (bytes === undefined) return undefined
    blocks.set(reference.block, reference.checksum | 0)
    for (let entry = 0; entry < CHUNK_ENTRIES; entry++) {
      chunks.push({ block: bytes.readUInt32LE(entry * 8) as MapReference['block'], checksum: bytes.readInt32LE(entry * 8 + 4) })
    }
  }
  for (const reference of chunks.slice(0, Math.ceil(nextPage / CHUNK_ENTRIES))) {
    if (reference.block === 0) continue
    const bytes = readBlock(file, reference)
    if (bytes === undefined) return undefined
    blocks.set(reference.block, reference.checksum | 0)
    for (let entry = 0; entry < CHUNK_ENTRIES; entry++) blocks.set(bytes.readUInt32LE(entry * 8), bytes.readInt32LE(entry * 8 + 4))
  }
  blocks.delete(0)
  const end = file.size() / Page.Size
  for (const block of blocks.keys()) if (block >= end) return undefined
  return blocks
}

function readBlock(file: File, { block, checksum }: MapReference): Buffer | undefined {
  const bytes = Buffer.alloc(Page.Size)
  const length = file.readSync(bytes, 0, Page.Size, block * Page.Size)
  return length === Page.Size && (crc32(bytes, 0, Page.Size, 0) | 0) === (checksum | 0) ? bytes : undefined
}

function isWitness(length: number, position: number): boolean {
  return length === Witness.Size && position % Page.Size === Witness.Offset
}

/** Blocks before it are superblocks. */
const FIRST_BLOCK = 2
