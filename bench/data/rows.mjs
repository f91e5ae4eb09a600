/**
 * The data: rows of six fields, about 115 bytes of MessagePack with shared structures (about 145 with the field names).
 * Row n is a function of n, so that whatever is read can be checked without keeping a copy. The strings come from pools: the
 * engines are measured, not the making of strings.
 *
 * @typedef {{ id: number | string, name: string, email: string, city: string, balance: number, note: string }} Row
 * @typedef {'integer' | 'string'} KeyKind
 */

const poolSize = 1024
const names = pool((n) => `Given${n} Family${n * 7}`)
const emails = pool((n) => `family${n * 7}.given${n}@example.com`)
const cities = pool((n) => `City of ${n % 97}`)
const notes = pool((n) => `note ${n}: paid by bank transfer, no remarks`)

/** @param {(n: number) => string} make */
function pool(make) {
  return Array.from({ length: poolSize }, (_, n) => make(n))
}

/**
 * What row n's `balance` is until a workload changes it.
 * @param {number} n
 */
export function initialBalance(n) {
  return 100_000 + (n % 900_001)
}

/**
 * @param {number | string} id
 * @param {number} n
 * @param {number} balance
 * @returns {Row}
 */
export function makeRow(id, n, balance) {
  const slot = n & (poolSize - 1)
  return { id, name: names[slot], email: emails[slot], city: cities[slot], balance, note: notes[slot] }
}

/**
 * Whether this is row n as it was loaded, or with another balance if one is given.
 * @param {Row | undefined} row
 * @param {number | string} id
 * @param {number} n
 * @param {number} [balance]
 */
export function isRow(row, id, n, balance = initialBalance(n)) {
  const slot = n & (poolSize - 1)
  return (
    row !== undefined &&
    row.id === id &&
    row.balance === balance &&
    row.name === names[slot] &&
    row.email === emails[slot] &&
    row.city === cities[slot] &&
    row.note === notes[slot]
  )
}

/**
 * The key of row n. Integer keys ascend with n; string keys are `user` and ten digits that scatter the rows over the key space, as YCSB's do.
 * @param {KeyKind} kind
 * @returns {(n: number) => number | string}
 */
export function keyMaker(kind) {
  // 7,368,787 is coprime to 10^10 and the product stays below 2^53 for n up to 1.2 thousand million: every n has its own string.
  return kind === 'integer' ? (n) => n : (n) => `user${String((n * 7_368_787) % 10_000_000_000).padStart(10, '0')}`
}

/**
 * Keys of rows 0 … count − 1, made beforehand.
 * @param {KeyKind} kind
 * @param {number} count
 * @returns {(number | string)[]}
 */
export function makeKeys(kind, count) {
  const key = keyMaker(kind)
  return Array.from({ length: count }, (_, n) => key(n))
}
