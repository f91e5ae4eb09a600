import { InternalError } from './errors.js'

/**
 * Two tiers of assertions. `assert` stays on in production and stands wherever a wrong byte could reach the disk.
 * Expensive ones go behind `invariants.enabled`, which the tests switch on; it must never change what the code does.
 */
export function assert(condition: boolean, message: string): asserts condition {
  if (!condition) fail(message)
}

/** Out of line so that `assert` itself stays small enough to be inlined. */
export function fail(message: string): never {
  throw new InternalError(message)
}

export const invariants: { enabled: boolean } = { enabled: process.env['NEXTKEY_INVARIANTS'] === '1' }
