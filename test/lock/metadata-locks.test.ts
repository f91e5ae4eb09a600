import { describe, expect, it } from 'vitest'
import { Duration } from '../../src/lock/metadata-modes.js'
import { Stage } from './stage.js'

describe('a metadata lock', () => {
  it('asked for again in the same or a weaker mode is there already', () => {
    const stage = new Stage()
    stage.metadata('A', 'SW')
    expect(stage.metadata('A', 'SW')).toBe('held')
    expect(stage.metadata('A', 'SR')).toBe('held')
    expect(stage.metadataListed()).toEqual(['A SW t'])
  })

  it('does not wait for its owner, nor for those who wait for it', () => {
    const stage = new Stage()
    stage.metadata('A', 'SR')
    stage.metadata('B', 'X')
    expect(stage.metadata('A', 'SR', { duration: Duration.Explicit })).toBe('granted')
    expect(stage.metadata('A', 'SR')).toBe('held')
  })

  it('locks names, of which there need not be a table', () => {
    const stage = new Stage()
    expect(stage.metadata('A', 'X', { object: 'new' })).toBe('granted')
    expect(stage.metadata('B', 'SR', { object: 'new' })).toBe('waits')
    expect(stage.metadata('C', 'SR', { object: 'other' })).toBe('granted')
    stage.end('A')
    expect(stage.told()).toEqual(['B granted'])
  })

  it('leaves nothing behind, not even the number of a name that is gone', () => {
    const stage = new Stage()
    const tables = new Set(['t'])
    stage.locks.isTable = (name) => tables.has(name)
    const number = stage.locks.metadataObject('t')
    stage.metadata('A', 'SW')
    stage.metadata('B', 'X')
    stage.end('A')
    stage.end('B')
    expect(stage.locks.metadataObject('t')).toBe(number)
    stage.metadata('B', 'X')
    tables.delete('t')
    stage.end('B')
    expect(stage.locks.counts()).toMatchObject({ owners: 0, metadataHolds: 0, waiting: 0 })
    expect(stage.locks.metadataObject('another')).toBe(number)
  })

  it('names who is in its way', () => {
    const stage = new Stage()
    stage.metadata('A', 'SR')
    stage.metadata('B', 'SW')
    stage.metadata('C', 'X')
    stage.metadata('D', 'SR')
    const waiting = [...stage.locks.metadataLocks()].filter((lock) => lock.status === 'waiting')
    const names = waiting.map((lock) => lock.blockedBy.map((owner) => String.fromCharCode(owner.id)).sort())
    expect(names).toEqual([['A', 'B'], ['C']])
  })
})

describe('fairness', () => {
  it('a waiting X holds back new SR and SW, SH passes it, and a holder goes on', () => {
    const stage = new Stage()
    stage.metadata('A', 'SR')
    expect(stage.metadata('B', 'X')).toBe('waits')
    expect(stage.metadata('C', 'SR')).toBe('waits')
    expect(stage.metadata('D', 'SW')).toBe('waits')
    expect(stage.metadata('E', 'SH')).toBe('granted')
    expect(stage.metadata('A', 'SR')).toBe('held')
    stage.end('A')
    expect(stage.told()).toEqual([])
    stage.end('E')
    expect(stage.told()).toEqual(['B granted'])
    stage.end('B')
    expect(stage.told()).toEqual(['C granted', 'D granted'])
  })

  it('an X passes everything that waits; of two, the first goes first', () => {
    const stage = new Stage()
    stage.metadata('A', 'SNRW')
    stage.metadata('B', 'SR')
    stage.metadata('C', 'X')
    stage.metadata('D', 'X')
    stage.end('A')
    expect(stage.told()).toEqual(['C granted'])
    stage.end('C')
    expect(stage.told()).toEqual(['D granted'])
    stage.end('D')
    expect(stage.told()).toEqual(['B granted'])
  })

  it('whoever gives up lets pass those it held back', () => {
    const stage = new Stage()
    stage.metadata('A', 'SR')
    stage.metadata('B', 'X')
    stage.metadata('C', 'SW')
    stage.timeOut('B')
    expect(stage.told()).toEqual(['B timeout', 'C granted'])
  })
})

describe('an upgrade', () => {
  it.each(['SU', 'SNW', 'SNRW'] as const)('from %s to X waits for all but the holder', (from) => {
    const stage = new Stage()
    stage.metadata('A', from, { duration: Duration.Explicit })
    stage.metadata('B', from === 'SNRW' ? 'SH' : 'SR')
    expect(stage.metadata('A', 'X', { duration: Duration.Explicit })).toBe('waits')
    expect(stage.metadata('C', 'SR')).toBe('waits')
    stage.end('B')
    expect(stage.told()).toEqual(['A granted'])
    expect(stage.metadata('A', 'X', { duration: Duration.Explicit })).toBe('held')
  })

  it('does not wait for an X that waits', () => {
    const stage = new Stage()
    stage.metadata('A', 'SU', { duration: Duration.Explicit })
    stage.metadata('B', 'X')
    expect(stage.metadata('A', 'X', { duration: Duration.Explicit })).toBe('granted')
    stage.end('A')
    expect(stage.told()).toEqual(['B granted'])
  })

  it('can be given back down to what it began with', () => {
    const stage = new Stage()
    stage.metadata('A', 'SU', { duration: Duration.Explicit })
    stage.metadata('A', 'X', { duration: Duration.Explicit })
    expect(stage.metadata('B', 'SW')).toBe('waits')
    stage.unlockMetadata('A', Duration.Explicit, 'SU')
    expect(stage.told()).toEqual(['B granted'])
    expect(stage.metadata('C', 'SU')).toBe('waits')
    expect(stage.metadata('A', 'X', { duration: Duration.Explicit })).toBe('waits')
  })

  it('of a reader to a writer waits behind an X that waits for the reader: a deadlock', () => {
    const stage = new Stage()
    stage.owner('B').diesLast = true
    stage.metadata('A', 'SR')
    stage.metadata('B', 'X')
    expect(stage.metadata('A', 'SW')).toBe('deadlock')
    expect(stage.told()).toEqual(['B granted'])
  })
})

