import { expect, test } from 'vitest';
import { absentBus, absentStore } from '../../src/compose/absent-doors.ts';
import { leaseWatch } from '../../src/compose/lease-watch.ts';
import { analysisLag } from '../../src/compose/scrape.ts';
import { accountWatch } from '../../src/compose/self-watch.ts';
import { openSqliteControl } from '../../src/control/sqlite.ts';
import { ManualClock } from '../../src/core/clock.ts';
import type { StoredAccount } from '../../src/core/ports.ts';
import { createServiceMetrics } from '../../src/telemetry/metrics.ts';

const STORED: StoredAccount = {
  source: 'node-1',
  epoch: 1,
  frame_rows: 90,
  duplicates_absorbed: 0,
  stored: 90,
  sequence_min: 1,
  sequence_max: 10,
  sequences: 10,
  gaps: [],
  late: 0,
};

test('of two workers only the one that analyses shows the account and the lag, and an account of before is gone', async () => {
  const clock = new ManualClock();
  await using control = await openSqliteControl({ data_dir: ':memory:', clock });
  let stored = 90;
  const worker = (holder: string) => {
    const metrics = createServiceMetrics('1.2.3', { clock });
    const store = { ...absentStore(), account: async () => [{ ...STORED, frame_rows: stored, stored }] };
    const account = accountWatch({ store, bus: absentBus(), clock, acknowledged: null, losses: () => [], metrics });
    const lag = analysisLag(metrics, clock);
    const watched = leaseWatch(control, () => {
      account.forget();
      lag.forget();
    });
    return {
      /** As the loop of the analysis: the lease, then the findings. */
      analyse: async (): Promise<boolean> => {
        if (!(await watched.lease('analysis', holder, 15_000))) return false;
        await account.findings(clock.now_ms(), new AbortController().signal);
        lag.onAnalysed('delivery', clock.elapsed_ms());
        return true;
      },
      shown: async (): Promise<string[]> => {
        const { text } = await metrics.expose('prometheus');
        return text.split('\n').filter((line) => /^leeway_(delivery_stored|analysis_lag)/.test(line));
      },
    };
  };
  const shows = (records: number, lag_seconds: number): string[] => [
    `leeway_analysis_lag_seconds{engine="delivery"} ${lag_seconds}`,
    `leeway_delivery_stored_records{source="node-1"} ${records}`,
  ];
  const [one, two] = [worker('one'), worker('two')];
  expect([await one.analyse(), await two.analyse()]).toEqual([true, false]);
  expect([await one.shown(), await two.shown()]).toEqual([shows(90, 0), []]);

  await clock.advance(16_000); // the first one hangs, and its lease ends
  stored = 50;
  expect([await two.analyse(), await one.analyse()]).toEqual([true, false]);
  expect([await one.shown(), await two.shown()]).toEqual([[], shows(50, 0)]);
});
