import { closeSync, fdatasync, fdatasyncSync, openSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'

/**
 * What the machine gives: records written one after the other into a preallocated, zero-written file, each followed by fdatasync.
 * No engine that makes every commit durable can be faster than this.
 */

const fdatasyncAsync = promisify(fdatasync)
const fileBytes = 16 * 2 ** 20

/**
 * @param {string} directory
 * @returns {{ append(record: Uint8Array): Promise<void>, appendSync(record: Uint8Array): void, close(): void }}
 */
export function openBareFile(directory) {
  const fd = openSync(join(directory, 'bare'), 'w+')
  const zeros = new Uint8Array(2 ** 20)
  for (let position = 0; position < fileBytes; position += zeros.length) writeSync(fd, zeros, 0, zeros.length, position)
  fdatasyncSync(fd)
  let position = 0

  /** @param {Uint8Array} record */
  function write(record) {
    if (position + record.length > fileBytes) position = 0
    writeSync(fd, record, 0, record.length, position)
    position += record.length
  }
  return {
    async append(record) {
      write(record)
      await fdatasyncAsync(fd)
    },
    appendSync(record) {
      write(record)
      fdatasyncSync(fd)
    },
    close: () => closeSync(fd),
  }
}
