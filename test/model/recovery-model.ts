/**
 * The recovery contract (DESIGN D1, D3, D7, D8, D9), as rules that engine code can cite and as a model that is executed.
 *
 * The model is a toy engine (engine.ts, opening.ts) on a toy disk (disk.ts). explore.ts runs every interleaving of a
 * small program, with a crash at every step and every outcome of what was not synced; oracle.ts judges. programs.ts lists
 * what is explored, and for the rules bugs that break them and must be noticed; counterexamples.md shows how each one is.
 *
 * Invariants
 *   I1  An acknowledged commit is there after any crash.
 *   I2  What is there is a set of whole commits: a prefix of the log's, and big ones with what they precede. No part of
 *       a transaction, no effect of one that did not commit.
 *   I3  A version and its undo record match whenever one leads to the other.
 *   I4  Recovering again, or after a recovery that was cut short, gives the same state; except for unacknowledged commits
 *       whose frames only the page cache had, and big ones if a superblock rots.
 *   I5  No block is overwritten to which a superblock leads that an opening could still choose.
 *   I6  After a mere crash the database opens, and all its pages are what the map says. If a superblock rots besides, damage
 *       may be reported, but nothing wrong is shown.
 *   I7  When everything is purged, no mark and no undo page is left.
 *
 * Running. A turn is a piece of synchronous code: no freeze, sync or other transaction falls inside it.
 *   R1  One turn: a change of a record and its undo record. One turn: taking back a change and popping its undo record
 *       (statement, savepoint, slice of a rollback). The redo holds at the commit what was not taken back, and nothing else;
 *       a rollback writes no row to the log. (D1, D7, D8)
 *   R2  One turn: appending the commit frame, which holds all the transaction's final images and fixes its place in the
 *       log; the end of the transaction; its entry in the history. Hence, at every P: committed in the transaction table
 *       ⇔ its frame lies before P. The same goes for records outside transactions and the page they change. (D7, D8)
 *   R3  A commit is acknowledged when its frame and all before it are synced. A frame's durableThrough is what was known
 *       synced before its batch was written: never the batch itself. (D8)
 *   R4  Freeze, one turn at log position P: the dirty frames, the map, and everything the root holds: transaction table
 *       with undo positions, history, next ids. Nothing of it is read again later. (D3)
 *   R5  Before a frozen frame is changed for the first time, its image is made safe: copied, or written as the
 *       checkpoint's. Freeing the page is a change. (D3)
 *   R6  An evicted frame goes to a free block: into the frozen map if it is frozen and unchanged, else into the delta
 *       while a checkpoint runs, else into the map. The delta is merged when the checkpoint is over. (D3)
 *   R7  A block is free if neither the map, nor the frozen map, nor the delta, nor a held checkpoint leads to it. Held is
 *       every checkpoint an opening could still choose (R14). Leaving the live map frees no block of the frozen one. (D3)
 *   R8  Order of a checkpoint: frozen pages, map and root → sync data → sync log through P → superblock, into the slot that
 *       does not hold the last complete one → sync data → frame "complete n" → log synced through it, every segment →
 *       release of the older checkpoint's blocks and of whole log segments before P. (D3)
 *       That frame makes the superblock count, not its sync. The log through P is synced before so that both superblocks lead
 *       to the same commits, whichever is chosen.
 *   R9  After a failed sync of any file: nothing is acknowledged, switched or released any more; nothing is retried. (D3, D16)
 *   R10 A big transaction drops its redo and waits, locked and invisible, for the next freeze, whose root calls it
 *       committed. Frame "complete n" is its commit frame: in the turn that appends it, the transaction takes its commit
 *       number and enters the history (R2); it is acknowledged when the frame is durable. Nothing stands for it in the log
 *       before the superblock is synced, since a crash until then must replay past that point. (D8)
 *   R11 Purge removes a record only if it is still marked and has the roll pointer of the undo record at hand; then it
 *       frees the undo page. (D7)
 *   R12 A rollback that would restore a mark whose transaction has left the history removes the record instead. (D7)
 *
 * Opening. Nothing is admitted before the end, and a crash may fall anywhere.
 *   R13 What was read of the log is written again, then synced, before a superblock covers it or a new epoch begins. A killed
 *       process may have left it in the page cache alone; after a failed sync the cache calls it clean, and a mere sync
 *       would do nothing. (D9)
 *   R14 The newest valid superblock is chosen if the log from its P on calls its checkpoint complete. If not, the other one
 *       is: neither its blocks nor its log were released. One whose other slot is bad is chosen as it is: a crash tears
 *       only the slot being written, never that of the checkpoint it follows. It is damage if the log does not reach
 *       back to P, or calls a newer checkpoint complete than the chosen one. (D3)
 *   R15 The blocks of the older checkpoint are held too until recovery's own is complete: the frame that decides (R14) may be
 *       in the page cache alone, and gone after the next crash. (D3)
 *   R16 The transactions active in the root are undone; those it calls committed enter the history; then the log is
 *       replayed from P. Not the other way round: a frame may hold what an undo would take back. Replay applies final
 *       images, removes physically, and skips "complete" frames. (D9)
 *   R17 The log ends at the first frame that is not valid. It is damage if a later segment is of another epoch, whose
 *       beginner had read that frame, or if a later frame of the epoch claims durability beyond it. (D8)
 *   R18 There is no checkpoint on the way. "Complete" could not be appended for it (R19); a full pool evicts instead. (D9)
 *   R19 The last act is a checkpoint in the order of R8, whose P is the end of the log and whose log through P is what was
 *       read (R13). When its superblock is synced, a segment of a new epoch begins at P, and what older segments hold from
 *       there on is not log any more. "Complete n" is its first frame. Once that is durable, blocks and segments are
 *       released and commits admitted. (D9)
 *
 * Left out, because it cannot break the contract or has tests of its own: read views, secondary indexes, undo pages shared
 * by transactions, frozen images that are copied instead of written, the inner structure of frames and map, rot of
 * pages and log. A sync is one step, which is safe: what is appended while it runs is not covered by it.
 */
