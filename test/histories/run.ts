/**
 * `npm run histories -- [options]`: random transactions against the engine, their histories checked (main.ts). Bundles the engine and the
 * tests first: in a bundle const enums are numbers, which makes both several times as fast.
 */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'tsup'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))

// Within the project, so that the bundle finds its packages.
const directory = mkdtempSync(join(ROOT, 'node_modules', '.histories-'))
try {
  await build({
    config: false,
    entry: { histories: join(ROOT, 'test/histories/start.ts') },
    outDir: directory,
    format: 'esm',
    platform: 'node',
    target: 'node20',
    sourcemap: 'inline',
    splitting: false,
    silent: true,
    external: ['fs-native-extensions'],
  })
  const child = spawnSync(process.execPath, ['--enable-source-maps', join(directory, 'histories.js'), ...process.argv.slice(2)], {
    stdio: 'inherit',
  })
  process.exitCode = child.status ?? 2
} finally {
  rmSync(directory, { recursive: true, force: true })
}
