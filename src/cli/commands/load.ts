import type { Database } from '../../database.js'
import { DamagedError, InvalidArgumentError, NextkeyError, type Table } from '../../index.js'
import { describeTable, type TableDescription } from '../../tools.js'
import { type Context, Exit } from '../context.js'
import { type DumpRecord, type FormatName, formatOf, RecordReader } from '../dump-format.js'
import { counted } from '../output.js'
import type { Session } from '../session.js'

export interface LoadOptions {
  table?: string
  format?: FormatName
  skip?: number
}

/** Rows from a dump, or from lines of JSON: tables that are not there are made; a row whose key is there is replaced. */
export async function load(session: Session, options: LoadOptions, directory: string, input: string | undefined): Promise<Exit> {
  const { fileSystem } = session.context.environment
  if (input !== undefined && !fileSystem.exists(input))
    throw new NextkeyError('ERR_NOT_FOUND', `there is no file ${input}`, { details: { file: input } })
  if (!fileSystem.exists(directory)) fileSystem.makeDirectory(directory)
  const figures = await session.changeOrMake(directory, async (db) => {
    const run = new Load(session, db, options)
    try {
      return await run.read(input)
    } catch (error) {
      throw run.explain(error)
    }
  })
  await session.result(
    { directory, ...figures },
    () => `${directory}: loaded ${counted(figures.rows, 'row')} into ${counted(figures.tables, 'table')}`,
  )
  return Exit.Ok
}

class Load {
  readonly #session: Session
  readonly #db: Database
  readonly #options: LoadOptions
  readonly #tables = new Set<string>()
  #table: Table | undefined
  #description: TableDescription | undefined
  #batch: (DumpRecord & { type: 'row' })[] = []
  /** Rows of the input seen; those of them that are committed. */
  #seen = 0
  #committed = 0
  #end: (DumpRecord & { type: 'end' }) | undefined

  constructor(session: Session, db: Database, options: LoadOptions) {
    this.#session = session
    this.#db = db
    this.#options = options
  }

  async read(input: string | undefined): Promise<{ tables: number; rows: number }> {
    if (this.#options.table !== undefined) await this.#enterTable({ name: this.#options.table, options: {}, next: undefined }, false)
    let reader: RecordReader | undefined
    for await (const { chunk, done, total } of chunks(this.#session.context, input)) {
      reader ??= new RecordReader(this.#options.format ?? formatOf(chunk[0]))
      for (const record of reader.push(chunk)) await this.#take(record)
      this.#progress.update(done, total)
      if (this.#session.context.signal.aborted) throw new NextkeyError('ERR_ABORTED', 'the load was ended')
    }
    this.#progress.stop()
    if (reader !== undefined && reader.left > 0) for (const record of lastRecord(reader)) await this.#take(record)
    await this.#leaveTable()
    if (this.#options.table === undefined) this.#mustBeWhole()
    return { tables: this.#tables.size, rows: this.#committed }
  }

  /** The error, with what has become of the load. */
  explain(error: unknown): unknown {
    this.#progress.stop()
    if (!(error instanceof NextkeyError)) return error
    const state = `${counted(this.#committed, 'row')} of the input are in the database, and nothing of the others; go on with --skip ${this.#committed + (this.#options.skip ?? 0)}, or load it all again: rows that are there are replaced`
    return new NextkeyError(error.code, `${error.message}. ${state}`, {
      cause: error,
      retryable: error.retryable,
      details: { ...error.details, loaded: this.#committed },
    })
  }

  get #progress() {
    this.#bar ??= this.#session.progress('loading')
    return this.#bar
  }
  #bar: ReturnType<Session['progress']> | undefined

  async #take(record: DumpRecord): Promise<void> {
    if (record.type === 'end') this.#end = record
    else if (record.type === 'table') {
      await this.#leaveTable()
      await this.#enterTable(record.table, true)
    } else {
      if (this.#table === undefined)
        throw new InvalidArgumentError(
          'the input begins with a row: say by --table which table it belongs to, or begin with a line {"$table": …} as a dump has it',
        )
      this.#seen++
      if (this.#seen <= (this.#options.skip ?? 0)) return
      this.#batch.push(record)
      if (this.#batch.length >= BATCH_ROWS) await this.#commit()
    }
  }

  async #enterTable(description: TableDescription, make: boolean): Promise<void> {
    if (!make && !this.#db.tables().includes(description.name))
      throw new NextkeyError(
        'ERR_NO_SUCH_TABLE',
        `there is no table '${description.name}': make it first, or give its description in the input`,
      )
    this.#table = await this.#db.table(description.name, make ? description.options : undefined)
    this.#description = description
    this.#tables.add(description.name)
  }

  async #leaveTable(): Promise<void> {
    await this.#commit()
    const next = this.#description?.next
    if (this.#table === undefined || next === undefined) return
    if ((describeTable(this.#db, this.#table).next ?? next) < next) await this.#table.setAutoIncrement(next)
  }

  async #commit(): Promise<void> {
    const rows = this.#batch
    const table = this.#table
    this.#batch = []
    if (rows.length === 0 || table === undefined) return
    await this.#db.transaction(async (tx) => {
      for (const { hasKey, key, value } of rows) {
        if (hasKey) await tx.put(table, key, value)
        else await tx.put(table, value as never)
      }
    })
    this.#committed += rows.length
  }

  #mustBeWhole(): void {
    if (this.#end === undefined) throw new DamagedError('the dump is cut off: its last line is missing', { rows: this.#seen })
    if (this.#end.rows !== this.#seen)
      throw new DamagedError(`the dump says that it has ${this.#end.rows} rows, but it has ${this.#seen}`, {
        rows: this.#seen,
        expected: this.#end.rows,
      })
  }
}

/** What stands in a last line without an end. */
function lastRecord(reader: RecordReader): DumpRecord[] {
  try {
    return [...reader.push(Buffer.from('\n'))]
  } catch (cause) {
    throw new DamagedError('the input is cut off in the middle of a row', { cause: (cause as Error).message })
  }
}

async function* chunks(context: Context, input: string | undefined): AsyncGenerator<{ chunk: Uint8Array; done: number; total: number }> {
  let done = 0
  if (input === undefined) {
    for await (const chunk of context.stdin()) yield { chunk, done: (done += chunk.length), total: done }
    return
  }
  const file = context.environment.fileSystem.open(input, { readOnly: true })
  try {
    const total = file.size()
    for (;;) {
      const chunk = Buffer.alloc(CHUNK_BYTES)
      const got = file.readSync(chunk, 0, CHUNK_BYTES, done)
      if (got === 0) return
      yield { chunk: chunk.subarray(0, got), done: (done += got), total }
    }
  } finally {
    file.close()
  }
}

const BATCH_ROWS = 1000
const CHUNK_BYTES = 256 * 1024
