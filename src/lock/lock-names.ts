import type { TableId, TreeId } from '../base/ids.js'
import type { LockOwner } from './lock-owner.js'
import type { LockInfo } from './lock-request.js'

/** How reports call things. The lock layer knows only numbers and bytes; the layers above know better. */
export interface LockNames {
  owner(owner: LockOwner): string
  table(table: TableId): string
  /** Table and index. */
  index(index: TreeId): string
  key(index: TreeId, key: Uint8Array): string
}

export const PLAIN_NAMES: LockNames = {
  owner: (owner) => owner.label ?? String(owner.id),
  table: (table) => `table ${table}`,
  index: (index) => `index ${index}`,
  key: (_index, key) => Buffer.from(key).toString('hex'),
}

/** One line: `X next-key lock on index 7 key 0a14`, and who is in the way if it waits. */
export function describeLock(lock: LockInfo, names: LockNames = PLAIN_NAMES): string {
  const suffix = lock.status === 'waiting' ? ', waiting' : ''
  if (lock.object !== null) return `${lock.mode} metadata lock on ${lock.kind === 'scope' ? 'scope' : 'table'} ${lock.object}${suffix}`
  if (lock.table !== null) return `${lock.mode} lock on ${names.table(lock.table)}${suffix}`
  const index = lock.index === null ? '' : names.index(lock.index)
  const place = lock.supremum || lock.key === null || lock.index === null ? 'supremum' : `key ${names.key(lock.index, lock.key)}`
  return `${lock.mode} ${lock.kind} lock on ${index} ${place}${suffix}`
}
