/**
 * The statements of the golden format as calls of the API. A statement is one call, so that it blocks, fails and is undone as one.
 */
import type { AccessPath, Filter, Row, SetClause, StatementResult, StepArguments, TableSpec, Value } from './format.js'
import type { FaceInsertOptions, FaceLocking, FaceRange, FaceRow, FaceTable, FaceTransaction, FaceWait } from './nextkey-face.js'

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
 * read forwards. NULL is below every value but within no bound.
 */
export function rangeOf(spec: TableSpec, path: AccessPath): FaceRange {
  const { key, filter } = path
  const columns = indexColumns(spec, path.index)
  return {
    ...(path.index === undefined || path.index === 'PRIMARY' ? {} : { index: path.index }),
    ...(key === undefined ? boundsOf(spec, columns, path) : key.length === columns.length ? { eq: keyOf(key) } : { prefix: key }),
    ...(path.order === 'desc' && key === undefined ? { reverse: true } : {}),
    ...(path.limit === undefined ? {} : { limit: path.limit }),
    ...(filter === undefined ? {} : { where: (row: FaceRow) => filter.every((condition) => matches(row, condition)) }),
  }
}

function boundsOf(spec: TableSpec, columns: readonly string[], path: AccessPath): FaceRange {
  const { prefix = [], lower, upper } = path
  if (lower === undefined && upper === undefined) return prefix.length === 0 ? {} : { prefix }
  const bound = (value: Value) => (columns.length === 1 ? value : [...prefix, value])
  const nullable = spec.columns.find((column) => column.name === columns[prefix.length])?.nullable === true
  return {
    ...(lower !== undefined ? { [path.lowerInclusive === true ? 'gte' : 'gt']: bound(lower) } : {}),
    ...(lower === undefined && nullable ? { gt: bound(null) } : {}),
    ...(lower === undefined && !nullable && prefix.length > 0 ? { gte: prefix } : {}),
    ...(upper !== undefined ? { [path.upperInclusive === true ? 'lte' : 'lt']: bound(upper) } : {}),
    ...(upper === undefined && prefix.length > 0 ? { lte: prefix } : {}),
  }
}

/** `IN (…)` is one equality after the other, in order. */
function equalitiesOf(path: StepArguments): StepArguments[] {
  const { in: values, ...rest } = path
  if (values === undefined) return [path]
  const ordered = [...values].sort((a, b) => (a === null || (b !== null && a < b) ? -1 : 1))
  return ordered.map((value) => ({ ...rest, key: [value] }))
}

/** Equality on the whole primary key and nothing else. */
function primaryKeyOf(spec: TableSpec, path: AccessPath): unknown {
  const primary = path.index === undefined || path.index === 'PRIMARY'
  if (!primary || path.key?.length !== spec.pk.length || path.filter !== undefined || path.limit !== undefined) return undefined
  return keyOf(path.key)
}

/** Whether the index entry alone answers the read. */
function isCovered(spec: TableSpec, path: AccessPath): boolean {
  if (path.index === undefined || path.index === 'PRIMARY') return false
  const known = new Set([...indexColumns(spec, path.index), ...spec.pk])
  const wanted = [
    ...(path.columns ?? spec.columns.map((column) => column.name)),
    ...(path.filter ?? []).map((condition) => condition.column),
  ]
  return wanted.every((column) => known.has(column))
}

/** The rows as far as the index knows them. The second read finds its locks taken. */
async function readCovered(tx: FaceTransaction, { spec, handle }: OpenTable, path: AccessPath, options: FaceLocking): Promise<FaceRow[]> {
  const range = rangeOf(spec, path)
  const keys = await tx.keys(handle, range, options).toArray()
  const primaryKeys = await tx.primaryKeys(handle, range, options).toArray()
  const columns = [...indexColumns(spec, path.index), ...spec.pk]
  return keys.map((key, i) => Object.fromEntries([...valuesOf(key), ...valuesOf(primaryKeys[i])].map((value, n) => [columns[n], value])))
}

function project(rows: readonly FaceRow[], columns: readonly string[] | undefined): Row[] {
  if (columns === undefined) return rows as Row[]
  return rows.map((row) => Object.fromEntries(columns.map((column) => [column, row[column] as Value])))
}

function waitOf(context: StatementContext, path: AccessPath): FaceWait {
  if (path.wait !== undefined) return { wait: path.wait === 'skipLocked' ? 'skip' : 'nowait' }
  return context.lockWaitTimeout === undefined ? {} : { wait: context.lockWaitTimeout }
}

export async function read(context: StatementContext, tx: FaceTransaction, op: string, path: StepArguments): Promise<StatementResult> {
  const table = context.table(path.table)
  const lock = LOCK_OF[op]
  const options: FaceLocking = { ...(lock === undefined ? {} : { lock }), ...waitOf(context, path) }
  const rows: FaceRow[] = []
  for (const part of equalitiesOf(path)) rows.push(...(await readPart(tx, table, part, options)))
  return { rows: project(rows, path.columns) }
}

