import type { PageId } from '../base/ids.js'
import { KeyBuffer } from '../codec/key-encoding.js'
import type { PageStore } from '../storage/page-store.js'
import { Undo, type UndoKind } from './undo-format.js'
import type { UndoSpace } from './undo-log.js'

/**
 * One undo record, read out of its page so that the page may leave the pool: what rollback and purge work on.
 * Reused from record to record.
 */
export class UndoReader {
  kind: UndoKind = 0 as UndoKind
  page: PageId = 0 as PageId
  offset = 0
  length = 0
  owner = 0
  readonly key: KeyBuffer = new KeyBuffer()
  /** The image's bytes, 4-aligned: image[0, imageLength). */
  readonly image: Uint8Array
  readonly imageWords: Uint32Array
  imageLength = 0
  /** Where the image lies in the slab; good for the operation that read it. */
  imageAt = 0

  readonly #store: PageStore
  readonly #undo: UndoSpace

  constructor(store: PageStore, undo: UndoSpace) {
    this.#store = store
    this.#undo = undo
    const memory = new ArrayBuffer(LONGEST_IMAGE)
    this.image = new Uint8Array(memory)
    this.imageWords = new Uint32Array(memory)
  }

  read(page: PageId, offset: number): void {
    const at = this.#undo.locate(page, offset)
    const { u8, u16, u32 } = this.#store
    this.page = page
    this.offset = offset
    this.kind = u8[at + Undo.Kind]
    this.length = u16[at >> 1]
    this.owner = u32[(at + Undo.Owner) >> 2]
    const keyLength = u16[(at + Undo.KeyLength) >> 1]
    this.imageLength = u16[(at + Undo.ImageLength) >> 1]
    this.imageAt = at + ((Undo.Key + keyLength + 3) & ~3)
    copyKey(u8, at + Undo.Key, this.key, keyLength)
    for (let word = 0, from = this.imageAt >> 2; word < (this.imageLength + 3) >> 2; word++) this.imageWords[word] = u32[from + word]
  }
}

/** Entry keys are longer than one key may be: two appends. */
function copyKey(bytes: Uint8Array, at: number, target: KeyBuffer, length: number): void {
  const half = Math.min(length, 2048)
  target.set(bytes, at, at + half)
  if (length > half) target.append(bytes, at + half, at + length)
}

/** A record is at most a quarter page. */
const LONGEST_IMAGE = 8192
