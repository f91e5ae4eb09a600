import { defineConfig } from 'tsup'

/** JavaScript only; `tsc -p tsconfig.build.json` makes the declarations. */
const config: ReturnType<typeof defineConfig> = defineConfig({
  entry: ['src/index.ts'],
  format: 'esm',
  platform: 'node',
  target: 'node20',
  sourcemap: true,
  clean: true,
  splitting: false,
  removeNodeProtocol: false,
  external: ['fs-native-extensions'],
})

export default config
