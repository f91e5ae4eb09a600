import { styleText } from 'node:util'
import { rivals, variantOf } from '../engines/variants.mjs'
import { describeRun, formatRatio, formatSpread, formatValue } from './report.mjs'

/**
 * The table for a terminal; plain text where standard output is not one.
 * @param {import('./report.mjs').Report} report
 */
export function renderTerminal(report) {
  const out = ['', ...describeRun(report), '']
  const header = ['', 'median', 'lowest – highest', '× lmdb', '× shared', '× noSync', 'what holds']
  for (const section of report.sections) {
    const { unit, title } = section.workload
    out.push(paint('bold', title))
    const rows = section.lines.map(({ line, variant, ratios, guarantee }) => [
      variant.label,
      formatValue(unit, line.median),
      formatSpread(unit, line),
      ...rivals.map((rival) => formatRatio(ratios[rival])),
      guarantee,
    ])
    const widths = [26, 10, 25, 8, 8, 8]
    for (const [index, cells] of [header, ...rows].entries()) {
      const text = cells
        .map((cell, column) =>
          column === 0 ? cell.padEnd(widths[0]) : column < widths.length ? cell.padStart(widths[column]) : ` ${cell}`,
        )
        .join(' ')
      out.push(index === 0 ? paint('dim', text) : `  ${text.trimEnd()}`.slice(2))
    }
    out.push('')
  }
  // A quick run's figures mean nothing, so neither do goals.
  const goals = report.settings.quick ? [] : report.sections.flatMap((section) => section.goals)
  if (goals.length > 0) {
    out.push(paint('bold', `Goals: ${goals.filter(isMet).length} of ${goals.length} met`))
    for (const goal of goals) {
      const mark = isMet(goal) ? paint('green', 'met   ') : paint('red', 'missed')
      out.push(
        `${mark} ${goal.workload.padEnd(16)} ${variantOf(goal.variant).label} ${formatRatio(goal.reached)} ${variantOf(goal.against).label} (goal ${formatRatio(goal.atLeast)})`,
      )
    }
    out.push('')
  }
  return out.join('\n')
}

/** @param {import('./report.mjs').GoalResult} goal */
export function isMet(goal) {
  return goal.reached >= goal.atLeast
}

/**
 * @param {'bold' | 'dim' | 'green' | 'red'} style
 * @param {string} text
 */
function paint(style, text) {
  return process.stdout.isTTY && !process.env.NO_COLOR ? styleText(style, text) : text
}
