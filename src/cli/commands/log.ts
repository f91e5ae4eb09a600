import { describe, type LogEntry, readLogEntries } from '../../tools.js'
import { Exit } from '../context.js'
import { bytes, counted } from '../output.js'
import type { Session } from '../session.js'

export interface LogCommandOptions {
  from?: number
  changes?: boolean
}

/** One line per group of the write-ahead log; with --json one JSON object per line. */
export async function log(session: Session, options: LogCommandOptions, directory: string): Promise<Exit> {
  session.mustExist(directory)
  const { environment, stdout, signal } = session.context
  const { walDirectory } = session.options
  const range = { ...(walDirectory === undefined ? {} : { walDirectory }), ...(options.from === undefined ? {} : { from: options.from }) }
  let groups = 0
  for (const entry of readLogEntries(environment, directory, range)) {
    if (signal.aborted) return Exit.Interrupted
    groups++
    await stdout.write(session.options.json === true ? `${JSON.stringify(entry, plain)}\n` : describeEntry(entry, options.changes === true))
  }
  await session.note(`${counted(groups, 'group')}.`)
  return Exit.Ok
}

function describeEntry(entry: LogEntry, withChanges: boolean): string {
  const head = `${String(entry.position).padStart(12)}  ${entry.kind.padEnd(10)}  `
  if (entry.kind === 'commit') {
    const { changes = [] } = entry
    const lines = withChanges
      ? changes.map(
          (change) =>
            `${' '.repeat(26)}${change.operation.padEnd(6)} table ${change.table} key ${describeKey(change.key)}${change.operation === 'put' ? `, ${bytes(change.rowBytes)}` : ''}\n`,
        )
      : []
    return `${head}transaction ${entry.transaction}, ${counted(changes.length, 'change')}, ${bytes(entry.bytes)}\n${lines.join('')}`
  }
  if (entry.kind === 'counter') return `${head}table ${entry.table}: next auto-increment value ${entry.next}\n`
  if (entry.kind === 'structure')
    return `${head}table ${entry.table}: record structure ${entry.structure} is ${(entry.fields ?? []).join(', ')}\n`
  if (entry.kind === 'checkpoint') return `${head}checkpoint ${entry.checkpoint} is complete\n`
  return `${head}${bytes(entry.bytes)} of a kind this version does not know\n`
}

function describeKey(key: readonly unknown[]): string {
  return key.length === 1 ? describe(key[0]) : describe(key)
}

function plain(_key: string, value: unknown): unknown {
  if (typeof value === 'bigint') return `${value}n`
  return value instanceof Uint8Array ? Buffer.from(value).toString('hex') : value
}
