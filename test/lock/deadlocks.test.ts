import { describe, expect, it } from 'vitest'
import type { TableId } from '../../src/base/ids.js'
import { END, SECONDARY, Stage } from './stage.js'

/** A session changes a row: IX on the table, X on the row, one undo record. */
function update(stage: Stage, name: string, key: number): string {
  stage.table(name, 'IX')
  const result = stage.lock(name, 'X record', key)
  if (result === 'granted' || result === 'held') stage.owner(name).undoRecords++
  return result
}

describe('the deadlocks of the golden group, at the level of locks', () => {
  it('two-rows-opposite-order: the requester loses a tie', () => {
    const stage = new Stage()
    update(stage, 'A', 10)
    update(stage, 'B', 20)
    expect(update(stage, 'A', 20)).toBe('waits')
    expect(update(stage, 'B', 10)).toBe('deadlock')
    expect(stage.told()).toEqual(['A granted'])
  })

  it('two-rows-lighter-requester: three changed rows outweigh one', () => {
    const stage = new Stage()
    for (const key of [10, 30, 40]) update(stage, 'A', key)
    update(stage, 'B', 20)
    update(stage, 'A', 20)
    expect(update(stage, 'B', 10)).toBe('deadlock')
  })

  it('locks-only-vs-changes: four locked rows are one structure, one changed row weighs more', () => {
    const stage = new Stage()
    stage.table('A', 'IX')
    for (const key of [10, 30, 40, 50]) stage.lock('A', 'X record', key)
    update(stage, 'B', 20)
    expect(stage.lock('A', 'X record', 20)).toBe('waits')
    expect(update(stage, 'B', 10)).toBe('waits')
    expect(stage.told()).toEqual(['A deadlock', 'B granted'])
  })

  it('three-cycle: the requester loses, the one waiting for it goes on', () => {
    const stage = new Stage()
    update(stage, 'A', 10)
    update(stage, 'B', 20)
    update(stage, 'C', 30)
    expect(update(stage, 'A', 20)).toBe('waits')
    expect(update(stage, 'B', 30)).toBe('waits')
    expect(update(stage, 'C', 10)).toBe('deadlock')
    expect(stage.told()).toEqual(['B granted'])
  })

  it('waiter-behind-waiter: the victim merely stood in between', () => {
    const stage = new Stage()
    stage.table('A', 'IS')
    stage.lock('A', 'S record', 10)
    expect(update(stage, 'C', 10)).toBe('waits')
    update(stage, 'B', 20)
    expect(stage.lock('B', 'S record', 10)).toBe('waits')
    stage.table('A', 'IX')
    expect(stage.lock('A', 'X record', 20)).toBe('waits')
    expect(stage.told()).toEqual(['C deadlock', 'B granted'])
    expect(stage.listed()).toContain('A waits X record 20')
  })

  it('s-to-x-upgrade-three: found when the second upgrade begins', () => {
    const stage = new Stage()
    for (const name of ['A', 'B', 'C']) {
      stage.table(name, 'IS')
      stage.lock(name, 'S record', 10)
    }
    expect(update(stage, 'A', 10)).toBe('waits')
    expect(update(stage, 'B', 10)).toBe('deadlock')
    stage.end('C')
    expect(stage.told()).toEqual(['A granted'])
  })

  it('gap-plus-insert-intention: two gap locks, two inserts', () => {
    const stage = new Stage()
    for (const name of ['A', 'B']) {
      stage.table(name, 'IX')
      expect(stage.lock(name, 'X gap', 20)).toBe('granted')
    }
    expect(stage.lock('A', 'insert', 20)).toBe('waits')
    expect(stage.lock('B', 'insert', 20)).toBe('deadlock')
    expect(stage.told()).toEqual(['A granted'])
    stage.inserted(15, 20)
    expect(stage.listed()).toEqual(['A IX table', 'A X gap 15', 'A X gap 20'])
  })

  it('supremum-gap-plus-insert', () => {
    const stage = new Stage()
    for (const name of ['A', 'B']) stage.lock(name, 'X gap', END)
    expect(stage.lock('A', 'insert', END)).toBe('waits')
    expect(stage.lock('B', 'insert', END)).toBe('deadlock')
  })

  it('unique-dup-three-sessions-rollback: both waiters inherit the gap and then want to insert into it', () => {
    const stage = new Stage()
    stage.makeExplicit('A', 15)
    for (const name of ['B', 'C']) {
      stage.owner(name).inheritsAll = true
      expect(stage.lock(name, 'S record', 15)).toBe('waits')
    }
    stage.removed(15, 20)
    stage.end('A')
    expect(stage.told()).toEqual(['B moved', 'C moved'])
    expect(stage.lock('C', 'insert', 20)).toBe('waits')
    expect(stage.lock('B', 'insert', 20)).toBe('deadlock')
    expect(stage.told()).toEqual(['C granted'])
    stage.inserted(15, 20)
    expect(stage.listed()).toEqual(['C S gap 15', 'C S gap 20'])
  })

  it('unique-dup-three-sessions-delete: both get S, both want X', () => {
    const stage = new Stage()
    stage.lock('A', 'X record', 20)
    for (const name of ['B', 'C']) expect(stage.lock(name, 'S record', 20)).toBe('waits')
    stage.end('A')
    expect(stage.told()).toEqual(['B granted', 'C granted'])
    expect(stage.lock('C', 'X record', 20)).toBe('waits')
    expect(stage.lock('B', 'X record', 20)).toBe('deadlock')
    expect(stage.told()).toEqual(['C granted'])
  })

  it('secondary-vs-clustered-order: the waiting reader is lighter than the writer that closes the cycle', () => {
    const stage = new Stage()
    stage.table('A', 'IX')
    stage.lock('A', 'X record', 5)
    stage.table('B', 'IX')
    stage.lock('B', 'X record', 10, { index: SECONDARY })
    expect(stage.lock('B', 'X record', 5)).toBe('waits')
    stage.owner('A').undoRecords++
    expect(stage.lock('A', 'X record', 10, { index: SECONDARY })).toBe('waits')
    expect(stage.told()).toEqual(['B deadlock', 'A granted'])
  })

  it('autoinc-plus-row: a cycle through a table lock', () => {
    const stage = new Stage()
    update(stage, 'A', 30)
    stage.table('B', 'IX', 2 as TableId)
    stage.table('B', 'AUTO-INC')
    for (const key of [10, 20]) stage.lock('B', 'S next-key', key)
    stage.owner('B').undoRecords += 2
    expect(stage.lock('B', 'S next-key', 30)).toBe('waits')
    expect(stage.table('A', 'AUTO-INC')).toBe('deadlock')
    expect(stage.told()).toEqual(['B granted'])
  })
})

