import { type ErrorCode, NextkeyError } from '../index.js'
import { type CommonOptions, type Context, Exit } from './context.js'
import { styleFor } from './output.js'

/** Says what went wrong, to a person or, with --json, to a program; returns the exit status. */
export async function tellFailure(
  context: Context,
  error: unknown,
  { json = false, wait }: CommonOptions,
  consequence: string | undefined,
): Promise<Exit> {
  const code = codeOf(error)
  const message = error instanceof Error ? error.message : String(error)
  if (json) {
    const details = error instanceof NextkeyError ? error.details : {}
    await context.stdout.write(
      `${JSON.stringify({ error: { code, message, details, ...(consequence === undefined ? {} : { consequence }) } }, plain, 2)}\n`,
    )
  } else {
    const { bad } = styleFor(context.stderr)
    const stack = code === 'ERR_INTERNAL' && error instanceof Error ? `\n${error.stack}` : ''
    await context.stderr.write(`${bad(`nextkey: ${code}:`)} ${message}${stack}\n`)
    if (code === 'ERR_DIRECTORY_LOCKED' && wait === undefined)
      await context.stderr.write('With --wait <seconds> this command waits for it.\n')
    if (code === 'ERR_SNAPSHOT_GONE')
      await context.stderr.write(
        'The application makes checkpoints faster than this command reads one: try again, let it make them less often (checkpointInterval), or read a backup.\n',
      )
    if (consequence !== undefined) await context.stderr.write(`${consequence}\n`)
  }
  return exitFor(code)
}

/** Errors of the operating system come from files that are no databases: dumps. */
function codeOf(error: unknown): ErrorCode {
  if (error instanceof NextkeyError) return error.code
  const { code, syscall } = error as { code?: unknown; syscall?: unknown }
  if (typeof syscall !== 'string') return 'ERR_INTERNAL'
  return code === 'ENOSPC' || code === 'EDQUOT' ? 'ERR_DISK_FULL' : 'ERR_IO'
}

function exitFor(code: string): Exit {
  if (code === 'ERR_DIRECTORY_LOCKED') return Exit.Locked
  if (code === 'ERR_DAMAGED' || code === 'ERR_LOG_DAMAGED') return Exit.Damaged
  if (code === 'ERR_INVALID_ARGUMENT') return Exit.Usage
  return code === 'ERR_ABORTED' ? Exit.Interrupted : Exit.Failed
}

function plain(_key: string, value: unknown): unknown {
  return typeof value === 'bigint' ? `${value}n` : value
}
