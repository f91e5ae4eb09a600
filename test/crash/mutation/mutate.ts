import { spawn } from 'node:child_process'
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Mutation } from './mutation.js'
import { MUTATIONS } from './mutations.js'

/**
 * Breaks the engine on purpose, in a copy, one fault at a time, and has the crash suite look for it. A suite that finds none of the
 * faults it is made for proves nothing; this says which it finds, after how many crash points, and by what.
 */
export interface MutateSettings {
  /** Of the mutations to try; all if there are none. */
  readonly names: readonly string[]
  /** Crash points looked at for each, at most. */
  readonly points: number
  readonly from: number
}

export interface Catch {
  readonly mutation: Mutation
  /** Undefined: it was not found. */
  readonly found: { readonly points: number | '?'; readonly seed: number | '?'; readonly by: string } | undefined
}

/** Tries each mutation; tells of each at once. Returns how many were not found. */
export async function mutate({ names, points, from }: MutateSettings, tell: (line: string) => void): Promise<number> {
  const chosen = names.length === 0 ? MUTATIONS : names.map(mutationNamed)
  let missed = 0
  tell('| mutation | what is broken | crash points | seed | found by |')
  tell('|---|---|---:|---:|---|')
  for (const one of chosen) {
    const { mutation, found } = await tryMutation(one, points, from)
    if (found === undefined) missed++
    const how = found === undefined ? 'not found | |' : `${found.points} | ${found.seed} | ${found.by}`
    tell(`| ${mutation.name} | ${mutation.breaks} | ${how} |`)
  }
  return missed
}

export function mutationNamed(name: string): Mutation {
  const found = MUTATIONS.find((mutation) => mutation.name === name)
  if (found === undefined) throw new Error(`there is no mutation '${name}': ${MUTATIONS.map((known) => known.name).join(', ')}`)
  return found
}

/** The file with its edits made. Raises if a text is not there exactly once. */
export function mutated(text: string, file: string, { name, edits }: Mutation): string {
  for (const { find, replace } of edits.filter((edit) => edit.file === file)) {
    const parts = text.split(find)
    if (parts.length !== 2)
      throw new Error(
        `mutation '${name}' wants to replace a text that is ${parts.length - 1} times in ${file}: adapt it in test/crash/mutation:\n${find}`,
      )
    text = parts.join(replace)
  }
  return text
}

async function tryMutation(mutation: Mutation, points: number, from: number): Promise<Catch> {
  const copy = mkdtempSync(join(tmpdir(), 'nextkey-mutation-'))
  try {
    for (const name of ['src', 'test/crash', 'test/support', 'package.json', 'tsconfig.json']) {
      cpSync(join(ROOT, name), join(copy, name), { recursive: true })
    }
    symlinkSync(join(ROOT, 'node_modules'), join(copy, 'node_modules'))
    for (const file of new Set(mutation.edits.map((edit) => edit.file))) {
      const path = join(copy, file)
      writeFileSync(path, mutated(readFileSync(path, 'utf8'), file, mutation))
    }
    return { mutation, found: whatIsSaid(await run(copy, ['--points', `${points}`, '--from', `${from}`])) }
  } finally {
    rmSync(copy, { recursive: true, force: true })
  }
}

/** Runs the crash suite of a copy; resolves to what it complains of. */
function run(copy: string, args: readonly string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, ['--import', 'tsx', 'test/crash/main.ts', ...args], {
      cwd: copy,
      stdio: ['ignore', 'ignore', 'pipe'],
    })
    let complaint = ''
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      complaint += text
    })
    child.on('error', reject)
    child.on('close', (code) => resolve(code === 0 ? '' : complaint))
  })
}

function whatIsSaid(complaint: string): Catch['found'] {
  if (complaint === '') return undefined
  const numbers = /Found by crash point (\d+) of seeds \d+ to (\d+)/.exec(complaint)
  // What the machine of the suite itself did not survive was noticed too, at a point that nobody could write down.
  const fatal = /^# (Fatal .*)$/m.exec(complaint)
  if (fatal !== null) return { points: '?', seed: '?', by: `the process dies: ${fatal[1]}` }
  if (numbers === null) throw new Error(`the suite of a mutation ended in an unexpected way:\n${complaint}`)
  const [, what = '', more = ''] = complaint.split('\n')
  const by = what.endsWith('finds:') ? `${what} ${more.trim()}` : what
  return { points: Number(numbers[1]), seed: Number(numbers[2]), by: by.replaceAll('|', '\\|').slice(0, MOST_OF_A_LINE) }
}

const ROOT = fileURLToPath(new URL('../../..', import.meta.url))
const MOST_OF_A_LINE = 160
