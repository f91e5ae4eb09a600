/** Runs groups of scenarios against an engine and collects verdicts. */
import type { EngineAdapter } from './adapter.js'
import { type Difference, judge } from './compare.js'
import { execute } from './execute.js'
import { readingsOf } from './expectation.js'
import type { Scenario, ScenarioGroup } from './format.js'
import { notApplicable } from './not-applicable.js'

export type ScenarioResult =
  | { readonly scenario: Scenario; readonly status: 'agrees'; readonly reading: string }
  | { readonly scenario: Scenario; readonly status: 'differs'; readonly reading: string; readonly differences: readonly Difference[] }
  | { readonly scenario: Scenario; readonly status: 'failed'; readonly error: string }
  | { readonly scenario: Scenario; readonly status: 'not applicable'; readonly reason: string }

export interface GroupResult {
  readonly group: string
  readonly results: readonly ScenarioResult[]
}

export interface Selection {
  /** Names of groups; all when empty. */
  readonly groups: readonly string[]
  /** Part of the scenario's id. */
  readonly id?: string
}

export function select(groups: readonly ScenarioGroup[], selection: Selection): ScenarioGroup[] {
  const { id, groups: names } = selection
  return groups
    .filter(({ group }) => names.length === 0 || names.includes(group))
    .map(({ group, scenarios }) => ({
      group,
      scenarios: id === undefined ? scenarios : scenarios.filter((scenario) => scenario.id.includes(id)),
    }))
    .filter(({ scenarios }) => scenarios.length > 0)
}

export async function runScenario(adapter: EngineAdapter, scenario: Scenario): Promise<ScenarioResult> {
  const reason = notApplicable(scenario)
  if (reason !== undefined) return { scenario, status: 'not applicable', reason }
  try {
    const observation = await execute(adapter, scenario)
    const { differences, reading } = judge(scenario, readingsOf(scenario), observation)
    if (differences.length === 0) return { scenario, status: 'agrees', reading: reading.name }
    return { scenario, status: 'differs', reading: reading.name, differences }
  } catch (error) {
    return { scenario, status: 'failed', error: error instanceof Error ? (error.stack ?? error.message) : String(error) }
  }
}

export async function runGroups(
  adapter: EngineAdapter,
  groups: readonly ScenarioGroup[],
  onResult: (result: ScenarioResult) => void = () => {},
): Promise<GroupResult[]> {
  const all: GroupResult[] = []
  for (const { group, scenarios } of groups) {
    const results: ScenarioResult[] = []
    for (const scenario of scenarios) {
      const result = await runScenario(adapter, scenario)
      results.push(result)
      onResult(result)
    }
    all.push({ group, results })
  }
  return all
}

export function isDisagreement(result: ScenarioResult): boolean {
  return result.status === 'differs' || result.status === 'failed'
}
