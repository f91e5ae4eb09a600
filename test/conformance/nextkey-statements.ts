/**
 * The statements of the golden format as calls of the API. A statement is one call, so that it blocks, fails and is undone as one.
 */
import type { AccessPath, Filter, Row, SetClause, StatementResult, StepArguments, TableSpec, Value } from './format.js'
import type { FaceCursor, FaceEntry, FaceInsertOptions, FaceInsertResult, FaceLocking, FaceRange, FaceRow, FaceSnapshot, FaceTable, FaceTransaction, FaceWait } from './nextkey-face.js'

export interface OpenTable {
  readonly spec: TableSpec
  readonly handle: FaceTable
}

export interface StatementContext {
  table(name: string | undefined): OpenTable
  /** Milliseconds a lock may be waited for; undefined for the database's default. */
  readonly lockWaitTimeout: number | undefined
  /** Whether INSERT … SELECT locks what it reads: REPEATABLE READ and SERIALIZABLE. */
  readonly locksSource: boolean
  /** Told the first value a table's counter gave out in a statement, for LAST_INSERT_ID(). */
  generated(id: number): void
}

const LOCK_OF: Readonly<Record<string, 'share' | 'update'>> = {
  getForShare: 'share',
  rangeForShare: 'share',
  scanForShare: 'share',
  getForUpdate: 'update',
  rangeForUpdate: 'update',
  scanForUpdate: 'update',
}

const READS: ReadonlySet<string> = new Set(['get', 'rangeRead', 'scan', ...Object.keys(LOCK_OF)])

export function isRead(op: string): boolean {
  return READS.has(op)
}

export function isPlainRead(op: string): boolean {
  return isRead(op) && LOCK_OF[op] === undefined
}

/** A compound key is an array, a simple one its value. */
export function keyOf(values: readonly Value[]): unknown {
  return values.length === 1 ? values[0] : [...values]
}

export function valuesOf(key: unknown): Value[] {
  return Array.isArray(key) ? key : [key as Value]
}

function indexColumns(spec: TableSpec, index: string | undefined): readonly string[] {
  if (index === undefined || index === 'PRIMARY') return spec.pk
  const found = spec.indexes.find((candidate) => candidate.name === index)
  if (found === undefined) throw new Error(`table ${spec.name} has no index ${index}`)
  return found.columns
}

function matches(row: FaceRow, { column, cmp, value }: Filter): boolean {
  const actual = row[column] as Value
  if (actual === null || actual === undefined) return false
  switch (cmp) {
    case 'eq':
      return actual === value
    case 'ne':
      return actual !== value
    case 'gt':
      return actual > value
    case 'ge':
      return actual >= value
    case 'lt':
      return actual < value
    case 'le':
      return actual <= value
    case 'mod':
      return Number(actual) % Number(value) === 0
  }
}

/**
 * The access path as a range of the API. The order asked for is that of the bounded column: under an equality it says nothing, and the servers
 * read forwards.
 */
export function rangeOf(spec: TableSpec, path: AccessPath): FaceRange {
  const columns = indexColumns(spec, path.index)
  const bound = (value: Value) => (columns.length === 1 ? value : [...(path.prefix ?? []), value])
  const { filter } = path
  const equality = path.key === undefined ? {} : path.key.length === columns.length ? { eq: keyOf(path.key) } : { prefix: path.key }
  return {
    ...(path.index === undefined || path.index === 'PRIMARY' ? {} : { index: path.index }),
    ...equality,
    ...(path.in === undefined ? {} : { in: path.in }),
    ...(path.prefix === undefined ? {} : { prefix: path.prefix }),
    ...(path.lower === undefined ? {} : { [path.lowerInclusive === true ? 'gte' : 'gt']: bound(path.lower) }),
    ...(path.upper === undefined ? {} : { [path.upperInclusive === true ? 'lte' : 'lt']: bound(path.upper) }),
    ...(path.order === 'desc' && path.key === undefined ? { reverse: true } : {}),
    ...(path.limit === undefined ? {} : { limit: path.limit }),
    ...(filter === undefined ? {} : { where: (row: FaceRow) => filter.every((condition) => matches(row, condition)) }),
  }
}

