import { defineConfig } from 'tsup'

/** JavaScript only; `tsc -p tsconfig.build.json` makes the declarations. */
const config: ReturnType<typeof defineConfig> = defineConfig({
  entry: { index: 'src/index.ts', 'cli/main': 'src/cli/main.ts' },
  format: 'esm',
  platform: 'node',
  target: 'node20',
  sourcemap: true,
  clean: true,
  // The tool and the library are the same code.
  splitting: true,
  removeNodeProtocol: false,
  external: ['cli-progress', 'commander', 'fs-native-extensions'],
})

export default config
