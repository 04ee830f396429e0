import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { expect, test, vi } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import { LeewayError } from '../../src/core/errors.ts';
import { ok, type Outcome, retry } from '../../src/core/outcome.ts';
import type { Batch, Bus, FrameHeader } from '../../src/core/ports.ts';
import { integerBelow, type Random, seededRandom } from '../../src/core/random.ts';
import type { LeewayRecord } from '../../src/core/records.ts';
import { type SpoolDisk, systemDisk } from '../../src/transport/disk.ts';
import { openSpool } from '../../src/transport/spool.ts';
import type { SpoolEvent, SpoolOptions } from '../../src/transport/spool-options.ts';
import type { DropPolicy } from '../../src/transport/spool-quota.ts';
import { take } from '../contract/bus.ts';
import { steps } from '../contract/records.ts';
import { scratchDirectory } from '../contract/scratch-directory.ts';
import { diskError, faultyDisk, mortalDisk } from './faulty-disk.ts';

vi.setConfig({ testTimeout: 30_000 }); // real files on a machine that others use too

const signal = new AbortController().signal;
const seed = Number(process.env['LEEWAY_SEED'] ?? Date.now() % 1_000_000);

function open(data_dir: string, more: Partial<SpoolOptions> = {}): Promise<Bus> {
  const known = { sequences: [], lineage_max: 0n };
  return openSpool({ data_dir, bytes_max: 1e9, fsync: false, clock: systemClock, known, close_ms: 0, ...more });
}

function batch(sequence: number, records: readonly LeewayRecord[] = steps(sequence * 10, sequence * 10 + 10)): Batch {
  return { source: 'node-1', epoch: 7, sequence, records };
}

/** A record of each signal: gpu metrics, a prediction, a step. */
function gpuRecord(at_ms: number): LeewayRecord {
  return { type: 'gpu', node: 'n1', gpu: 0, at_ms, utilization: 0.5 };
}

function labelRecord(at_ms: number): LeewayRecord {
  return { type: 'label', model: 'm', request_id: `r${at_ms}`, at_ms, label: 1 };
}

const sum = (rows: readonly { readonly records: number }[] = []): number =>
  rows.reduce((total, { records }) => total + records, 0);

/** Publishes until the bus refuses; returns how many batches it took. */
async function fill(bus: Bus, records: (sequence: number) => readonly LeewayRecord[], from = 1): Promise<number> {
  for (let sequence = from; ; sequence++) {
    try {
      await bus.publish(batch(sequence, records(sequence)), signal);
    } catch (error) {
      expect(error).toMatchObject({ code: 'LW-SPOOL-FULL' });
      return sequence - from;
    }
  }
}

/** Publishes until something is dropped. */
async function fillWith(bus: Bus, from: number): Promise<void> {
  for (let sequence = from; sum(bus.backlog().dropped) === 0; sequence++)
    await bus.publish(batch(sequence, steps(0, 1_000)), signal);
}

/** Bytes of buffers that something still holds. */
async function bufferBytes(): Promise<number> {
  setFlagsFromString('--expose-gc');
  const collectGarbage: unknown = runInNewContext('gc');
  setFlagsFromString('--no-expose-gc');
  for (let round = 0; round < 3; round++) {
    if (typeof collectGarbage === 'function') collectGarbage();
    await systemClock.sleep(1, signal);
  }
  return process.memoryUsage().arrayBuffers;
}

