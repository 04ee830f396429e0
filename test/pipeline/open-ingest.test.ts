import { describe, expect, test } from 'vitest';
import { ManualClock } from '../../src/core/clock.ts';
import { LeewayError } from '../../src/core/errors.ts';
import type { Outcome } from '../../src/core/outcome.ts';
import type { Backlog, Batch, Bus, Published } from '../../src/core/ports.ts';
import { seededRandom } from '../../src/core/random.ts';
import type { SetAside } from '../../src/core/set-aside.ts';
import type { DecodedSamples, SampleTarget } from '../../src/formats/decoded-samples.ts';
import { decodeRemoteWrite } from '../../src/formats/remote-write.ts';
import { OpenIngest, type OpenIngestOptions } from '../../src/pipeline/open-ingest.ts';
import { type TestSeries, writeRequest } from '../formats/remote-write-messages.ts';
import { rowsOf } from '../formats/sample-rows.ts';

const NOW = 1_767_225_600_000;
const signal = new AbortController().signal;

/** A bus that keeps what it is given, or refuses it while it is full. */
class MemoryBus implements Bus {
  readonly batches: Batch[] = [];
  readonly #known = new Set<string>();
  isFull = false;

  async publish(batch: Batch): Promise<Published> {
    if (this.isFull) throw new LeewayError('LW-SPOOL-FULL', 'full');
    const name = `${batch.source}/${batch.epoch}/${batch.sequence}`;
    const repeated = this.#known.has(name);
    this.#known.add(name);
    if (!repeated) this.batches.push(structuredClone(batch)); // samples are views that hold until the next body
    return { repeated };
  }

  async consume(): Promise<void> {
    this.batches.length = 0;
  }

  backlog(): Backlog {
    return { bytes: 0, frames: 0, oldest_ms: 0, in_flight: [], torn_frames: 0, damaged_frames: 0, quarantined: [] };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.batches.length = 0;
  }
}

function open(more: Partial<OpenIngestOptions> = {}) {
  const bus = new MemoryBus();
  const aside: SetAside[] = [];
  const ingest = new OpenIngest({
    bus,
    clock: new ManualClock(NOW),
    random: seededRandom(1),
    epoch: 7,
    onSetAside: (one) => void aside.push(one),
    ...more,
  });
  const write = (source: string, ...series: TestSeries[]) =>
    ingest.take({ source, identity: null }, remoteWrite(...series), signal);
  return { bus, aside, ingest, write };
}

function remoteWrite(...series: TestSeries[]): (target: SampleTarget) => Outcome<DecodedSamples> {
  return (target) => decodeRemoteWrite(writeRequest(...series), target);
}

const named = (metric: string, labels: Readonly<Record<string, string>> = {}, at_ms = NOW): TestSeries => ({
  labels: Object.entries({ __name__: metric, ...labels }),
  samples: [[at_ms, 1]],
});
const many = (metric: string, count: number, from = 0): TestSeries[] =>
  Array.from({ length: count }, (_, index) => named(metric, { id: String(from + index), zone: String(index % 3) }));
const metrics = (batch: Batch | undefined): unknown[] =>
  (batch?.records ?? []).map(
    (record) => `${record.type}:${String(Reflect.get(record, 'metric') ?? Reflect.get(record, 'gpu'))}`,
  );

describe('mapped series', () => {
  const gpu = named('DCGM_FI_DEV_GPU_TEMP', { Hostname: 'n1', gpu: '3' });

  test('are stored as they came and make a record beside; only the samples are counted', async () => {
    const { bus, write } = open();
    expect(await write('prometheus', gpu, named('up'))).toMatchObject({ samples_count: 2 });
    expect(metrics(bus.batches[0])).toEqual(['series:DCGM_FI_DEV_GPU_TEMP', 'series:up', 'gpu:3']);
    expect(bus.batches[0]?.samples?.rows).toBe(2);
  });

  test('of a body that was refused make their record when it comes again', async () => {
    const { bus, write } = open();
    bus.isFull = true;
    await expect(write('prometheus', gpu)).rejects.toMatchObject({ code: 'LW-SPOOL-FULL' });
    bus.isFull = false;
    await write('prometheus', gpu);
    expect(metrics(bus.batches[0])).toEqual(['series:DCGM_FI_DEV_GPU_TEMP', 'gpu:3']);
  });
});

