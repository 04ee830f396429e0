import { readdir, readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, test } from 'vitest';
import { ManualClock, systemClock } from '../../src/core/clock.ts';
import { ok } from '../../src/core/outcome.ts';
import type { Batch, Bus } from '../../src/core/ports.ts';
import { scanFrames } from '../../src/transport/frame.ts';
import { type SpoolDisk, systemDisk } from '../../src/transport/disk.ts';
import { openSpool } from '../../src/transport/spool.ts';
import type { SpoolEvent, SpoolOptions } from '../../src/transport/spool-options.ts';
import { take } from '../contract/bus.ts';
import { heartbeat, steps } from '../contract/records.ts';
import { scratchDirectory } from '../contract/scratch-directory.ts';

const signal = new AbortController().signal;

function open(data_dir: string, more: Partial<SpoolOptions> = {}): Promise<Bus> {
  const known = { sequences: [], lineage_max: 0n };
  return openSpool({ data_dir, bytes_max: 1e9, fsync: true, clock: systemClock, known, close_ms: 0, ...more });
}

function batch(sequence: number, records: Batch['records'] = steps(sequence * 10, sequence * 10 + 2)): Batch {
  return { source: 'node-1', epoch: 7, sequence, records };
}

async function onlyFile(data_dir: string, suffix = '.native'): Promise<string> {
  const names = (await readdir(path.join(data_dir, 'spool'))).filter((name) => name.endsWith(suffix));
  expect(names).toHaveLength(1);
  return path.join(data_dir, 'spool', names[0] ?? '');
}

/** A disk that fails on demand, as one does: `fail` throws instead of the operation it is named for. */
function failingDisk(fail: (operation: string, count: number) => string | null): SpoolDisk {
  const real = systemDisk(true);
  const counts = new Map<string, number>();
  const attempt = (operation: string): void => {
    const count = (counts.get(operation) ?? 0) + 1;
    counts.set(operation, count);
    const code = fail(operation, count);
    if (code !== null) throw Object.assign(new Error(`${code}: ${operation}`), { code });
  };
  return {
    ...real,
    create: async (file) => {
      attempt('create');
      const handle = await real.create(file);
      return {
        append: async (bytes) => {
          const all = Buffer.concat(bytes);
          try {
            attempt('append');
          } catch (error) {
            await handle.append([all.subarray(0, all.length >> 1)]); // a full disk takes what fits
            throw error;
          }
          await handle.append([all]);
        },
        sync: async () => {
          attempt('sync');
          await handle.sync();
        },
        truncate: async (size) => {
          attempt('truncate');
          await handle.truncate(size);
        },
        close: () => handle.close(),
      };
    },
  };
}

test('a write torn at any byte is cut off at the next start, counted, and its batch is not taken for known', async () => {
  await using directory = await scratchDirectory();
  {
    await using bus = await open(directory.path);
    await bus.publish(batch(1), signal);
    await bus.publish(batch(2), signal);
  }
  const file = await onlyFile(directory.path);
  const bytes = await readFile(file);
  const boundary = scanFrames(bytes, 'step').frames[0]?.end ?? 0;
  for (let cut = boundary + 1; cut < bytes.length; cut += 7) {
    await writeFile(file, bytes.subarray(0, cut));
    await using bus = await open(directory.path);
    expect(bus.backlog()).toMatchObject({
      bytes: boundary,
      frames: 1,
      torn_frames: 1,
      in_flight: [{ source: 'node-1', epoch: 7, records: 2 }],
    });
    expect(await bus.publish(batch(1), signal)).toEqual({ repeated: true });
    expect((await readFile(file)).length).toBe(boundary);
  }
  await using bus = await open(directory.path);
  expect(await bus.publish(batch(2), signal)).toEqual({ repeated: false });
});

