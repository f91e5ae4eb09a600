import { type Mutation, mutation } from './mutation.js'

const PAGER = 'src/storage/pager.ts'
const CHECKPOINT = 'src/storage/checkpoint.ts'
const ALLOCATOR = 'src/storage/block-allocator.ts'
const DATA_FILE = 'src/storage/data-file.ts'
const SEGMENT_WINDOW = 'src/wal/segment-window.ts'
const LOG_FORMAT = 'src/wal/log-format.ts'
const GROUP_COMMIT = 'src/wal/group-commit.ts'
const SUPPLY = 'src/wal/segment-supply.ts'
const OPEN_LOG = 'src/wal/open-log.ts'
const LOG_BUFFER = 'src/wal/log-buffer.ts'
const RECOVERY = 'src/txn/recovery.ts'
const DRIVER = 'src/txn/checkpoint-driver.ts'

/** What is not known to be whole is believed. */
export const CHECKSUMS: readonly Mutation[] = [
  mutation(
    'page-checksum',
    'the checksum of a page is not verified',
    PAGER,
    'if (checksum !== this.map.checksumOf(page)) return',
    'if (checksum === undefined) return',
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
    'if (bytes.readUInt32LE(Page.Size - 4) !== checksumOf(bytes)) return undefined',
    '',
  ),
  mutation(
    'frame-checksum',
    'the checksum of a log frame is not verified',
    SEGMENT_WINDOW,
    "if (checksum !== this.#view.getUint32(at + Frame.Checksum, true)) return 'the checksum of a frame does not match'",
    'void checksum',
  ),
  mutation(
    'recycled-frames',
    "frames of a recycled segment's earlier life are valid",
    LOG_FORMAT,
    '(Number.parseInt(epoch.slice(0, 8), 16) + Math.imul(sequence % 0x1_0000_0000, 0x9e37_79b1)) >>> 0',
    'Number.parseInt(epoch.slice(0, 8), 16) >>> 0',
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
export const SYNCS: readonly Mutation[] = [
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
    'yield new WritesLanded(pager)\n    yield new SyncFile(pager)',
    'yield new WritesLanded(pager)',
  ),
  mutation(
    'cleaned-pages-landed',
    'pages that the page cleaner writes are not waited for by the checkpoint that needs them',
    CHECKPOINT,
    'yield new WritesLanded(pager)\n',
    '',
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
    'early-witness',
    'the superblock before bears witness to a checkpoint before its own superblock is on disk',
    CHECKPOINT,
    'pager.file.writeSync(superblock, 0, Page.Size, (number & 1) * Page.Size)',
    'pager.file.writeSync(encodeWitness(this.identity.databaseId, number), 0, Witness.Size, ((number - 1) & 1) * Page.Size + Witness.Offset)\n    pager.file.writeSync(superblock, 0, Page.Size, (number & 1) * Page.Size)',
  ),
  mutation(
    'early-mark',
    'the number of a checkpoint is left beside the log before its superblock is on disk',
    DRIVER,
    'this.#frozenAt = log.position',
    'this.#frozenAt = log.position\n    engine.wal?.mark(engine.pager.completed + 1)',
  ),
  mutation(
    'mark-before-frame',
    'the number of a checkpoint is left beside the log before the log itself says on disk that it is complete',
    DRIVER,
    'position ??= this.#appendComplete(wal, number)',
    'position ??= this.#appendComplete(wal, number)\n      wal.mark(number)',
  ),
  mutation(
    'complete-frame',
    'blocks and log are released before the word that the checkpoint is complete is on disk',
    DRIVER,
    'async () => untilDurable(wal, append()).runAsync(),',
    'async () => void append(),',
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
    {
      file: RECOVERY,
      find: 'const wal = found.startNew(end)\n    fileSystem.syncDirectorySync(parentOf(options.logDirectory))',
      replace: 'const wal = found.startNew(end)',
    },
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
export const CHECKPOINTS: readonly Mutation[] = [
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
    'if (isComplete(found, newest)) return newest\n  mustReach(found, older, newest)\n',
    'if (isComplete(found, newest)) return older\n',
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
