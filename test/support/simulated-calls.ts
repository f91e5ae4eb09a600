import type { Prng } from './seeded.js'
import type { Inode } from './simulated-names.js'

/** What an asynchronous write will write, if the machine gives it the time. */
export interface PendingWrite {
  readonly inode: Inode
  readonly bytes: Uint8Array
  readonly position: number
}

export interface AsyncCall {
  readonly write: PendingWrite | null
  readonly run: (call: AsyncCall) => void
  readonly resolve: () => void
  readonly reject: (error: unknown) => void
}

/** When calls complete: each in a macrotask of its own, as soon as microtasks run, or when the test says so. */
export type Completion = 'macrotask' | 'microtask' | 'manual'

/** A bug in the caller, not a fault of the disk: it leaves by way of whoever drives the completions. */
export class BufferChangedError extends Error {}

/** Asynchronous calls under way; which of them completes next is up to the seed. */
export class AsyncCalls {
  readonly #completion: Completion
  readonly #random: Prng
  #calls: AsyncCall[] = []
  #macrotaskSet = false
  #stopped = false

  constructor(completion: Completion, random: Prng) {
    this.#completion = completion
    this.#random = random
  }

  get size(): number {
    return this.#calls.length
  }

  /** Writes that may yet be applied, in the order they were submitted. */
  writes(): PendingWrite[] {
    return this.#calls.flatMap(({ write }) => write ?? [])
  }

  /** `run` does the work when its turn comes; it withdraws the call as it takes effect, and fails it by throwing. */
  submit(write: PendingWrite | null, run: (call: AsyncCall) => void): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#calls.push({ write, run, resolve, reject })
      if (this.#completion === 'microtask') queueMicrotask(() => this.completeOne())
      else if (this.#completion === 'macrotask') this.#setMacrotask()
    })
  }

  /** False if there was nothing to complete. */
  completeOne(): boolean {
    if (this.#stopped || this.#calls.length === 0) return false
    const call = this.#random.pick(this.#calls)
    try {
      call.run(call)
      call.resolve()
    } catch (error) {
      if (!this.#stopped) this.withdraw(call)
      if (error instanceof BufferChangedError) throw error
      call.reject(error)
    }
    return true
  }

  withdraw(call: AsyncCall): void {
    const at = this.#calls.indexOf(call)
    if (at >= 0) this.#calls.splice(at, 1)
  }

  /** The machine is dead. Nothing completes any more; what was under way stays so, for the crash to apply in part. */
  stop(reason: Error): void {
    this.#stopped = true
    for (const call of this.#calls) call.reject(reason)
  }

  /** One completion per macrotask: what awaits it goes on, and may start further calls, before the next. */
  #setMacrotask(): void {
    if (this.#macrotaskSet) return
    this.#macrotaskSet = true
    setImmediate(() => {
      this.#macrotaskSet = false
      this.completeOne()
      if (this.#calls.length > 0 && !this.#stopped) this.#setMacrotask()
    })
  }
}
