import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'

/** docs/locking.md and the code cite each other and the golden data; here is a reader who follows every reference. */

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const read = (path: string): string => readFileSync(join(ROOT, path), 'utf8')
const DOCUMENT = read('docs/locking.md')

function sources(folder: string): { path: string; text: string }[] {
  return readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .map((name) => ({ path: join(folder, name), text: read(join(folder, name)) }))
}

describe('the rules of locking', () => {
  it('cite scenarios that exist', () => {
    const groups = readdirSync(join(ROOT, 'test/golden/public')).map((file) => file.replace('.json', ''))
    const known = new Set(
      groups.flatMap((group) => [...read(`test/golden/public/${group}.json`).matchAll(/"id":\s*"([^"]+)"/g)].map(([, id]) => id)),
    )
    const citation = new RegExp(`\\b(?:${groups.join('|')})/(?:RU|RC|RR|SER|mode[012])/[\\w/-]+`, 'g')
    const cited = [{ path: 'docs/locking.md', text: DOCUMENT }, ...sources('src')].flatMap(({ path, text }) =>
      [...text.matchAll(citation)].map(([id]) => ({ path, id })),
    )
    expect(cited.length).toBeGreaterThan(100)
    expect(cited.filter(({ id }) => !known.has(id))).toEqual([])
  })

  it('S and K are where the code says they are, and the code says where they are', () => {
    const defined = new Set([...DOCUMENT.matchAll(/^\*\*([SK]\d)\./gm)].map(([, rule]) => rule))
    expect([...defined].sort()).toEqual(['K1', 'K2', 'K3', 'K4', 'K5', 'S1', 'S2', 'S3', 'S4', 'S5', 'S6', 'S7', 'S8', 'S9'])
    const code = ['src/txn/locking-scan.ts', 'src/txn/row-writer.ts', 'src/row-statements.ts', 'src/statements.ts'].map(read).join('\n')
    const cited = new Set([...code.matchAll(/\b([SK]\d)\b/g)].map(([, rule]) => rule))
    expect([...cited].filter((rule) => !defined.has(rule))).toEqual([])
    expect([...defined].filter((rule) => !cited.has(rule))).toEqual([])
  })

  it('of the other letters are in the files that the document names', () => {
    const rows = [...DOCUMENT.matchAll(/^\| ([A-Z]\d–[A-Z]\d[^|]*)\|[^|]*\| `(src\/[^`]+)` \|$/gm)]
    expect(rows.length).toBeGreaterThan(7)
    for (const [, ranges, path] of rows) {
      const text = read(path)
      for (const [, letter, first, last] of ranges.matchAll(/([A-Z])(\d)–[A-Z](\d)/g)) {
        for (let number = Number(first); number <= Number(last); number++)
          expect([path, text]).toEqual([path, expect.stringMatching(new RegExp(`\\* ${letter}${number}[. ]`))])
      }
    }
    // And each of them that the document itself cites is one of these.
    const ranges = rows.flatMap(([, list]) =>
      [...list.matchAll(/([A-Z])\d–[A-Z](\d)/g)].map(([, letter, last]) => ({ letter, last: Number(last) })),
    )
    const prose = DOCUMENT.replaceAll(/`[^`]*`/g, '')
    const dangling = [...prose.matchAll(/\b([GILMQTV])(\d)\b/g)].filter(
      ([, letter, number]) => !ranges.some((range) => range.letter === letter && Number(number) <= range.last),
    )
    expect(dangling.map(([rule]) => rule)).toEqual([])
  })
})
