/** A place where the engine is broken on purpose: the text there, which must occur once in the file, and what stands in its place. */
export interface Edit {
  readonly file: string
  readonly find: string
  readonly replace: string
}

/** One fault that the crash suite must find. */
export interface Mutation {
  readonly name: string
  readonly breaks: string
  readonly edits: readonly Edit[]
}

function mutation(name: string, breaks: string, file: string, find: string, replace: string, ...more: Edit[]): Mutation {
  return { name, breaks, edits: [{ file, find, replace }, ...more] }
}

const PAGER = 'src/storage/pager.ts'
const CHECKPOINT = 'src/storage/checkpoint.ts'
const ALLOCATOR = 'src/storage/block-allocator.ts'
const DATA_FILE = 'src/storage/data-file.ts'
const LOG_READER = 'src/wal/log-reader.ts'
const LOG_FORMAT = 'src/wal/log-format.ts'
const GROUP_COMMIT = 'src/wal/group-commit.ts'
const SUPPLY = 'src/wal/segment-supply.ts'
const OPEN_LOG = 'src/wal/open-log.ts'
const LOG_BUFFER = 'src/wal/log-buffer.ts'
const ENGINE = 'src/txn/engine.ts'
const WRITER = 'src/txn/row-writer.ts'
const ROLLBACK = 'src/txn/rollback.ts'
const REPLAY = 'src/txn/replay.ts'
const RECOVERY = 'src/txn/recovery.ts'
const PURGE = 'src/txn/purge.ts'
const DRIVER = 'src/txn/checkpoint-driver.ts'
const SYSTEM = 'src/txn/trx-system.ts'

/** What is not known to be whole is believed. */
const CHECKSUMS: readonly Mutation[] = [
  mutation(
    'page-checksum',
    'the checksum of a page is not verified',
    PAGER,
    'if (checksum !== this.map.checksumOf(page)) throw',
    'if (checksum === undefined) throw',
  ),
  mutation(
    'map-checksum',
    'the checksum of a piece of the page map is not verified',
    DATA_FILE,
    'if (got === Page.Size && (crc32(bytes, 0, Page.Size, 0) | 0) === (reference.checksum | 0)) return bytes',
    'if (got === Page.Size) return bytes',
  ),
  mutation(
    'superblock-checksum',
    'the checksum of a superblock is not verified',
    'src/storage/superblock.ts',
    'if (bytes.readUInt32LE(Page.Size - 4) !== crc32(bytes, 0, Page.Size - 4, 0)) return undefined',
    '',
  ),
  mutation(
    'frame-checksum',
    'the checksum of a log frame is not verified',
    LOG_READER,
    "if (checksum !== this.#view.getUint32(at + Frame.Checksum, true)) return 'the checksum of a frame does not match'",
    'void checksum',
  ),
  mutation(
    'recycled-frames',
    "frames of a recycled segment's earlier life are valid",
    LOG_FORMAT,
    '(Number.parseInt(header.epoch.slice(0, 8), 16) + Math.imul(header.sequence % 0x1_0000_0000, 0x9e37_79b1)) >>> 0',
    'Number.parseInt(header.epoch.slice(0, 8), 16) >>> 0',
  ),
  mutation(
    'durable-through',
    'a log frame claims that all that was written before it is on disk',
    LOG_BUFFER,
    'view.setUint32(at + Frame.Lag, this.#written - this.#durable + at, true)',
    'view.setUint32(at + Frame.Lag, 0, true)',
  ),
]

