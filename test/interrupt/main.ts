import { parseArgs } from 'node:util'
import { interrupt } from './interrupt.js'

const HELP = `Every command of the tool that makes or changes something, as a real process on a real disk, killed (kill -9) or interrupted (Ctrl-C) at
random moments, and then gone on with as its user would do it: in the end there is what an undisturbed run makes, and whatever the command
worked on was whole after each interruption.

  npm run interrupt -- [options]

  --for SECONDS   how long (default 60); a round, which is every command once, is always finished
  --seed N        of the rows and of the moments (default 1); where a process stands at that moment is not repeatable
  --rows N        rows of the database (default 40000)
  --help          this text

Exit code: 0 with a table of what was interrupted; otherwise it ends with what was found to be wrong.`

const { values } = parseArgs({
  options: {
    for: { type: 'string', default: '60' },
    seed: { type: 'string', default: '1' },
    rows: { type: 'string', default: '40000' },
    help: { type: 'boolean', default: false },
  },
})
if (values.help) console.log(HELP)
else console.table(await interrupt({ seed: Number(values.seed), seconds: Number(values.for), rows: Number(values.rows) }))