describe('the victim', () => {
  function cross(stage: Stage, first: string, second: string): string {
    stage.lock(first, 'X record', 1)
    stage.lock(second, 'X record', 2)
    stage.lock(first, 'X record', 2)
    return stage.lock(second, 'X record', 1)
  }

  it('is not DDL or LOCK TABLES while there is anybody else, however light', () => {
    const stage = new Stage()
    stage.owner('B').diesLast = true
    stage.owner('A').undoRecords = 100
    expect(cross(stage, 'A', 'B')).toBe('waits')
    expect(stage.told()).toEqual(['A deadlock', 'B granted'])
  })

  it('is the lighter of two of those', () => {
    const stage = new Stage()
    for (const name of ['A', 'B']) stage.owner(name).diesLast = true
    stage.owner('A').undoRecords = 1
    expect(cross(stage, 'A', 'B')).toBe('deadlock')
  })

  it('is nobody when detection is off', () => {
    const stage = new Stage()
    stage.locks.graph.detection = false
    expect(cross(stage, 'A', 'B')).toBe('waits')
    stage.timeOut('A')
    stage.end('A')
    expect(stage.told()).toEqual(['A timeout', 'B granted'])
    expect(stage.locks.latestDeadlock).toBe(null)
  })

  it('is chosen again while a second cycle remains', () => {
    const stage = new Stage()
    // C holds what A and B wait for, and asks for a row both hold S on: two cycles.
    for (const name of ['A', 'B']) stage.lock(name, 'S record', 1)
    stage.owner('C').undoRecords = 50
    for (const key of [2, 3]) stage.lock('C', 'X record', key)
    stage.lock('A', 'X record', 2)
    stage.lock('B', 'X record', 3)
    expect(stage.lock('C', 'X record', 1)).toBe('waits')
    expect(stage.told().sort()).toEqual(['A deadlock', 'B deadlock', 'C granted'])
  })
})

