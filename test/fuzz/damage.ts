import type { File } from '../../src/platform/file-system.js'
import type { Prng } from '../support/seeded.js'
import type { SimulatedDisk } from '../support/simulated-disk.js'
import type { Base } from './base.js'

const DATA = '/database/nextkey.db'
const BLOCK = 16384

/** Damages a copy of the database in one to three places; says where and how. */
export function damage(base: Base, disk: SimulatedDisk, random: Prng): string[] {
  const told: string[] = []
  for (let places = random.pick([1, 1, 1, 2, 3]); places > 0; places--) {
    const logs = disk.list('/database/wal').map((name) => `/database/wal/${name}`)
    const target = random.int(10)
    const path = target < 6 || logs.length === 0 ? DATA : random.pick(logs)
    const file = disk.open(path)
    try {
      told.push(`${path}: ${path === DATA ? damageData(base, file, random) : damageLog(base, file, path, random)}`)
    } finally {
      file.close()
    }
  }
  return told
}

function damageData(base: Base, file: File, random: Prng): string {
  const blocks = Math.max(2, Math.floor(file.size() / BLOCK))
  // Superblocks and the map are few: they get more than their share.
  const block = random.int(5) === 0 ? random.int(2) : random.int(blocks)
  const at = block * BLOCK
  switch (random.int(8)) {
    case 0:
    case 1:
      return flips(file, at, BLOCK, random)
    case 2:
      put(file, Buffer.alloc(BLOCK), at)
      return `block ${block} zeroed`
    case 3: {
      const sector = at + random.int(32) * 512
      put(file, noise(512, random), sector)
      return `sector at byte ${sector} overwritten`
    }
    case 4: {
      const other = random.int(blocks)
      const one = get(file, at, BLOCK)
      put(file, get(file, other * BLOCK, BLOCK), at)
      put(file, one, other * BLOCK)
      return `blocks ${block} and ${other} exchanged`
    }
    case 5: {
      const size = random.int(3) === 0 ? random.int(file.size() + 1) : Math.max(0, file.size() - random.int(3 * BLOCK))
      file.truncate(size)
      return `cut to ${size} bytes`
    }
    case 6: {
      const other = random.int(blocks)
      put(file, get(file, other * BLOCK, BLOCK), at)
      return `block ${block} overwritten with block ${other}`
    }
    default:
      return stale(base, file, DATA, at, BLOCK, random)
  }
}

function damageLog(base: Base, file: File, path: string, random: Prng): string {
  const size = file.size()
  // What is written lies at the beginning, mostly.
  const at = random.int(3) === 0 ? random.int(4096) : 4096 + random.int(random.pick([512, 8192, Math.max(1, size - 4096)]))
  switch (random.int(6)) {
    case 0:
    case 1:
      return flips(file, at, Math.min(512, Math.max(1, size - at)), random)
    case 2: {
      const length = random.pick([4, 512, 4096])
      put(file, Buffer.alloc(length), at)
      return `${length} bytes zeroed at ${at}`
    }
    case 3:
      put(file, noise(64, random), at)
      return `64 bytes overwritten at ${at}`
    case 4: {
      const left = random.int(size + 1)
      file.truncate(left)
      return `cut to ${left} bytes`
    }
    default:
      return stale(base, file, path, at & ~511, 4096, random)
  }
}

function flips(file: File, at: number, length: number, random: Prng): string {
  const told: string[] = []
  for (let count = random.pick([1, 1, 2, 5]); count > 0; count--) {
    const place = at + random.int(length)
    const byte = get(file, place, 1)
    const bit = random.int(8)
    byte[0] ^= 1 << bit
    put(file, byte, place)
    told.push(`bit ${bit} of byte ${place}`)
  }
  return `${told.join(', ')} flipped`
}

/** What stood there earlier, as after a write that was lost. */
function stale(base: Base, file: File, path: string, at: number, length: number, random: Prng): string {
  const earlier = base.earlier.length === 0 ? undefined : random.pick(base.earlier)
  if (earlier === undefined || !earlier.exists(path)) return flips(file, at, length, random)
  const old = earlier.open(path, { readOnly: true })
  try {
    put(file, get(old, at, length), at)
  } finally {
    old.close()
  }
  return `${length} bytes at ${at} are of an earlier time`
}

function get(file: File, at: number, length: number): Buffer {
  const bytes = Buffer.alloc(length)
  file.readSync(bytes, 0, length, at)
  return bytes
}

function put(file: File, bytes: Buffer, at: number): void {
  file.writeSync(bytes, 0, bytes.length, at)
}

function noise(length: number, random: Prng): Buffer {
  const bytes = Buffer.alloc(length)
  for (let at = 0; at < length; at++) bytes[at] = random.int(256)
  return bytes
}
