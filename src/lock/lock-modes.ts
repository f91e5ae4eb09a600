/**
 * Lock modes and kinds, and the two questions asked of them: does a request conflict with a lock of another owner, and
 * does a lock already held satisfy a request. Everything else in this folder works with the tables made here.
 *
 * Record locks are named by one small integer, `RecordLock` = kind × 2 + mode, so that what one owner holds on one
 * record is a bit mask (`1 << RecordLock`) and a check is one AND. Rules (InnoDB's; numbered for tests and docs):
 *
 * M1  S is compatible with S, nothing else is compatible. Locks of one owner never conflict with each other.
 * M2  A gap lock waits for nothing: gap locks only inhibit inserts, and different owners may hold conflicting ones.
 *     (gaps/SER/gap/both-hold-gap-x)
 * M3  A record or next-key request does not care about gap locks.
 * M4  An insert intention waits for gap and next-key locks, never for record-only ones.
 * M5  Nothing ever waits for an insert intention, granted or waiting.
 * M6  A next-key lock is a record lock and a gap lock. Holding both parts satisfies a next-key request; holding the
 *     record part leaves only the gap part to be taken, which by M2 never waits.
 * M7  The supremum has no record: what is locked there is always the gap.
 */
export const enum LockMode {
  S = 0,
  X = 1,
}

export const enum LockKind {
  Record = 0,
  Gap = 1,
  NextKey = 2,
  InsertIntention = 3,
}

/** A record lock's kind × 2 + mode. There is no S insert intention. */
export const enum RecordLock {
  SRecord = 0,
  XRecord = 1,
  SGap = 2,
  XGap = 3,
  SNextKey = 4,
  XNextKey = 5,
  XInsertIntention = 7,
}

export function recordLock(mode: LockMode, kind: LockKind): RecordLock {
  return ((kind << 1) | mode) as RecordLock
}

/** The bits of `RecordLock`s in a mask: 1 << RecordLock. */
export const enum RecordBits {
  SRecord = 0b1,
  XRecord = 0b10,
  SGap = 0b100,
  XGap = 0b1000,
  SNextKey = 0b10000,
  XNextKey = 0b100000,
  InsertIntention = 0b10000000,
  /** Locks that include the record in S, in X; the gap in S, in X. */
  OnRecordS = SRecord | SNextKey,
  OnRecordX = XRecord | XNextKey,
  OnGapS = SGap | SNextKey,
  OnGapX = XGap | XNextKey,
}

/** Number of values of `RecordLock`, for tables indexed by it. */
export const RECORD_LOCKS = 8

/** Requests wait for three different sets of locks; requests of one class wait for the same. */
export const enum RequestClass {
  SharedRecord = 0,
  ExclusiveRecord = 1,
  Insert = 2,
}

/** CONFLICTS[request]: mask of the locks, granted or waiting, that make it wait when another owner has them. */
export const CONFLICTS: Uint8Array = new Uint8Array(RECORD_LOCKS)
/** SATISFIES[request]: mask of the locks any one of which, held by the requester, makes the request superfluous. */
export const SATISFIES: Uint8Array = new Uint8Array(RECORD_LOCKS)
/** CLASS[request] for requests that can wait; gap locks never do. */
export const CLASS: Uint8Array = new Uint8Array(RECORD_LOCKS)

const SHARED_CONFLICTS = RecordBits.OnRecordX // M1, M3
const EXCLUSIVE_CONFLICTS = RecordBits.OnRecordS | RecordBits.OnRecordX
const INSERT_CONFLICTS = RecordBits.OnGapS | RecordBits.OnGapX // M4

/** CLASS_CONFLICTS[class]: the same as CONFLICTS of any request of the class. */
export const CLASS_CONFLICTS: Uint8Array = Uint8Array.of(SHARED_CONFLICTS, EXCLUSIVE_CONFLICTS, INSERT_CONFLICTS)

CONFLICTS[RecordLock.SRecord] = CONFLICTS[RecordLock.SNextKey] = SHARED_CONFLICTS
CONFLICTS[RecordLock.XRecord] = CONFLICTS[RecordLock.XNextKey] = EXCLUSIVE_CONFLICTS
CONFLICTS[RecordLock.XInsertIntention] = INSERT_CONFLICTS

