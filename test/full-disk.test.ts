import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'

const FIXTURE = fileURLToPath(new URL('fixtures/fill-disk.ts', import.meta.url))
/** A file system of its own needs a namespace of its own; where there is none to be had, test/txn/full-disk has a simulated one. */
const NAMESPACE = ['--map-root-user', '--mount']
const haveNamespaces = spawnSync('unshare', [...NAMESPACE, 'true']).status === 0

test.runIf(haveNamespaces)('a real disk that is full: changes are refused, and go on when there is room', () => {
  const directory = mkdtempSync(join(tmpdir(), 'nextkey-full-'))
  try {
    const script = `mount -t tmpfs -o size=32m none '${directory}' && exec "$@"`
    const command = ['sh', '-c', script, 'sh', process.execPath, '--import', 'tsx', FIXTURE, directory]
    const { stdout, stderr } = spawnSync('unshare', [...NAMESPACE, ...command], { encoding: 'utf8' })
    expect(stderr).toBe('')
    // Whether the data file or the log was the first that could not grow is up to the moment.
    expect(JSON.parse(stdout)).toEqual({
      codes: ['ERR_DISK_FULL'],
      state: expect.stringMatching(/^(disk full|open)$/),
      readable: true,
      found: 1_000,
      problems: [],
    })
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
})
