import { randomFillSync } from 'node:crypto'

/** The seam to randomness: ids and epochs. Tests give a seeded one. */
export interface Random {
  /** Fills the array with random bytes. */
  fill(bytes: Uint8Array): void
}

export const systemRandom: Random = {
  fill(bytes) {
    randomFillSync(bytes)
  },
}
