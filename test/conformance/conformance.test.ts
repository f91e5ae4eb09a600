import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { type ExpectedStep, type Reading, readingsOf } from './expectation.js'
import { type Lock, loadScenarios, type Outcome, type Scenario } from './format.js'
import { hermitageTable, runHermitage } from './hermitage.js'
import { compareLocks, unionOf } from './locks.js'
import { rangeOf } from './nextkey-statements.js'
import { notApplicable } from './not-applicable.js'
import { replayAdapter } from './replay-adapter.js'
import { describeResult, totalsLine } from './report.js'
import { main } from './run.js'
import { runGroups, runScenario, select } from './runner.js'

const GOLDEN = fileURLToPath(new URL('../golden/public', import.meta.url))
const groups = loadScenarios(GOLDEN)
const scenarios = groups.flatMap((group) => group.scenarios)

function byId(id: string): Scenario {
  const found = scenarios.find((scenario) => scenario.id === id)
  if (found === undefined) throw new Error(`no scenario ${id}`)
  return found
}

/** Runs a scenario against an engine that plays `change(expected reading)`; the report's text. */
async function reportOf(id: string, change: (reading: Reading) => Reading = (reading) => reading): Promise<string> {
  const scenario = byId(id)
  return describeResult(
    await runScenario(
      replayAdapter(() => change(readingsOf(scenario)[0])),
      scenario,
    ),
  )
}

function withStep(reading: Reading, i: number, patch: Partial<ExpectedStep>): Reading {
  return { ...reading, steps: reading.steps.map((step, n) => (n === i ? { ...step, ...patch } : step)) }
}

describe('the golden copy', () => {
  it('holds the 1,783 public scenarios in fifteen groups', () => {
    expect(groups).toHaveLength(15)
    expect(scenarios).toHaveLength(1783)
  })

  it('has few scenarios without a counterpart, each for a stated reason', () => {
    const reasons = scenarios.map(notApplicable).filter((reason) => reason !== undefined)
    expect(reasons.length).toBeLessThan(0.03 * scenarios.length)
    const outside = scenarios.filter(
      (scenario) => notApplicable(scenario) && !['tablelocks', 'autoinc', 'deadlocks', 'visibility'].includes(scenario.group),
    )
    expect(outside.map((scenario) => scenario.id)).toSatisfy((ids: string[]) => ids.every((id) => id.includes('/icp-off/')))
  })
})

describe('an engine that behaves as the data says', () => {
  it('agrees in every scenario', async () => {
    const results = await runGroups(
      replayAdapter((scenario) => readingsOf(scenario)[0]),
      groups,
    )
    const differing = results
      .flatMap((group) => group.results)
      .filter((result) => result.status === 'differs' || result.status === 'failed')
    expect(differing.map(describeResult)).toEqual([])
    expect(totalsLine(results)).toMatch(/^1783 scenarios: \d+ agree, 0 disagree, \d+ not applicable$/)
  })

  it('agrees with every accepted course of a race', async () => {
    const races = scenarios.filter((scenario) => scenario.nondeterministic)
    expect(races.length).toBeGreaterThan(0)
    for (const scenario of races) {
      const readings = readingsOf(scenario)
      expect(readings.length).toBeGreaterThan(1)
      for (const reading of readings)
        expect(
          (
            await runScenario(
              replayAdapter(() => reading),
              scenario,
            )
          ).status,
        ).toBe('agrees')
    }
  })

  it('that follows MariaDB where MySQL differs disagrees', async () => {
    const differing = scenarios.filter((scenario) => typeof scenario.mysql97 === 'object' && notApplicable(scenario) === undefined)
    const asMariadb = (scenario: Scenario) => readingsOf({ ...scenario, mysql97: 'same' })[0]
    const agreeing: string[] = []
    for (const scenario of differing) {
      if ((await runScenario(replayAdapter(asMariadb), scenario)).status === 'agrees') agreeing.push(scenario.id)
    }
    // Where MariaDB finds the deadlock at once and MySQL later, at once is right; the last three differ only in the entries that make up a union.
    expect(agreeing).toEqual([
      'deadlocks/RR/s-to-x-upgrade-three',
      'deadlocks/SER/s-to-x-upgrade-three',
      'random/SER/nu/003',
      'random/SER/nu/045',
      'random/SER/uq/050',
    ])
  })

  it('may exchange the roles of two sessions released together, rows and locks included', () => {
    const swapped = readingsOf(byId('deadlocks/RR/unique-secondary-dup-three-sessions-rollback'))[1]
    expect(swapped.steps[6].resumes.map(({ session, expect: outcome }) => [session, 'error' in outcome])).toEqual([
      ['B', false],
      ['C', true],
    ])
    expect(swapped.steps[6].locks).toContainEqual({
      session: 'B',
      table: 't',
      index: 'uk',
      key: [25],
      pk: [12],
      mode: 'S',
      kind: 'gap',
      status: 'granted',
    })
    expect(swapped.finalRows?.t).toContainEqual({ id: 12, k: 25, v: 2 })
    expect(swapped.finalRows?.t).not.toContainEqual({ id: 13, k: 25, v: 3 })
  })
})

