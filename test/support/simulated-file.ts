import type { File } from '../../src/platform/file-system.js'
import type { SimulatedDisk } from './simulated-disk.js'
import { systemError } from './simulated-faults.js'
import type { Inode } from './simulated-names.js'

/** An open file of a simulated disk, which does the work: here only what belongs to the handle. Closing never fails. */
export class SimulatedFile implements File {
  readonly path: string
  readonly inode: Inode
  readonly #disk: SimulatedDisk
  readonly #readOnly: boolean
  #open = true
  #underWay = 0
  #onSettled: (() => void)[] = []

  constructor(disk: SimulatedDisk, inode: Inode, path: string, readOnly: boolean) {
    this.path = path
    this.inode = inode
    this.#disk = disk
    this.#readOnly = readOnly
    inode.handles++
  }

  size(): number {
    this.#require('fstat', false)
    this.#disk.look('size', this.path)
    return this.inode.content.size
  }

  readSync(buffer: Uint8Array, offset: number, length: number, position: number): number {
    this.#require('read', false)
    this.#disk.look('read', this.path)
    return this.inode.content.read(buffer, offset, length, position)
  }

  writeSync(buffer: Uint8Array, offset: number, length: number, position: number): void {
    this.#require('write', true)
    this.#disk.write(this, buffer, offset, length, position, null)
  }

  async write(buffer: Uint8Array, offset: number, length: number, position: number): Promise<void> {
    this.#require('write', true)
    await this.#counted(this.#disk.writeLater(this, buffer.subarray(offset, offset + length), position))
  }

  syncSync(): void {
    this.#require('fdatasync', false)
    this.#disk.syncNow(this)
  }

  async sync(): Promise<void> {
    this.#require('fdatasync', false)
    await this.#counted(this.#disk.syncLater(this))
  }

  truncate(size: number): void {
    this.#require('ftruncate', true)
    this.#disk.truncate(this, size)
  }

  settled(): Promise<void> {
    return this.#underWay === 0 ? Promise.resolve() : new Promise((resolve) => this.#onSettled.push(resolve))
  }

  close(): void {
    if (!this.#open) return
    this.#open = false
    this.inode.handles--
    this.#disk.closed(this.inode)
  }

  async #counted(call: Promise<void>): Promise<void> {
    this.#underWay++
    try {
      await call
    } finally {
      if (--this.#underWay === 0) for (const resolve of this.#onSettled.splice(0)) resolve()
    }
  }

  #require(syscall: string, writable: boolean): void {
    if (!this.#open || (writable && this.#readOnly)) throw systemError('EBADF', syscall, this.path)
  }
}