/** Something is relied on that is not on disk. */
const SYNCS: readonly Mutation[] = [
  mutation(
    'commit-sync',
    'a commit does not sync the log',
    GROUP_COMMIT,
    'if (segments.length === 1) await segments[0].sync()\n      else await Promise.all(segments.map((segment) => segment.sync()))',
    '',
  ),
  mutation('commit-sync-inline', 'a synchronous commit does not sync the log', GROUP_COMMIT, 'segment.syncSync()', ''),
  mutation(
    'early-acknowledgement',
    'a commit is acknowledged before the sync',
    GROUP_COMMIT,
    'this.#current = this.#gathering\n    this.#gathering = undefined\n    this.#idle',
    'this.#current = this.#gathering\n    this.#gathering = undefined\n    this.#current?.resolve()\n    this.#idle',
  ),
  mutation(
    'sync-under-way',
    'a commit that comes during a sync is acknowledged by it',
    GROUP_COMMIT,
    'if (position <= this.#target) {',
    'if (this.#target >= 0) {',
  ),
  mutation(
    'pages-sync',
    'pages and map are not synced before the superblock is written',
    CHECKPOINT,
    'yield* this.#writeMap()\n    yield new SyncFile(pager)',
    'yield* this.#writeMap()',
  ),
  mutation(
    'log-before-superblock',
    'the superblock is written before the log it begins with is on disk',
    CHECKPOINT,
    'yield info.logDurable\n',
    '',
  ),
  mutation(
    'superblock-sync',
    'a new superblock is not synced',
    CHECKPOINT,
    '(number & 1) * Page.Size)\n    yield new SyncFile(pager)',
    '(number & 1) * Page.Size)',
  ),
  mutation(
    'complete-frame',
    'blocks and log are released before the log says that the checkpoint is complete',
    CHECKPOINT,
    'yield info.markComplete(number)\n    pager.completeCheckpoint(number)',
    'pager.completeCheckpoint(number)\n    yield info.markComplete(number)',
  ),
  mutation(
    'segment-directory',
    'the directory is not synced after a segment was made',
    SUPPLY,
    'const spare = blank.finish()\n      await this.#fileSystem.syncDirectory(this.#directory)',
    'const spare = blank.finish()',
    {
      file: SUPPLY,
      find: 'const spare = blank.finish()\n      this.#fileSystem.syncDirectorySync(this.#directory)',
      replace: 'const spare = blank.finish()',
    },
  ),
  mutation(
    'segment-header',
    'frames are written to a segment whose header is not on disk',
    SUPPLY,
    '    if (segment.ready) return\n    try {\n      segment.syncSync()',
    '    if (segment.ready) return\n    try {',
  ),
  mutation('segment-blank', 'a new segment gets its name before its zeros are on disk', SUPPLY, 'await blank.file.sync()\n', '', {
    file: SUPPLY,
    find: 'blank.file.syncSync()\n',
    replace: '',
  }),
  mutation(
    'database-name',
    'the directory is not synced after the data file got its name',
    RECOVERY,
    'fileSystem.syncDirectorySync(directory)',
    '',
  ),
  mutation(
    'log-directory-name',
    "the log's own name is not on disk before the data file has its own",
    RECOVERY,
    'fileSystem.syncDirectorySync(parentOf(logDirectory))\n',
    '\n',
    { file: OPEN_LOG, find: 'fileSystem.syncDirectorySync(dirname(directory))', replace: '' },
  ),
  mutation(
    'trusted-cache',
    'recovery trusts that the log it has read is on disk',
    OPEN_LOG,
    'if (this.#reader === undefined || this.#durable) return',
    'if (position >= 0) return',
  ),
]

/** The order in which a checkpoint, and the opening after it, do things. */
const CHECKPOINTS: readonly Mutation[] = [
  mutation(
    'early-reuse',
    'a freed block is used again before the checkpoint without it is on disk',
    ALLOCATOR,
    'if ((this.#young[block >>> 5] & bit) !== 0) this.#release(block)',
    'if (bit !== 0) this.#release(block)',
  ),
  mutation(
    'early-reuse-map',
    "a block of the old map is used again before the new map's checkpoint is on disk",
    ALLOCATOR,
    'this.#freedBeforeFreeze.push(block)',
    'this.#release(block)',
  ),
  mutation('young-after-freeze', 'a block of the frozen map still counts as young', ALLOCATOR, 'this.#young.fill(0)', ''),
  mutation(
    'frozen-image',
    'a frozen page is changed before it was written',
    PAGER,
    'if (state[frame] === FrameState.Frozen) this.#writeFrozenWith(frame)\n    state[frame]',
    'state[frame]',
  ),
  mutation(
    'evicted-to-frozen-map',
    'a page evicted during a checkpoint goes to the map of that checkpoint',
    PAGER,
    'if (frozen) map.setFrozen(page',
    'if (frozen || this.#frozen !== undefined) map.setFrozen(page',
  ),
  mutation(
    'incomplete-superblock',
    "the newest superblock is taken without the log's word that it is complete",
    RECOVERY,
    'if (isComplete(found, newest)) return newest',
    'if (isComplete(found, newest) || newest.checkpoint > 0) return newest',
  ),
  mutation(
    'older-superblock',
    'the older superblock is taken although the newer one is complete',
    RECOVERY,
    'if (isComplete(found, newest)) return newest\n  return older',
    'return older',
  ),
  mutation(
    'doubtful-blocks',
    'opening writes over what the older checkpoint refers to',
    DATA_FILE,
    'if (older !== undefined) for (const block of blocksOf(file, older, chunks)) pager.allocator.reserveUntilCheckpoint(block)',
    'if (older !== undefined) blocksOf(file, older, chunks)',
  ),
  mutation(
    'early-release',
    'log is released that the checkpoint does not hold',
    DRIVER,
    'engine.wal?.release(log.position)',
    'engine.wal?.release(engine.wal.end)',
  ),
  mutation(
    'big-commit',
    'a checkpoint does not say which transactions it commits',
    DRIVER,
    'committed: trx.state === TrxState.Committing',
    'committed: false',
  ),
  mutation(
    'history',
    'a checkpoint forgets the history that purge has not reached',
    DRIVER,
    'historyPage: history.length === 0 ?',
    'historyPage: history.length >= 0 ?',
  ),
  mutation(
    'undo-pages',
    'a checkpoint forgets part-filled undo pages',
    DRIVER,
    'partFilledUndo: system.undo.partFilled',
    'partFilledUndo: []',
  ),
]

