import { type Mutation, mutation } from './mutation.js'

const ENGINE = 'src/txn/engine.ts'
const WRITER = 'src/txn/row-writer.ts'
const ROLLBACK = 'src/txn/rollback.ts'
const REPLAY = 'src/txn/replay.ts'
const RECOVERY = 'src/txn/recovery.ts'
const PURGE = 'src/txn/purge.ts'
const SYSTEM = 'src/txn/trx-system.ts'
const ROW_LOCKS = 'src/txn/row-locks.ts'

/** What replay brings back. */
export const REDO: readonly Mutation[] = [
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
export const UNDO: readonly Mutation[] = [
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
    'tree.insertAtHit(entry.bytes, entry.length, this.#small, 0, Entry.Size)\n',
    '',
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

/** What the suite has found in this engine: each fault put back. */
export const ONCE_FOUND: readonly Mutation[] = [
  mutation(
    'once-key-length',
    'replay stores the key length of the index entry it removes with the one it adds',
    REPLAY,
    '      if (old !== undefined) index.encodeEntry(old, key, this.#oldEntry)\n',
    '',
    {
      file: REPLAY,
      find: 'index.encodeEntry(row, key, this.#entry)\n',
      replace: 'index.encodeEntry(row, key, this.#entry)\n      if (old !== undefined) index.encodeEntry(old, key, this.#oldEntry)\n',
    },
  ),
  mutation(
    'once-raw-error',
    'checkpoint() and compact() reject with the error of the operating system',
    'src/storage/checkpoint.ts',
    'yield* this.#steps(info)\n    } catch (error) {',
    'yield* this.#steps(info)\n    } catch (error) {\n      this.#pager.poison(error, "a checkpoint")\n      if (error !== undefined) throw error',
  ),
  mutation(
    'once-unmoved-counter',
    'a row with a larger auto-increment key does not move the counter',
    'src/txn/auto-increment.ts',
    'table.restartCounter = key + 1\n',
    '',
  ),
  mutation(
    'once-ended-while-waiting',
    'a statement goes on after its transaction was ended while it waited',
    ROW_LOCKS,
    'if (trx !== undefined && trx.state !== TrxState.Active)',
    'if (trx !== undefined && trx.state === undefined)',
  ),
  mutation(
    'once-lost-undo-page',
    'an undo page that cannot be read when it is leased is lost',
    'src/txn/undo-log.ts',
    'const spare = this.#partFilled.at(-1)\n',
    'const spare = this.#partFilled.pop()\n',
    { file: 'src/txn/undo-log.ts', find: 'if (spare !== undefined) this.#partFilled.pop()\n', replace: '\n' },
  ),
  mutation(
    'once-raw-directory-error',
    'a directory that cannot be made is reported in the words of the operating system',
    'src/directory.ts',
    'fileSystem.makeDirectory(path)\n  } catch (cause) {\n    throw asNextkeyError(cause, path)',
    'fileSystem.makeDirectory(path)\n  } catch (cause) {\n    throw cause',
  ),
  mutation(
    'once-locks-of-the-undead',
    'the locks of a transaction that cannot be undone go to whoever waits for them',
    ENGINE,
    'if (trx.hasLog && failure !== undefined) this.rowLocks.close(() => failure)',
    'void failure',
  ),
  mutation(
    'once-counter-of-another',
    'a rollback does not wait for its counter when another transaction has logged it',
    ENGINE,
    'const logged = this.#logCounters()\n      trx.commitPosition',
    'const logged = this.#logCounters()\n      if (logged) trx.commitPosition',
  ),
]
