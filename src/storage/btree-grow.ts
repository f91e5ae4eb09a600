import { assert } from '../base/assert.js'
import type { FrameBase, PageId } from '../base/ids.js'
import type { TreePath } from './btree-path.js'
import { chooseSplit, makeRoom, Newcomer, splitPage } from './slotted-page-rebuild.js'

const branch: Newcomer = new Newcomer()

/**
 * Inserts an entry for which its leaf, even compacted, has no room: splits the leaf, and what must be split above it.
 * Returns the leaf that got the entry; newcomer.slot is its slot there.
 */
export function splitLeafFor(path: TreePath, newcomer: Newcomer): FrameBase {
  const { store, pages } = path
  if (pages.pageId(path.descend(newcomer.key, newcomer.length)) === path.root) path.pushRootDown()
  const left = path.base(0)
  store.willChange(left)
  const split = chooseSplit(pages, left, newcomer, pages.right(left) === 0)
  const right = path.allocate(0)
  path.linkRight(left, right)
  const length = splitPage(pages, left, right, split, newcomer, path.separator)
  insertBranch(path, 1, length, pages.pageId(right))
  if (newcomer.slot < split) return left
  newcomer.slot -= split
  return right
}

/** Adds `child`, split off to the right of the path's page one level below, under the key in path.separator. */
function insertBranch(path: TreePath, level: number, length: number, child: PageId): void {
  const { store, pages } = path
  let base = path.base(level)
  const slot = path.slots[level] + 1
  store.willChange(base)
  branch.slot = slot
  branch.key = path.separator
  branch.length = length
  branch.child = child
  if (pages.innerHasRoom(base, slot, branch.key, length) || makeRoom(pages, base, branch)) {
    pages.insertInnerEntry(base, slot, branch.key, length, child)
    return
  }
  if (path.isRoot(level)) {
    path.pushRootDown()
    base = path.base(level)
  }
  const split = chooseSplit(pages, base, branch, pages.right(base) === 0)
  assert(split >= 2 && split < pages.count(base), 'an inner page was split with a single child on one side')
  const right = path.allocate(level)
  path.linkRight(base, right)
  const upLength = splitPage(pages, base, right, split, branch, path.nextSeparator)
  const spent = path.separator
  path.separator = path.nextSeparator
  path.nextSeparator = spent
  insertBranch(path, level + 1, upLength, pages.pageId(right))
}
