import type { CheckReport } from '../../index.js'
import { Exit } from '../context.js'
import { counted, number, table } from '../output.js'
import type { Session } from '../session.js'

export interface CheckOptions {
  recover?: boolean
}

export async function check(session: Session, options: CheckOptions, directory: string): Promise<Exit> {
  const run = options.recover === true ? session.change.bind(session) : session.look.bind(session)
  const report = await run(directory, (db) => session.long('checking', (long) => db.check(long)))
  await session.result({ directory, ok: report.problems.length === 0, ...report }, () => describeReport(session, directory, report))
  return report.problems.length === 0 ? Exit.Ok : Exit.Found
}

function describeReport({ style }: Session, directory: string, { problems, tables, blocks, pages }: CheckReport): string {
  if (problems.length > 0) {
    return [
      style.bad(`${directory}: ${counted(problems.length, 'problem')}${problems.length === MOST_PROBLEMS ? ' or more' : ''}.`),
      ...problems.map((problem) => `  ${problem}`),
      '',
      'Make a copy of the directory before anything else. Then restore a backup, or see: nextkey repair --help',
    ].join('\n')
  }
  const lines = tables.map((found) => [found.name, number(found.rows), number(found.pages), String(found.indexes.length)])
  return [
    style.good(`${directory}: all is well. ${counted(blocks, 'block')} read, ${counted(tables.length, 'table')}.`),
    ...(pages === undefined ? ['Somebody wrote meanwhile, so it was not checked that each page has exactly one owner.'] : []),
    ...(lines.length === 0 ? [] : ['', table(['table', 'rows', 'pages', 'indexes'], lines)]),
  ].join('\n')
}

/** What a report holds at most. */
const MOST_PROBLEMS = 100
