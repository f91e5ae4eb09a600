import { describe, expect, it } from 'vitest'
import { killLoop } from './kill-loop.js'

describe('after kill -9', () => {
  it('the directory is free at once, and holds every transaction that was acknowledged, whole', async () => {
    const { kills, verified, transactions } = await killLoop({ seed: 1, seconds: Number.POSITIVE_INFINITY, kills: 8 })
    expect({ kills, verified: verified > 0, transactions: transactions > 0 }).toEqual({ kills: 8, verified: true, transactions: true })
  }, 300_000)
})
