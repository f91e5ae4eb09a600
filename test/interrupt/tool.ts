import { writeSync } from 'node:fs'

/** The tool, as src/cli/main.ts has it. When all of it is loaded and its work begins, it says so through descriptor 3. */
await import('../../src/cli/program.js')
writeSync(3, 'begins')
await import('../../src/cli/main.js')
