import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { hostname, tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { Worker } from 'node:worker_threads'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { DirectoryLockedError, NextkeyError } from '../src/base/errors.js'
import { type Database, open as openDatabase } from '../src/database.js'
import { type DirectoryLock, type DirectoryLockOptions, type LockWait, lockDirectory } from '../src/lock/directory-lock.js'
import type { OpenOptions } from '../src/options.js'
import { systemClock } from '../src/platform/clock.js'
import { nativeDirectoryLocker } from '../src/platform/directory-locker.js'
import { SimulatedClock } from './support/seeded.js'
import { MemoryDirectoryLocker } from './support/simulated-environment.js'

const FIXTURE = fileURLToPath(new URL('fixtures/hold-directory.ts', import.meta.url))
/** Node 20 does not apply `--import tsx` to the file a worker starts with. */
const START_FIXTURE = `import('tsx/esm/api').then(({ tsImport }) => tsImport(${JSON.stringify(pathToFileURL(FIXTURE).href)}, 'file://'))`
const PATIENCE_MS = 30_000

let directory: string
const cleanups: (() => unknown)[] = []

beforeEach(() => {
  directory = realpathSync(mkdtempSync(join(tmpdir(), 'nextkey-lock-')))
})

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
  rmSync(directory, { recursive: true, force: true })
})

async function lock(options: Partial<DirectoryLockOptions> = {}, path: string = directory): Promise<DirectoryLock> {
  const held = await lockDirectory(path, { locker: nativeDirectoryLocker, clock: systemClock, ...options })
  cleanups.push(() => held.release())
  return held
}

async function refused(attempt: Promise<unknown>): Promise<DirectoryLockedError> {
  const error = await attempt.then(
    () => 'was let in',
    (reason: unknown) => reason,
  )
  expect(error).toBeInstanceOf(DirectoryLockedError)
  return error as DirectoryLockedError
}

/** What the fixture reports: the lock, or why it was refused. */
interface Report {
  locked?: string
  code?: string
  message?: string
}

interface Other {
  readonly process: ChildProcess
  readonly report: Report
}

