/**
 * What is explored: programs for the correct engine, and for each bug a program in which it must be noticed.
 *
 * A program is small on purpose (B3: crash bugs show in workloads of three operations); it is every interleaving of it,
 * with every crash, that finds them.
 */
import type { Program } from './recovery-model.js'
import type { Bug } from './state.js'

/** A few seconds together: what every test run explores. */
export const PROGRAMS: Program[] = [
  {
    name: 'two writers meet on a row, one undoes a statement, a checkpoint runs',
    lives: [['a=1 b=1 commit', 'b=2 pop a=2 commit']],
    bounds: { checkpoints: 1 },
  },
  {
    name: 'dirty pages are evicted before, during and after a checkpoint',
    lives: [['a=1 b=1 commit']],
    bounds: { checkpoints: 1, evictions: 2 },
  },
  {
    name: 'a rollback is under way while a checkpoint runs, and recovery is cut short',
    lives: [['a=1 rollback', 'c=2 commit']],
    bounds: { checkpoints: 1, crashes: 2 },
  },
  {
    name: 'a deleted row is purged, overwritten, and rolled back to',
    lives: [['a= commit', 'a=2 a= rollback']],
    bounds: { checkpoints: 1 },
  },
  {
    name: 'a second checkpoint uses blocks again, and a superblock rots',
    lives: [['a=1 commit', 'b=2']],
    bounds: { checkpoints: 2, rot: 1 },
  },
  {
    name: 'evictions use blocks again after a second checkpoint, and a superblock rots',
    lives: [['a=1 commit']],
    bounds: { checkpoints: 2, evictions: 1, rot: 1 },
  },
  {
    name: 'a big transaction commits by checkpoint beside a small one, and a superblock rots',
    lives: [['a=1 b= big', 'b=2 commit']],
    bounds: { checkpoints: 1, crashes: 2, rot: 1 },
  },
  {
    name: 'commits follow a recovery from a log with a hole',
    lives: [['a=1 commit', 'b=2 commit'], ['a=1 commit']],
    bounds: { crashes: 2, kills: 1 },
  },
  {
    name: 'commits cross segments while a checkpoint runs',
    lives: [['a=1 commit', 'b=2 commit']],
    bounds: { checkpoints: 1 },
  },
  {
    name: 'a process is killed, and the power fails while it recovers',
    lives: [['a=1 commit']],
    bounds: { checkpoints: 1, crashes: 3, kills: 1 },
  },
  {
    name: 'a sync fails, the process is killed, the power fails while it recovers',
    lives: [['a=1 commit']],
    bounds: { checkpoints: 1, crashes: 3, kills: 1, failures: 1 },
  },
]

/** Millions of states, minutes, a few GB: NEXTKEY_MODEL=long npx vitest run test/model */
export const LONG_PROGRAMS: Program[] = [
  {
    name: 'three transactions, two of them on the same rows',
    lives: [['a=1 b=1 commit', 'b=2 pop a=2 commit', 'c=3 rollback']],
    bounds: { checkpoints: 1 },
  },
  {
    name: 'three checkpoints with evictions between, and a superblock rots',
    lives: [['a=1 commit', 'a=2 commit']],
    bounds: { checkpoints: 3, evictions: 1, rot: 1 },
  },
  {
    name: 'delete, purge, insert again, in every order with evictions',
    lives: [['a= commit', 'a=2 pop a=3 commit', 'a= rollback']],
    bounds: { checkpoints: 1, evictions: 1 },
  },
  {
    name: 'two big transactions, a small one that depends on them, recovery cut short',
    lives: [['a=1 b= big', 'c= big', 'b=3 commit']],
    bounds: { checkpoints: 2, crashes: 2, rot: 1 },
  },
  {
    name: 'two lives with checkpoints and kills, three crashes',
    lives: [
      ['a=1 commit', 'b=2 commit'],
      ['a=1 commit', 'b=3 rollback'],
    ],
    bounds: { checkpoints: 1, crashes: 3, kills: 1 },
  },
  {
    name: 'everything that can fail, once',
    lives: [['a=1 commit', 'b=2']],
    bounds: { checkpoints: 1, evictions: 1, crashes: 3, kills: 1, rot: 1, failures: 1 },
  },
]

