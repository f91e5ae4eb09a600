/**
 * Lock runs: what one owner locked in one index while scanning, kept as an interval of keys instead of one lock per
 * entry (D11). Rules:
 *
 * R1  A run is an interval with a lock type, record or next-key. It means: every entry now present within the interval
 *     is locked by the owner with that type. Its ends need not be entries.
 * R2  It grows at one end, by the entry next to it in scan order, in the turn in which that entry was found. So no
 *     unlocked entry ever comes to lie inside.
 * R3  An entry that appears inside an interval cuts it in two open at that key: the new entry was not there when the
 *     interval was locked. What the new entry inherits is decided by its successor's locks (inheritance rule I1), as
 *     for any other lock.
 * R4  An entry that disappears changes no interval, by R1; its successor inherits as for any other lock. Should the
 *     key come back, R3 cuts it out.
 * R5  Giving up one entry's lock cuts like R3.
 *
 * Runs of an index lie in a treap ordered by first key, each node knowing the run with the greatest last key below it:
 * the runs that cover a key are found in O(log n + found). Runs in order are also linked, because a run growing
 * downwards must not overtake its neighbour unnoticed.
 */
import { fail } from '../base/assert.js'
import type { TreeId } from '../base/ids.js'
import { compareKeys, type PackedKey, wordsOf } from './lock-key.js'
import type { LockOwner } from './lock-owner.js'

/** An end of a run: a key, and whether the key itself belongs to the run. */
export class RunEnd {
  words: Int32Array
  length: number
  open: boolean

  constructor(words: Int32Array, length: number, open: boolean) {
    this.words = words
    this.length = length
    this.open = open
  }

  static at(key: PackedKey, open: boolean): RunEnd {
    return new RunEnd(key.words.slice(0, key.wordCount), key.length, open)
  }

  set(key: PackedKey): void {
    const count = key.wordCount
    if (this.words.length < count) this.words = new Int32Array(2 * count)
    const words = this.words
    for (let word = 0; word < count; word++) words[word] = key.words[word]
    this.length = key.length
  }

  compare(key: PackedKey): number {
    return compareKeys(this.words, this.length, key.words, key.length)
  }
}

export class LockRun {
  readonly owner: LockOwner
  readonly index: TreeId
  /** The RecordLock every entry is locked with, as a mask of one bit. */
  readonly bit: number
  readonly first: RunEnd
  readonly last: RunEnd
  /** Where it lies; null once the run was emptied or released. */
  tree: RunTree | null = null

  /** The owner's list. */
  ownerPrevious: LockRun | null = null
  ownerNext: LockRun | null = null
  /** The tree's own. */
  priority = 0
  left: LockRun | null = null
  right: LockRun | null = null
  parent: LockRun | null = null
  /** The run with the greatest last key in this subtree. */
  furthest: LockRun = this
  /** Neighbours in order of first key. */
  previous: LockRun | null = null
  next: LockRun | null = null

  constructor(owner: LockOwner, index: TreeId, bit: number, first: RunEnd, last: RunEnd) {
    this.owner = owner
    this.index = index
    this.bit = bit
    this.first = first
    this.last = last
  }

  covers(key: PackedKey): boolean {
    const low = this.first.compare(key)
    if (low > 0 || (low === 0 && this.first.open)) return false
    const high = this.last.compare(key)
    return high > 0 || (high === 0 && !this.last.open)
  }

  /** Whether no key can lie inside: both ends at one key, and the key itself cut out. */
  get isEmpty(): boolean {
    return (this.first.open || this.last.open) && compareEnds(this.first, this.last) >= 0
  }
}

function compareEnds(a: RunEnd, b: RunEnd): number {
  return compareKeys(a.words, a.length, b.words, b.length)
}

/** The runs of one index. */
export class RunTree {
  root: LockRun | null = null
  /** The run with the lowest first key. */
  lowest: LockRun | null = null
  size = 0
  #seed = 1

