import { decodeRow } from './row-decoder.js'
import { RowEncoder } from './row-encoder.js'
import { RowStructures } from './row-structures.js'

/**
 * Values as bytes that can be read without anything else: no shared structures, so each value carries its field names. For data that leaves
 * the database. It is MessagePack with record extensions; what comes back of which value is as for rows (row-codec.ts).
 */
export function encodeStandalone(value: unknown): Uint8Array {
  encoder.encode(value, structures, 0)
  return encoder.bytes.slice(0, encoder.position)
}

/** The value in bytes[start, end). Raises ERR_DAMAGED. */
export function decodeStandalone(bytes: Uint8Array, start: number, end: number): unknown {
  return decodeRow(bytes, start, end, [], false, false)
}

/** Shapes, none of which is ever shared. */
class UnsharedStructures extends RowStructures {
  override share(): number {
    return -1
  }
}

const encoder = new RowEncoder()
const structures = new UnsharedStructures(() => {})
