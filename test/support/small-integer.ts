import { setFlagsFromString } from 'node:v8'

/**
 * Whether V8 holds a number as a small integer and not on the heap. Equal numbers of both kinds behave alike, but code compiled for the
 * one is thrown away when it meets the other.
 */
export function isSmallInteger(value: number): boolean {
  setFlagsFromString('--allow-natives-syntax')
  return new Function('value', 'return %HasSmiElements([value])')(value) as boolean
}
