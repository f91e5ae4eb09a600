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
 * - A file closed while such calls are under way keeps its descriptor until the last of them has ended: the number must not
 *   go to another file while the kernel may still write through it.
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
  /** −1 once closed, so that a late call fails instead of reaching whatever file got the number next. */
  #fd: number
  /** Asynchronous calls in the kernel's hands; the descriptor is given back only when there are none. */
  #underWay = 0
  #closing = false
  #onSettled: (() => void)[] = []

  constructor(filePath: string, fd: number) {
    this.path = path.resolve(filePath)
    this.#fd = fd
  }

  size(): number {
    return fs.fstatSync(this.#descriptor()).size
  }

  readSync(buffer: Uint8Array, offset: number, length: number, position: number): number {
    const fd = this.#descriptor()
    let done = 0
    while (done < length) {
      const count = fs.readSync(fd, buffer, offset + done, length - done, position + done)
      if (count === 0) break
      done += count
    }
    return done
  }

  writeSync(buffer: Uint8Array, offset: number, length: number, position: number): void {
    const fd = this.#descriptor()
    let done = 0
    while (done < length) {
      const count = fs.writeSync(fd, buffer, offset + done, length - done, position + done)
      if (count === 0) throw stalledWrite(this.path)
      done += count
    }
  }

  write(buffer: Uint8Array, offset: number, length: number, position: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const fd = this.#begin()
      let done = 0
      const step = (error: NodeJS.ErrnoException | null, count: number): void => {
        if (error === null) {
          done += count
          if (done < length && count > 0) {
            fs.write(fd, buffer, offset + done, length - done, position + done, step)
            return
          }
        }
        this.#end()
        if (error !== null) reject(error)
        else if (done < length) reject(stalledWrite(this.path))
        else resolve()
      }
      fs.write(fd, buffer, offset, length, position, step)
    })
  }

  syncSync(): void {
    fs.fdatasyncSync(this.#descriptor())
  }

  sync(): Promise<void> {
    return new Promise((resolve, reject) => {
      const fd = this.#begin()
      fs.fdatasync(fd, (error) => {
        this.#end()
        if (error) reject(error)
        else resolve()
      })
    })
  }

  truncate(size: number): void {
    fs.ftruncateSync(this.#descriptor(), size)
  }

  settled(): Promise<void> {
    if (this.#underWay === 0) return Promise.resolve()
    return new Promise((resolve) => this.#onSettled.push(resolve))
  }

  close(): void {
    if (this.#closing) return
    this.#closing = true
    if (this.#underWay === 0) fs.closeSync(this.#release())
  }

  #descriptor(): number {
    if (this.#closing) throw closedFile(this.path)
    return this.#fd
  }

  #begin(): number {
    const fd = this.#descriptor()
    this.#underWay++
    return fd
  }

  #end(): void {
    this.#underWay--
    if (this.#underWay > 0) return
    for (const resolve of this.#onSettled.splice(0)) resolve()
    // Nobody is left to be told of an error here; what had to be durable was synced.
    if (this.#closing) fs.close(this.#release(), () => {})
  }

  #release(): number {
    const fd = this.#fd
    this.#fd = -1
    return fd
  }
}

function closedFile(filePath: string): Error {
  return Object.assign(new Error(`EBADF: ${filePath} is closed`), { code: 'EBADF', path: filePath })
}

/** A write of nothing, without an error: going on would spin for ever. */
function stalledWrite(filePath: string): Error {
  return Object.assign(new Error(`EIO: a write to ${filePath} made no progress`), { code: 'EIO', syscall: 'write', path: filePath })
}
