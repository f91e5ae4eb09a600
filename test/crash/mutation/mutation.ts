/** A place where the engine is broken on purpose: the text there, which must occur once in the file, and what stands in its place. */
export interface Edit {
  readonly file: string
  readonly find: string
  readonly replace: string
}

/** One fault that the crash suite must find. */
export interface Mutation {
  readonly name: string
  readonly breaks: string
  readonly edits: readonly Edit[]
}

/** The usual form: one edit, and perhaps more that belong to it. */
export function mutation(name: string, breaks: string, file: string, find: string, replace: string, ...more: Edit[]): Mutation {
  return { name, breaks, edits: [{ file, find, replace }, ...more] }
}
