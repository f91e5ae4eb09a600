import { assert } from '../base/assert.js'
import { DamagedError } from '../base/errors.js'
import type { LogPosition } from '../base/ids.js'
import type { FileSystem } from '../platform/file-system.js'
import { Fragment, Frame, frameEnd, Header } from './log-format.js'
import type { FoundSegment } from './segment-chain.js'
import { SegmentWindow } from './segment-window.js'

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

  /** Reading begins at `from`: a position between two groups within the chain; or, with `skipsRest`, at the first group after it. */
  constructor(fileSystem: FileSystem, chain: readonly FoundSegment[], from: LogPosition, skipsRest: boolean = false) {
    this.#fileSystem = fileSystem
    this.#chain = chain
    this.#index = chain.filter((segment) => segment.header.first <= from).length - 1
    assert(this.#index >= 0, 'reading begins within the log')
    this.#window = this.#newWindow()
    this.#window.enter(this.#segment.path, this.#segment.header)
    this.bytes = this.#window.bytes
    this.#offset = from - this.#segment.header.first
    if (skipsRest) this.#skipRest()
    this.position = this.endPosition = (this.#segment.header.first + this.#offset) as LogPosition
    this.#provenThrough = this.position
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
    this.#window.enter(this.#segment.path, this.#segment.header)
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

  /** The rest of a group whose beginning lies in a file that was released. */
  #skipRest(): void {
    const window = this.#window
    while (this.#offset < this.#limit || this.#enterNext()) {
      if (window.load(this.#offset, this.#limit) !== undefined) return
      if (window.fragment === Fragment.Full || window.fragment === Fragment.First) return
      this.#advance()
    }
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
        window.enter(segment.path, segment.header)
        const from = index === this.#index ? this.#offset + Frame.Alignment : 0
        const base = first - bad
        for (
          let offset = window.nextClaim(from, base);
          length - offset >= Frame.MinimumSize;
          offset = window.nextClaim(offset + Frame.Alignment, base)
        ) {
          if (window.load(offset, length) !== undefined || window.lag >= offset + base) continue
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
