import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { fleetOverview } from '../../dashboards/fleet-overview.ts';
import { type Clock, systemClock } from '../../src/core/clock.ts';
import type { Store } from '../../src/core/ports.ts';
import { validateRecord } from '../../src/core/parse-record.ts';
import type { LeewayRecord } from '../../src/core/records.ts';
import { ingest } from '../../src/pipeline/ingest.ts';
import { openEmbeddedStore } from '../../src/store/embedded.ts';
import { openSpool } from '../../src/transport/spool.ts';
import { START_MS } from '../contract/records.ts';
import { scratchDirectory } from '../contract/scratch-directory.ts';
import { expandMacros, type View } from '../dashboards/macros.ts';
import { panelQueries } from '../dashboards/panel-queries.ts';

const HOUR_MS = 3_600_000;
const VIEW: View = {
  from_ms: START_MS,
  to_ms: START_MS + 2 * HOUR_MS,
  interval_s: 60,
  chosen: { job: null, model: null },
};
/** The moment at which the store says that it stored: inside the view's first minute. */
const CLOCK: Clock = { ...systemClock, now_ms: () => START_MS + 30_000 };
const FIRST_MINUTE = '2026-01-01 00:00:00';
const SECOND_HOUR = '2026-01-01 01:00:00';

function records(...given: object[]): LeewayRecord[] {
  return given.map((record) => {
    const checked = validateRecord(record);
    if (checked.kind !== 'ok') throw new Error(JSON.stringify(checked));
    return checked.value;
  });
}

/** Three ranks, three training steps of 100, 200 and 300 ms; own work 80+10 ms, rank 2 150+10 ms; rank 2 tells no loss. */
function training(job: string): object[] {
  return [0, 1, 2].flatMap((rank) =>
    [1, 2, 3].map((step) => ({
      type: 'step',
      job,
      rank,
      step,
      at_ms: START_MS + step * 1000,
      duration_ms: step * 100,
      compute_ms: rank === 2 ? 150 : 80,
      data_ms: 10,
      phase: 'train',
      ...(rank === 2 ? {} : { loss: rank === 0 ? 2 : 4 }),
    })),
  );
}

const at_ms = START_MS + 10_000;
const evaluation = {
  type: 'step',
  job: 'pretrain',
  rank: 0,
  step: 4,
  at_ms,
  duration_ms: 9999,
  compute_ms: 1,
  data_ms: 1,
  phase: 'eval',
};
const hardware = [
  { type: 'gpu', node: 'n1', gpu: 0, at_ms, utilization: 0.5, temperature_c: 60 },
  { type: 'gpu', node: 'n1', gpu: 1, at_ms, utilization: 0.75, temperature_c: 71 },
  { type: 'gpu', node: 'n1', gpu: 2, at_ms, quality: { utilization: 'unsupported' } },
  { type: 'host', node: 'n1', at_ms, cpu_utilization: 0.25 },
  { type: 'host', node: 'n1', at_ms: at_ms + 1000, cpu_utilization: 0.75 },
];

function inference(version: string, numbers: { requests: number; errors: number; counts: readonly number[] }): object {
  const { requests, errors, counts } = numbers;
  const histogram = { bounds: [10, 20, 50], counts, sum: 0 };
  const times = { queue_ms: histogram, compute_ms: histogram, total_ms: histogram };
  return {
    type: 'inference',
    model: 'cnn',
    version,
    replica: 'r',
    provider: 'CPUExecutionProvider',
    at_ms,
    window_ms: 1000,
    requests,
    errors,
    ...times,
  };
}

function predicted(request_id: string, prediction: number | string): object {
  return { type: 'prediction', model: 'cnn', version: '1', request_id, at_ms, features: {}, prediction };
}

function labelled(request_id: string, label: number | string, after_ms: number): object {
  return { type: 'label', model: 'cnn', request_id, at_ms: at_ms + after_ms, label };
}

