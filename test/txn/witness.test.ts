import { expect, test } from 'vitest'
import type { NextkeyError } from '../../src/base/errors.js'
import { type Database, openWith } from '../../src/database.js'
import { inspectFiles } from '../../src/inspect-files.js'
import { repair } from '../../src/repair.js'
import { Page } from '../../src/storage/page-format.js'
import { Witness } from '../../src/storage/superblock.js'
import { Header } from '../../src/wal/log-format.js'
import { abandon } from '../support/open-test-database.js'
import { Prng } from '../support/seeded.js'
import { SimulatedDisk } from '../support/simulated-disk.js'
import { simulatedEnvironment } from '../support/simulated-environment.js'

const DATA = '/database/nextkey.db'

function zero(disk: SimulatedDisk, path: string, position: number, length: number): void {
  const file = disk.open(path)
  file.writeSync(new Uint8Array(length), 0, length, position)
  file.close()
}

function open(disk: SimulatedDisk): Promise<Database> {
  return openWith(simulatedEnvironment({ disk, seed: 1 }), '/database', {})
}

/** Why it does not open. */
async function refusal(disk: SimulatedDisk): Promise<NextkeyError> {
  let db: Database
  try {
    db = await open(disk)
  } catch (error) {
    return error as NextkeyError
  }
  await db.close()
  throw new Error('it opened')
}

/** Killed after a checkpoint whose superblock then rots, and with it what the log holds after the first of two commits. */
async function withoutNewestCheckpoint(): Promise<{ disk: SimulatedDisk; older: number; newest: number; segment: string }> {
  const running = new SimulatedDisk({ seed: 1 })
  const db = await open(running)
  const table = await db.table('t', { key: 'id' })
  await db.checkpoint()
  await table.put({ id: 1 })
  const kept = inspectFiles(simulatedEnvironment({ disk: running, seed: 1 }), '/database').log.since?.bytes as number
  await table.put({ id: 2 })
  await db.checkpoint()
  const disk = running.killProcess(new Prng(1))
  await abandon(db, running)
  const { superblocks, log } = inspectFiles(simulatedEnvironment({ disk, seed: 1 }), '/database')
  const [newest, older] = superblocks.map(({ checkpoint }) => checkpoint) as [number, number]
  const segment = log.segments.at(-1) as { file: string; first: number; size: number }
  const at = 4096 + (superblocks[1]?.logPosition as number) + kept - segment.first
  zero(disk, segment.file, at, segment.size - at)
  zero(disk, DATA, (newest & 1) * Page.Size, Page.Size)
  return { disk, older, newest, segment: segment.file }
}

test('the superblock before a checkpoint testifies to it when its own superblock and the end of the log are lost', async () => {
  const { disk, older, newest } = await withoutNewestCheckpoint()
  const error = await refusal(disk)
  expect(error).toMatchObject({ code: 'ERR_DAMAGED', details: { block: newest & 1, checkpoint: newest } })
  expect(String(error)).toContain(`the superblock of checkpoint ${newest} in ${DATA} is damaged`)
  expect(newest).toBe(older + 1)
})

test('the header of the log testifies to it when all of these are lost', async () => {
  const { disk, older, newest } = await withoutNewestCheckpoint()
  zero(disk, DATA, (older & 1) * Page.Size + Witness.Offset, Witness.Size)
  const error = await refusal(disk)
  expect(error).toMatchObject({ code: 'ERR_DAMAGED', details: { block: newest & 1, checkpoint: newest } })
  expect(String(error)).toContain('the header of the write-ahead log says that the checkpoint was complete')
})

test('a log that ends before it says what it once said is damaged: commits after it would be lost without a word', async () => {
  const running = new SimulatedDisk({ seed: 1 })
  const db = await open(running)
  const table = await db.table('t', { key: 'id' })
  await table.put({ id: 1 })
  await db.checkpoint()
  await table.put({ id: 2 })
  const disk = running.killProcess(new Prng(1))
  await abandon(db, running)
  const { superblocks, log } = inspectFiles(simulatedEnvironment({ disk, seed: 1 }), '/database')
  const { checkpoint, logPosition } = superblocks[0] as (typeof superblocks)[number]
  const segment = log.segments.at(-1) as { file: string; first: number; size: number }
  const at = 4096 + logPosition - segment.first
  zero(disk, segment.file, at, segment.size - at)
  const error = await refusal(disk)
  expect(error).toMatchObject({ code: 'ERR_LOG_DAMAGED', details: { checkpoint, position: logPosition } })
  expect(String(error)).toContain(`the write-ahead log in /database/wal ends at position ${logPosition}`)
  const { losses } = await repair(simulatedEnvironment({ disk, seed: 1 }), '/database', '/saved')
  expect(losses.log).toEqual([expect.stringContaining(`before it says that checkpoint ${checkpoint} is complete, as it once did`)])
  const saved = await openWith(simulatedEnvironment({ disk, seed: 1 }), '/saved', {})
  expect(Array.from((await saved.table('t')).keys())).toEqual([1])
  await saved.close()
})

test('witnesses that cannot be read count for nothing: superblock and log are whole without them', async () => {
  const { disk, older, segment } = await withoutNewestCheckpoint()
  zero(disk, DATA, (older & 1) * Page.Size + Witness.Offset, Witness.Size)
  zero(disk, segment, Header.Mark, 512)
  const db = await open(disk)
  const table = await db.table('t')
  expect(Array.from(table.keys())).toEqual([1])
  await db.close()
})
