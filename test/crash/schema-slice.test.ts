import { it } from 'vitest'
import { crashSlice, SLICE_TIMEOUT_MS } from './slice.js'

const POINTS = 4_000

it(
  `at ${POINTS} points the schema, which clients change all the time, is the one before a change or the one after it`,
  () => crashSlice(1, POINTS, true),
  SLICE_TIMEOUT_MS,
)
