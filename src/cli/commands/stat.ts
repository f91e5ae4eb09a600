import { describe, describeTables, inspectFiles, type TableStatistics } from '../../tools.js'
import { Exit } from '../context.js'
import { bytes, counted, number, percent, table } from '../output.js'
import type { Session } from '../session.js'

export async function stat(session: Session, _options: object, directory: string): Promise<Exit> {
  session.mustExist(directory)
  const files = inspectFiles(session.context.environment, directory, session.options.walDirectory)
  const [newest] = files.superblocks
  const { tables, free, pages } = await session.look(directory, async (db) => ({
    tables: await session.long('reading', (long) => describeTables(db, long)),
    free: db.status().file.freeBlocks,
    pages: db.status().file.pages,
  }))
  const problems = tables.flatMap((found) => [found, ...found.indexes]).reduce((sum, tree) => sum + tree.problems, 0)
  const freeBytes = free * 16384
  const logSize = files.log.segments.reduce((sum, { size }) => sum + size, 0)
  const report = {
    directory,
    databaseId: files.databaseId,
    sealed: newest.sealed,
    dataFile: { path: files.dataFile, size: files.size, free: freeBytes, pages },
    checkpoint: { number: newest.checkpoint, logPosition: newest.logPosition, age: files.log.since?.bytes },
    log: {
      directory: files.log.directory,
      files: files.log.segments.length,
      size: logSize,
      since: files.log.since,
      problem: files.log.problem,
    },
    tables,
  }
  await session.result(report, () => {
    const { bold, dim, warn } = session.style
    const since = files.log.since
    return [
      `${bold(directory)}  ${dim(`database ${files.databaseId}`)}${newest.sealed ? '  a copy made by backup' : ''}`,
      `data file    ${bytes(files.size)}, ${counted(pages, 'page')}, ${bytes(freeBytes)} free`,
      `checkpoint   ${number(newest.checkpoint)}, at log position ${number(newest.logPosition)}${
        since === undefined ? '' : `; age ${bytes(since.bytes)} of log, ${counted(since.commits, 'commit')}`
      }`,
      `log          ${counted(files.log.segments.length, 'file')}, ${bytes(logSize)}`,
      ...(files.log.problem === undefined ? [] : [warn(`             ${files.log.problem}`)]),
      ...(since !== undefined && since.commits > 0 ? [dim('             (what follows is the checkpoint alone)')] : []),
      '',
      tables.length === 0
        ? 'no tables'
        : table(['table / index', 'key', 'entries', 'pages', 'size', 'fill', 'depth'], tables.flatMap(lines)),
      ...(problems === 0 ? [] : [warn(`Damage was met in ${counted(problems, 'place')}, and is not counted: nextkey check tells more.`)]),
    ].join('\n')
  })
  return problems === 0 ? Exit.Ok : Exit.Found
}

function lines(found: TableStatistics): string[][] {
  const key = found.definition.key === null ? '(beside the value)' : [found.definition.key].flat().join(', ')
  return [
    [found.name, `${key}${found.definition.autoIncrement ? ' auto' : ''}`, ...figures(found)],
    ...found.indexes.map((index) => [
      `  ${describe(index.name).slice(1, -1)}`,
      `${index.on.join(', ')}${index.unique ? ' unique' : ''}`,
      ...figures(index),
    ]),
  ]
}

function figures({ entries, pages, size, fill, depth }: TableStatistics | TableStatistics['indexes'][number]): string[] {
  return [number(entries), number(pages), bytes(size), percent(fill), String(depth)]
}
