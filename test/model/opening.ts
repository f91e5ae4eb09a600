/**
 * Opening a database: recovery, as a sequence of turns with a crash possible after each. The rules (R13…) are listed in
 * recovery-model.ts.
 */
import { beginEpoch, newestComplete, readFrame, readRoot, rewriteLog, view } from './disk.js'
import { change, endRolledBack, enterHistory, freeze, hold, rows, running, undoLast } from './engine.js'
import { checkRecovered, restartOracle } from './oracle.js'
import { Damaged, PAGES, type Root, type State, type Superblock } from './state.js'

/** R14, R15 */
export function open(s: State): void {
  const valid = s.disk.superblocks.map(view).filter((each): each is Superblock => each !== 'bad')
  const [newest, other] = valid.sort((x, y) => y.number - x.number)
  if (newest === undefined) throw new Damaged('no superblock is valid')
  const complete = newestComplete(s.disk, newest, view) >= newest.number
  const chosen = complete || other === undefined || s.bug === 'incomplete-checkpoint-chosen' ? newest : other
  if (readFrame(s.disk, chosen.position) === 'gone') throw new Damaged(`the log from P = ${chosen.position} on is gone`)
  const last = newestComplete(s.disk, chosen, view)
  if (last > chosen.number && s.bug !== 'newer-complete-ignored') throw new Damaged(`the superblock of checkpoint ${last} is bad`)
  const root = readRoot(s.disk, chosen)
  if (root === null) throw new Damaged(`the root of checkpoint ${chosen.number} is not what the superblock says`)
  load(s, root)
  hold(s, s.bug === 'older-checkpoint-not-held' ? [chosen] : valid.filter(({ number }) => number <= chosen.number))
}

function load(s: State, root: Root): void {
  s.memory = {
    phase: 'replay',
    pool: [...PAGES].map(() => null),
    base: structuredClone(root.map),
    delta: null,
    held: [],
    newest: root.number,
    transactions: [],
    history: [...root.history],
    nextTrx: root.nextTrx,
    checkpoint: null,
    log: { position: root.position, synced: root.position },
    todo: [],
  }
  for (const { id, undo, committed } of root.transactions) {
    const trx = { id, script: -1, state: 'active' as const, undo, redo: [], locks: [] }
    if (!committed) s.memory.transactions.push(trx)
    else if (s.bug !== 'big-undo-leaked') enterHistory(s.memory, trx)
  }
  if (s.memory.transactions.length > 0 && s.bug !== 'replay-before-undo') s.memory.phase = 'undo'
}

/** R16: one undo record of one transaction that was active at the checkpoint. */
export function undoActive(s: State): void {
  const memory = running(s)
  if (s.bug === 'active-not-undone') memory.transactions = []
  const trx = memory.transactions[0]
  if (trx !== undefined && !undoLast(s, trx)) endRolledBack(s, trx)
  if (memory.transactions.length === 0) memory.phase = s.bug === 'replay-before-undo' ? 'finish' : 'replay'
}

/** R16, R17: the next frame, or the end of the log. */
export function replayNext(s: State): void {
  const memory = running(s)
  const { log } = memory
  const frame = readFrame(s.disk, log.position)
  if (frame === 'gone') throw new Damaged(`frame ${log.position} is lost`)
  if (frame === 'end') {
    memory.phase = memory.transactions.length > 0 ? 'undo' : 'finish'
    return
  }
  log.position++
  log.synced = log.position
  if (frame.kind === 'complete') return
  memory.nextTrx = Math.max(memory.nextTrx, frame.trx + 1)
  for (const [page, value] of frame.writes) {
    change(s, page, value === null ? null : { value, writer: frame.trx, roll: null })
  }
}

/** R19: what recovery came to is made a checkpoint whose P is the end of the log, where a new epoch will begin. */
export function finish(s: State): void {
  checkRecovered(s, rows(s))
  if (s.bug === 'admit-before-checkpoint') {
    rewriteLog(s.disk)
    beginEpoch(s.disk, running(s).log.position)
  }
  if (s.bug === 'admit-before-checkpoint' || s.bug === 'append-to-read-log') admit(s)
  else freeze(s, 'final')
}

/** Commits may come in. A life without a program is the last: it only purges. */
export function admit(s: State): void {
  const memory = running(s)
  memory.phase = 'run'
  const program = s.lives.shift()
  memory.todo = (program ?? []).map((script) => script.split(' '))
  if (program === undefined) s.left = { evictions: 0, checkpoints: 0, crashes: 0, kills: 0, rot: 0, failures: 0 }
  restartOracle(s, rows(s))
}