/** What replay brings back. */
const REDO: readonly Mutation[] = [
  mutation(
    'replay-entry',
    'replay skips an index entry that it should add',
    REPLAY,
    '      this.#putEntry(index)\n',
    '      if (index !== table.indexes[1]) this.#putEntry(index)\n',
  ),
  mutation(
    'replay-old-entry',
    'replay leaves the index entry of a row it deletes',
    REPLAY,
    'index.encodeEntry(old, key, this.#oldEntry)\n      this.#removeEntry(index)',
    'index.encodeEntry(old, key, this.#oldEntry)',
  ),
  mutation(
    'replay-chain',
    'replay does not free the overflow chain of a row it replaces',
    REPLAY,
    'if (chain !== NO_PAGE) freeOverflow(store, chain)',
    '',
  ),
  mutation(
    'late-structure',
    'the record of a structure comes after the first row that uses it',
    ENGINE,
    'wal.append(LogKind.Structure, record, 0, record.length)',
    'queueMicrotask(() => wal.append(LogKind.Structure, record, 0, record.length))',
  ),
  mutation(
    'no-structure',
    'the record of a structure is not written',
    ENGINE,
    'wal.append(LogKind.Structure, record, 0, record.length)',
    'void record',
  ),
  mutation(
    'no-counter',
    'the record of a counter is not written',
    ENGINE,
    'this.wal.append(LogKind.Counter, record, 0, record.length)',
    'void record',
  ),
  mutation(
    'counter-on-rollback',
    'a rollback does not log the counter',
    ENGINE,
    'const logged = this.#logCounters()\n',
    'const logged = false\n',
  ),
  mutation(
    'stored-counter',
    'a counter is not stored for checkpoints',
    ENGINE,
    'this.wal.append(LogKind.Counter, record, 0, record.length)\n        this.storeCounter(table)',
    'this.wal.append(LogKind.Counter, record, 0, record.length)',
  ),
  mutation(
    'redo-after-savepoint',
    'a partial rollback leaves the redo of what it undid',
    ROLLBACK,
    'trx.redo.cut(mark.redoLength)',
    'void mark.redoLength',
  ),
  mutation(
    'trx-ids',
    'transaction ids of the log are given out again',
    RECOVERY,
    'Math.max(system.nextTrxId, replay.highestTrxId + 1) as TrxId',
    'system.nextTrxId',
  ),
]

