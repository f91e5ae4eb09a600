import type { Lock } from '../../index.js'
import { askInspector, describe } from '../../tools.js'
import { Exit } from '../context.js'
import { table } from '../output.js'
import type { Session } from '../session.js'

/** What a running application tells of its database, through the socket of `open(directory, { inspect: true })`. */
export async function status(session: Session, _options: object, directory: string): Promise<Exit> {
  session.mustExist(directory)
  const { text, ...found } = (await askInspector(directory, { command: 'status' })) as { text: string }
  await session.result(found, () => text)
  return Exit.Ok
}

export async function locks(session: Session, _options: object, directory: string): Promise<Exit> {
  session.mustExist(directory)
  const found = (await askInspector(directory, { command: 'locks' })) as Lock[]
  const deadlock = (await askInspector(directory, { command: 'deadlock' })) as { text: string } | null
  await session.result({ locks: found, latestDeadlock: deadlock?.text ?? null }, () =>
    [
      found.length === 0 ? 'no locks' : table(['transaction', 'table', 'index', 'key', 'mode', 'status', 'waits for'], found.map(line)),
      ...(deadlock === null ? [] : ['', 'Latest deadlock:', deadlock.text]),
    ].join('\n'),
  )
  return Exit.Ok
}

function line(lock: Lock): string[] {
  const key = lock.supremum ? 'supremum' : lock.key === undefined ? '' : describe(lock.key)
  return [
    String(lock.transaction),
    lock.table,
    lock.index ?? '',
    key,
    lock.index === undefined ? lock.mode : `${lock.mode} ${lock.kind}`,
    lock.status,
    lock.blockedBy.join(', '),
  ]
}
