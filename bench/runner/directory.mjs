import { closeSync, copyFileSync, fdatasyncSync, mkdirSync, openSync, readdirSync, rmSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'

/** Database directories: how much disk they use, and copies that leave no work behind for somebody else's fdatasync. */

/** @param {string} directory */
function filesIn(directory) {
  return readdirSync(directory, { recursive: true, encoding: 'utf8' }).filter((name) => statSync(join(directory, name)).isFile())
}

/**
 * Bytes allocated on disk, not apparent sizes: files may be sparse or preallocated.
 * @param {string} directory
 * @returns {{ total: number, files: Record<string, number> }}
 */
export function directoryUse(directory) {
  /** @type {Record<string, number>} */
  const files = {}
  let total = 0
  for (const name of filesIn(directory)) {
    files[name] = statSync(join(directory, name)).blocks * 512
    total += files[name]
  }
  return { total, files }
}

/**
 * Copies a closed (or killed) database and syncs the copy, so that the first commit measured does not pay for the copying.
 * @param {string} from
 * @param {string} to
 */
export function copyDirectory(from, to) {
  mkdirSync(to, { recursive: true })
  for (const name of filesIn(from)) {
    const target = join(to, name)
    mkdirSync(dirname(target), { recursive: true })
    copyFileSync(join(from, name), target)
    const fd = openSync(target, 'r+')
    fdatasyncSync(fd)
    closeSync(fd)
  }
}

/** @param {string} directory */
export function removeDirectory(directory) {
  rmSync(directory, { recursive: true, force: true })
}
