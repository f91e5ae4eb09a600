import { readFileSync } from 'node:fs'
import { expect, it } from 'vitest'
import { mutated } from './mutate.js'
import { MUTATIONS } from './mutations.js'

it('every mutation still finds the place in the engine that it breaks', () => {
  for (const mutation of MUTATIONS) {
    for (const { file } of mutation.edits) {
      const text = readFileSync(new URL(`../../../${file}`, import.meta.url), 'utf8')
      expect(mutated(text, file, mutation), mutation.name).not.toBe(text)
    }
  }
})
