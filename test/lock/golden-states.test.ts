/**
 * Every lock set in the golden data is a state a server was in: what is listed as granted must be grantable together,
 * and what is listed as waiting must have to wait.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import type { TreeId } from '../../src/base/ids.js'
import { SUPREMUM } from '../../src/lock/lock-key.js'
import { type LockKind, LockMode, recordLock } from '../../src/lock/lock-modes.js'
import { LockOwner } from '../../src/lock/lock-owner.js'
import { LockResult } from '../../src/lock/lock-request.js'
import { LockSystem } from '../../src/lock/lock-system.js'

const FOLDER = new URL('../golden/public/', import.meta.url)
const KINDS = ['record', 'gap', 'next-key', 'insert-intention']

interface GoldenLock {
  session: string
  table: string
  index?: string
  key?: unknown[]
  pk?: unknown[]
  supremum?: boolean
  mode: 'S' | 'X'
  kind: string
  status: 'granted' | 'waiting'
}

interface GoldenScenario {
  id: string
  steps: { i: number; locks?: GoldenLock[] }[]
  mysql97: string | { steps?: { i: number; locks?: GoldenLock[] }[] }
}

function scenariosOf(group: string): GoldenScenario[] {
  return JSON.parse(readFileSync(new URL(group, FOLDER), 'utf8')).scenarios
}

/** The lock sets MySQL 9.7 showed, by scenario and step. */
function* states(group: string): Generator<{ name: string; locks: GoldenLock[] }> {
  for (const { id, steps, mysql97 } of scenariosOf(group)) {
    if (mysql97 === 'unknown') continue
    for (const { i, locks } of steps) {
      const other = typeof mysql97 === 'string' ? undefined : mysql97.steps?.find((step) => step.i === i)?.locks
      const found = (other ?? locks)?.filter((lock) => KINDS.includes(lock.kind))
      if (found !== undefined && found.length > 0) yield { name: `${id} step ${i}`, locks: found }
    }
  }
}

/** Granted locks first; then those that wait, an order in which each can be behind what it may be waiting for. */
function place(lock: GoldenLock): number {
  if (lock.status === 'granted') return 0
  if (lock.kind === 'insert-intention') return 3
  return lock.mode === 'X' ? 1 : 2
}

/** Sets up a state; what does not go as it should, in words. */
function contradictions(locks: GoldenLock[]): string[] {
  const system = new LockSystem()
  const owners = new Map<string, LockOwner>()
  const wrong: string[] = []
  system.graph.detection = false
  for (const lock of [...locks].sort((a, b) => place(a) - place(b))) {
    // A granted insert intention is the trace of an insert that once waited.
    if (lock.kind === 'insert-intention' && lock.status === 'granted') continue
    const owner = owners.get(lock.session) ?? new LockOwner(owners.size)
    owners.set(lock.session, owner)
    const key = new TextEncoder().encode(JSON.stringify([lock.table, lock.index, lock.key, lock.pk]))
    const index = ((lock.index ?? '').length + 100 * lock.table.length) as TreeId
    const mode = lock.mode === 'X' ? LockMode.X : LockMode.S
    const asked = recordLock(mode, KINDS.indexOf(lock.kind) as LockKind)
    const result = system.lockRecord(owner, index, key, lock.supremum ? SUPREMUM : key.length, asked, true)
    if ((lock.status === 'waiting') !== (result === LockResult.Waiting)) wrong.push(JSON.stringify(lock))
  }
  return wrong
}

describe('lock sets seen on MySQL 9.7', () => {
  for (const group of readdirSync(FOLDER)) {
    it(`of ${group} can exist, and who waits has to`, () => {
      for (const { name, locks } of states(group)) expect([name, ...contradictions(locks)]).toEqual([name])
    })
  }

  it('are many, with many that wait', () => {
    const seen = readdirSync(FOLDER).flatMap((group) => [...states(group)])
    expect(seen.length).toBeGreaterThan(2000)
    expect(seen.filter(({ locks }) => locks.some((lock) => lock.status === 'waiting')).length).toBeGreaterThan(500)
  })
})
