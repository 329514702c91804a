import { defineConfig } from 'vitest/config'

// Where a build wants the results as JSON, beside what people read.
const report = process.env.TUBESOCK_TEST_REPORT

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // Tests that weigh the heap collect garbage first.
    execArgv: ['--expose-gc'],
    testTimeout: 30_000,
    hookTimeout: 60_000,
    reporters: report === undefined ? ['default'] : ['default', ['json', { outputFile: report }]],
    typecheck: {
      enabled: true,
      include: ['test/types/**/*.test-d.ts'],
      // It includes these files: with one that does not, spoiled assertions would pass.
      tsconfig: 'test/types/tsconfig.json',
    },
  },
})
