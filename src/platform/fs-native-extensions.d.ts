declare module 'fs-native-extensions' {
  /** False if another open file description holds a conflicting lock. Length 0: to the end of the file and beyond. */
  export function tryLock(fd: number, offset?: number, length?: number, options?: { shared?: boolean }): boolean
  export function unlock(fd: number, offset?: number, length?: number): void
}
