import type { Database } from './database.js'
import { insertOptions } from './insert-options.js'
import type { Outcome } from './txn/outcome.js'
import type { Trx } from './txn/trx.js'

/** insert(row, options), or insert(key, value, options) where keys stand beside the rows. */
export function insertInto(db: Database, trx: Trx, table: object, args: unknown[]): Outcome<unknown> {
  const store = db.storeOf(table)
  const beside = store.keyPaths === null && !(store.definition.autoIncrement && args.length < 2)
  const [key, value, options] = beside ? args : [undefined, args[0], args[1]]
  return db.statements.rows.insert(trx, store, value, key, insertOptions(options, undefined))
}

/** put(row), or put(key, value). */
export function putInto(db: Database, trx: Trx, table: object, args: unknown[]): Outcome<unknown> {
  const store = db.storeOf(table)
  const { rows } = db.statements
  return store.keyPaths === null ? rows.put(trx, store, args[1], args[0]) : rows.put(trx, store, args[0], undefined)
}