test('a file that holds no whole frame is removed at start', async () => {
  await using directory = await scratchDirectory();
  {
    await using bus = await open(directory.path);
    await bus.publish(batch(1), signal);
  }
  const file = await onlyFile(directory.path);
  await writeFile(file, (await readFile(file)).subarray(0, 20));
  await using bus = await open(directory.path);
  expect(bus.backlog()).toMatchObject({ bytes: 0, frames: 0, torn_frames: 1 });
  expect(await readdir(path.join(directory.path, 'spool'))).toEqual([]);
});

test('a file that a newer version wrote stops the start and stays as it is, byte for byte', async () => {
  await using directory = await scratchDirectory();
  {
    await using bus = await open(directory.path);
    await bus.publish(batch(1), signal);
  }
  const file = await onlyFile(directory.path);
  const bytes = await readFile(file);
  bytes.write('LW3 ', bytes.indexOf('LW1 '), 'latin1');
  await writeFile(file, bytes);
  await expect(open(directory.path)).rejects.toMatchObject({
    code: 'LW-FRAME-VERSION',
    message: expect.stringMatching(
      /-step\.native: a frame of version LW3; understood here: LW1, LW2; start the version/,
    ),
  });
  expect((await readFile(file)).equals(bytes)).toBe(true);
});

test('a bit that makes one frame look newer than its neighbours costs that frame and not the start', async () => {
  await using directory = await scratchDirectory();
  {
    await using bus = await open(directory.path);
    for (const sequence of [1, 2, 3]) await bus.publish(batch(sequence), signal);
  }
  const file = await onlyFile(directory.path);
  const bytes = await readFile(file);
  const last = bytes.lastIndexOf('LW1 ') + 2;
  bytes[last] = (bytes[last] ?? 0) ^ 2; // '1' is 0x31, '3' is 0x33
  await writeFile(file, bytes);
  await using bus = await open(directory.path);
  expect(bus.backlog()).toMatchObject({ frames: 2, damaged_frames: 1, torn_frames: 1 });
  expect(await readFile(await onlyFile(directory.path, '.bad'))).toEqual(bytes);
});

test('damage in the middle costs its own frame only; the damaged file is kept beside', async () => {
  await using directory = await scratchDirectory();
  {
    await using bus = await open(directory.path);
    for (const sequence of [1, 2, 3]) await bus.publish(batch(sequence), signal);
  }
  const file = await onlyFile(directory.path);
  const bytes = await readFile(file);
  const second = scanFrames(bytes, 'step').frames[1]?.start ?? 0;
  bytes[second + 300] = (bytes[second + 300] ?? 0) ^ 0xff;
  await writeFile(file, bytes);
  await using bus = await open(directory.path);
  expect(bus.backlog()).toMatchObject({ frames: 2, damaged_frames: 1, torn_frames: 0 });
  expect(await readFile(await onlyFile(directory.path, '.bad'))).toEqual(bytes);
  const frames = (await take(bus, 4)).flatMap((delivery) => delivery.frames);
  expect(frames.map((frame) => frame.sequence)).toEqual([1, 3]);
});

test('a segment damaged while it waits declares what it lost and delivers the rest', async () => {
  await using directory = await scratchDirectory();
  await using bus = await open(directory.path);
  for (const sequence of [1, 2]) await bus.publish(batch(sequence), signal);
  const file = await onlyFile(directory.path);
  const bytes = await readFile(file);
  bytes[300] = (bytes[300] ?? 0) ^ 0xff;
  await writeFile(file, bytes);
  const [delivery] = await take(bus, 2);
  expect(delivery?.frames.map((frame) => frame.sequence)).toEqual([2]);
  expect(bus.backlog()).toMatchObject({
    in_flight: [],
    damaged_frames: 1,
    quarantined: [{ source: 'node-1', epoch: 7, records: 2 }],
  });
});

test('a segment that somebody removed is declared lost and does not hold up the next one', async () => {
  await using directory = await scratchDirectory();
  await using bus = await open(directory.path, { segment_rows_max: 2 });
  await bus.publish(batch(1), signal);
  await rm(await onlyFile(directory.path));
  await bus.publish(batch(2), signal);
  const frames = (await take(bus, 2)).flatMap((delivery) => delivery.frames);
  expect(frames.map((frame) => frame.sequence)).toEqual([2]);
  expect(bus.backlog()).toMatchObject({
    bytes: 0,
    in_flight: [],
    quarantined: [{ source: 'node-1', epoch: 7, records: 2 }],
  });
});