const serving = [
  inference('1', { requests: 90, errors: 9, counts: [80, 10, 0, 0] }),
  inference('2', { requests: 30, errors: 3, counts: [0, 28, 1, 1] }),
  predicted('a', 1),
  predicted('b', 1),
  predicted('c', 'cat'),
  predicted('d', 1),
  labelled('a', 1, 5_000),
  labelled('b', 0, 5_000),
  labelled('b', 1, 6_000), // the label is corrected
  labelled('c', 'dog', 3 * HOUR_MS), // later than the view ends
];

const claims = [
  {
    type: 'claim',
    asset: 'x',
    tenant: { team: 'blue' },
    from_ms: START_MS - HOUR_MS / 2,
    to_ms: START_MS + 1.5 * HOUR_MS,
    gpus: 4,
    mode: 'whole',
  },
  {
    type: 'claim',
    asset: 'x',
    tenant: { team: 'red' },
    from_ms: START_MS + HOUR_MS / 4,
    to_ms: START_MS + 0.75 * HOUR_MS,
    gpus: '2',
    mode: 'whole',
  },
  {
    type: 'claim',
    asset: 'x',
    tenant: { team: 'before' },
    from_ms: START_MS - HOUR_MS,
    to_ms: START_MS,
    gpus: 8,
    mode: 'whole',
  },
];

let store: Store | undefined;
const resources = new AsyncDisposableStack();
const signal = new AbortController().signal;

beforeAll(async () => {
  const { path: data_dir } = resources.use(await scratchDirectory());
  const opened = resources.use(await openEmbeddedStore({ data_dir, clock: CLOCK }));
  const known = { sequences: [], lineage_max: 0n };
  const bus = resources.use(
    await openSpool({ data_dir, bytes_max: 1e9, fsync: true, clock: systemClock, known, close_ms: 5 }),
  );
  const batches = [
    { source: 'ranks', sequence: 1, records: records(...training('pretrain'), evaluation) },
    { source: 'ranks', sequence: 2, records: records(...training('pretrain')) }, // the same once more
    { source: 'node', sequence: 1, records: records(...hardware, ...serving, ...claims) },
  ];
  for (const batch of batches) await bus.publish({ epoch: 1, ...batch }, signal);
  const sent = batches.reduce((sum, batch) => sum + batch.records.length, 0);
  const stop = new AbortController();
  let stored = 0;
  const onEvent = ({ outcome, rows }: { outcome: { kind: string }; rows: number }): void => {
    if (outcome.kind !== 'ok') stop.abort(new Error(JSON.stringify(outcome)));
    stored += rows;
    if (stored === sent) stop.abort();
  };
  await ingest({ bus, store: opened, clock: systemClock, onEvent }, stop.signal);
  expect(stored).toBe(sent);
  store = opened;
});

afterAll(() => resources.disposeAsync());

/** Rows of a query as the reader's view fills it; integers that arrive as text become numbers. */
async function rowsOf(sql: string, view: View = VIEW): Promise<Record<string, unknown>[]> {
  if (store === undefined) throw new Error('the store did not open');
  const rows = await store.query<Record<string, unknown>>(expandMacros(sql, view), {}, signal);
  return rows.map((row) =>
    Object.fromEntries(
      Object.entries(row).map(([key, value]) => [
        key,
        typeof value === 'string' && /^\d+$/.test(value) ? Number(value) : value,
      ]),
    ),
  );
}

