/**
 * Checks a history for the anomalies of Adya's thesis and their relatives.
 *
 * 1. dependencies.ts turns the history into a graph of committed transactions and reports what is wrong without a cycle.
 * 2. Strongly connected components say whether there are cycles of a class at all; only then are cycles looked for:
 *      - G0   a component over write-write edges;
 *      - G1c  a component over write-write and write-read edges that contains a write-read edge;
 *      - G-single  an anti-dependency a → b with a way back from b to a over dependencies;
 *      - G2-item, G2  an anti-dependency a → b within a component of the whole graph without such a way back: every way back has another
 *        anti-dependency. It is G2 when only predicate edges close the component;
 *      - G-nonadjacent  a closed walk on which no two anti-dependencies follow one another: a component of the graph whose nodes are doubled by how
 *        they were reached (after an anti-dependency only a dependency may follow). Its absence, with no G1, is snapshot isolation
 *        (Cerone and Gotsman); looked for when no simpler cycle explains it;
 *      - realtime  a component that appears only with real-time edges.
 *
 * Searches for ways back are pruned by a topological order of the dependencies, nearly always that of the commits, so that one costs no more than
 * the transactions that ran at that time. Each class stops at a number of witnesses: counts of cycles are lower bounds.
 */
import { AnomalyLog, type CyclicAnomaly } from './anomalies.js'
import { addRealTime, collectDependencies, type Findings, MalformedHistoryError, resolveOutcomes } from './dependencies.js'
import { type Components, components, Edge, EdgeList, type Graph, PathFinder } from './graph.js'
import { describeOperation, type History } from './history.js'

export { MalformedHistoryError }

export interface CheckOptions {
  /** Whether to look for cycles that need real-time order. Default false. */
  readonly realTime?: boolean
  /** Whether transactions may have seen what was not committed: then seeing it proves nothing. Default false. */
  readonly dirtyReads?: boolean
  /** Cycles of one class after which the search for that class ends. Default 16. */
  readonly witnesses?: number
}

export interface CheckResult {
  readonly anomalies: AnomalyLog
  readonly committed: number
  readonly edges: number
}

const DEPENDENCIES = Edge.WriteWrite | Edge.WriteRead
const ITEMS = DEPENDENCIES | Edge.ReadWrite
const ALL = ITEMS | Edge.PredicateReadWrite
const ANTI = Edge.ReadWrite | Edge.PredicateReadWrite

/** Throws MalformedHistoryError when the history breaks the rules of history.ts. */
export function checkHistory(history: History, options: CheckOptions = {}): CheckResult {
  const { transactions } = history
  const committed = resolveOutcomes(history, options.dirtyReads === true)
  const log = new AnomalyLog()
  const edges = new EdgeList(options.realTime === true ? 2 * transactions.length : transactions.length)
  const findings: Findings = {
    log,
    edges,
    committed: (t) => committed[t] === 1,
    describe: (t) => `T${t}`,
  }
  collectDependencies(history, findings)
  const dependencies = edges.length
  if (options.realTime === true) addRealTime(history, findings)
  new CycleSearch(history, edges.build(), log, options.witnesses ?? 16).run(options.realTime === true)
  return { anomalies: log, committed: committed.reduce((sum, one) => sum + one, 0), edges: dependencies }
}

class CycleSearch {
  readonly #history: History
  readonly #graph: Graph
  readonly #log: AnomalyLog
  readonly #witnesses: number
  readonly #paths: PathFinder

  constructor(history: History, graph: Graph, log: AnomalyLog, witnesses: number) {
    this.#history = history
    this.#graph = graph
    this.#log = log
    this.#witnesses = witnesses
    this.#paths = new PathFinder(graph)
  }