test('a spool that is closing refuses with LW-SPOOL-IO', async () => {
  await using directory = await scratchDirectory();
  const bus = await open(directory.path);
  await bus[Symbol.asyncDispose]();
  await expect(bus.publish(batch(1), signal)).rejects.toMatchObject({ code: 'LW-SPOOL-IO' });
});

test('at its limit the spool refuses with LW-SPOOL-FULL, keeps what it has, and takes more when it is trimmed', async () => {
  await using directory = await scratchDirectory();
  await using bus = await open(directory.path, { bytes_max: 6_000 });
  let accepted = 0;
  const refused = async (): Promise<unknown> => {
    for (; accepted < 50; accepted++) await bus.publish(batch(accepted + 1), signal);
    return null;
  };
  await expect(refused()).rejects.toMatchObject({ code: 'LW-SPOOL-FULL' });
  expect(accepted).toBeGreaterThan(0);
  expect(bus.backlog().bytes).toBeLessThanOrEqual(6_000);
  expect((await take(bus, accepted * 2)).flatMap((delivery) => delivery.frames)).toHaveLength(accepted);
  expect(await bus.publish(batch(accepted + 1), signal)).toEqual({ repeated: false });
});

test.each([
  ['a write that does not fit', 'append', 'ENOSPC'],
  ['a sync that fails', 'sync', 'EIO'],
  ['a file that cannot be made', 'create', 'EROFS'],
])(
  '%s acknowledges nothing, harms nothing acknowledged, and the next try succeeds',
  async (_title, operation, code) => {
    await using directory = await scratchDirectory();
    const failsAt = operation === 'create' ? 1 : 2;
    const disk = failingDisk((name, count) => (name === operation && count === failsAt ? code : null));
    const events: SpoolEvent[] = [];
    await using bus = await open(directory.path, { disk, onEvent: (event) => events.push(event) });
    if (failsAt === 2) await bus.publish(batch(1), signal);
    await expect(bus.publish(batch(2), signal)).rejects.toMatchObject({ code: 'LW-SPOOL-IO', cause: { code } });
    expect(events).toEqual([{ kind: 'spool_write_failed', reason: `step: ${code}` }]);
    expect(await bus.publish(batch(2), signal)).toEqual({ repeated: false });
    const sequences = (await take(bus, failsAt * 2))
      .flatMap((delivery) => delivery.frames)
      .map((frame) => frame.sequence);
    expect(sequences).toEqual(failsAt === 2 ? [1, 2] : [2]);
  },
);

test('a half-written frame that cannot even be cut off is left out of the delivery', async () => {
  await using directory = await scratchDirectory();
  const disk = failingDisk((name, count) => ((name === 'append' && count === 2) || name === 'truncate' ? 'EIO' : null));
  await using bus = await open(directory.path, { disk });
  await bus.publish(batch(1), signal);
  await expect(bus.publish(batch(2), signal)).rejects.toMatchObject({ code: 'LW-SPOOL-IO' });
  const deliveries = await take(bus, 2);
  expect(deliveries.flatMap((delivery) => delivery.frames).map((frame) => frame.sequence)).toEqual([1]);
  expect(bus.backlog()).toMatchObject({ bytes: 0, in_flight: [] });
});

test('a batch of which one part could not be written is not acknowledged, and its retry is not a repeat', async () => {
  await using directory = await scratchDirectory();
  let created = 0;
  const disk = failingDisk((name) => (name === 'create' && ++created === 2 ? 'ENOSPC' : null));
  await using bus = await open(directory.path, { disk });
  const both = batch(1, [...steps(0, 1), heartbeat(1)]);
  await expect(bus.publish(both, signal)).rejects.toMatchObject({ code: 'LW-SPOOL-IO' });
  expect(await bus.publish(both, signal)).toEqual({ repeated: false });
  // the part that was written stays: its rows come twice and meet in the primary key
  expect((await take(bus, 3)).flatMap((delivery) => delivery.frames)).toHaveLength(3);
});

