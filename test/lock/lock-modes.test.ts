import { describe, expect, it } from 'vitest'
import type { TableId, TreeId } from '../../src/base/ids.js'
import { SUPREMUM } from '../../src/lock/lock-key.js'
import { RecordLock, TableLock } from '../../src/lock/lock-modes.js'
import { LockOwner } from '../../src/lock/lock-owner.js'
import { LockResult } from '../../src/lock/lock-request.js'
import { LockSystem } from '../../src/lock/lock-system.js'

const INDEX = 1 as TreeId
const TABLE = 1 as TableId
const KEY = Uint8Array.of(5)

const { SRecord, XRecord, SGap, XGap, SNextKey, XNextKey, XInsertIntention } = {
  SRecord: RecordLock.SRecord,
  XRecord: RecordLock.XRecord,
  SGap: RecordLock.SGap,
  XGap: RecordLock.XGap,
  SNextKey: RecordLock.SNextKey,
  XNextKey: RecordLock.XNextKey,
  XInsertIntention: RecordLock.XInsertIntention,
}

describe('record locks of two owners', () => {
  // Rows: what one owner holds. Columns: what another asks for, in the order of the header.
  const header = [SRecord, XRecord, SGap, XGap, SNextKey, XNextKey, XInsertIntention]
  const names = ['S record', 'X record', 'S gap', 'X gap', 'S next-key', 'X next-key', 'insert intention']
  const matrix: [RecordLock, string][] = [
    [SRecord, 'grant wait grant grant grant wait grant'],
    [XRecord, 'wait wait grant grant wait wait grant'],
    [SGap, 'grant grant grant grant grant grant wait'],
    [XGap, 'grant grant grant grant grant grant wait'],
    [SNextKey, 'grant wait grant grant grant wait wait'],
    [XNextKey, 'wait wait grant grant wait wait wait'],
  ]
  for (const [held, row] of matrix) {
    row.split(' ').forEach((expected, column) => {
      it(`${names[column]} against ${names[header.indexOf(held)]}: ${expected}`, () => {
        const locks = new LockSystem()
        expect(locks.lockRecord(new LockOwner(1), INDEX, KEY, 1, held, false)).toBe(LockResult.Granted)
        const result = locks.lockRecord(new LockOwner(2), INDEX, KEY, 1, header[column], false)
        expect(result).toBe(expected === 'grant' ? LockResult.Granted : LockResult.NotAvailable)
      })
    })
  }

  it('on the supremum only inserts wait', () => {
    const locks = new LockSystem()
    expect(locks.lockRecord(new LockOwner(1), INDEX, KEY, SUPREMUM, XNextKey, false)).toBe(LockResult.Granted)
    expect(locks.lockRecord(new LockOwner(2), INDEX, KEY, SUPREMUM, XNextKey, false)).toBe(LockResult.Granted)
    expect(locks.lockRecord(new LockOwner(3), INDEX, KEY, SUPREMUM, XInsertIntention, false)).toBe(LockResult.NotAvailable)
    expect(locks.lockRecord(new LockOwner(3), 2 as TreeId, KEY, SUPREMUM, XInsertIntention, false)).toBe(LockResult.Granted)
  })
})

describe('record locks of one owner', () => {
  const header = [SRecord, XRecord, SGap, XGap, SNextKey, XNextKey]
  const names = ['S record', 'X record', 'S gap', 'X gap', 'S next-key', 'X next-key']
  // "half": the record part is held, the gap part is added.
  const matrix: [RecordLock, string][] = [
    [SRecord, 'held new new new half new'],
    [XRecord, 'held held new new half half'],
    [SGap, 'new new held new new new'],
    [XGap, 'new new held held new new'],
    [SNextKey, 'held new held new held new'],
    [XNextKey, 'held held held held held held'],
  ]
  for (const [held, row] of matrix) {
    row.split(' ').forEach((expected, column) => {
      it(`${names[column]} after ${names[header.indexOf(held)]}: ${expected}`, () => {
        const locks = new LockSystem()
        const owner = new LockOwner(1)
        locks.lockRecord(owner, INDEX, KEY, 1, held, false)
        const before = locks.heldOn(owner, INDEX, KEY, 1)
        const result = locks.lockRecord(owner, INDEX, KEY, 1, header[column], false)
        const added = locks.heldOn(owner, INDEX, KEY, 1) & ~before
        if (expected === 'new') expect([result, added]).toEqual([LockResult.Granted, 1 << header[column]])
        else if (expected === 'held') expect([result, added]).toEqual([LockResult.AlreadyHeld, 0])
        else expect([result, added]).toEqual([LockResult.AlreadyHeld, 1 << (header[column] - 2)])
      })
    })
  }
})

describe('table locks of two owners', () => {
  const modes = [TableLock.IS, TableLock.IX, TableLock.S, TableLock.X, TableLock.AutoInc]
  const names = ['IS', 'IX', 'S', 'X', 'AUTO-INC']
  const matrix = [
    'grant grant grant wait grant',
    'grant grant wait wait grant',
    'grant wait grant wait wait',
    'wait wait wait wait wait',
    'grant grant wait wait wait',
  ]
  matrix.forEach((row, held) => {
    row.split(' ').forEach((expected, asked) => {
      it(`${names[asked]} against ${names[held]}: ${expected}`, () => {
        const locks = new LockSystem()
        expect(locks.lockTable(new LockOwner(1), TABLE, modes[held], false)).toBe(LockResult.Granted)
        const result = locks.lockTable(new LockOwner(2), TABLE, modes[asked], false)
        expect(result).toBe(expected === 'grant' ? LockResult.Granted : LockResult.NotAvailable)
      })
    })
  })

  const satisfied = [
    'held new new new new',
    'held held new new new',
    'held new held new new',
    'held held held held held',
    'new new new new held',
  ]
  satisfied.forEach((row, held) => {
    row.split(' ').forEach((expected, asked) => {
      it(`${names[asked]} by the holder of ${names[held]}: ${expected}`, () => {
        const locks = new LockSystem()
        const owner = new LockOwner(1)
        locks.lockTable(owner, TABLE, modes[held], false)
        // Another table in between: not only the table locked last is remembered.
        locks.lockTable(owner, 2 as TableId, modes[held], false)
        const result = locks.lockTable(owner, TABLE, modes[asked], false)
        expect(result).toBe(expected === 'held' ? LockResult.AlreadyHeld : LockResult.Granted)
        expect(locks.lockTable(owner, TABLE, modes[asked], false)).toBe(LockResult.AlreadyHeld)
      })
    })
  })
})
