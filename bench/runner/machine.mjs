import { execFileSync } from 'node:child_process'
import { readFileSync, statfsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { cpus, release, totalmem } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** What the figures were measured on. */

const tmpfsMagic = 0x01021994

/**
 * @param {string} directory where the databases are
 * @returns {{ cpu: string, cpus: number, pinnedTo: number | undefined, memoryGiB: number, system: string, node: string, lmdb: string, nextkey: string, inMemory: boolean }}
 */
export function describeMachine(directory) {
  const list = cpus()
  return {
    cpu: list[0]?.model.trim() ?? 'unknown',
    cpus: list.length,
    pinnedTo: pinnableCpu(),
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    system: `${process.platform} ${release()}`,
    node: process.version,
    // lmdb does not export its package.json; its entry point for require is dist/index.cjs.
    lmdb: versionIn(join(dirname(createRequire(import.meta.url).resolve('lmdb')), '..')),
    nextkey: versionIn(fileURLToPath(new URL('../..', import.meta.url))),
    inMemory: process.platform === 'linux' && statfsSync(directory).type === tmpfsMagic,
  }
}

/** @param {string} directory a package's */
function versionIn(directory) {
  return JSON.parse(readFileSync(join(directory, 'package.json'), 'utf8')).version
}

/** The last processor this process may use, if `taskset` is there to pin children to it; undefined otherwise. */
function pinnableCpu() {
  if (process.platform !== 'linux') return undefined
  try {
    const allowed = /^Cpus_allowed_list:\s*(.+)$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? ''
    const cpu = Number(allowed.split(/[,-]/).at(-1))
    execFileSync('taskset', ['-c', String(cpu), 'true'], { stdio: 'ignore' })
    return cpu
  } catch {
    return undefined
  }
}
