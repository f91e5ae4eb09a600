/**
 * What the groups in the write-ahead log are (D8). On disk: values never change.
 *
 *   Commit      f64 trx id · row changes as in redo-buffer.ts
 *   Counter     u32 table id · f64 auto-increment value after a restart   outside any transaction; replay takes the last
 *   Structure   u32 table id · u32 structure id · fields, as JSON     outside any transaction; precedes the rows that use it
 *   Checkpoint  f64 number                                            that checkpoint is complete and durable
 */
export const enum LogKind {
  Commit = 1,
  Counter = 2,
  Structure = 3,
  Checkpoint = 4,
}

/** Bytes before the row changes of a commit group. */
export const COMMIT_HEADER = 8

export function encodeCounter(table: number, next: number): Buffer {
  const out = Buffer.allocUnsafe(12)
  out.writeUInt32LE(table, 0)
  out.writeDoubleLE(next, 4)
  return out
}

export function encodeStructure(table: number, id: number, fields: Uint8Array): Buffer {
  const out = Buffer.allocUnsafe(8 + fields.length)
  out.writeUInt32LE(table, 0)
  out.writeUInt32LE(id, 4)
  out.set(fields, 8)
  return out
}

export function encodeCheckpoint(number: number): Buffer {
  const out = Buffer.allocUnsafe(8)
  out.writeDoubleLE(number, 0)
  return out
}