import { forgetUnreachable, intern, isUnsynced, powerLosses, superblocksOf } from './disk.js'
import {
  canWrite,
  commit,
  endRolledBack,
  enterHistory,
  evict,
  failSync,
  freeze,
  nextCheckpointStep,
  payOwedUndo,
  purge,
  running,
  syncLog,
  undoLast,
  undoStatement,
  write,
} from './engine.js'
import { admit, finish, open, replayNext, undoActive } from './opening.js'
import { checkNothingLeft } from './oracle.js'
import { BLOCKS, type Bounds, type Bug, CELL_PAGES, type Memory, PAGES, type Root, type State, type Transaction } from './state.js'

export type Step = [label: string, run: (s: State) => void]

export interface Program {
  /** What the program is for. */
  name: string
  /** For each life of the process, its transactions: `a=1` puts, `a=` deletes, `pop` undoes a statement, then an end. */
  lives: string[][]
  bounds: Partial<Bounds>
}

/** A database with checkpoint 1, in which every record has its own letter as value, that was opened and closed before. */
export function initialState({ lives, bounds }: Program, bug?: Bug): State {
  const none: Bounds = { evictions: 0, checkpoints: 0, crashes: 1, kills: 0, rot: 0, failures: 0 }
  const blocks: State['disk']['blocks'] = Array.from({ length: BLOCKS }, () => ({ durable: 0 }))
  const map = [...PAGES].map((name, page): Root['map'][number] => {
    if (!CELL_PAGES.includes(page)) return null
    const sum = intern({ page, image: { value: name, writer: 0, roll: null } })
    blocks[page] = { durable: sum }
    return [page, sum]
  })
  const root = intern({ number: 1, position: 0, nextTrx: 1, transactions: [], history: [], map })
  const complete = intern({ durableThrough: 0, kind: 'complete', number: 1 })
  blocks[3] = { durable: root }
  const s: State = {
    disk: {
      blocks,
      superblocks: [{ durable: 'bad' }, { durable: { number: 1, position: 0, root: [3, root] } }],
      segments: [{ epoch: 1, first: 0, frames: [{ durable: complete }] }],
    },
    memory: null,
    ghost: { base: [], commits: [] },
    left: { ...none, ...bounds },
    lives: structuredClone(lives),
    ...(bug && { bug }),
  }
  open(s)
  replayNext(s)
  admit(s)
  return s
}

/** Everything that can happen next, but for crashes. */
export function steps(s: State): Step[] {
  const { memory } = s
  if (memory?.closed) return []
  const noMoreCrashes = s.left.crashes === 0
  if (memory === null) return [noMoreCrashes ? ['open and recover', openAtOnce] : ['open', open]]
  if (noMoreCrashes) return purgeSteps(memory).map(watched)
  const all = memory.phase === 'run' ? [...transactionSteps(memory), ...purgeSteps(memory)] : recoverySteps(memory)
  return [...all, ...checkpointSteps(s, memory), ...logSteps(s, memory), ...evictionSteps(s, memory)].map(watched)
}

/** When no crash can follow, recovery is a function, and what it comes to is all that matters. */
function openAtOnce(s: State): void {
  open(s)
  while (running(s).phase !== 'finish') (running(s).phase === 'undo' ? undoActive : replayNext)(s)
  finish(s)
  s.over = true
}

function watched([label, run]: Step): Step {
  return [
    label,
    (s) => {
      run(s)
      checkNothingLeft(s)
      forgetUnreachable(s)
    },
  ]
}

function recoverySteps(memory: Memory): Step[] {
  if (memory.checkpoint) return []
  if (memory.phase === 'undo') return [['recover: undo', undoActive]]
  if (memory.phase === 'replay') return [[`recover: replay from ${memory.log.position}`, replayNext]]
  return [['recover: freeze the last checkpoint', finish]]
}

function purgeSteps(memory: Memory): Step[] {
  return memory.history.length > 0 ? [[`purge after transaction ${memory.history[0].trx}`, purge]] : []
}