/** Equality on the whole primary key and nothing else. */
function primaryKeyOf(spec: TableSpec, path: AccessPath): unknown {
  const primary = path.index === undefined || path.index === 'PRIMARY'
  if (!primary || path.key?.length !== spec.pk.length || path.filter !== undefined || path.limit !== undefined) return undefined
  return keyOf(path.key)
}

/** Whether the index entry alone answers the read. */
function isCovered(spec: TableSpec, path: AccessPath): boolean {
  if (path.columns === undefined || path.index === undefined || path.index === 'PRIMARY') return false
  const known = new Set([...indexColumns(spec, path.index), ...spec.pk])
  return path.columns.every((column) => known.has(column))
}

function entryToRow(spec: TableSpec, path: AccessPath, entry: FaceEntry): FaceRow {
  const row: FaceRow = {}
  for (const [i, column] of spec.pk.entries()) row[column] = valuesOf(entry.primaryKey)[i]
  for (const [i, column] of indexColumns(spec, path.index).entries()) row[column] = valuesOf(entry.key)[i]
  return row
}

function project(rows: readonly FaceRow[], columns: readonly string[] | undefined): Row[] {
  if (columns === undefined) return rows as Row[]
  return rows.map((row) => Object.fromEntries(columns.map((column) => [column, row[column] as Value])))
}

function waitOf(context: StatementContext, path: AccessPath): FaceWait {
  if (path.wait !== undefined) return { wait: path.wait === 'skipLocked' ? 'skip' : 'nowait' }
  return context.lockWaitTimeout === undefined ? {} : { wait: context.lockWaitTimeout }
}

/** A plain read outside any transaction: a snapshot, synchronous. */
export function readSnapshot(context: StatementContext, view: FaceSnapshot, path: StepArguments): StatementResult {
  const { spec, handle } = context.table(path.table)
  const key = primaryKeyOf(spec, path)
  if (key !== undefined) {
    const row = view.get(handle, key)
    return { rows: project(row === undefined ? [] : [row], path.columns) }
  }
  const range = rangeOf(spec, path)
  if (isCovered(spec, path)) {
    const rows = [...view.entries(handle, range)].map((entry) => entryToRow(spec, path, entry))
    return { rows: project(rows, path.columns) }
  }
  return { rows: project([...view.values(handle, range)], path.columns) }
}

export async function read(context: StatementContext, tx: FaceTransaction, op: string, path: StepArguments): Promise<StatementResult> {
  const { spec, handle } = context.table(path.table)
  const lock = LOCK_OF[op]
  const options: FaceLocking = { ...(lock === undefined ? {} : { lock }), ...waitOf(context, path) }
  const key = primaryKeyOf(spec, path)
  if (key !== undefined) {
    const row = await tx.get(handle, key, options)
    return { rows: project(row === undefined ? [] : [row], path.columns) }
  }
  const range = rangeOf(spec, path)
  if (isCovered(spec, path)) {
    const entries = await tx.entries(handle, range, options).toArray()
    return { rows: project(entries.map((entry) => entryToRow(spec, path, entry)), path.columns) }
  }
  return { rows: project(await tx.values(handle, range, options).toArray(), path.columns) }
}

function applySet(row: FaceRow, set: SetClause): FaceRow {
  const next = { ...row }
  for (const [column, change] of Object.entries(set)) {
    next[column] = typeof change === 'object' && change !== null ? Number(row[column]) + change.add : change
  }
  return next
}

/** Counts matched and changed rows as SQL does, by what the updater was shown last for each. */
class UpdateCounter {
  readonly #changed = new Map<string, boolean>()

  constructor(
    readonly spec: TableSpec,
    readonly set: SetClause,
  ) {}

  readonly apply = (row: FaceRow): FaceRow => {
    const next = applySet(row, this.set)
    const changed = Object.keys(this.set).some((column) => next[column] !== row[column])
    this.#changed.set(JSON.stringify(this.spec.pk.map((column) => row[column])), changed)
    return next
  }

