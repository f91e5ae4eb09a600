import { posix } from 'node:path'
import type { File, FileSystem, OpenOptions } from '../../src/platform/file-system.js'
import { Prng } from './seeded.js'
import { type AsyncCall, AsyncCalls, BufferChangedError, type Completion } from './simulated-calls.js'
import { CHUNK_SIZE, type CrashDice, extremeDice, Fate, randomDice, SECTOR_SIZE, SimulatedContent, tornDice } from './simulated-content.js'
import { CrashSignal, type Fault, FaultPlan, type ObservingKind, type OperationKind, systemError } from './simulated-faults.js'
import { SimulatedFile } from './simulated-file.js'
import { DIRECTORY, type Inode, SimulatedNames } from './simulated-names.js'

/**
 * A disk in memory, and all the ways it may fail that the engine promises to survive. Equal seeds and equal calls give
 * equal faults.
 *
 * The fault model. At a crash (`crash`):
 * - Sectors of 512 bytes are atomic; nothing larger is. Every sector written since its file's last sync holds what it held in
 *   the page cache at *some* moment since then, whatever became of its neighbours: writes are lost, reordered or torn.
 * - A file has a size it had at some moment since its last sync, whatever became of its data: a size without data reads as
 *   zeros, data beyond the size is gone.
 * - Directory entries made, renamed or removed since `syncDirectory` of their directory are there or not, in any combination; a
 *   rename takes place whole or not at all. Syncing a file says nothing about its name. What lies in a directory whose
 *   own entry was lost is lost with it.
 * - An asynchronous write under way may be applied in part. A sync promises nothing about writes that had not ended when it
 *   was called.
 * While running (`failAt`, `capacity`):
 * - A write fails after any number of its sectors were written. The disk can be full: what fits goes in first.
 * - A failed sync marks the data clean that it should have written. Reads go on showing it and later syncs succeed, but the
 *   disk has not got it (or has, by luck). The same goes for the names of a failed `syncDirectory`.
 * - Any call can fail with any code, once, several times or from then on.
 * At the death of the process (`killProcess`) only the writes under way are cut short: the page cache survives.
 * Not modelled: bytes that rot after they were synced (tests flip them by hand), stale bytes of other files in new sectors,
 * links, permissions, directories renamed or removed.
 */
export class SimulatedDisk implements FileSystem {
  /** Every operation so far, if asked for: print it beside a failing seed. */
  readonly trace: string[] | null
  /** Called before each operation takes effect, and may take crash images of that moment. */
  onOperation: ((operation: Operation) => void) | null = null
  /** Whether a crash point was reached: every call throws CrashSignal from then on. */
  crashed = false
  /** Calls of any kind so far, reads included. */
  calls = 0
  /** Bytes the files may take up, in units of 16 KiB; beyond it ENOSPC. May be moved at any time. */
  capacity: number

  readonly #options: SimulatedDiskOptions
  readonly #random: Prng
  /** Names this disk as the one that may change a chunk in place. */
  #owner = nextOwner++
  /** Number of the newest operation. It carries on in clones, whose unsynced changes bear numbers. */
  #sequence = 0
  #firstSequence = 0
  #crashAt = Infinity
  readonly #faults = new FaultPlan()
  #names = new SimulatedNames()
  /** Files that have lost their name but are open: they take up space. */
  readonly #orphans = new Set<Inode>()
  readonly #underWay: AsyncCalls

  constructor(options: SimulatedDiskOptions = {}) {
    this.#options = options
    this.capacity = options.capacity ?? Infinity
    this.#random = new Prng(options.seed ?? 0)
    this.#underWay = new AsyncCalls(options.completion ?? 'macrotask', this.#random)
    this.trace = options.trace === true ? [] : null
  }

  /** Operations so far, calls that change something: where `crashAfter` can strike. */
  get operations(): number {
    return this.#sequence - this.#firstSequence
  }

  /** Asynchronous calls under way. */
  get pending(): number {
    return this.#underWay.size
  }

