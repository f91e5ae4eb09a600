import { describe, expect, it } from 'vitest'
import { type MetadataModeName, OBJECT_GRANTED, OBJECT_PENDING, SCOPE_GRANTED, SCOPE_PENDING } from '../../src/lock/metadata-modes.js'
import { MODES, Stage } from './stage.js'

/**
 * The matrices, cell by cell: as stated for MySQL 5.6.16, rows request, columns what is there, `+` compatible. SRO, of 5.7, is beside them.
 */
interface Matrix {
  readonly object: string
  readonly columns: readonly MetadataModeName[]
  readonly granted: Readonly<Partial<Record<MetadataModeName, string>>>
  readonly pending: Readonly<Partial<Record<MetadataModeName, string>>>
  readonly grantedMasks: Uint16Array
  readonly pendingMasks: Uint16Array
}

const TABLES: Matrix = {
  object: 't',
  columns: ['S', 'SH', 'SR', 'SW', 'SU', 'SNW', 'SNRW', 'X'],
  granted: {
    S: '+++++++-',
    SH: '+++++++-',
    SR: '++++++--',
    SW: '+++++---',
    SU: '++++----',
    SNW: '+++-----',
    SNRW: '++------',
    X: '--------',
    SRO: '+++-++--',
  },
  pending: {
    S: '+++++++-',
    SH: '++++++++',
    SR: '++++++--',
    SW: '+++++---',
    SU: '+++++++-',
    SNW: '+++++++-',
    SNRW: '+++++++-',
    X: '++++++++',
    SRO: '+++-++--',
  },
  grantedMasks: OBJECT_GRANTED,
  pendingMasks: OBJECT_PENDING,
}

const SCOPES: Matrix = {
  object: 'GLOBAL',
  columns: ['IS', 'IX', 'S', 'X'],
  granted: { IS: '++++', IX: '++--', S: '+-+-', X: '+---' },
  pending: { IS: '++++', IX: '++--', S: '+++-', X: '++++' },
  grantedMasks: SCOPE_GRANTED,
  pendingMasks: SCOPE_PENDING,
}

function* cells(
  matrix: Matrix,
  rows: Matrix['granted'],
): Generator<{ request: MetadataModeName; other: MetadataModeName; compatible: boolean }> {
  for (const [request, row] of Object.entries(rows)) {
    for (const [i, other] of matrix.columns.entries()) yield { request: request as MetadataModeName, other, compatible: row[i] === '+' }
  }
}

/** A mode that makes `pending` wait and `request` not, when held. */
function holderBetween(matrix: Matrix, pending: MetadataModeName, request: MetadataModeName): MetadataModeName | undefined {
  const inTheWayOf = (mode: MetadataModeName, held: MetadataModeName): boolean =>
    matrix.granted[mode]?.[matrix.columns.indexOf(held)] === '-'
  return matrix.columns.find((held) => inTheWayOf(pending, held) && !inTheWayOf(request, held))
}

describe.each([
  ['tables', TABLES],
  ['scopes', SCOPES],
])('metadata locks on %s', (_, matrix) => {
  const { object } = matrix

  it('are refused while another owner holds what they conflict with, and granted beside everything else', () => {
    const seen: string[] = []
    const expected: string[] = []
    for (const { request, other, compatible } of cells(matrix, matrix.granted)) {
      const stage = new Stage()
      stage.metadata('A', other, { object })
      seen.push(`${request} beside ${other}: ${stage.metadata('B', request, { object, mayWait: false })}`)
      expected.push(`${request} beside ${other}: ${compatible ? 'granted' : 'refused'}`)
    }
    expect(seen).toEqual(expected)
  })

  it('wait for what others wait for where the matrix says so', () => {
    let tried = 0
    const seen: string[] = []
    const expected: string[] = []
    for (const { request, other, compatible } of cells(matrix, matrix.pending)) {
      const held = holderBetween(matrix, other, request)
      if (held === undefined) continue
      tried++
      const stage = new Stage()
      stage.metadata('A', held, { object })
      stage.metadata('B', other, { object })
      seen.push(`${request} behind ${other}: ${stage.metadata('C', request, { object, mayWait: false })}`)
      expected.push(`${request} behind ${other}: ${compatible ? 'granted' : 'refused'}`)
    }
    expect(seen).toEqual(expected)
    expect(tried).toBeGreaterThan(object === 't' ? 20 : 3)
  })

  it('have the two matrices, in the cells no behaviour shows too', () => {
    for (const [rows, masks] of [
      [matrix.granted, matrix.grantedMasks],
      [matrix.pending, matrix.pendingMasks],
    ] as const) {
      for (const { request, other, compatible } of cells(matrix, rows)) {
        expect([request, other, (masks[MODES.indexOf(request)] & (1 << MODES.indexOf(other))) === 0]).toEqual([request, other, compatible])
      }
    }
  })

  it('never wait for a request that they would not wait for as a lock', () => {
    for (const [mode, pending] of matrix.pendingMasks.entries()) expect(pending & ~matrix.grantedMasks[mode]).toBe(0)
  })
})

describe('LOCK TABLES … READ', () => {
  it('is beside itself, readers and SNW, keeps out writers, and waits for writers that wait', () => {
    for (const [other, result] of [
      ['SRO', 'granted'],
      ['SR', 'granted'],
      ['SNW', 'granted'],
      ['SW', 'refused'],
      ['SNRW', 'refused'],
    ] as const) {
      const stage = new Stage()
      stage.metadata('A', 'SRO')
      expect([other, stage.metadata('B', other, { mayWait: false })]).toEqual([other, result])
    }
  })

  it('does not hold back writers while it waits', () => {
    const stage = new Stage()
    stage.metadata('A', 'SW')
    expect(stage.metadata('B', 'SRO')).toBe('waits')
    expect(stage.metadata('C', 'SW')).toBe('granted')
  })
})