describe('an engine that deviates', () => {
  const blocking = 'unique/RR/dup-wait/upsert-vs-upsert-rollback'

  it('in a result is reported with both values', async () => {
    const wrong: Outcome = { result: { rows: [{ id: 1, value: 10 }] } }
    const report = await reportOf('hermitage/RC/G1a', (reading) => withStep(reading, 3, { outcome: wrong }))
    expect(report).toContain('3 T2: SELECT * FROM test')
    expect(report).toContain('expected: (id=1 value=10) (id=2 value=20)')
    expect(report).toMatch(/actual: {3}\(id=1 value=10\)$/)
  })

  it('in the order of rows is reported', async () => {
    const swapped: Outcome = {
      result: {
        rows: [
          { id: 2, value: 20 },
          { id: 1, value: 10 },
        ],
      },
    }
    expect(await reportOf('hermitage/RC/G1a', (reading) => withStep(reading, 3, { outcome: swapped }))).toContain('✗ outcome')
  })

  it('in a count is reported', async () => {
    const report = await reportOf('hermitage/RC/G1a', (reading) =>
      withStep(reading, 2, { outcome: { result: { affected: 1, changed: 0 } } }),
    )
    expect(report).toContain('expected: affected 1, changed 1')
    expect(report).toContain('actual:   affected 1, changed 0')
  })

  it('by not waiting is reported, and later steps are then submitted', async () => {
    const report = await reportOf(blocking, (reading) => withStep(reading, 3, { outcome: { result: { affected: 1 } } }))
    expect(report).toContain('expected: waits for t.uk [25] of [7] X next-key')
    expect(report).toContain("B's step 3 resumes")
  })

  it('by waiting for another lock is reported', async () => {
    const on = { table: 't', index: 'uk', key: [25], pk: [7], mode: 'S', kind: 'next-key' } as const
    const report = await reportOf(blocking, (reading) => withStep(reading, 3, { outcome: { blocked: true, on } }))
    expect(report).toContain('actual:   waits for t.uk [25] of [7] S next-key')
  })

  it('by resuming nothing is reported', async () => {
    const report = await reportOf(blocking, (reading) => withStep(reading, 4, { resumes: [] }))
    expect(report).toContain("✗ B's step 3 resumes\n        expected: affected 1\n        actual:   it does not")
    expect(report).toContain('not submitted: the session is still blocked')
  })

  it('by resuming too early is reported where it resumes and where it should have', async () => {
    const early = (reading: Reading) => withStep(withStep(reading, 5, { resumes: reading.steps[6].resumes }), 6, { resumes: [] })
    const report = await reportOf('hermitage/SER/PMP', early)
    expect(report).toContain("✗ T2's step 3 resumes\n        expected: it does not\n        actual:   affected 1")
    expect(report).toContain("✗ T2's step 3 resumes\n        expected: affected 1\n        actual:   it does not")
  })

  it('by an error of another kind is reported, but not by its text', async () => {
    const deadlock: Outcome = { error: { code: 'deadlock' } }
    const change = (error: { code: string }) => (reading: Reading) => withStep(reading, 5, { outcome: { error } })
    expect(await reportOf('hermitage/SER/P4', change({ code: 'lockWaitTimeout' }))).toContain('expected: error deadlock')
    expect(await reportOf('hermitage/SER/P4', (reading) => withStep(reading, 5, { outcome: deadlock }))).toMatch(/^✓/)
  })

  it('in one lock of a set is reported with its place', async () => {
    const id = 'random/SER/pk/009'
    const step = byId(id).steps.findIndex((candidate) => candidate.locks?.some((lock) => lock.kind === 'next-key'))
    const weaken = (lock: Lock): Lock => (lock.kind === 'next-key' ? { ...lock, kind: 'record' } : lock)
    const report = await reportOf(id, (reading) => withStep(reading, step, { locks: reading.steps[step].locks?.map(weaken) }))
    expect(report).toMatch(/✗ locks: [AB] t\.PRIMARY \[\d+\]\n {8}expected: [SX] next-key\n {8}actual: {3}[SX] record/)
  })

  it('in a probe is reported', async () => {
    const flip = (reading: Reading): Reading => ({
      ...reading,
      probes: reading.probes.map((probe, n) =>
        n === 0 ? { ...probe, outcome: probe.outcome === 'blocked' ? 'granted' : 'blocked' } : probe,
      ),
    })
    expect(await reportOf('combos/RR/uq/selectForUpdate/present', flip)).toContain('✗ probe insert t1 ["0",1]')
  })

  it('in the final rows is reported', async () => {
    const report = await reportOf('hermitage/RC/G1a', (reading) => ({ ...reading, finalRows: { test: [] } }))
    expect(report).toContain('✗ final rows of test\n        expected: (id=1 value=10) (id=2 value=20)\n        actual:   no rows')
  })

  it('by throwing out of the adapter fails that scenario only', async () => {
    const adapter = replayAdapter((scenario) => {
      if (scenario.id === 'hermitage/RC/G1a') throw new Error('out of order')
      return readingsOf(scenario)[0]
    })
    const results = await runGroups(adapter, select(groups, { groups: ['hermitage'] }))
    expect(totalsLine(results)).toBe('34 scenarios: 33 agree, 1 disagree, 0 not applicable')
  })
})

