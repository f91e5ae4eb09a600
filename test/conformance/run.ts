/** `npm run conformance [-- FOLDER]`: golden scenarios against this engine. Exit code 0: all agree; 1: something disagrees; 2: could not run. */
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import type { EngineAdapter } from './adapter.js'
import { loadScenarios } from './format.js'
import { hermitageTable, runHermitage } from './hermitage.js'
import { nextkeyAdapter } from './nextkey-adapter.js'
import { loadFace } from './nextkey-face.js'
import { jsonReport, textReport, totalsLine } from './report.js'
import { isDisagreement, runGroups, select } from './runner.js'

const DEFAULT_FOLDER = fileURLToPath(new URL('../golden/public', import.meta.url))

const HELP = `npm run conformance [-- FOLDER] [options]

Runs every scenario of a folder in the golden format against the engine (default: the repository's own copy).

  --group NAME   only this group; may be repeated
  --id TEXT      only scenarios whose id contains TEXT
  --verbose      list the scenarios that agree, too
  --json         print one JSON object instead of text
  --help         this text

Exit code: 0 when everything agrees, 1 when something disagrees, 2 when the runner could not run.`

interface Io {
  readonly print: (text: string) => void
  readonly complain: (text: string) => void
}

export async function main(argv: readonly string[], engine: () => Promise<EngineAdapter>, io: Io): Promise<number> {
  let parsed: ReturnType<typeof parse>
  try {
    parsed = parse(argv)
  } catch (error) {
    io.complain(`${(error as Error).message}\n\n${HELP}`)
    return 2
  }
  const { values, positionals } = parsed
  if (values.help === true) {
    io.print(HELP)
    return 0
  }
  try {
    const all = loadScenarios(positionals[0] ?? DEFAULT_FOLDER)
    const groups = select(all, { groups: values.group ?? [], ...(values.id === undefined ? {} : { id: values.id }) })
    if (groups.length === 0) throw new Error('no scenario is selected')
    const adapter = await engine()
    const results = await runGroups(adapter, groups)
    if (values.json === true) io.print(jsonReport(results))
    else {
      io.print(textReport(results, { verbose: values.verbose === true }))
      const cells = await runHermitage(
        adapter,
        groups.flatMap(({ scenarios }) => scenarios),
      )
      if (cells.length > 0) io.print(`\n${hermitageTable(cells)}`)
      io.print(`\n${totalsLine(results)}`)
    }
    return results.some(({ results: group }) => group.some(isDisagreement)) ? 1 : 0
  } catch (error) {
    io.complain(error instanceof Error ? error.message : String(error))
    return 2
  }
}

function parse(argv: readonly string[]) {
  return parseArgs({
    args: [...argv],
    allowPositionals: true,
    options: {
      group: { type: 'string', multiple: true },
      id: { type: 'string' },
      verbose: { type: 'boolean' },
      json: { type: 'boolean' },
      help: { type: 'boolean' },
    },
  })
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const io: Io = { print: (text) => process.stdout.write(`${text}\n`), complain: (text) => process.stderr.write(`${text}\n`) }
  process.exitCode = await main(process.argv.slice(2), async () => nextkeyAdapter(await loadFace()), io)
}
