import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { open } from '../../src/index.js'

export interface TakeOverReport {
  takeOvers: number
  /** Rows that writers were told are on disk; all were there in the end. */
  acknowledged: number
}

/**
 * Real processes: a writer that has the lock, then others that pass it over while the last one is at work. Each older one must end with
 * ERR_ANOTHER_WRITER that names the next; the last is killed. Rejects if one does not, or if anything acknowledged is missing.
 */
export async function takeOver({ seconds, atLeast }: { seconds: number; atLeast: number }): Promise<TakeOverReport> {
  const directory = mkdtempSync(join(tmpdir(), 'nextkey-take-over-'))
  const until = performance.now() + seconds * 1000
  const writers: WriterProcess[] = []
  try {
    let writer = await WriterProcess.start(directory, writers.length, {})
    writers.push(writer)
    while (writers.length <= atLeast || performance.now() < until) {
      await writer.isAtWork()
      const next = await WriterProcess.start(directory, writers.length, { unsafeShared: true })
      writers.push(next)
      await writer.mustBeRefusedFor(next)
      writer = next
    }
    await writer.isAtWork()
    await writer.kill()
    const db = await open(directory)
    const rows = await db.table<{ id: string }>('rows')
    const { problems } = await db.check()
    if (problems.length > 0) throw new Error(problems.join('\n'))
    for (const { number, acknowledged } of writers)
      for (let n = 0; n <= acknowledged; n++)
        if (rows.get(`${number}.${n}`) === undefined) throw new Error(`row ${n} of writer ${number} was acknowledged, and is not there`)
    await db.close()
    return { takeOvers: writers.length - 1, acknowledged: writers.reduce((sum, one) => sum + one.acknowledged + 1, 0) }
  } finally {
    for (const one of writers) await one.kill()
    rmSync(directory, { recursive: true, force: true })
  }
}

interface Line {
  ready?: number
  acknowledged?: number
  refused?: string
  message?: string
  details?: { writer?: { pid?: number } }
}

class WriterProcess {
  readonly number: number
  /** The highest row that it was told is on disk; −1 for none. */
  acknowledged = -1
  readonly #child: ChildProcess
  readonly #closed: Promise<unknown>
  #refusal: Line | undefined
  #onReady: () => void = () => {}
  #onAcknowledged: () => void = () => {}

  constructor(number: number, child: ChildProcess) {
    this.number = number
    this.#child = child
    this.#closed = once(child, 'close')
    createInterface({ input: child.stdout as NodeJS.ReadableStream }).on('line', (text) => this.#take(JSON.parse(text) as Line))
  }

  /** Resolves once it has the database open. */
  static async start(directory: string, number: number, options: object): Promise<WriterProcess> {
    const path = fileURLToPath(new URL('writer.ts', import.meta.url))
    const args = ['--import', 'tsx', path, directory, `${number}`, JSON.stringify(options)]
    const writer = new WriterProcess(number, spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'inherit'] }))
    const ready = new Promise<void>((resolve) => {
      writer.#onReady = resolve
    })
    await Promise.race([ready, writer.#closed])
    if (writer.#refusal !== undefined) throw new Error(`writer ${number} could not open it: ${JSON.stringify(writer.#refusal)}`)
    return writer
  }

  /** Resolves once it has been told of some rows. */
  async isAtWork(): Promise<void> {
    const enough = new Promise<void>((resolve) => {
      this.#onAcknowledged = () => {
        if (this.acknowledged >= ROWS) resolve()
      }
    })
    await Promise.race([enough, this.#closed])
    if (this.#refusal !== undefined) throw new Error(`writer ${this.number} ended: ${JSON.stringify(this.#refusal)}`)
  }

  /** It ends by itself, having been told of the other one; the commit that was under way may be of unknown fate. */
  async mustBeRefusedFor(other: WriterProcess): Promise<void> {
    await this.#closed
    const { refused, message, details } = this.#refusal ?? {}
    const told = refused === 'ERR_ANOTHER_WRITER' ? details?.writer?.pid === other.#child.pid : refused === 'ERR_COMMIT_UNKNOWN'
    if (!told || message?.includes(`in process ${other.#child.pid}`) !== true)
      throw new Error(`writer ${this.number} ended with ${refused}: ${message}`)
  }

  async kill(): Promise<void> {
    this.#child.kill('SIGKILL')
    await this.#closed
  }

  #take(line: Line): void {
    if (line.acknowledged !== undefined) {
      this.acknowledged = line.acknowledged
      this.#onAcknowledged()
    }
    if (line.refused !== undefined) this.#refusal = line
    if (line.ready !== undefined) this.#onReady()
  }
}

/** Each writes so many before another one comes. */
const ROWS = 50