/** What rollback and purge do with the versions. */
const UNDO: readonly Mutation[] = [
  mutation(
    'undo-insert',
    'an insert has no undo record',
    WRITER,
    'this.#appendUndo(trx, UndoKind.Insert, table.id, key, NOTHING, 0, 0)',
    'this.#system.startWriting(trx)',
  ),
  mutation(
    'undo-update',
    'an update has no undo record',
    WRITER,
    'this.#appendUndo(trx, UndoKind.Update, table.id, key, this.#store.u8, tree.valueOffset, tree.valueOffset + tree.valueLength)',
    'this.#system.startWriting(trx)',
  ),
  mutation(
    'undo-delete',
    'a delete has no undo record',
    WRITER,
    'this.#appendUndo(trx, UndoKind.Mark, table.id, key, store.u8, at, at + Clustered.HeaderSize)',
    'this.#system.startWriting(trx)',
  ),
  mutation(
    'undo-entry-insert',
    'an index entry that is inserted has no undo record',
    WRITER,
    'this.#appendUndo(trx, UndoKind.EntryInsert, index.definition.tree, entry, NOTHING, 0, 0)',
    '',
  ),
  mutation(
    'undo-entry-mark',
    'an index entry that is marked has no undo record',
    WRITER,
    'this.#appendUndo(trx, UndoKind.EntryMark, index.definition.tree, entry, store.u8, at, at + Entry.Size)',
    '',
  ),
  mutation(
    'undo-entry-revive',
    'an index entry that is revived has no undo record',
    WRITER,
    'this.#appendUndo(trx, UndoKind.EntryRevive, index.definition.tree, entry, store.u8, at, at + Entry.Size)',
    '',
  ),
  mutation(
    'undo-chain',
    'an overflow chain has no undo record',
    WRITER,
    'this.#appendUndo(trx, UndoKind.Chain, firstExtent, EMPTY_KEY, NOTHING, 0, 0)',
    'void firstExtent',
  ),
  mutation(
    'no-entry',
    'an index entry is not written',
    WRITER,
    'tree.insertAtHit(entry.bytes, entry.length, this.#small, 0, Entry.Size)\n      this.#locks.inserted(tree, entry.bytes, entry.length)\n      return',
    'return',
  ),
  mutation(
    'no-entry-mark',
    'the entry of a deleted row is not marked',
    WRITER,
    'writeEntryHeader(store.u32, at, trx.trxId, Flag.Deleted, word >>> Entry.LengthShift)',
    'writeEntryHeader(store.u32, at, trx.trxId, 0, word >>> Entry.LengthShift)',
  ),
  mutation(
    'statement-rollback-entry',
    'the rollback of a statement forgets an index entry',
    ROLLBACK,
    'if (index !== undefined) this.#undoEntry(trx, index)',
    'if (index !== undefined && !this.#partial) this.#undoEntry(trx, index)',
  ),
  mutation(
    'recovery-rollback',
    'recovery does not roll back the transactions that were active',
    RECOVERY,
    'if (system.active.size > 0) {',
    'if (system.active.size < 0) {',
  ),
  mutation(
    'purged-restore',
    'a rollback restores what purge has passed already',
    ROLLBACK,
    'return deleter !== trx.trxId && this.#system.isCommitted(deleter) && !this.#system.history.has(deleter)',
    'return deleter < 0 && trx.trxId < 0',
  ),
  mutation(
    'purge-entry',
    'purge leaves index entries',
    PURGE,
    'if ((entryFlags(store.u32[(at + Entry.Word) >> 2]) & Flag.Deleted) !== 0) this.#rowLocks',
    'if ((entryFlags(store.u32[(at + Entry.Word) >> 2]) & Flag.Deleted) > 99) this.#rowLocks',
  ),
  mutation(
    'purge-reused-entry',
    'purge removes an entry that somebody has used since',
    PURGE,
    'if (trxIdAt(store.u32, at) !== this.#log.trxId) return\n',
    '',
  ),
  mutation(
    'purge-reused-row',
    'purge removes a row that somebody has deleted anew',
    PURGE,
    'if (store.u32[(at + Clustered.UndoPage) >> 2] !== page || store.u32[(at + Clustered.UndoOffset) >> 2] !== offset) return\n',
    'void page, offset\n',
  ),
  mutation(
    'purge-chain-twice',
    'purge does not strike out an overflow chain it has freed',
    PURGE,
    'store.u8[imageAt + Clustered.Flags] &= ~Flag.Overflow',
    'void imageAt',
  ),
  mutation(
    'purge-views',
    'purge removes what a view still needs',
    SYSTEM,
    'return this.views.first?.commitNumber ?? this.nextCommitNumber',
    'return this.nextCommitNumber',
  ),
]

export const MUTATIONS: readonly Mutation[] = [...CHECKSUMS, ...SYNCS, ...CHECKPOINTS, ...REDO, ...UNDO]
