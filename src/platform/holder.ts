import { hostname } from 'node:os'
import { threadId } from 'node:worker_threads'
import type { Clock } from './clock.js'

/** Who has a directory: what a process leaves there for the messages that others get. */
export interface Holder {
  pid?: number
  host?: string
  /** Worker thread; 0 is the main one. */
  thread?: number
  /** ISO 8601. */
  since?: string
  /** The program, as started. */
  program?: string
  cwd?: string
  mode?: 'read-only' | 'read-write'
  /** "at main (/srv/app.js:12:8)". */
  openedAt?: string
}

export function describeSelf(clock: Clock, readOnly: boolean, openedAt?: string): Holder {
  return {
    pid: process.pid,
    host: hostname(),
    thread: threadId,
    since: new Date(clock.wallTime()).toISOString(),
    program: process.argv[1] ?? process.title,
    cwd: process.cwd(),
    mode: readOnly ? 'read-only' : 'read-write',
    ...(openedAt === undefined ? {} : { openedAt }),
  }
}

/** "in process 4711 on web1 (/srv/app.js in /srv) since …", to follow a verb. */
export function nameHolder(holder: Holder): string {
  if (holder.pid === undefined) return 'elsewhere; who has it is not known'
  const since = holder.since === undefined ? '' : ` since ${holder.since}`
  const mode = holder.mode === 'read-only' ? ', read-only' : ''
  if (!isThisProcess(holder)) {
    const cwd = holder.cwd === undefined ? '' : ` in ${holder.cwd}`
    return `in process ${holder.pid} on ${holder.host} (${holder.program}${cwd})${since}${mode}`
  }
  const where = holder.thread === threadId ? 'in this process' : `in another thread of this process (thread ${holder.thread})`
  const place = holder.openedAt === undefined ? '' : `, opened ${holder.openedAt}`
  return `${where}${since}${mode}${place}`
}

export function isThisProcess(holder: Holder): boolean {
  return holder.pid === process.pid && holder.host === hostname()
}

/** Only fields of the right type: the note may be cut, old, or somebody's joke. */
export function parseHolder(note: string): Holder {
  let parsed: unknown
  try {
    parsed = JSON.parse(note)
  } catch {
    return {}
  }
  if (typeof parsed !== 'object' || parsed === null) return {}
  const fields = Object.entries(parsed).filter(([name, value]) => typeof value === HOLDER_FIELDS[name as keyof Holder])
  return Object.fromEntries(fields)
}

const HOLDER_FIELDS: Readonly<Record<keyof Holder, 'number' | 'string'>> = {
  pid: 'number',
  host: 'string',
  thread: 'number',
  since: 'string',
  program: 'string',
  cwd: 'string',
  mode: 'string',
  openedAt: 'string',
}
