import type { CheckpointNumber } from '../base/ids.js'
import { MetaKind, type MetaTree } from './meta-tree.js'

/**
 * Who wrote which checkpoints: for each opening for writing, its first checkpoint and the owner token that its superblocks carry (D15).
 * That a copy belongs to the past of a database can be told from this, and from nothing else.
 */
export function recordOwner(meta: MetaTree, first: CheckpointNumber, token: Uint8Array): void {
  // An opening that was cut short may have left its own: its checkpoint was not complete.
  for (const { id } of meta.list(MetaKind.Owner)) if (id >= first) meta.delete(MetaKind.Owner, id, 0)
  meta.set(MetaKind.Owner, first, 0, token)
  const openings = meta.list(MetaKind.Owner)
  for (const { id } of openings.slice(0, Math.max(0, openings.length - OPENINGS_KEPT))) meta.delete(MetaKind.Owner, id, 0)
}

/** The token of whoever wrote this checkpoint; undefined if it is not of the past, or too long ago. */
export function ownerAt(meta: MetaTree, checkpoint: CheckpointNumber): Uint8Array | undefined {
  return meta
    .list(MetaKind.Owner)
    .filter(({ id }) => id <= checkpoint)
    .at(-1)?.value
}

/** Openings remembered: 24 bytes each. */
const OPENINGS_KEPT = 256
