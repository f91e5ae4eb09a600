import type { LockRequest } from './lock/lock-request.js'
import type { LockSystem } from './lock/lock-system.js'
import { MetadataRequest } from './lock/metadata-object.js'
import type { Clock } from './platform/clock.js'
import type { SelfWaits } from './self-waits.js'
import type { Engine } from './txn/engine.js'
import type { Steps, Wait } from './txn/outcome.js'
import { PAUSE } from './txn/slice.js'

/** How long, and until when, a statement waits for a lock. */
export interface WaitOptions {
  /** Milliseconds per wait for a row or a table. */
  timeout: number
  /** Milliseconds per wait for a metadata lock. */
  metadataTimeout: number
  signal: AbortSignal | undefined
}

/**
 * Drives work that may wait: a promise around each wait, with its timeout. While nothing has to be waited for, everything happens
 * in the call: the first part of an operation is always synchronous.
 */
export class Waits {
  readonly #engine: Engine
  readonly #locks: LockSystem
  readonly #clock: Clock
  readonly #selfWaits: SelfWaits | undefined

  constructor(engine: Engine, selfWaits: SelfWaits | undefined) {
    this.#engine = engine
    this.#locks = engine.rowLocks.locks
    this.#clock = engine.environment.clock
    this.#selfWaits = selfWaits
  }

  /** Goes on with steps whose first `next()` answered with this request. */
  async finish<T>(steps: Steps<T>, first: Wait, options: WaitOptions): Promise<T> {
    for (let request = first; ; ) {
      if (request === PAUSE) await (this.#engine.overdue() ?? this.#clock.macrotask())
      else await this.#settled(request, options)
      const next = steps.next()
      if (next.done === true) return next.value
      request = next.value
    }
  }

  #settled(request: LockRequest, { timeout, metadataTimeout, signal }: WaitOptions): Promise<void> {
    return new Promise((resolve) => {
      if (request.status !== 'waiting') {
        resolve()
        return
      }
      const abort = (): void => this.#locks.cancel(request, 'aborted')
      // The wait is somebody's await: the process must not end before it does.
      const longest = request instanceof MetadataRequest ? metadataTimeout : timeout
      const cancelTimer = this.#clock.setTimer(
        longest,
        () => {
          request.waited = longest
          this.#locks.cancel(request, 'timeout')
        },
        true,
      )
      request.onSettled = () => {
        cancelTimer()
        signal?.removeEventListener('abort', abort)
        resolve()
      }
      if (this.#selfWaits?.isSelfWait(request) === true) this.#locks.cancel(request, 'self-wait')
      else if (signal?.aborted === true) abort()
      else signal?.addEventListener('abort', abort)
    })
  }
}
