import { describe, expect, it } from 'vitest'
import type { CheckpointNumber, LogPosition, PageId, TreeId } from '../../src/base/ids.js'
import type { File } from '../../src/platform/file-system.js'
import { BackgroundRun, type Effect } from '../../src/storage/background-run.js'
import type { Checkpointer } from '../../src/storage/checkpoint.js'
import { formatDataFile, loadDataFile, readSuperblocks } from '../../src/storage/data-file.js'
import { MIN_FRAMES } from '../../src/storage/frame-pool.js'
import { Page, PageType } from '../../src/storage/page-format.js'
import type { Pager } from '../../src/storage/pager.js'
import type { Superblock } from '../../src/storage/superblock.js'
import { Prng } from '../support/seeded.js'
import { CRASH_MODES, SimulatedDisk } from '../support/simulated-disk.js'

/**
 * The pager and its checkpoints against a map of page to content, with asynchronous calls that end when the seed has it: pages are made,
 * changed, freed and read in a pool a fraction of their number, checkpoints run from the event loop or are driven inline, and now and then
 * the power goes, after which the file must show exactly what was there at the freeze of the checkpoint it says it is.
 */

const IDENTITY = { databaseId: new Uint8Array(16).fill(7), ownerToken: new Uint8Array(16) }
const PATH = '/db/nextkey.db'
const TREE = 1 as TreeId
const NOTHING: Effect = { runSync: () => {}, runAsync: async () => {} }

const LEAST_PAGES = 20

type Content = Map<PageId, number>

class PagerModel {
  readonly random: Prng
  readonly disk: SimulatedDisk
  readonly pager: Pager
  readonly #checkpointer: Checkpointer
  /** What is there now, and what was at each freeze. */
  readonly #now: Content = new Map()
  readonly #frozen: Map<CheckpointNumber, Content> = new Map([[1 as CheckpointNumber, new Map()]])
  readonly #pages: PageId[] = []
  #run: BackgroundRun | undefined
  #stamp = 0
  /** Of the disk: on a slow one much happens to a page before a write of it is over. */
  readonly #speed: number

  constructor(seed: number) {
    this.random = new Prng(seed)
    this.#speed = [1, 0.1, 0.01][seed % 3]
    this.disk = new SimulatedDisk({ seed, completion: 'manual' })
    this.disk.makeDirectory('/db')
    this.disk.syncDirectorySync('/')
    const file = this.disk.open(PATH, { create: true })
    formatDataFile(file, IDENTITY)
    this.disk.syncDirectorySync('/db')
    const { pager, checkpointer } = load(file, newest(file))
    this.pager = pager
    this.#checkpointer = checkpointer
    while (this.#pages.length < LEAST_PAGES) this.#make()
  }

  async step(): Promise<void> {
    const { random, pager } = this
    pager.beginOperation()
    const dice = random.int(100)
    if (dice < 12) this.#make()
    else if (dice < 50) this.#change(this.#some())
    else if (dice < 56) this.#free()
    else if (dice < 80) this.#read(this.#some())
    else if (dice < 81) this.#checkpoint()
    else if (dice < 82) this.#run?.help(1 + random.int(4))
    else if (dice < 94) {
      if (random.bool(this.#speed)) this.disk.completeOne()
      await turn()
    }
    if (dice === 99 && random.bool(0.1)) this.#loseAndLook()
  }

  /** Everything is on disk in the end, and nothing was wrong on the way. */
  async finish(): Promise<void> {
    for (let checkpoints = 0; checkpoints < 2; checkpoints++) {
      while (this.#run !== undefined) {
        this.disk.completeOne()
        await turn()
      }
      if (checkpoints === 0) this.#checkpoint()
    }
    while (this.disk.completeOne()) await turn()
    expect(this.pager.failure).toBeUndefined()
    expect(this.pager.allocator.holdsBack).toBe(false)
    for (const page of this.#pages) {
      this.pager.beginOperation()
      this.#read(page)
    }
    this.#loseAndLook()
  }

  #some(): PageId {
    // Mostly among the latest: some pages stay in memory and some do not.
    const { length } = this.#pages
    return this.#pages[this.random.bool(0.7) ? this.random.int(length) : length - 1 - this.random.int(Math.min(length, 60))]
  }

  #make(): void {
    if (this.#pages.length > 3 * MIN_FRAMES) return
    const page = this.pager.allocate(PageType.Leaf, TREE)
    this.#pages.push(page)
    this.#write(page)
  }

  #change(page: PageId): void {
    this.pager.willChange(this.#read(page))
    this.#write(page)
  }

  #write(page: PageId): void {
    const stamp = ++this.#stamp
    const base = this.pager.fetch(page)
    this.pager.u32.fill(stamp, (base + Page.HeaderSize) >> 2, (base + Page.Size) >> 2)
    this.#now.set(page, stamp)
  }

  #read(page: PageId): ReturnType<Pager['fetch']> {
    const base = this.pager.fetch(page)
    expect(stampsOf(this.pager, base)).toEqual([this.#now.get(page)])
    return base
  }

  #free(): void {
    if (this.#pages.length < LEAST_PAGES) return
    const at = this.random.int(this.#pages.length)
    const page = this.#pages[at]
    this.pager.free(page)
    this.#pages[at] = this.#pages[this.#pages.length - 1]
    this.#pages.pop()
    this.#now.delete(page)
  }

  #checkpoint(): void {
    if (this.#run !== undefined) return
    const number = (this.pager.completed + 1) as CheckpointNumber
    this.#frozen.set(number, new Map(this.#now))
    const steps = this.#checkpointer.begin({
      logPosition: 0 as LogPosition,
      rootPage: 0 as PageId,
      logDurable: NOTHING,
      markComplete: () => NOTHING,
      completed: () => {
        this.#run = undefined
      },
    })
    this.#run = new BackgroundRun(steps).start()
  }

  /** The power goes; the file is opened elsewhere. */
  #loseAndLook(): void {
    const mode = this.random.pick(CRASH_MODES)
    const file = this.disk.crash(this.random, mode).open(PATH)
    const superblock = newest(file)
    expect(superblock.checkpoint).toBeGreaterThanOrEqual(this.pager.completed)
    const content = this.#frozen.get(superblock.checkpoint) as Content
    const { pager } = load(file, superblock)
    expect(pager.map.pageCount).toBe(content.size)
    for (const [page, stamp] of content) {
      pager.beginOperation()
      expect(stampsOf(pager, pager.fetch(page))).toEqual([stamp])
    }
  }
}

function newest(file: File): Superblock {
  return readSuperblocks(file)[0]
}

function load(file: File, superblock: Superblock): { pager: Pager; checkpointer: Checkpointer } {
  return loadDataFile(file, superblock, undefined, MIN_FRAMES * Page.Size, IDENTITY)
}

/** The different words of a page's body. */
function stampsOf(pager: Pager, base: number): number[] {
  return Array.from(new Set(pager.u32.subarray((base + Page.HeaderSize) >> 2, (base + Page.Size) >> 2)))
}

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}

describe('the pager', () => {
  it.each(Array.from({ length: 9 }, (_, i) => i + 1))(
    'shows what was written, and after a power loss what its newest checkpoint holds (seed %i)',
    async (seed) => {
      const model = new PagerModel(seed)
      for (let step = 0; step < 6000; step++) await model.step()
      await model.finish()
      if (seed % 3 === 0) expect(model.pager.counters.cleanedAhead).toBeGreaterThan(50)
    },
  )
})
