/**
 * The victim: opens the bank, transfers money from many clients at once, and writes down each transfer's number the moment it is acknowledged,
 * in a file that knows nothing of the database. It goes on until it is killed, or its parent is gone.
 *
 * Usage: node demo/crash-child.mjs DIRECTORY ACKNOWLEDGEMENTS
 */
import { openSync, writeSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { open } from 'nextkey'
import { openBank, randomOrder, transfer } from './bank.mjs'

const [directory, acknowledgements] = process.argv.slice(2)
if (directory === undefined || acknowledgements === undefined)
  throw new Error('usage: node demo/crash-child.mjs DIRECTORY ACKNOWLEDGEMENTS')
const clients = 32
process.once('disconnect', () => process.exit(1))
const fd = openSync(acknowledgements, 'a')
const db = await open(directory)
const bank = await openBank(db)

await Promise.all(
  Array.from({ length: clients }, async () => {
    for (;;) {
      const { id } = await transfer(db, bank, randomOrder(), () => sleep(1))
      writeSync(fd, `${id}\n`)
    }
  }),
)
