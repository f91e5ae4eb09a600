import { listMetadataLocks, type MetadataLockInfo } from './metadata.js'
import { Page } from './storage/page-format.js'
import type { Engine } from './txn/engine.js'
import type { LogStatus } from './wal/write-ahead-log.js'

/** What `db.status()` tells; `String(status)` reads well in a terminal. Sizes in bytes, times in milliseconds. */
export interface Status {
  /** 'disk full': changes are refused until there is space. */
  state: 'open' | 'read-only' | 'disk full' | 'closed to writes'
  /** Why the database takes no writes. */
  failure: string | undefined
  cache: { size: number; used: number; misses: number; evictedDirty: number; pageMapMemory: number }
  file: { size: number; pages: number; freeBlocks: number; waitingBlocks: number; blocksWritten: number }
  log: LogStatus | undefined
  checkpoint: { number: number; running: boolean; logBytesSince: number }
  transactions: { open: number; active: number; nextId: number }
  /** Requests that wait; those for metadata locks one by one. */
  locks: { waiting: number; metadataWaits: MetadataLockInfo[] }
  purge: { historyLength: number; views: number; oldestView: { age: number; madeBy: string | undefined } | undefined }
  toString(): string
}

export function describeStatus(engine: Engine, open: number): Status {
  const { pager, system, wal, checkpoints, options } = engine
  const { allocator, map, pool, counters } = pager
  const oldest = system.oldestView
  const failure = engine.failure ?? pager.space.full
  const { waiting } = engine.rowLocks.locks.graph
  return {
    state: options.readOnly ? 'read-only' : stateOf(engine),
    failure: failure?.message,
    cache: {
      size: pool.capacity * Page.Size,
      used: pool.used * Page.Size,
      misses: counters.misses,
      evictedDirty: counters.evictedDirty,
      pageMapMemory: map.memory + pool.frameOf.byteLength,
    },
    file: {
      size: allocator.total * Page.Size,
      pages: map.pageCount,
      freeBlocks: allocator.total - allocator.usedCount,
      waitingBlocks: allocator.waitingCount,
      blocksWritten: counters.blocksWritten,
    },
    log: wal?.status(),
    checkpoint: { number: pager.completed, running: checkpoints.running, logBytesSince: checkpoints.logBytes },
    transactions: { open, active: system.active.size, nextId: system.nextTrxId },
    locks: { waiting, metadataWaits: waiting === 0 ? [] : listMetadataLocks(engine).filter(({ status }) => status === 'waiting') },
    purge: {
      historyLength: system.history.length,
      views: system.views.size,
      oldestView: oldest === undefined ? undefined : { age: engine.environment.clock.now() - oldest.madeAt, madeBy: oldest.madeBy },
    },
    toString() {
      return format(this)
    },
  }
}

function stateOf({ failure, pager }: Engine): Status['state'] {
  if (failure !== undefined) return 'closed to writes'
  return pager.space.isFull ? 'disk full' : 'open'
}

function format({ state, failure, cache, file, log, checkpoint, transactions, locks, purge }: Status): string {
  const lines = [
    '-------------- NEXTKEY STATUS --------------',
    `state            ${state}${failure === undefined ? '' : `: ${failure}`}`,
    `cache            ${mebibytes(cache.used)} of ${mebibytes(cache.size)} used, ${cache.misses} misses, ${cache.evictedDirty} dirty pages evicted`,
    `data file        ${mebibytes(file.size)}, ${file.pages} pages, ${file.freeBlocks} blocks free, ${file.waitingBlocks} waiting for a checkpoint`,
    `checkpoint       ${checkpoint.number}${checkpoint.running ? ', the next under way' : ''}, ${mebibytes(checkpoint.logBytesSince)} of log since`,
    `transactions     ${transactions.open} open, ${transactions.active} have written, next id ${transactions.nextId}`,
    `locks            ${locks.waiting} waiting, ${locks.metadataWaits.length} of them for metadata locks`,
    `purge            history list length ${purge.historyLength}, ${purge.views} read views`,
  ]
  if (log !== undefined)
    lines.splice(
      5,
      0,
      `log              at ${log.end}, durable through ${log.durableThrough}, ${log.files} files of ${mebibytes(log.totalSize)}`,
    )
  if (purge.oldestView !== undefined) {
    lines.push(
      `oldest view      ${Math.round(purge.oldestView.age)} ms old${purge.oldestView.madeBy === undefined ? '' : `, made ${purge.oldestView.madeBy}`}`,
    )
  }
  for (const { holder, mode, kind, object, blockedBy } of locks.metadataWaits.slice(0, MOST_WAITS))
    lines.push(
      `waiting          ${holder} for ${mode} on ${kind === 'table' ? `table ${object}` : object}, held back by ${blockedBy.join(', ')}`,
    )
  return lines.join('\n')
}

/** Metadata waits that are listed one by one. */
const MOST_WAITS = 10

function mebibytes(bytes: number): string {
  return `${(bytes / 2 ** 20).toFixed(1)} MiB`
}
