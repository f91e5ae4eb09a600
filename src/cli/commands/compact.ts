import { Exit } from '../context.js'
import { bytes } from '../output.js'
import type { Session } from '../session.js'

export async function compact(session: Session, _options: object, directory: string): Promise<Exit> {
  const report = await session.change(directory, async (db) => {
    await db.purge()
    return session.long('compacting', (long) => db.compact(long))
  })
  await session.result({ directory, ...report }, () => `${directory}: data file ${bytes(report.before)} before, ${bytes(report.after)} now`)
  return Exit.Ok
}