  /** Bytes taken up by files. */
  get used(): number {
    let chunks = 0
    for (const inode of this.#names.inodes()) chunks += inode.content.allocated
    for (const inode of this.#orphans) chunks += inode.content.allocated
    return chunks * CHUNK_SIZE
  }

  // Making it fail.

  /** The n-th operation from now (n ≥ 1) is the machine's last: before or after it takes effect, as the seed has it. */
  crashAfter(n: number): void {
    this.#crashAt = this.#sequence + n
  }

  failAt(fault: Fault): void {
    this.#faults.add(fault)
  }

  /** Takes back what `crashAfter` and `failAt` have announced. */
  clearFaults(): void {
    this.#faults.clear()
    this.#crashAt = Infinity
  }

  /**
   * The disk as it may be found after a power loss at this moment. This one stays as it is: one moment can be crashed from many
   * times. The new one counts from 0 and has nothing announced.
   *
   * `none`: nothing survives that was not synced. `all`: everything does. `torn`: everything up to a random moment, the
   * operation of that moment in part. `random`: each sector and each directory entry as chance has it.
   *
   * @param options What the new disk has otherwise than this one.
   */
  crash(random: Prng, mode: CrashMode, options: SimulatedDiskOptions = {}): SimulatedDisk {
    const next = this.#successor(random, options)
    const dice = this.#dice(random, mode)
    const copies = new Map<Inode, Inode>()
    next.#names = this.#names.crash(dice, copier(copies))
    this.#underWay.writes().forEach(({ inode, bytes, position }, i) => {
      copies.get(inode)?.content.write(next.#owner, this.#sequence + 1 + i, bytes, 0, bytes.length, position)
    })
    for (const inode of copies.values()) inode.content.crash(next.#owner, dice)
    return next
  }

  /** The disk after the process died: all that was written is there, synced or not; writes under way are cut short. */
  killProcess(random: Prng, options: SimulatedDiskOptions = {}): SimulatedDisk {
    const next = this.#successor(random, options)
    const copies = this.#copyState(next)
    for (const { inode, bytes, position } of this.#underWay.writes()) {
      copies.get(inode)?.content.write(next.#owner, ++next.#sequence, bytes, 0, random.int(bytes.length + 1), position)
    }
    next.#firstSequence = next.#sequence
    return next
  }

  /** A copy that goes its own way: same files, names and unsynced changes; nothing open, under way or announced. */
  clone(): SimulatedDisk {
    const next = this.#successor(this.#random, {})
    this.#copyState(next)
    return next
  }

  /** Completes one asynchronous call, chosen by the seed; false if none is under way. For `completion: 'manual'`. */
  completeOne(): boolean {
    return this.#underWay.completeOne()
  }

  // FileSystem.

  open(path: string, options: OpenOptions = {}): File {
    const name = this.#enter(path)
    const entry = this.#names.get(name)
    if (entry === DIRECTORY) throw systemError('EISDIR', 'open', name)
    if (entry !== undefined) {
      this.#observe('open', name)
      if (options.create === true && options.exclusive === true) throw systemError('EEXIST', 'open', name)
      return new SimulatedFile(this, entry, name, options.readOnly === true)
    }
    if (options.create !== true || options.readOnly === true) throw systemError('ENOENT', 'open', name)
    this.#requireDirectory('open', posix.dirname(name))
    const inode: Inode = { content: new SimulatedContent(), handles: 0 }
    this.#operate('create', name, '', () => {
      if (this.used >= this.capacity) throw systemError('ENOSPC', 'open', name)
      this.#names.change(this.#sequence, [[name, inode]])
    })
    return new SimulatedFile(this, inode, name, false)
  }

  exists(path: string): boolean {
    return this.#names.has(this.#enter(path))
  }

  list(path: string): string[] {
    const name = this.#enter(path)
    this.#observe('list', name)
    this.#requireDirectory('scandir', name)
    return this.#names.list(name)
  }

  makeDirectory(path: string): void {
    const name = this.#enter(path)
    const entry = this.#names.get(name)
    if (entry === DIRECTORY) return
    if (entry !== undefined) throw systemError('EEXIST', 'mkdir', name)
    this.makeDirectory(posix.dirname(name))
    this.#operate('makeDirectory', name, '', () => this.#names.change(this.#sequence, [[name, DIRECTORY]]))
  }

  rename(from: string, to: string): void {
    const source = this.#enter(from)
    const target = normalize(to)
    const inode = this.#requireFile('rename', source)
    this.#requireDirectory('rename', posix.dirname(target))
    if (this.#names.get(target) === DIRECTORY) throw systemError('EISDIR', 'rename', target)
    this.#operate('rename', source, `to ${target}`, () => {
      if (source === target) return
      const replaced = this.#names.get(target)
      this.#names.change(this.#sequence, [
        [source, null],
        [target, inode],
      ])
      if (replaced !== undefined && replaced !== DIRECTORY) this.#unlinked(replaced)
    })
  }

  remove(path: string): void {
    const name = this.#enter(path)
    const inode = this.#requireFile('unlink', name)
    this.#operate('remove', name, '', () => {
      this.#names.change(this.#sequence, [[name, null]])
      this.#unlinked(inode)
    })
  }

  syncDirectorySync(path: string): void {
    const name = this.#enter(path)
    this.#requireDirectory('open', name)
    this.#syncNames(name, this.#sequence, null)
  }

  async syncDirectory(path: string): Promise<void> {
    this.#requireAlive()
    const through = this.#sequence
    return this.#underWay.submit(null, (call) => {
      const name = this.#enter(path)
      this.#requireDirectory('open', name)
      this.#syncNames(name, through, call)
    })
  }

  // For SimulatedFile.

  /** @internal A call that changes nothing. */
  look(kind: ObservingKind, path: string): void {
    this.#requireAlive()
    this.#observe(kind, path)
  }

  /** @internal */
  write(file: SimulatedFile, bytes: Uint8Array, offset: number, length: number, position: number, call: AsyncCall | null): void {
    const { content } = file.inode
    const store = (count: number): void => content.write(this.#owner, this.#sequence, bytes, offset, count, position)
    this.#operate(
      'write',
      file.path,
      `${position}+${length}`,
      () => {
        const fits = this.capacity === Infinity ? length : content.writable(position, length, this.#freeChunks())
        store(fits)
        if (fits < length) throw systemError('ENOSPC', 'write', file.path)
      },
      () => store(Math.min(length, SECTOR_SIZE * this.#random.int(1 + Math.ceil(length / SECTOR_SIZE)))),
      call,
    )
  }

  /** @internal Writes from a copy, and checks at the end that the caller has left the buffer alone. */
  writeLater(file: SimulatedFile, bytes: Uint8Array, position: number): Promise<void> {
    this.#requireAlive()
    const copy = new Uint8Array(bytes)
    return this.#underWay.submit({ inode: file.inode, bytes: copy, position }, (call) => {
      if (Buffer.compare(copy, bytes) !== 0)
        throw new BufferChangedError(`${file.path}: buffer changed while it was written at ${position}`)
      this.write(file, copy, 0, copy.length, position, call)
    })
  }

  /** @internal */
  syncNow(file: SimulatedFile): void {
    this.#sync(file, this.#sequence, null)
  }

  /** @internal */
  syncLater(file: SimulatedFile): Promise<void> {
    this.#requireAlive()
    const through = this.#sequence
    return this.#underWay.submit(null, (call) => this.#sync(file, through, call))
  }

  #sync(file: SimulatedFile, through: number, call: AsyncCall | null): void {
    const { content } = file.inode
    this.#operate(
      'sync',
      file.path,
      '',
      () => content.markSynced(through),
      () => content.markClean(through),
      call,
    )
  }

  /** @internal */
  truncate(file: SimulatedFile, size: number): void {
    this.#operate('truncate', file.path, String(size), () => file.inode.content.truncate(this.#owner, this.#sequence, size))
  }

  /** @internal */
  closed(inode: Inode): void {
    if (inode.handles === 0) this.#orphans.delete(inode)
  }

  // The rules every call keeps to.

  #freeChunks(): number {
    return Math.max(0, Math.floor((this.capacity - this.used) / CHUNK_SIZE))
  }

  #requireAlive(): void {
    if (this.crashed) throw new CrashSignal()
  }

  #enter(path: string): string {
    this.#requireAlive()
    return normalize(path)
  }

  #requireDirectory(syscall: string, name: string): void {
    const entry = this.#names.get(name)
    if (entry === undefined) throw systemError('ENOENT', syscall, name)
    if (entry !== DIRECTORY) throw systemError('ENOTDIR', syscall, name)
  }

  #requireFile(syscall: string, name: string): Inode {
    const entry = this.#names.get(name)
    if (entry === undefined) throw systemError('ENOENT', syscall, name)
    if (entry === DIRECTORY) throw systemError('EISDIR', syscall, name)
    return entry
  }

  #observe(kind: ObservingKind, path: string): void {
    this.calls++
    const error = this.#faults.due(kind, path)
    if (error !== null) throw error
  }

  /**
   * One operation: counted, traced, made to fail or to be the last, else done. `failed` is what happens in place of `effect`
   * when it fails. An asynchronous call stops being under way as it takes effect.
   */
  #operate(
    kind: OperationKind,
    path: string,
    detail: string,
    effect: () => void,
    failed?: () => void,
    call: AsyncCall | null = null,
  ): void {
    this.#requireAlive()
    this.onOperation?.({ number: this.operations + 1, kind, path })
    this.calls++
    this.#sequence++
    const error = this.#faults.due(kind, path)
    this.trace?.push(`#${this.operations} ${kind} ${path}${detail && ` ${detail}`}${error === null ? '' : ` → ${error.message}`}`)
    if (this.#sequence === this.#crashAt) this.#die(effect, call)
    if (call !== null) this.#underWay.withdraw(call)
    if (error !== null) {
      failed?.()
      throw error
    }
    effect()
  }

  #die(effect: () => void, call: AsyncCall | null): never {
    const tookEffect = this.#random.bool()
    this.crashed = true
    this.trace?.push(`crash ${tookEffect ? 'after' : 'before'} #${this.operations}`)
    const signal = new CrashSignal()
    this.#underWay.stop(signal)
    if (tookEffect) {
      if (call !== null) this.#underWay.withdraw(call)
      effect()
    }
    throw signal
  }

  #syncNames(name: string, through: number, call: AsyncCall | null): void {
    this.#operate(
      'syncDirectory',
      name,
      '',
      () => this.#names.sync(name, through, true),
      () => this.#names.sync(name, through, false),
      call,
    )
  }

  #unlinked(inode: Inode): void {
    if (inode.handles > 0) this.#orphans.add(inode)
  }

  // Successors.

  #successor(random: Prng, options: SimulatedDiskOptions): SimulatedDisk {
    // The chunks are about to be shared: neither disk may change them in place.
    this.#owner = nextOwner++
    return new SimulatedDisk({ ...this.#options, capacity: this.capacity, seed: random.next(), ...options })
  }

  #copyState(next: SimulatedDisk): Map<Inode, Inode> {
    const copies = new Map<Inode, Inode>()
    next.#names = this.#names.clone(copier(copies))
    next.#sequence = this.#sequence
    next.#firstSequence = this.#sequence
    return copies
  }

  #dice(random: Prng, mode: CrashMode): CrashDice {
    if (mode === 'none') return extremeDice(Fate.Lost)
    if (mode === 'all') return extremeDice(Fate.Kept)
    if (mode === 'random') return randomDice(random)
    let oldest = Math.min(this.#names.oldestUnsynced, this.#sequence)
    for (const inode of this.#names.inodes()) oldest = Math.min(oldest, inode.content.oldestUnsynced)
    return tornDice(random, oldest, this.#sequence + this.#underWay.size)
  }
}

export interface SimulatedDiskOptions {
  /** Decides everything left to chance. Default 0. */
  seed?: number
  /** Bytes the files may take up, in units of 16 KiB; beyond it ENOSPC. Default: no limit. */
  capacity?: number
  /**
   * When asynchronous calls complete: each in a macrotask of its own (default), as soon as microtasks run, or when the test calls
   * `completeOne`. Which of several completes first is up to the seed.
   */
  completion?: Completion
  trace?: boolean
}

export type CrashMode = 'none' | 'all' | 'random' | 'torn'
export const CRASH_MODES: readonly CrashMode[] = ['none', 'all', 'random', 'torn']

export interface Operation {
  /** 1, 2, 3 … */
  readonly number: number
  readonly kind: OperationKind
  readonly path: string
}

let nextOwner = 1

function copier(copies: Map<Inode, Inode>): (inode: Inode) => Inode {
  return (inode) => {
    let copy = copies.get(inode)
    if (copy === undefined) {
      copy = { content: inode.content.clone(), handles: 0 }
      copies.set(inode, copy)
    }
    return copy
  }
}

function normalize(path: string): string {
  return posix.resolve('/', path)
}
