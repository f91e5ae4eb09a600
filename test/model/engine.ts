/**
 * The running engine of the model: pages, transactions, checkpoint. Every exported function is one turn: nothing can
 * come between its parts. The rules (R1…) are listed in recovery-model.ts.
 */
import { beginEpoch, blocksOf, readBlock, releaseLog, rewriteLog, store, syncData, syncSegment, writeBlock, writeFrame } from './disk.js'
import {
  BLOCKS,
  CELL_PAGES,
  type Cell,
  type Checkpoint,
  Damaged,
  type Frame,
  type Image,
  type Memory,
  NOT_SWITCHED,
  PAGES,
  type PageBlock,
  type Ref,
  type State,
  type Superblock,
  type Transaction,
  UNDO_PAGES,
  type UndoRecord,
  Violation,
  type Write,
} from './state.js'

export function running(s: State): Memory {
  if (s.memory === null) throw new Error('the process is down')
  return s.memory
}

// Pages

function mapped(memory: Memory, page: number): Ref | null {
  const changed = memory.delta?.[page]
  if (changed === 0) return null
  return changed ?? memory.base[page]
}

export function read(s: State, page: number): Image {
  const memory = running(s)
  const frame = memory.pool[page]
  if (frame) return frame.image
  const ref = mapped(memory, page)
  if (ref === null) return null
  const block = readBlock(s.disk, ref) as PageBlock | null
  if (block === null) throw new Damaged(`page ${PAGES[page]}: block ${ref[0]} is not what the map says`)
  return block.image
}

/** R7: a block is free if neither the live map, nor the map being frozen, nor a held checkpoint leads to it. */
function freeBlock(s: State): number {
  const memory = running(s)
  const used = new Set(memory.held)
  memory.base.forEach((ref, page) => {
    const superseded = memory.delta !== null && memory.delta[page] !== null
    if (ref && !(superseded && s.bug === 'frozen-block-reused')) used.add(ref[0])
  })
  for (const ref of memory.delta ?? []) if (ref) used.add(ref[0])
  if (memory.checkpoint?.ref) used.add(memory.checkpoint.ref[0])
  for (let block = 0; block < BLOCKS; block++) if (!used.has(block)) return block
  throw new Error('the toy disk is too small')
}

function writePage(s: State, page: number): Ref {
  const { image } = running(s).pool[page]!
  return writeBlock(s.disk, freeBlock(s), { page, image })
}

/** The checkpoint's write of a frozen frame. */
function writeFrozen(s: State, page: number): void {
  const memory = running(s)
  memory.base[page] = writePage(s, page)
}

/** R5: the frozen image is made safe before the frame changes. */
export function change(s: State, page: number, image: Image): void {
  const memory = running(s)
  const frozen = memory.pool[page]?.frozen === true
  if (frozen && s.bug === 'frozen-frame-changed') {
    memory.pool[page] = { image, frozen: true }
    return
  }
  if (frozen) writeFrozen(s, page)
  memory.pool[page] = { image }
}

/** R5: giving up a frozen page is a change of it. */
function freePage(s: State, page: number): void {
  const memory = running(s)
  if (memory.pool[page]?.frozen && s.bug !== 'frozen-page-dropped') writeFrozen(s, page)
  memory.pool[page] = null
  if (memory.delta) memory.delta[page] = 0
  else memory.base[page] = null
}

/** R6: where an evicted frame goes. */
export function evict(s: State, page: number): void {
  const memory = running(s)
  const frame = memory.pool[page]!
  const inPlace = memory.base[page]
  if (s.bug === 'evict-in-place' && memory.delta && !frame.frozen && inPlace) {
    memory.delta[page] = writeBlock(s.disk, inPlace[0], { page, image: frame.image })
  } else if (frame.frozen || memory.delta === null || s.bug === 'delta-forgotten') {
    memory.base[page] = writePage(s, page)
  } else {
    memory.delta[page] = writePage(s, page)
  }
  memory.pool[page] = null
}

// Transactions

export function logical(image: Image): string | null {
  const cell = image as Cell | null
  return cell === null || cell.marked ? null : cell.value
}

export function rows(s: State): (string | null)[] {
  return CELL_PAGES.map((page) => logical(read(s, page)))
}

function leaseUndoPage(memory: Memory): number | undefined {
  return UNDO_PAGES.find((page) => ![...memory.transactions, ...memory.history].some((holder) => holder.undo === page))
}

