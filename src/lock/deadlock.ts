import { fail } from '../base/assert.js'
import { describeLock, type LockNames, PLAIN_NAMES } from './lock-names.js'
import type { LockOwner } from './lock-owner.js'
import type { LockInfo } from './lock-request.js'

/** One owner on the cycle. It waits for the next participant, and the last one for the first. */
export interface DeadlockParticipant {
  owner: LockOwner
  /** At the moment of the deadlock. */
  undoRecords: number
  lockStructures: number
  /** What it held, or awaited ahead, that the previous participant waits for. */
  holds: readonly LockInfo[]
  waitsFor: LockInfo
}

/** A deadlock as it was found: everything is copied, so the report stays true when the owners go on. */
export class Deadlock {
  readonly participants: readonly DeadlockParticipant[]
  /** Index of the participant that is rolled back. */
  readonly victim: number
  readonly #names: LockNames

  /** The cycle as the wait-for graph found it, before the victim's request leaves its queue. */
  constructor(cycle: readonly LockOwner[], victim: LockOwner, names: LockNames = PLAIN_NAMES) {
    this.#names = names
    this.participants = cycle.map((owner, at) => participantOf(owner, cycle[(at + cycle.length - 1) % cycle.length]))
    this.victim = cycle.indexOf(victim)
  }

  /** The report for a terminal, in the manner of InnoDB's LATEST DETECTED DEADLOCK. */
  format(names: LockNames = this.#names): string {
    const lines = ['LATEST DETECTED DEADLOCK', '------------------------']
    this.participants.forEach((participant, at) => {
      const number = at + 1
      const name = names.owner(participant.owner)
      lines.push(`*** (${number}) TRANSACTION ${name}`)
      lines.push(`${count(participant.lockStructures, 'lock structure')}, ${count(participant.undoRecords, 'undo record')}`)
      lines.push(`*** (${number}) HOLDS THE ${participant.holds.length === 1 ? 'LOCK' : 'LOCKS'}:`)
      for (const lock of participant.holds) lines.push(`  ${describeLock(lock, names)}`)
      lines.push(`*** (${number}) WAITING FOR THIS LOCK:`, `  ${describeLock(participant.waitsFor, names)}`)
    })
    lines.push(`*** WE ROLL BACK TRANSACTION (${this.victim + 1})`)
    return lines.join('\n')
  }

  toString(): string {
    return this.format()
  }
}

function participantOf(owner: LockOwner, previous: LockOwner): DeadlockParticipant {
  const request = owner.waiting
  const blocked = previous.waiting
  if (request === null || blocked === null) return fail('a participant of a deadlock does not wait')
  return {
    owner,
    undoRecords: owner.undoRecords,
    lockStructures: owner.structures,
    holds: blocked.describeBlocking(owner),
    waitsFor: request.describe(),
  }
}

function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? '' : 's'}`
}
