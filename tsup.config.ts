import { defineConfig } from 'tsup'

// JavaScript only: `tsc -p tsconfig.build.json` emits the declarations beside it.
export default defineConfig({
  entry: {
    index: 'src/index.ts',
    codec: 'src/codec/index.ts',
    server: 'src/server/index.ts',
    client: 'src/client/index.ts',
    udp: 'src/udp/index.ts',
    cli: 'src/cli/main.ts',
  },
  format: 'esm',
  platform: 'node',
  target: 'node20',
  splitting: true,
  sourcemap: true,
  clean: true,
})
