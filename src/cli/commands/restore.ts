import { NextkeyError } from '../../index.js'
import { dataPath, inspectFiles } from '../../tools.js'
import { Exit } from '../context.js'
import { bytes, counted } from '../output.js'
import type { Session } from '../session.js'

/** A copy of a backup, every page of it verified, where no database is. */
export async function restore(session: Session, _options: object, copy: string, directory: string): Promise<Exit> {
  const { environment } = session.context
  if (environment.fileSystem.exists(dataPath(directory))) {
    throw new NextkeyError('ERR_INVALID_ARGUMENT', `there is a database in ${directory}: move it away first, then restore`, {
      details: { directory },
    })
  }
  session.mustExist(copy)
  const { superblocks, log } = inspectFiles(environment, copy, session.options.walDirectory)
  if (!superblocks[0].sealed && (log.since === undefined || log.since.commits > 0)) {
    throw new NextkeyError(
      'ERR_BACKUP_MISMATCH',
      `${copy} is no backup but a database with commits in its log that its data file has not: open it once, or use nextkey backup`,
      { details: { directory: copy } },
    )
  }
  const report = await session.look(copy, (db) => session.long('restoring', (long) => db.backup(directory, long)))
  await session.result(
    report,
    () => `${directory}: restored checkpoint ${report.checkpoint} from ${copy}, ${counted(report.pages, 'page')}, ${bytes(report.size)}`,
  )
  return Exit.Ok
}
