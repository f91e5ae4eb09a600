import { resolve } from 'node:path'
import { type BackupReport, NextkeyError } from '../../index.js'
import { askInspector } from '../../tools.js'
import { Exit } from '../context.js'
import { bytes, counted } from '../output.js'
import type { Session } from '../session.js'

/** Copies a database: by itself if nobody has it open, else through the application that has. */
export async function backup(session: Session, _options: object, directory: string, target: string): Promise<Exit> {
  const report = await copy(session, directory, target)
  await session.result(report, () => {
    const { kind, pages, written, size, checkpoint, since } = report
    return kind === 'full'
      ? `${target}: copied checkpoint ${checkpoint} of ${directory}, ${counted(pages, 'page')}, ${bytes(size)}`
      : `${target}: brought from checkpoint ${since} to ${checkpoint} of ${directory}, ${counted(written, 'page')} of ${pages} written, ${bytes(size)}`
  })
  return Exit.Ok
}

async function copy(session: Session, directory: string, target: string): Promise<BackupReport> {
  let opened = false
  try {
    return await session.change(directory, (db) => {
      opened = true
      return session.long('copying', (long) => db.backup(target, long))
    })
  } catch (error) {
    if (opened || !(error instanceof NextkeyError) || error.code !== 'ERR_DIRECTORY_LOCKED') throw error
    return askOwner(session, directory, target, error)
  }
}

async function askOwner(session: Session, directory: string, target: string, refusal: NextkeyError): Promise<BackupReport> {
  const progress = session.progress('copying')
  try {
    const request = { command: 'backup', directory: resolve(target) } as const
    return (await askInspector(directory, request, ({ done, total }) => progress.update(done, total))) as BackupReport
  } catch (error) {
    if (!(error instanceof NextkeyError && error.code === 'ERR_NOT_FOUND')) throw error
    const hint = `${refusal.message}. The application can make the copy: db.backup(${JSON.stringify(target)}). If it opens the database with { inspect: true }, it does so for this command`
    throw new NextkeyError(refusal.code, hint, { cause: refusal, details: refusal.details, retryable: true })
  } finally {
    progress.stop()
  }
}
