/** The runner's report: agreement per group, every difference spelled out step by step, what is not applicable and why, one line of totals. */
import type { Difference } from './compare.js'
import type { Scenario, TableSpec } from './format.js'
import { tablesOf } from './format.js'
import { type GroupResult, isDisagreement, type ScenarioResult } from './runner.js'

interface Counts {
  total: number
  agree: number
  disagree: number
  notApplicable: number
}

export function countResults(results: readonly ScenarioResult[]): Counts {
  const counts: Counts = { total: results.length, agree: 0, disagree: 0, notApplicable: 0 }
  for (const result of results) {
    if (isDisagreement(result)) counts.disagree++
    else if (result.status === 'agrees') counts.agree++
    else counts.notApplicable++
  }
  return counts
}

function allResults(groups: readonly GroupResult[]): ScenarioResult[] {
  return groups.flatMap((group) => group.results)
}

/** Agreement per group, as a Markdown table. */
export function groupTable(groups: readonly GroupResult[]): string {
  const rows = groups.map(({ group, results }) => ({ group, ...countResults(results) }))
  const lines = rows.map(
    ({ group, total, agree, disagree, notApplicable }) => `| ${group} | ${total} | ${agree} | ${disagree} | ${notApplicable} |`,
  )
  return ['| group | scenarios | agree | disagree | not applicable |', '|---|--:|--:|--:|--:|', ...lines].join('\n')
}

export function totalsLine(groups: readonly GroupResult[]): string {
  const { total, agree, disagree, notApplicable } = countResults(allResults(groups))
  return `${total} scenarios: ${agree} agree, ${disagree} disagree, ${notApplicable} not applicable`
}

/** Reasons per group, with the scenarios they set aside. */
export function notApplicableList(groups: readonly GroupResult[]): string {
  const lines: string[] = []
  for (const { group, results } of groups) {
    const byReason = new Map<string, string[]>()
    for (const result of results) {
      if (result.status !== 'not applicable') continue
      byReason.set(result.reason, [...(byReason.get(result.reason) ?? []), result.scenario.id])
    }
    for (const [reason, ids] of byReason) lines.push(`${group}: not applicable, ${reason} (${ids.length}): ${ids.join(', ')}`)
  }
  return lines.join('\n')
}

function describeTable(table: TableSpec): string {
  const columns = table.columns.map((column) => (table.pk.includes(column.name) ? `${column.name}*` : column.name)).join(', ')
  const indexes = table.indexes.map(({ name, columns: on, unique }) => `, ${unique ? 'unique ' : ''}${name}(${on.join(', ')})`).join('')
  return `${table.name}(${columns})${indexes}: ${table.rows.map((row) => JSON.stringify(row)).join(' ')}`
}

function describeDifference({ what, expected, actual }: Difference): string[] {
  return [`      ✗ ${what}`, `        expected: ${expected}`, `        actual:   ${actual}`]
}

/** One disagreement: the tables, the steps up to the last difference, and the differences where they appeared. */
export function describeResult(result: ScenarioResult): string {
  const { scenario } = result
  const title = scenario.title === undefined ? '' : ` (${scenario.title})`
  if (result.status === 'agrees') return `✓ ${scenario.id}`
  if (result.status === 'not applicable') return `- ${scenario.id}: ${result.reason}`
  const lines = [`✗ ${scenario.id}${title}`, ...describeSetting(scenario)]
  if (result.status === 'failed') return [...lines, `    the run failed: ${result.error}`].join('\n')
  lines[0] += `, compared with ${result.reading}`
  const last = Math.max(...result.differences.map((difference) => difference.step))
  for (const step of scenario.steps) {
    if (step.i > last) break
    lines.push(`    ${step.i} ${step.session}: ${step.sql}`)
    for (const difference of result.differences) if (difference.step === step.i) lines.push(...describeDifference(difference))
  }
  const after = result.differences.filter((difference) => difference.step >= scenario.steps.length)
  if (after.length > 0) lines.push('    afterwards', ...after.flatMap(describeDifference))
  return lines.join('\n')
}

function describeSetting(scenario: Scenario): string[] {
  const settings = [
    scenario.isolation,
    scenario.sessionSql,
    scenario.autoincMode === undefined ? undefined : `autoinc mode ${scenario.autoincMode}`,
  ]
  return [
    `    ${settings.filter((setting) => setting !== undefined).join(', ')}`,
    ...tablesOf(scenario).map((table) => `    ${describeTable(table)}`),
  ]
}

export interface ReportOptions {
  /** Every scenario, not only those that differ. */
  readonly verbose: boolean
}

/** Everything but the totals line, which the caller prints last. */
export function textReport(groups: readonly GroupResult[], options: ReportOptions): string {
  const shown = allResults(groups).filter((result) => options.verbose || isDisagreement(result))
  const parts = [shown.map(describeResult).join('\n\n'), notApplicableList(groups), groupTable(groups)]
  return parts.filter((part) => part !== '').join('\n\n')
}

/** For programs. */
export function jsonReport(groups: readonly GroupResult[]): string {
  const results = allResults(groups).map(({ scenario, ...rest }) => ({ id: scenario.id, group: scenario.group, ...rest }))
  return JSON.stringify({ totals: countResults(allResults(groups)), results }, null, 2)
}
