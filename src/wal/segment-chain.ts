import { DamagedError, NextkeyError } from '../base/errors.js'
import type { FileSystem } from '../platform/file-system.js'
import { decodeHeader, Header, LOG_FORMAT_VERSION, type SegmentHeader } from './log-format.js'
import { STAGED_SUFFIX } from './segment-supply.js'

/** A segment file found on opening. */
export interface FoundSegment {
  readonly path: string
  /** Bytes of the file. */
  readonly size: number
  readonly header: SegmentHeader
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
}

/**
 * Finds the log in a directory.
 *
 * Sequences grow with every header ever written, so the newest header is the end of the log, and the log is what one
 * reaches from there by going from predecessor to predecessor. A segment one does not reach that way was released, or belongs to
 * the end of an epoch that a recovery cut off when it began the next one.
 */
export function findSegments(
  fileSystem: FileSystem,
  directory: string,
  databaseId: Uint8Array,
  onDamage: (damage: DamagedError) => void = refuse,
): FoundFiles {
  const found = new Map<string, FoundSegment>()
  const neverUsed: string[] = []
  let nextNumber = 1
  let newest: FoundSegment | undefined
  for (const name of fileSystem.exists(directory) ? fileSystem.list(directory) : []) {
    const match = /^(\d+)(\.log|\.new)$/.exec(name)
    if (match === null) continue
    nextNumber = Math.max(nextNumber, Number(match[1]) + 1)
    const path = `${directory}/${name}`
    const segment = match[2] === STAGED_SUFFIX ? 'never used' : readHeader(fileSystem, path, databaseId, onDamage)
    if (segment === undefined) continue
    if (segment === 'never used' || segment.header.sequence === 0) neverUsed.push(path)
    else {
      const key = keyOf(segment.header.sequence, segment.header.epoch)
      const twin = found.get(key)
      if (twin !== undefined) onDamage(damage(path, `is the same segment as ${twin.path}: one of them is a copy, move it away`))
      found.set(key, segment)
      if (newest === undefined || segment.header.sequence > newest.header.sequence) newest = segment
    }
  }
  const chain = follow(newest, found, onDamage)
  const missing = chain.length > 0 && chain[0].header.predecessorSequence > 0 ? predecessorOf(chain[0].header) : undefined
  const inChain = new Set(chain)
  const stale = [...found.values()].filter((segment) => !inChain.has(segment))
  const ends = [...found.values()].sort((a, b) => b.header.sequence - a.header.sequence)
  const chains = onDamage === refuse || newest === undefined ? [] : ends.map((end) => follow(end, found, onDamage))
  return { chain, chains, missing, stale, neverUsed, highestSequence: newest?.header.sequence ?? 0, nextNumber }
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
    return { path, size, header }
  } finally {
    file.close()
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
