import { describe, expect, test } from 'vitest';
import { POSTGRES_MISSING } from '../contract/postgres-server.ts';
import { scratchDirectory } from '../contract/scratch-directory.ts';
import { runFleet } from './fleet-run.ts';
import { whyNoKafka } from './kafka-broker.ts';

// The small form of test/bench/fleet-kills.ts, which does the same with 5 million samples and 10 kills of each kind.

const missing = whyNoKafka() ?? POSTGRES_MISSING;
const seed = Number(process.env['LEEWAY_SEED'] ?? Date.now() % 1_000_000);

describe.skipIf(missing !== null)(`a fleet whose processes are killed ${missing ?? `(seed ${seed})`}`, () => {
  test('sidecar, gateway, worker and broker are killed at random: stored = emitted, nothing doubled, roll-ups as from raw samples', async () => {
    await using directory = await scratchDirectory();
    const said: string[] = [];
    const { faults, log, ...figures } = await runFleet(directory.path, {
      driver: 'kafkajs',
      nodes: 1,
      gateways: 2,
      workers: 2,
      partitions: 3,
      load: { sources: 4, series: 50, ticks: 150, step_ms: 2_000, seed },
      kills: 1,
      gap_ms: 6_000,
      rate: 30_000 / 9, // so that samples come as long as processes are killed
      settle_ms_max: 90_000,
      rollups: 'now',
      say: (line) => said.push(line),
    });
    expect(faults, `${said.join('\n')}\n${log}`).toEqual([]);
    // 4 sources, 50 series, 150 ticks; 300 s are 5 minutes of each series, within one hour or two
    expect(figures).toMatchObject({ samples: 30_000, held: 30_000 });
    expect(figures['rollups']).toMatchObject([
      { rows: 1_000, different: 0 },
      { rows: 200, different: 0 },
    ]);
  }, 190_000);
});
