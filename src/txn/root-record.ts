import { assert } from '../base/assert.js'
import { type CommitNumber, NO_PAGE, type PageId, type TrxId } from '../base/ids.js'
import { Page, PageType } from '../storage/page-format.js'
import type { PageStore } from '../storage/page-store.js'
import type { UndoLogState } from './undo-log.js'

/**
 * The root record: the state of the transaction system in a checkpoint, beside what trees and undo pages hold. It is written anew,
 * just before each freeze, as a chain of pages (PageType.Root, linked by `Right`), and the superblock points at the first.
 *
 *   u16 version · f64 next trx id · f64 next commit number · u32 next tree id · u32 next table id · u32 meta tree root
 *   u32 history head page · u32 offset
 *   u32 count, then per active transaction: f64 id · u32 first page · u32 first offset · u32 last page · u32 last offset · u8 state
 *   u32 count, then per part-filled undo page: u32 page
 *   state: 0 active, 1 committed by this checkpoint
 */
export interface RootRecord {
  nextTrxId: TrxId
  nextCommitNumber: CommitNumber
  nextTreeId: number
  nextTableId: number
  metaRoot: PageId
  historyPage: PageId
  historyOffset: number
  transactions: readonly RootTransaction[]
  partFilledUndo: readonly PageId[]
}

export interface RootTransaction extends UndoLogState {
  committed: boolean
}

/** Writes the record to a new chain; returns its first page. */
export function writeRootRecord(store: PageStore, record: RootRecord): PageId {
  const bytes = encode(record)
  let next: PageId = NO_PAGE
  // Backwards, so that each page can point at the one after it.
  for (let part = Math.ceil(bytes.length / PAGE_BYTES) - 1; part >= 0; part--) {
    store.beginOperation()
    const page = store.allocate(PageType.Root, 0 as never)
    const base = store.fetch(page)
    const from = part * PAGE_BYTES
    const length = Math.min(PAGE_BYTES, bytes.length - from)
    store.u8.set(bytes.subarray(from, from + length), base + Page.HeaderSize)
    store.u16[(base + Page.Count) >> 1] = length
    store.u32[(base + Page.Right) >> 2] = next
    next = page
  }
  return next
}

export function readRootRecord(store: PageStore, first: PageId): RootRecord {
  const parts: Uint8Array[] = []
  for (let page = first; page !== NO_PAGE; ) {
    store.beginOperation()
    const base = store.fetch(page)
    assert(store.u8[base + Page.Type] === PageType.Root, `page ${page} is not part of a root record`)
    const start = base + Page.HeaderSize
    parts.push(store.u8.slice(start, start + store.u16[(base + Page.Count) >> 1]))
    page = store.u32[(base + Page.Right) >> 2] as PageId
  }
  return parseRootRecord(Buffer.concat(parts))
}

/** Gives a chain back. */
export function freeRootRecord(store: PageStore, first: PageId): void {
  for (let page = first; page !== NO_PAGE; ) {
    store.beginOperation()
    const next = store.u32[(store.fetch(page) + Page.Right) >> 2] as PageId
    store.free(page)
    page = next
  }
}

/** The pages of a chain; for checks. */
export function rootRecordPages(store: PageStore, first: PageId): PageId[] {
  const pages: PageId[] = []
  for (let page = first; page !== NO_PAGE; ) {
    pages.push(page)
    store.beginOperation()
    page = store.u32[(store.fetch(page) + Page.Right) >> 2] as PageId
  }
  return pages
}

function encode(record: RootRecord): Buffer {
  const out = Buffer.alloc(FIXED_BYTES + record.transactions.length * TRANSACTION_BYTES + 4 + record.partFilledUndo.length * 4)
  let at = out.writeUInt16LE(VERSION, 0)
  at = out.writeDoubleLE(record.nextTrxId, at)
  at = out.writeDoubleLE(record.nextCommitNumber, at)
  at = out.writeUInt32LE(record.nextTreeId, at)
  at = out.writeUInt32LE(record.nextTableId, at)
  at = out.writeUInt32LE(record.metaRoot, at)
  at = out.writeUInt32LE(record.historyPage, at)
  at = out.writeUInt32LE(record.historyOffset, at)
  at = out.writeUInt32LE(record.transactions.length, at)
  for (const trx of record.transactions) {
    at = out.writeDoubleLE(trx.trxId, at)
    at = out.writeUInt32LE(trx.firstPage, at)
    at = out.writeUInt32LE(trx.firstOffset, at)
    at = out.writeUInt32LE(trx.lastPage, at)
    at = out.writeUInt32LE(trx.lastOffset, at)
    at = out.writeUInt8(trx.committed ? 1 : 0, at)
  }
  at = out.writeUInt32LE(record.partFilledUndo.length, at)
  for (const page of record.partFilledUndo) at = out.writeUInt32LE(page, at)
  assert(at === out.length, 'the root record has another length than was worked out')
  return out
}

/** The record from the bytes of its pages, put together. */
export function parseRootRecord(bytes: Buffer): RootRecord {
  assert(bytes.readUInt16LE(0) === VERSION, 'the root record has an unknown version')
  const transactions: RootTransaction[] = []
  let at = FIXED_BYTES
  for (let left = bytes.readUInt32LE(FIXED_BYTES - 4); left > 0; left--) {
    transactions.push({
      trxId: bytes.readDoubleLE(at) as TrxId,
      firstPage: bytes.readUInt32LE(at + 8) as PageId,
      firstOffset: bytes.readUInt32LE(at + 12),
      lastPage: bytes.readUInt32LE(at + 16) as PageId,
      lastOffset: bytes.readUInt32LE(at + 20),
      committed: bytes.readUInt8(at + 24) === 1,
    })
    at += TRANSACTION_BYTES
  }
  const partFilledUndo: PageId[] = []
  const count = bytes.readUInt32LE(at)
  for (let left = count; left > 0; left--) partFilledUndo.push(bytes.readUInt32LE((at += 4)) as PageId)
  return {
    nextTrxId: bytes.readDoubleLE(2) as TrxId,
    nextCommitNumber: bytes.readDoubleLE(10) as CommitNumber,
    nextTreeId: bytes.readUInt32LE(18),
    nextTableId: bytes.readUInt32LE(22),
    metaRoot: bytes.readUInt32LE(26) as PageId,
    historyPage: bytes.readUInt32LE(30) as PageId,
    historyOffset: bytes.readUInt32LE(34),
    transactions,
    partFilledUndo,
  }
}

const VERSION = 1
const FIXED_BYTES = 42
const TRANSACTION_BYTES = 25
const PAGE_BYTES = Page.Size - Page.HeaderSize
