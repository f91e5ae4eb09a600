/**
 * The disk of the model. A write is seen by readers at once and survives a power loss only if it was synced, or by
 * luck: each unsynced write on its own, in any combination. A block or log frame torn in the middle fails its checksum,
 * as one that was lost does; a torn superblock destroys what was in its slot, so that outcome is told apart.
 */
import {
  type Block,
  type Content,
  type Disk,
  type Frame,
  type Ref,
  type Root,
  SEGMENT,
  type Segment,
  type State,
  type Stored,
  type Superblock,
  Violation,
} from './state.js'

const contents: (Block | Frame | null)[] = [null]
const numbers = new Map<string, Content>()

export function intern(content: Block | Frame): Content {
  const text = JSON.stringify(content)
  const known = numbers.get(text)
  if (known !== undefined) return known
  numbers.set(text, contents.length)
  return contents.push(JSON.parse(text) as Block | Frame) - 1
}

/** What a reader gets. */
export function view<T>(cell: Stored<T>): T {
  return cell.pending === undefined ? cell.durable : cell.pending
}

export function store<T>(cell: Stored<T>, value: T): void {
  cell.pending = value
  delete cell.doubtful
}

function sync<T>(cell: Stored<T>): void {
  if (cell.pending === undefined || cell.doubtful) return
  cell.durable = cell.pending
  delete cell.pending
}

function fail<T>(cell: Stored<T>): void {
  if (cell.pending !== undefined) cell.doubtful = true
}

/** Superblocks lie in the data file: one sync is for both. */
export function syncData(disk: Disk, outcome: 'done' | 'failed' = 'done'): void {
  const apply = outcome === 'done' ? sync : fail
  for (const cell of disk.blocks) apply(cell)
  for (const cell of disk.superblocks) apply(cell)
}

export function syncSegment(segment: Segment, outcome: 'done' | 'failed' = 'done'): void {
  for (const cell of segment.frames) (outcome === 'done' ? sync : fail)(cell)
}

/** Writes every frame again, as a reader sees it, and syncs: what was doubtful is not any more. */
export function rewriteLog(disk: Disk): void {
  for (const segment of disk.segments) {
    for (const cell of segment.frames) store(cell, view(cell))
    syncSegment(segment)
  }
}

export function isLogDurable({ segments }: Disk): boolean {
  return segments.every(({ frames }) => frames.every((cell) => cell.pending === undefined))
}

export function isUnsynced(disk: Disk): boolean {
  return [disk.blocks, disk.superblocks, ...disk.segments.map(({ frames }) => frames)].flat().some((cell) => cell.pending !== undefined)
}

/** The block's content if it is what the reference says. */
export function readBlock(disk: Disk, [block, sum]: Ref): Block | null {
  return view(disk.blocks[block]) === sum ? (contents[sum] as Block) : null
}

export function readRoot(disk: Disk, superblock: Superblock): Root | null {
  return readBlock(disk, superblock.root) as Root | null
}

/** Every block the superblock leads to. */
export function blocksOf(disk: Disk, superblock: Superblock): number[] {
  const root = readRoot(disk, superblock)
  return root === null ? [] : [superblock.root[0], ...root.map.flatMap((ref) => (ref ? [ref[0]] : []))]
}

/** All superblocks in sight: durable, and written but not synced. */
export function superblocksOf(disk: Disk): Superblock[] {
  const found: Superblock[] = []
  for (const { durable, pending } of disk.superblocks) {
    if (durable !== 'bad') found.push(durable)
    if (pending !== undefined && pending !== 'bad') found.push(pending)
  }
  return found
}

/** Number of the newest checkpoint that a frame between P and the end of the log calls complete, of what `read` sees. */
export function newestComplete(disk: Disk, { position }: Superblock, read: (cell: Stored<Content>) => Content): number {
  let newest = 0
  for (let at = position; ; at++) {
    const cell = cellAt(disk, at)
    const frame = cell ? (contents[read(cell)] as Frame | null) : null
    if (frame === null) return newest
    if (frame.kind === 'complete') newest = Math.max(newest, frame.number)
  }
}

/**
 * Writes a block, and checks I5. Which checkpoint an opening could choose (R14): none older than one that the log calls
 * complete for certain; and one that it cannot call complete only if the other slot may turn out newer or bad.
 */
export function writeBlock(disk: Disk, block: number, content: Block): Ref {
  const certain = Math.max(0, ...superblocksOf(disk).map((each) => newestComplete(disk, each, (cell) => cell.durable)))
  for (const superblock of superblocksOf(disk)) {
    const { number } = superblock
    const other = disk.superblocks[1 - (number % 2)]
    const older = other.pending === undefined && other.durable !== 'bad' && other.durable.number < number
    const mayBeComplete = newestComplete(disk, superblock, (cell) => cell.pending ?? cell.durable) >= number
    if (number >= certain && (mayBeComplete || !older) && blocksOf(disk, superblock).includes(block)) {
      throw new Violation('I5', `block ${block} is overwritten while checkpoint ${number} leads to it and could still be chosen`)
    }
  }
  const sum = intern(content)
  store(disk.blocks[block], sum)
  return [block, sum]
}