  add(run: LockRun): void {
    run.priority = this.#nextPriority()
    run.left = run.right = run.parent = run.previous = run.next = null
    run.furthest = run
    run.tree = this
    this.size++
    if (this.root === null) {
      this.root = this.lowest = run
      return
    }
    this.#hang(run, this.root)
    this.#rise(run)
  }

  remove(run: LockRun): void {
    while (run.left !== null || run.right !== null) {
      const child = run.right === null || (run.left !== null && run.left.priority > run.right.priority) ? run.left : run.right
      this.#rotateUp(child as LockRun)
    }
    const parent = run.parent
    this.#replace(parent, run, null)
    if (run.previous === null) this.lowest = run.next
    else run.previous.next = run.next
    if (run.next !== null) run.next.previous = run.previous
    run.parent = null
    run.tree = null
    this.size--
    for (let node = parent; node !== null; node = node.parent) recompute(node)
  }

  /** The run now ends at `key`, which is beyond its last. */
  growUp(run: LockRun, key: PackedKey): void {
    run.last.set(key)
    run.last.open = false
    for (let node: LockRun | null = run; node !== null; node = node.parent) reachFurther(node, run)
  }

  /** The run now begins at `key`, which is below its first. */
  growDown(run: LockRun, key: PackedKey): void {
    const overtakes = run.previous !== null && run.previous.first.compare(key) >= 0
    if (overtakes) this.remove(run)
    run.first.set(key)
    run.first.open = false
    if (overtakes) this.add(run)
  }

  /** The run now ends just below `key`, which lies inside it. */
  cutBack(run: LockRun, key: PackedKey): void {
    run.last.set(key)
    run.last.open = true
    for (let node: LockRun | null = run; node !== null; node = node.parent) recompute(node)
  }

  /** Appends the runs that cover the key. */
  stab(key: PackedKey, into: LockRun[]): void {
    if (this.root !== null) stab(this.root, key, into)
  }

  #hang(run: LockRun, from: LockRun): void {
    let node = from
    for (;;) {
      const below = compareEnds(run.first, node.first) < 0
      const child: LockRun | null = below ? node.left : node.right
      if (child !== null) {
        node = child
        continue
      }
      run.parent = node
      if (below) {
        node.left = run
        this.#link(node.previous, run, node)
      } else {
        node.right = run
        this.#link(node, run, node.next)
      }
      return
    }
  }

  #rise(run: LockRun): void {
    for (let node = run.parent; node !== null; node = node.parent) reachFurther(node, run)
    while (run.parent !== null && run.parent.priority < run.priority) this.#rotateUp(run)
  }

  #link(previous: LockRun | null, run: LockRun, next: LockRun | null): void {
    run.previous = previous
    run.next = next
    if (previous === null) this.lowest = run
    else previous.next = run
    if (next !== null) next.previous = run
  }

  #rotateUp(node: LockRun): void {
    const parent = node.parent as LockRun
    this.#replace(parent.parent, parent, node)
    if (parent.left === node) {
      parent.left = node.right
      if (node.right !== null) node.right.parent = parent
      node.right = parent
    } else {
      parent.right = node.left
      if (node.left !== null) node.left.parent = parent
      node.left = parent
    }
    parent.parent = node
    recompute(parent)
    recompute(node)
  }

  /** Puts `node` where `old` hangs; `old` keeps its children. */
  #replace(parent: LockRun | null, old: LockRun, node: LockRun | null): void {
    if (node !== null) node.parent = parent
    if (parent === null) this.root = node
    else if (parent.left === old) parent.left = node
    else parent.right = node
  }

  /** Any deterministic sequence without a pattern will do. */
  #nextPriority(): number {
    this.#seed ^= this.#seed << 13
    this.#seed ^= this.#seed >>> 17
    this.#seed ^= this.#seed << 5
    return this.#seed
  }
}

/** An open end reaches less far than a closed one at the same key; only pruning hangs on it, so ties are left alone. */
function reachFurther(node: LockRun, run: LockRun): void {
  if (node.furthest !== run && compareEnds(run.last, node.furthest.last) > 0) node.furthest = run
}

