import { describe, it } from 'vitest'
import { crashSlice, POINTS_PER_FILE, SLICE_TIMEOUT_MS } from './slice.js'

describe('after a crash at any I/O operation, what was acknowledged is there, and nothing in part', () => {
  it(`at ${POINTS_PER_FILE} further points`, () => crashSlice(100_000, POINTS_PER_FILE), SLICE_TIMEOUT_MS)
})
