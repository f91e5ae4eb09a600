import { type ErrorCode, NextkeyError } from './base/errors.js'
import type { Database } from './database.js'
import { connectLines, type LineConnection, serveLines } from './platform/local-socket.js'

/**
 * Answers questions about a database that is open in this process, from others of this machine: `open(directory, { inspect: true })`.
 * A request is a line of JSON; the answer is any number of lines { progress } and one { result } or { error }.
 */
export interface InspectorRequest {
  command: 'status' | 'locks' | 'transactions' | 'deadlock' | 'checkpoint' | 'backup'
  /** For 'backup': an absolute path. */
  directory?: string
}

interface Answer {
  progress?: { done: number; total: number }
  result?: unknown
  error?: { code: ErrorCode; message: string; retryable: boolean; details: Record<string, unknown> }
}

export interface Inspector {
  close(): Promise<void>
}

/** The database, answering; it is closed if the socket cannot be made. Raises ERR_IO. */
export async function withInspector(db: Database): Promise<Database> {
  try {
    db.inspector = await serveLines(db.directory, (connection) => void serve(db, connection))
    return db
  } catch (cause) {
    await db.close()
    throw new NextkeyError('ERR_IO', `the socket of option 'inspect' cannot be made in ${db.directory}: ${(cause as Error).message}`, {
      cause,
    })
  }
}

async function serve(db: Database, connection: LineConnection): Promise<void> {
  const reply = (part: Answer): void => connection.send(JSON.stringify(part, plain))
  try {
    for await (const line of connection.lines()) {
      try {
        const result = await carryOut(db, JSON.parse(line) as InspectorRequest, reply)
        reply({ result: result ?? null })
      } catch (error) {
        const { code = 'ERR_INTERNAL', message, retryable = false, details = {} } = error as NextkeyError
        reply({ error: { code, message, retryable, details } })
      }
    }
  } catch {
    // The connection broke: nobody is left to be told.
  }
}

async function carryOut(db: Database, request: InspectorRequest, reply: (answer: Answer) => void): Promise<unknown> {
  switch (request.command) {
    case 'status': {
      const status = db.status()
      return { ...status, text: String(status) }
    }
    case 'locks':
      return db.locks()
    case 'transactions':
      return db.transactions()
    case 'deadlock':
      return db.latestDeadlock === undefined ? null : { text: String(db.latestDeadlock) }
    case 'checkpoint':
      return db.checkpoint()
    case 'backup':
      return db.backup(request.directory ?? '', { onProgress: (progress) => reply({ progress }) })
    default:
      throw new NextkeyError('ERR_INVALID_ARGUMENT', `the application's nextkey does not know the request ${JSON.stringify(request)}`)
  }
}

/**
 * Asks the process that has the database open. Raises what it raises, and ERR_NOT_FOUND if nobody answers: nobody has it open, or not with
 * `inspect: true`.
 */
export async function askInspector(
  directory: string,
  request: InspectorRequest,
  onProgress?: (progress: { done: number; total: number }) => void,
): Promise<unknown> {
  let connection: LineConnection
  try {
    connection = await connectLines(directory)
  } catch (cause) {
    throw new NextkeyError(
      'ERR_NOT_FOUND',
      `no running application answers for ${directory}: nobody has it open, or not with open(directory, { inspect: true })`,
      { cause, details: { directory } },
    )
  }
  try {
    connection.send(JSON.stringify(request))
    for await (const line of connection.lines()) {
      const { progress, result, error } = JSON.parse(line) as Answer
      if (error !== undefined) throw new NextkeyError(error.code, error.message, { retryable: error.retryable, details: error.details })
      if (progress === undefined) return result
      onProgress?.(progress)
    }
    throw new NextkeyError('ERR_IO', `the application that has ${directory} open ended before it answered`)
  } finally {
    connection.close()
  }
}

/** Keys of locks may be of types that JSON has not. */
function plain(_key: string, value: unknown): unknown {
  if (typeof value === 'bigint') return `${value}n`
  if (value instanceof Uint8Array) return Buffer.from(value).toString('hex')
  return value
}
