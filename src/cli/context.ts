import type { Environment } from '../tools.js'

/** Everything a command touches outside itself, so that tests can give it something else. */
export interface Context {
  readonly environment: Environment
  readonly stdout: Output
  readonly stderr: Output
  /** What is piped in. */
  stdin(): AsyncIterable<Uint8Array>
  /** Fires at Ctrl-C. */
  readonly signal: AbortSignal
}

export interface Output {
  /** Resolves when more may be written. */
  write(chunk: string | Uint8Array): Promise<void>
  readonly isTerminal: boolean
  /** Whether colours may be used: on terminals, unless NO_COLOR says otherwise. */
  readonly colours: boolean
  /** For progress bars; undefined if this is no real stream. */
  readonly stream: NodeJS.WritableStream | undefined
}

/**
 * What a command ends with. Part of the tool's interface, as its options are: they are in `--help` and in docs/operations.md.
 */
export const enum Exit {
  Ok = 0,
  /** The command did its work and found something: `check` and `stat` damage, `repair` losses. */
  Found = 1,
  /** Wrong arguments: nothing was touched. */
  Usage = 2,
  /** Somebody else has the database open. */
  Locked = 3,
  /** The database, or the input, is damaged. */
  Damaged = 4,
  /** Anything else: no such database, disk full, I/O error … */
  Failed = 5,
  /** Ctrl-C. */
  Interrupted = 130,
}

export interface CommonOptions {
  json?: boolean
  quiet?: boolean
  walDirectory?: string
  /** Seconds. */
  wait?: number
}
