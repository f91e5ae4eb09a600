import { Exit } from '../context.js'
import { counted, number, table } from '../output.js'
import type { Session } from '../session.js'

export interface CheckOptions {
  recover?: boolean
}

export async function check(session: Session, options: CheckOptions, directory: string): Promise<Exit> {
  const run = options.recover === true ? session.change.bind(session) : session.look.bind(session)
  const report = await run(directory, (db) => session.long('checking', (long) => db.check(long)))
  await session.result({ directory, ok: report.problems.length === 0, ...report }, () => {
    const { good, bad, bold } = session.style
    const { problems, tables, blocks, pages } = report
    const rows = tables.map(({ name, rows, pages, indexes }) => [name, number(rows), number(pages), String(indexes.length)])
    const head =
      problems.length === 0
        ? good(`${directory}: all is well. ${counted(blocks, 'block')} read, ${counted(tables.length, 'table')}.`)
        : bad(`${directory}: ${counted(problems.length, 'problem')}${problems.length === 100 ? ' or more' : ''}.`)
    return [
      head,
      ...problems.map((problem) => `  ${problem}`),
      ...(rows.length === 0
        ? []
        : [
            '',
            bold(table(['table', 'rows', 'pages', 'indexes'], rows).split('\n')[0]),
            ...table(['table', 'rows', 'pages', 'indexes'], rows).split('\n').slice(1),
          ]),
      ...(problems.length === 0
        ? pages === undefined
          ? ['', 'Somebody wrote meanwhile: that each page has exactly one owner was not checked.']
          : []
        : ['', 'Make a copy of the directory before anything else. Then restore a backup, or see `nextkey repair --help`.']),
    ].join('\n')
  })
  return report.problems.length === 0 ? Exit.Ok : Exit.Found
}
