import type { Database } from './database.js'
import type { Table } from './table.js'
import type { TableOptions } from './table-options.js'

/** What data that leaves one database and comes to another takes along beside its rows. */
export interface TableDescription {
  name: string
  options: TableOptions
  /** The next auto-increment value. */
  next: number | undefined
}

export function describeTable(db: Database, table: Table): TableDescription {
  const { definition, counter } = db.storeOf(table)
  const { name, key, autoIncrement, value, indexes } = definition
  const options: TableOptions = {
    ...(key === null ? {} : { key }),
    ...(autoIncrement ? { autoIncrement } : {}),
    ...(value === 'row' ? {} : { value }),
    ...(indexes.length === 0
      ? {}
      : {
          indexes: Object.fromEntries(
            indexes.map((index) => [index.name, index.unique ? { on: index.on, unique: true } : { on: index.on }]),
          ),
        }),
  }
  return { name, options, next: autoIncrement ? counter : undefined }
}

/** The key that a row of the table has in itself. */
export function keyWithin(db: Database, table: Table, row: unknown): unknown {
  const { keyPaths, shape } = db.storeOf(table)
  const key = keyPaths?.describe(row)
  return shape.compound && shape.parts === 1 ? [key] : key
}
