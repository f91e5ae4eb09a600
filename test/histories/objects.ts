/**
 * The three kinds of objects of a history: each collects what was written to it, follows what committed transactions saw of it, and concludes the
 * order of its versions, from which the dependencies follow.
 */
import type { Findings } from './dependencies.js'
import { Edge } from './graph.js'
import type { Operation } from './history.js'

interface Write {
  readonly transaction: number
  readonly version: number | undefined
  /** Whether the writer wrote the object again later. */
  overwritten: boolean
}

/** An external read: one that shows a version made by another transaction. */
interface Read<Version> {
  readonly transaction: number
  readonly version: Version
  /** Whether the reader wrote the object afterwards, with no further external read between. */
  wroteLater: boolean
}

/** What the transaction being followed has done to one object so far. */
interface Progress<Seen> {
  transaction: number
  /** Values it wrote, in order. */
  own: number[]
  seen: Seen | undefined
  seenLocking: boolean
  /** Whether what it saw last was written by committed transactions. */
  sound: boolean
}

function checkWriter(write: Write | undefined, transaction: number, value: string, last: boolean, findings: Findings): boolean {
  const { log } = findings
  if (write === undefined) {
    log.add('garbage-read', () => `${findings.describe(transaction)}: nobody wrote ${value}`)
    return false
  }
  if (write.transaction === transaction) {
    log.add('internal', () => `${findings.describe(transaction)}: reads its own ${value} before writing it`)
    return false
  }
  if (!findings.committed(write.transaction)) {
    log.add('G1a', () => `${findings.describe(transaction)} read ${value} of the aborted ${findings.describe(write.transaction)}`)
    return false
  }
  if (last && write.overwritten) {
    log.add(
      'G1b',
      () => `${findings.describe(transaction)} read ${value}, an intermediate value of ${findings.describe(write.transaction)}`,
    )
  }
  return true
}

/** Tells apart a second read that differs with no own write between (unless either locked) and one after an own write. */
function checkRepeats<Seen>(progress: Progress<Seen>, same: boolean, locking: boolean, object: string, findings: Findings): void {
  if (progress.seen === undefined || same || locking || progress.seenLocking) return
  const kind = progress.own.length > 0 ? 'moved-snapshot' : 'non-repeatable-read'
  findings.log.add(kind, () => `${findings.describe(progress.transaction)}: two reads of ${object} differ`)
}

export class ListObject {
  readonly #key: number
  readonly #writes = new Map<number, Write>()
  readonly #lastWriteOf = new Map<number, Write>()
  readonly #reads: Read<readonly number[]>[] = []
  #longest: readonly number[] = []
  #progress: Progress<readonly number[]> = { transaction: -1, own: [], seen: undefined, seenLocking: false, sound: true }
  #lastRead: Read<readonly number[]> | undefined

  constructor(key: number) {
    this.#key = key
  }

  /** False when the value was written before. */
  wrote(transaction: number, value: number): boolean {
    if (this.#writes.has(value)) return false
    const write = { transaction, version: undefined, overwritten: false }
    this.#writes.set(value, write)
    const earlier = this.#lastWriteOf.get(transaction)
    if (earlier !== undefined) earlier.overwritten = true
    this.#lastWriteOf.set(transaction, write)
    return true
  }

  #of(transaction: number): Progress<readonly number[]> {
    if (this.#progress.transaction !== transaction) {
      this.#progress = { transaction, own: [], seen: undefined, seenLocking: false, sound: true }
      this.#lastRead = undefined
    }
    return this.#progress
  }

