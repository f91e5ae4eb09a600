import { assert } from '../base/assert.js'
import { RowLimit } from './row-format.js'

/**
 * Called while a row is being encoded, before its bytes can be used, when a shape becomes the shared structure `id`:
 * makes it durable no later than any row that uses it. If it throws, the structure does not exist and the row is not encoded.
 */
export type OnNewStructure = (id: number, fields: readonly string[]) => void

/**
 * The shapes of one table's objects: a trie over field names in order. A node is a shape; one that was given a number is a shared
 * structure, for ever.
 *
 * Rule 1. Numbers are given in ascending order, announced at once and never taken back, even if the row that needed the
 * structure is then refused: a structure nobody uses does no harm, one that is used and unknown loses rows.
 * Rule 2. Inline structures belong to one row. Their numbers go round; a shape's is valid while `row` is that row's, which ends
 * when the number is given to another shape: in this row, or in one that user code encodes in the midst of it.
 */
export class RowStructures {
  /** Field names by structure number. */
  readonly shared: (readonly string[])[] = []
  readonly #onNew: OnNewStructure
  readonly #inline: (Shape | null)[] = new Array(RowLimit.InlineStructures).fill(null)
  #nextInline = 0
  #root: Shape = new Shape('', null)
  #shapes = 0
  #announcing = false

  constructor(onNew: OnNewStructure) {
    this.#onNew = onNew
  }

  /** Adds a structure from the log or catalogue; in order of their numbers. One that is there already must be the same. */
  define(id: number, fields: readonly string[]): void {
    const known = this.shared[id]
    if (known !== undefined) {
      assert(sameFields(known, fields), `structure ${id} is defined twice, differently`)
      return
    }
    assert(id === this.shared.length && id < RowLimit.SharedStructures, `structure ${id} is out of order`)
    this.#enter(id, Object.freeze(fields.map(internalized)))
  }

  /** The shape of an object: its own enumerable fields with string names, in order. Null if it has too many to be a record. */
  shapeOf(object: object): Shape | null {
    let shape = this.#root
    for (const key in object) {
      // biome-ignore lint/suspicious/noPrototypeBuiltins: in this form, and no other, V8 drops the test for ordinary objects (saves 10 ns a field)
      if (!Object.prototype.hasOwnProperty.call(object, key)) continue
      if (shape.lastKey === key) shape = shape.lastChild as Shape
      else if (shape.depth < RowLimit.SharedFields) shape = this.#child(shape, key)
      else return null
    }
    return shape
  }

  /** Makes a shape a shared structure if it may be one; returns its number, or −1. */
  share(shape: Shape): number {
    if (this.shared.length === RowLimit.SharedStructures) return -1
    const fields = Object.freeze(fieldsOf(shape))
    if (fields.join('').length > RowLimit.SharedNames) return -1
    assert(!this.#announcing, 'a row was encoded while a structure of its table was being recorded')
    const id = this.shared.length
    this.#announcing = true
    try {
      this.#onNew(id, fields)
    } finally {
      this.#announcing = false
    }
    this.#enter(id, fields)
    return id
  }

  /** Gives a shape the next inline number for this row; null for one that is not to be referred to again. */
  shareInline(shape: Shape | null, row: number): number {
    const id = this.#nextInline
    this.#nextInline = (id + 1) % RowLimit.InlineStructures
    const previous = this.#inline[id]
    if (previous !== null) previous.row = 0
    this.#inline[id] = shape
    if (shape !== null) {
      shape.row = row
      shape.inlineId = id
    }
    return id
  }

  /** Before each row: begins the inline numbers anew, and lets go of shapes that were never shared when there are many. */
  beginRow(): void {
    this.#nextInline = 0
    if (this.#shapes < MAX_SHAPES) return
    this.#root = new Shape('', null)
    this.#shapes = 0
    this.#inline.fill(null)
    for (let id = 0; id < this.shared.length; id++) this.#enter(id, this.shared[id])
  }

  #enter(id: number, fields: readonly string[]): void {
    let shape = this.#root
    for (const field of fields) shape = this.#child(shape, field)
    shape.id = id
    this.shared[id] = fields
  }

  #child(shape: Shape, key: string): Shape {
    let child = shape.children?.get(key)
    if (child === undefined) {
      child = new Shape(key, shape)
      this.#shapes++
      // The first child is lastChild alone; most shapes never get a second.
      if (shape.lastChild !== null) {
        shape.children ??= new Map([[shape.lastChild.key, shape.lastChild]])
        shape.children.set(key, child)
      }
    }
    shape.lastKey = key
    shape.lastChild = child
    return child
  }
}

const MAX_SHAPES = 10_000

export class Shape {
  /** The last field, and the shape of the fields before it. */
  readonly key: string
  readonly parent: Shape | null
  /** Number of fields. */
  readonly depth: number
  /** All children, from the second on. */
  children: Map<string, Shape> | null = null
  /** The child that was taken last: rows of one table resemble each other. */
  lastKey: string | null = null
  lastChild: Shape | null = null
  /** Number as a shared structure, or −1. */
  id = -1
  /** The row that `inlineId` belongs to (rule 2); 0 for none. */
  row = 0
  inlineId = 0

  constructor(key: string, parent: Shape | null) {
    this.key = key
    this.parent = parent
    this.depth = parent === null ? 0 : parent.depth + 1
  }
}

/** Field names of a shape, in order. */
export function fieldsOf(shape: Shape): string[] {
  const fields = new Array<string>(shape.depth)
  for (let node = shape; node.parent !== null; node = node.parent) fields[node.depth - 1] = node.key
  return fields
}

/** The same name as for-in gives it: V8 compares such strings by identity, others letter by letter. */
function internalized(name: string): string {
  return Object.keys({ [name]: null })[0]
}

function sameFields(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((field, at) => field === b[at])
}