export function canWrite(memory: Memory, script: number, page: number): boolean {
  const trx = memory.transactions.find((each) => each.script === script)
  if (trx === undefined && leaseUndoPage(memory) === undefined) return false
  return !memory.transactions.some((other) => other.script !== script && other.locks.includes(page))
}

/** R1: the record, its undo record and the redo, in one turn. */
export function write(s: State, script: number, page: number, value: string | null): void {
  const memory = running(s)
  const trx = memory.transactions.find((each) => each.script === script) ?? begin(s, script)
  if (!trx.locks.includes(page)) trx.locks.push(page)
  const before = read(s, page) as Cell | null
  if (value === null && logical(before) === null) return
  const undo = readUndo(s, trx.id, trx.undo)
  const roll: Cell['roll'] = [trx.undo, undo.length]
  if (s.bug === 'undo-later') {
    trx.owed = { page, before }
    memory.todo[script].unshift('undo')
  } else {
    change(s, trx.undo, [...undo, { page, before }])
  }
  change(s, page, value === null ? { value: before!.value, writer: trx.id, roll, marked: true } : { value, writer: trx.id, roll })
  trx.redo.push([page, value])
}

function begin(s: State, script: number): Transaction {
  const memory = running(s)
  const undo = leaseUndoPage(memory)!
  const trx: Transaction = { id: memory.nextTrx++, script, state: 'active', undo, redo: [], locks: [] }
  memory.transactions.push(trx)
  change(s, undo, [])
  return trx
}

/** Only with the bug 'undo-later'. */
export function payOwedUndo(s: State, trx: Transaction): void {
  change(s, trx.undo, [...readUndo(s, trx.id, trx.undo), trx.owed!])
  delete trx.owed
}

function readUndo(s: State, trx: number, page: number): UndoRecord[] {
  const records = read(s, page) as UndoRecord[] | null
  if (records === null) throw new Violation('I3', `the undo of transaction ${trx} is gone`)
  return records
}

/** R1, R12: takes back the transaction's last change and pops its undo record, in one turn. Returns whether more is left. */
export function undoLast(s: State, trx: { id: number; undo: number }): boolean {
  const memory = running(s)
  const records = readUndo(s, trx.id, trx.undo)
  const record = records.at(-1)
  if (record === undefined) return false
  const now = read(s, record.page) as Cell | null
  if (now?.writer !== trx.id || now.roll?.[0] !== trx.undo || now.roll[1] !== records.length - 1) {
    throw new Violation('I3', `undo of transaction ${trx.id} meets a version of ${PAGES[record.page]} that is not its own`)
  }
  const { before } = record
  const purged = before?.marked && before.writer !== trx.id && !memory.history.some((entry) => entry.trx === before.writer)
  change(s, record.page, purged && s.bug !== 'rollback-restores-purged-mark' ? null : before)
  change(s, trx.undo, records.slice(0, -1))
  return records.length > 1
}

export function undoStatement(s: State, trx: Transaction): void {
  undoLast(s, trx)
  if (s.bug !== 'redo-kept-after-partial-undo') trx.redo.pop()
}

/** Rollback is over: the undo page is free. */
export function endRolledBack(s: State, trx: { id: number; undo: number }): void {
  const memory = running(s)
  freePage(s, trx.undo)
  memory.transactions = memory.transactions.filter((each) => each.id !== trx.id)
}

/** R2: frame, end of the transaction and entry in the history, in one turn. */
export function commit(s: State, trx: Transaction): void {
  const writes = CELL_PAGES.flatMap((page): Write[] => {
    const last = trx.redo.filter((each) => each[0] === page).at(-1)
    return last ? [last] : []
  })
  const at = append(s, { kind: 'commit', trx: trx.id, writes })
  const seen = trx.locks.map((page): Write => [page, logical(read(s, page))])
  s.ghost.commits.push({ trx: trx.id, writes: seen, at, ...(s.bug === 'ack-before-sync' && { acked: true }) })
  if (s.bug === 'commit-in-two-turns') trx.state = 'ending'
  else enterHistory(running(s), trx)
}

export function enterHistory(memory: Memory, trx: { id: number; undo: number }): void {
  memory.transactions = memory.transactions.filter((each) => each.id !== trx.id)
  memory.history.push({ trx: trx.id, undo: trx.undo })
}

