/** What can be in an OrderedList: in one at a time. */
export interface Linked<T> {
  before: T | null
  after: T | null
}

/**
 * A list in the order of arrival, from anywhere in which an element leaves at once. The links are in the elements: nothing is allocated,
 * and nothing is left behind by elements that come and go, as it is by a Map or Set.
 */
export class OrderedList<T extends Linked<T>> implements Iterable<T> {
  first: T | null = null
  last: T | null = null
  size = 0

  add(element: T): void {
    element.before = this.last
    element.after = null
    if (this.last === null) this.first = element
    else this.last.after = element
    this.last = element
    this.size++
  }

  /** The element must be in the list. */
  remove(element: T): void {
    const { before, after } = element
    if (before === null) this.first = after
    else before.after = after
    if (after === null) this.last = before
    else after.before = before
    element.before = null
    element.after = null
    this.size--
  }

  /** The element at hand may be removed meanwhile, others not. */
  *[Symbol.iterator](): Generator<T, void, void> {
    for (let element = this.first; element !== null; ) {
      const { after } = element
      yield element
      element = after
    }
  }
}