function checkpointSteps(s: State, memory: Memory): Step[] {
  const { checkpoint } = memory
  if (checkpoint === null) return freezeSteps(s, memory)
  const next = nextCheckpointStep(s, checkpoint)
  if (next === null) return []
  if (checkpoint.kind === 'final') return [checkpoint.step === 'release' ? [`${next[0]}, admit commits`, thenAdmit(next[1])] : next]
  const file = { 'sync data': 'data', 'sync superblock': 'data', 'sync log': 'log' }[checkpoint.step as string] as
    | 'data'
    | 'log'
    | undefined
  if (file === undefined || s.left.failures === 0) return [next]
  return [next, [`${next[0]} FAILS`, (each) => failSync(each, file)]]
}

function freezeSteps(s: State, memory: Memory): Step[] {
  if (memory.phase !== 'run' || s.left.checkpoints === 0) return []
  const begin = (each: State): void => {
    each.left.checkpoints--
    freeze(each, 'running')
  }
  return [[`checkpoint ${memory.newest + 1}: freeze at P = ${memory.log.position}`, begin]]
}

function thenAdmit(release: (s: State) => void) {
  return (s: State): void => {
    release(s)
    admit(s)
  }
}

function logSteps(s: State, memory: Memory): Step[] {
  if (memory.log.synced === memory.log.position) return []
  const out: Step[] = [['sync log', syncLog]]
  if (s.left.failures > 0) out.push(['sync log FAILS', (each) => failSync(each, 'log')])
  return out
}

function evictionSteps(s: State, memory: Memory): Step[] {
  if (s.left.evictions === 0) return []
  return memory.pool.flatMap((frame, page): Step[] => {
    const run = (each: State): void => {
      each.left.evictions--
      evict(each, page)
    }
    return frame ? [[`evict ${PAGES[page]}`, run]] : []
  })
}

function transactionSteps(memory: Memory): Step[] {
  return memory.todo.flatMap((todo, script) => {
    const step = todo.length > 0 && transactionStep(memory, script, todo[0])
    return step ? [[`T${script + 1}: ${step[0]}`, step[1]] as Step] : []
  })
}

function transactionStep(memory: Memory, script: number, action: string): Step | null {
  const find = (s: State): Transaction => running(s).transactions.find((each) => each.script === script)!
  const then = (run: (s: State) => void): Step => [
    action,
    (s) => {
      running(s).todo[script].shift()
      run(s)
    },
  ]
  const [page, value] = [PAGES.indexOf(action[0]), action.slice(2)]
  if (action[1] === '=') return canWrite(memory, script, page) ? then((s) => write(s, script, page, value === '' ? null : value)) : null
  switch (action) {
    case 'undo':
      return then((s) => payOwedUndo(s, find(s)))
    case 'pop':
      return then((s) => undoStatement(s, find(s)))
    case 'commit':
      return then((s) => {
        commit(s, find(s))
        if (s.bug === 'commit-in-two-turns') running(s).todo[script].unshift('end')
      })
    case 'end':
      return then((s) => enterHistory(running(s), find(s)))
    case 'big':
      return then((s) => {
        find(s).state = 'big'
        find(s).redo = []
      })
    case 'rollback':
      return [action, (s) => rollBack(s, find(s))]
    default:
      throw new Error(`no such action: ${action}`)
  }
}

function rollBack(s: State, trx: Transaction): void {
  if (undoLast(s, trx)) return
  running(s).todo[trx.script].shift()
  endRolledBack(s, trx)
}

/** A process that is down can still lose, in a power failure, what it had not synced. */
export function canCrash(s: State): boolean {
  return s.left.crashes > 0 && (s.memory !== null || isUnsynced(s.disk))
}

/** What a crash depends on, and all that is left after it: the disk, as far as a superblock leads, and the oracle. */
export function withoutMemory(s: State): State {
  const { blocks, ...disk } = s.disk
  const bare: State = { ...s, disk: { ...disk, blocks: [...blocks] }, memory: null, left: { ...s.left, crashes: s.left.crashes - 1 } }
  forgetUnreachable(bare)
  return bare
}

/** Every way to crash: the process dies, or the power fails; then, perhaps, one superblock has rotted. */
export function crashes(s: State): [label: string, state: State][] {
  const out: [string, State][] = []
  const { disk, left } = s
  if (left.kills > 0 && isUnsynced(disk)) out.push(['the process is killed', { ...s, left: { ...left, kills: left.kills - 1 } }])
  for (const [label, survived] of powerLosses(disk)) {
    const lost: State = { ...s, disk: survived }
    forgetUnreachable(lost)
    out.push([label, lost])
    if (left.rot > 0) out.push(...rotted(label, lost))
  }
  return out
}

function rotted(label: string, lost: State): [string, State][] {
  return superblocksOf(lost.disk).map(({ number }) => {
    const copy = structuredClone(lost)
    copy.disk.superblocks[number % 2] = { durable: 'bad' }
    copy.left.rot--
    copy.ghost.rotten = true
    forgetUnreachable(copy)
    return [`${label}; superblock ${number} rots`, copy]
  })
}
