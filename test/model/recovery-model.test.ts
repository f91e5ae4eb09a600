import { describe, expect, it } from 'vitest'
import { explore, type Result } from './explore.js'
import { LONG_PROGRAMS, MUTATIONS, type Mutation, PROGRAMS, TOLERATED, type Tolerated } from './programs.js'
import type { Program } from './recovery-model.js'
import type { Bug } from './state.js'

/** Not a measure of speed: explorations are bounded in states, this only ends one that hangs. */
const TIMEOUT = 300_000
const LONG_TIMEOUT = 24 * 3600_000

const results = new Map<string, Result>()

function explored(program: Program, bug?: Bug): Result {
  const key = JSON.stringify([program.lives, program.bounds, bug])
  const result = results.get(key) ?? explore(program, bug)
  results.set(key, result)
  return result
}

function expectToHold(program: Program, bug?: Bug): void {
  const { violation } = explored(program, bug)
  const explanation = violation ? [`${violation.invariant}: ${violation.message}`, ...violation.trace].join('\n  ') : ''
  expect(violation, explanation).toBeNull()
}

describe('the recovery contract holds', () => {
  for (const program of PROGRAMS) it(`when ${program.name}`, () => expectToHold(program), TIMEOUT)

  it(
    'and the programs take every kind of step and crash',
    () => {
      const general = (label: string): string => label.replace(/\d+/g, 'n').replace(/ [abcuv](?= |$)/g, ' page')
      const taken = [...new Set(PROGRAMS.flatMap((program) => [...explored(program).labels].map(general)))]
      const steps = taken.filter((label) => !/^(power loss|Tn)/.test(label))
      expect(steps.sort()).toMatchInlineSnapshot(`
        [
          "checkpoint n: freeze at P = n",
          "checkpoint n: new epoch",
          "checkpoint n: release",
          "checkpoint n: release, admit commits",
          "checkpoint n: sync data",
          "checkpoint n: sync data FAILS",
          "checkpoint n: sync log through P",
          "checkpoint n: sync log through P FAILS",
          "checkpoint n: sync superblock",
          "checkpoint n: sync superblock FAILS",
          "checkpoint n: write frozen page",
          "checkpoint n: write map and root",
          "checkpoint n: write superblock",
          "evict page",
          "open",
          "open and recover",
          "purge after transaction n",
          "recover: freeze the last checkpoint",
          "recover: replay from n",
          "recover: undo",
          "start",
          "sync log",
          "sync log FAILS",
          "the process is killed",
        ]
      `)
      const actions = taken.filter((label) => label.startsWith('Tn: ') && !label.includes('='))
      expect(actions.sort()).toEqual(['Tn: big', 'Tn: commit', 'Tn: pop', 'Tn: rollback'])
      const crashes = taken.filter((label) => label.startsWith('power loss')).join()
      const outcomes = ['A lost', 'A kept', 'A torn', 'B lost', 'B kept', 'B torn', 'n rots'].map((outcome) => `superblock ${outcome}`)
      for (const outcome of [...outcomes, 'frame n lost', 'frame n kept']) expect(crashes).toContain(outcome)
    },
    TIMEOUT,
  )
})

if (process.env['NEXTKEY_MODEL'] === 'long') {
  describe('the recovery contract holds in long programs', () => {
    for (const program of LONG_PROGRAMS) it(`when ${program.name}`, () => expectToHold(program), LONG_TIMEOUT)
  })
}

describe('the recovery contract holds even if', () => {
  for (const [bug, program] of Object.entries(TOLERATED) as [Tolerated, Program][]) {
    it(program.name, () => expectToHold(program, bug), TIMEOUT)
  }
})

describe('the model notices that', () => {
  const mutations = Object.entries(MUTATIONS) as [Exclude<Bug, Tolerated>, Mutation][]

  for (const [bug, mutation] of mutations) {
    it(
      `${mutation.what} (${mutation.rule})`,
      () => {
        expectToHold(mutation.program)
        expect(mutation.noticed).toContain(explored(mutation.program, bug).violation?.invariant)
      },
      TIMEOUT,
    )
  }

  it(
    'and explains it in counterexamples.md',
    async () => {
      const title =
        '# How the recovery model notices each bug\n\nShortest counterexamples, written by recovery-model.test.ts (`vitest -u`).\n'
      await expect([title, ...mutations.map(chapter)].join('\n')).toMatchFileSnapshot('counterexamples.md')
    },
    TIMEOUT,
  )
})

function chapter([bug, { rule, what, program }]: [Bug, Mutation]): string {
  const transactions = program.lives.map((life) => life.map((script, i) => `T${i + 1} = ${script}`).join('; ')).join('; then ')
  const { violation } = explored(program, bug)
  const steps = violation?.trace.map((label) => `    ${label}`).join('\n')
  return `## ${bug} (${rule})\n\n${what[0].toUpperCase()}${what.slice(1)}. Program: ${transactions}.\n\n${steps}\n\n${violation?.invariant}: ${violation?.message}.\n`
}
