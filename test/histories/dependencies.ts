/**
 * From a history to its dependencies: which transaction overwrote, read, or was overwritten by which, and what is wrong already without cycles.
 *
 * Only committed transactions count. One whose outcome is unknown counts as committed once somebody committed saw something it wrote, and
 * otherwise as never having been. Where dirty reads are possible, only who began after it was cut off proves anything.
 */
import type { AnomalyLog } from './anomalies.js'
import { Edge, type EdgeList } from './graph.js'
import type { History, Operation, RecordedTransaction } from './history.js'
import { GroupObject, ListObject, RegisterObject } from './objects.js'

/** A history that cannot be judged because it breaks the rules of histories: a defect of whoever recorded it. */
export class MalformedHistoryError extends Error {}

/** What the objects need to know of the whole. */
export interface Findings {
  readonly log: AnomalyLog
  readonly edges: EdgeList
  committed(transaction: number): boolean
  describe(transaction: number): string
}

interface Objects {
  readonly lists: Map<number, ListObject>
  readonly registers: Map<number, RegisterObject>
  readonly groups: Map<number, GroupObject>
}

/**
 * Whether each transaction counts as committed.
 * @param dirtyReads Whether transactions may have seen what was not committed.
 */
export function resolveOutcomes(history: History, dirtyReads: boolean): Uint8Array {
  const { transactions } = history
  const committed = Uint8Array.from(transactions, (transaction) => (transaction.outcome === 'committed' ? 1 : 0))
  const open = new Map<string, number>()
  for (const [t, transaction] of transactions.entries()) {
    if (transaction.outcome === 'unknown') for (const op of transaction.ops) for (const trace of tracesLeft(op)) open.set(trace, t)
  }
  if (open.size === 0) return committed
  const queue = transactions.map((_, t) => t).filter((t) => committed[t] === 1)
  for (let t = queue.pop(); t !== undefined; t = queue.pop()) {
    for (const op of transactions[t].ops) {
      for (const trace of tracesSeen(op)) {
        const writer = open.get(trace)
        if (writer === undefined || committed[writer] === 1) continue
        if (dirtyReads && transactions[t].began < transactions[writer].ended) continue
        committed[writer] = 1
        queue.push(writer)
      }
    }
  }
  return committed
}

function tracesLeft(op: Operation): string[] {
  if (op.f === 'append' || op.f === 'write') return [`${op.key} ${op.value}`]
  if (op.f === 'enter') return [`in ${op.group} ${op.member}`]
  return op.f === 'leave' ? [`out ${op.group} ${op.member}`] : []
}

function tracesSeen(op: Operation): string[] {
  if (op.f === 'readList') return op.value.map((value) => `${op.key} ${value}`)
  if (op.f === 'read') return op.value === undefined ? [] : [`${op.key} ${op.value}`]
  if (op.f !== 'scan') return []
  const found = new Set(op.found)
  const traces = op.found.map((member) => `in ${op.group} ${member}`)
  for (let member = op.lower; member <= op.upper; member++) if (!found.has(member)) traces.push(`out ${op.group} ${member}`)
  return traces
}

/** Adds every dependency between committed transactions to the edges, and every anomaly that is no cycle to the log. */
export function collectDependencies(history: History, findings: Findings): void {
  const objects: Objects = { lists: new Map(), registers: new Map(), groups: new Map() }
  const { transactions } = history
  for (const [t, transaction] of transactions.entries()) registerWrites(history, objects, transaction, t)
  for (const [t, transaction] of transactions.entries()) {
    if (findings.committed(t)) followTransaction(objects, transaction, t, findings)
  }
  const complete = history.readsEverythingAtEnd === true
  for (const list of objects.lists.values()) list.conclude(findings, complete)
  for (const register of objects.registers.values()) register.conclude(findings)
}

function objectOf<T>(map: Map<number, T>, id: number, make: () => T): T {
  let object = map.get(id)
  if (object === undefined) {
    object = make()
    map.set(id, object)
  }
  return object
}

function groupOf(history: History, objects: Objects, group: number): GroupObject {
  return objectOf(objects.groups, group, () => new GroupObject(group, history.initialMembers?.get(group) ?? new Set()))
}

function registerWrites(history: History, objects: Objects, transaction: RecordedTransaction, t: number): void {
  for (const op of transaction.ops) {
    let fresh = true
    if (op.f === 'append') fresh = objectOf(objects.lists, op.key, () => new ListObject(op.key)).wrote(t, op.value)
    else if (op.f === 'readList') objectOf(objects.lists, op.key, () => new ListObject(op.key))
    else if (op.f === 'write') fresh = objectOf(objects.registers, op.key, () => new RegisterObject(op.key)).wrote(t, op.value, op.version)
    else if (op.f === 'read') objectOf(objects.registers, op.key, () => new RegisterObject(op.key))
    else if (op.f === 'scan') groupOf(history, objects, op.group)
    else fresh = groupOf(history, objects, op.group).changed(t, op.member, op.f === 'enter')
    if (!fresh) throw new MalformedHistoryError(`${op.f} of something already written: transaction ${t}, ${JSON.stringify(op)}`)
  }
}

/** Walks through one committed transaction, in its order. */
function followTransaction(objects: Objects, transaction: RecordedTransaction, t: number, findings: Findings): void {
  for (const op of transaction.ops) {
    switch (op.f) {
      case 'append':
        objects.lists.get(op.key)?.append(t, op.value)
        break
      case 'readList':
        objects.lists.get(op.key)?.read(t, op.value, op.locking === true, findings)
        break
      case 'write':
        objects.registers.get(op.key)?.write(t, op.value)
        break
      case 'read':
        objects.registers.get(op.key)?.read(t, op.value, op.locking === true, findings)
        break
      case 'enter':
      case 'leave':
        objects.groups.get(op.group)?.transition(t, op.member, op.insteadOf)
        break
      case 'scan':
        objects.groups.get(op.group)?.scan(t, op, findings)
        break
    }
  }
}

/**
 * Real-time order in a linear number of edges: a chain of points in time, one per ending; each transaction leads to the point where it ended,
 * and the last point before it began leads to it. Node numbers from `transactions.length` on are the points.
 */
export function addRealTime(history: History, findings: Findings): void {
  const { transactions } = history
  const { edges } = findings
  const counted = transactions.map((_, t) => t).filter((t) => findings.committed(t))
  const byEnd = [...counted].sort((a, b) => transactions[a].ended - transactions[b].ended)
  for (const [i, t] of byEnd.entries()) {
    const point = transactions.length + i
    edges.add(t, point, Edge.RealTime, 0)
    if (i > 0) edges.add(point - 1, point, Edge.RealTime, 0)
  }
  const byBegin = counted.sort((a, b) => transactions[a].began - transactions[b].began)
  let ended = 0
  for (const t of byBegin) {
    while (ended < byEnd.length && transactions[byEnd[ended]].ended < transactions[t].began) ended++
    if (ended > 0) edges.add(transactions.length + ended - 1, t, Edge.RealTime, 0)
  }
}