  run(realTime: boolean): void {
    const whole = components(this.#graph, ALL)
    if (whole.cyclic) {
      const writes = components(this.#graph, Edge.WriteWrite)
      if (writes.cyclic) this.#cyclesWithin('G0', writes, Edge.WriteWrite, Edge.WriteWrite)
      const dependencies = components(this.#graph, DEPENDENCIES)
      if (dependencies.cyclic) this.#cyclesWithin('G1c', dependencies, DEPENDENCIES, Edge.WriteRead)
      const order = this.#topologicalOrder(dependencies)
      const items = components(this.#graph, ITEMS)
      if (items.cyclic) this.#antiDependencies('G2-item', Edge.ReadWrite, items, ITEMS, order)
      this.#antiDependencies('G2', Edge.PredicateReadWrite, whole, ALL, order)
      this.#nonAdjacent()
    } else if (realTime) {
      const timed = components(this.#graph, ALL | Edge.RealTime)
      if (timed.cyclic) this.#cyclesWithin('realtime', timed, ALL | Edge.RealTime, ALL)
    }
  }

  /** Cycles of a component, each through an edge of type `through`. */
  #cyclesWithin(kind: CyclicAnomaly, parts: Components, mask: number, through: number): void {
    const { from, to, type } = this.#graph
    for (let e = 0; e < this.#graph.edges && this.#log.count(kind) < this.#witnesses; e++) {
      const part = parts.of[from[e]]
      if ((type[e] & through) === 0 || parts.sizes[part] === 1 || parts.of[to[e]] !== part) continue
      const back = this.#paths.find(to[e], from[e], mask, (node) => parts.of[node] === part)
      if (back !== undefined) this.#log.add(kind, () => this.#describe([e, ...back]))
    }
  }

  /**
   * A number per transaction that never falls along a dependency: when it ended, or when something it depends on ended if that was later (an
   * acknowledgement may come after others already saw the writes).
   */
  #topologicalOrder(dependencies: Components): Float64Array {
    const { first, to, type } = this.#graph
    const { transactions } = this.#history
    const parts = dependencies.of
    const label = new Float64Array(dependencies.sizes.length)
    for (let t = 0; t < transactions.length; t++) label[parts[t]] = Math.max(label[parts[t]], transactions[t].ended)
    // Dependencies lead from higher parts to lower ones.
    const nodes = Int32Array.from(transactions.keys()).sort((a, b) => parts[b] - parts[a])
    for (const node of nodes) {
      for (let e = first[node]; e < first[node + 1]; e++) {
        if ((type[e] & DEPENDENCIES) !== 0) label[parts[to[e]]] = Math.max(label[parts[to[e]]], label[parts[node]])
      }
    }
    return Float64Array.from(transactions.keys(), (t) => label[parts[t]])
  }

  #antiDependencies(severalKind: 'G2-item' | 'G2', anti: Edge, parts: Components, mask: number, order: Float64Array): void {
    const { from, to, type } = this.#graph
    let single = 0
    let several = 0
    for (let e = 0; e < this.#graph.edges && (single < this.#witnesses || several < this.#witnesses); e++) {
      const [a, b] = [from[e], to[e]]
      const part = parts.of[a]
      if (type[e] !== anti || parts.of[b] !== part) continue
      const back =
        order[b] > order[a] ? undefined : this.#paths.find(b, a, DEPENDENCIES, (node) => parts.of[node] === part && order[node] <= order[a])
      if (back !== undefined) {
        if (single++ < this.#witnesses) this.#log.add('G-single', () => this.#describe([e, ...back]))
      } else if (several++ < this.#witnesses) {
        const round = this.#paths.find(b, a, mask, (node) => parts.of[node] === part)
        if (round !== undefined) this.#log.add(severalKind, () => this.#describe([e, ...round]))
      }
    }
  }

  #nonAdjacent(): void {
    if ((['G0', 'G1c', 'G-single'] as const).some((simpler) => this.#log.has(simpler))) return
    const { nodes, edges, from, to, type, object } = this.#graph
    // Node n: reached by a dependency; node nodes + n: reached by an anti-dependency.
    const doubled = new EdgeList(2 * nodes)
    for (let e = 0; e < edges; e++) {
      if ((type[e] & DEPENDENCIES) !== 0) {
        doubled.add(from[e], to[e], type[e], object[e])
        doubled.add(nodes + from[e], to[e], type[e], object[e])
      } else if ((type[e] & ANTI) !== 0) doubled.add(from[e], nodes + to[e], type[e], object[e])
    }
    const graph = doubled.build()
    const parts = components(graph, ALL)
    if (!parts.cyclic) return
    const paths = new PathFinder(graph)
    for (let e = 0; e < graph.edges && this.#log.count('G-nonadjacent') < this.#witnesses; e++) {
      const part = parts.of[graph.from[e]]
      if ((graph.type[e] & ANTI) === 0 || parts.of[graph.to[e]] !== part) continue
      const back = paths.find(graph.to[e], graph.from[e], ALL, (node) => parts.of[node] === part)
      if (back !== undefined) this.#log.add('G-nonadjacent', () => this.#describe([e, ...back], graph, nodes))
    }
  }

  /** The cycle, then what its transactions did. Points in time are left out. */
  #describe(cycle: readonly number[], graph: Graph = this.#graph, modulus: number = graph.nodes): string {
    const { transactions } = this.#history
    const isTransaction = (node: number) => node < transactions.length
    const nodes = cycle.map((e) => graph.from[e] % modulus)
    const arrows = cycle.map((e) => describeEdge(graph.type[e], graph.object[e]))
    const start = nodes.findIndex(isTransaction)
    let text = `T${nodes[start]}`
    for (let i = 0; i < cycle.length; i++) {
      const at = (start + i) % cycle.length
      const next = nodes[(at + 1) % cycle.length]
      if (graph.type[cycle[at]] !== Edge.RealTime) text += ` ${arrows[at]} T${next}`
      else if (isTransaction(next)) text += ` –time→ T${next}`
    }
    const involved = [...new Set(nodes.filter(isTransaction))]
    return [text, ...involved.map((t) => `T${t}: ${transactions[t].ops.map(describeOperation).join('; ')}`)].join('\n    ')
  }
}

function describeEdge(type: number, object: number): string {
  switch (type) {
    case Edge.WriteWrite:
      return `–ww ${object}→`
    case Edge.WriteRead:
      return `–wr ${object}→`
    case Edge.ReadWrite:
      return `–rw ${object}→`
    default:
      return `–predicate rw ${object}→`
  }
}
