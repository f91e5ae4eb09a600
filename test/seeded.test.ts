import { describe, expect, test } from 'vitest'
import { Prng, SimulatedClock, seededRandom } from './support/seeded.js'

describe('seeded chance', () => {
  test('is the same for the same seed, and another for another', () => {
    const draw = (seed: number): number[] =>
      Array.from(
        { length: 5 },
        (
          (prng) => () =>
            prng.next()
        )(new Prng(seed)),
      )
    expect(draw(1)).toEqual(draw(1))
    expect(draw(1)).not.toEqual(draw(2))
    expect(draw(1)).not.toEqual(draw(1 + 2 ** 32))
    const bytes = new Uint8Array(8)
    const again = new Uint8Array(8)
    seededRandom(3).fill(bytes)
    seededRandom(3).fill(again)
    expect(bytes).toEqual(again)
    expect(new Set(bytes).size).toBeGreaterThan(4)
  })

  test('is even', () => {
    const prng = new Prng(1)
    const counts = new Array<number>(10).fill(0)
    for (let i = 0; i < 100_000; i++) counts[prng.int(10)]!++
    for (const count of counts) expect(Math.abs(count - 10_000)).toBeLessThan(400)
    let heads = 0
    for (let i = 0; i < 100_000; i++) if (prng.bool(0.25)) heads++
    expect(Math.abs(heads - 25_000)).toBeLessThan(600)
  })

  test('shuffles into every order', () => {
    const prng = new Prng(1)
    const orders = new Set(Array.from({ length: 500 }, () => prng.shuffle([1, 2, 3, 4]).join('')))
    expect(orders.size).toBe(24)
  })

  test('forks do not depend on what the parent does next', () => {
    const parent = new Prng(1)
    const fork = parent.fork()
    const quiet = new Prng(1).fork()
    parent.next()
    expect(fork.next()).toBe(quiet.next())
  })
})

describe('the simulated clock', () => {
  test('stands still until it is moved, and fires timers at their times, in order', () => {
    const clock = new SimulatedClock(1000)
    const fired: string[] = []
    const note = (name: string) => () => fired.push(`${name}@${clock.now()}`)
    clock.setTimer(20, note('b'))
    clock.setTimer(10, () => {
      note('a')()
      clock.setTimer(10, note('c'))
      clock.setTimer(50, note('late'))
    })
    const cancel = clock.setTimer(15, note('cancelled'))
    clock.setTimer(20, note('d'))
    cancel()
    clock.advance(9)
    expect(fired).toEqual([])
    clock.advance(41)
    expect(fired).toEqual(['a@10', 'b@20', 'd@20', 'c@20'])
    expect([clock.now(), clock.wallTime(), clock.pendingTimers]).toEqual([50, 1050, 1])
  })

  test('lets what awaits a timer go on at the time of the timer', async () => {
    const clock = new SimulatedClock()
    const seen: number[] = []
    const loop = async (): Promise<void> => {
      for (let i = 0; i < 3; i++) {
        await new Promise<void>((resolve) => clock.setTimer(10, resolve))
        seen.push(clock.now())
      }
    }
    const done = loop()
    await clock.advanceAsync(30)
    await done
    expect(seen).toEqual([10, 20, 30])
  })
})
