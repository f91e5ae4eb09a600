import { execFile } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { describe, expect, it } from 'vitest'

/** Every ```ts block in README and docs is a program that runs. What stands after `// →` must be printed. */
const root = resolve(import.meta.dirname, '..')
const files = ['README.md', ...readdirSync(join(root, 'docs')).map((name) => `docs/${name}`)].filter((name) => name.endsWith('.md'))

describe('the examples', () => {
  for (const file of files) {
    const blocks = [...readFileSync(join(root, file), 'utf8').matchAll(/```ts\n([\s\S]*?)```/g)].map((match) => match[1])
    blocks.forEach((code, number) => {
      it(`of ${file}, number ${number + 1}, runs as printed`, async () => {
        const directory = mkdtempSync(join(tmpdir(), 'nextkey-example-'))
        try {
          writeFileSync(join(directory, 'example.mts'), code.replaceAll("'nextkey'", JSON.stringify(join(root, 'src/index.ts'))))
          const tsx = join(root, 'node_modules/tsx/dist/loader.mjs')
          const { stdout } = await promisify(execFile)(process.execPath, ['--import', tsx, 'example.mts'], { cwd: directory })
          for (const [, promised] of code.matchAll(/\/\/ → (.*)$/gm)) expect(stdout).toContain(promised)
        } finally {
          rmSync(directory, { recursive: true })
        }
      })
    })
  }
})