describe('lock sets', () => {
  const lock = (kind: Lock['kind'], mode: Lock['mode'], rest: Partial<Lock> = {}): Lock =>
    ({
      session: 'A',
      table: 't',
      ...(kind === 'table' ? {} : { index: 'PRIMARY', key: [1] }),
      kind,
      mode,
      status: 'granted',
      ...rest,
    }) as Lock

  it.each([
    ['a gap and a record lock are a next-key lock', [lock('gap', 'X'), lock('record', 'X')], [lock('next-key', 'X')]],
    ['X covers S on the same record', [lock('record', 'S'), lock('record', 'X')], [lock('record', 'X')]],
    ['a granted insert intention does not count', [lock('insert-intention', 'X')], []],
    ['the supremum has a gap only', [lock('next-key', 'X', { supremum: true })], [lock('gap', 'X', { supremum: true })]],
    ['delete marks do not count', [lock('record', 'X', { deleteMarked: true })], [lock('record', 'X')]],
    ['IX covers IS', [lock('table', 'IS'), lock('table', 'IX')], [lock('table', 'IX')]],
  ])('%s', (_, expected, actual) => {
    expect(compareLocks(expected, actual)).toEqual([])
  })

  it.each([
    ['S is not X', [lock('record', 'S')], [lock('record', 'X')]],
    ['S next-key and X record are not X next-key', [lock('next-key', 'S'), lock('record', 'X')], [lock('next-key', 'X')]],
    ['waiting is not granted', [lock('record', 'X', { status: 'waiting' })], [lock('record', 'X')]],
    ['a waiting insert intention counts', [lock('insert-intention', 'X', { status: 'waiting' })], []],
    ['sessions are told apart', [lock('record', 'X', { session: 'B' })], [lock('record', 'X')]],
    ['S and IX on a table are not IX', [lock('table', 'S'), lock('table', 'IX')], [lock('table', 'IX')]],
    ['AUTO-INC is covered by nothing', [lock('table', 'AUTO-INC'), lock('table', 'IX')], [lock('table', 'IX')]],
  ])('%s', (_, expected, actual) => {
    expect(compareLocks(expected, actual)).not.toEqual([])
  })

  it('names a secondary entry by its key and its row', () => {
    expect([...unionOf([lock('gap', 'S', { index: 'ik', key: [20], pk: [7] })])]).toEqual([['A t.ik [20] of [7]', 'S gap']])
  })
})

