import { defineConfig } from 'vitest/config'

const TIMEOUT_MS = 60_000

// biome-ignore lint/style/noDefaultExport: vitest reads the default export
export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // Worker threads start faster, but native addons and process-wide state want processes.
    pool: 'forks',
    env: { NEXTKEY_INVARIANTS: '1' },
    testTimeout: TIMEOUT_MS,
    hookTimeout: TIMEOUT_MS,
    teardownTimeout: TIMEOUT_MS,
  },
})
