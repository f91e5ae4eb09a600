import { crc32 } from '../base/crc32.js'
import { NextkeyError } from '../base/errors.js'
import type { BlockNumber, CheckpointNumber, LogPosition, PageId } from '../base/ids.js'
import { decodeNumberSector, encodeNumberSector } from '../base/number-sector.js'
import { Page } from './page-format.js'

/**
 * The two blocks at the start of the data file. Checkpoint n is written to block n & 1, so the one before it stays
 * readable until n is durable.
 *
 *   offset size
 *        0    8  magic "NEXTKEY1"
 *        8    4  format version
 *       12    4  page size
 *       16   16  database id
 *       32    8  checkpoint number
 *       40    8  log position P: everything before it is in this checkpoint
 *       48    4  next page id
 *       52    4  first page of the root record (PageType.Root chain)
 *       56    4  blocks in the file
 *       60    2  number of map directory blocks
 *       62    2  flags: 1 = sealed
 *       64   16  owner token: who wrote this (D15)
 *       80    8  for each map directory block: block number, checksum
 *    15360  512  a sector of its own:
 *             12  witness: 8 checkpoint number, 4 CRC-32 of database id and number
 *             52  zeros
 *            448  claim, in block 0 the one that counts (owner-claim.ts): 16 token of whoever opened the database for writing last,
 *                 2 length of a note, the note (JSON: who that is)
 *    16380    4  CRC-32 of everything before, with that sector as zeros
 * 8-byte numbers are stored as two 32-bit halves, low first; all fields little-endian.
 *
 * When checkpoint n is complete, the superblock before it gets its number as a witness: if superblock n rots, and with it the end of the log, which
 * says the same, this one still knows that it is not the newest. (The log's header gets it too: an older image of the superblock before, as after
 * a lost write, has no witness.) The write may be lost; no one relies on it for more than noticing damage.
 *
 * A *sealed* superblock is that of a copy (backup): everything it leads to was on disk before it was written, and what it holds is
 * complete without any log. A file whose newest superblock is sealed needs no log to be opened.
 */
export interface Superblock {
  databaseId: Uint8Array
  checkpoint: CheckpointNumber
  logPosition: LogPosition
  nextPage: PageId
  rootPage: PageId
  blocks: number
  ownerToken: Uint8Array
  /** Default false. */
  sealed?: boolean
  directory: MapReference[]
  /** Written, not read. Default: none. */
  claim?: Uint8Array
}

export interface MapReference {
  block: BlockNumber
  checksum: number
}

export const FORMAT_VERSION = 1
export const SUPERBLOCKS = 2
/** Map directory blocks that fit. */
export const MAX_DIRECTORY: number = ((15_360 - 80) / 8) | 0

export const enum Witness {
  Offset = 15_360,
  Size = 512,
}

export const enum Claim {
  Offset = 15_424,
  Size = 448,
  TokenSize = 16,
  /** Within the claim. */
  NoteLength = 16,
  Note = 18,
}

const SEALED = 1
const MAGIC = Buffer.from('NEXTKEY1', 'latin1')

export function encodeSuperblock(block: Superblock): Buffer {
  const out = Buffer.alloc(Page.Size)
  MAGIC.copy(out, 0)
  out.writeUInt32LE(FORMAT_VERSION, 8)
  out.writeUInt32LE(Page.Size, 12)
  out.set(block.databaseId, 16)
  writeU53(out, block.checkpoint, 32)
  writeU53(out, block.logPosition, 40)
  out.writeUInt32LE(block.nextPage, 48)
  out.writeUInt32LE(block.rootPage, 52)
  out.writeUInt32LE(block.blocks, 56)
  out.writeUInt16LE(block.directory.length, 60)
  out.writeUInt16LE(block.sealed === true ? SEALED : 0, 62)
  out.set(block.ownerToken, 64)
  let at = 80
  for (const { block: number, checksum } of block.directory) {
    out.writeUInt32LE(number, at)
    out.writeInt32LE(checksum | 0, at + 4)
    at += 8
  }
  if (block.claim !== undefined) out.set(block.claim, Claim.Offset)
  out.writeUInt32LE(checksumOf(out), Page.Size - 4)
  return out
}

/** The superblock in these bytes; undefined if they are not a whole one. Throws for a format this version cannot read. */
export function decodeSuperblock(bytes: Buffer): Superblock | undefined {
  if (bytes.length < Page.Size || !bytes.subarray(0, 8).equals(MAGIC)) return undefined
  if (bytes.readUInt32LE(Page.Size - 4) !== checksumOf(bytes)) return undefined
  const version = bytes.readUInt32LE(8)
  if (version !== FORMAT_VERSION) {
    throw new NextkeyError(
      'ERR_FORMAT_VERSION',
      `the database has format version ${version}, this nextkey reads version ${FORMAT_VERSION}: open it with the nextkey that wrote it, or a newer one`,
      { details: { found: version, supported: FORMAT_VERSION } },
    )
  }
  if (bytes.readUInt32LE(12) !== Page.Size) return undefined
  const count = bytes.readUInt16LE(60)
  if (count > MAX_DIRECTORY) return undefined
  const directory: MapReference[] = []
  for (let at = 80; directory.length < count; at += 8) {
    directory.push({ block: bytes.readUInt32LE(at) as BlockNumber, checksum: bytes.readInt32LE(at + 4) })
  }
  return {
    databaseId: Uint8Array.from(bytes.subarray(16, 32)),
    checkpoint: readU53(bytes, 32) as CheckpointNumber,
    logPosition: readU53(bytes, 40) as LogPosition,
    nextPage: bytes.readUInt32LE(48) as PageId,
    rootPage: bytes.readUInt32LE(52) as PageId,
    blocks: bytes.readUInt32LE(56),
    ownerToken: Uint8Array.from(bytes.subarray(64, 80)),
    sealed: (bytes.readUInt16LE(62) & SEALED) !== 0,
    directory,
  }
}

/** The sector that says in superblock n − 1 that checkpoint n is complete. */
export function encodeWitness(databaseId: Uint8Array, checkpoint: CheckpointNumber, claim: Uint8Array): Buffer {
  const sector = encodeNumberSector(databaseId, checkpoint)
  sector.set(claim, Claim.Offset - Witness.Offset)
  return sector
}

/** Which checkpoint the witness in the bytes of a superblock speaks of; 0 if there is none that belongs to this database. */
export function decodeWitness(bytes: Buffer, databaseId: Uint8Array): CheckpointNumber {
  return decodeNumberSector(bytes, Witness.Offset, databaseId) as CheckpointNumber
}

function checksumOf(superblock: Buffer): number {
  const before = crc32(NO_WITNESS, 0, Witness.Size, crc32(superblock, 0, Witness.Offset, 0))
  return crc32(superblock, Witness.Offset + Witness.Size, Page.Size - 4, before)
}

const NO_WITNESS: Uint8Array = new Uint8Array(Witness.Size)

function writeU53(out: Buffer, value: number, at: number): void {
  out.writeUInt32LE(value % 2 ** 32, at)
  out.writeUInt32LE(Math.floor(value / 2 ** 32), at + 4)
}

function readU53(bytes: Buffer, at: number): number {
  return bytes.readUInt32LE(at) + bytes.readUInt32LE(at + 4) * 2 ** 32
}
