import { CHECKPOINTS, CHECKSUMS, SYNCS } from './disk-mutations.js'
import type { Mutation } from './mutation.js'
import { ONCE_FOUND, REDO, UNDO } from './transaction-mutations.js'

/** All faults that the crash suite must find. */
export const MUTATIONS: readonly Mutation[] = [...CHECKSUMS, ...SYNCS, ...CHECKPOINTS, ...REDO, ...UNDO, ...ONCE_FOUND]
