/**
 * The write-ahead log on disk, byte for byte. Integers are little-endian and unsigned; docs/file-format-log.md says the
 * same for readers of the files.
 *
 * The log is an endless sequence of bytes, numbered by LogPosition. It is kept in segment files `<n>.log`, which are known by
 * their headers, never by their names. A segment is a 4 KiB header block and a body; the body holds positions
 * [first, first + length). Frames tile the body without gaps, so positions are dense across segments.
 *
 *   header (80 bytes, at offset 0 and once more at 2048; either copy will do)
 *   offset size
 *        0    8  magic "nextkeyL"
 *        8    4  format version
 *       12    4  CRC-32 of bytes 0–11 and 16–79
 *       16   16  database id
 *       32    8  sequence                   grows with every header ever written in this log; 0 = unused spare
 *       40    8  epoch                      random, drawn when a log is begun; all segments of one run share it
 *       48    8  first                      log position of the first byte of the body
 *       56    4  length                     bytes in the body: file size − 4096
 *       60    4  zero
 *       64    8  sequence of the predecessor, 0 if there is none
 *       72    8  epoch of the predecessor
 *
 *   mark (a sector, at offset 512; zeros in a new segment)
 *        0  512  a number that those who use the log left beside it (number-sector.ts): written over at any time, never synced for itself
 *
 *   frame (at a multiple of 4)
 *        0    4  CRC-32 of bytes 4 … end of payload, seeded with the segment's seed + offset in the body
 *        4    4  payload length, 1 … 262,144
 *        8    4  lag                        position of this frame − position known synced when it was framed
 *       12    1  kind                       of the group, for those who read the records
 *       13    1  fragment: 0 full, 1 first, 2 middle, 3 last
 *       14    2  zero
 *       16    …  payload, then up to 3 bytes to the next multiple of 4 (undefined, not checked)
 *
 * Fewer than 20 bytes at the end of a body cannot hold a frame: they belong to the frame before them.
 *
 * RULE 1. A frame is valid at one place only. Its checksum is seeded with
 *   seed(segment) + offset,  seed(segment) = first four bytes of the epoch + sequence × 0x9e3779b1  (mod 2³²).
 * For fixed bytes the CRC is a bijection of its seed, and the factor is odd: what an earlier life of a recycled file left
 * behind under another sequence of the same epoch is *never* valid now; of another epoch, with probability 2⁻³². A frame
 * needs no predecessor to be judged, which is what lets a reader find valid frames beyond a bad one.
 * RULE 2. An offset of one segment is written once with one content (a log that was read is never appended to), so a valid
 * frame is the one that belongs there; there is no need to chain checksums.
 * RULE 3. A segment in the same epoch as its predecessor begins where that one is full. A segment that begins an epoch begins
 * where recovery stopped reading its predecessor; whatever the predecessor holds beyond is not log.
 */

import { assert } from '../base/assert.js'
import { crc32 } from '../base/crc32.js'
import type { LogPosition } from '../base/ids.js'
import { decodeNumberSector } from '../base/number-sector.js'

/** Raised with every change of the layout; a reader refuses what is newer than itself. */
export const LOG_FORMAT_VERSION = 1

export const enum Header {
  /** Bytes before the body. */
  BlockSize = 4096,
  /** Where the second copy lies: in another sector, so that neither a lost nor a torn one takes both. */
  SecondCopy = 2048,
  /** Where the mark lies: in a sector of its own. */
  Mark = 512,

  Version = 8,
  Checksum = 12,
  DatabaseId = 16,
  Sequence = 32,
  Epoch = 40,
  First = 48,
  Length = 56,
  PredecessorSequence = 64,
  PredecessorEpoch = 72,
  Size = 80,
}

export const enum Frame {
  Checksum = 0,
  Length = 4,
  Lag = 8,
  Kind = 12,
  Fragment = 13,
  HeaderSize = 16,

  Alignment = 4,
  /** The smallest frame; less room than this at the end of a body belongs to the last frame. */
  MinimumSize = 20,
  /** Larger groups are split even within a segment: this bounds the buffers of writer and reader. */
  MaximumPayload = 262_144,
  /** A larger group would let the lag overflow; the log is synced whenever more than 16 MiB of it are not. */
  MaximumGroup = 2_147_483_648,
}

/** On disk: values never change. */
export const enum Fragment {
  Full = 0,
  First = 1,
  Middle = 2,
  Last = 3,
}

/** Two segments are the same one exactly if both are equal. */
export interface SegmentIdentity {
  /** 0: an unused spare. */
  readonly sequence: number
  /** 8 bytes as 16 hexadecimal digits. */
  readonly epoch: string
}

/** What a header says; of an unused spare, all fields but `length` are meaningless. */
export interface SegmentHeader extends SegmentIdentity {
  readonly first: LogPosition
  /** Bytes in the body. */
  readonly length: number
  /** 0: there is none. */
  readonly predecessorSequence: number
  readonly predecessorEpoch: string
}

export const NO_EPOCH = '0000000000000000'

const MAGIC = Buffer.from('nextkeyL', 'latin1')

/** The checksum seed of the body's first byte (RULE 1). */
export function seedOf({ epoch, sequence }: SegmentIdentity): number {
  return (Number.parseInt(epoch.slice(0, 8), 16) + Math.imul(sequence % 0x1_0000_0000, 0x9e37_79b1)) >>> 0
}

