/** The calls one can count, fail and crash at. */
export type ObservingKind = 'open' | 'list' | 'size' | 'read'
export type OperationKind = 'create' | 'makeDirectory' | 'rename' | 'remove' | 'syncDirectory' | 'write' | 'sync' | 'truncate'
export type CallKind = ObservingKind | OperationKind

export interface Fault {
  on: CallKind | 'any'
  /** Which such call from now on fails first: 1 (default) is the next. */
  nth?: number
  /** How many fail in a row; Infinity for all from then on. Default 1. */
  times?: number
  /** Only calls whose path contains this count. */
  path?: string
  /** Default 'EIO'. */
  code?: string
}

interface PendingFault {
  readonly fault: Fault
  skip: number
  left: number
}

/** Faults announced and not yet used up. */
export class FaultPlan {
  #pending: PendingFault[] = []

  add(fault: Fault): void {
    this.#pending.push({ fault, skip: (fault.nth ?? 1) - 1, left: fault.times ?? 1 })
  }

  clear(): void {
    this.#pending = []
  }

  /** Counts a call; returns the error it fails with, or null. */
  due(kind: CallKind, path: string): Error | null {
    if (this.#pending.length === 0) return null
    let error: Error | null = null
    for (const pending of this.#pending) {
      const { on, path: part, code } = pending.fault
      if ((on !== 'any' && on !== kind) || (part !== undefined && !path.includes(part))) continue
      if (pending.skip > 0) pending.skip--
      else if (pending.left > 0) {
        pending.left--
        error ??= systemError(code ?? 'EIO', kind, path)
      }
    }
    return error
  }
}

/** The machine is gone. Not an error of the operating system: it has no code, and nothing can be done about it. */
export class CrashSignal extends Error {
  override readonly name = 'CrashSignal'

  constructor() {
    super('the simulated machine has crashed')
  }
}

/** An error as Node gives it. */
export function systemError(code: string, syscall: string, path: string): Error {
  return Object.assign(new Error(`${code}: ${MEANINGS[code] ?? 'injected'}, ${syscall} '${path}'`), { code, syscall, path })
}

const MEANINGS: Record<string, string> = {
  EBADF: 'bad file descriptor',
  EEXIST: 'file already exists',
  EIO: 'i/o error',
  EISDIR: 'illegal operation on a directory',
  ENOENT: 'no such file or directory',
  ENOSPC: 'no space left on device',
  ENOTDIR: 'not a directory',
}
