import * as fs from 'node:fs'
import * as path from 'node:path'
import type { File, FileSystem, OpenOptions } from './file-system.js'

/**
 * The file system seam over `node:fs`.
 *
 * - Calls that return are whole: a read or write the kernel cut short goes on from where it stopped. (libuv itself goes on
 *   after a short write, so what arrives here as one is usually followed by the error that cut it: a full disk, a quota.)
 * - `sync` is fdatasync; on macOS libuv makes it F_FULLFSYNC, which reaches the medium.
 * - Asynchronous calls use the callback forms: one closure and one promise per call, where `fs/promises` would add a
 *   FileHandle and two more promises.
 */
export const nodeFileSystem: FileSystem = {
  open(filePath, options = {}) {
    return new NodeFile(filePath, fs.openSync(filePath, openFlags(options), 0o666))
  },

  exists: (filePath) => fs.existsSync(filePath),

  list: (directory) => fs.readdirSync(directory).sort(),

  makeDirectory(directory) {
    fs.mkdirSync(directory, { recursive: true })
  },

  rename(from, to) {
    fs.renameSync(from, to)
  },

  remove(filePath) {
    fs.unlinkSync(filePath)
  },

  syncDirectory(directory) {
    if (!DIRECTORIES_SYNC) return Promise.resolve()
    return new Promise((resolve, reject) => {
      fs.open(directory, fs.constants.O_RDONLY, (openError, fd) => {
        if (openError !== null) return reject(openError)
        fs.fsync(fd, (syncError) => {
          fs.close(fd, (closeError) => {
            const error = syncError ?? closeError
            if (error) reject(error)
            else resolve()
          })
        })
      })
    })
  },

  syncDirectorySync(directory) {
    if (!DIRECTORIES_SYNC) return
    const fd = fs.openSync(directory, fs.constants.O_RDONLY)
    try {
      fs.fsyncSync(fd)
    } finally {
      fs.closeSync(fd)
    }
  },
}

/** Windows cannot open a directory for syncing; NTFS journals names by itself. */
const DIRECTORIES_SYNC = process.platform !== 'win32'

function openFlags(options: OpenOptions): number {
  const { O_RDONLY, O_RDWR, O_CREAT, O_EXCL } = fs.constants
  if (options.readOnly === true) return O_RDONLY
  if (options.create !== true) return O_RDWR
  return O_RDWR | O_CREAT | (options.exclusive === true ? O_EXCL : 0)
}

class NodeFile implements File {
  readonly path: string
  readonly #fd: number

  constructor(filePath: string, fd: number) {
    this.path = path.resolve(filePath)
    this.#fd = fd
  }

  size(): number {
    return fs.fstatSync(this.#fd).size
  }

  readSync(buffer: Uint8Array, offset: number, length: number, position: number): number {
    let done = 0
    while (done < length) {
      const count = fs.readSync(this.#fd, buffer, offset + done, length - done, position + done)
      if (count === 0) break
      done += count
    }
    return done
  }

  writeSync(buffer: Uint8Array, offset: number, length: number, position: number): void {
    let done = 0
    while (done < length) {
      const count = fs.writeSync(this.#fd, buffer, offset + done, length - done, position + done)
      if (count === 0) throw stalledWrite(this.path)
      done += count
    }
  }

  write(buffer: Uint8Array, offset: number, length: number, position: number): Promise<void> {
    const fd = this.#fd
    return new Promise((resolve, reject) => {
      let done = 0
      const step = (error: NodeJS.ErrnoException | null, count: number): void => {
        if (error !== null) return reject(error)
        if (count === 0 && done < length) return reject(stalledWrite(this.path))
        done += count
        if (done === length) resolve()
        else fs.write(fd, buffer, offset + done, length - done, position + done, step)
      }
      fs.write(fd, buffer, offset, length, position, step)
    })
  }

  syncSync(): void {
    fs.fdatasyncSync(this.#fd)
  }

  sync(): Promise<void> {
    return new Promise((resolve, reject) => {
      fs.fdatasync(this.#fd, (error) => {
        if (error) reject(error)
        else resolve()
      })
    })
  }

  truncate(size: number): void {
    fs.ftruncateSync(this.#fd, size)
  }

  close(): void {
    fs.closeSync(this.#fd)
  }
}

/** A write of nothing, without an error: going on would spin for ever. */
function stalledWrite(filePath: string): Error {
  return Object.assign(new Error(`EIO: a write to ${filePath} made no progress`), { code: 'EIO', syscall: 'write', path: filePath })
}