test('segments close by age for an idle consumer and grow behind a busy one', async () => {
  await using directory = await scratchDirectory();
  const clock = new ManualClock();
  await using bus = await open(directory.path, { clock, close_ms: 300 });
  const stop = new AbortController();
  const busy = Promise.withResolvers<void>();
  const rows: number[] = [];
  const first = Promise.withResolvers<void>();
  const consuming = bus.consume(async (delivery) => {
    rows.push(delivery.rows);
    first.resolve();
    if (rows.length === 1) await busy.promise;
    if (rows.length === 2) stop.abort();
    return ok(undefined);
  }, stop.signal);
  await bus.publish(batch(1), signal);
  await clock.advance(299);
  expect(rows).toEqual([]);
  expect(bus.backlog().oldest_ms).toBe(299);
  await clock.advance(1);
  await first.promise;
  // three batches, each older than 300 ms before the consumer is back: one segment, not three
  for (const sequence of [2, 3, 4]) {
    await bus.publish(batch(sequence), signal);
    await clock.advance(400);
  }
  busy.resolve();
  // busy for 1,200 ms, it rests for four times that, at most for 2,000
  while (bus.backlog().in_flight[0]?.records !== 6) await new Promise((resolve) => setImmediate(resolve));
  await clock.advance(1_999);
  expect(rows).toEqual([2]);
  await clock.advance(1);
  await consuming;
  expect(rows).toEqual([2, 6]);
});

test('segments close at their limit of rows whether or not anyone consumes', async () => {
  await using directory = await scratchDirectory();
  await using bus = await open(directory.path, { segment_rows_max: 4, close_ms: 1e9 });
  for (const sequence of [1, 2, 3, 4]) await bus.publish(batch(sequence), signal);
  const files = await readdir(path.join(directory.path, 'spool'));
  expect(files.filter((name) => name.endsWith('-step.native'))).toHaveLength(2);
  expect((await take(bus, 8)).map((delivery) => delivery.rows)).toEqual([8]);
});

test('a rejected segment stays on disk, is declared after a restart too, and its batches stay known', async () => {
  await using directory = await scratchDirectory();
  {
    await using bus = await open(directory.path);
    await bus.publish(batch(1), signal);
    const stop = new AbortController();
    await bus.consume(async () => {
      stop.abort();
      return { kind: 'reject', code: 'LW-STORE', reason: 'cannot be stored' };
    }, stop.signal);
  }
  await onlyFile(directory.path, '.rejected');
  await using bus = await open(directory.path);
  expect(bus.backlog()).toMatchObject({ frames: 0, quarantined: [{ source: 'node-1', epoch: 7, records: 2 }] });
  expect(await bus.publish(batch(1), signal)).toEqual({ repeated: true });
});

test('what the store held at start is a repeat, and numbers begin above its lineage', async () => {
  await using directory = await scratchDirectory();
  const sequences = [{ source: 'node-1', epoch: 7, from: 1, to: 3 }];
  await using bus = await open(directory.path, { known: { sequences, lineage_max: (41n << 20n) | 5n } });
  expect(await bus.publish(batch(3), signal)).toEqual({ repeated: true });
  expect(await bus.publish(batch(4), signal)).toEqual({ repeated: false });
  const [delivery] = await take(bus, 2);
  expect(delivery?.frames[0]?.lineage).toBe(42n << 20n);
});

test('a spool directory that cannot be made is LW-DATA-DIR with the way out', async () => {
  await using directory = await scratchDirectory();
  const file = path.join(directory.path, 'a-file');
  await writeFile(file, '');
  await expect(open(file)).rejects.toMatchObject({ code: 'LW-DATA-DIR', message: expect.stringContaining('data_dir') });
});
