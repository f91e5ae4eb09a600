/**
 * What is compared, and what each promises. Kept apart from the engines' modules so that only a measuring child loads an engine.
 *
 * @typedef {object} Variant
 * @property {string} id
 * @property {string} label what readers see
 * @property {'nextkey' | 'lmdb' | 'bare-file'} engine the module in this folder
 * @property {string} format variants of one format open each other's directories
 * @property {Record<string, unknown>} options passed to the engine's `open`; `sharedStructures` stands for a key that JSON cannot carry
 * @property {string} writes what holds once a write is acknowledged
 */

const onDisk = 'on disk when acknowledged'

/** @type {readonly Variant[]} */
export const variants = [
  { id: 'nextkey', label: 'nextkey', engine: 'nextkey', format: 'nextkey', options: {}, writes: onDisk },
  {
    id: 'nextkey-write',
    label: "nextkey 'write'",
    engine: 'nextkey',
    format: 'nextkey',
    options: { durability: 'write' },
    writes: 'survives a killed process; a power loss may take the last second',
  },
  {
    id: 'nextkey-lazy',
    label: "nextkey 'lazy'",
    engine: 'nextkey',
    format: 'nextkey',
    options: { durability: 'lazy' },
    writes: 'a killed process or a power loss may take the last second',
  },
  { id: 'lmdb', label: 'lmdb', engine: 'lmdb', format: 'lmdb', options: {}, writes: onDisk },
  {
    id: 'lmdb-shared',
    label: 'lmdb shared structures',
    engine: 'lmdb',
    format: 'lmdb-shared',
    options: { sharedStructures: true },
    writes: onDisk,
  },
  {
    id: 'lmdb-nosync',
    label: 'lmdb noSync (shared str.)',
    engine: 'lmdb',
    format: 'lmdb-shared',
    options: { sharedStructures: true, noSync: true },
    writes: 'survives a killed process; a power loss may take anything and damage the file',
  },
  { id: 'bare', label: 'bare fdatasync loop', engine: 'bare-file', format: 'bare', options: {}, writes: `${onDisk}; no database` },
]

/** The variants that nextkey is measured against, in the order of the ratio columns. */
export const rivals = ['lmdb', 'lmdb-shared', 'lmdb-nosync']

/** @param {string} id */
export function variantOf(id) {
  const variant = variants.find((candidate) => candidate.id === id)
  if (variant === undefined) throw new Error(`unknown engine variant '${id}'; known: ${variants.map((v) => v.id).join(', ')}`)
  return variant
}

/** @type {Record<Variant['engine'], Record<'reads' | 'transactions' | 'interactive', string>>} */
const promises = {
  nextkey: {
    reads: 'consistent snapshot of its own; checksums checked as pages are read from the file',
    transactions: 'each atomic and isolated, undone alone if it throws',
    interactive: 'all open at once, each reading its own snapshot across its awaits and writing the newest rows',
  },
  lmdb: {
    reads: 'consistent snapshot, renewed each event turn; no checksums',
    transactions: 'callbacks of an event turn commit together; one that throws is not undone',
    interactive: 'one open at a time; the others wait, and writes made elsewhere meanwhile join it',
  },
  'bare-file': { reads: '', transactions: '', interactive: '' },
}

/**
 * What a variant guarantees in a row of the table.
 * @param {Variant} variant
 * @param {'reads' | 'writes' | 'transactions' | 'interactive' | 'durable at the end' | 'none'} kind
 */
export function guaranteeOf(variant, kind) {
  switch (kind) {
    case 'none':
      return ''
    case 'writes':
      return variant.writes
    case 'reads':
      return promises[variant.engine].reads
    case 'durable at the end':
      return variant.writes === onDisk
        ? 'each batch on disk when its commit returns'
        : 'all on disk at the end, synced by one call inside the time measured'
    default:
      return `${promises[variant.engine][kind]}; ${variant.writes}`
  }
}