  result(): StatementResult {
    return { affected: this.#changed.size, changed: [...this.#changed.values()].filter(Boolean).length }
  }
}

export async function update(context: StatementContext, tx: FaceTransaction, args: StepArguments): Promise<StatementResult> {
  const { spec, handle } = context.table(args.table)
  const counter = new UpdateCounter(spec, args.set ?? {})
  const key = primaryKeyOf(spec, args)
  if (key !== undefined) await tx.update(handle, key, counter.apply, waitOf(context, args))
  else await tx.updateRange(handle, rangeOf(spec, args), counter.apply, waitOf(context, args))
  return counter.result()
}

export async function remove(context: StatementContext, tx: FaceTransaction, args: StepArguments): Promise<StatementResult> {
  const { spec, handle } = context.table(args.table)
  const key = primaryKeyOf(spec, args)
  if (key !== undefined) return { affected: (await tx.delete(handle, key, waitOf(context, args))) ? 1 : 0 }
  return { affected: await tx.deleteRange(handle, rangeOf(spec, args), waitOf(context, args)) }
}

function autoIncrementColumn(spec: TableSpec): string | undefined {
  return spec.columns.find((column) => column.autoIncrement === true)?.name
}

/** Columns the statement leaves out are NULL; an auto-increment column that is left out, NULL or 0 is the engine's to fill. */
export function completeRow(spec: TableSpec, given: Row | FaceRow): FaceRow {
  const row: FaceRow = {}
  for (const column of spec.columns) {
    const value = given[column.name] ?? null
    if (column.autoIncrement === true && (value === null || value === 0)) continue
    row[column.name] = value
  }
  return row
}

export async function insert(context: StatementContext, tx: FaceTransaction, op: string, args: StepArguments): Promise<StatementResult> {
  const { spec, handle } = context.table(args.table)
  const rows = (args.rows ?? []).map((row) => completeRow(spec, row))
  const wait = waitOf(context, args)
  const column = autoIncrementColumn(spec)
  if (op === 'insert' && rows.length === 1) {
    const key = (await tx.insert(handle, rows[0], wait)) as number
    if (column === undefined) return { affected: 1 }
    if (rows[0][column] === undefined) context.generated(key)
    return { affected: 1, insertId: key }
  }
  let updatedId: number | undefined
  const changeDuplicate = (row: FaceRow): FaceRow => {
    if (column !== undefined) updatedId = row[column] as number
    return applySet(row, args.onDuplicateSet ?? {})
  }
  const onDuplicate = op === 'insertIgnore' ? 'ignore' : op === 'replace' ? 'replace' : op === 'upsert' ? changeDuplicate : undefined
  const options: FaceInsertOptions = onDuplicate === undefined ? wait : { ...wait, onDuplicate }
  const result = await tx.insertMany(handle, rows, options)
  const explicit = column === undefined ? undefined : (rows[rows.length - 1][column] as number | undefined)
  return { affected: affectedOf(result), ...insertIdOf(context, column, result, updatedId ?? explicit) }
}

/** As MySQL counts: 1 for a new row, 2 for a changed one, 1 for each row removed to make place. */
function affectedOf(result: FaceInsertResult): number {
  return result.inserted + 2 * result.updated + result.replaced
}

function insertIdOf(
  context: StatementContext,
  column: string | undefined,
  result: FaceInsertResult,
  otherwise: number | undefined,
): { insertId?: number } {
  if (result.firstGenerated !== undefined) context.generated(result.firstGenerated)
  const id = result.firstGenerated ?? otherwise
  return column === undefined || id === undefined ? {} : { insertId: id }
}

export async function insertSelect(context: StatementContext, tx: FaceTransaction, args: StepArguments): Promise<StatementResult> {
  const target = context.table(args.table)
  const source = context.table(args.from)
  const path = args.path ?? {}
  const lock: FaceLocking = context.locksSource ? { lock: 'share' } : {}
  const wait = waitOf(context, args)
  const rows: FaceCursor<FaceRow> = tx.values(source.handle, rangeOf(source.spec, path), { ...lock, ...wait })
  const { columns = [], fromColumns = [] } = args
  const map = (row: FaceRow) => completeRow(target.spec, Object.fromEntries(columns.map((column, i) => [column, row[fromColumns[i]]])))
  const result = await tx.insertFrom(target.handle, rows, { map, ...wait })
  return { affected: result.inserted, ...insertIdOf(context, autoIncrementColumn(target.spec), result, undefined) }
}