/** The last segment that begins at or before the position: what an earlier one holds from there on is not log. */
function segmentAt(disk: Disk, position: number): Segment | undefined {
  return disk.segments.filter(({ first }) => first <= position).at(-1)
}

function cellAt(disk: Disk, position: number): Stored<Content> | undefined {
  const segment = segmentAt(disk, position)
  return segment?.frames[position - segment.first]
}

export function writeFrame(disk: Disk, position: number, frame: Frame): void {
  let segment = segmentAt(disk, position)!
  if (position - segment.first >= SEGMENT) {
    segment = { epoch: segment.epoch, first: position, frames: [] }
    disk.segments.push(segment)
  }
  while (segment.frames.length <= position - segment.first) segment.frames.push({ durable: 0 })
  store(segment.frames[position - segment.first], intern(frame))
}

/** R17: the frame at the position; or the log ends there; or what was there is lost although it had been synced. */
export function readFrame(disk: Disk, position: number): Frame | 'end' | 'gone' {
  const segment = segmentAt(disk, position)
  if (segment === undefined) return 'gone'
  const cell = cellAt(disk, position)
  if (cell !== undefined && view(cell) !== 0) return contents[view(cell)] as Frame
  for (const later of disk.segments) {
    if (later.first < segment.first) continue
    if (later.epoch !== segment.epoch) return 'gone'
    for (const { durableThrough } of later.frames.flatMap((each) => (contents[view(each)] as Frame | null) ?? [])) {
      if (durableThrough > position) return 'gone'
    }
  }
  return 'end'
}

/** R19: the segment of a new epoch, durable by name; whatever lay from there on is not log any more. */
export function beginEpoch(disk: Disk, first: number): void {
  const epoch = Math.max(...disk.segments.map((segment) => segment.epoch)) + 1
  disk.segments = [...disk.segments.filter((segment) => segment.first < first), { epoch, first, frames: [] }]
}

/** Releases the whole segments before `position`. */
export function releaseLog(disk: Disk, position: number): void {
  while (disk.segments[1]?.first <= position) disk.segments.shift()
}

/** Forgets the content of blocks nothing leads to: it has no bearing on what happens, and equal states become one. */
export function forgetUnreachable(state: State): void {
  const { disk, memory } = state
  const reachable = new Set<number>()
  for (const superblock of superblocksOf(disk)) for (const block of blocksOf(disk, superblock)) reachable.add(block)
  for (const ref of [...(memory?.base ?? []), ...(memory?.delta ?? []), memory?.checkpoint?.ref]) if (ref) reachable.add(ref[0])
  disk.blocks.forEach((_, block) => {
    if (!reachable.has(block)) disk.blocks[block] = { durable: 0 }
  })
}

interface Choice {
  label: string
  /** Takes effect on a copy of the disk. */
  outcomes: { label: string; apply: (disk: Disk) => void }[]
}

function choicesOf(disk: Disk): Choice[] {
  const choices: Choice[] = []
  const add = (label: string, cell: Stored<unknown>, find: (disk: Disk) => Stored<unknown>, torn: boolean): void => {
    if (cell.pending === undefined) return
    const settle = (value: 'durable' | 'pending' | 'bad') => (copy: Disk) => {
      const found = find(copy)
      found.durable = value === 'bad' ? 'bad' : found[value]
      delete found.pending
      delete found.doubtful
    }
    const outcomes = [
      { label: `${label} lost`, apply: settle('durable') },
      { label: `${label} kept`, apply: settle('pending') },
    ]
    if (torn) outcomes.push({ label: `${label} torn`, apply: settle('bad') })
    choices.push({ label, outcomes })
  }
  disk.blocks.forEach((cell, i) => {
    add(`block ${i}`, cell, (d) => d.blocks[i], false)
  })
  disk.superblocks.forEach((cell, i) => {
    add(`superblock ${'AB'[i]}`, cell, (d) => d.superblocks[i], true)
  })
  disk.segments.forEach(({ epoch, first, frames }, i) => {
    frames.forEach((cell, j) => {
      add(`frame ${first + j}${epoch > 1 ? ` of epoch ${epoch}` : ''}`, cell, (d) => d.segments[i].frames[j], false)
    })
  })
  return choices
}

/** Every disk a power loss may leave behind. */
export function powerLosses(disk: Disk): [label: string, disk: Disk][] {
  let outcomes: [string[], (copy: Disk) => void][] = [[[], () => {}]]
  for (const choice of choicesOf(disk)) {
    outcomes = outcomes.flatMap(([labels, apply]) =>
      choice.outcomes.map((outcome): [string[], (copy: Disk) => void] => [
        [...labels, outcome.label],
        (copy) => {
          apply(copy)
          outcome.apply(copy)
        },
      ]),
    )
  }
  const text = JSON.stringify(disk)
  return outcomes.map(([labels, apply]) => {
    const copy = JSON.parse(text) as Disk
    apply(copy)
    for (const { frames } of copy.segments) while (frames.at(-1)?.durable === 0) frames.pop()
    return [labels.length === 0 ? 'power loss' : `power loss: ${labels.join(', ')}`, copy]
  })
}
