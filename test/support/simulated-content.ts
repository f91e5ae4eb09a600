import type { Prng } from './seeded.js'

/**
 * What one simulated file holds, and what of it a crash may take away.
 *
 * The bytes kept are those of the page cache: what reads return. Of every write since the last sync the content remembers the
 * bytes it replaced. So a sync costs nothing but forgetting, and the states a disk may be left in are reached from
 * the cached one by undoing writes, newest first, sector by sector: a sector holds what the cache held at *some* time since the
 * last sync, and no two sectors need agree on the time. A sector stops where the dice say "this write reached the disk".
 *
 * Chunks are copied on write: each names the disk that may change it in place, so a clone copies only the list of chunks.
 * Bytes beyond the size are zero in every chunk.
 */

export const SECTOR_SIZE = 512
/** Space is taken in units of this many bytes. */
export const CHUNK_SIZE = 16384

/** Whether a write or directory operation outlives the crash. */
export const enum Fate {
  Lost = 0,
  Kept = 1,
  /** Each sector on its own: ask `coin`. */
  Torn = 2,
}

/** Decides what survives one crash. Operations are named by their sequence number: their order in time. */
export interface CrashDice {
  fate(sequence: number): Fate
  coin(): boolean
  /** Whether bytes that a failed sync left marked clean had reached the disk all the same. */
  cleanSurvives(): boolean
}

interface Chunk {
  readonly owner: number
  readonly bytes: Uint8Array
}

interface Write {
  readonly sequence: number
  readonly position: number
  readonly length: number
  /** The bytes replaced; null if they were all zero. */
  readonly before: Uint8Array | null
}

interface Resize {
  readonly sequence: number
  readonly size: number
}

export class SimulatedContent {
  /** Size the cache shows. */
  size = 0
  /** Number of chunks that take up space. */
  allocated = 0

  #chunks: (Chunk | null)[] = []
  /** Writes since the last sync, oldest first. */
  #writes: Write[] = []
  /** Sizes taken since the last sync, oldest first; before them it was `#durableSize`. */
  #resizes: Resize[] = []
  #durableSize = 0
  /** Sector → what the disk holds where a failed sync marked the cached bytes clean. */
  #clean: Map<number, Uint8Array> | null = null

  get unsynced(): boolean {
    return this.#writes.length > 0 || this.#resizes.length > 0
  }

