/**
 * A directed graph with typed edges in flat arrays, made for one purpose: finding cycles among tens of thousands of transactions at once.
 * Edge types are bits, and every question is asked under a mask of the types that count.
 */

export const enum Edge {
  /** b overwrote what a wrote. */
  WriteWrite = 1,
  /** b read what a wrote. */
  WriteRead = 2,
  /** b overwrote what a read. */
  ReadWrite = 4,
  /** b changed the answer of a predicate that a evaluated before. */
  PredicateReadWrite = 8,
  /** a had ended before b began. */
  RealTime = 16,
}

const INITIAL_EDGES = 1024

export class EdgeList {
  readonly nodes: number
  #from = new Int32Array(INITIAL_EDGES)
  #to = new Int32Array(INITIAL_EDGES)
  #type = new Uint8Array(INITIAL_EDGES)
  #object = new Int32Array(INITIAL_EDGES)
  #length = 0

  constructor(nodes: number) {
    this.nodes = nodes
  }

  get length(): number {
    return this.#length
  }

  /** An edge of a node to itself says nothing and is left out. `object` is the key or group it is about. */
  add(from: number, to: number, type: Edge, object: number): void {
    if (from === to) return
    if (this.#length === this.#from.length) this.#grow()
    this.#from[this.#length] = from
    this.#to[this.#length] = to
    this.#type[this.#length] = type
    this.#object[this.#length] = object
    this.#length++
  }

  #grow(): void {
    const bigger = <T extends Int32Array | Uint8Array>(old: T, made: T): T => {
      made.set(old)
      return made
    }
    const size = this.#from.length * 2
    this.#from = bigger(this.#from, new Int32Array(size))
    this.#to = bigger(this.#to, new Int32Array(size))
    this.#type = bigger(this.#type, new Uint8Array(size))
    this.#object = bigger(this.#object, new Int32Array(size))
  }

  build(): Graph {
    return new Graph(this.nodes, this.#from.subarray(0, this.#length), this.#to, this.#type, this.#object)
  }
}

/** Compressed adjacency: the edges of node n are the positions `first[n]` up to `first[n + 1]`. */
export class Graph {
  readonly nodes: number
  readonly first: Int32Array
  readonly from: Int32Array
  readonly to: Int32Array
  readonly type: Uint8Array
  readonly object: Int32Array

  constructor(nodes: number, from: Int32Array, to: Int32Array, type: Uint8Array, object: Int32Array) {
    const edges = from.length
    this.nodes = nodes
    this.first = new Int32Array(nodes + 1)
    for (let e = 0; e < edges; e++) this.first[from[e] + 1]++
    for (let n = 0; n < nodes; n++) this.first[n + 1] += this.first[n]
    this.from = new Int32Array(edges)
    this.to = new Int32Array(edges)
    this.type = new Uint8Array(edges)
    this.object = new Int32Array(edges)
    const next = this.first.slice()
    for (let e = 0; e < edges; e++) {
      const position = next[from[e]]++
      this.from[position] = from[e]
      this.to[position] = to[e]
      this.type[position] = type[e]
      this.object[position] = object[e]
    }
  }

  get edges(): number {
    return this.to.length
  }
}

export interface Components {
  /** Component of each node. An edge between two components goes from the higher number to the lower. */
  readonly of: Int32Array
  /** Number of nodes in each component. */
  readonly sizes: Int32Array
  /** Whether any component has more than one node. */
  readonly cyclic: boolean
}

/** Strongly connected components (Tarjan) over the edges of `mask`, without recursion. */
export function components(graph: Graph, mask: number): Components {
  const { nodes, first, to, type } = graph
  const of = new Int32Array(nodes).fill(-1)
  const order = new Int32Array(nodes)
  const low = new Int32Array(nodes)
  const edge = first.slice(0, nodes)
  const path = new Int32Array(nodes)
  const open = new Int32Array(nodes)
  const sizes: number[] = []
  let clock = 0
  let opened = 0
  for (let root = 0; root < nodes; root++) {
    if (order[root] !== 0) continue
    let depth = 0
    path[0] = root
    order[root] = low[root] = ++clock
    open[opened++] = root
    while (depth >= 0) {
      const node = path[depth]
      if (edge[node] < first[node + 1]) {
        const e = edge[node]++
        if ((type[e] & mask) === 0) continue
        const target = to[e]
        if (order[target] === 0) {
          order[target] = low[target] = ++clock
          open[opened++] = target
          path[++depth] = target
        } else if (of[target] === -1 && order[target] < low[node]) low[node] = order[target]
      } else {
        if (low[node] === order[node]) {
          let size = 0
          let member: number
          do {
            member = open[--opened]
            of[member] = sizes.length
            size++
          } while (member !== node)
          sizes.push(size)
        }
        depth--
        if (depth >= 0 && low[node] < low[path[depth]]) low[path[depth]] = low[node]
      }
    }
  }
  return { of, sizes: Int32Array.from(sizes), cyclic: sizes.some((size) => size > 1) }
}

/**
 * Finds shortest paths within limits. One instance serves many searches on one graph, so that a search costs what it visits.
 */
export class PathFinder {
  readonly #graph: Graph
  readonly #seen: Int32Array
  readonly #via: Int32Array
  readonly #queue: Int32Array
  #search = 0

  constructor(graph: Graph) {
    this.#graph = graph
    this.#seen = new Int32Array(graph.nodes)
    this.#via = new Int32Array(graph.nodes)
    this.#queue = new Int32Array(graph.nodes)
  }

  /** Positions of the edges of a shortest path over `mask` through nodes that `allow` admits, or undefined. */
  find(from: number, target: number, mask: number, allow: (node: number) => boolean): number[] | undefined {
    const { first, to, type } = this.#graph
    const search = ++this.#search
    this.#queue[0] = from
    this.#seen[from] = search
    let end = 1
    for (let at = 0; at < end; at++) {
      const node = this.#queue[at]
      for (let e = first[node]; e < first[node + 1]; e++) {
        if ((type[e] & mask) === 0) continue
        const next = to[e]
        if (this.#seen[next] === search || !(next === target || allow(next))) continue
        this.#seen[next] = search
        this.#via[next] = e
        if (next === target) return this.#trace(from, target)
        this.#queue[end++] = next
      }
    }
    return undefined
  }

  #trace(from: number, target: number): number[] {
    const path: number[] = []
    for (let node = target; node !== from; node = this.#graph.from[this.#via[node]]) path.push(this.#via[node])
    return path.reverse()
  }
}
