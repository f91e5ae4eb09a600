import { expect, test } from 'vitest'
import type { Context } from '../../src/cli/context.js'
import { run } from '../../src/cli/program.js'
import type { Environment } from '../../src/platform/environment.js'
import { openTest, type TestDatabase } from '../support/open-test-database.js'
import { runTool } from '../support/run-tool.js'

/** A dump beside a running application that uses the blocks again which the dump has not read yet. */

/** So long that counting them reads none of their pages. */
const ROWS = 600
const TEXT = 'x'.repeat(9_000)

async function openOwner(): Promise<TestDatabase & { useBlocksAgain: () => Promise<void> }> {
  const owner = await openTest()
  const table = await owner.db.table('rows', { key: 'id' })
  await table.insertMany(Array.from({ length: ROWS }, (_, id) => ({ id, text: TEXT, round: 0 })))
  await owner.db.checkpoint()
  let used = false
  const useBlocksAgain = async (): Promise<void> => {
    if (used) return
    used = true
    for (let round = 1; round <= 6; round++) {
      await owner.db.transaction(async (tx) => {
        for (let id = 0; id < ROWS; id += 2) await tx.update(table, id, { round })
      })
      await owner.db.purge()
      await owner.db.checkpoint()
    }
  }
  return Object.assign(owner, { useBlocksAgain })
}

test('to standard output is not begun anew in the midst of it: it ends, and says why', async () => {
  await using owner = await openOwner()
  const parts: string[] = []
  const errors: string[] = []
  const output = (write: Context['stdout']['write']): Context['stdout'] => ({ isTerminal: false, colours: false, stream: undefined, write })
  const context: Context = {
    environment: owner.environment,
    stdout: output(async (chunk) => {
      parts.push(chunk.toString())
      await owner.useBlocksAgain()
    }),
    stderr: output(async (chunk) => void errors.push(chunk.toString())),
    stdin: async function* () {},
    signal: new AbortController().signal,
  }
  expect(await run(context, ['dump', '/database', '--read-only'])).toBe(5)
  expect(errors.join('')).toContain('ERR_SNAPSHOT_GONE')
  const lines = parts.join('').split('\n')
  expect(lines.filter((line) => line.includes('"$table"'))).toHaveLength(1)
  expect(lines.filter((line) => line.startsWith('{"id":0,'))).toHaveLength(1)
})

test('to a file is begun anew, and the file holds one state', async () => {
  await using owner = await openOwner()
  expect(await runTool(beforeWritesTo('/dump', owner), ['dump', '/database', '--read-only', '--output', '/dump'])).toMatchObject({
    exit: 0,
  })
  expect((await runTool(owner.environment, ['load', '/second', '/dump'])).exit).toBe(0)
  const loaded = await runTool(owner.environment, ['dump', '/second'])
  const now = await runTool(owner.environment, ['dump', '/database', '--read-only'])
  expect(loaded.stdout).toBe(now.stdout)
  expect(now.stdout).toContain('"round":6')
})

/** The owner's machine, where something happens before a file is written. */
function beforeWritesTo(path: string, { environment, useBlocksAgain }: Awaited<ReturnType<typeof openOwner>>): Environment {
  const { fileSystem } = environment
  const open: typeof fileSystem.open = (name, options) => {
    const file = fileSystem.open(name, options)
    if (name !== path) return file
    const write = file.write.bind(file)
    file.write = async (...args) => {
      await useBlocksAgain()
      return write(...args)
    }
    return file
  }
  const watched = new Proxy(fileSystem, {
    get: (target, name) => {
      if (name === 'open') return open
      const member = Reflect.get(target, name) as unknown
      return typeof member === 'function' ? member.bind(target) : member
    },
  })
  return { ...environment, fileSystem: watched }
}