async function readPart(tx: FaceTransaction, table: OpenTable, path: AccessPath, options: FaceLocking): Promise<FaceRow[]> {
  const { spec, handle } = table
  const key = primaryKeyOf(spec, path)
  if (key !== undefined) {
    const row = await tx.get(handle, key, options)
    return row === undefined ? [] : [row]
  }
  if (isCovered(spec, path)) return readCovered(tx, table, path, options)
  return tx.values(handle, rangeOf(spec, path), options).toArray()
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
  const wait = waitOf(context, args)
  for (const part of equalitiesOf(args)) {
    const key = primaryKeyOf(spec, part)
    if (key !== undefined) await tx.update(handle, key, counter.apply, wait)
    else await tx.updateRange(handle, rangeOf(spec, part), counter.apply, wait)
  }
  return counter.result()
}

export async function remove(context: StatementContext, tx: FaceTransaction, args: StepArguments): Promise<StatementResult> {
  const { spec, handle } = context.table(args.table)
  const wait = waitOf(context, args)
  let affected = 0
  for (const part of equalitiesOf(args)) {
    const key = primaryKeyOf(spec, part)
    if (key !== undefined) affected += (await tx.delete(handle, key, wait)) ? 1 : 0
    else affected += await tx.deleteRange(handle, rangeOf(spec, part), wait)
  }
  return { affected }
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

/** What became of each row of an insert, as SQL counts it: 1 for a new row, 2 for a changed one, 1 for each removed to make place. */
class InsertCounter {
  readonly options: FaceInsertOptions
  readonly #updated = new Set<string>()
  #updates = 0
  #removed = 0
  #updatedId: number | undefined

  constructor(spec: TableSpec, op: string, args: StepArguments, wait: FaceWait) {
    const column = autoIncrementColumn(spec)
    const change = (row: FaceRow): FaceRow => {
      this.#updates++
      this.#updated.add(JSON.stringify(spec.pk.map((name) => row[name])))
      if (column !== undefined) this.#updatedId = row[column] as number
      return applySet(row, args.onDuplicateSet ?? {})
    }
    const onReplaced = () => {
      this.#removed++
    }
    if (op === 'insertIgnore') this.options = { ...wait, onDuplicate: 'ignore' }
    else if (op === 'replace') this.options = { ...wait, onDuplicate: 'replace', onReplaced }
    else if (op === 'upsert') this.options = { ...wait, onDuplicate: change }
    else this.options = wait
  }

  result(context: StatementContext, spec: TableSpec, rows: readonly FaceRow[], keys: readonly unknown[]): StatementResult {
    const column = autoIncrementColumn(spec)
    const inserted = keys.map((key) => key !== undefined && !this.#updated.has(JSON.stringify(valuesOf(key))))
    const affected = inserted.filter(Boolean).length + 2 * this.#updates + this.#removed
    if (column === undefined) return { affected }
    const first = rows.findIndex((row, i) => inserted[i] && row[column] === undefined)
    if (first >= 0) context.generated(keys[first] as number)
    const insertId = first >= 0 ? keys[first] : (this.#updatedId ?? rows[rows.length - 1][column])
    return { affected, ...(insertId === undefined ? {} : { insertId: insertId as number }) }
  }
}

export async function insert(context: StatementContext, tx: FaceTransaction, op: string, args: StepArguments): Promise<StatementResult> {
  const { spec, handle } = context.table(args.table)
  const rows = (args.rows ?? []).map((row) => completeRow(spec, row))
  const counter = new InsertCounter(spec, op, args, waitOf(context, args))
  const keys = rows.length === 1 ? [await tx.insert(handle, rows[0], counter.options)] : await tx.insertMany(handle, rows, counter.options)
  return counter.result(context, spec, rows, keys)
}

export async function insertSelect(context: StatementContext, tx: FaceTransaction, args: StepArguments): Promise<StatementResult> {
  const target = context.table(args.table)
  const source = context.table(args.from)
  const { columns = [], fromColumns = [], path = {} } = args
  const wait = waitOf(context, args)
  const rows = tx.values(source.handle, rangeOf(source.spec, path), { ...(context.locksSource ? { lock: 'share' } : {}), ...wait })
  async function* mapped(): AsyncGenerator<FaceRow> {
    for await (const row of rows)
      yield completeRow(target.spec, Object.fromEntries(columns.map((column, i) => [column, row[fromColumns[i]]])))
  }
  const { count, firstKey } = await tx.insertFrom(target.handle, mapped(), wait)
  const column = autoIncrementColumn(target.spec)
  if (column === undefined || columns.includes(column) || count === 0) return { affected: count }
  context.generated(firstKey as number)
  return { affected: count, insertId: firstKey as number }
}
