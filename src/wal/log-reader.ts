import { assert } from '../base/assert.js'
import { crc32 } from '../base/crc32.js'
import { DamagedError } from '../base/errors.js'
import type { LogPosition } from '../base/ids.js'
import type { File, FileSystem } from '../platform/file-system.js'
import { translatingErrors } from './failure.js'
import { Fragment, Frame, frameEnd, Header, seedOf } from './log-format.js'
import type { FoundSegment } from './segment-chain.js'

/**
 * Reads the groups of a log in order, and tells its tail from damage.
 *
 * A bad frame ends the log if it may be one whose sync was never acknowledged: the crash took it, or what came before it. It is
 * damage if something proves that a sync covered it:
 * - a later segment of another epoch: the recovery that began it had read this frame;
 * - a valid frame further on, in this segment or a later one of the epoch, that was written when a position beyond
 *   this frame was known to be synced. Frames can be judged alone (log-format.ts, RULE 1), so each place beyond the bad
 *   one is tried.
 * What is not proven damaged is dropped: a commit that was acknowledged and then rotted, with no later group to testify, is
 * indistinguishable from one whose sync never ended.
 *
 * Memory is bounded: a window of 1 MiB, and the largest group that spans several frames.
 */
export class LogReader {
  /** The group `next` has found: kind, bytes[start, end), where it begins and where the next one does. Valid until the next call. */
  kind = 0
  bytes: Uint8Array
  start = 0
  end = 0
  position: LogPosition
  endPosition: LogPosition

  readonly #fileSystem: FileSystem
  readonly #chain: readonly FoundSegment[]
  #index: number
  readonly #window: SegmentWindow
  /** Where the next frame is, in the body of segment `#index`. */
  #offset: number
  #assembly = new Uint8Array(0)
  #assembled = 0
  #provenThrough: number
  #ended = false
  #tail: LogPosition | undefined