  /** Sequence number of the oldest operation that is not synced; Infinity if all are. */
  get oldestUnsynced(): number {
    return Math.min(this.#writes[0]?.sequence ?? Infinity, this.#resizes[0]?.sequence ?? Infinity)
  }

  read(target: Uint8Array, offset: number, length: number, position: number): number {
    const end = Math.min(position + length, this.size)
    let at = position
    while (at < end) {
      const chunk = this.#chunks[Math.floor(at / CHUNK_SIZE)]
      const within = at % CHUNK_SIZE
      const count = Math.min(CHUNK_SIZE - within, end - at)
      const to = offset + (at - position)
      if (chunk) copy(chunk.bytes, within, target, to, count)
      else target.fill(0, to, to + count)
      at += count
    }
    return Math.max(0, end - position)
  }

  /** `owner` is the disk that writes, `sequence` the number of the operation. */
  write(owner: number, sequence: number, source: Uint8Array, offset: number, length: number, position: number): void {
    if (length === 0) return
    this.#remember(sequence, position, length)
    this.#store(owner, source, offset, length, position)
    if (position + length > this.size) this.#resize(sequence, position + length)
  }

  truncate(owner: number, sequence: number, size: number): void {
    if (size === this.size) return
    if (size < this.size) {
      this.#remember(sequence, size, this.size - size)
      this.#clear(owner, size)
    }
    this.#resize(sequence, size)
  }

  /** Chunks a write of this range would have to add. */
  missingChunks(position: number, length: number): number {
    let missing = 0
    for (let i = Math.floor(position / CHUNK_SIZE); i * CHUNK_SIZE < position + length; i++) if (!this.#chunks[i]) missing++
    return missing
  }

  /** How many bytes of this range can be written with `chunks` new chunks. */
  writable(position: number, length: number, chunks: number): number {
    let left = chunks
    for (let i = Math.floor(position / CHUNK_SIZE); i * CHUNK_SIZE < position + length; i++) {
      if (!this.#chunks[i] && left-- === 0) return Math.max(0, i * CHUNK_SIZE - position)
    }
    return length
  }

  /** A sync covers everything up to and including operation `through`. */
  markSynced(through: number): void {
    const writes = countThrough(this.#writes, through)
    if (this.#clean !== null) {
      // A write makes its whole sectors dirty again, so this sync has written them.
      for (let i = 0; i < writes; i++) forEachSector(this.#writes[i] as Write, (sector) => this.#clean?.delete(sector))
    }
    this.#forget(writes, through, true)
  }

  /** A sync fails: what it should have written is now marked clean, and will not be written by any later sync. */
  markClean(through: number): void {
    const writes = countThrough(this.#writes, through)
    if (writes > 0) {
      const durable = this.clone()
      durable.#undo(NOBODY, KEEP_NOTHING)
      this.#clean ??= new Map()
      for (let i = 0; i < writes; i++) {
        forEachSector(this.#writes[i] as Write, (sector) => {
          if (this.#clean?.has(sector)) return
          this.#clean?.set(sector, durable.#sector(sector))
        })
      }
    }
    this.#forget(writes, through, false)
  }

  /** A copy of cache and disk alike; the chunks are shared, so neither's owner may change them in place any more. */
  clone(): SimulatedContent {
    const next = new SimulatedContent()
    next.size = this.size
    next.allocated = this.allocated
    next.#chunks = this.#chunks.slice()
    next.#writes = this.#writes.slice()
    next.#resizes = this.#resizes.slice()
    next.#durableSize = this.#durableSize
    next.#clean = this.#clean === null ? null : new Map(this.#clean)
    return next
  }

  /** Turns this content into what the disk holds after a crash: nothing in it is unsynced. */
  crash(owner: number, dice: CrashDice): void {
    if (!this.unsynced && this.#clean === null) return
    const size = this.#sizeAfterCrash(dice)
    this.#undo(owner, dice)
    this.#clear(owner, size)
    this.size = size
    this.#durableSize = size
    this.#writes = []
    this.#resizes = []
    this.#clean = null
  }

  #sizeAfterCrash(dice: CrashDice): number {
    for (let i = this.#resizes.length - 1; i >= 0; i--) {
      const resize = this.#resizes[i] as Resize
      const fate = dice.fate(resize.sequence)
      if (fate === Fate.Kept || (fate === Fate.Torn && dice.coin())) return resize.size
    }
    return this.#durableSize
  }

  #undo(owner: number, dice: CrashDice): void {
    let end = this.#chunks.length * CHUNK_SIZE
    for (const write of this.#writes) end = Math.max(end, write.position + write.length)
    const settled = new Uint8Array(Math.ceil(end / SECTOR_SIZE))
    for (let i = this.#writes.length - 1; i >= 0; i--) {
      const write = this.#writes[i] as Write
      const fate = dice.fate(write.sequence)
      forEachSector(write, (sector) => {
        if (settled[sector] !== 0) return
        if (fate === Fate.Kept || (fate === Fate.Torn && dice.coin())) settled[sector] = 1
        else this.#restore(owner, write, sector)
      })
    }
    this.#clean?.forEach((bytes, sector) => {
      if (settled[sector] !== 1 && !dice.cleanSurvives()) this.#store(owner, bytes, 0, SECTOR_SIZE, sector * SECTOR_SIZE)
    })
  }

  /** Puts back what `write` replaced within one sector. */
  #restore(owner: number, write: Write, sector: number): void {
    const from = Math.max(write.position, sector * SECTOR_SIZE)
    const to = Math.min(write.position + write.length, (sector + 1) * SECTOR_SIZE)
    if (write.before === null) this.#store(owner, ZEROS, 0, to - from, from)
    else this.#store(owner, write.before, from - write.position, to - from, from)
  }

  #sector(sector: number): Uint8Array {
    const bytes = new Uint8Array(SECTOR_SIZE)
    const chunk = this.#chunks[Math.floor((sector * SECTOR_SIZE) / CHUNK_SIZE)]
    if (chunk) copy(chunk.bytes, (sector * SECTOR_SIZE) % CHUNK_SIZE, bytes, 0, SECTOR_SIZE)
    return bytes
  }

  #remember(sequence: number, position: number, length: number): void {
    let before: Uint8Array | null = null
    if (position < this.size && this.missingChunks(position, length) < chunksSpanned(position, length)) {
      before = new Uint8Array(length)
      this.read(before, 0, length, position)
    }
    this.#writes.push({ sequence, position, length, before })
  }

  #resize(sequence: number, size: number): void {
    this.size = size
    this.#resizes.push({ sequence, size })
  }