describe('lock structures', () => {
  function structures(stage: Stage, name: string): number {
    return stage.owner(name).structures
  }

  it('are one per index, mode and kind, and one per table lock', () => {
    const stage = new Stage()
    stage.table('A', 'IX')
    for (const key of [1, 2, 3]) stage.lock('A', 'X record', key)
    expect(structures(stage, 'A')).toBe(2)
    stage.lock('A', 'X next-key', 4)
    stage.lock('A', 'S record', 5)
    stage.lock('A', 'X record', 1, { index: SECONDARY })
    expect(structures(stage, 'A')).toBe(5)
    stage.lock('A', 'X gap', END)
    expect(structures(stage, 'A')).toBe(5)
  })

  it('stay when the lock in them is given back, except for table locks', () => {
    const stage = new Stage()
    stage.lock('A', 'X record', 1)
    stage.table('A', 'AUTO-INC')
    stage.unlock('A', 'X record', 1)
    stage.unlockTable('A', 'AUTO-INC')
    expect(structures(stage, 'A')).toBe(1)
  })

  it('are one more for each wait, kept when granted or moved, gone when given up', () => {
    const stage = new Stage()
    for (const key of [1, 2, 3]) stage.lock('A', 'X record', key)
    stage.lock('B', 'X record', 9)
    stage.lock('B', 'X record', 1)
    expect(structures(stage, 'B')).toBe(2)
    stage.timeOut('B')
    expect(structures(stage, 'B')).toBe(1)
    stage.lock('B', 'X record', 2)
    stage.owner('A').takesGapLocks = stage.owner('B').takesGapLocks = false
    stage.removed(2, 3)
    expect(structures(stage, 'B')).toBe(2)
    stage.lock('B', 'X record', 3)
    stage.end('A')
    expect(structures(stage, 'B')).toBe(3)
    stage.lock('B', 'X record', 8)
    expect(structures(stage, 'B')).toBe(3)
  })

  it('are counted for any number of kinds', () => {
    const stage = new Stage()
    for (const round of [1, 2]) {
      for (let index = 1; index <= 40; index++) stage.lock('A', 'X record', round, { index: index as typeof SECONDARY })
      expect(structures(stage, 'A')).toBe(40)
    }
  })
})

describe('the report of a deadlock', () => {
  it('names every transaction, what it held and what it waited for', () => {
    const stage = new Stage()
    update(stage, 'A', 10)
    update(stage, 'B', 20)
    update(stage, 'A', 20)
    update(stage, 'B', 10)
    const deadlock = stage.locks.latestDeadlock
    expect(String(deadlock)).toBe(
      [
        'LATEST DETECTED DEADLOCK',
        '------------------------',
        '*** (1) TRANSACTION 66',
        '3 lock structures, 1 undo record',
        '*** (1) HOLDS THE LOCK:',
        '  X record lock on index 1 key 14',
        '*** (1) WAITING FOR THIS LOCK:',
        '  X record lock on index 1 key 0a, waiting',
        '*** (2) TRANSACTION 65',
        '3 lock structures, 1 undo record',
        '*** (2) HOLDS THE LOCK:',
        '  X record lock on index 1 key 0a',
        '*** (2) WAITING FOR THIS LOCK:',
        '  X record lock on index 1 key 14, waiting',
        '*** WE ROLL BACK TRANSACTION (1)',
      ].join('\n'),
    )
  })

  it('uses the names it is given', () => {
    const stage = new Stage()
    for (const name of ['A', 'B']) stage.lock(name, 'X gap', END)
    stage.table('A', 'IX')
    stage.table('B', 'S', 2 as TableId)
    stage.lock('A', 'insert', END)
    stage.lock('B', 'insert', END)
    const report = stage.locks.latestDeadlock?.format({
      owner: (owner) => `of session ${String.fromCharCode(owner.id)}`,
      table: (table) => `table t${table}`,
      index: (index) => `t.${index}`,
      key: (_index, key) => String(key[0]),
    })
    expect(report).toContain('TRANSACTION of session B')
    expect(report).toContain('X insert-intention lock on t.1 supremum, waiting')
    expect(report).toContain('X gap lock on t.1 supremum\n')
  })

  it('tells of a request that stands in the way by waiting', () => {
    const stage = new Stage()
    stage.lock('A', 'S record', 10)
    stage.lock('C', 'X record', 10)
    stage.lock('B', 'X record', 20)
    stage.lock('B', 'S record', 10)
    stage.lock('A', 'X record', 20)
    const participants = stage.locks.latestDeadlock?.participants ?? []
    expect(participants.map((one) => one.holds.map((lock) => `${lock.mode} ${lock.status}`))).toEqual([
      ['S granted'],
      ['X granted'],
      ['X waiting'],
    ])
  })

  it('names table locks', () => {
    const stage = new Stage()
    for (const name of ['A', 'B']) stage.table(name, 'IX')
    stage.table('A', 'S')
    stage.table('B', 'S')
    expect(String(stage.locks.latestDeadlock)).toContain('IX lock on table 1\n')
    expect(String(stage.locks.latestDeadlock)).toContain('S lock on table 1, waiting')
  })
})
