import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

export interface ReaderReport {
  /** Whole states seen, each with the sum that every state has. */
  right: number
  /** States that db.check() went through to its end, and found nothing. */
  checked: number
  /** Reads and checks that ended with ERR_SNAPSHOT_GONE. */
  gone: number
  /** Refreshes that found a newer checkpoint. */
  moved: number
  gets: number
}

/** Real processes: an owner that writes at full speed and readers beside it. Rejects with what the first to fail has said. */
export async function share({ seed, seconds, readers }: { seed: number; seconds: number; readers: number }): Promise<ReaderReport[]> {
  const directory = mkdtempSync(join(tmpdir(), 'nextkey-sharing-'))
  const owner = start('owner.ts', directory, `${seed}`)
  try {
    await Promise.race([once(owner.child.stdout as NodeJS.ReadableStream, 'data'), owner.result])
    const results = Array.from({ length: readers }, (_, i) => start('reader.ts', directory, `${seed + i + 1}`, `${seconds}`).result)
    const reports = (await Promise.all(results)).map((text) => JSON.parse(text) as ReaderReport)
    owner.child.stdin?.end()
    await owner.result
    return reports
  } finally {
    owner.child.kill('SIGKILL')
    rmSync(directory, { recursive: true, force: true })
  }
}

function start(file: string, ...args: string[]): { child: ChildProcess; result: Promise<string> } {
  const path = fileURLToPath(new URL(file, import.meta.url))
  const child = spawn(process.execPath, ['--import', 'tsx', path, ...args], { stdio: ['pipe', 'pipe', 'pipe'] })
  const said = { out: '', err: '' }
  child.stdout?.on('data', (chunk) => (said.out += chunk))
  child.stderr?.on('data', (chunk) => (said.err += chunk))
  const result = once(child, 'close').then(([code]) => {
    if (code !== 0) throw new Error(`${file} ended with ${code}:\n${said.err}`)
    return said.out
  })
  result.catch(() => {})
  return { child, result }
}
