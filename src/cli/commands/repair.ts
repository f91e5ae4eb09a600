import { describe, describeLoss, type Losses, type RepairReport, repair as repairDatabase } from '../../tools.js'
import { Exit } from '../context.js'
import { counted, number } from '../output.js'
import type { Session } from '../session.js'

export interface RepairCommandOptions {
  unverified?: boolean
}

export async function repair(session: Session, options: RepairCommandOptions, directory: string, target: string): Promise<Exit> {
  const { environment } = session.context
  const { walDirectory } = session.options
  const report = await session.long('salvaging', (long) =>
    repairDatabase(environment, directory, target, {
      ...long,
      ...(walDirectory === undefined ? {} : { walDirectory }),
      unverified: options.unverified === true,
    }),
  )
  const whole = isWhole(report.losses)
  await session.result({ ...report, whole }, () => describeReport(session, report, whole))
  return whole ? Exit.Ok : Exit.Found
}

function isWhole({ pages, tables, structure, log }: Losses): boolean {
  return pages.length + tables.length + structure.length + log.length === 0
}

function describeReport({ style }: Session, report: RepairReport, whole: boolean): string {
  const { directory, tables, losses, checkpoint, commits } = report
  const rows = tables.reduce((sum, table) => sum + table.rows, 0)
  const lines = [
    `${directory}: ${counted(rows, 'row')} in ${counted(tables.length, 'table')} saved, from checkpoint ${checkpoint} and ${counted(commits, 'commit')} of the log.`,
    ...tables.map((table) => `  ${table.name}: ${counted(table.rows, 'row')}`),
    '',
    whole ? style.good('Nothing was lost.') : style.bad('Lost:'),
    ...losses.structure.map((problem) => `  ${problem}`),
    ...losses.log.map((problem) => `  ${problem}`),
    ...(losses.log.length === 0 ? [] : [`  Commits after log position ${number(losses.logEnd)} are lost, if there were any.`]),
    ...losses.pages.map(({ page, problem, of }) => `  page ${page} (of ${of}): ${problem}`),
  ]
  for (const { name, ranges, rows: lostRows, known } of losses.tables) {
    lines.push(`  table '${name}': ${counted(known, 'row is', 'rows are')} known to be lost`)
    for (const range of ranges) lines.push(`    rows with ${describeLoss(range)} may be missing`)
    for (const { key, problem } of lostRows.slice(0, MOST_SHOWN)) lines.push(`    ${describe(key)}: ${problem}`)
    if (lostRows.length > MOST_SHOWN) lines.push(`    and others: --json lists ${number(lostRows.length)}`)
  }
  return lines.join('\n')
}

const MOST_SHOWN = 20