  #store(owner: number, source: Uint8Array, offset: number, length: number, position: number): void {
    let done = 0
    while (done < length) {
      const within = (position + done) % CHUNK_SIZE
      const count = Math.min(CHUNK_SIZE - within, length - done)
      const bytes = this.#own(owner, Math.floor((position + done) / CHUNK_SIZE))
      copy(source, offset + done, bytes, within, count)
      done += count
    }
  }

  /** The chunk's bytes, to be changed by `owner`. */
  #own(owner: number, index: number): Uint8Array {
    const chunk = this.#chunks[index]
    if (chunk?.owner === owner) return chunk.bytes
    const bytes = new Uint8Array(CHUNK_SIZE)
    if (chunk) bytes.set(chunk.bytes)
    else {
      while (this.#chunks.length < index) this.#chunks.push(null)
      this.allocated++
    }
    this.#chunks[index] = { owner, bytes }
    return bytes
  }

  /** Zeroes everything from `size` on and gives back the space. */
  #clear(owner: number, size: number): void {
    const keep = Math.ceil(size / CHUNK_SIZE)
    for (let i = keep; i < this.#chunks.length; i++) if (this.#chunks[i]) this.allocated--
    if (this.#chunks.length > keep) this.#chunks.length = keep
    if (size % CHUNK_SIZE !== 0 && this.#chunks[keep - 1]) this.#own(owner, keep - 1).fill(0, size % CHUNK_SIZE)
  }

  /** Where the first `count` writes end, within the size. */
  #reach(count: number): number {
    let end = 0
    for (let i = 0; i < count; i++) end = Math.max(end, (this.#writes[i] as Write).position + (this.#writes[i] as Write).length)
    return Math.min(end, this.size)
  }

  #forget(writes: number, through: number, durable: boolean): void {
    const reach = durable ? this.#reach(writes) : 0
    this.#writes = writes === this.#writes.length ? [] : this.#writes.slice(writes)
    const resizes = countThrough(this.#resizes, through)
    if (resizes === 0) {
      // After a failed sync the disk may have a smaller size than the cache. What is written there again and synced can be read back, so it has grown.
      this.#durableSize = Math.max(this.#durableSize, reach)
      return
    }
    if (durable) this.#durableSize = (this.#resizes[resizes - 1] as Resize).size
    this.#resizes = this.#resizes.slice(resizes)
  }
}

const KEEP_NOTHING: CrashDice = { fate: () => Fate.Lost, coin: () => false, cleanSurvives: () => false }
/** Owns nothing: every chunk it changes is copied first. */
const NOBODY = -1
const ZEROS = new Uint8Array(SECTOR_SIZE)

/** How many of the operations, which are in order of time, are no later than `through`. */
function countThrough(operations: readonly { sequence: number }[], through: number): number {
  let count = operations.length
  while (count > 0 && (operations[count - 1] as { sequence: number }).sequence > through) count--
  return count
}

function chunksSpanned(position: number, length: number): number {
  return Math.floor((position + length - 1) / CHUNK_SIZE) - Math.floor(position / CHUNK_SIZE) + 1
}

function forEachSector(write: Write, visit: (sector: number) => void): void {
  const last = Math.floor((write.position + write.length - 1) / SECTOR_SIZE)
  for (let sector = Math.floor(write.position / SECTOR_SIZE); sector <= last; sector++) visit(sector)
}

function copy(source: Uint8Array, from: number, target: Uint8Array, to: number, length: number): void {
  target.set(source.subarray(from, from + length), to)
}

/** The dice of a crash that takes nothing, or everything, that was not synced; clean-marked bytes are lost in both. */
export function extremeDice(fate: Fate.Lost | Fate.Kept): CrashDice {
  return { fate: () => fate, coin: () => false, cleanSurvives: () => false }
}

/** Everything up to a random moment from operation `oldest` to `newest`, the operation of that moment torn, nothing after it. */
export function tornDice(random: Prng, oldest: number, newest: number): CrashDice {
  const moment = oldest + random.int(Math.max(1, newest - oldest + 1))
  return {
    fate: (sequence) => (sequence < moment ? Fate.Kept : sequence > moment ? Fate.Lost : Fate.Torn),
    coin: () => random.bool(),
    cleanSurvives: () => false,
  }
}

/**
 * No order at all. Each crash draws how much survives (almost nothing … almost everything: even odds alone would never
 * lose just one sector of many) and whether writes are lost whole or by the sector.
 */
export function randomDice(random: Prng): CrashDice {
  const odds = random.pick([1 / 32, 1 / 4, 1 / 2, 3 / 4, 31 / 32])
  const whole = random.bool(1 / 3)
  return {
    fate: () => (whole ? (random.bool(odds) ? Fate.Kept : Fate.Lost) : Fate.Torn),
    coin: () => random.bool(odds),
    cleanSurvives: () => random.bool(odds / 4),
  }
}
