import { assert } from '../base/assert.js'
import { crc32 } from '../base/crc32.js'
import type { LogPosition } from '../base/ids.js'
import type { LogFailure } from './failure.js'
import { Fragment, Frame, framedSize, frameEnd } from './log-format.js'
import type { Segment } from './segment.js'
import type { SegmentSupply } from './segment-supply.js'

/** Past this many pending bytes an append hands them to the operating system itself (D1). */
const MAXIMUM_PENDING = 1_048_576

/**
 * The end of the log: frames groups into a buffer, and hands the buffer to the segments.
 *
 *   … durable ≤ written ≤ end
 *
 * The bytes [written, end) lie at the start of the buffer. `#easy` says how many bytes may be framed before anything needs care:
 * the buffer's bound, the end of the segment, the point where the next one should be prepared, the largest frame, or a
 * failure; so the common append makes one comparison.
 */
export class LogBuffer {
  #durable: number
  /** Bytes handed to the operating system since the log was begun. */
  bytesWritten = 0

  readonly #supply: SegmentSupply
  readonly #failure: LogFailure
  readonly #bytes: Uint8Array = new Uint8Array(MAXIMUM_PENDING + Frame.HeaderSize + Frame.MaximumPayload + 2 * Frame.MinimumSize)
  readonly #view: DataView = new DataView(this.#bytes.buffer)
  /** Of the buffer that was appended from last. */
  #source: DataView = this.#view
  #written: number
  #used = 0
  #easy = 0
  /** Not yet full and durable, oldest first; the last one is being framed into. */
  readonly #segments: Segment[]
  #current: Segment
  /** Checksum seed of the buffer's first byte, if that lay in the current segment. */
  #seed = 0
  /** Position from which the next segment is to be prepared. */
  #prepareAt = 0

