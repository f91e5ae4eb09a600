import type { File, FileSystem, OpenOptions } from './file-system.js'

/**
 * A file system that looks before it leaps: `look` is called before every call that changes a file or a name. What `look` raises, the call raises,
 * and nothing was changed.
 */
export class GuardedFileSystem implements FileSystem {
  readonly #inner: FileSystem
  readonly #look: () => void

  constructor(inner: FileSystem, look: () => void) {
    this.#inner = inner
    this.#look = look
  }

  open(path: string, options: OpenOptions = {}): File {
    if (options.create === true) this.#look()
    return this.guard(this.#inner.open(path, options))
  }

  /** A file that is open. */
  guard(file: File): File {
    return new GuardedFile(file, this.#look)
  }

  exists(path: string): boolean {
    return this.#inner.exists(path)
  }

  list(path: string): string[] {
    return this.#inner.list(path)
  }

  makeDirectory(path: string): void {
    this.#look()
    this.#inner.makeDirectory(path)
  }

  rename(from: string, to: string): void {
    this.#look()
    this.#inner.rename(from, to)
  }

  remove(path: string): void {
    this.#look()
    this.#inner.remove(path)
  }

  syncDirectory(path: string): Promise<void> {
    return this.#inner.syncDirectory(path)
  }

  syncDirectorySync(path: string): void {
    this.#inner.syncDirectorySync(path)
  }
}

class GuardedFile implements File {
  readonly path: string
  readonly #inner: File
  readonly #look: () => void

  constructor(inner: File, look: () => void) {
    this.path = inner.path
    this.#inner = inner
    this.#look = look
  }

  size(): number {
    return this.#inner.size()
  }

  readSync(buffer: Uint8Array, offset: number, length: number, position: number): number {
    return this.#inner.readSync(buffer, offset, length, position)
  }

  writeSync(buffer: Uint8Array, offset: number, length: number, position: number): void {
    this.#look()
    this.#inner.writeSync(buffer, offset, length, position)
  }

  async write(buffer: Uint8Array, offset: number, length: number, position: number): Promise<void> {
    this.#look()
    return this.#inner.write(buffer, offset, length, position)
  }

  syncSync(): void {
    this.#inner.syncSync()
  }

  sync(): Promise<void> {
    return this.#inner.sync()
  }

  truncate(size: number): void {
    this.#look()
    this.#inner.truncate(size)
  }

  settled(): Promise<void> {
    return this.#inner.settled()
  }

  close(): void {
    this.#inner.close()
  }
}