describe('a clock more than a day off', () => {
  const ahead = named('x', {}, NOW + 86_400_001);

  test('takes its own samples out of the body, tells why, and keeps them for a person', async () => {
    const { bus, aside, write } = open();
    const taken = await write('phone', named('x', {}, NOW), ahead);
    expect(taken).toMatchObject({ samples_count: 1, rejections: [{ code: 'clock', count: 1 }] });
    expect(bus.batches[0]?.samples?.rows).toBe(1);
    expect(aside).toMatchObject([{ source: 'phone', kind: 'samples', code: 'clock', count: 1, truncated: false }]);
    const [[id, at_ms, value] = []] = (aside[0]?.raw ?? []) as readonly (readonly unknown[])[];
    expect([id, at_ms, value]).toEqual([Reflect.get(bus.batches[0]?.records[0] ?? {}, 'id'), NOW + 86_400_001, 1]);
  });

  test('makes no record of a GPU, and a body of nothing else is no batch', async () => {
    const { bus, aside, write } = open();
    const off = named('DCGM_FI_DEV_GPU_TEMP', { gpu: '3' }, NOW - 86_400_001);
    await write('phone', off);
    expect(metrics(bus.batches[0])).toEqual(['series:DCGM_FI_DEV_GPU_TEMP']);
    await write('phone', off);
    expect([bus.batches.length, aside.length]).toEqual([1, 2]);
  });

  test('is kept once for a body that is refused and comes again, and not again for a repeat', async () => {
    const { bus, aside, ingest } = open();
    const send = () =>
      ingest.take({ source: 'a', identity: { epoch: 1, sequence: 1 } }, remoteWrite(named('x'), ahead), signal);
    bus.isFull = true;
    await expect(send()).rejects.toMatchObject({ code: 'LW-SPOOL-FULL' });
    expect(aside).toEqual([]);
    bus.isFull = false;
    expect(await send()).toMatchObject({ repeated: false });
    expect(await send()).toMatchObject({ repeated: true });
    expect(aside).toHaveLength(1);
  });
});

describe('a source with more series than its cap', () => {
  test('keeps the excess as __overflow__ and names who did it, with counts; another source notices nothing', async () => {
    const { bus, ingest, write } = open({ book: { series_max: 100 } });
    await write('good', ...many('steady', 50));
    await write('bad', ...many('http_requests', 90), ...many('other', 40));
    // linear counting: values within 10 %
    expect(ingest.overflow('bad')).toMatch(
      /^more series than the cap; the excess is kept as __overflow__: other 30 times \(label id: about (2[789]|3[0123]) values\)$/,
    );
    await write('bad', ...many('http_requests', 20, 5_000));
    expect(ingest.overflow('bad')).toMatch(
      /__overflow__: other 30 times \(label id: about .. values\), http_requests 20 times \(label id: about (1[89]|2[012]) values\)$/,
    );
    await write('good', ...many('steady', 50));
    expect(ingest.overflow('good')).toBeNull();
    expect(ingest.overflow('never seen')).toBeNull();
    const announced = bus.batches.flatMap(({ source, records }) =>
      records.filter(({ type }) => type === 'series').map((row) => [source, Reflect.get(row, 'labels')] as const),
    );
    expect(announced.filter(([source]) => source === 'good')).toHaveLength(50);
    const over = announced.filter(([source, labels]) => source === 'bad' && '__overflow__' in labels);
    expect(over.map(([, labels]) => labels)).toEqual([
      { __name__: 'other', __overflow__: 'true' },
      { __name__: 'http_requests', __overflow__: 'true' },
    ]);
    // every sample is written: 90 + 40 and 20, those of the excess under the overflow series
    const written = bus.batches.filter(({ source }) => source === 'bad').map(({ samples }) => samples?.rows);
    expect(written).toEqual([130, 20]);
    const last = bus.batches.findLast(({ source }) => source === 'bad')?.samples;
    expect(new Set(last === undefined ? [] : rowsOf(last).map(({ id }) => id)).size).toBe(1);
  });
});