test('drop_oldest: a full spool takes what is new, gives up the oldest segments and declares them', async () => {
  await using directory = await scratchDirectory();
  const events: SpoolEvent[] = [];
  const options = { bytes_max: 40_000, segment_bytes_max: 8_000, onEvent: (event: SpoolEvent) => events.push(event) };
  await using bus = await open(directory.path, { ...options, policy: 'drop_oldest' });
  for (let sequence = 1; sequence <= 60; sequence++) {
    expect(await bus.publish(batch(sequence), signal)).toEqual({ repeated: false });
    const { bytes, in_flight, dropped } = bus.backlog();
    expect(bytes).toBeLessThanOrEqual(40_000);
    expect(sum(in_flight) + sum(dropped)).toBe(sequence * 10);
  }
  const { dropped = [], dropped_batches } = bus.backlog();
  const lost = sum(dropped) / 10;
  expect(lost).toBeGreaterThan(20);
  expect(dropped).toMatchObject([{ source: 'node-1', epoch: 7, reason: 'spool_full_oldest', records: lost * 10 }]);
  expect(dropped_batches).toEqual([{ source: 'node-1', epoch: 7, ranges: [[1, lost]] }]);
  expect(events.every(({ kind }) => kind === 'spool_dropped')).toBe(true);
  const frames = (await take(bus, (60 - lost) * 10)).flatMap((delivery) => delivery.frames);
  expect(frames.map(({ sequence }) => sequence)).toEqual(Array.from({ length: 60 - lost }, (_, at) => lost + 1 + at));
});

test('what drop_oldest gives up at once is about a sixteenth of the quota, and no more is out of reach while delivered', async () => {
  await using directory = await scratchDirectory();
  await using bus = await open(directory.path, { bytes_max: 320_000, policy: 'drop_oldest' });
  let sequence = 0;
  while (sum(bus.backlog().dropped) === 0) await bus.publish(batch(++sequence), signal);
  const { in_flight, dropped } = bus.backlog();
  // a segment closes with the batch that fills it: a sixteenth of the quota and one batch of 10 records
  expect(sum(dropped)).toBeLessThanOrEqual((sum(in_flight) + sum(dropped)) / 16 + 20);
});

test('what was handed over and perhaps stored is not dropped between two attempts: nothing counts as stored and lost', async () => {
  await using directory = await scratchDirectory();
  await using bus = await open(directory.path, { bytes_max: 40_000, segment_bytes_max: 8_000, policy: 'drop_oldest' });
  const stored = new Map<number, number>();
  const deliver = async (answer: Outcome): Promise<void> => {
    const stop = new AbortController();
    await bus.consume(async ({ frames }) => {
      for (const { sequence, rows } of frames) stored.set(sequence, rows);
      stop.abort(); // one attempt
      return answer;
    }, stop.signal);
  };
  for (let sequence = 1; sequence <= 5; sequence++) await bus.publish(batch(sequence), signal);
  await deliver(retry('LW-TIMEOUT', 'stored, and the answer was lost'));
  const first = [...stored.keys()];
  expect(first).toContain(1);
  for (let sequence = 6; sequence <= 60; sequence++) await bus.publish(batch(sequence), signal);
  expect(sum(bus.backlog().dropped)).toBeGreaterThan(0);
  const lost = (bus.backlog().dropped_batches ?? []).flatMap(({ ranges }) => ranges);
  for (const sequence of first) expect(lost.some(([from, to]) => from <= sequence && sequence <= to)).toBe(false);
  while (bus.backlog().frames > 0) await deliver(ok(undefined));
  const records = [...stored.values()].reduce((total, rows) => total + rows, 0);
  expect(records + sum(bus.backlog().dropped)).toBe(600);
});

test('drop_newest: a full spool keeps what it has, acknowledges what arrives and declares it', async () => {
  await using directory = await scratchDirectory();
  {
    await using bus = await open(directory.path, { bytes_max: 20_000, policy: 'drop_newest' });
    await Promise.all(Array.from({ length: 60 }, (_, at) => bus.publish(batch(at + 1), signal)));
    const kept = sum(bus.backlog().in_flight) / 10;
    expect(bus.backlog().dropped).toMatchObject([{ reason: 'spool_full_newest', records: (60 - kept) * 10 }]);
    expect(bus.backlog().dropped_batches).toMatchObject([{ ranges: [[kept + 1, 60]] }]);
    expect(await bus.publish(batch(60), signal)).toEqual({ repeated: true });
  }
  await using bus = await open(directory.path, { bytes_max: 1e9, policy: 'drop_newest' });
  expect(sum(bus.backlog().in_flight) + sum(bus.backlog().dropped)).toBe(600);
  expect(await bus.publish(batch(60), signal)).toEqual({ repeated: true }); // it was acknowledged: it is not sent twice
  expect(await bus.publish(batch(61), signal)).toEqual({ repeated: false });
});

