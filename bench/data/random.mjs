/**
 * Seeded randomness for the workloads: every engine gets the same keys in the same order.
 */

/**
 * mulberry32: 32 bits of state, good enough to choose keys, and as fast as Math.random.
 * @param {number} seed
 * @returns {() => number} uniform in [0, 1)
 */
export function makeRandom(seed) {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }
}

/**
 * The numbers 0 … count − 1 in a random order (Fisher–Yates).
 * @param {number} count
 * @param {() => number} random
 * @returns {Int32Array}
 */
export function permutation(count, random) {
  const order = new Int32Array(count)
  for (let i = 0; i < count; i++) order[i] = i
  for (let i = count - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1))
    const swap = order[i]
    order[i] = order[j]
    order[j] = swap
  }
  return order
}

/**
 * YCSB's zipfian generator (Gray et al., "Quickly generating billion-record synthetic databases", theta 0.99):
 * rank 0 is the most popular.
 * @param {number} count
 * @param {() => number} random
 * @returns {() => number} a rank in [0, count)
 */
export function makeZipfian(count, random) {
  const theta = 0.99
  let zetaN = 0
  for (let i = 1; i <= count; i++) zetaN += i ** -theta
  const zeta2 = 1 + 2 ** -theta
  const alpha = 1 / (1 - theta)
  const eta = (1 - (2 / count) ** (1 - theta)) / (1 - zeta2 / zetaN)
  return () => {
    const u = random()
    const uz = u * zetaN
    if (uz < 1) return 0
    if (uz < zeta2) return 1
    return Math.min(count - 1, Math.floor(count * (eta * u - eta + 1) ** alpha))
  }
}

/**
 * Spreads popular ranks over the key space, as YCSB's scrambled zipfian does.
 * @param {number} rank
 * @param {number} count
 */
export function scramble(rank, count) {
  let h = Math.imul(rank ^ 0x9e3779b9, 0x85ebca6b)
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35)
  return ((h ^ (h >>> 16)) >>> 0) % count
}
