import { mkdtempSync, readdirSync, realpathSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { File, FileSystem } from '../src/platform/file-system.js'
import { nodeFileSystem } from '../src/platform/node-file-system.js'
import { SimulatedDisk } from './support/simulated-disk.js'

/** What every implementation of the seam does alike: so what is tested on the simulated disk holds on a real one. */
const implementations: { name: string; make: () => { fileSystem: FileSystem; root: string; dispose: () => void } }[] = [
  {
    name: "Node's",
    make: () => {
      const root = realpathSync(mkdtempSync(join(tmpdir(), 'nextkey-fs-')))
      return { fileSystem: nodeFileSystem, root, dispose: () => rmSync(root, { recursive: true }) }
    },
  },
  { name: 'the simulated', make: () => ({ fileSystem: new SimulatedDisk(), root: '/', dispose: () => {} }) },
]

describe.each(implementations)('$name file system', ({ make }) => {
  let fileSystem: FileSystem
  let root: string
  let dispose: () => void

  beforeEach(() => {
    const made = make()
    fileSystem = made.fileSystem
    dispose = made.dispose
    root = join(made.root, 'a', 'db')
    fileSystem.makeDirectory(root)
  })

  afterEach(() => dispose())

  const path = (name: string): string => join(root, name)
  const create = (name = 'data'): File => fileSystem.open(path(name), { create: true })

  function put(file: File, content: string, position: number): void {
    file.writeSync(Buffer.from(content), 0, content.length, position)
  }

  function text(file: File): string {
    const bytes = Buffer.alloc(file.size())
    expect(file.readSync(bytes, 0, bytes.length, 0)).toBe(bytes.length)
    return bytes.toString('latin1')
  }

  function code(action: () => unknown): unknown {
    try {
      action()
    } catch (error) {
      return (error as { code?: unknown }).code
    }
    return 'nothing thrown'
  }

  test('opens what is there, and creates only when asked', () => {
    expect(code(() => fileSystem.open(path('none')))).toBe('ENOENT')
    expect(code(() => fileSystem.open(path('none'), { readOnly: true }))).toBe('ENOENT')
    expect(code(() => fileSystem.open(path('none/x'), { create: true }))).toBe('ENOENT')
    expect(code(() => fileSystem.open(root))).toBe('EISDIR')
    put(create(), 'kept', 0)
    expect(text(create())).toBe('kept')
    expect(create().path).toBe(path('data'))
    expect(code(() => fileSystem.open(path('data'), { create: true, exclusive: true }))).toBe('EEXIST')
    fileSystem.open(path('new'), { create: true, exclusive: true }).close()
    expect(fileSystem.exists(path('new'))).toBe(true)
    expect(fileSystem.exists(path('none'))).toBe(false)
  })

  test('reads and writes any part of a buffer at any place', () => {
    const file = create()
    file.writeSync(Buffer.from('..hello..'), 2, 5, 3)
    expect(text(file)).toBe('\0\0\0hello')
    const target = Buffer.from('----------')
    expect(file.readSync(target, 1, 4, 4)).toBe(4)
    expect(target.toString()).toBe('-ello-----')
    expect(file.readSync(target, 0, 10, 6)).toBe(2)
    expect(file.readSync(target, 0, 10, 8)).toBe(0)
    expect(file.readSync(target, 0, 10, 100)).toBe(0)
  })

  test('shows zeros where a file was cut and grew again', () => {
    const file = create()
    put(file, 'abcdef', 0)
    file.truncate(2)
    file.truncate(4)
    expect(text(file)).toBe('ab\0\0')
  })

  test('writes and syncs asynchronously, several at once', async () => {
    const file = create()
    const big = Buffer.alloc(3_000_000, 'x')
    const before = big.length
    await Promise.all([file.write(big, 0, before, 0), file.write(Buffer.from('..end'), 2, 3, before), file.sync()])
    await file.sync()
    file.syncSync()
    await fileSystem.syncDirectory(root)
    fileSystem.syncDirectorySync(root)
    expect(text(file)).toBe(`${'x'.repeat(before)}end`)
  })

  test('an empty write is done at once', async () => {
    const file = create()
    await file.write(Buffer.alloc(0), 0, 0, 5)
    file.writeSync(Buffer.alloc(0), 0, 0, 5)
    expect(file.size()).toBe(0)
  })

  test('refuses writes through a read-only opening', async () => {
    put(create(), 'abc', 0)
    const file = fileSystem.open(path('data'), { readOnly: true })
    expect(text(file)).toBe('abc')
    expect(code(() => put(file, 'x', 0))).toBe('EBADF')
    await expect(file.write(Buffer.from('x'), 0, 1, 0)).rejects.toMatchObject({ code: 'EBADF' })
    expect(code(() => file.truncate(0))).toMatch(/EBADF|EINVAL/)
  })

  test('lists names in order, renames over others, removes', () => {
    for (const name of ['b', 'c', 'a']) put(create(name), name, 0)
    expect(fileSystem.list(root)).toEqual(['a', 'b', 'c'])
    fileSystem.rename(path('a'), path('c'))
    expect(fileSystem.list(root)).toEqual(['b', 'c'])
    expect(text(create('c'))).toBe('a')
    fileSystem.remove(path('b'))
    expect(fileSystem.list(root)).toEqual(['c'])
    expect(code(() => fileSystem.remove(path('b')))).toBe('ENOENT')
    expect(code(() => fileSystem.rename(path('b'), path('d')))).toBe('ENOENT')
    expect(code(() => fileSystem.list(path('none')))).toBe('ENOENT')
    fileSystem.makeDirectory(root)
  })

  test('settles when everything asynchronous is over, and is settled when there is nothing', async () => {
    const file = create()
    await file.settled()
    const block = Buffer.alloc(100_000, 7)
    let over = 0
    const calls = [0, 1, 2].map((at) => file.write(block, 0, block.length, at * block.length).then(() => over++))
    const sync = file.sync().then(() => over++)
    await file.settled()
    // What awaits the last of them may go on some microtasks later.
    for (let hop = 0; hop < 5; hop++) await undefined
    expect(over).toBe(4)
    expect(file.size()).toBe(300_000)
    await Promise.all([...calls, sync])
    file.close()
  })

  test('a closed file answers EBADF, and may be closed again', async () => {
    const file = create()
    file.close()
    file.close()
    expect(code(() => file.size())).toBe('EBADF')
    expect(code(() => put(file, 'x', 0))).toBe('EBADF')
    expect(code(() => file.readSync(Buffer.alloc(1), 0, 1, 0))).toBe('EBADF')
    expect(code(() => file.syncSync())).toBe('EBADF')
    await expect(file.write(Buffer.from('x'), 0, 1, 0)).rejects.toMatchObject({ code: 'EBADF' })
    await expect(file.sync()).rejects.toMatchObject({ code: 'EBADF' })
  })

  test('a file closed under a write finishes it, and never writes into another file', async () => {
    const file = create()
    const writes = [file.write(Buffer.alloc(2_000_000, 'x'), 0, 2_000_000, 0), file.sync()]
    file.close()
    const others = Array.from({ length: 8 }, (_, i) => create(`other${i}`))
    await Promise.all(writes)
    expect(create().size()).toBe(2_000_000)
    expect(others.map((other) => other.size())).toEqual([0, 0, 0, 0, 0, 0, 0, 0])
  })
})

test.runIf(process.platform === 'linux')('a file closed under a write gives its descriptor back', async () => {
  const descriptors = (): number => readdirSync('/proc/self/fd').length
  const root = mkdtempSync(join(tmpdir(), 'nextkey-fs-'))
  const before = descriptors()
  for (let i = 0; i < 20; i++) {
    const file = nodeFileSystem.open(join(root, 'data'), { create: true })
    const written = file.write(Buffer.alloc(100_000), 0, 100_000, 0)
    file.close()
    await written
  }
  await expect.poll(descriptors).toBe(before)
  rmSync(root, { recursive: true })
})
