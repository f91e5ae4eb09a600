/**
 * The one seam to the file system (D2). Everything the engine reads from or writes to a disk goes through these two
 * interfaces: Node's implementation stands beside this file, a simulated disk for the tests in test/support.
 *
 * Durable by name means: file synced *and* directory synced. Implementations promise nothing about bytes that were
 * not synced, nor about names created, renamed or removed since the last `syncDirectory`.
 *
 * Errors of the operating system are passed on as they are (`code` 'ENOENT', 'ENOSPC', 'EIO' …); callers translate.
 * Reads and writes are whole: a write that returns has written every byte; a read returns fewer bytes than asked only at
 * the end of the file. The synchronous and asynchronous forms of a call may be mixed on one file, not on overlapping
 * ranges at one time.
 */
export interface FileSystem {
  /** Opens an existing file, or makes it (`create`; with `exclusive` it must not exist yet). */
  open(path: string, options?: OpenOptions): File
  exists(path: string): boolean
  /** Names in a directory, sorted; throws ENOENT if there is none. */
  list(path: string): string[]
  /** Makes a directory and its parents; no error if it is there. */
  makeDirectory(path: string): void
  /** Replaces `to` atomically. */
  rename(from: string, to: string): void
  remove(path: string): void
  /** Makes creations, renames and removals in this directory durable. */
  syncDirectory(path: string): Promise<void>
  syncDirectorySync(path: string): void
}

export interface OpenOptions {
  create?: boolean
  exclusive?: boolean
  readOnly?: boolean
}

export interface File {
  readonly path: string
  size(): number
  /** Returns the number of bytes read: fewer than `length` only at the end of the file. */
  readSync(buffer: Uint8Array, offset: number, length: number, position: number): number
  writeSync(buffer: Uint8Array, offset: number, length: number, position: number): void
  /** The buffer must not be changed until the promise settles. */
  write(buffer: Uint8Array, offset: number, length: number, position: number): Promise<void>
  /** fdatasync: data and whatever metadata is needed to read it back. Never retried by callers after a failure. */
  syncSync(): void
  sync(): Promise<void>
  truncate(size: number): void
  /** Resolves when no asynchronous call is under way, however they ended: nothing of this process will reach the file after it. */
  settled(): Promise<void>
  close(): void
}