/** R11: removes what the oldest committed transaction deleted, unless somebody has written it since; frees its undo. */
export function purge(s: State): void {
  const memory = running(s)
  const { trx, undo } = memory.history.shift()!
  const records = readUndo(s, trx, undo)
  records.forEach(({ page }, index) => {
    const cell = read(s, page) as Cell | null
    const own = cell?.roll?.[0] === undo && cell.roll[1] === index
    if (cell?.marked && (own || s.bug === 'purge-ignores-roll')) change(s, page, null)
  })
  freePage(s, undo)
}

// Log

type FrameBody = Frame extends infer F ? (F extends Frame ? Omit<F, 'durableThrough'> : never) : never

export function append(s: State, body: FrameBody): number {
  const { log } = running(s)
  const at = log.position++
  const durableThrough = s.bug === 'claim-own-batch' ? at + 1 : log.synced
  writeFrame(s.disk, at, { durableThrough, ...body } as Frame)
  return at
}

/** R3: what is synced is acknowledged, and nothing else. Segments are synced from the oldest on. */
export function syncLog(s: State): void {
  const { log, phase, checkpoint } = running(s)
  log.synced = log.position
  if (s.bug === 'complete-synced-alone' && checkpoint?.step === 'release') return syncSegment(s.disk.segments.at(-1)!)
  for (const segment of s.disk.segments) syncSegment(segment)
  if (phase === 'run') for (const each of s.ghost.commits) if (each.at < log.synced) each.acked = true
}

/** R9 */
export function failSync(s: State, file: 'log' | 'data'): void {
  if (file === 'log') for (const segment of s.disk.segments) syncSegment(segment, 'failed')
  else syncData(s.disk, 'failed')
  s.left.failures--
  if (s.bug !== 'failed-sync-retried') running(s).closed = true
}

// Checkpoint

/** R4: one turn. */
export function freeze(s: State, kind: Checkpoint['kind']): void {
  const memory = running(s)
  for (const trx of memory.transactions) if (trx.state === 'big') freezeBig(s, trx)
  for (const frame of memory.pool) if (frame) frame.frozen = true
  memory.delta = memory.base.map(() => null)
  const root = { number: memory.newest + 1, position: memory.log.position, ...transactionSystem(memory) }
  memory.checkpoint = { kind, step: 'pages', root, ref: null, completeAt: -1 }
  if (s.bug === 'complete-before-switch') memory.checkpoint.completeAt = append(s, { kind: 'complete', number: root.number })
}

function transactionSystem(memory: Memory): Pick<Checkpoint['root'], 'nextTrx' | 'transactions' | 'history'> {
  const transactions = memory.transactions.map(({ id, undo, state }) => ({ id, undo, committed: state === 'frozen-big' }))
  return { nextTrx: memory.nextTrx, transactions, history: [...memory.history] }
}

/** R10: from here on it is up to the switch whether the transaction is committed. */
function freezeBig(s: State, trx: Transaction): void {
  trx.state = 'frozen-big'
  const writes = trx.locks.map((page): Write => [page, logical(read(s, page))])
  s.ghost.commits.push({ trx: trx.id, writes, at: NOT_SWITCHED, big: true })
  if (s.bug === 'big-acked-before-switch') switchBig(s, trx, 0)
}

/** R10: takes its place in the commit order; acknowledged when the frame at `at` is durable. */
function switchBig(s: State, trx: Transaction, at: number): void {
  const { commits } = s.ghost
  const index = commits.findIndex((each) => each.big && each.trx === trx.id)
  const [entry] = commits.splice(index, 1)
  const early = s.bug === 'big-acked-before-switch' || s.bug === 'big-acked-before-complete'
  commits.push({ ...entry, at, ...(early && { acked: true }) })
  enterHistory(running(s), trx)
}

