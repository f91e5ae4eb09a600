import { DamagedError, NextkeyError } from '../base/errors.js'
import type { LogPosition } from '../base/ids.js'
import type { FileSystem } from '../platform/file-system.js'
import { LogReader } from './log-reader.js'
import { findSegments } from './segment-chain.js'

/**
 * A log of which parts may be damaged or missing, read as far as it goes: for salvage. What `openLog` refuses is passed over and named.
 */
export class DamagedLog {
  /** What is wrong, one sentence each; empty if the log was read to its end and nothing is. */
  readonly problems: string[] = []
  /** Where reading ended. */
  end: LogPosition
  /** As `FoundLog.mark`, after reading. */
  mark = 0
  readonly #fileSystem: FileSystem
  readonly #directory: string
  readonly #databaseId: Uint8Array
  readonly #from: LogPosition

  constructor(fileSystem: FileSystem, directory: string, databaseId: Uint8Array, from: LogPosition) {
    this.#fileSystem = fileSystem
    this.#directory = directory
    this.#databaseId = databaseId
    this.#from = from
    this.end = from
  }

  /** Each group that can be read, from `from` on: the same ones each time. The cursor shows the group until the next one is asked for. */
  *groups(): Generator<Pick<LogReader, 'kind' | 'bytes' | 'start' | 'end'>, void, void> {
    this.problems.length = 0
    const reader = this.#open()
    if (reader === undefined) return
    try {
      while (this.#moves(reader)) {
        yield reader
        this.end = reader.endPosition
      }
    } finally {
      reader.close()
    }
  }

  /** Calls back for each of them. */
  read(visit: (kind: number, bytes: Uint8Array, start: number, end: number) => void): void {
    for (const { kind, bytes, start, end } of this.groups()) visit(kind, bytes, start, end)
  }

  #moves(reader: LogReader): boolean {
    try {
      return reader.next()
    } catch (error) {
      this.#note(error)
      return false
    }
  }

  #open(): LogReader | undefined {
    try {
      const { chains, mark } = findSegments(this.#fileSystem, this.#directory, this.#databaseId, (damage) => this.#note(damage))
      this.mark = mark
      const from = this.#from
      const covering = chains.findIndex((chain) => {
        const last = chain[chain.length - 1].header
        return chain[0].header.first <= from && last.first + last.length >= from
      })
      if (covering < 0) {
        const holds = chains.length === 0 ? 'there is no log' : `its files begin at ${chains[0][0].header.first}`
        this.problems.push(`the write-ahead log in ${this.#directory} does not reach back to position ${from}: ${holds}`)
        return undefined
      }
      if (covering > 0) this.problems.push(`the write-ahead log in ${this.#directory} has a gap: what comes after it cannot be used`)
      return new LogReader(this.#fileSystem, chains[covering], from)
    } catch (error) {
      this.#note(error)
      return undefined
    }
  }

  #note(error: unknown): void {
    const known = error instanceof DamagedError || typeof (error as { syscall?: unknown }).syscall === 'string'
    if (!known && !(error instanceof NextkeyError && error.code === 'ERR_IO')) throw error
    const { message } = error as Error
    if (!this.problems.includes(message)) this.problems.push(message)
  }
}
