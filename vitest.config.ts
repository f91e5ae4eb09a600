import { defineConfig, type ViteUserConfig } from 'vitest/config'

const TIMEOUT_MS = 60_000

const config: ViteUserConfig = defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // Processes, not threads: tests load a native addon, lock directories and change process-wide state.
    pool: 'forks',
    maxWorkers: 2,
    env: { NEXTKEY_INVARIANTS: '1' },
    testTimeout: TIMEOUT_MS,
    hookTimeout: TIMEOUT_MS,
    teardownTimeout: TIMEOUT_MS,
  },
})

export default config
