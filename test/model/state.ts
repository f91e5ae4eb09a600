/**
 * The toy database of the recovery model: everything a state consists of. States are plain JSON without cycles, so a
 * state is its own key: two histories that led to equal states are explored once.
 *
 * Six pages: `a b c` hold one clustered record each, `u v` are undo pages, and each checkpoint writes a root block with
 * the page map, the transaction table and the history. The data file is an array of blocks and two superblocks.
 */

export const PAGES: string = 'abcuv'
export const CELL_PAGES: readonly number[] = [0, 1, 2]
export const UNDO_PAGES: readonly number[] = [3, 4]
/** Blocks of the data file, superblocks apart: enough for two held checkpoints, one being written, and evictions. */
export const BLOCKS: number = 20
/** Frames per log segment: the log is released in whole segments, and a new epoch begins a new one. */
export const SEGMENT: number = 2

/** A clustered record: value, last writer, where its undo record lies. A marked one is deleted but not yet purged. */
export interface Cell {
  value: string
  writer: number
  roll: [undoPage: number, index: number] | null
  marked?: true
}
export interface UndoRecord {
  page: number
  before: Cell | null
}
export type Image = Cell | UndoRecord[] | null

/**
 * The number of an interned content (see disk.ts): of a block, a log frame. Equal contents have equal numbers, so the
 * number is also the perfect checksum. 0: nothing was ever written there.
 */
export type Content = number
/** A block and the checksum of what must be in it. */
export type Ref = [block: number, sum: Content]
/** By page number; null: the page does not exist. */
export type PageMap = (Ref | null)[]

/**
 * Something on disk. `pending` was written but not synced: readers see it, a power loss may drop it. `doubtful`: a sync
 * failed since; the operating system believes it clean, so no later sync writes it (only writing it again does).
 */
export interface Stored<T> {
  durable: T
  pending?: T
  doubtful?: true
}

export interface Root {
  number: number
  /** P: everything before this log position is in the pages, nothing after it is. */
  position: number
  nextTrx: number
  map: PageMap
  transactions: { id: number; undo: number; committed: boolean }[]
  history: History[]
}
export interface History {
  trx: number
  undo: number
}
export interface PageBlock {
  page: number
  image: Image
}
export type Block = PageBlock | Root

export interface Superblock {
  number: number
  /** The root's P. */
  position: number
  root: Ref
}

export type Frame = { durableThrough: number } & ({ kind: 'commit'; trx: number; writes: Write[] } | { kind: 'complete'; number: number })
/** Final image of one row; null: deleted. */
export type Write = [page: number, value: string | null]

export interface Disk {
  blocks: Stored<Content>[]
  superblocks: [Stored<Superblock | 'bad'>, Stored<Superblock | 'bad'>]
  /** By ascending `first`. */
  segments: Segment[]
}

/** Frames at the positions from `first` on. A valid frame belongs where it lies: its checksum says so. */
export interface Segment {
  epoch: number
  first: number
  frames: Stored<Content>[]
}

export interface Transaction {
  id: number
  /** Which of the program's transactions it runs. */
  script: number
  state: 'active' | 'ending' | 'big' | 'frozen-big'
  undo: number
  redo: Write[]
  locks: number[]
  /** Only with the bug 'undo-later'. */
  owed?: UndoRecord
}

export type CheckpointStep = 'pages' | 'sync data' | 'sync log' | 'superblock' | 'sync superblock' | 'new segment' | 'release'
export interface Checkpoint {
  /** Taken while running, or as the last act of recovery. */
  kind: 'running' | 'final'
  step: CheckpointStep
  /** What will be written; its map is `Memory.base`. */
  root: Omit<Root, 'map'>
  /** Where the root was written. */
  ref: Ref | null
  completeAt: number
}

export interface Memory {
  phase: 'undo' | 'replay' | 'finish' | 'run'
  /** Dirty frames by page; clean pages are read from disk again. `frozen`: the running checkpoint still has to write it. */
  pool: ({ image: Image; frozen?: true } | null)[]
  /** The page map; while a checkpoint runs, the frozen map it will write. */
  base: PageMap
  /** Changes of the map since the freeze (0: page freed); null when no checkpoint runs. */
  delta: (Ref | 0 | null)[] | null
  /** Blocks of every checkpoint that an opening could still choose. */
  held: number[]
  /** Number of the newest checkpoint. */
  newest: number
  transactions: Transaction[]
  history: History[]
  nextTrx: number
  checkpoint: Checkpoint | null
  log: { position: number; synced: number }
  /** What each transaction of the program still has to do. */
  todo: string[][]
  /** A sync failed: closed to writes. */
  closed?: true
}

/** What the outside world knows: the oracle. The engine never reads it. */
export interface Ghost {
  /** Logical rows at the last opening. */
  base: (string | null)[]
  commits: GhostCommit[]
  /** What a recovery that was cut short had come to, and from which commits of the log (by transaction). */
  recovered?: { rows: (string | null)[]; logged: number[] }
  /** A superblock rotted. */
  rotten?: true
}
/** The position of a big transaction that its checkpoint has not committed yet. */
export const NOT_SWITCHED: number = Number.MAX_SAFE_INTEGER
export interface GhostCommit {
  trx: number
  writes: Write[]
  /** Of the frame that commits it; for a big one, of the frame that calls its checkpoint complete. */
  at: number
  acked?: true
  big?: true
}

/** How often each thing may still happen: the bounds of the exploration. */
export interface Bounds {
  evictions: number
  checkpoints: number
  crashes: number
  kills: number
  rot: number
  failures: number
}

export interface State {
  disk: Disk
  memory: Memory | null
  ghost: Ghost
  left: Bounds
  /** Programs of this and the following lives of the process. */
  lives: string[][]
  /** Nothing more can happen that is worth a look. */
  over?: true
  bug?: Bug
}

/** Ways to break the engine, each of which the model must notice: see MUTATIONS in programs.ts. */
export type Bug =
  | 'undo-later'
  | 'redo-kept-after-partial-undo'
  | 'commit-in-two-turns'
  | 'ack-before-sync'
  | 'claim-own-batch'
  | 'root-not-frozen'
  | 'frozen-frame-changed'
  | 'frozen-page-dropped'
  | 'delta-forgotten'
  | 'evict-in-place'
  | 'frozen-block-reused'
  | 'superblock-in-newest-slot'
  | 'superblock-before-data-sync'
  | 'switch-without-log-sync'
  | 'release-before-superblock-sync'
  | 'complete-not-awaited'
  | 'complete-synced-alone'
  | 'failed-sync-retried'
  | 'big-acked-before-switch'
  | 'big-acked-before-complete'
  | 'complete-before-switch'
  | 'purge-ignores-roll'
  | 'rollback-restores-purged-mark'
  | 'read-log-not-synced'
  | 'read-log-synced-late'
  | 'read-log-not-rewritten'
  | 'incomplete-checkpoint-chosen'
  | 'newer-complete-ignored'
  | 'older-checkpoint-not-held'
  | 'active-not-undone'
  | 'big-undo-leaked'
  | 'replay-before-undo'
  | 'admit-before-checkpoint'
  | 'append-to-read-log'

/** Damage is reported: a violation of I6, unless something rotted. */
export class Damaged extends Error {}

/** An invariant of the contract (I1 … I7) that does not hold. */
export class Violation extends Error {
  constructor(
    readonly invariant: string,
    message: string,
  ) {
    super(message)
  }
}
