import { DamagedError, NextkeyError } from '../base/errors.js'
import type { FileSystem } from '../platform/file-system.js'
import { decodeHeader, decodeMark, Frame, Header, LOG_FORMAT_VERSION, type SegmentHeader } from './log-format.js'
import { STAGED_SUFFIX } from './segment-supply.js'
import { LARGEST_FRAME, SegmentWindow } from './segment-window.js'

/** A segment file found on opening. */
export interface FoundSegment {
  readonly path: string
  /** Bytes of the file. */
  readonly size: number
  readonly header: SegmentHeader
  /** 0: none. */
  readonly mark: number
}

export interface FoundFiles {
  /** The log: each segment is the predecessor of the next one. Empty if there is no log. */
  readonly chain: readonly FoundSegment[]
  /** Only if damage is passed over: for every segment, the newest first, the log that ends with it. */
  readonly chains: readonly (readonly FoundSegment[])[]
  /** Why the chain does not begin earlier: what its first segment says comes before it. */
  readonly missing: { readonly sequence: number; readonly epoch: string } | undefined
  /** Segments that are not part of the chain: released, or of the end of an epoch that a recovery cut off. */
  readonly stale: readonly FoundSegment[]
  /** Files that never became segments; their making may have been interrupted, and their names may not be on disk. */
  readonly neverUsed: readonly string[]
  readonly highestSequence: number
  /** Larger than the number in any name. */
  readonly nextNumber: number
  /** The largest that was left beside the log; 0: none. */
  readonly mark: number
}

/**
 * Finds the log in a directory.
 *
 * Sequences grow with every header ever written, so the newest header is the end of the log, and the log is what one
 * reaches from there by going from predecessor to predecessor. A segment one does not reach that way was released, or belongs to
 * the end of an epoch that a recovery cut off when it began the next one.
 *
 * A header in the middle of the log that is lost leaves a gap; that of the newest segment would leave a shorter log and no gap, if the file
 * holds an older header now, as after a write that never reached the disk. But no frame is written before its segment's header
 * is durable (segment-supply.ts, RULE 3), and a frame is valid under one header alone: a file whose body begins with a frame of the
 * segment that would come next has lost its header, whether it seems to be within the chain or not.
 */
export function findSegments(
  fileSystem: FileSystem,
  directory: string,
  databaseId: Uint8Array,
  onDamage: (damage: DamagedError) => void = refuse,
): FoundFiles {
  const { found, spares, staged, newest, nextNumber } = readHeaders(fileSystem, directory, databaseId, onDamage)
  const chain = follow(newest, found, onDamage)
  const missing = chain.length > 0 && chain[0].header.predecessorSequence > 0 ? predecessorOf(chain[0].header) : undefined
  const inChain = new Set(chain)
  const stale = [...found.values()].filter((segment) => !inChain.has(segment))
  if (newest !== undefined) {
    for (const segment of [...found.values(), ...spares]) {
      if (!continues(fileSystem, segment, newest)) continue
      // Who looks on while the owner writes may have read the header a moment too early.
      const now = readHeader(fileSystem, segment.path, databaseId, onDamage)
      if (now === undefined || now.header.sequence <= newest.header.sequence)
        onDamage(damage(segment.path, `holds log that comes after ${newest.path}, under the header of an earlier use`))
    }
  }
  const neverUsed = [...staged, ...spares.map(({ path }) => path)]
  const ends = [...found.values()].sort((a, b) => b.header.sequence - a.header.sequence)
  const chains = onDamage === refuse || newest === undefined ? [] : ends.map((end) => follow(end, found, onDamage))
  const mark = ends.reduce((largest, segment) => Math.max(largest, segment.mark), 0)
  return { chain, chains, missing, stale, neverUsed, highestSequence: newest?.header.sequence ?? 0, nextNumber, mark }
}

interface FoundHeaders {
  /** By `keyOf`. */
  readonly found: Map<string, FoundSegment>
  readonly spares: FoundSegment[]
  /** Files still being zeroed when the process ended. */
  readonly staged: string[]
  newest: FoundSegment | undefined
  nextNumber: number
}