  append(transaction: number, value: number): void {
    this.#of(transaction).own.push(value)
    if (this.#lastRead !== undefined) this.#lastRead.wroteLater = true
  }

  read(transaction: number, value: readonly number[], locking: boolean, findings: Findings): void {
    const progress = this.#of(transaction)
    const { own } = progress
    const base = value.slice(0, Math.max(0, value.length - own.length))
    if (own.some((appended, i) => value[base.length + i] !== appended)) {
      findings.log.add('internal', () => `${findings.describe(transaction)}: list ${this.#key} does not end with what it appended`)
      return
    }
    const { seen } = progress
    const same = seen !== undefined && seen.length === base.length && seen.every((element, i) => element === base[i])
    checkRepeats(progress, same, locking, `list ${this.#key}`, findings)
    progress.seen = base
    progress.seenLocking = locking
    if (same) return this.#consider(value, progress.sound, findings)
    if (new Set(value).size !== value.length) {
      findings.log.add('duplicate-write', () => `${findings.describe(transaction)}: list ${this.#key} shows a value twice`)
    }
    const sound = base.every((element, i) =>
      checkWriter(this.#writes.get(element), transaction, `${element} in list ${this.#key}`, i === base.length - 1, findings),
    )
    progress.sound = sound
    this.#consider(value, sound, findings)
    if (!sound) return
    const read = { transaction, version: base, wroteLater: false }
    this.#reads.push(read)
    this.#lastRead = read
  }

  /** What aborted transactions added has no place in the order of versions. */
  #consider(value: readonly number[], sound: boolean, findings: Findings): void {
    if (value.length <= this.#longest.length) return
    const isCommitted = (element: number) => {
      const write = this.#writes.get(element)
      return write !== undefined && findings.committed(write.transaction)
    }
    const order = sound ? value : value.filter(isCommitted)
    if (order.length > this.#longest.length) this.#longest = order
  }

  /** The longest list that was read is the order of versions; every other one must be a prefix of it. */
  conclude(findings: Findings, complete: boolean): void {
    const order = this.#longest
    const writerAt = (i: number) => this.#writes.get(order[i])?.transaction
    for (let i = 1; i < order.length; i++) findings.edges.add(writerAt(i - 1)!, writerAt(i)!, Edge.WriteWrite, this.#key)
    for (const read of this.#reads) {
      const { transaction, version } = read
      if (version.some((value, i) => value !== order[i])) {
        findings.log.add(
          'incompatible-order',
          () => `${findings.describe(transaction)}: list ${this.#key} is no prefix of [${order.join(' ')}]`,
        )
        continue
      }
      const before = writerAt(version.length - 1)
      const next = writerAt(version.length)
      if (before !== undefined) findings.edges.add(before, transaction, Edge.WriteRead, this.#key)
      if (next === undefined || next === transaction) continue
      findings.edges.add(transaction, next, Edge.ReadWrite, this.#key)
      if (read.wroteLater) {
        findings.log.add(
          'lost-update',
          () => `${findings.describe(transaction)} wrote list ${this.#key} after ${findings.describe(next)} had overwritten what it read`,
        )
      }
    }
    if (complete) this.#findLostWrites(order, findings)
  }

  #findLostWrites(order: readonly number[], findings: Findings): void {
    const present = new Set(order)
    for (const [value, { transaction }] of this.#writes) {
      if (present.has(value) || !findings.committed(transaction)) continue
      findings.log.add('lost-write', () => `list ${this.#key} lacks ${value} of ${findings.describe(transaction)}`)
    }
  }
}

export class RegisterObject {
  readonly #key: number
  readonly #writes = new Map<number, Write>()
  readonly #lastWriteOf = new Map<number, Write>()
  /** External reads by the value read; undefined is the state before any write. */
  readonly #reads = new Map<number | undefined, Read<number | undefined>[]>()
  #versioned = false
  #progress: Progress<{ readonly value: number | undefined }> = {
    transaction: -1,
    own: [],
    seen: undefined,
    seenLocking: false,
    sound: true,
  }
  #lastRead: Read<number | undefined> | undefined

  constructor(key: number) {
    this.#key = key
  }

  /** False when the value was written before. */
  wrote(transaction: number, value: number, version: number | undefined): boolean {
    if (this.#writes.has(value)) return false
    const write = { transaction, version, overwritten: false }
    this.#writes.set(value, write)
    const earlier = this.#lastWriteOf.get(transaction)
    if (earlier !== undefined) earlier.overwritten = true
    this.#lastWriteOf.set(transaction, write)
    if (version !== undefined) this.#versioned = true
    return true
  }

  #of(transaction: number): Progress<{ readonly value: number | undefined }> {
    if (this.#progress.transaction !== transaction) {
      this.#progress = { transaction, own: [], seen: undefined, seenLocking: false, sound: true }
      this.#lastRead = undefined
    }
    return this.#progress
  }

  write(transaction: number, value: number): void {
    this.#of(transaction).own.push(value)
    if (this.#lastRead !== undefined) this.#lastRead.wroteLater = true
  }

  read(transaction: number, value: number | undefined, locking: boolean, findings: Findings): void {
    const progress = this.#of(transaction)
    const { own, seen } = progress
    if (own.length > 0) {
      if (value !== own[own.length - 1]) {
        findings.log.add('internal', () => `${findings.describe(transaction)}: register ${this.#key} is not what it wrote last`)
      }
      return
    }
    checkRepeats(progress, seen?.value === value, locking, `register ${this.#key}`, findings)
    progress.seen = { value }
    progress.seenLocking = locking
    if (seen !== undefined && seen.value === value) return
    const sound =
      value === undefined || checkWriter(this.#writes.get(value), transaction, `${value} in register ${this.#key}`, true, findings)
    if (!sound) return
    const read = { transaction, version: value, wroteLater: false }
    const reads = this.#reads.get(value)
    if (reads === undefined) this.#reads.set(value, [read])
    else reads.push(read)
    this.#lastRead = read
  }

  conclude(findings: Findings): void {
    for (const [value, reads] of this.#reads) {
      const writer = value === undefined ? undefined : this.#writes.get(value)?.transaction
      if (writer !== undefined) for (const read of reads) findings.edges.add(writer, read.transaction, Edge.WriteRead, this.#key)
    }
    if (this.#versioned) this.#concludeFromVersions(findings)
    else this.#concludeFromReads(findings)
  }

  #concludeFromVersions(findings: Findings): void {
    const order = [...this.#writes.entries()]
      .filter(([, write]) => findings.committed(write.transaction))
      .sort(([, a], [, b]) => (a.version ?? 0) - (b.version ?? 0))
    for (let i = 1; i < order.length; i++) {
      const [[, earlier], [, later]] = [order[i - 1], order[i]]
      findings.edges.add(earlier.transaction, later.transaction, Edge.WriteWrite, this.#key)
      if (earlier.version === later.version) {
        findings.log.add(
          'incompatible-order',
          () =>
            `${findings.describe(earlier.transaction)} and ${findings.describe(later.transaction)} both made version ${later.version} of register ${this.#key}`,
        )
      }
    }
    const positions = new Map(order.map(([value], i) => [value, i]))
    for (const [value, reads] of this.#reads) {
      const next = order[(value === undefined ? -1 : (positions.get(value) ?? order.length)) + 1]?.[1].transaction
      if (next !== undefined) for (const read of reads) this.#overwrite(read, next, findings)
    }
  }

  /** Without version numbers, a version is known to follow another only where one transaction read the one and wrote the other. */
  #concludeFromReads(findings: Findings): void {
    for (const [value, reads] of this.#reads) {
      const writer = value === undefined ? undefined : this.#writes.get(value)?.transaction
      const successors = reads.filter((read) => read.wroteLater).map((read) => read.transaction)
      for (const successor of successors) {
        if (writer !== undefined) findings.edges.add(writer, successor, Edge.WriteWrite, this.#key)
        for (const read of reads) this.#overwrite(read, successor, findings)
      }
    }
  }

  #overwrite(read: Read<number | undefined>, by: number, findings: Findings): void {
    if (read.transaction === by) return
    findings.edges.add(read.transaction, by, Edge.ReadWrite, this.#key)
    if (read.wroteLater) {
      findings.log.add(
        'lost-update',
        () =>
          `${findings.describe(read.transaction)} wrote register ${this.#key} after ${findings.describe(by)} had overwritten what it read`,
      )
    }
  }
}

interface Transition {
  readonly transaction: number
  readonly enters: boolean
  done: boolean
}

type Scan = Extract<Operation, { f: 'scan' }>

export class GroupObject {
  readonly #group: number
  readonly #initial: ReadonlySet<number>
  readonly #transitions = new Map<number, Transition>()
  /** Whether the transaction being followed saw a member's transition, by member. */
  #saw = new Map<number, { readonly after: boolean; readonly locking: boolean }>()
  /** Members whose rows it has taken over. */
  #replaced = new Set<number>()
  #following = -1

  constructor(group: number, initial: ReadonlySet<number>) {
    this.#group = group
    this.#initial = initial
  }

  /** False when the member has changed before, or the change is none. */
  changed(transaction: number, member: number, enters: boolean): boolean {
    if (this.#transitions.has(member) || this.#initial.has(member) === enters) return false
    this.#transitions.set(member, { transaction, enters, done: false })
    return true
  }

  /** The transaction makes the member's transition now, on the row of another that has left. */
  transition(transaction: number, member: number, insteadOf: number | undefined): void {
    this.#follow(transaction)
    if (insteadOf !== undefined) this.#replaced.add(insteadOf)
    const transition = this.#transitions.get(member)
    if (transition !== undefined) transition.done = true
  }

  scan(transaction: number, scan: Scan, findings: Findings): void {
    this.#follow(transaction)
    const found = new Set(scan.found)
    for (const member of found) {
      if (this.#initial.has(member) || this.#transitions.has(member)) continue
      findings.log.add('garbage-read', () => `${findings.describe(transaction)}: nobody put ${member} into group ${this.#group}`)
    }
    for (const member of this.#initial) {
      if (member < scan.lower || member > scan.upper || found.has(member) || this.#transitions.has(member)) continue
      findings.log.add('garbage-read', () => `${findings.describe(transaction)}: nobody took ${member} out of group ${this.#group}`)
    }
    for (const [member, transition] of this.#transitions) {
      if (member < scan.lower || member > scan.upper) continue
      this.#observe(transaction, member, transition, found.has(member) === transition.enters, scan.locking === true, findings)
    }
  }

  #follow(transaction: number): void {
    if (this.#following === transaction) return
    this.#following = transaction
    this.#saw = new Map()
    this.#replaced = new Set()
  }

  #observe(transaction: number, member: number, transition: Transition, after: boolean, locking: boolean, findings: Findings): void {
    const { log, edges } = findings
    const name = `${member} of group ${this.#group}`
    if (transition.transaction === transaction) {
      if (after !== transition.done)
        log.add('internal', () => `${findings.describe(transaction)}: a scan does not show what it did to ${name}`)
      return
    }
    const before = this.#saw.get(member)
    this.#saw.set(member, { after, locking })
    if (before !== undefined && before.after !== after && !locking && !before.locking) {
      const kind = this.#replaced.has(member) ? 'moved-snapshot' : 'non-repeatable-read'
      log.add(kind, () => `${findings.describe(transaction)}: two scans disagree about ${name}`)
    }
    if (before?.after === after) return
    if (!after) {
      if (findings.committed(transition.transaction)) edges.add(transaction, transition.transaction, Edge.PredicateReadWrite, this.#group)
    } else if (findings.committed(transition.transaction)) edges.add(transition.transaction, transaction, Edge.WriteRead, this.#group)
    else
      log.add(
        'G1a',
        () => `${findings.describe(transaction)} saw what the aborted ${findings.describe(transition.transaction)} did to ${name}`,
      )
  }
}
