import { crc32 } from '../base/crc32.js'
import type { PageId } from '../base/ids.js'
import type { File } from '../platform/file-system.js'
import { Page } from './page-format.js'
import type { Pager } from './pager.js'
import { SUPERBLOCKS } from './superblock.js'

/**
 * Reads every block that the current map refers to, whether its page is in memory or not, and compares it with the map. Each step is one
 * page, and looks at map and file in one turn. A block that is being written just now is left out: the page may not have arrived yet.
 */
export function* checkBlocks(pager: Pager, report: (problem: string) => void, seen: () => void): Generator<void, void, void> {
  const { map, file } = pager
  const bytes = Buffer.allocUnsafeSlow(Page.Size)
  for (let page = 1 as PageId; page < map.nextPage; page++) {
    const block = map.blockOf(page)
    if (block === 0 || pager.isArriving(block)) continue
    const got = readQuietly(file, bytes, block)
    const what =
      typeof got === 'string'
        ? got
        : got !== Page.Size
          ? `the file ends after ${got} of its ${Page.Size} bytes`
          : (crc32(bytes, 0, Page.Size, 0) | 0) !== map.checksumOf(page)
            ? 'the checksum does not match the page map'
            : bytes.readUInt32LE(Page.Id) !== page
              ? 'the block holds another page'
              : undefined
    if (what !== undefined) report(`page ${page} at block ${block} (byte ${block * Page.Size}) of ${file.path} is damaged: ${what}`)
    seen()
    yield
  }
}

/** How many bytes there are, or why they cannot be read. */
function readQuietly(file: File, bytes: Buffer, block: number): number | string {
  try {
    return file.readSync(bytes, 0, Page.Size, block * Page.Size)
  } catch (error) {
    return `it cannot be read: ${(error as Error).message}`
  }
}

/** Every block in use is accounted for. Says nothing while a checkpoint or a backup is under way: then several maps share the file. */
export function checkFreeSpace(pager: Pager, mapBlocks: number, report: (problem: string) => void): void {
  const { allocator, map } = pager
  if (pager.checkpointing || allocator.keptByPin > 0 || allocator.holdsBack) return
  let placed = 0
  for (let page = 1 as PageId; page < map.nextPage; page++) {
    const block = map.blockOf(page)
    if (block === 0) continue
    placed++
    if (!allocator.isUsed(block)) report(`block ${block} holds page ${page} and counts as free`)
  }
  const expected = SUPERBLOCKS + placed + mapBlocks + allocator.waitingCount
  if (allocator.usedCount !== expected) {
    report(
      `${allocator.usedCount} blocks count as used, but ${expected} are: ${placed} pages, ${mapBlocks} of the map, ${allocator.waitingCount} that wait`,
    )
  }
}
