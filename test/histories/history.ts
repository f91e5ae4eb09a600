/**
 * A history: what a set of transactions asked for and was told, as their clients saw it.
 *
 * Three kinds of object can be mixed in one history:
 * - **lists**: a value is appended, a read returns the whole list. Every appended value is unique within its key, so that a read shows the order
 *   in which versions were made.
 * - **registers**: a value is written, a read returns it. Values are unique within their key. A write may carry the version number it installed
 *   (one more than the row's before), which fixes the order of versions; without, the order is inferred from transactions that read and then write.
 * - **groups**, for predicates: a member enters or leaves a group (a row is inserted into, deleted from or moved into or out of a range of a
 *   secondary index), a scan returns the members found between two bounds. A member makes at most one such transition in a history, so that what
 *   a scan did not find is as telling as what it found.
 */

export type Operation =
  | { readonly f: 'append'; readonly key: number; readonly value: number }
  | { readonly f: 'readList'; readonly key: number; readonly value: readonly number[]; readonly locking?: boolean }
  | { readonly f: 'write'; readonly key: number; readonly value: number; readonly version?: number }
  | { readonly f: 'read'; readonly key: number; readonly value: number | undefined; readonly locking?: boolean }
  | {
      readonly f: 'enter' | 'leave'
      readonly group: number
      readonly member: number
      /** The member whose row it takes over, which has left: to write a row is to see its newest state. */
      readonly insteadOf?: number
    }
  | {
      readonly f: 'scan'
      readonly group: number
      readonly lower: number
      readonly upper: number
      readonly found: readonly number[]
      readonly locking?: boolean
    }

/** `unknown`: the commit was asked for and never answered (a crash, an I/O error). */
export type TransactionOutcome = 'committed' | 'aborted' | 'unknown'

export interface RecordedTransaction {
  readonly ops: readonly Operation[]
  readonly outcome: TransactionOutcome
  /** Logical times, growing over the whole history: before the first operation was asked for, after the outcome was known. */
  readonly began: number
  readonly ended: number
}

export interface History {
  readonly transactions: readonly RecordedTransaction[]
  /** Members of each group before the history begins. */
  readonly initialMembers?: ReadonlyMap<number, ReadonlySet<number>>
  /** Whether the last transactions read every object after all others had ended: what they do not show is lost. */
  readonly readsEverythingAtEnd?: boolean
}

export function describeOperation(op: Operation): string {
  switch (op.f) {
    case 'append':
      return `append ${op.key} ${op.value}`
    case 'readList':
      return `read ${op.key} [${op.value.join(' ')}]${op.locking === true ? ' locking' : ''}`
    case 'write':
      return `write ${op.key} ${op.value}${op.version === undefined ? '' : ` as version ${op.version}`}`
    case 'read':
      return `read ${op.key} ${op.value ?? 'nothing'}${op.locking === true ? ' locking' : ''}`
    case 'enter':
    case 'leave':
      return `${op.f} ${op.group}/${op.member}`
    case 'scan':
      return `scan ${op.group}/${op.lower}..${op.upper} {${op.found.join(' ')}}${op.locking === true ? ' locking' : ''}`
  }
}