function readHeaders(
  fileSystem: FileSystem,
  directory: string,
  databaseId: Uint8Array,
  onDamage: (damage: DamagedError) => void,
): FoundHeaders {
  const headers: FoundHeaders = { found: new Map(), spares: [], staged: [], newest: undefined, nextNumber: 1 }
  for (const name of fileSystem.exists(directory) ? fileSystem.list(directory) : []) {
    const match = /^(\d+)(\.log|\.new)$/.exec(name)
    if (match === null) continue
    headers.nextNumber = Math.max(headers.nextNumber, Number(match[1]) + 1)
    const path = `${directory}/${name}`
    if (match[2] === STAGED_SUFFIX) {
      headers.staged.push(path)
      continue
    }
    const segment = readHeader(fileSystem, path, databaseId, onDamage)
    if (segment === undefined) continue
    const { sequence, epoch } = segment.header
    if (sequence === 0) {
      headers.spares.push(segment)
      continue
    }
    const twin = headers.found.get(keyOf(sequence, epoch))
    if (twin !== undefined) onDamage(damage(path, `is the same segment as ${twin.path}: one of them is a copy, move it away`))
    headers.found.set(keyOf(sequence, epoch), segment)
    if (headers.newest === undefined || sequence > headers.newest.header.sequence) headers.newest = segment
  }
  return headers
}

function follow(
  newest: FoundSegment | undefined,
  found: Map<string, FoundSegment>,
  onDamage: (damage: DamagedError) => void,
): FoundSegment[] {
  const chain: FoundSegment[] = []
  for (let segment = newest; segment !== undefined; ) {
    chain.push(segment)
    const { header } = segment
    const before = found.get(keyOf(header.predecessorSequence, header.predecessorEpoch))
    const problem = before === undefined ? undefined : linkProblem(before, segment)
    if (problem !== undefined) onDamage(problem)
    segment = problem === undefined ? before : undefined
  }
  return chain.reverse()
}

/** A header that carries a valid checksum and still contradicts its predecessor was never written by this program. */
function linkProblem(before: FoundSegment, after: FoundSegment): DamagedError | undefined {
  const end = before.header.first + before.header.length
  const { first, epoch, sequence } = after.header
  const fits = epoch === before.header.epoch ? first === end : first > before.header.first && first <= end
  if (fits && sequence > before.header.sequence) return undefined
  return damage(after.path, `does not go on where its predecessor ${before.path} ends`)
}

function readHeader(
  fileSystem: FileSystem,
  path: string,
  databaseId: Uint8Array,
  onDamage: (damage: DamagedError) => void,
): FoundSegment | undefined {
  const file = fileSystem.open(path, { readOnly: true })
  try {
    const block = new Uint8Array(Header.BlockSize)
    const length = file.readSync(block, 0, Header.BlockSize, 0)
    const header = decodeHeader(block.subarray(0, length), databaseId)
    if (header === 'foreign') return undefined
    if (header === 'unreadable') {
      onDamage(damage(path, 'has no readable segment header; if it does not belong to the database, move it away'))
      return undefined
    }
    if (header === 'newer') {
      throw new NextkeyError(
        'ERR_FORMAT_VERSION',
        `${path} was written by a newer version of nextkey (this one knows log format ${LOG_FORMAT_VERSION})`,
        {
          details: { file: path },
        },
      )
    }
    const size = file.size()
    if (size !== Header.BlockSize + header.length)
      onDamage(damage(path, `has ${size} bytes where its header says ${Header.BlockSize + header.length}`))
    return { path, size, header, mark: decodeMark(block.subarray(0, length), databaseId) }
  } finally {
    file.close()
  }
}

/** Whether the body of the file begins with a frame of the segment that comes after `newest`. */
function continues(fileSystem: FileSystem, { path, size }: FoundSegment, newest: FoundSegment): boolean {
  const { epoch, sequence } = newest.header
  const length = size - Header.BlockSize
  if (length < Frame.MinimumSize) return false
  const window = new SegmentWindow(fileSystem, Math.min(LARGEST_FRAME, length))
  window.enter(path, { epoch, sequence: sequence + 1 })
  try {
    return window.load(0, length) === undefined
  } finally {
    window.leave()
  }
}

function predecessorOf(header: SegmentHeader): { sequence: number; epoch: string } {
  return { sequence: header.predecessorSequence, epoch: header.predecessorEpoch }
}

function keyOf(sequence: number, epoch: string): string {
  return `${sequence} ${epoch}`
}

function damage(path: string, what: string): DamagedError {
  return new DamagedError(`the write-ahead log is damaged: ${path} ${what}`, { file: path, problem: what }, 'ERR_LOG_DAMAGED')
}

/** What opening does with damage; salvage passes over it. */
function refuse(problem: DamagedError): never {
  throw problem
}
