import type { FileSystem } from '../platform/file-system.js'
import { decodeHeader, decodeMark, Header } from './log-format.js'

/**
 * The largest number that was left beside a log (`WriteAheadLog.mark`), found by somebody who looks on while the log is written: 0 if there is
 * none. Files that come and go meanwhile, and those that cannot be read, say nothing. Raises nothing.
 */
export function readMark(fileSystem: FileSystem, directory: string, databaseId: Uint8Array): number {
  let largest = 0
  for (const name of namesIn(fileSystem, directory)) {
    if (name.endsWith('.log')) largest = Math.max(largest, markIn(fileSystem, `${directory}/${name}`, databaseId))
  }
  return largest
}

function namesIn(fileSystem: FileSystem, directory: string): string[] {
  try {
    return fileSystem.list(directory)
  } catch {
    return []
  }
}

function markIn(fileSystem: FileSystem, path: string, databaseId: Uint8Array): number {
  try {
    const file = fileSystem.open(path, { readOnly: true })
    try {
      const block = new Uint8Array(Header.BlockSize)
      const header = block.subarray(0, file.readSync(block, 0, Header.BlockSize, 0))
      return typeof decodeHeader(header, databaseId) === 'string' ? 0 : decodeMark(header, databaseId)
    } finally {
      file.close()
    }
  } catch {
    return 0
  }
}
