import { expect, test } from 'vitest';
import { BatchMaker, type MarkedBatch, type Marks } from '../../../src/cli/selftest/marked-batch.ts';
import { parseRecord } from '../../../src/core/parse-record.ts';
import { seededRandom } from '../../../src/core/random.ts';
import type { LeewayRecord } from '../../../src/core/records.ts';
import { bitsOfExact } from '../../../src/formats/exact-number.ts';
import { decodeOtlpMetricsJson } from '../../../src/formats/otlp-metrics-json.ts';
import { freshTarget, rowsOf } from '../../formats/sample-rows.ts';

const MARKS: Marks = { run: '0badcafe', job: 'selftest-0badcafe', start_ms: 1_767_225_600_000 };

/** Batches 1 to 20 and the closing one. */
function batches(seed = 1): MarkedBatch[] {
  const maker = new BatchMaker(MARKS, seededRandom(seed));
  const made = Array.from({ length: 20 }, (_, index) => maker.make(index + 1));
  return [...made, maker.close(21)];
}

function records({ body }: MarkedBatch): LeewayRecord[] {
  const lines = body.trimEnd().split('\n');
  return lines.map((line) => {
    const parsed = parseRecord(line);
    if (parsed.kind !== 'ok') throw new Error(`${parsed.kind}: ${line}`);
    return parsed.value;
  });
}

function timeOf(record: LeewayRecord): number {
  return 'at_ms' in record ? record.at_ms : 0;
}

test('every record is one that the service takes, every fourth batch is samples', () => {
  for (const batch of batches()) {
    if (batch.sequence % 4 === 0) expect(batch).toMatchObject({ path: '/v1/metrics', rows: 40, copies: 0, steps: [] });
    else expect([batch.path, records(batch).length]).toEqual(['/v1/events', batch.rows]);
  }
});

test('steps are compared as they stand in the bodies, each once; copies stand in two bodies', () => {
  const made = batches();
  const sent = made.filter(({ path }) => path === '/v1/events').flatMap(records);
  const steps = sent.filter((record) => record.type === 'step');
  const kept = made.flatMap((batch) => batch.steps);
  const copies = made.reduce((sum, batch) => sum + batch.copies, 0);
  // of 20 batches 15 are records, with 20 steps each; the fifth, tenth and fifteenth begin with a step of the batch before
  expect([kept.length, copies, steps.length]).toEqual([300, 3, 303]);
  expect(new Set(kept.map(({ step, rank }) => `${step}/${rank}`)).size).toBe(300);
  expect(new Set(steps.map((step) => JSON.stringify(step)))).toEqual(new Set(kept.map((step) => JSON.stringify(step))));
});

test('samples arrive with the bits that they were sent with, NaN, infinities and -0 among them', () => {
  const samples = batches().filter(({ path }) => path === '/v1/metrics');
  const values = new Set<string>();
  for (const batch of samples) {
    const target = freshTarget();
    const decoded = decodeOtlpMetricsJson(new TextEncoder().encode(batch.body), target);
    expect(decoded.kind).toBe('ok');
    const rows = rowsOf(target.columns.take());
    const series = target.book.drainNew();
    expect(series.map(({ labels }) => ({ ...labels }))).toEqual(
      ['a', 'b'].map((part) => ({ __name__: 'leeway_selftest', leeway_selftest_run: '0badcafe', part })),
    );
    const idOf = (part: string): string => series.find(({ labels }) => labels['part'] === part)?.id ?? '';
    expect(rows.map(({ id, at_ms, bits }) => ({ id, at_ms, bits }))).toEqual(
      batch.samples.map((sample) => ({
        id: idOf(sample.series),
        at_ms: sample.at_ms,
        bits: bitsOfExact(sample.value),
      })),
    );
    for (const { value } of batch.samples) values.add(String(value));
  }
  for (const hard of ['-0', 'NaN', 'Infinity', '-Infinity', '5e-324', '1.7976931348623157e+308', '9007199254740991'])
    expect(values).toContain(hard);
  // no series has two samples at one time
  const places = samples.flatMap((batch) => batch.samples.map(({ series, at_ms }) => `${series}/${at_ms}`));
  expect(new Set(places).size).toBe(places.length);
});

test('the same marks and seed make the same bytes, another seed others', () => {
  expect(batches(7).map(({ body }) => body)).toEqual(batches(7).map(({ body }) => body));
  expect(batches(7)[0]?.body).not.toBe(batches(8)[0]?.body);
});

test('the closing batch ends the job: both ranks exit, later than anything else of it', () => {
  const made = batches();
  const closing = made.at(-1);
  const times = made.filter(({ path }) => path === '/v1/events').map((batch) => records(batch).map(timeOf));
  const last = times.pop() ?? [];
  expect(Math.min(...last)).toBeGreaterThan(Math.max(...times.flat()));
  const states = closing === undefined ? [] : records(closing);
  expect(states).toMatchObject([
    { type: 'heartbeat', rank: 0, state: 'exited' },
    { type: 'heartbeat', rank: 1, state: 'exited' },
    { type: 'phase', phase: 'train', state: 'end' },
  ]);
});