/** Where a frame of `payloadLength` bytes at `offset` ends, in a body of `bodyLength` bytes. */
export function frameEnd(offset: number, payloadLength: number, bodyLength: number): number {
  const end = (offset + Frame.HeaderSize + payloadLength + (Frame.Alignment - 1)) & -Frame.Alignment
  return bodyLength - end < Frame.MinimumSize ? bodyLength : end
}

/** An upper bound of what `groups` groups of `bytes` bytes of payload together occupy. */
export function framedSize(bytes: number, groups: number, bodyLength: number): number {
  const fragmentsPerBody = Math.ceil(bodyLength / Frame.MaximumPayload) + 1
  const fragments = groups + Math.ceil(bytes / Frame.MaximumPayload) + Math.ceil(bytes / bodyLength) * fragmentsPerBody + 1
  return bytes + fragments * (Frame.MinimumSize + Frame.MinimumSize)
}

/** Writes both copies of a header into a block of 4 KiB, the rest of which becomes zero. */
export function encodeHeader(block: Uint8Array, header: SegmentHeader, databaseId: Uint8Array): void {
  assert(block.length === Header.BlockSize && databaseId.length === 16, 'a segment header is a 4 KiB block with a 16-byte database id')
  const bytes = Buffer.from(block.buffer, block.byteOffset, block.length).fill(0)
  MAGIC.copy(bytes)
  bytes.writeUInt32LE(LOG_FORMAT_VERSION, Header.Version)
  bytes.set(databaseId, Header.DatabaseId)
  writeU64(bytes, Header.Sequence, header.sequence)
  bytes.write(header.epoch, Header.Epoch, 8, 'hex')
  writeU64(bytes, Header.First, header.first)
  bytes.writeUInt32LE(header.length, Header.Length)
  writeU64(bytes, Header.PredecessorSequence, header.predecessorSequence)
  bytes.write(header.predecessorEpoch, Header.PredecessorEpoch, 8, 'hex')
  bytes.writeUInt32LE(headerChecksum(bytes, 0), Header.Checksum)
  bytes.copyWithin(Header.SecondCopy, 0, Header.Size)
}

/** What a header block holds: `foreign` belongs to another database, `newer` was written by a later version. */
export type DecodedHeader = SegmentHeader | 'unreadable' | 'foreign' | 'newer'

/**
 * Reads a header block. Of two valid copies that differ (a rewrite torn by a crash) the later one is taken: neither
 * life of the file holds anything acknowledged then, for a file is recycled only after its release, and no frame
 * is written before its header is durable.
 */
export function decodeHeader(block: Uint8Array, databaseId: Uint8Array): DecodedHeader {
  const bytes = Buffer.from(block.buffer, block.byteOffset, block.length)
  const one = decodeCopy(bytes, 0, databaseId)
  const two = decodeCopy(bytes, Header.SecondCopy, databaseId)
  if (one === 'unreadable') return two
  if (typeof one === 'string' || typeof two === 'string') return one
  return two.sequence > one.sequence ? two : one
}

/** The mark in a header block; 0 if it has none of this database. */
export function decodeMark(block: Uint8Array, databaseId: Uint8Array): number {
  return decodeNumberSector(Buffer.from(block.buffer, block.byteOffset, block.length), Header.Mark, databaseId)
}

function decodeCopy(bytes: Buffer, at: number, databaseId: Uint8Array): DecodedHeader {
  if (bytes.length < at + Header.Size || bytes.compare(MAGIC, 0, MAGIC.length, at, at + MAGIC.length) !== 0) return 'unreadable'
  if (bytes.readUInt32LE(at + Header.Checksum) !== headerChecksum(bytes, at)) return 'unreadable'
  if (bytes.compare(databaseId, 0, 16, at + Header.DatabaseId, at + Header.DatabaseId + 16) !== 0) return 'foreign'
  if (bytes.readUInt32LE(at + Header.Version) > LOG_FORMAT_VERSION) return 'newer'
  return {
    sequence: readU64(bytes, at + Header.Sequence),
    epoch: bytes.toString('hex', at + Header.Epoch, at + Header.Epoch + 8),
    first: readU64(bytes, at + Header.First) as LogPosition,
    length: bytes.readUInt32LE(at + Header.Length),
    predecessorSequence: readU64(bytes, at + Header.PredecessorSequence),
    predecessorEpoch: bytes.toString('hex', at + Header.PredecessorEpoch, at + Header.PredecessorEpoch + 8),
  }
}

function headerChecksum(bytes: Uint8Array, at: number): number {
  return crc32(bytes, at + Header.DatabaseId, at + Header.Size, crc32(bytes, at, at + Header.Checksum, 0))
}

function writeU64(bytes: Buffer, at: number, value: number): void {
  bytes.writeUInt32LE(value % 0x1_0000_0000, at)
  bytes.writeUInt32LE(Math.floor(value / 0x1_0000_0000), at + 4)
}

function readU64(bytes: Buffer, at: number): number {
  return bytes.readUInt32LE(at) + bytes.readUInt32LE(at + 4) * 0x1_0000_0000
}
