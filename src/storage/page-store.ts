import type { FrameBase, PageId, TreeId } from '../base/ids.js'
import type { AdaptiveHash } from './adaptive-hash.js'
import type { PageType } from './page-format.js'

/**
 * Pages by id, as the structures built of pages see them (the pager implements it).
 *
 * All frames lie in one slab; a page is addressed by the byte offset of its frame, its `FrameBase`, through the typed
 * arrays below, which are the same objects for the store's whole life. Everything here is synchronous.
 *
 * Rules of use:
 * 1. A FrameBase is good until the next `beginOperation()`: a frame that was fetched or made in the current operation
 *    is never evicted in it. Nobody keeps a FrameBase across operations without comparing `version`.
 * 2. `willChange(base)` comes before the first byte of a page is changed, in every operation that changes it.
 * 3. One operation touches at most a few dozen pages.
 */
export interface PageStore {
  readonly u8: Uint8Array
  readonly u16: Uint16Array
  readonly i32: Int32Array
  readonly u32: Uint32Array
  /** The same bytes, for latin1/utf8/copy methods. */
  readonly buffer: Buffer

  /** Where entries were found lately. */
  readonly hash: AdaptiveHash

  /** Starts an operation: frames fetched before it may be evicted from now on. */
  beginOperation(): void
  /** The page's frame, read from disk if need be. Throws DamagedError if the block is not what the map says. */
  fetch(page: PageId): FrameBase
  /** Whether the frame holds a page, which then counts as fetched. */
  holds(base: FrameBase): boolean
  /** A new page: zeroed but for the header fields id, type and tree. Its frame is `fetch(id)`. */
  allocate(type: PageType, tree: TreeId): PageId
  /** The page's content is gone; its id may be given to another page at once. */
  free(page: PageId): void
  /** Announces a change of the frame's bytes; also moves its version. */
  willChange(base: FrameBase): void
  /**
   * A number that differs whenever the frame's bytes changed or it holds another page. Compare with the one seen before:
   * same version of the same base = same bytes.
   */
  version(base: FrameBase): number
}