function recompute(node: LockRun): void {
  node.furthest = node
  if (node.left !== null) reachFurther(node, node.left.furthest)
  if (node.right !== null) reachFurther(node, node.right.furthest)
}

function stab(node: LockRun, key: PackedKey, into: LockRun[]): void {
  if (node.furthest.last.compare(key) < 0) return
  if (node.left !== null) stab(node.left, key, into)
  if (node.first.compare(key) > 0) return
  if (node.covers(key)) into.push(node)
  if (node.right !== null) stab(node.right, key, into)
}

/** All runs, by index. */
export class LockRuns {
  /** Runs there are. While 0, nobody else here needs to be asked. */
  count = 0
  readonly trees: Map<TreeId, RunTree> = new Map()
  /** The tree last asked for; a scan asks for the same one with every entry. */
  #recentIndex: TreeId | -1 = -1
  #recent: RunTree | undefined

  /** Appends the runs of the index that cover the key. */
  stab(index: TreeId, key: PackedKey, into: LockRun[]): void {
    if (index !== this.#recentIndex) {
      this.#recent = this.trees.get(index)
      this.#recentIndex = index
    }
    this.#recent?.stab(key, into)
  }

  /** A run of the one entry at `key`. */
  start(owner: LockOwner, index: TreeId, bit: number, key: PackedKey): LockRun {
    const run = new LockRun(owner, index, bit, RunEnd.at(key, false), RunEnd.at(key, false))
    this.#attach(run)
    return run
  }

  /** The run now ends at `key`, or begins there if it grows downwards. */
  grow(run: LockRun, key: PackedKey, downwards: boolean): void {
    const tree = treeOf(run)
    if (downwards) tree.growDown(run, key)
    else tree.growUp(run, key)
  }

  /** Cuts `key` out of a run that covers it (rules R3, R5). */
  cutOut(run: LockRun, key: PackedKey): void {
    const tree = treeOf(run)
    const upper = new LockRun(run.owner, run.index, run.bit, RunEnd.at(key, true), copyOf(run.last))
    tree.cutBack(run, key)
    if (!upper.isEmpty) this.#attach(upper)
    if (run.isEmpty) this.remove(run)
  }

  remove(run: LockRun): void {
    const tree = treeOf(run)
    tree.remove(run)
    if (tree.size === 0) {
      this.trees.delete(run.index)
      this.#recentIndex = -1
    }
    if (run.ownerPrevious === null) run.owner.firstRun = run.ownerNext
    else run.ownerPrevious.ownerNext = run.ownerNext
    if (run.ownerNext !== null) run.ownerNext.ownerPrevious = run.ownerPrevious
    run.ownerPrevious = run.ownerNext = null
    this.count--
  }

  #attach(run: LockRun): void {
    let tree = this.trees.get(run.index)
    if (tree === undefined) {
      tree = new RunTree()
      this.trees.set(run.index, tree)
      this.#recentIndex = -1
    }
    tree.add(run)
    run.ownerNext = run.owner.firstRun
    if (run.ownerNext !== null) run.ownerNext.ownerPrevious = run
    run.owner.firstRun = run
    this.count++
  }
}

/** Grows a run that has its tree for itself to a key beyond its end; false if it is not alone, or the key is not beyond. */
export function growAlone(run: LockRun, key: PackedKey, downwards: boolean): boolean {
  if (run.tree === null || run.tree.size !== 1) return false
  const end = downwards ? run.first : run.last
  const order = end.compare(key)
  if (downwards ? order <= 0 : order >= 0) return false
  end.set(key)
  end.open = false
  return true
}

function treeOf(run: LockRun): RunTree {
  if (run.tree === null) fail('a lock run is used that was released')
  return run.tree
}

function copyOf(end: RunEnd): RunEnd {
  return new RunEnd(end.words.slice(0, wordsOf(end.length)), end.length, end.open)
}
