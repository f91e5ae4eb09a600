import { parseArgs } from 'node:util'
import { share } from './sharing.js'
import { takeOver } from './take-over.js'

const HELP = `Readers in other processes beside an owner that moves money between accounts and makes checkpoints as fast as it can: every state
they see must have the same sum, and nothing of a transaction that is never committed.

  npm run sharing -- [options]

  npm run sharing -- --writers [options]

Writers in other processes that pass over the lock, each while the one before is at work: what any of them was told is on disk must be there in
the end, and each must be told who has taken over from it.

  --writers       writers instead of readers
  --for SECONDS   how long (default 60)
  --readers N     how many processes read (default 3)
  --seed N        of what the owner does (default 1); what the processes make of it is not repeatable
  --help          this text

Exit code: 0 with a table of what each process did; otherwise it ends with what a reader saw that is wrong.`

const { values } = parseArgs({
  options: {
    for: { type: 'string', default: '60' },
    writers: { type: 'boolean', default: false },
    readers: { type: 'string', default: '3' },
    seed: { type: 'string', default: '1' },
    help: { type: 'boolean', default: false },
  },
})
if (values.help) console.log(HELP)
else if (values.writers) console.table([await takeOver({ seconds: Number(values.for), atLeast: 1 })])
else console.table(await share({ seed: Number(values.seed), seconds: Number(values.for), readers: Number(values.readers) }))
