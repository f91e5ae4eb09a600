import { posix } from 'node:path'
import { type CrashDice, Fate, type SimulatedContent } from './simulated-content.js'

/** A file, whatever its name. */
export interface Inode {
  readonly content: SimulatedContent
  /** How often it is open. */
  handles: number
}

export const DIRECTORY = 'directory'
export type Entry = Inode | typeof DIRECTORY

/** New meanings of names, null for none; they reach the disk together or not at all. */
interface Change {
  readonly sequence: number
  readonly entries: readonly (readonly [name: string, entry: Entry | null])[]
}

/**
 * The names on a simulated disk: full paths, as the running system sees them and as the disk has them. What lies between is a
 * list of changes in order of time; syncing a directory applies those that touch it to the disk's view.
 */
export class SimulatedNames {
  readonly #current = new Map<string, Entry>([['/', DIRECTORY]])
  readonly #durable = new Map<string, Entry>([['/', DIRECTORY]])
  #changes: Change[] = []

  get(name: string): Entry | undefined {
    return this.#current.get(name)
  }

  has(name: string): boolean {
    return this.#current.has(name)
  }

  *inodes(): Generator<Inode> {
    for (const entry of this.#current.values()) if (entry !== DIRECTORY) yield entry
  }

  /** Names of the entries in a directory, sorted. */
  list(directory: string): string[] {
    const found: string[] = []
    for (const name of this.#current.keys()) if (name !== '/' && posix.dirname(name) === directory) found.push(posix.basename(name))
    return found.sort()
  }

  change(sequence: number, entries: Change['entries']): void {
    const change = { sequence, entries }
    this.#changes.push(change)
    apply(this.#current, change)
  }

  /** A sync of the directory ends: its changes up to `through` are on the disk or, if it failed, never will be. */
  sync(directory: string, through: number, success: boolean): void {
    this.#changes = this.#changes.filter((change) => {
      const covered = change.sequence <= through && change.entries.some(([name]) => posix.dirname(name) === directory)
      if (covered && success) apply(this.#durable, change)
      return !covered
    })
  }

  /** Sequence number of the oldest change that is not synced; Infinity if all are. */
  get oldestUnsynced(): number {
    return this.#changes[0]?.sequence ?? Infinity
  }

  /** Copies both views and what lies between, files as `copy` gives them (once for each), into new names. */
  clone(copy: (inode: Inode) => Inode): SimulatedNames {
    const next = new SimulatedNames()
    const copyEntry = (entry: Entry): Entry => (entry === DIRECTORY ? entry : copy(entry))
    for (const [name, entry] of this.#current) next.#current.set(name, copyEntry(entry))
    for (const [name, entry] of this.#durable) next.#durable.set(name, copyEntry(entry))
    next.#changes = this.#changes.map(({ sequence, entries }) => ({
      sequence,
      entries: entries.map(([name, entry]) => [name, entry && copyEntry(entry)] as const),
    }))
    return next
  }

  /** The names a crash leaves, files as `copy` gives them. */
  crash(dice: CrashDice, copy: (inode: Inode) => Inode): SimulatedNames {
    const left = new Map(this.#durable)
    for (const change of this.#changes) {
      const fate = dice.fate(change.sequence)
      if (fate === Fate.Kept || (fate === Fate.Torn && dice.coin())) apply(left, change)
    }
    const next = new SimulatedNames()
    for (const name of [...left.keys()].sort()) {
      const entry = left.get(name)
      if (entry === undefined || next.#current.get(posix.dirname(name)) !== DIRECTORY) continue
      const copied = entry === DIRECTORY ? entry : copy(entry)
      next.#current.set(name, copied)
      next.#durable.set(name, copied)
    }
    return next
  }
}

function apply(names: Map<string, Entry>, change: Change): void {
  for (const [name, entry] of change.entries) {
    if (entry === null) names.delete(name)
    else names.set(name, entry)
  }
}
