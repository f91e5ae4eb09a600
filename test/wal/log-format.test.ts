import { crc32 } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import type { LogPosition } from '../../src/base/ids.js'
import { decodeHeader, encodeHeader, Frame, framedSize, frameEnd, Header, type SegmentHeader } from '../../src/wal/log-format.js'
import { append, DATABASE_ID, DIRECTORY, newLog, reopen, world } from './support.js'

const HEADER: SegmentHeader = {
  sequence: 2 ** 33 + 7,
  epoch: '0123456789abcdef',
  first: (2 ** 41 + 20) as LogPosition,
  length: 8192,
  predecessorSequence: 2 ** 33 + 5,
  predecessorEpoch: 'fedcba9876543210',
}

function encoded(header: SegmentHeader): Buffer {
  const block = Buffer.alloc(Header.BlockSize, 0xff)
  encodeHeader(block, header, DATABASE_ID)
  return block
}

describe('a segment header', () => {
  it('is what the format says, byte for byte, twice', () => {
    const block = encoded(HEADER)
    const expected = Buffer.from(
      [
        Buffer.from('nextkeyL').toString('hex'),
        '01000000',
        'CRC-----',
        Buffer.from(DATABASE_ID).toString('hex'),
        '0700000002000000',
        '0123456789abcdef',
        '1400000000020000',
        '00200000',
        '00000000',
        '0500000002000000',
        'fedcba9876543210',
      ]
        .join('')
        .replace('CRC-----', '00000000'),
      'hex',
    )
    expected.writeUInt32LE(crc32(Buffer.concat([expected.subarray(0, 12), expected.subarray(16)])), 12)
    expect(expected).toHaveLength(80)
    expect(block.subarray(0, 80).equals(expected)).toBe(true)
    expect(block.subarray(2048, 2128).equals(expected)).toBe(true)
    expect(block.subarray(80, 2048).every((byte) => byte === 0) && block.subarray(2128).every((byte) => byte === 0)).toBe(true)
  })

  it('says what it was given', () => {
    expect(decodeHeader(encoded(HEADER), DATABASE_ID)).toEqual(HEADER)
  })

  it('torn while it was rewritten is the later one', () => {
    const later = { ...HEADER, sequence: HEADER.sequence + 2 ** 32 }
    for (const [one, two] of [
      [HEADER, later],
      [later, HEADER],
    ] as const) {
      const torn = Buffer.concat([encoded(one).subarray(0, 2048), encoded(two).subarray(2048)])
      expect(decodeHeader(torn, DATABASE_ID)).toEqual(later)
    }
  })

  it('is read from the copy that is whole', () => {
    for (const copy of [0, 2048]) {
      const block = encoded(HEADER)
      block.fill(0, copy, copy + 512)
      expect(decodeHeader(block, DATABASE_ID)).toEqual(HEADER)
    }
    expect(decodeHeader(encoded(HEADER).fill(0), DATABASE_ID)).toBe('unreadable')
    expect(decodeHeader(encoded(HEADER).subarray(0, 60), DATABASE_ID)).toBe('unreadable')
    expect(decodeHeader(Buffer.alloc(0), DATABASE_ID)).toBe('unreadable')
  })

  it('of another database is foreign', () => {
    expect(decodeHeader(encoded(HEADER), new Uint8Array(16))).toBe('foreign')
  })
})

describe('a frame', () => {
  it('is what the format says, byte for byte', () => {
    const env = world()
    const log = newLog(env)
    append(log, Buffer.from('first'), 3)
    log.syncNow()
    append(log, Buffer.from('second!!'), 4)
    append(log, Buffer.from('x'), 255)
    log.syncNow()
    const image = Buffer.alloc(4096 + 100)
    env.fileSystem.open(`${DIRECTORY}/1.log`).readSync(image, 0, image.length, 0)
    const seed = (image.readUInt32BE(40) + Math.imul(1, 0x9e3779b1)) >>> 0
    const frame = (offset: number, payload: string, lag: number, kind: number): Buffer => {
      const bytes = Buffer.alloc(16 + Math.ceil(payload.length / 4) * 4)
      bytes.writeUInt32LE(payload.length, 4)
      bytes.writeUInt32LE(lag, 8)
      bytes[12] = kind
      bytes.write(payload, 16)
      bytes.writeUInt32LE(crc32(bytes.subarray(4, 16 + payload.length), (seed + offset) >>> 0), 0)
      return bytes
    }
    const body = Buffer.concat([frame(0, 'first', 0, 3), frame(24, 'second!!', 0, 4), frame(48, 'x', 24, 255), Buffer.alloc(32)])
    expect(image.subarray(4096).equals(body)).toBe(true)
  })

  it('leaves no end of a body that is too small for another', () => {
    for (let length = 1; length < 200; length++) {
      for (let body = length + Frame.HeaderSize + ((4 - (length & 3)) & 3); body < 400; body += 4) {
        const end = frameEnd(0, length, body)
        expect(end === body || body - end >= Frame.MinimumSize).toBe(true)
        expect(end - Frame.HeaderSize - length).toBeGreaterThanOrEqual(0)
        expect(end - Frame.HeaderSize - length).toBeLessThan(4 + Frame.MinimumSize)
      }
    }
  })

  it('takes no more than was reckoned with', () => {
    for (const bodyLength of [8192 - 4096, 8192, 300_000, 16_773_120]) {
      for (const size of [1, 100, 4000, 8176, 100_000, 262_144, 262_145, 3_000_000]) {
        for (const groups of [1, 3]) {
          const body = bodyLength
          let worst = 0
          for (const start of [0, 20, body - 20, body - 24, body - 4 * 100]) {
            let at = start
            for (let group = 0; group < groups; group++) {
              for (let left = size; left > 0; ) {
                const offset = at % body
                const take = Math.min(left, body - offset - Frame.HeaderSize, Frame.MaximumPayload)
                at += frameEnd(offset, take, body) - offset
                left -= take
              }
            }
            worst = Math.max(worst, at - start)
          }
          expect(worst).toBeLessThanOrEqual(framedSize(size * groups, groups, body))
        }
      }
    }
  })
})

describe('a run', () => {
  it('has an epoch of its own, and says what it follows', () => {
    const env = world()
    const log = newLog(env)
    append(log, Buffer.from('abcd'))
    log.syncNow()
    reopen(env)
    const headers = [1, 2].map((number) => {
      const block = Buffer.alloc(Header.BlockSize)
      env.fileSystem.open(`${DIRECTORY}/${number}.log`).readSync(block, 0, block.length, 0)
      return decodeHeader(block, DATABASE_ID) as SegmentHeader
    })
    expect(headers[0]).toMatchObject({ sequence: 1, first: 0, length: 8192, predecessorSequence: 0 })
    expect(headers[1]).toMatchObject({ sequence: 2, first: 20, predecessorSequence: 1, predecessorEpoch: headers[0]?.epoch })
    expect(headers[1]?.epoch).not.toBe(headers[0]?.epoch)
  })
})