test('many sources together have a cap too, within which each is sure of its share; what is forgotten is free again', async () => {
  const clock = new ManualClock(NOW);
  const shelf = { series_count: 0, total_max: 100, sure_max: 10 };
  const { ingest, write } = open({ clock, book: { shelf } });
  await write('greedy', ...many('m', 500));
  expect(ingest.overflow('greedy')).toMatch(/m 400 times/);
  await write('late', ...many('m', 10));
  expect(ingest.overflow('late')).toBeNull();
  await write('late', ...many('m', 3, 1_000));
  expect(ingest.overflow('late')).toMatch(/m 3 times/);
  expect(shelf.series_count).toBe(100 + 1 + 10 + 1); // each with its overflow series
  await clock.advance(3_600_001);
  await write('greedy', ...many('m', 1)); // everything came since the last look
  await clock.advance(3_600_001);
  await write('greedy', ...many('m', 1));
  expect(shelf.series_count).toBe(1 + 10 + 1);
  await write('late', ...many('m', 50, 2_000));
  expect(ingest.overflow('late')).toBeNull();
});

test('the report is of the last hour: when the excess is over, it is no longer told', async () => {
  const clock = new ManualClock(NOW);
  const { ingest, write } = open({ clock, book: { series_max: 10 } });
  await write('s', ...many('m', 3_000));
  expect(ingest.overflow('s')).toMatch(/m 2990 times \(label id: more than 2000 values\)$/);
  await clock.advance(3_600_001);
  await write('s', ...many('m', 5));
  expect(ingest.overflow('s')).toBeNull();
});

describe('more new series than may wait', () => {
  test('are announced by the attempt that is refused, so that the sender comes through', async () => {
    const { bus, write } = open({ book: { new_max: 100 } });
    const body = many('burst', 250);
    const outcomes: string[] = [];
    for (let attempt = 0; attempt < 5 && outcomes.at(-1) !== 'taken'; attempt++)
      outcomes.push(
        await write('burst', ...body).then(
          () => 'taken',
          (error: LeewayError) => error.code,
        ),
      );
    expect(outcomes).toEqual(['LW-BUSY', 'LW-BUSY', 'taken']);
    const ids = bus.batches.flatMap(({ records }) => records.map((row) => Reflect.get(row, 'id')));
    expect([ids.length, new Set(ids).size]).toEqual([250, 250]);
    expect(bus.batches.at(-1)?.samples?.rows).toBe(250);
  });

  test('wait while nothing can be written, and none is forgotten', async () => {
    const { bus, write } = open({ book: { new_max: 100 } });
    bus.isFull = true;
    for (let body = 0; body < 3; body++)
      await expect(write('s', ...many('m', 60, body * 60))).rejects.toBeInstanceOf(LeewayError);
    bus.isFull = false;
    for (let body = 0; body < 3; body++)
      await write('s', ...many('m', 60, body * 60)).catch(() => write('s', ...many('m', 60, body * 60)));
    const ids = bus.batches.flatMap(({ records }) => records.map((row) => Reflect.get(row, 'id')));
    expect(new Set(ids).size).toBe(180);
    expect(bus.batches.reduce((rows, { samples }) => rows + (samples?.rows ?? 0), 0)).toBe(180);
  });
});

