import { copyFile } from 'node:fs/promises'
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
  // Bundled from its pure entry points: as a dependency it would bring an optional addon with an install script.
  noExternal: [/^msgpackr/],
  onSuccess: () => copyFile('node_modules/msgpackr/LICENSE', 'dist/LICENSE.msgpackr'),
})

export default config
