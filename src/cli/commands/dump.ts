import type { Database } from '../../database.js'
import { InvalidArgumentError, NextkeyError, type Snapshot, type Table } from '../../index.js'
import { describeTable, type File, keyWithin } from '../../tools.js'
import { Exit } from '../context.js'
import { type DumpRecord, encodeRecord, type FormatName, RecordReader } from '../dump-format.js'
import { counted } from '../output.js'
import type { Session } from '../session.js'

export interface DumpOptions {
  table?: string[]
  format?: FormatName
  output?: string
  resume?: boolean
  readOnly?: boolean
}

/** All tables, or some, as one state of the database: to standard output or a file. */
export async function dump(session: Session, options: DumpOptions, directory: string): Promise<Exit> {
  if (options.resume === true && options.output === undefined)
    throw new InvalidArgumentError('--resume goes on with a file: say which by --output')
  const format = options.format ?? 'jsonl'
  let target: Target | undefined
  const work = async (db: Database): Promise<{ tables: number; rows: number }> => {
    target ??= openTarget(session, options)
    const run = new Dump(session, db, format, target)
    return run.write(options.table ?? db.tables(), options.resume === true ? await target.found(format) : undefined)
  }
  let figures: { tables: number; rows: number }
  try {
    figures =
      options.readOnly === true
        ? await session.look(directory, work, () => target?.takeBack() ?? true)
        : await session.change(directory, work)
  } finally {
    target?.close()
  }
  await session.note(`Dumped ${counted(figures.tables, 'table')}, ${counted(figures.rows, 'row')}.`)
  return Exit.Ok
}

/** What a file that is gone on with holds already. */
interface Found {
  /** Bytes of whole records. */
  end: number
  tables: string[]
  /** Of the last table: its newest row. */
  last: DumpRecord | undefined
  rows: number
  complete: boolean
}

interface Target {
  write(bytes: Buffer): Promise<void>
  /** Everything is where it belongs. */
  finish(): Promise<void>
  found(format: FormatName): Promise<Found>
  /** The dump is begun anew: nothing is left of what was written. False if that cannot be. */
  takeBack(): boolean
  close(): void
}

class Dump {
  readonly #session: Session
  readonly #db: Database
  readonly #format: FormatName
  readonly #target: Target
  #parts: Buffer[] = []
  #bytes = 0
  #rows = 0

  constructor(session: Session, db: Database, format: FormatName, target: Target) {
    this.#session = session
    this.#db = db
    this.#format = format
    this.#target = target
  }

  async write(names: readonly string[], found: Found | undefined): Promise<{ tables: number; rows: number }> {
    const known = this.#db.tables()
    const missing = names.find((name) => !known.includes(name))
    if (missing !== undefined)
      throw new NextkeyError('ERR_NO_SUCH_TABLE', `there is no table '${missing}'; there are ${known.join(', ') || 'none'}`, {
        details: { table: missing },
      })
    if (found?.complete === true) return { tables: found.tables.length, rows: found.rows }
    this.#rows = found?.rows ?? 0
    const snapshot = this.#db.snapshot()
    try {
      for (const name of names) {
        const begun = found?.tables.indexOf(name) ?? -1
        if (begun >= 0 && begun < (found as Found).tables.length - 1) continue
        await this.#dumpTable(snapshot, await this.#db.table(name), begun >= 0 ? (found as Found) : undefined)
      }
    } finally {
      snapshot.close()
    }
    await this.#put({ type: 'end', tables: names.length, rows: this.#rows })
    await this.#flush()
    await this.#target.finish()
    return { tables: names.length, rows: this.#rows }
  }

  async #dumpTable(snapshot: Snapshot, table: Table, found: Found | undefined): Promise<void> {
    const hasKey = table.definition.key === null
    if (found === undefined) await this.#put({ type: 'table', table: describeTable(this.#db, table) })
    const after = found?.last?.type === 'row' ? { gt: hasKey ? found.last.key : keyWithin(this.#db, table, found.last.value) } : {}
    const total = snapshot.count(table)
    const progress = this.#session.progress(`dumping ${table.name}`)
    let rows = 0
    try {
      for (const [key, value] of snapshot.entries(table, after)) {
        await this.#put({ type: 'row', hasKey, key, value })
        this.#rows++
        if (++rows % 1000 === 0) progress.update(rows, Math.max(total, rows))
      }
    } finally {
      progress.stop()
    }
  }

  async #put(record: DumpRecord): Promise<void> {
    const bytes = encodeRecord(this.#format, record)
    this.#parts.push(bytes)
    this.#bytes += bytes.length
    if (this.#bytes >= WRITE_BYTES) await this.#flush()
  }

  async #flush(): Promise<void> {
    if (this.#session.context.signal.aborted)
      throw new NextkeyError('ERR_ABORTED', 'the dump was ended; with --output it can be gone on with: --resume')
    const bytes = Buffer.concat(this.#parts)
    this.#parts = []
    this.#bytes = 0
    await this.#target.write(bytes)
  }
}

function openTarget(session: Session, options: DumpOptions): Target {
  const { environment, stdout } = session.context
  if (options.output === undefined) {
    let written = 0
    return {
      write: (bytes) => {
        written += bytes.length
        return stdout.write(bytes)
      },
      finish: async () => {},
      found: () => Promise.reject(new InvalidArgumentError('standard output cannot be read back')),
      takeBack: () => written === 0,
      close: () => {},
    }
  }
  const { fileSystem } = environment
  if (options.resume !== true && fileSystem.exists(options.output)) {
    throw new InvalidArgumentError(`there is a file ${options.output}: remove it first, or go on with it by --resume`, {
      file: options.output,
    })
  }
  return new FileTarget(fileSystem.open(options.output, { create: true }), options.resume === true)
}

class FileTarget implements Target {
  readonly #file: File
  readonly #goesOn: boolean
  #at = 0

  constructor(file: File, goesOn: boolean) {
    this.#file = file
    this.#goesOn = goesOn
  }

  async write(bytes: Buffer): Promise<void> {
    await this.#file.write(bytes, 0, bytes.length, this.#at)
    this.#at += bytes.length
  }

  async finish(): Promise<void> {
    await this.#file.sync()
  }

  async found(format: FormatName): Promise<Found> {
    const reader = new RecordReader(format)
    const found: Found = { end: 0, tables: [], last: undefined, rows: 0, complete: false }
    const chunk = Buffer.alloc(WRITE_BYTES)
    for (let at = 0; ; ) {
      const got = this.#file.readSync(chunk, 0, chunk.length, at)
      if (got === 0) break
      at += got
      for (const record of reader.push(Buffer.from(chunk.subarray(0, got)))) {
        if (record.type === 'end') found.complete = true
        else if (record.type === 'row') {
          found.rows++
          found.last = record
        } else {
          found.tables.push(record.table.name)
          found.last = undefined
        }
      }
    }
    found.end = reader.consumed
    this.#file.truncate(found.end)
    this.#at = found.end
    return found
  }

  /** What an earlier run has written stays: it is for the user to say that it is to be gone on with at a later moment of the database. */
  takeBack(): boolean {
    if (this.#goesOn) return false
    this.#file.truncate(0)
    this.#at = 0
    return true
  }

  close(): void {
    this.#file.close()
  }
}

const WRITE_BYTES = 256 * 1024