const time = FIRST_MINUTE;
const EXPECTED: Readonly<Record<string, readonly Record<string, unknown>[]>> = {
  'Training jobs': [{ jobs: 1 }],
  Ranks: [{ ranks: 3 }],
  GPUs: [{ gpus: 3 }],
  'Model versions serving': [{ versions: 2 }],
  // three ranks × {100, 200, 300}; the evaluation of 9999 ms is left out
  'Step time by job': [{ time, job: 'pretrain', step_ms: 200 }],
  // own work 90, 90, 160: 160 / 90
  'Slowest rank against the median rank': [{ time, job: 'pretrain', slowest_ratio: 160 / 90 }],
  // (2 + 4) / 2, each three times; rank 2 told none
  'Loss by job': [{ time, job: 'pretrain', mean_loss: 3 }],
  // (0.5 + 0.75) / 2: the GPU that cannot tell is not a 0
  'GPU utilisation by node': [{ time, node: 'n1', utilization_ratio: 0.625 }],
  'Hottest GPU by node': [{ time, node: 'n1', hottest_c: 71 }],
  'CPU utilisation by node': [{ time, node: 'n1', cpu_ratio: 0.5 }],
  // (90 + 30) / 60 s
  'Requests by model': [{ time, model: 'cnn', requests_per_second: 2 }],
  // 120 requests: 80 up to 10 ms, 118 up to 20, 119 up to 50; 0.99 × 120 = 118.8 is first reached at 50
  'Latency p99 by model': [{ time, model: 'cnn', latency_ms_p99: 50 }],
  'Errors by model': [{ time, model: 'cnn', error_ratio: 12 / 120 }],
  // a and b (as corrected) agree, c does not, d has no label
  'Accuracy by model': [{ time, model: 'cnn', accuracy_ratio: 2 / 3 }],
  'Predictions with a label': [{ time, model: 'cnn', labelled_ratio: 3 / 4 }],
  // blue: 4 GPUs for the whole first hour and half of the second; red: 2 GPUs for half an hour
  'GPU-hours claimed by team': [
    { time, team: 'blue', gpu_hours: 4 },
    { time, team: 'red', gpu_hours: 1 },
    { time: SECOND_HOUR, team: 'blue', gpu_hours: 2 },
  ],
  // ranks: 10 + 9 rows, of which 9 were there already; node: 5 + 10 + 3
  'Records stored by source': [
    { time, source: 'node', records_per_second: 18 / 60 },
    { time, source: 'ranks', records_per_second: 10 / 60 },
  ],
};

const QUERIES = panelQueries(fleetOverview());

describe('fleet overview on the embedded store', () => {
  test('every panel has an expectation and every expectation a panel', () => {
    expect(QUERIES.map((query) => query.title).sort()).toEqual(Object.keys(EXPECTED).sort());
  });

  test.each(QUERIES)('panel "$title" shows what was sent, by hand', async ({ title, sql }) => {
    const rows = (await rowsOf(sql)).map((row) => JSON.stringify(rounded(row))).sort();
    expect(rows).toEqual((EXPECTED[title] ?? []).map((row) => JSON.stringify(rounded(row))).sort());
  });

  test.each(QUERIES)('panel "$title" is empty or 0 outside the time in which anything was sent', async ({ sql }) => {
    const later = { ...VIEW, from_ms: START_MS + 50 * HOUR_MS, to_ms: START_MS + 51 * HOUR_MS };
    const values = (await rowsOf(sql, later)).flatMap((row) => Object.values(row));
    expect(values.every((value) => value === 0)).toBe(true);
  });

  test('a chosen job or model hides the others', async () => {
    for (const { title, sql } of QUERIES.filter((query) => /\$\{(job|model):/.test(query.sql))) {
      const chosen = { job: ["it's another"], model: ['other'] };
      const values = (await rowsOf(sql, { ...VIEW, chosen })).flatMap((row) => Object.values(row));
      expect([title, values.every((value) => value === 0)]).toEqual([title, true]);
      const same = { job: ['pretrain', 'other'], model: ['cnn'] };
      expect([title, await rowsOf(sql, { ...VIEW, chosen: same })]).toEqual([title, await rowsOf(sql)]);
    }
  });

  test('the lists to choose from hold what was sent', async () => {
    const [job, model] = (fleetOverview().templating?.list ?? []).flatMap(({ definition }) => definition ?? []);
    expect(await rowsOf(job ?? '')).toEqual([{ job: 'pretrain' }]);
    expect(await rowsOf(model ?? '')).toEqual([{ model: 'cnn' }]);
  });

  test('a column that the tables lack is refused', async () => {
    const sql = QUERIES.find((query) => query.title === 'Step time by job')?.sql ?? '';
    await expect(rowsOf(sql.replace('duration_ms', 'duration_s'))).rejects.toMatchObject({ code: 'LW-STORE' });
  });
});

/** Twelve digits are more than a panel shows and fewer than the order of a sum disturbs. */
function rounded(row: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(row).map(([key, value]) => [key, typeof value === 'number' ? Number(value.toPrecision(12)) : value]),
  );
}
