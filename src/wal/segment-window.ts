import { assert } from '../base/assert.js'
import { crc32 } from '../base/crc32.js'
import type { File, FileSystem } from '../platform/file-system.js'
import { translatingErrors } from './failure.js'
import { Fragment, Frame, Header, type SegmentIdentity, seedOf } from './log-format.js'

export const LARGEST_FRAME: number = Frame.HeaderSize + Frame.MaximumPayload
const LAG_AFTER_LENGTH = (Frame.Lag - Frame.Length) >> 2

/** A view of one segment's body that can judge the frame at any offset. */
export class SegmentWindow {
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

  /** Shows the file at `path` from here on, and judges its frames as those of the segment that `identity` names. */
  enter(path: string, identity: SegmentIdentity): void {
    this.leave()
    this.#file = translatingErrors(`open ${path}`, () => this.#fileSystem.open(path, { readOnly: true }))
    this.#seed = seedOf(identity)
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

  /**
   * The first place from `offset` on that may hold a frame whose lag is less than its offset plus `base`, as far as the window shows; else
   * where to go on, which is beyond `offset`. Cheap: it looks at lengths and lags alone, which may be those of no frame.
   */
  nextClaim(offset: number, base: number): number {
    const words = this.#words
    const at = this.#show(offset)
    const origin = offset + base - at
    const first = (at + Frame.Length) >> 2
    const last = ((this.#to - this.#from) >> 2) - LAG_AFTER_LENGTH
    let word = first
    for (; word < last; word++) {
      const length = words[word]
      if (length === 0 || length >>> 0 > Frame.MaximumPayload) continue
      if (words[word + LAG_AFTER_LENGTH] >>> 0 < origin + (word << 2) - Frame.Length) break
    }
    return offset + (Math.max(word - first, word < last ? 0 : 1) << 2)
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