describe('durations', () => {
  it('end one by one; what stands in the way is all of them together', () => {
    const stage = new Stage()
    stage.metadata('A', 'SNRW', { duration: Duration.Explicit })
    expect(stage.metadata('A', 'SW')).toBe('granted')
    expect(stage.metadata('B', 'SR')).toBe('waits')
    stage.unlockMetadata('A', Duration.Explicit)
    expect(stage.told()).toEqual(['B granted'])
    expect(stage.metadata('C', 'X')).toBe('waits')
    expect(stage.metadataListed()).toEqual(['B SR t', 'A SW t', 'C waits X t'])
  })

  it('explicit ones outlive the transaction where the owner says so', () => {
    const stage = new Stage()
    stage.owner('A').keepsExplicit = true
    stage.metadata('A', 'SNRW', { duration: Duration.Explicit })
    stage.metadata('A', 'SW', { object: 'u' })
    stage.metadata('A', 'IX', { object: 'GLOBAL', duration: Duration.Statement })
    stage.table('A', 'X')
    stage.end('A')
    expect(stage.metadataListed()).toEqual(['A SNRW t'])
    expect(stage.listed()).toEqual([])
    stage.unlockMetadata('A', Duration.Explicit)
    stage.end('A')
    expect(stage.locks.counts()).toMatchObject({ owners: 0, metadataHolds: 0 })
  })

  it('a rollback to a savepoint gives back what came since, unless tables or rows are locked', () => {
    const stage = new Stage()
    stage.metadata('A', 'SR')
    stage.metadata('A', 'SR', { object: 'v' })
    const mark = stage.locks.metadataMark(stage.owner('A'))
    stage.metadata('A', 'SW')
    stage.metadata('A', 'SR', { object: 'u' })
    stage.table('A', 'IX')
    stage.locks.releaseMetadataSince(stage.owner('A'), mark)
    expect(stage.metadataListed()).toEqual(['A SR t', 'A SW t', 'A SR v', 'A SR u'])
    stage.unlockTable('A', 'IX')
    stage.locks.releaseMetadataSince(stage.owner('A'), mark)
    expect(stage.metadataListed()).toEqual(['A SR t', 'A SR v'])
  })
})

describe('a deadlock', () => {
  it('across metadata, table and record locks is found', () => {
    const stage = new Stage()
    stage.owner('A').diesLast = true
    stage.metadata('A', 'SNRW')
    stage.lock('B', 'X record', 10)
    stage.table('C', 'X')
    expect(stage.lock('A', 'S record', 10)).toBe('waits')
    expect(stage.metadata('C', 'SR')).toBe('waits')
    expect(stage.table('B', 'IX')).toBe('waits')
    expect(stage.told()).toEqual(['C deadlock', 'B granted'])
    stage.end('B')
    expect(stage.told()).toEqual(['A granted'])
  })

  it('is found when a request that starts to wait holds back one that waits already (N7)', () => {
    const stage = new Stage()
    stage.owner('B').diesLast = true
    stage.metadata('A', 'SNRW')
    stage.lock('C', 'X record', 10)
    stage.lock('C', 'X gap', 10)
    stage.metadata('D', 'SH')
    expect(stage.lock('D', 'X record', 10)).toBe('waits')
    expect(stage.metadata('C', 'SR')).toBe('waits')
    // B waits for D, D for C's row, and C, which waited for A alone so far, now for B.
    expect(stage.metadata('B', 'X')).toBe('waits')
    expect(stage.told()).toEqual(['D deadlock'])
    stage.end('A')
    expect(stage.told()).toEqual(['B granted'])
  })

  it('takes a schema change last, however much lighter it is', () => {
    const stage = new Stage()
    stage.owner('A').diesLast = true
    stage.metadata('A', 'SU')
    stage.metadata('B', 'SW')
    stage.table('B', 'IX')
    stage.owner('B').undoRecords = 1000
    expect(stage.metadata('A', 'X')).toBe('waits')
    expect(stage.metadata('B', 'SU')).toBe('deadlock')
    expect(stage.told()).toEqual(['A granted'])
  })

  it('of schema changes alone has one for a victim', () => {
    const stage = new Stage()
    for (const name of ['A', 'B']) stage.owner(name).diesLast = true
    stage.metadata('A', 'X')
    stage.metadata('B', 'X', { object: 'u' })
    expect(stage.metadata('A', 'X', { object: 'u' })).toBe('waits')
    expect(stage.metadata('B', 'X')).toBe('deadlock')
    expect(stage.told()).toEqual(['A granted'])
  })
})

describe('many at once', () => {
  it('ten thousand readers wait behind a schema change and go on together, in order', () => {
    const stage = new Stage()
    stage.metadata('A', 'SR')
    stage.metadata('B', 'X')
    const waiting = Array.from({ length: 10_000 }, (_, i) => `reader ${i}`)
    for (const name of waiting) expect(stage.metadata(name, 'SR')).toBe('waits')
    stage.end('A')
    stage.end('B')
    expect(stage.told()).toEqual(['B granted', ...waiting.map((name) => `${name} granted`)])
    for (const name of waiting) stage.end(name)
    expect(stage.locks.counts()).toMatchObject({ metadataHolds: 0, waiting: 0 })
  })
})
