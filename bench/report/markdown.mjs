import { rivals, variantOf } from '../engines/variants.mjs'
import { describeRun, formatRatio, formatSpread, formatValue } from './report.mjs'
import { isMet } from './terminal.mjs'

/**
 * @param {import('./report.mjs').Report} report
 * @returns {string} results.md
 */
export function renderMarkdown(report) {
  const out = [
    '# nextkey and lmdb, measured side by side',
    '',
    `Written by \`npm run bench\` on ${report.date}.`,
    '',
    ...describeRun(report),
    '',
    'Rates are operations per second unless the title says rows. A ratio above 1 means that nextkey is that many times better than this lmdb: as its users open it (`lmdb`),',
    'with `sharedStructuresKey` (`shared`), and with shared structures and `noSync` (`noSync`). What was read was checked in every workload.',
    '',
    '![Ratios of the median rates](chart.svg)',
  ]
  let group = ''
  for (const section of report.sections) {
    const { unit, title } = section.workload
    if (section.workload.group !== group) {
      group = section.workload.group
      out.push('', `## ${group}`)
    }
    out.push(
      '',
      `### ${title}`,
      '',
      row(['', 'median', 'lowest – highest', '× lmdb', '× shared', '× noSync', 'what holds']),
      '|---|---:|---:|---:|---:|---:|---|',
    )
    for (const { line, variant, ratios, guarantee } of section.lines) {
      out.push(
        row([
          variant.label,
          formatValue(unit, line.median),
          formatSpread(unit, line),
          ...rivals.map((rival) => formatRatio(ratios[rival])),
          guarantee,
        ]),
      )
    }
  }
  const goals = report.sections.flatMap((section) => section.goals)
  if (goals.length > 0) {
    out.push('', '## Goals', '', row(['workload', 'compared', 'goal', 'reached', '']), '|---|---|---:|---:|---|')
    for (const goal of goals) {
      const compared = `${variantOf(goal.variant).label} against ${variantOf(goal.against).label}`
      out.push(row([goal.workload, compared, formatRatio(goal.atLeast), formatRatio(goal.reached), isMet(goal) ? 'met' : '**missed**']))
    }
  }
  return `${out.join('\n')}\n`
}

/** @param {string[]} cells */
function row(cells) {
  return `| ${cells.join(' | ')} |`
}