test('drop_newest: what waits to be declared holds no bodies, however long the disk takes', async () => {
  await using directory = await scratchDirectory();
  const gate = Promise.withResolvers<void>();
  let isSlow = false;
  const real = systemDisk(false);
  const disk: SpoolDisk = {
    ...real,
    create: async (file, room) => {
      const handle = await real.create(file, room);
      if (!file.includes('gaps-')) return handle;
      return {
        append: async (bytes) => {
          if (isSlow) await gate.promise;
          await handle.append(bytes);
        },
        sync: () => handle.sync(),
        truncate: (size) => handle.truncate(size),
        close: () => handle.close(),
      };
    },
  };
  await using bus = await open(directory.path, { bytes_max: 1_048_576, policy: 'drop_newest', disk });
  await fillWith(bus, 1);
  isSlow = true;
  const many = steps(0, 5_000);
  const before_bytes = await bufferBytes();
  const published: Promise<unknown>[] = [];
  for (let sequence = 100; sequence < 130; sequence++) {
    published.push(bus.publish(batch(sequence, many), signal));
    await systemClock.sleep(0, signal); // a write of its own, or the queue
  }
  const held_bytes = (await bufferBytes()) - before_bytes;
  gate.resolve();
  await Promise.all(published);
  // 30 bodies of 5,000 steps are 6 MB or more: 8 bytes each of time, duration, compute, data and loss
  expect(held_bytes).toBeLessThan(3_000_000);
  expect(sum(bus.backlog().dropped)).toBeGreaterThanOrEqual(30 * 5_000);
});

test('signals by policy: metrics make room for records, predictions are left out, records are never lost', async () => {
  await using directory = await scratchDirectory();
  const policies = { metrics: 'drop_oldest', predictions: 'drop_newest', records: 'block' } as const;
  await using bus = await open(directory.path, { bytes_max: 60_000, segment_bytes_max: 8_000, policies });
  const metrics = Array.from({ length: 20 }, (_, at) => gpuRecord(at));
  for (let sequence = 1; sequence <= 40; sequence++) await bus.publish(batch(sequence, metrics), signal);
  const before = sum(bus.backlog().dropped);
  expect(before).toBeGreaterThan(0);
  const taken = await fill(bus, () => steps(0, 10), 41);
  expect(taken).toBeGreaterThan(10);
  expect(sum(bus.backlog().dropped)).toBe(40 * 20); // all of the metrics went, none of the steps
  expect(sum(bus.backlog().in_flight)).toBe(taken * 10);
  const labels = Array.from({ length: 40 }, (_, at) => labelRecord(at));
  await bus.publish(batch(1_000, labels), signal);
  expect(bus.backlog().dropped?.filter(({ reason }) => reason === 'spool_full_newest')).toMatchObject([
    { records: 40 },
  ]);
});

test('of a batch of several signals only what policy names is left out, and a repeat of it is a repeat', async () => {
  await using directory = await scratchDirectory();
  const options = { bytes_max: 20_000, policies: { metrics: 'drop_newest' } } as const;
  {
    await using bus = await open(directory.path, options);
    const filled = await fill(bus, () => steps(0, 10));
    const mixed = { ...batch(5_000, [gpuRecord(1)]), source: 'node-2' };
    expect(await bus.publish(mixed, signal)).toEqual({ repeated: false });
    await take(bus, filled * 10);
    const two = { ...batch(5_001, [gpuRecord(1), ...steps(0, 1)]), source: 'node-2' };
    expect(await bus.publish(two, signal)).toEqual({ repeated: false });
    expect(bus.backlog().dropped).toMatchObject([{ source: 'node-2', records: 1 }]);
    expect(bus.backlog().in_flight).toMatchObject([{ source: 'node-2', epoch: 7, records: 2 }]);
  }
  await using bus = await open(directory.path, options);
  expect(await bus.publish({ ...batch(5_000, [gpuRecord(1)]), source: 'node-2' }, signal)).toEqual({ repeated: true });
});

