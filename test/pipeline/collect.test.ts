import Type from 'typebox';
import { expect, test } from 'vitest';
import { ManualClock } from '../../src/core/clock.ts';
import { type AnyCollector, defineCollector, type OpenCollector } from '../../src/core/define.ts';
import { LeewayError } from '../../src/core/errors.ts';
import { ok, reject, retry } from '../../src/core/outcome.ts';
import { collect, type CollectorReport } from '../../src/pipeline/collect.ts';
import { stepRecord } from '../contract/records.ts';

/** A collector whose openings are counted. */
function source(open: (opening: number) => Promise<OpenCollector>): {
  collector: AnyCollector;
  counts: { opened: number; disposed: number };
} {
  const counts = { opened: 0, disposed: 0 };
  const collector = defineCollector({
    name: 'source',
    about: 'what a test says',
    config: Type.Object({}),
    open: async () => {
      const opened = await open(++counts.opened);
      return { ...opened, [Symbol.asyncDispose]: async () => void counts.disposed++ };
    },
  });
  return { collector, counts };
}

function reading(read: OpenCollector['collect'], rejected?: () => Record<string, number>): Promise<OpenCollector> {
  return Promise.resolve({
    collect: read,
    ...(rejected === undefined ? {} : { rejected }),
    [Symbol.asyncDispose]: async () => undefined,
  });
}

/** Runs a collector at 1 Hz on a clock that the test moves. */
function run(collector: AnyCollector) {
  const clock = new ManualClock();
  const reports: CollectorReport[] = [];
  const rejected: Readonly<Record<string, number>>[] = [];
  const stop = new AbortController();
  let openings = 0;
  const running = collect(
    {
      collector,
      settings: {},
      interval_ms: 1_000,
      node: 'n',
      clock,
      onReport: (report) => void reports.push(report),
      onRejected: (counts) => void rejected.push(counts),
      onOpened: () => void openings++,
    },
    stop.signal,
  );
  const kinds = (): string[] => reports.map(({ kind }) => kind);
  const pass = async (ms: number): Promise<void> => {
    await new Promise((resolve) => setImmediate(resolve)); // lets what was started reach its first sleep
    await clock.advance(ms);
    await new Promise((resolve) => setImmediate(resolve));
  };
  const end = async (): Promise<void> => {
    stop.abort();
    await running;
  };
  return { clock, reports, rejected, stop, pass, end, kinds, openings: () => openings };
}

test('a source is read once an interval, and once more at the end for what it still holds', async () => {
  let step = 0;
  const { collector, counts } = source(() => reading(async () => ok([stepRecord(step++)])));
  const { reports, pass, end } = run(collector);
  await pass(2_000); // at 0, 1,000 and 2,000 ms
  await end();
  expect(reports.map((report) => (report.kind === 'collected' ? report.records : []))).toEqual(
    [0, 1, 2, 3].map((index) => [stepRecord(index)]),
  );
  expect(counts).toEqual({ opened: 1, disposed: 1 });
});

test('an absent source is said once, closed, and looked for again each minute', async () => {
  const { collector, counts } = source((opening) =>
    reading(async () => (opening < 3 ? reject('LW-NOT-FOUND', 'absent: no driver') : ok([stepRecord(1)]))),
  );
  const { reports, pass, end, kinds } = run(collector);
  await pass(59_999);
  expect(reports).toEqual([{ kind: 'absent', reason: 'absent: no driver' }]);
  expect(counts).toEqual({ opened: 1, disposed: 1 });
  await pass(1);
  expect(kinds()).toEqual(['absent', 'absent']);
  await pass(60_000);
  expect(kinds()).toEqual(['absent', 'absent', 'collected']);
  await end();
});

test('a failure costs its tick only, whether it is answered or thrown', async () => {
  let tick = 0;
  const { collector, counts } = source(() =>
    reading(async () => {
      tick++;
      if (tick === 1) return retry('LW-UNREACHABLE', 'not now');
      if (tick === 2) throw new LeewayError('LW-TIMEOUT', 'too slow');
      if (tick === 3) throw new TypeError('a bug');
      return ok([stepRecord(tick)]);
    }),
  );
  const { reports, pass, end } = run(collector);
  await pass(3_000);
  expect(reports).toMatchObject([
    { kind: 'failed', code: 'LW-UNREACHABLE', reason: 'not now' },
    { kind: 'failed', code: 'LW-TIMEOUT', reason: 'too slow' },
    { kind: 'failed', code: 'LW-INTERNAL', reason: 'a bug' },
    { kind: 'collected' },
  ]);
  await end();
  expect(counts).toEqual({ opened: 1, disposed: 1 });
});

test('a source that cannot be opened is told with its code and tried again after five seconds', async () => {
  const { collector, counts } = source(async (opening) => {
    if (opening === 1) throw new LeewayError('LW-CONFIG', 'in use');
    return reading(async () => ok([]));
  });
  const { reports, pass, end, openings } = run(collector);
  await pass(4_999);
  expect([counts.opened, openings(), reports]).toEqual([
    1,
    1,
    [{ kind: 'failed', code: 'LW-CONFIG', reason: 'in use' }],
  ]);
  await pass(1);
  expect([counts.opened, openings()]).toEqual([2, 2]);
  await end();
});

test('what the source refused is passed on with every reading', async () => {
  let refused = 0;
  const { collector } = source(() =>
    reading(
      async () => ok([]),
      () => ({ 'LW-RECORD-JSON': ++refused }),
    ),
  );
  const { rejected, pass, end } = run(collector);
  await pass(1_000);
  expect(rejected).toEqual([{ 'LW-RECORD-JSON': 1 }, { 'LW-RECORD-JSON': 2 }]);
  await end();
});

test('the end reaches a reading that is under way, and one that ignores it is left after two seconds', async () => {
  const signals: AbortSignal[] = [];
  let tick = 0;
  const { collector, counts } = source(() =>
    reading((signal) => {
      signals.push(signal);
      if (++tick === 2) return new Promise(() => undefined); // the last reading: hangs whatever is asked
      return new Promise((resolve) => signal.addEventListener('abort', () => resolve(retry('LW-TIMEOUT', 'ended'))));
    }),
  );
  const { clock, stop, reports, end, pass } = run(collector);
  await pass(0);
  stop.abort();
  await pass(0);
  expect(reports).toEqual([{ kind: 'failed', code: 'LW-TIMEOUT', reason: 'ended' }]);
  expect(signals[1]?.aborted).toBe(false);
  await clock.advance(2_000);
  await end();
  expect(signals[1]?.aborted).toBe(true);
  expect(counts.disposed).toBe(1);
});
