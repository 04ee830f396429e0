import { defineConfig } from 'vitest/config';

/** Tests that start real processes, brokers or browsers; one file at a time, since they share two cores. */
const system = ['test/integration/**/*.test.ts', 'test/browser/**/*.test.ts'];

export default defineConfig({
  test: {
    coverage: { provider: 'v8', include: ['src/**', 'collectors/**', 'alerts/**'] },
    projects: [
      { test: { name: 'unit', include: ['test/**/*.test.ts'], exclude: system } },
      { test: { name: 'system', include: system, fileParallelism: false, testTimeout: 180_000, hookTimeout: 60_000 } },
    ],
  },
});