test('a segment that is being delivered is not dropped: what does not fit beside it is refused', async () => {
  await using directory = await scratchDirectory();
  await using bus = await open(directory.path, { bytes_max: 12_000, policy: 'drop_oldest' });
  await bus.publish(batch(1, steps(0, 60)), signal);
  const stop = new AbortController();
  await bus.consume(async (delivery) => {
    await expect(bus.publish(batch(2, steps(0, 60)), signal)).rejects.toMatchObject({ code: 'LW-SPOOL-FULL' });
    expect(delivery.rows).toBe(60);
    stop.abort();
    return ok(undefined);
  }, stop.signal);
  expect(bus.backlog()).toMatchObject({ in_flight: [], bytes: 0 });
  expect(bus.backlog()).not.toHaveProperty('dropped');
  await bus.publish(batch(2, steps(0, 60)), signal);
});

test('a dropped segment that cannot be read is declared by its counts, one that cannot be removed stays declared', async () => {
  await using directory = await scratchDirectory();
  const broken = faultyDisk((operation, file) => file.endsWith('.native') && /read|unlink/.test(operation));
  const options = { bytes_max: 20_000, policy: 'drop_oldest' as const };
  let dropped = 0;
  {
    await using bus = await open(directory.path, { ...options, disk: broken });
    for (let sequence = 1; sequence <= 40; sequence++) await bus.publish(batch(sequence), signal);
    dropped = sum(bus.backlog().dropped);
    expect(sum(bus.backlog().in_flight) + dropped).toBe(400);
  }
  await using bus = await open(directory.path, options);
  expect(sum(bus.backlog().dropped)).toBe(dropped);
  expect(sum(bus.backlog().in_flight)).toBe(400 - dropped); // the dropped file was still there, and is not read
});

/** The store of the model: frames by name, a repeated one counts once. */
class StoredFrames {
  readonly frames = new Map<string, FrameHeader>();

  add(headers: readonly FrameHeader[]): void {
    for (const header of headers) this.frames.set(`${header.source} ${header.sequence} ${header.table}`, header);
  }

  get rows(): number {
    let rows = 0;
    for (const frame of this.frames.values()) rows += frame.rows;
    return rows;
  }

  get lineage_max(): bigint {
    let max = 0n;
    for (const { lineage } of this.frames.values()) if (lineage > max) max = lineage;
    return max;
  }

  /** Complete sequences, as the store answers at a start. */
  get sequences(): { source: string; epoch: number; from: number; to: number }[] {
    const batches = Map.groupBy(this.frames.values(), ({ source, sequence }) => `${source} ${sequence}`);
    return [...batches.values()].flatMap((frames) => {
      const [first] = frames;
      if (first === undefined || frames.length < first.parts) return [];
      const { source, epoch, sequence } = first;
      return [{ source, epoch, from: sequence, to: sequence }];
    });
  }
}

const POLICIES: readonly DropPolicy[] = ['block', 'drop_oldest', 'drop_newest'];

/** What the senders of the model know. */
type Emitted = { rows: number; sequence: number };

/** Takes one delivery, if there is something to deliver. */
async function deliver(bus: Bus, stored: StoredFrames): Promise<void> {
  if (sum(bus.backlog().in_flight) === 0) return;
  const stop = new AbortController();
  await bus.consume(async (delivery) => {
    stop.abort();
    stored.add(delivery.frames);
    return ok(undefined);
  }, stop.signal);
}

