/**
 * Copies bytes. A loop up to where the call of the native copy pays off: `set(subarray)` allocates a view and costs ~60 ns.
 */
export function copyBytes(from: Uint8Array, start: number, to: Uint8Array, at: number, length: number): void {
  if (length > LOOP) {
    to.set(from.subarray(start, start + length), at)
    return
  }
  for (let index = 0; index < length; index++) to[at + index] = from[start + index]
}

const LOOP = 128