  /** Reading begins at `from`: a position between two groups within the chain. */
  constructor(fileSystem: FileSystem, chain: readonly FoundSegment[], from: LogPosition) {
    this.#fileSystem = fileSystem
    this.#chain = chain
    this.#index = chain.filter((segment) => segment.header.first <= from).length - 1
    assert(this.#index >= 0, 'reading begins within the log')
    this.#window = this.#newWindow()
    this.#window.enter(this.#segment)
    this.bytes = this.#window.bytes
    this.#offset = from - this.#segment.header.first
    this.position = from
    this.endPosition = from
    this.#provenThrough = from
  }

  /** Everything from where reading began to here is known to be on disk: a group read, or the beginning of an epoch, says so. */
  get provenThrough(): LogPosition {
    return this.#provenThrough as LogPosition
  }

  /** Where the log ends, once `next` has returned false; undefined before. */
  get tail(): LogPosition | undefined {
    return this.#tail
  }

  /**
   * Moves to the next group; false at the end of the log.
   * Raises DamagedError (ERR_LOG_DAMAGED) where acknowledged groups cannot be read, ERR_IO.
   */
  next(): boolean {
    if (this.#ended) return false
    this.position = this.endPosition
    this.#assembled = 0
    let expected: 'start' | 'continuation' = 'start'
    for (;;) {
      if (this.#offset === this.#limit && !this.#enterNext()) return this.#finish()
      const problem = this.#checkFrame(expected)
      if (problem !== undefined) return this.#badFrame(problem)
      this.#prove(this.#segment.header.first + this.#offset - this.#window.lag)
      const fragment = this.#window.fragment
      if (fragment === Fragment.Full)
        return this.#deliver(this.#window.bytes, this.#window.payload, this.#window.payload + this.#window.length)
      if (fragment === Fragment.First) this.kind = this.#window.kind
      this.#assemble()
      if (fragment === Fragment.Last) return this.#deliver(this.#assembly, 0, this.#assembled)
      expected = 'continuation'
    }
  }

  close(): void {
    this.#ended = true
    this.#window.leave()
  }

  #newWindow(): SegmentWindow {
    return new SegmentWindow(this.#fileSystem, Math.min(WINDOW_SIZE, Math.max(...this.#chain.map(({ header }) => header.length))))
  }

  get #segment(): FoundSegment {
    return this.#chain[this.#index]
  }

  /** Offset in the body where this segment's part of the log ends (log-format.ts, RULE 3). */
  get #limit(): number {
    const { first, length } = this.#segment.header
    const next = this.#chain[this.#index + 1]
    return next === undefined ? length : next.header.first - first
  }

  #enterNext(): boolean {
    if (this.#index + 1 === this.#chain.length) return false
    const { epoch } = this.#segment.header
    this.#index++
    this.#offset = 0
    this.#window.enter(this.#segment)
    if (this.#segment.header.epoch !== epoch) this.#prove(this.#segment.header.first)
    return true
  }

  #prove(position: number): void {
    if (position > this.#provenThrough) this.#provenThrough = position
  }

  /** What is wrong with the frame at the current place, or undefined. */
  #checkFrame(expected: 'start' | 'continuation'): string | undefined {
    const window = this.#window
    const problem = window.load(this.#offset, this.#limit)
    if (problem !== undefined) return problem
    const starts = window.fragment === Fragment.Full || window.fragment === Fragment.First
    if (starts !== (expected === 'start')) return starts ? 'the fragments of a group end too early' : 'a fragment belongs to no group'
    if (!starts && window.kind !== this.kind) return 'the fragments of a group differ in kind'
    return undefined
  }

  #assemble(): void {
    const { length, payload, bytes } = this.#window
    if (this.#assembled + length > this.#assembly.length) {
      const grown = new Uint8Array(Math.max(2 * this.#assembly.length, this.#assembled + length, 4 * Frame.MaximumPayload))
      grown.set(this.#assembly.subarray(0, this.#assembled))
      this.#assembly = grown
    }
    this.#assembly.set(bytes.subarray(payload, payload + length), this.#assembled)
    this.#assembled += length
    this.#advance()
  }

  #deliver(bytes: Uint8Array, start: number, end: number): boolean {
    if (this.#assembled === 0) {
      this.kind = this.#window.kind
      this.#advance()
    }
    this.bytes = bytes
    this.start = start
    this.end = end
    this.endPosition = (this.#segment.header.first + this.#offset) as LogPosition
    return true
  }

  #advance(): void {
    this.#offset = frameEnd(this.#offset, this.#window.length, this.#segment.header.length)
  }

  #finish(): boolean {
    this.close()
    this.#tail = this.endPosition
    return false
  }

  #badFrame(problem: string): boolean {
    const bad = (this.#segment.header.first + this.#offset) as LogPosition
    const proof = this.#proofOfSync(bad)
    if (proof === undefined) return this.#finish()
    const { path } = this.#segment
    const offset = Header.BlockSize + this.#offset
    this.close()
    throw new DamagedError(
      `the write-ahead log is damaged: ${problem} at position ${bad} (${path}, offset ${offset}), though ${proof}; acknowledged commits from here on cannot be read`,
      { file: path, position: bad, offset, problem, proof },
      'ERR_LOG_DAMAGED',
    )
  }

  /** Looks for evidence that everything up to and beyond the frame at `bad` was once synced. */
  #proofOfSync(bad: LogPosition): string | undefined {
    const { epoch } = this.#segment.header
    const window = this.#newWindow()
    try {
      for (let index = this.#index; index < this.#chain.length; index++) {
        const segment = this.#chain[index]
        const { first, length } = segment.header
        if (segment.header.epoch !== epoch) return `${segment.path} was begun by a recovery that had read up to ${first}`
        window.enter(segment)
        const from = index === this.#index ? this.#offset + Frame.Alignment : 0
        for (
          let offset = window.skipZeros(from);
          length - offset >= Frame.MinimumSize;
          offset = window.skipZeros(offset + Frame.Alignment)
        ) {
          if (!window.mayProve(offset, first + offset - bad) || window.load(offset, length) !== undefined) continue
          const position = first + offset
          return `the group at ${position} (${segment.path}) was written when ${position - window.lag} was already on disk`
        }
      }
      return undefined
    } finally {
      window.leave()
    }
  }
}

const WINDOW_SIZE = 1_048_576
const LARGEST_FRAME: number = Frame.HeaderSize + Frame.MaximumPayload

/** A view of one segment's body that can judge the frame at any offset. */
class SegmentWindow {
  readonly bytes: Uint8Array
  // The frame that `load` found valid; `payload` is where its payload lies in `bytes`.
  length = 0
  lag = 0
  kind = 0
  fragment: Fragment = Fragment.Full
  payload = 0

