import { spawn } from 'node:child_process'
import { once } from 'node:events'
import type { Readable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

export interface ToolResult {
  /** null: it was killed. */
  readonly exit: number | null
  readonly stdout: string
  readonly stderr: string
  /** Milliseconds of work, loading of modules left out. */
  readonly length: number
}

export interface Interruption {
  readonly signal: 'SIGKILL' | 'SIGINT'
  /** Milliseconds after it began to work. */
  readonly after: number
}

/** Runs `nextkey <args>` in a process of its own; with an interruption, sends it that signal if it still runs by then. */
export async function runProcess(args: readonly string[], interruption?: Interruption): Promise<ToolResult> {
  const child = spawn(process.execPath, ['--import', 'tsx', TOOL, ...args], { stdio: ['ignore', 'pipe', 'pipe', 'pipe'] })
  let [stdout, stderr] = ['', '']
  child.stdout?.on('data', (chunk) => (stdout += chunk))
  child.stderr?.on('data', (chunk) => (stderr += chunk))
  const closed = once(child, 'close')
  // One that cannot even be loaded closes without a word.
  await Promise.race([once(child.stdio[3] as Readable, 'data'), closed])
  const began = performance.now()
  if (interruption !== undefined) {
    await Promise.race([sleep(interruption.after, undefined, { ref: false }), closed])
    child.kill(interruption.signal)
  }
  const [exit] = (await closed) as [number | null]
  return { exit, stdout, stderr, length: performance.now() - began }
}

const TOOL = fileURLToPath(new URL('tool.ts', import.meta.url))
