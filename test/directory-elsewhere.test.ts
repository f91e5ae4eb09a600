import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, cpSync, mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync } from 'node:fs'
import { hostname, tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type Database, open } from '../src/database.js'

/** One directory, seen from other places: containers, other mounts, read-only media, copies. */

const FIXTURE = fileURLToPath(new URL('fixtures/open-directory.ts', import.meta.url))
const NODE = [process.execPath, '--import', 'tsx', FIXTURE]
/** What a container is made of; where they may not be made, there is nothing to test. */
const NAMESPACES = ['unshare', '--map-root-user', '--mount', '--uts', '--pid', '--fork', '--mount-proc']
const haveNamespaces = spawnSync(NAMESPACES[0], [...NAMESPACES.slice(1), 'true']).status === 0

let root: string
let directory: string
const cleanups: (() => unknown)[] = []

beforeEach(async () => {
  root = realpathSync(mkdtempSync(join(tmpdir(), 'nextkey-elsewhere-')))
  directory = join(root, 'data')
  const db = await openHere()
  await (await db.table<{ id: number }>('rows', { key: 'id' })).put({ id: 1 })
  await db.close()
})

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
  rmSync(root, { recursive: true, force: true })
})

function openHere(path: string = directory, options: object = {}): Promise<Database> {
  return open(path, { logSegmentSize: 65_536, ...options })
}

interface Report {
  pid?: number
  rows?: number[]
  code?: string
  message?: string
}

interface Elsewhere {
  readonly report: Report
  kill(): Promise<void>
}

/** Opens a directory in another process; `first` is a shell command that runs before, in namespaces of its own. */
async function openElsewhere(path: string, options: object = {}, first?: string): Promise<Elsewhere> {
  const command = [...NODE, path, JSON.stringify({ logSegmentSize: 65_536, ...options })]
  const all = first === undefined ? command : [...NAMESPACES, 'sh', '-c', `${first} && exec "$@"`, 'sh', ...command]
  const child = spawn(all[0] as string, all.slice(1), { stdio: ['pipe', 'pipe', 'inherit'], detached: true })
  const kill = (): Promise<void> => killGroup(child)
  cleanups.push(kill)
  for await (const line of createInterface({ input: child.stdout })) return { report: JSON.parse(line) as Report, kill }
  throw new Error('the other process ended without a word')
}

async function killGroup(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const exit = once(child, 'exit')
  process.kill(-(child.pid as number), 'SIGKILL')
  await exit
}

describe.runIf(haveNamespaces)('in a container that has the directory, too', () => {
  test('it is refused while it is open here, and the message says where', async () => {
    const db = await openHere()
    const { report } = await openElsewhere(directory, {}, 'hostname box')
    expect(report.code).toBe('ERR_DIRECTORY_LOCKED')
    expect(report.message).toContain(`in process ${process.pid} on ${hostname()}`)
    await db.close()
  })

  test('it is refused here while it is open there, until the container is killed', async () => {
    const { report, kill } = await openElsewhere(directory, {}, 'hostname box')
    // Process ids are those of the namespace.
    expect(report).toEqual({ pid: 1, rows: [1] })
    await expect(openHere()).rejects.toMatchObject({
      code: 'ERR_DIRECTORY_LOCKED',
      message: expect.stringContaining('in process 1 on box'),
    })
    await kill()
    // What is killed here is unshare; the kernel ends the namespace with it, a moment later.
    await (await openHere(directory, { waitForLock: 30_000 })).close()
  })

  test('mounted under another path, it is the same directory', async () => {
    mkdirSync(join(root, 'mount'))
    const db = await openHere()
    const mount = `mount --bind '${directory}' '${root}/mount'`
    expect((await openElsewhere(join(root, 'mount'), {}, mount)).report.code).toBe('ERR_DIRECTORY_LOCKED')
    await db.close()
    expect((await openElsewhere(join(root, 'mount'), {}, mount)).report.rows).toEqual([1])
    await expect(openHere()).rejects.toMatchObject({ code: 'ERR_DIRECTORY_LOCKED' })
  })
})

describe.runIf(haveNamespaces)('on a medium that can only be read', () => {
  const readOnlyMount = (): string => {
    mkdirSync(join(root, 'medium'))
    return `mount --bind '${directory}' '${root}/medium' && mount -o remount,bind,ro '${root}/medium'`
  }

  test('it is read with readOnly, with or without the lock', async () => {
    const mount = readOnlyMount()
    const medium = join(root, 'medium')
    expect((await openElsewhere(medium, { readOnly: true }, mount)).report.rows).toEqual([1])
    // It keeps writers out, where there may be some, though it cannot say who it is.
    await expect(openHere()).rejects.toMatchObject({
      code: 'ERR_DIRECTORY_LOCKED',
      message: expect.stringContaining('who has it is not known'),
    })
    await (await openHere(directory, { readOnly: true })).close()
    expect((await openElsewhere(medium, { readOnly: true, unsafeShared: true }, mount)).report.rows).toEqual([1])
  })

  test('it is not opened for writing, and the message says what to do', async () => {
    const { report } = await openElsewhere(join(root, 'medium'), {}, readOnlyMount())
    expect(report.code).toBe('ERR_LOCK_UNSUPPORTED')
    expect(report.message).toMatch(/EROFS.*to read it only, pass \{ readOnly: true \}/)
  })

  test('without a lock file it cannot be locked, and the message says what to do', async () => {
    rmSync(join(directory, 'nextkey.lock'))
    const mount = readOnlyMount()
    const { report } = await openElsewhere(join(root, 'medium'), { readOnly: true }, mount)
    expect(report.code).toBe('ERR_LOCK_UNSUPPORTED')
    expect(report.message).toContain('{ readOnly: true, unsafeShared: true }')
    expect((await openElsewhere(join(root, 'medium'), { readOnly: true, unsafeShared: true }, mount)).report.rows).toEqual([1])
  })
})

describe('a directory that was copied with its lock file', () => {
  test('is free, whoever had the original, and whatever the note in the file says', async () => {
    const { report, kill } = await openElsewhere(directory)
    expect(report.rows).toEqual([1])
    await kill()
    const copy = join(root, 'copy')
    cpSync(directory, copy, { recursive: true })
    expect(readFileSync(join(copy, 'nextkey.lock'), 'utf8')).toContain(`"pid":${report.pid}`)
    const db = await openHere()
    const other = await openHere(copy)
    expect((await other.table('rows')).count()).toBe(1)
    await other.close()
    await db.close()
  })
})

test.runIf(process.platform !== 'win32')('a lock file of another user, that may only be read, will do for a reader', async () => {
  chmodSync(join(directory, 'nextkey.lock'), 0o444)
  const db = await openHere(directory, { readOnly: true })
  expect((await db.table('rows')).count()).toBe(1)
  await db.close()
})
