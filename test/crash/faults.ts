import type { Prng } from '../support/seeded.js'
import type { SimulatedDisk } from '../support/simulated-disk.js'

/** A failure of the machine in the middle of a run. */
export interface PlannedFault {
  /** The step of the workload at which it begins. */
  readonly step: number
  readonly text: string
  injected: boolean
  inject(disk: SimulatedDisk): void
}

/** Errors by which users may learn of it. */
export const TOLERATED: ReadonlySet<string> = new Set(['ERR_IO', 'ERR_DISK_FULL', 'ERR_POISONED', 'ERR_COMMIT_UNKNOWN'])

/** A disk that is full, for a while or for good, or calls that fail: once, several times, or from then on. */
export function drawFault(random: Prng, steps: number): PlannedFault {
  const step = random.int(steps)
  if (random.int(3) === 0) {
    const room = random.int(40) * 16384
    return planned(step, `${room} bytes are free`, (disk) => {
      disk.capacity = disk.used + room
    })
  }
  const on = random.pick([
    'write',
    'write',
    'sync',
    'sync',
    'read',
    'syncDirectory',
    'truncate',
    'rename',
    'create',
    'remove',
    'any',
  ] as const)
  const nth = 1 + random.int(12)
  const times = random.pick([1, 1, 2, Number.POSITIVE_INFINITY])
  const code = random.pick(['EIO', 'EIO', 'ENOSPC'])
  return planned(step, `${on} fails with ${code} from call ${nth}, ${times} time(s)`, (disk) => disk.failAt({ on, nth, times, code }))
}

function planned(step: number, text: string, inject: (disk: SimulatedDisk) => void): PlannedFault {
  const fault: PlannedFault = {
    step,
    text,
    injected: false,
    inject: (disk) => {
      fault.injected = true
      inject(disk)
    },
  }
  return fault
}