  constructor(supply: SegmentSupply, failure: LogFailure, start: number) {
    this.#supply = supply
    this.#failure = failure
    this.#durable = start
    this.#written = start
    this.#current = supply.take()
    this.#segments = [this.#current]
    assert(this.#current.first === start, 'a log begins where its first segment does')
    this.#enter(this.#current)
    failure.listen(() => {
      this.#easy = 0
    })
  }

  get end(): number {
    return this.#written + this.#used
  }

  /** Everything before this is on disk. Frames record it. */
  get durable(): number {
    return this.#durable
  }

  get written(): number {
    return this.#written
  }

  /** Segments that hold [from, to), oldest first. */
  segmentsBetween(from: number, to: number): Segment[] {
    return this.#segments.filter((segment) => segment.first < to && segment.end > from)
  }

  get segmentCount(): number {
    return this.#segments.length
  }

  get openSize(): number {
    let size = 0
    for (const segment of this.#segments) size += segment.size
    return size
  }

  /**
   * Frames bytes[start, end) as one group and returns the position after it.
   * Raises ERR_POISONED or ERR_DISK_FULL before anything has happened, ERR_COMMIT_UNKNOWN if the log fails on the way.
   */
  append(kind: number, bytes: Uint8Array, start: number, end: number): LogPosition {
    const length = end - start
    const size = (Frame.HeaderSize + length + (Frame.Alignment - 1)) & -Frame.Alignment
    assert(length > 0 && kind === (kind & 255), 'a group has at least one byte, and its kind is a byte')
    if (size > this.#easy) return this.#appendWithCare(kind, bytes, start, end)
    this.#easy -= size
    this.#putFrame(kind, Fragment.Full, bytes, start, length, size)
    return (this.#written + this.#used) as LogPosition
  }

  /** Has room for `groups` groups of `bytes` bytes together, or raises ERR_DISK_FULL. */
  reserve(bytes: number, groups: number): void {
    this.#failure.check()
    this.#supply.reserve(this.end + framedSize(bytes, groups, this.#supply.bodyLength))
  }

  /** Hands everything to the operating system. Raises ERR_COMMIT_UNKNOWN if it does not take it. */
  write(): void {
    if (this.#used === 0) return
    if (this.#failure.happened) throw this.#failure.commitUnknown()
    const end = this.end
    try {
      for (const segment of this.segmentsBetween(this.#written, end)) {
        const from = Math.max(this.#written, segment.first)
        segment.write(this.#bytes, from - this.#written, Math.min(end, segment.end) - from, from)
      }
    } catch (error) {
      this.#failure.happen('write', error)
      throw this.#failure.commitUnknown()
    }
    this.bytesWritten += this.#used
    this.#written = end
    this.#used = 0
    this.#reckon()
  }

  /** Leaves a number beside the log. Raises ERR_POISONED. */
  mark(number: number): void {
    this.#failure.check()
    try {
      this.#current.writeMark(this.#supply.databaseId, number)
    } catch (error) {
      this.#failure.happen('write', error)
      throw this.#failure.poisoned()
    }
  }

  /** Everything before `position` is on disk. */
  becameDurable(position: number): void {
    assert(position <= this.#written, 'only what was written can be durable')
    if (position <= this.#durable) return
    this.#durable = position
    while (this.#segments.length > 1 && this.#segments[0].end <= position) this.#supply.retire(this.#segments.shift() as Segment)
  }

  close(): void {
    for (const segment of this.#segments) segment.close()
  }

  #appendWithCare(kind: number, bytes: Uint8Array, start: number, end: number): LogPosition {
    this.#failure.check()
    assert(end - start <= Frame.MaximumGroup, 'a group has at most 2 GiB')
    this.reserve(end - start, 1)
    let at = start
    do {
      if (this.#used >= MAXIMUM_PENDING) this.write()
      if (this.end === this.#current.end) this.#enter(this.#supply.take())
      const offset = this.end - this.#current.first
      const bodyLength = this.#current.header.length
      const length = Math.min(end - at, bodyLength - offset - Frame.HeaderSize, Frame.MaximumPayload)
      const fragment =
        at === start ? (length === end - at ? Fragment.Full : Fragment.First) : length === end - at ? Fragment.Last : Fragment.Middle
      this.#putFrame(kind, fragment, bytes, at, length, frameEnd(offset, length, bodyLength) - offset)
      at += length
    } while (at < end)
    this.#reckon()
    // Last, for it may fail the log, and nothing must be easy then.
    if (this.end >= this.#prepareAt) this.#supply.prepareAhead()
    return this.end as LogPosition
  }

  #enter(segment: Segment): void {
    if (segment !== this.#current) this.#segments.push(segment)
    this.#current = segment
    this.#prepareAt = segment.first + segment.header.length / 2
    this.#reckon()
  }

  /** Recomputes what depends on segment and buffer together. */
  #reckon(): void {
    const end = this.end
    this.#seed = (this.#current.seed + (this.#written - this.#current.first)) | 0
    let easy = Math.min(Frame.HeaderSize + Frame.MaximumPayload, MAXIMUM_PENDING - this.#used, this.#current.end - end - Frame.MinimumSize)
    if (end < this.#prepareAt) easy = Math.min(easy, this.#prepareAt - end)
    this.#easy = easy
  }

  /** One frame of `size` bytes, padding included. */
  #putFrame(kind: number, fragment: Fragment, bytes: Uint8Array, start: number, length: number, size: number): void {
    const at = this.#used
    const target = this.#bytes
    const view = this.#view
    view.setUint32(at + Frame.Length, length, true)
    view.setUint32(at + Frame.Lag, this.#written - this.#durable + at, true)
    view.setUint32(at + Frame.Kind, kind | (fragment << 8), true)
    const to = at + Frame.HeaderSize
    if (size - length - Frame.HeaderSize >= Frame.Alignment) target.fill(0, to + length, at + size)
    else view.setUint32(at + size - Frame.Alignment, 0, true)
    this.#copy(bytes, start, to, length)
    view.setUint32(at + Frame.Checksum, crc32(target, at + Frame.Length, to + length, (this.#seed + at) >>> 0), true)
    this.#used = at + size
  }

  /** Whoever appends mostly does so from one buffer: the view of it is kept, so that a small copy allocates nothing. */
  #copy(source: Uint8Array, start: number, to: number, length: number): void {
    const target = this.#bytes
    if (length > SMALL_COPY) {
      target.set(source.subarray(start, start + length), to)
      return
    }
    if (source.buffer !== this.#source.buffer) this.#source = new DataView(source.buffer)
    const from = this.#source
    const view = this.#view
    const base = source.byteOffset + start
    let i = 0
    for (const stop = length - 3; i < stop; i += 4) view.setInt32(to + i, from.getInt32(base + i, true), true)
    for (; i < length; i++) target[to + i] = source[start + i]
  }
}

/** Below this a loop is faster than a native copy and the view it needs (measured). */
const SMALL_COPY = 160
