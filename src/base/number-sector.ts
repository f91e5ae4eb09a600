import { crc32 } from './crc32.js'

/**
 * A number in a sector of its own, which may be written over at any time: tearing it harms nothing else, and who reads it knows whether it
 * is whole and of this database.
 *
 *   offset size
 *        0    8  number, as two 32-bit halves, low first
 *        8    4  CRC-32 of database id and number
 *       12  500  zeros, or whatever else may share the sector
 */
export const SECTOR_SIZE = 512

export function encodeNumberSector(databaseId: Uint8Array, number: number): Buffer {
  const sector = Buffer.alloc(SECTOR_SIZE)
  sector.writeUInt32LE(number % 2 ** 32, 0)
  sector.writeUInt32LE(Math.floor(number / 2 ** 32), 4)
  sector.writeUInt32LE(checksumOf(sector, 0, databaseId), 8)
  return sector
}

/** The number in the sector that begins there; 0 if there is none that belongs to this database. */
export function decodeNumberSector(bytes: Buffer, at: number, databaseId: Uint8Array): number {
  if (bytes.length < at + SECTOR_SIZE || bytes.readUInt32LE(at + 8) !== checksumOf(bytes, at, databaseId)) return 0
  return bytes.readUInt32LE(at) + bytes.readUInt32LE(at + 4) * 2 ** 32
}

function checksumOf(bytes: Uint8Array, at: number, databaseId: Uint8Array): number {
  return crc32(bytes, at, at + 8, crc32(databaseId, 0, databaseId.length, 0))
}