/** R8, R19: the order of a checkpoint. Returns the label of its next step and what it does, or null if it has to wait. */
export function nextCheckpointStep(s: State, checkpoint: Checkpoint): [label: string, run: (s: State) => void] | null {
  const name = `checkpoint ${checkpoint.root.number}:`
  const page = running(s).pool.findIndex((frame) => frame?.frozen)
  switch (checkpoint.step) {
    case 'pages':
      if (page >= 0) return [`${name} write frozen ${PAGES[page]}`, (each) => checkpointPage(each, page)]
      return [`${name} write map and root`, writeRoot]
    case 'sync data':
      return [`${name} sync data`, (each) => syncedTo(each, () => syncData(each.disk), afterDataSync(each))]
    case 'sync log':
      return [`${name} sync log through P`, (each) => syncedTo(each, () => syncThroughP(each), 'superblock')]
    case 'superblock':
      return [`${name} write superblock`, writeSuperblock]
    case 'sync superblock':
      return [`${name} sync superblock`, syncSuperblock]
    case 'new segment':
      return [`${name} new epoch`, beginLog]
    case 'release':
      if (running(s).log.synced <= checkpoint.completeAt && s.bug !== 'complete-not-awaited') return null
      return [`${name} release`, release]
  }
}

function current(s: State): Checkpoint {
  return running(s).checkpoint!
}

function checkpointPage(s: State, page: number): void {
  writeFrozen(s, page)
  running(s).pool[page] = null
}

function writeRoot(s: State): void {
  const checkpoint = current(s)
  const late = s.bug === 'root-not-frozen' ? transactionSystem(running(s)) : {}
  checkpoint.ref = writeBlock(s.disk, freeBlock(s), { ...checkpoint.root, ...late, map: running(s).base })
  checkpoint.step = s.bug === 'superblock-before-data-sync' ? afterDataSync(s) : 'sync data'
}

function afterDataSync(s: State): Checkpoint['step'] {
  return current(s).kind === 'running' && s.bug === 'switch-without-log-sync' ? 'superblock' : 'sync log'
}

/** R13: the log that recovery read, it writes again. */
function syncThroughP(s: State): void {
  if (current(s).kind === 'running' || s.bug === 'read-log-not-rewritten') syncLog(s)
  else if (s.bug !== 'read-log-not-synced' && s.bug !== 'read-log-synced-late') rewriteLog(s.disk)
}

function syncedTo(s: State, sync: () => void, next: Checkpoint['step']): void {
  sync()
  current(s).step = next
}

/** Into the slot that does not hold the checkpoint this one follows. */
function writeSuperblock(s: State): void {
  const checkpoint = current(s)
  const { number } = checkpoint.root
  const slot = s.bug === 'superblock-in-newest-slot' ? (number - 1) % 2 : number % 2
  store(s.disk.superblocks[slot], newSuperblock(checkpoint))
  if (s.bug === 'release-before-superblock-sync') hold(s, [newSuperblock(checkpoint)])
  checkpoint.step = 'sync superblock'
}

function syncSuperblock(s: State): void {
  const checkpoint = current(s)
  syncData(s.disk)
  if (checkpoint.kind === 'final') checkpoint.step = 'new segment'
  else appendComplete(s)
}

function beginLog(s: State): void {
  if (s.bug === 'read-log-synced-late') rewriteLog(s.disk)
  beginEpoch(s.disk, current(s).root.position)
  appendComplete(s)
}

/** R8, R10: what follows from the switch follows this frame in the log. */
function appendComplete(s: State): void {
  const memory = running(s)
  const checkpoint = current(s)
  const { number } = checkpoint.root
  memory.newest = number
  if (s.bug !== 'complete-before-switch') checkpoint.completeAt = append(s, { kind: 'complete', number })
  for (const trx of memory.transactions) if (trx.state === 'frozen-big') switchBig(s, trx, checkpoint.completeAt)
  checkpoint.step = 'release'
}

/** R7: holds the blocks of these checkpoints, and of no other. */
export function hold(s: State, superblocks: Superblock[]): void {
  running(s).held = [...new Set(superblocks.flatMap((each) => blocksOf(s.disk, each)))].sort((x, y) => x - y)
}

function newSuperblock({ root, ref }: Checkpoint): Superblock {
  return { number: root.number, position: root.position, root: ref! }
}

/** R8: the delta is merged; the blocks and the log of the checkpoint before go free. */
function release(s: State): void {
  const memory = running(s)
  const checkpoint = current(s)
  memory.base = memory.base.map((ref, page) => {
    const changed = memory.delta![page]
    return changed === 0 ? null : (changed ?? ref)
  })
  memory.delta = null
  memory.checkpoint = null
  hold(s, [newSuperblock(checkpoint)])
  releaseLog(s.disk, checkpoint.root.position)
}
