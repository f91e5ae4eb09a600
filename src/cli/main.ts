#!/usr/bin/env node
import { systemEnvironment } from '../tools.js'
import type { Output } from './context.js'
import { run } from './program.js'

const interrupted = new AbortController()
// The first Ctrl-C lets the command end in order; the second ends the process.
process.once('SIGINT', () => interrupted.abort())
// A reader such as `head` that has enough is no error.
process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 5))

function outputTo(stream: NodeJS.WriteStream): Output {
  const isTerminal = stream.isTTY === true
  return {
    isTerminal,
    colours: isTerminal && (process.env['NO_COLOR'] ?? '') === '' && process.env['TERM'] !== 'dumb',
    stream,
    write: (chunk) => new Promise((resolve) => (stream.write(chunk) ? resolve() : stream.once('drain', resolve))),
  }
}

process.exitCode = await run(
  {
    environment: systemEnvironment,
    stdout: outputTo(process.stdout),
    stderr: outputTo(process.stderr),
    stdin: () => process.stdin,
    signal: interrupted.signal,
  },
  process.argv.slice(2),
)
