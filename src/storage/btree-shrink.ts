import type { FrameBase } from '../base/ids.js'
import type { TreePath } from './btree-path.js'
import { PAGE_CAPACITY } from './slotted-page-layout.js'
import { mergePages } from './slotted-page-rebuild.js'

/**
 * A page that falls below a third is merged with a neighbour under the same parent if the result is at most four fifths
 * full, so that it does not split again at once. Entries are not moved between pages that stay: a sparse page between
 * full ones waits until it is empty or they are emptier. An empty page is always freed.
 */
const SPARSE: number = Math.floor(PAGE_CAPACITY / 3)
const MERGED_LIMIT: number = Math.floor((PAGE_CAPACITY * 4) / 5)

/** Whether a page should be looked at after it lost an entry. */
export function isSparse(path: TreePath, base: FrameBase): boolean {
  return path.pages.usedBytes(base) < SPARSE && path.pages.pageId(base) !== path.root
}

/**
 * Whether a sparse page has a neighbour it may fit together with: spares the descent where it has not. Merging can save no
 * more than one of the prefixes, which may be long; then the exact count decides.
 */
export function mayMerge(path: TreePath, base: FrameBase): boolean {
  const { store, pages } = path
  if (pages.count(base) === 0) return true
  const room = MERGED_LIMIT - pages.usedBytes(base) + pages.prefixLength(base)
  const left = pages.left(base)
  if (left !== 0 && pages.usedBytes(store.fetch(left)) <= room) return true
  const right = pages.right(base)
  return right !== 0 && pages.usedBytes(store.fetch(right)) <= room
}

/**
 * Merges or frees the page the path leads to at this level, if it should be, and goes on above. An inner root always has
 * two children or more between operations, so it never loses its last one here.
 */
export function rebalance(path: TreePath, level: number): void {
  const { pages } = path
  const base = path.base(level)
  const parent = path.base(level + 1)
  const slot = path.slots[level + 1]
  if (pages.count(base) === 0) removeChild(path, base, parent, slot)
  else if (!mergeWithRight(path, parent, slot) && !mergeWithRight(path, parent, slot - 1)) return
  if (path.isRoot(level + 1)) path.collapseRoot()
  else if (isSparse(path, parent)) rebalance(path, level + 1)
}

/** Merges the children at `slot` and `slot + 1` into the first, if both exist and fit. */
function mergeWithRight(path: TreePath, parent: FrameBase, slot: number): boolean {
  const { store, pages } = path
  if (slot < 0 || slot + 1 >= pages.count(parent)) return false
  const left = store.fetch(pages.child(parent, slot))
  const right = store.fetch(pages.child(parent, slot + 1))
  const separatorLength = pages.copyKey(parent, slot + 1, path.separator)
  store.willChange(left)
  if (!mergePages(pages, left, right, path.separator, separatorLength, MERGED_LIMIT)) return false
  removeChild(path, right, parent, slot + 1)
  return true
}

function removeChild(path: TreePath, base: FrameBase, parent: FrameBase, slot: number): void {
  const { store, pages } = path
  path.unlink(base)
  store.willChange(parent)
  pages.removeInnerEntry(parent, slot)
  // Moves the version: a cursor that rests on the page must not find its frame as it was.
  store.willChange(base)
  store.free(pages.pageId(base))
}