SATISFIES[RecordLock.SRecord] = RecordBits.OnRecordS | RecordBits.OnRecordX
SATISFIES[RecordLock.XRecord] = RecordBits.OnRecordX
SATISFIES[RecordLock.SGap] = RecordBits.OnGapS | RecordBits.OnGapX
SATISFIES[RecordLock.XGap] = RecordBits.OnGapX
SATISFIES[RecordLock.SNextKey] = RecordBits.SNextKey | RecordBits.XNextKey
SATISFIES[RecordLock.XNextKey] = RecordBits.XNextKey

CLASS[RecordLock.SRecord] = CLASS[RecordLock.SNextKey] = RequestClass.SharedRecord
CLASS[RecordLock.XRecord] = CLASS[RecordLock.XNextKey] = RequestClass.ExclusiveRecord
CLASS[RecordLock.XInsertIntention] = RequestClass.Insert

/** CLASS_MEMBERS[class]: mask of the requests in it. */
export const CLASS_MEMBERS: Uint8Array = Uint8Array.of(
  RecordBits.SRecord | RecordBits.SNextKey,
  RecordBits.XRecord | RecordBits.XNextKey,
  RecordBits.InsertIntention,
)

/** The waiting requests that a request for `lock` may pass, its owner holding `held` on the record (rule Q3). */
export function bypassed(lock: RecordLock, held: number): number {
  const isExclusiveRecord = lock === RecordLock.XRecord || lock === RecordLock.XNextKey
  return isExclusiveRecord && (held & SATISFIES[RecordLock.SRecord]) !== 0 ? RecordBits.OnRecordX : 0
}

export function isNextKey(lock: RecordLock): boolean {
  return lock >> 1 === LockKind.NextKey
}

/** The record part of a next-key lock. */
export function recordPartOf(lock: RecordLock): RecordLock {
  return (lock & 1) as RecordLock
}

/** The gap part of a next-key lock. */
export function gapPartOf(lock: RecordLock): RecordLock {
  return ((LockKind.Gap << 1) | (lock & 1)) as RecordLock
}

/** What a mask of locks on an entry leaves as gap locks: of the parts that lock the gap, mode by mode. */
export function gapPart(mask: number): number {
  return ((mask & RecordBits.OnGapS) !== 0 ? RecordBits.SGap : 0) | ((mask & RecordBits.OnGapX) !== 0 ? RecordBits.XGap : 0)
}

/** The mask with every lock turned into a gap lock of its mode: what the successor of a removed entry inherits. */
export function asGap(mask: number): number {
  const shared = RecordBits.OnRecordS | RecordBits.OnGapS
  const exclusive = RecordBits.OnRecordX | RecordBits.OnGapX
  return ((mask & shared) !== 0 ? RecordBits.SGap : 0) | ((mask & exclusive) !== 0 ? RecordBits.XGap : 0)
}

/** Table locks, in InnoDB's order. A table's holders have masks of `1 << TableLock`. */
export const enum TableLock {
  IS = 0,
  IX = 1,
  S = 2,
  X = 3,
  AutoInc = 4,
}

export const TABLE_LOCKS = 5

const IS = 1 << TableLock.IS
const IX = 1 << TableLock.IX
const S = 1 << TableLock.S
const X = 1 << TableLock.X
const AI = 1 << TableLock.AutoInc

/** TABLE_CONFLICTS[request]: mask of the table locks of others that make it wait. Symmetric. */
export const TABLE_CONFLICTS: Uint8Array = Uint8Array.of(X, S | X, IX | X | AI, IS | IX | S | X | AI, S | X | AI)
/** TABLE_SATISFIES[request]: mask of the table locks any one of which makes the request superfluous. */
export const TABLE_SATISFIES: Uint8Array = Uint8Array.of(IS | IX | S | X, IX | X, S | X, X, X | AI)

export type LockModeName = 'S' | 'X' | 'IS' | 'IX' | 'AUTO-INC'
export type LockKindName = 'record' | 'gap' | 'next-key' | 'insert-intention' | 'table' | 'metadata' | 'scope'

const KIND_NAMES: readonly LockKindName[] = ['record', 'gap', 'next-key', 'insert-intention']
const TABLE_MODE_NAMES: readonly LockModeName[] = ['IS', 'IX', 'S', 'X', 'AUTO-INC']

export function recordModeName(lock: RecordLock): LockModeName {
  return (lock & 1) === LockMode.X ? 'X' : 'S'
}

export function recordKindName(lock: RecordLock): LockKindName {
  return KIND_NAMES[lock >> 1]
}

export function tableModeName(lock: TableLock): LockModeName {
  return TABLE_MODE_NAMES[lock]
}