  readonly #fileSystem: FileSystem
  readonly #view: DataView
  readonly #words: Int32Array
  #file: File | undefined
  #seed = 0
  /** The window shows [#from, #to) of the body. */
  #from = 0
  #to = 0

  /** `size` is that of the largest frame at least, or that of the largest body. */
  constructor(fileSystem: FileSystem, size: number) {
    this.#fileSystem = fileSystem
    this.bytes = new Uint8Array(size)
    this.#view = new DataView(this.bytes.buffer)
    this.#words = new Int32Array(this.bytes.buffer, 0, size >> 2)
  }

  enter(segment: FoundSegment): void {
    this.leave()
    this.#file = translatingErrors(`open ${segment.path}`, () => this.#fileSystem.open(segment.path, { readOnly: true }))
    this.#seed = seedOf(segment.header)
    this.#from = this.#to = 0
  }

  leave(): void {
    this.#file?.close()
    this.#file = undefined
  }

  /** Reads the frame at `offset`, which must end by `limit`. Returns what is wrong with it, or undefined. */
  load(offset: number, limit: number): string | undefined {
    if (limit - offset < Frame.MinimumSize) return 'there is no room for a frame'
    const at = this.#show(offset)
    if (this.#to - offset < Frame.MinimumSize) return 'the file ends'
    const length = this.#view.getUint32(at + Frame.Length, true)
    if (length === 0 || length > Frame.MaximumPayload || length > Math.min(limit, this.#to) - offset - Frame.HeaderSize)
      return `the length ${length} of a frame is impossible`
    const fragment = this.bytes[at + Frame.Fragment]
    if (fragment > Fragment.Last) return `the fragment type ${fragment} is unknown`
    const checksum = crc32(this.bytes, at + Frame.Length, at + Frame.HeaderSize + length, (this.#seed + offset) >>> 0)
    if (checksum !== this.#view.getUint32(at + Frame.Checksum, true)) return 'the checksum of a frame does not match'
    this.length = length
    this.lag = this.#lag(at)
    this.kind = this.bytes[at + Frame.Kind]
    this.fragment = fragment
    this.payload = at + Frame.HeaderSize
    return undefined
  }

  /** Whether what lies at `offset`, if it is a frame, claims a lag below `distance`: cheap to say no. */
  mayProve(offset: number, distance: number): boolean {
    return this.#lag(this.#show(offset)) < distance
  }

  /** The first place from `offset` on where a frame may be, as far as the window shows: no frame is of length 0, and unused space is zeros. */
  skipZeros(offset: number): number {
    const words = this.#words
    const at = this.#show(offset)
    const end = (this.#to - this.#from) >> 2
    const first = (at + Frame.Length) >> 2
    let word = first
    while (word < end && words[word] === 0) word++
    return offset + ((word - first) << 2)
  }

  #lag(at: number): number {
    return this.#view.getUint32(at + Frame.Lag, true)
  }

  /** Makes the window show the largest frame there may be at `offset`, and returns where that is in `bytes`. */
  #show(offset: number): number {
    const reachesEnd = this.#to - this.#from < this.bytes.length
    if (offset < this.#from || this.#to === this.#from || (offset + LARGEST_FRAME > this.#to && !reachesEnd)) {
      const file = this.#file
      assert(file !== undefined, 'a window shows a segment')
      const count = translatingErrors(`read ${file.path}`, () => file.readSync(this.bytes, 0, this.bytes.length, Header.BlockSize + offset))
      this.#from = offset
      this.#to = offset + count
    }
    return offset - this.#from
  }
}