export interface Mutation {
  /** The rule the bug breaks. */
  rule: string
  what: string
  /** The invariants by which it may be noticed. */
  noticed: string[]
  program: Program
}

function mutation(rule: string, what: string, noticed: string, lives: string[][], bounds: Program['bounds']): Mutation {
  return { rule, what, noticed: noticed.split(' '), program: { name: what, lives, bounds } }
}

/** For every bug that matters, a smallest program in which it must be noticed. */
export const MUTATIONS: Record<Exclude<Bug, Tolerated>, Mutation> = {
  'undo-later': mutation('R1', 'the undo record is written a turn after the row', 'I2 I3', [['a=1 rollback']], { checkpoints: 1 }),
  'redo-kept-after-partial-undo': mutation('R1', 'an undone statement stays in the redo', 'I2', [['a=1 b=1 pop commit']], {}),
  'commit-in-two-turns': mutation(
    'R2',
    'a checkpoint freezes between the commit frame and the end of its transaction',
    'I1',
    [['a=1 commit']],
    { checkpoints: 1 },
  ),
  'ack-before-sync': mutation('R3', 'a commit is acknowledged before its frame is synced', 'I1', [['a=1 commit']], {}),
  'claim-own-batch': mutation('R3', 'a frame claims that its own batch is durable', 'I6', [['a=1 commit', 'b=2 commit']], {}),
  'root-not-frozen': mutation('R4', 'the transaction table is taken when the root is written', 'I2 I3', [['a=1 rollback']], {
    checkpoints: 1,
  }),
  'frozen-frame-changed': mutation('R5', 'a frozen frame is changed before its image is safe', 'I2 I3', [['a=1 rollback']], {
    checkpoints: 1,
  }),
  'frozen-page-dropped': mutation('R5', 'a frozen page is freed and its image not written', 'I3', [['a= commit']], {
    checkpoints: 1,
    crashes: 2,
  }),
  'delta-forgotten': mutation('R6', 'a page evicted after the freeze goes into the frozen map', 'I2 I3', [['a=1 rollback']], {
    checkpoints: 1,
    evictions: 1,
  }),
  'evict-in-place': mutation('R6', 'the new image of a page goes into the block the frozen map has', 'I5 I6', [['a=1 b=1 rollback']], {
    checkpoints: 1,
    evictions: 1,
  }),
  'frozen-block-reused': mutation(
    'R7',
    'a block of the frozen map is reused because the live map left it',
    'I5 I6',
    [['a=1 a=2 rollback']],
    { checkpoints: 1, evictions: 2 },
  ),
  'superblock-in-newest-slot': mutation(
    'R8',
    'the superblock is written over that of the last complete checkpoint',
    'I6',
    [['a=1 commit']],
    { checkpoints: 1 },
  ),
  'switch-without-log-sync': mutation('R8', 'the superblock does not wait for the log through P', 'I4', [['a=1 commit']], {
    checkpoints: 1,
    crashes: 2,
    rot: 1,
  }),
  'release-before-superblock-sync': mutation('R8', 'blocks are released before the superblock is synced', 'I5', [['a=1 commit']], {
    checkpoints: 1,
    evictions: 1,
  }),
  'complete-not-awaited': mutation('R8', 'blocks are released before "complete" is durable', 'I5', [['a=1 commit']], {
    checkpoints: 1,
    evictions: 1,
  }),
  'complete-synced-alone': mutation('R8', '"complete" is synced without the segment before it', 'I1 I5 I6', [['a=1 commit']], {
    checkpoints: 1,
    evictions: 1,
  }),
  'complete-before-switch': mutation('R8', '"complete" is in the log before the superblock is synced', 'I6', [['a=1 commit']], {
    checkpoints: 1,
  }),
  'failed-sync-retried': mutation('R9', 'a failed sync is tried again', 'I1', [['a=1 commit']], { failures: 1 }),
  'big-acked-before-switch': mutation('R10', 'a big transaction is acknowledged at the freeze', 'I1', [['a=1 big']], { checkpoints: 1 }),
  'big-acked-before-complete': mutation('R10', 'a big transaction is acknowledged when the superblock is synced', 'I1', [['a=1 big']], {
    checkpoints: 1,
  }),
  'purge-ignores-roll': mutation('R11', 'purge removes whatever is marked', 'I3', [['a= commit', 'a=2 a= rollback']], {}),
  'rollback-restores-purged-mark': mutation(
    'R12',
    'a rollback restores a mark that purge has passed',
    'I7',
    [['a= commit', 'a=2 rollback']],
    {},
  ),
  'read-log-not-synced': mutation('R13', 'a new epoch begins while the log that was read is in the page cache', 'I1 I6', [['a=1 commit']], {
    crashes: 3,
    kills: 1,
  }),
  'read-log-synced-late': mutation('R13', 'the log that was read is synced after the superblock that covers it', 'I4', [['a=1 commit']], {
    crashes: 3,
    kills: 1,
    rot: 1,
  }),
  'read-log-not-rewritten': mutation('R13', 'the log that was read is synced, but not written again', 'I1 I6', [['a=1 commit']], {
    crashes: 3,
    kills: 1,
    failures: 1,
  }),
  'incomplete-checkpoint-chosen': mutation('R14', 'the newest superblock is chosen, complete or not', 'I1 I2 I4 I5 I6', [['a=1 commit']], {
    checkpoints: 1,
    crashes: 3,
    kills: 1,
  }),
  'newer-complete-ignored': mutation(
    'R14',
    'an older checkpoint is chosen though the log calls a newer one complete',
    'I1',
    [['a=1 big']],
    { checkpoints: 1, rot: 1 },
  ),
  'older-checkpoint-not-held': mutation('R15', 'recovery writes over the blocks of the checkpoint before the chosen one', 'I5', [['a=1']], {
    checkpoints: 1,
    crashes: 3,
    kills: 1,
  }),
  'active-not-undone': mutation('R16', 'what was active at the checkpoint is not undone', 'I2', [['a=1']], { checkpoints: 1 }),
  'replay-before-undo': mutation('R16', 'the log is replayed before what was active is undone', 'I1 I2 I3', [['a=1 commit']], {
    checkpoints: 1,
  }),
  'big-undo-leaked': mutation('R16', 'what a big transaction deleted is not purged after a recovery', 'I7', [['a= big']], {
    checkpoints: 1,
    crashes: 2,
  }),
  'append-to-read-log': mutation(
    'R19',
    'recovery goes on appending to the log it has read',
    'I1 I2',
    [['a=1 commit', 'b=2 commit'], ['a=1 commit']],
    { crashes: 2 },
  ),
}

/** Bugs that are none: what the rest of the contract makes superfluous, and a program in which that could show. */
export type Tolerated = 'superblock-before-data-sync' | 'admit-before-checkpoint'
export const TOLERATED: Record<Tolerated, Program> = {
  'superblock-before-data-sync': {
    name: 'one sync is for pages, map and superblock together, since only "complete" makes a superblock count',
    lives: [['a=1 commit']],
    bounds: { checkpoints: 1, evictions: 1, crashes: 2, kills: 1 },
  },
  'admit-before-checkpoint': {
    name: 'commits are admitted before the checkpoint of recovery, since replay goes on into the next epoch',
    lives: [['a=1 commit'], ['b=2 commit']],
    bounds: { checkpoints: 1, crashes: 3 },
  },
}
