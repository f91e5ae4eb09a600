import { parseArgs } from 'node:util'
import { share } from './sharing.js'

/** `npx tsx test/sharing/main.ts [--for seconds] [--readers n] [--seed n]`. Ends with an error if a reader saw anything wrong. */
const { values } = parseArgs({
  options: { for: { type: 'string', default: '60' }, readers: { type: 'string', default: '3' }, seed: { type: 'string', default: '1' } },
})
console.table(await share({ seed: Number(values.seed), seconds: Number(values.for), readers: Number(values.readers) }))
