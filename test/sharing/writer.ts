import type { NextkeyError } from '../../src/base/errors.js'
import { open } from '../../src/index.js'

/**
 * `writer.ts <directory> <number> <options>`: puts rows as fast as it can, until its standard input ends or it is told that it may not write any
 * more. Each line it says is JSON: `ready`, the highest row that is acknowledged, in the end why it was refused.
 */
const [directory, number, options] = process.argv.slice(2) as [string, string, string]

function say(line: object): void {
  process.stdout.write(`${JSON.stringify(line)}\n`)
}

let over = false
process.stdin.resume().on('end', () => {
  over = true
})
try {
  const db = await open(directory, { cacheSize: 2 ** 21, checkpointBytes: 65_536, logSegmentSize: 262_144, ...JSON.parse(options) })
  const rows = await db.table<{ id: string; pad: string }>('rows', { key: 'id' })
  say({ ready: process.pid })
  try {
    for (let n = 0; !over; n++) {
      await rows.put({ id: `${number}.${n}`, pad: 'p'.repeat(500) })
      say({ acknowledged: n })
    }
  } finally {
    await db.close()
  }
} catch (error) {
  const { code, message, details } = error as NextkeyError
  say({ refused: code, message, details })
}
process.stdin.destroy()
