import type { LockRequest } from '../lock/lock-request.js'
import type { PAUSE } from './slice.js'

/**
 * Work that may have to wait for locks: a generator that yields each request it waits with, and goes on when that is settled. It is
 * driven by a promise per wait, or refuses to wait at all (D1). Nothing it keeps in shared scratch survives a yield.
 */
export type Steps<T> = Generator<Wait, T, void>

/** A lock request, or, between two slices of long work, a turn of the event loop. */
export type Wait = LockRequest | typeof PAUSE

/**
 * What a call returns that has to wait before it is through: the steps that are left, to be begun in the same turn. Nearly all calls need
 * not wait; those return their result, and cost no generator.
 */
export class Remaining<T> {
  readonly steps: Steps<T>

  constructor(steps: Steps<T>) {
    this.steps = steps
  }
}

export type Outcome<T> = T | Remaining<T>

/** The steps that are left, and then this result instead of theirs. */
export function* followedBy<T>(steps: Steps<unknown>, result: T): Steps<T> {
  yield* steps
  return result
}

/** The rest of a call, as a step of others. */
export function* finish<T>(outcome: Outcome<T>): Steps<T> {
  return outcome instanceof Remaining ? yield* outcome.steps : outcome
}
