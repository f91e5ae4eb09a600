import { expect, test } from 'vitest'
import type { NextkeyError } from '../../src/base/errors.js'
import { type Database, openWith } from '../../src/database.js'
import { inspectFiles } from '../../src/inspect-files.js'
import { Page } from '../../src/storage/page-format.js'
import { Witness } from '../../src/storage/superblock.js'
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

/** Killed after a checkpoint whose superblock then rots, and with it what the log holds after the first of two commits. */
async function withoutNewestCheckpoint(): Promise<{ disk: SimulatedDisk; older: number; newest: number }> {
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
  return { disk, older, newest }
}

test('the superblock before a checkpoint testifies to it when its own superblock and the end of the log are lost', async () => {
  const { disk, older, newest } = await withoutNewestCheckpoint()
  const error = await open(disk).catch((reason: NextkeyError) => reason)
  expect(error).toMatchObject({ code: 'ERR_DAMAGED', details: { block: newest & 1, checkpoint: newest } })
  expect(String(error)).toContain(`the superblock of checkpoint ${newest} in ${DATA} is damaged`)
  expect(newest).toBe(older + 1)
})

test('a witness that cannot be read counts for nothing: its superblock is whole without it', async () => {
  const { disk, older } = await withoutNewestCheckpoint()
  zero(disk, DATA, (older & 1) * Page.Size + Witness.Offset, Witness.Size)
  const db = await open(disk)
  const table = await db.table('t')
  expect(Array.from(table.keys())).toEqual([1])
  await db.close()
})
