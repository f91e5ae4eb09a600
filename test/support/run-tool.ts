import type { Context, Exit } from '../../src/cli/context.js'
import { run } from '../../src/cli/program.js'
import type { Environment } from '../../src/platform/environment.js'

export interface ToolRun {
  exit: Exit
  stdout: string
  stderr: string
}

/** Runs the command-line tool in this process, on any machine, simulated ones included. */
export async function runTool(environment: Environment, args: readonly string[], input = ''): Promise<ToolRun> {
  const written = { stdout: [] as Buffer[], stderr: [] as Buffer[] }
  const output = (parts: Buffer[]): Context['stdout'] => ({
    isTerminal: false,
    colours: false,
    stream: undefined,
    write: async (chunk) => void parts.push(Buffer.from(chunk)),
  })
  const exit = await run(
    {
      environment,
      stdout: output(written.stdout),
      stderr: output(written.stderr),
      stdin: async function* () {
        if (input !== '') yield Buffer.from(input)
      },
      signal: new AbortController().signal,
    },
    args,
  )
  return { exit, stdout: Buffer.concat(written.stdout).toString(), stderr: Buffer.concat(written.stderr).toString() }
}
