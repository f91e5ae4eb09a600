import { describe } from './base/errors.js'
import type { TreeId } from './base/ids.js'
import { decodeCompound, decodeKey, KeyBuffer } from './codec/key-encoding.js'
import type { LockKindName, LockModeName } from './lock/lock-modes.js'
import { type LockNames, PLAIN_NAMES } from './lock/lock-names.js'
import type { KeyInterval } from './lock/lock-report.js'
import type { LockInfo } from './lock/lock-request.js'
import type { MetadataModeName } from './lock/metadata-modes.js'
import { TreeCursor } from './storage/tree-cursor.js'
import type { Engine } from './txn/engine.js'
import { decodeTableKey } from './txn/row-reader.js'
import type { IndexStore, TableStore } from './txn/table-store.js'
import type { Trx } from './txn/trx.js'

/** A lock held or waited for, as InnoDB's data_locks has it. */
export interface Lock {
  /** `tx.id` of the transaction. */
  transaction: number
  /** Of a metadata lock on a scope: 'GLOBAL', 'COMMIT' or 'TABLE LOCKS'. */
  table: string
  /** 'PRIMARY' or a secondary index; undefined for table locks. */
  index: string | undefined
  /** The index key; undefined for table locks and the supremum. */
  key: unknown
  /** Of a secondary entry. */
  primaryKey: unknown
  /** The gap above the largest entry. */
  supremum: boolean
  mode: LockModeName | MetadataModeName
  kind: LockKindName
  status: 'granted' | 'waiting'
  /** Of a waiting lock: the transactions it waits for. */
  blockedBy: number[]
}

export interface TransactionInfo {
  id: number
  isolation: string
  /** Undo records written. */
  changes: number
  /** Lock structures held, as InnoDB counts them. */
  locks: number
  /** The lock it waits for. */
  waitingFor: Lock | undefined
  hasView: boolean
  /** Milliseconds since it began; undefined for one that ends within the call it began in. */
  age: number | undefined
  /** Where it was begun: known with the option `detectSelfWaits`. */
  begunBy: string | undefined
}

/** A transaction that is open for longer than `longTransactionTime`. */
export interface LongTransaction extends TransactionInfo {
  /** What it has locked or waits for; rows it has written are in it only if somebody asked for them. */
  held: Lock[]
}

/** Lists what is locked. Implicit locks, of rows written, are not listed until somebody asked for them. */
export function listLocks(engine: Engine): Lock[] {
  const keysWithin = (index: TreeId, interval: KeyInterval): Iterable<Uint8Array> => keysBetween(engine, index, interval)
  return Array.from(engine.rowLocks.locks.locks(keysWithin), (info) => describeLock(engine, info))
}

export function describeTransaction(engine: Engine, { trx, begunAt }: { trx: Trx; begunAt: number | undefined }): TransactionInfo {
  const { owner } = trx
  return {
    id: trx.number,
    isolation: trx.isolation,
    changes: owner.undoRecords,
    locks: owner.structures,
    waitingFor: owner.waiting === null ? undefined : describeLock(engine, owner.waiting.describe()),
    hasView: trx.view !== undefined,
    age: begunAt === undefined ? undefined : engine.environment.clock.now() - begunAt,
    begunBy: owner.begunBy,
  }
}

/** How reports call tables, indexes and keys: as their users do. What was dropped since has only numbers. */
export function lockNames({ catalog }: Engine): LockNames {
  return {
    owner: PLAIN_NAMES.owner,
    table: (table) => catalog.tableById(table)?.name ?? PLAIN_NAMES.table(table),
    index: (tree) => {
      const place = catalog.placeOf(tree)
      return place === undefined ? PLAIN_NAMES.index(tree) : `${place.table.name}.${place.index?.definition.name ?? 'PRIMARY'}`
    },
    key: (tree, bytes) => {
      const place = catalog.placeOf(tree)
      if (place === undefined) return PLAIN_NAMES.key(tree, bytes)
      const { key, primaryKey } = describeKey(place.table, place.index, bytes)
      return place.index === undefined ? describe(key) : `${describe(key)} of row ${describe(primaryKey)}`
    },
  }
}

function describeLock(engine: Engine, info: LockInfo): Lock {
  const { catalog } = engine
  const place = info.index === null ? undefined : catalog.placeOf(info.index)
  const table = info.table === null ? place?.table : catalog.tableById(info.table)
  return {
    transaction: info.owner.id,
    table: info.object ?? table?.name ?? '',
    index: place === undefined ? undefined : (place.index?.definition.name ?? 'PRIMARY'),
    ...(info.key === null || place === undefined
      ? { key: undefined, primaryKey: undefined }
      : describeKey(place.table, place.index, info.key)),
    supremum: info.supremum,
    mode: info.mode,
    kind: info.kind,
    status: info.status,
    blockedBy: info.blockedBy.map((owner) => owner.id),
  }
}

function describeKey(table: TableStore, index: IndexStore | undefined, key: Uint8Array): Pick<Lock, 'key' | 'primaryKey'> {
  if (index === undefined) return { key: decodeTableKey(table, key, 0, key.length), primaryKey: undefined }
  const length = index.paths.lengthOf(key)
  const indexKey = index.definition.on.length === 1 ? decodeKey(key, 0, length) : decodeCompound(key, 0, length)
  return { key: indexKey, primaryKey: decodeTableKey(table, key, length, key.length) }
}

/** The keys a tree has now within an interval: what a run of locks stands for. */
function* keysBetween(engine: Engine, tree: TreeId, { first, firstOpen, last, lastOpen }: KeyInterval): Generator<Uint8Array> {
  const place = engine.catalog.placeOf(tree)
  if (place === undefined) return
  const btree = place.index?.tree ?? place.table.clustered
  const cursor = new TreeCursor(btree)
  const key = new KeyBuffer()
  const lower = new Uint8Array(first.length + 8)
  lower.set(first)
  engine.pager.beginOperation()
  for (let more = cursor.seek(lower, first.length); more; more = cursor.next()) {
    key.length = cursor.copyKey(key.bytes)
    const found = key.toBytes()
    if (firstOpen && Buffer.compare(found, first) === 0) continue
    const order = Buffer.compare(found, last)
    if (order > 0 || (order === 0 && lastOpen)) return
    yield found
  }
}