/** Another process that tries to lock; resolves once it has said how that went. */
async function startProcess(options: object = {}, path: string = directory): Promise<Other> {
  const child = spawn(process.execPath, ['--import', 'tsx', FIXTURE, path, JSON.stringify(options)], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  cleanups.push(() => kill(child))
  for await (const line of createInterface({ input: child.stdout })) return { process: child, report: JSON.parse(line) as Report }
  throw new Error('the other process ended without a word')
}

async function kill(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const exit = once(child, 'exit')
  child.kill('SIGKILL')
  await exit
}

async function startWorker(): Promise<{ worker: Worker; report: Report }> {
  const worker = new Worker(START_FIXTURE, { eval: true, workerData: [directory, {}] })
  cleanups.push(() => worker.terminate())
  const [report] = (await once(worker, 'message')) as [Report]
  return { worker, report }
}

describe('a second opening is refused', () => {
  test('in the same process, and told where the first one is', async () => {
    await lock({ openedAt: 'at app.js:12' })
    const error = await refused(lock())
    expect(error.message).toContain(directory)
    expect(error.message).toMatch(/in this process since 20.*opened at app\.js:12/)
    expect(error.code).toBe('ERR_DIRECTORY_LOCKED')
    expect(error.holder).toMatchObject({ pid: process.pid, host: hostname(), thread: 0, openedAt: 'at app.js:12' })
    expect(existsSync(join(directory, 'nextkey.lock'))).toBe(true)
  })

  test('in the same process by way of a symbolic link', async () => {
    await lock()
    const link = `${directory}-link`
    symlinkSync(directory, link)
    cleanups.push(() => rmSync(link))
    const error = await refused(lock({}, link))
    expect(error.message).toContain(`${directory} is already open`)
  })

  test('in another process, and told which one has it', async () => {
    const held = await lock()
    const { report } = await startProcess()
    expect(report.code).toBe('ERR_DIRECTORY_LOCKED')
    expect(report.message).toContain(`in process ${process.pid} on ${hostname()}`)
    held.release()
    const other = await startProcess()
    expect(other.report.locked).toBe(directory)
    const error = await refused(lock())
    expect(error.message).toContain(`in process ${other.process.pid} on ${hostname()} (${FIXTURE} in ${process.cwd()}) since 20`)
    expect(error.retryable).toBe(true)
  })

  test('in a worker thread, and to the main thread while a worker has it', async () => {
    const held = await lock()
    const first = await startWorker()
    expect(first.report.code).toBe('ERR_DIRECTORY_LOCKED')
    expect(first.report.message).toContain('in another thread of this process (thread 0)')
    held.release()
    const { worker, report } = await startWorker()
    expect(report.locked).toBe(directory)
    expect((await refused(lock())).message).toContain(`in another thread of this process (thread ${worker.threadId})`)
    await worker.terminate()
    await lock()
  })

  test('while the holder is stopped, not dead', async () => {
    const { process: other } = await startProcess()
    other.kill('SIGSTOP')
    await refused(lock({ waitMs: 200 }))
  })

  test('with a sensible message even if the note of the holder is missing or nonsense', async () => {
    await lock()
    for (const note of ['', '{', 'null', '[]', '{"pid":"x","host":7}']) {
      writeFileSync(join(directory, 'nextkey.lock'), note)
      expect((await refused(lock())).message).toContain('elsewhere; who has it is not known')
    }
  })
})

describe('the lock is free again', () => {
  test('when released, which may be done twice', async () => {
    const first = await lock()
    first.release()
    const second = await lock()
    first.release()
    await refused(lock())
    second.release()
    expect(readFileSync(join(directory, 'nextkey.lock'), 'utf8')).toBe('')
  })

  test('when its holder was killed, children of the holder notwithstanding', async () => {
    for (let i = 0; i < 3; i++) {
      const { process: other, report } = await startProcess()
      expect(report.locked).toBe(directory)
      await kill(other)
      const held = await lock()
      held.release()
    }
    const held = await lock()
    const child = spawn(process.execPath, ['-e', 'process.stdin.resume()'], { stdio: ['pipe', 'ignore', 'inherit'] })
    cleanups.push(() => kill(child))
    await once(child, 'spawn')
    held.release()
    await lock()
  })

  test('after an opening was refused: it leaves nothing behind', async () => {
    const held = await lock()
    await refused(lock())
    held.release()
    await lock()
    const locker = new MemoryDirectoryLocker()
    const first = await lockDirectory('/db', { locker, clock: systemClock })
    await refused(lockDirectory('/db', { locker, clock: systemClock }))
    expect(locker.openFiles).toBe(1)
    first.release()
    expect(locker.openFiles).toBe(0)
  })
})

describe('waiting', () => {
  test('gets the lock as soon as the holder lets go', async () => {
    const { process: other } = await startProcess()
    const waiting = lock({ waitMs: PATIENCE_MS })
    other.stdin?.end()
    await waiting
  })

  test('keeps the process alive that has nothing else to do', async () => {
    const held = await lock()
    const started = startProcess({ waitMs: PATIENCE_MS })
    setTimeout(() => held.release(), 1500)
    expect((await started).report.locked).toBe(directory)
  })

  test('tries until the time is up, and says how long that was', async () => {
    const clock = new SimulatedClock()
    const locker = new MemoryDirectoryLocker()
    const options = { locker, clock, waitMs: 120 }
    const held = await lockDirectory('/db', { locker, clock })
    const waiting = refused(lockDirectory('/db', options))
    await clock.advanceAsync(119)
    expect(clock.pendingTimers).toBe(1)
    await clock.advanceAsync(1)
    expect((await waiting).message).toContain('(waited 120 ms)')
    const luckier = lockDirectory('/db', options)
    await clock.advanceAsync(60)
    held.release()
    await clock.advanceAsync(60)
    expect((await luckier).directory).toBe('/db')
  })

  test('tells after each attempt in vain who has it, and for how long it has waited and will', async () => {
    const clock = new SimulatedClock()
    const locker = new MemoryDirectoryLocker()
    const held = await lockDirectory('/db', { locker, clock })
    const waits: LockWait[] = []
    const waiting = lockDirectory('/db', { locker, clock, waitMs: 1000, onWait: (wait) => waits.push(wait) })
    await clock.advanceAsync(100)
    held.release()
    await clock.advanceAsync(50)
    await waiting
    expect(waits.map(({ waited, left }) => [waited, left])).toEqual([
      [0, 1000],
      [50, 950],
      [100, 900],
    ])
    expect(waits[0]).toMatchObject({
      directory: '/db',
      holder: { pid: process.pid },
      held: expect.stringMatching(/^in this process since /),
    })
  })

  test('ends with what the listener raises, and leaves nothing behind', async () => {
    const clock = new SimulatedClock()
    const locker = new MemoryDirectoryLocker()
    const held = await lockDirectory('/db', { locker, clock })
    const enough = new Error('enough')
    const onWait = (): void => {
      throw enough
    }
    await expect(lockDirectory('/db', { locker, clock, waitMs: 1000, onWait })).rejects.toBe(enough)
    expect([locker.openFiles, clock.pendingTimers]).toEqual([1, 0])
    held.release()
  })
})

describe('a log directory set apart', () => {
  function open(name: string, options: OpenOptions = {}): Promise<Database> {
    return openDatabase(join(directory, name), { walDirectory: join(directory, 'log'), logSegmentSize: 65_536, ...options })
  }

  test('belongs to one open database at a time', async () => {
    const first = await open('a')
    const error = await refused(open('b'))
    expect(error.message).toContain(`the log directory ${join(directory, 'log')} is already open in this process since 20`)
    expect(error.message).toMatch(/, opened at .*directory-lock\.test\.ts:\d+/)
    // The other one's own directory is free again.
    await (await openDatabase(join(directory, 'b'), { logSegmentSize: 65_536 })).close()
    await first.close()
    await (await open('a')).close()
  })

  test('is refused to another process', async () => {
    const first = await open('a')
    expect((await startProcess({}, join(directory, 'log'))).report.code).toBe('ERR_DIRECTORY_LOCKED')
    await first.close()
    expect((await startProcess({}, join(directory, 'log'))).report.locked).toBe(join(directory, 'log'))
    expect((await refused(open('a'))).message).toContain('the log directory')
  })

  test('may be shared by readers of the database, and by the database itself, by any path', async () => {
    await (await open('a')).close()
    const readers = [await open('a', { readOnly: true }), await open('a', { readOnly: true })]
    await refused(open('a'))
    for (const reader of readers) await reader.close()
    const link = `${directory}-link`
    symlinkSync(directory, link)
    cleanups.push(() => rmSync(link))
    const own = await open('c', { walDirectory: join(link, 'c') })
    await own.close()
  })

  test('must be the one the database was made with: else it says from which position on the log is needed', async () => {
    const db = await open('a')
    await (await db.table<{ id: number }>('t', { key: 'id' })).put({ id: 1 })
    await db.close()
    const error = await openDatabase(join(directory, 'a')).catch((reason: unknown) => reason)
    expect(error).toMatchObject({ code: 'ERR_LOG_DAMAGED', details: { position: expect.any(Number) } })
    expect(String(error)).toContain('one that was set apart has to be named, as walDirectory')
  })
})

describe('read-only openings', () => {
  test('share the directory among themselves, and keep writers out', async () => {
    const first = await lock({ readOnly: true })
    const second = await lock({ readOnly: true })
    expect((await startProcess({ readOnly: true })).report.locked).toBe(directory)
    expect((await refused(lock())).message).toContain('read-only')
    first.release()
    second.release()
    await refused(lock())
  })

  test('are kept out by a writer', async () => {
    await lock()
    await refused(lock({ readOnly: true }))
  })
})

describe('where there is no lock to be had', () => {
  test('opening is refused, never done without', async () => {
    const locker = new MemoryDirectoryLocker()
    locker.unsupported = true
    await expect(lockDirectory('/db', { locker, clock: systemClock })).rejects.toMatchObject({ code: 'ERR_LOCK_UNSUPPORTED' })
  })

  test('the message names the way to open all the same', async () => {
    // A runtime that the addon would bring down is told apart by its global.
    Object.assign(globalThis, { Deno: {} })
    cleanups.push(() => Reflect.deleteProperty(globalThis, 'Deno'))
    const error = await lock().catch((reason: unknown) => reason)
    expect(error).toBeInstanceOf(NextkeyError)
    expect(error).toMatchObject({ code: 'ERR_LOCK_UNSUPPORTED', message: expect.stringContaining('unsafeShared: true') })
  })

  test('a directory that is not there, or holds no lock file but a directory of that name, is an error of the system', async () => {
    await expect(lock({}, join(directory, 'none'))).rejects.toMatchObject({ code: 'ERR_IO', message: expect.stringContaining('ENOENT') })
    mkdirSync(join(directory, 'nextkey.lock'))
    await expect(lock()).rejects.toMatchObject({ code: 'ERR_IO', message: expect.stringContaining('EISDIR') })
  })
})