/** Publishes up to 14 records of two tables; counts them when they are acknowledged. */
async function emit(bus: Bus, random: Random, emitted: Emitted): Promise<void> {
  const metrics = Array.from({ length: integerBelow(random, 8) }, (_, at) => gpuRecord(at));
  const records = [...steps(0, integerBelow(random, 8)), ...metrics];
  if (records.length === 0) return;
  const sent = batch(++emitted.sequence, records);
  try {
    expect(await bus.publish(sent, signal)).toEqual({ repeated: false });
  } catch (error) {
    expect(error).toBeInstanceOf(LeewayError);
    return;
  }
  emitted.rows += records.length;
  expect(await bus.publish(sent, signal)).toEqual({ repeated: true });
}

/** Four lives of a spool under some policy: batches come, are delivered or dropped, and the process is killed. */
async function live(random: Random, directory: string, run: number): Promise<void> {
  const any = (): DropPolicy => POLICIES[integerBelow(random, POLICIES.length)] ?? 'block';
  const policies = { metrics: any(), records: any() };
  const stored = new StoredFrames();
  const emitted: Emitted = { rows: 0, sequence: 0 };
  let unanswered = 0;
  for (let start = 0; start < 4; start++) {
    const { disk, kill } = mortalDisk();
    const known = { sequences: stored.sequences, lineage_max: stored.lineage_max };
    const bus = await open(directory, { disk, known, bytes_max: 12_000, segment_bytes_max: 3_000, policies });
    const account = (): number => stored.rows + sum(bus.backlog().in_flight) + sum(bus.backlog().dropped);
    // what was acknowledged is there or declared; of what was not answered, parts may be there beside it
    const beside = account() - emitted.rows - unanswered;
    expect({ run, start, beside: beside >= 0 && beside <= 3 * 14 }).toEqual({ run, start, beside: true });
    unanswered += beside;
    for (let turn = 0; turn < 25; turn++) {
      await (integerBelow(random, 4) === 0 ? deliver(bus, stored) : emit(bus, random, emitted));
      expect({ run, start, turn, account: account() - unanswered }).toEqual({
        run,
        start,
        turn,
        account: emitted.rows,
      });
    }
    kill(integerBelow(random, 12)); // … in the middle of what three more batches do to the disk
    for (let count = 0; count < 3; count++) await emit(bus, random, emitted);
    await bus[Symbol.asyncDispose]();
  }
}

test(`emitted = stored + in flight + declared at every step, under every policy, kills included (seed ${seed})`, async () => {
  const random = seededRandom(seed);
  for (let run = 0; run < 5; run++) {
    await using directory = await scratchDirectory();
    await live(random, directory.path, run);
  }
});

test('nothing overtakes a segment whose drop fails: rows of a batch written twice are counted in the order of acceptance', async () => {
  await using directory = await scratchDirectory();
  const [begun, decided] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const real = systemDisk(false);
  const disk: SpoolDisk = {
    ...real,
    create: async (file) => {
      if (!file.includes('gaps-')) return real.create(file);
      begun.resolve();
      await decided.promise;
      throw diskError(); // the list of gaps cannot be written: nothing is dropped
    },
  };
  const options = { bytes_max: 40_000, segment_bytes_max: 8_000, policy: 'drop_oldest', disk } as const;
  await using bus = await open(directory.path, options);
  let isDropping = false;
  void begun.promise.then(() => (isDropping = true));
  const late: Promise<unknown>[] = [];
  for (let sequence = 1; !isDropping; sequence++) {
    const published = bus.publish(batch(sequence), signal).catch(() => undefined); // the last one is refused
    late.push(published);
    await Promise.race([published, begun.promise]);
  }
  const taking = take(bus, 100);
  decided.resolve();
  const [first] = await taking;
  expect(first?.frames[0]?.sequence).toBe(1);
  await Promise.all(late);
});
