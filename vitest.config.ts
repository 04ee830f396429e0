import { defineConfig } from 'vitest/config';

/** Tests that start real processes, engines, sockets under load or browsers: they share the machine with what they start. */
const system = [
  'test/integration/**/*.test.ts',
  'test/browser/**/*.test.ts',
  'test/store/**/*.test.ts',
  'test/read/**/*.test.ts',
  'test/pipeline/{model-watch,job-watch,retrain,analyse}.test.ts',
  'test/demo/{child,client,job,serve-model,trainer}.test.ts',
];

export default defineConfig({
  test: {
    coverage: { provider: 'v8', include: ['src/**', 'collectors/**', 'alerts/**'] },
    projects: [
      { test: { name: 'unit', include: ['test/**/*.test.ts'], exclude: system } },
      { test: { name: 'system', include: system, testTimeout: 200_000, hookTimeout: 60_000 } },
    ],
  },
});
