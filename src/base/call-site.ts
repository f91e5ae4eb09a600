import { fileURLToPath } from 'node:url'

/** Where the package's own code lies: src/, or the package's root around dist/. */
const OWN = fileURLToPath(new URL('..', import.meta.url))

/** The place in the caller's code that led here, such as "at main (/app/server.ts:12:8)"; for messages and status. */
export function callSite(): string {
  const frames = (new Error('call site').stack ?? '').split('\n').slice(1)
  const frame = frames.find((line) => line.includes('/') && !line.includes(OWN))
  return (frame ?? frames.at(-1) ?? 'somewhere').trim()
}