describe('access paths', () => {
  const spec = { ...byId('scans/RC/icp-on/nu/le-12').schema }
  const compound = { ...spec, indexes: [{ name: 'ab', columns: ['a', 'b'], unique: false }] }

  it('equality on all columns is eq, on the first ones prefix', () => {
    expect(rangeOf(spec, { index: 'ik', key: [20] })).toEqual({ index: 'ik', eq: 20 })
    expect(rangeOf(compound, { index: 'ab', key: [2, 15] })).toEqual({ index: 'ab', eq: [2, 15] })
    expect(rangeOf(compound, { index: 'ab', key: [2] })).toEqual({ index: 'ab', prefix: [2] })
  })

  it('bounds under a prefix are whole keys, and the prefix is the other bound', () => {
    const both = { index: 'ab', prefix: [2], lower: 10, lowerInclusive: false, upper: 30, upperInclusive: true }
    expect(rangeOf(compound, both)).toEqual({ index: 'ab', gt: [2, 10], lte: [2, 30] })
    expect(rangeOf(compound, { index: 'ab', prefix: [2], lower: 10, lowerInclusive: true })).toEqual({
      index: 'ab',
      gte: [2, 10],
      lte: [2],
    })
    expect(rangeOf(compound, { index: 'ab', prefix: [2], order: 'desc' })).toEqual({ index: 'ab', prefix: [2], reverse: true })
  })

  it('an upper bound leaves out NULL', () => {
    const nullable = { ...spec, columns: spec.columns.map((column) => ({ ...column, nullable: column.name === 'k' })) }
    expect(rangeOf(nullable, { index: 'ik', upper: 12, upperInclusive: true })).toEqual({ index: 'ik', gt: null, lte: 12 })
    expect(rangeOf(spec, { index: 'PRIMARY', upper: 12, upperInclusive: false })).toEqual({ lt: 12 })
  })

  it('an equality is read forwards, whatever order is asked for', () => {
    expect(rangeOf(spec, { index: 'ik', key: [11], order: 'desc' })).toEqual({ index: 'ik', eq: 11 })
  })

  it('a filter is a condition; NULL meets none', () => {
    const { where } = rangeOf(spec, { filter: [{ column: 'v', cmp: 'mod', value: 5 }] })
    expect([10, 11, null].map((v) => where?.({ v }))).toEqual([true, false, false])
  })
})

describe('the command', () => {
  async function run(argv: string[], change: (reading: Reading) => Reading = (reading) => reading) {
    const printed: string[] = []
    const complaints: string[] = []
    const adapter = replayAdapter((scenario) => change(readingsOf(scenario)[0]))
    const code = await main(argv, async () => adapter, { print: (text) => printed.push(text), complain: (text) => complaints.push(text) })
    return { code, printed: printed.join('\n'), complaints: complaints.join('\n') }
  }

  it('exits with 0 and ends with the totals when everything agrees', async () => {
    const { code, printed } = await run(['--group', 'gaps', '--id', '/RC/'])
    expect(code).toBe(0)
    expect(printed.split('\n').at(-1)).toMatch(/^\d+ scenarios: \d+ agree, 0 disagree, 0 not applicable$/)
  })

  it('exits with 1 when something disagrees', async () => {
    const { code, printed } = await run(['--group', 'gaps'], (reading) => ({ ...reading, locksAfter: [] }))
    expect(code).toBe(1)
    expect(printed).toContain('| gaps | 78 |')
    expect(printed).toContain('✗ gaps/')
  })

  it('exits with 2 when it cannot run', async () => {
    expect((await run(['--group', 'nothing'])).code).toBe(2)
    expect((await run(['--unknown'])).complaints).toContain('npm run conformance')
    expect((await run(['/nowhere'])).code).toBe(2)
  })

  it('prints JSON for programs', async () => {
    const { printed } = await run(['--group', 'hermitage', '--json'])
    expect(JSON.parse(printed).totals).toEqual({ total: 34, agree: 34, disagree: 0, notApplicable: 0 })
  })
})

describe('the Hermitage table', () => {
  it('says for each anomaly and level whether it occurred', async () => {
    // The replayed engine behaves at every level as the one the script was observed at.
    const at = (level: string) => scenarios.filter((scenario) => scenario.group === 'hermitage' && scenario.isolation === level)
    const adapter = replayAdapter((scenario) => readingsOf(byId(scenario.id))[0])
    const occurring = async (level: string) =>
      (await runHermitage(adapter, at(level))).filter((cell) => cell.level === 'RC' && cell.occurred).map((cell) => cell.tag)
    expect(await occurring('RU')).toEqual(['G1c', 'P4', 'G-single-predicate', 'G2-two-edges'])
    expect(await occurring('RC')).toEqual(['G-single-predicate', 'G-single-write-1', 'G-single-write-2', 'G2-item'])
    expect(await occurring('RR')).toEqual(['PMP-write', 'PMP-write-value-read', 'P4', 'G-single-write-2', 'G2-item', 'G2', 'G2-two-edges'])
    expect(await occurring('SER')).toEqual([])
    const table = hermitageTable(await runHermitage(adapter, at('SER')))
    expect(table).toContain('| P4: lost update | ✓ deadlock | ✓ deadlock |')
  })
})
