import { fail } from '../base/assert.js'
import type { LockOwner } from './lock-owner.js'

/** The owners that hold or await something, by slot: a small number that fits in the lock tables. Slot 0 is nobody. */
export class OwnerList {
  readonly #owners: (LockOwner | null)[] = [null]
  readonly #free: number[] = []

  get size(): number {
    return this.#owners.length - 1 - this.#free.length
  }

  add(owner: LockOwner): void {
    owner.slot = this.#free.pop() ?? this.#owners.length
    this.#owners[owner.slot] = owner
  }

  remove(owner: LockOwner): void {
    this.#owners[owner.slot] = null
    this.#free.push(owner.slot)
  }

  at(slot: number): LockOwner {
    const owner = this.#owners[slot]
    if (owner === null || owner === undefined) return fail(`no lock owner in slot ${slot}`)
    return owner
  }

  *[Symbol.iterator](): Generator<LockOwner> {
    for (const owner of this.#owners) if (owner !== null) yield owner
  }
}
