import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join, posix } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'

/** The rules of the code base that a machine can see. Each complaint names the place, the rule and what to do instead. */

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const MAX_LINES = 500

interface Layer {
  /** Other layers it may import from. */
  readonly imports: readonly string[]
  /** Packages it may import; Node's own modules are a matter of BANNED. */
  readonly packages?: readonly string[]
}

/** A layer is a folder of src/; 'face' is src/ itself. What is not listed is not allowed: imports never point upward. */
const LAYERS: Readonly<Record<string, Layer>> = {
  base: { imports: [] },
  platform: { imports: ['base'], packages: ['fs-native-extensions'] },
  codec: { imports: ['base', 'platform'] },
  storage: { imports: ['base', 'platform', 'codec'] },
  wal: { imports: ['base', 'platform', 'codec'] },
  lock: { imports: ['base', 'platform', 'codec'] },
  txn: { imports: ['base', 'platform', 'codec', 'storage', 'wal', 'lock'] },
  face: { imports: ['base', 'platform', 'codec', 'storage', 'wal', 'lock', 'txn'] },
  cli: { imports: ['face'], packages: ['cli-progress', 'commander'] },
}

interface Ban {
  readonly pattern: RegExp
  readonly instead: string
  /** Files, or folders with a slash at the end, where it is at home. */
  readonly except?: readonly string[]
}

const CLOCK = ['src/platform/clock.ts']

