import { describe, InvalidArgumentError, NextkeyError } from './base/errors.js'
import { KeyPaths } from './codec/key-path.js'
import type { TableDefinition } from './txn/table-store.js'

export interface IndexOptions {
  /** Key path, or several for a compound index. Missing fields count as null. */
  on: string | readonly string[]
  /** No two rows may have the same key in it; rows with a null in the key are exempt. Default false. */
  unique?: boolean
}

export interface TableOptions {
  /** Key path of the primary key within the row, or several. Left out: keys are given beside the values. */
  key?: string | readonly string[]
  /** A row without its key gets the next number. Default false. */
  autoIncrement?: boolean
  /** 'row' (default): any value MessagePack can hold. 'binary': Uint8Array, stored as it is. */
  value?: 'row' | 'binary'
  indexes?: Record<string, IndexOptions>
}

/** A definition without the ids that the catalogue gives. */
export type TableShape = Pick<TableDefinition, 'name' | 'key' | 'autoIncrement' | 'value'> & {
  indexes: { name: string; on: string[]; unique: boolean }[]
}

/** Checks what `db.table()` was given. Raises ERR_INVALID_ARGUMENT. */
export function resolveTableOptions(name: unknown, options: TableOptions): TableShape {
  mustBeTableName(name)
  if (typeof options !== 'object' || options === null)
    throw new InvalidArgumentError(`the definition of table '${name}' is an object, not ${describe(options)}`)
  const where = `the definition of table '${name}'`
  mustKnow(options, OPTIONS, where)
  const { key, autoIncrement = false, value = 'row', indexes = {} } = options
  if (key !== undefined) KeyPaths.parse(key, `key of table '${name}'`)
  if (typeof autoIncrement !== 'boolean')
    throw new InvalidArgumentError(`autoIncrement in ${where} is true or false, not ${describe(autoIncrement)}`)
  if (autoIncrement && Array.isArray(key)) throw new InvalidArgumentError(`autoIncrement in ${where} needs a key of one path, or none`)
  if (autoIncrement && typeof key === 'string' && key.includes('.'))
    throw new InvalidArgumentError(`autoIncrement in ${where} needs a key at the top of the row`)
  if (value !== 'row' && value !== 'binary')
    throw new InvalidArgumentError(`value in ${where} is 'row' or 'binary', not ${describe(value)}`)
  if (value === 'binary' && (key !== undefined || Object.keys(indexes).length > 0)) {
    throw new InvalidArgumentError(`${where}: binary values have no fields, so neither key paths nor indexes`)
  }
  return {
    name,
    key: key === undefined ? null : typeof key === 'string' ? key : [...key],
    autoIncrement,
    value,
    indexes: Object.entries(indexes).map(([indexName, index]) => resolveIndex(name, indexName, index)),
  }
}

/** Raises ERR_INVALID_ARGUMENT. */
export function mustBeTableName(name: unknown): asserts name is string {
  if (typeof name !== 'string' || name === '' || name.length > 255)
    throw new InvalidArgumentError(`a table's name is a string of 1 to 255 characters, not ${describe(name)}`, { name })
  if (name.startsWith('nextkey.'))
    throw new InvalidArgumentError(`table names that begin with 'nextkey.' are reserved: ${describe(name)}`, { name })
}

/** Checks what createIndex() was given, or a definition's index. Raises ERR_INVALID_ARGUMENT. */
export function resolveIndex(table: string, name: string, index: IndexOptions): TableShape['indexes'][number] {
  const where = `index '${name}' of table '${table}'`
  if (typeof name !== 'string' || name === '' || name === 'PRIMARY') throw new InvalidArgumentError(`${where}: this name is not allowed`)
  if (typeof index !== 'object' || index === null)
    throw new InvalidArgumentError(`${where} is an object { on, unique }, not ${describe(index)}`)
  mustKnow(index, INDEX_OPTIONS, where)
  KeyPaths.parse(index.on, where)
  const { unique = false } = index
  if (typeof unique !== 'boolean') throw new InvalidArgumentError(`unique in ${where} is true or false, not ${describe(unique)}`)
  return { name, on: typeof index.on === 'string' ? [index.on] : [...index.on], unique }
}

/**
 * Raises ERR_TABLE_MISMATCH, naming the first difference, if a table is not what was asked for. Indexes that
 * createIndex() has added since the table was made are no difference: a program that does not know of them works as before.
 */
export function mustMatch(wanted: TableShape, found: TableDefinition): void {
  const difference = differenceOf(wanted, found)
  if (difference === undefined) return
  throw new NextkeyError('ERR_TABLE_MISMATCH', `table '${found.name}' exists with another definition: ${difference}`, {
    details: { table: found.name, difference },
  })
}

function differenceOf(wanted: TableShape, found: TableDefinition): string | undefined {
  for (const field of ['key', 'autoIncrement', 'value'] as const) {
    if (JSON.stringify(wanted[field]) !== JSON.stringify(found[field])) {
      return `${field} is ${describe(found[field])}, not ${describe(wanted[field])}`
    }
  }
  for (const index of wanted.indexes) {
    const existing = found.indexes.find((other) => other.name === index.name)
    if (existing === undefined) return `it has no index '${index.name}' (createIndex makes one)`
    if (existing.unique !== index.unique) return `index '${index.name}' is ${existing.unique ? '' : 'not '}unique`
    if (JSON.stringify(existing.on) !== JSON.stringify(index.on))
      return `index '${index.name}' is on ${describe(existing.on)}, not ${describe(index.on)}`
  }
  const extra = found.indexes.find((other) => other.online !== true && !wanted.indexes.some((index) => index.name === other.name))
  return extra === undefined ? undefined : `it also has index '${extra.name}'`
}

export function mustKnow(options: object, known: ReadonlySet<string>, where: string): void {
  const unknown = Object.keys(options).find((name) => !known.has(name))
  if (unknown !== undefined)
    throw new InvalidArgumentError(`${where} has no option '${unknown}'; there are ${[...known].join(', ')}`, { option: unknown })
}

const OPTIONS: ReadonlySet<string> = new Set(['key', 'autoIncrement', 'value', 'indexes'])
const INDEX_OPTIONS: ReadonlySet<string> = new Set(['on', 'unique'])
