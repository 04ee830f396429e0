import { BaseSequencer, type TestSpecification } from 'vitest/node';
import { defineConfig } from 'vitest/config';

/** Tests that start real processes, engines, sockets under load or browsers: they share the machine with what they start. */
const system = [
  'test/integration/**/*.test.ts',
  'test/browser/**/*.test.ts',
  'test/store/**/*.test.ts',
  'test/read/**/*.test.ts',
  'test/pipeline/{model-watch,job-watch,job-memory,retrain,analyse}.test.ts',
  'test/demo/{child,client,job,serve-model,trainer}.test.ts',
  'test/cli/main.test.ts',
];

/** Tests against servers that a machine may lack: Kafka (Java, jars), PostgreSQL, the whole fleet. Skipped loudly there. */
const fleet = ['test/integration/{fleet,kafka-*,postgres*,selftest-fleet}.test.ts'];

/** Long proofs on this machine: thousands of seeds, every statement of a pass failing, kills, hostile bodies. `npm run test:long` */
const long = [
  'test/integration/{crash,crash-release,hostile,otlp,otlp-kinds,remote-write,selftest,selftest-faults}.test.ts',
  'test/integration/{sidecar,sidecar-spool,spool-policy-kill}.test.ts',
  'test/pipeline/{job-watch,model-watch}.test.ts',
  'test/read/{acknowledged,declared-loss}.test.ts',
  'test/simulation/**/*.test.ts',
  'test/store/{account,clickhouse,clickhouse-faults,embedded-process,expire,migrate,rollup,round-trip}.test.ts',
];

/** The longest first: the others fill the second worker meanwhile. */
const longest = [
  'integration/demo',
  'integration/service',
  'integration/fleet',
  'integration/kafka-faults',
  'integration/kafka-fleet-kills',
];

/** These keep both cores busy by themselves: one beside the other, after the demo, whose time is bounded. */
const busiest = ['browser/console', 'integration/kill-service'];

class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const rank = ({ moduleId }: TestSpecification): number => {
      const isOf = (name: string): boolean => moduleId.endsWith(`test/${name}.test.ts`);
      const found = longest.findIndex(isOf);
      if (found !== -1) return found;
      return busiest.some(isOf) ? longest.length + 1 : longest.length;
    };
    return (await super.sort(files)).toSorted((one, other) => rank(one) - rank(other));
  }
}

export default defineConfig({
  test: {
    maxWorkers: 2,
    sequence: { sequencer: LongestFirst },
    coverage: { provider: 'v8', include: ['src/**', 'collectors/**', 'alerts/**'] },
    projects: [
      { test: { name: 'unit', include: ['test/**/*.test.ts'], exclude: [...system, ...long] } },
      {
        test: {
          name: 'system',
          include: system,
          exclude: [...fleet, ...long],
          testTimeout: 200_000,
          hookTimeout: 60_000,
        },
      },
      { test: { name: 'long', include: long, testTimeout: 200_000, hookTimeout: 60_000 } },
      { test: { name: 'fleet', include: fleet, testTimeout: 200_000, hookTimeout: 120_000 } },
    ],
  },
});