/** Looked for in the code of src/, comments left out. */
const BANNED: readonly Ban[] = [
  {
    pattern: /['"](node:)?fs(\/promises)?['"]/,
    instead: 'the FileSystem seam',
    except: ['src/platform/node-file-system.ts', 'src/platform/directory-locker.ts', 'src/platform/local-socket.ts', 'src/cli/'],
  },
  { pattern: /\bDate\.now\b|\bnew Date\(\)/, instead: 'clock.wallTime()', except: CLOCK },
  { pattern: /\bperformance\.now\b|\bhrtime\b/, instead: 'clock.now()', except: CLOCK },
  { pattern: /\bset(Timeout|Interval)\b/, instead: 'clock.setTimer()', except: CLOCK },
  { pattern: /\bsetImmediate\b/, instead: 'clock.macrotask()', except: CLOCK },
  { pattern: /\bMath\.random\b|['"](node:)?crypto['"]/, instead: 'the Random seam', except: ['src/platform/random.ts'] },
  { pattern: /\bconsole\./, instead: 'an error or an event: a library does not print', except: ['src/cli/'] },
  { pattern: /\bprocess\.exit\b/, instead: 'an error: a library does not end its host', except: ['src/cli/'] },
  { pattern: /\bas any\b|:\s*any\b|<any>/, instead: 'unknown, and a check' },
  { pattern: /\bthrow new (Type|Range)?Error\(/, instead: 'a NextkeyError with a code' },
  { pattern: /\bimport\.meta\.(dirname|filename)\b/, instead: 'import.meta.url (Node 20.15)' },
]

/** Looked for in every line of src/, test/, bench/ and demo/, comments included. */
const BANNED_EVERYWHERE: readonly Ban[] = [
  { pattern: /\b(TODO|FIXME|XXX)\b/, instead: 'do it now, or open an issue', except: ['test/style.test.ts'] },
  { pattern: /@ts-(ignore|expect-error|nocheck)/, instead: 'the right type', except: ['test/style.test.ts'] },
  { pattern: /\b(describe|test|it)\.(skip|only|todo)\b/, instead: 'a test that runs', except: ['test/style.test.ts'] },
]

interface SourceFile {
  /** Relative to the root, with forward slashes. */
  readonly path: string
  readonly text: string
}

function sourceFiles(folder: string): SourceFile[] {
  if (!existsSync(join(ROOT, folder))) return []
  return readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' })
    .map((name) => posix.join(folder, name.replaceAll('\\', '/')))
    .filter((path) => /\.[cm]?[jt]s$/.test(path) && !path.includes('node_modules/'))
    .map((path) => ({ path, text: readFileSync(join(ROOT, path), 'utf8') }))
}

function layerOf(path: string): string {
  const parts = path.split('/')
  return parts.length > 2 ? (parts[1] as string) : 'face'
}

function upwardImports({ path, text }: SourceFile): string[] {
  const from = layerOf(path)
  const layer = LAYERS[from]
  if (layer === undefined) return [`${path}: '${from}' is not in the table of layers`]
  return importsOf(text).flatMap((specifier) => {
    if (specifier.startsWith('node:')) return []
    if (!specifier.startsWith('.')) {
      const allowed = layer.packages?.some((name) => specifier === name || specifier.startsWith(`${name}/`))
      return allowed ? [] : [`${path}: ${from} may not use the package '${specifier}'`]
    }
    const to = layerOf(posix.join(posix.dirname(path), specifier))
    return to === from || layer.imports.includes(to) ? [] : [`${path}: ${from} may not import from ${to} ('${specifier}')`]
  })
}

function importsOf(text: string): string[] {
  return [...withoutComments(text).matchAll(/\bfrom\s*'([^']+)'|\bimport\s*\(?\s*'([^']+)'/g)].map(
    (match) => (match[1] ?? match[2]) as string,
  )
}

function withoutComments(text: string): string {
  return text.replace(/\/\*[\s\S]*?\*\//g, (comment) => comment.replace(/[^\n]/g, '')).replace(/(^|\s)\/\/.*$/gm, '$1')
}

function bannedUses({ path, text }: SourceFile, bans: readonly Ban[]): string[] {
  const applicable = bans.filter(
    ({ except = [] }) => !except.some((place) => path === place || (place.endsWith('/') && path.startsWith(place))),
  )
  return text.split('\n').flatMap((line, i) =>
    applicable.flatMap(({ pattern, instead }) => {
      const found = pattern.exec(line)
      return found === null ? [] : [`${path}:${i + 1}: '${found[0]}' — use ${instead}`]
    }),
  )
}

function codeBans(file: SourceFile): string[] {
  return bannedUses({ path: file.path, text: withoutComments(file.text) }, BANNED)
}

interface Manifest {
  name: string
  scripts?: Record<string, string>
  dependencies?: Record<string, string>
  optionalDependencies?: Record<string, string>
  gypfile?: boolean
}

/** Every package a production install brings, with the folder it lies in. */
function productionPackages(): Map<string, Manifest> {
  const found = new Map<string, Manifest>()
  const visit = (folder: string, isRoot: boolean): void => {
    if (found.has(folder)) return
    const manifest = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as Manifest
    if (!isRoot) found.set(folder, manifest)
    for (const name of Object.keys({ ...manifest.dependencies, ...manifest.optionalDependencies })) {
      const dependency = findPackage(folder, name)
      if (dependency !== null) visit(dependency, false)
      else if (manifest.dependencies?.[name] !== undefined) throw new Error(`${name}, wanted by ${manifest.name}, is not installed`)
    }
  }
  visit(ROOT, true)
  return found
}

function findPackage(from: string, name: string): string | null {
  for (let folder = from; ; folder = dirname(folder)) {
    const candidate = join(folder, 'node_modules', name)
    if (existsSync(join(candidate, 'package.json'))) return candidate
    if (folder === dirname(folder)) return null
  }
}

function installScripts(folder: string, { scripts = {}, gypfile }: Manifest): string[] {
  const found = ['preinstall', 'install', 'postinstall'].filter((name) => scripts[name] !== undefined)
  // npm runs node-gyp by itself where it finds this file.
  if (gypfile !== false && existsSync(join(folder, 'binding.gyp'))) found.push('binding.gyp')
  return found.map((what) => `${folder}: ${what}`)
}

const src = sourceFiles('src')

describe('the code', () => {
  test('imports from lower layers only', () => {
    expect(src.length).toBeGreaterThan(20)
    expect(src.flatMap(upwardImports)).toEqual([])
  })

  test('uses the seams, and nothing that has a better replacement', () => {
    expect(src.flatMap(codeBans)).toEqual([])
  })

  test('leaves no reminders, silenced checks or skipped tests', () => {
    const everything = ['src', 'test', 'bench', 'demo'].flatMap(sourceFiles)
    expect(everything.flatMap((file) => bannedUses(file, BANNED_EVERYWHERE))).toEqual([])
  })

  test('cites decisions that are written down', () => {
    const decisions = readFileSync(join(ROOT, 'docs/decisions.md'), 'utf8')
    const cited = ['src', 'test', 'bench', 'demo'].flatMap(sourceFiles).flatMap(({ text }) => text.match(/\bD\d{1,2}\b/g) ?? [])
    expect(cited.length).toBeGreaterThan(50)
    expect([...new Set(cited)].filter((number) => !decisions.includes(`\n## ${number}. `))).toEqual([])
  })

  test(`keeps its files under ${MAX_LINES} lines`, () => {
    const long = src.map(({ path, text }) => ({ path, lines: text.split('\n').length - 1 })).filter(({ lines }) => lines > MAX_LINES)
    expect(long).toEqual([])
  })
})

describe('what is installed with it', () => {
  test('runs no script when installed', () => {
    const packages = productionPackages()
    expect(packages.size).toBeGreaterThan(0)
    expect([...packages].flatMap(([folder, manifest]) => installScripts(folder, manifest))).toEqual([])
  })
})

describe('the rules themselves', () => {
  const file = (path: string, ...lines: string[]): SourceFile => ({ path, text: lines.join('\n') })

  test('see imports however they are written', () => {
    expect(upwardImports(file('src/storage/a.ts', "import { x } from '../txn/b.js'"))).toHaveLength(1)
    expect(upwardImports(file('src/wal/a.ts', 'export {', '  x,', "} from '../txn/b.js'"))).toHaveLength(1)
    expect(upwardImports(file('src/lock/a.ts', "type X = import('../txn/b.js').X"))).toHaveLength(1)
    expect(upwardImports(file('src/base/a.ts', "import '../index.js'"))).toHaveLength(1)
    expect(upwardImports(file('src/codec/a.ts', "import { pack } from 'msgpackr/pack'"))).toHaveLength(1)
    expect(upwardImports(file('src/new/a.ts', ''))).toHaveLength(1)
    expect(upwardImports(file('src/txn/a.ts', "import { x } from '../storage/b.js'", "// from '../index.js'"))).toEqual([])
    expect(upwardImports(file('src/index.ts', "export { x } from './txn/b.js'"))).toEqual([])
  })

  test('see what is banned in code, and overlook comments', () => {
    const uses = [
      "import * as fs from 'node:fs'",
      'x(Date.now())',
      'setTimeout(f, 1)',
      'Math.random()',
      "console.log('x')",
      'y as any',
      "throw new Error('')",
    ]
    for (const use of uses) expect(codeBans(file('src/txn/a.ts', '', use))).toEqual([expect.stringContaining('src/txn/a.ts:2: ')])
    expect(codeBans(file('src/txn/a.ts', '/** Never Date.now. */', '// nor console.log', "const url = 'https://x'"))).toEqual([])
    expect(codeBans(file('src/platform/clock.ts', 'Date.now()'))).toEqual([])
  })

  test('see scripts of packages', () => {
    expect(installScripts('/none', { name: 'x', scripts: { postinstall: 'y', test: 'z' } })).toEqual(['/none: postinstall'])
  })
})