describe('series of refused bodies, with much text', () => {
  const wide = (body: number, count: number): TestSeries[] =>
    Array.from({ length: count }, (_, index) =>
      named('m', { id: `${body}.${index}`, a: 'x'.repeat(2_000), b: 'y'.repeat(2_000) }),
    );

  test('go ahead of the next body in batches of a megabyte, so that it is neither too large nor long in the making', async () => {
    const { bus, write } = open();
    bus.isFull = true;
    for (let body = 0; body < 4; body++)
      await expect(write('s', ...wide(body, 200))).rejects.toMatchObject({ code: 'LW-SPOOL-FULL' });
    bus.isFull = false;
    await write('s', named('last'));
    const rows = bus.batches.map(({ records, samples }) => [records.length, samples?.rows ?? 0]);
    expect(rows.at(-1)).toEqual([1, 1]);
    const ahead = rows.slice(0, -1);
    expect(ahead.length).toBeGreaterThanOrEqual(2); // 400 rows of 4 KB waited: later bodies were refused before they were read
    for (const [records, samples] of ahead) expect([(records ?? 0) <= 262, samples]).toEqual([true, 0]);
  });

  test('cost a refused body one batch of them and not all again', async () => {
    const { bus, write } = open();
    const asked: number[] = [];
    const publish = bus.publish.bind(bus);
    bus.publish = (batch) => {
      asked.push(batch.records.length);
      return publish(batch);
    };
    bus.isFull = true;
    for (let body = 0; body < 30; body++)
      await expect(write('s', ...wide(body, 100))).rejects.toBeInstanceOf(LeewayError);
    expect(Math.max(...asked)).toBeLessThanOrEqual(400);
    expect(asked.slice(-20).every((rows) => rows <= 262)).toBe(true);
  });

  test('wait up to a cap of bytes, then their senders come again', async () => {
    const { bus, write } = open({ book: { new_bytes_max: 100_000 } });
    const outcome = (): Promise<string> =>
      write('s', ...wide(0, 100)).then(
        () => 'taken',
        (error: LeewayError) => error.code,
      );
    const outcomes: string[] = [];
    for (let attempt = 0; attempt < 4; attempt++) outcomes.push(await outcome());
    expect(outcomes).toEqual(['LW-BUSY', 'LW-BUSY', 'LW-BUSY', 'taken']); // 25 rows of 4,012 characters at a time
    expect(new Set(bus.batches.flatMap(({ records }) => records.map((row) => Reflect.get(row, 'id')))).size).toBe(100);
  });
});

describe('more sources than there are books', () => {
  test('share one for the rest of them; each keeps its own account', async () => {
    const { bus, write } = open();
    for (let source = 0; source < 70; source++) await write(`pod-${source}`, named('up', { pod: String(source) }));
    expect(bus.batches.map(({ source, sequence }) => [source, sequence])).toEqual(
      Array.from({ length: 70 }, (_, source) => [`pod-${source}`, 1]),
    );
  });

  test('find room when others were away for an hour, whose series are then announced again and numbered on', async () => {
    const clock = new ManualClock(NOW);
    const shelf = { series_count: 0, total_max: 1_000, sure_max: 10 };
    const { bus, ingest, write } = open({ clock, book: { shelf, series_max: 1 } });
    for (let source = 0; source < 64; source++) await write(`pod-${source}`, named('up'));
    await clock.advance(3_600_001);
    await write('pod-1', named('up'));
    await write('new', named('up'), named('down'));
    expect(ingest.overflow('new')).toMatch(/down 1 times/); // a book of its own, of one series
    await write('newer', named('up'));
    expect(ingest.overflow('newer')).toBeNull();
    expect(shelf.series_count).toBe(1 + 2 + 1);
    await write('pod-0', named('up'));
    expect(bus.batches.at(-1)).toMatchObject({ source: 'pod-0', sequence: 2, records: [{ type: 'series' }] });
  });
});

test('series of a refused batch are not forgotten with a repeat that stores nothing', async () => {
  const { bus, ingest, write } = open();
  const repeatable = () =>
    ingest.take({ source: 'a', identity: { epoch: 1, sequence: 1 } }, remoteWrite(named('first')), signal);
  await repeatable();
  bus.isFull = true;
  await expect(write('a', named('second'))).rejects.toMatchObject({ code: 'LW-SPOOL-FULL' });
  bus.isFull = false;
  expect((await repeatable()).repeated).toBe(true);
  await write('a', named('third'));
  expect(new Set(metrics(bus.batches.at(-1)))).toEqual(new Set(['series:second', 'series:third']));
});
