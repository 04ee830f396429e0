import { copyFile, mkdir, readdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { expect, test, vi } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import type { Bus } from '../../src/core/ports.ts';
import { encodeParts } from '../../src/transport/batch-parts.ts';
import { encodeFrame, lineageOf } from '../../src/transport/frame.ts';
import { segmentFile } from '../../src/transport/recovery.ts';
import { openSpool } from '../../src/transport/spool.ts';
import type { SpoolOptions } from '../../src/transport/spool-options.ts';
import { take } from '../contract/bus.ts';
import { heartbeat } from '../contract/records.ts';
import { scratchDirectory } from '../contract/scratch-directory.ts';

vi.setConfig({ testTimeout: 30_000 }); // hundreds of thousands of frames on a machine that others use too

function open(data_dir: string, more: Partial<SpoolOptions> = {}): Promise<Bus> {
  const known = { sequences: [], lineage_max: 0n };
  return openSpool({ data_dir, bytes_max: 1e9, fsync: false, clock: systemClock, known, close_ms: 0, ...more });
}

/** A segment of one heartbeat a frame, sequences 1..count of node-1. */
function segmentOf(number: number, count: number): Buffer {
  const [part] = encodeParts({ source: 'node-1', epoch: 7, sequence: 1, records: [heartbeat(1)] });
  if (part === undefined) throw new Error('a heartbeat is one part');
  const { body, ...header } = part;
  const frames: Buffer[] = [];
  for (let index = 0; index < count; index++)
    for (const piece of encodeFrame(
      { ...header, sequence: index + 1, lineage: lineageOf(number, index), origin: 0 },
      body,
    ))
      frames.push(piece);
  return Buffer.concat(frames);
}

test('a start takes a segment of 150,000 frames, and one that was set aside: small batches of an outage', async () => {
  await using directory = await scratchDirectory();
  const spool = path.join(directory.path, 'spool');
  const waiting = path.join(spool, segmentFile(1, 'heartbeat'));
  await mkdir(spool);
  await writeFile(waiting, segmentOf(1, 150_000));
  await copyFile(waiting, path.join(spool, segmentFile(2, 'heartbeat', '.rejected'))); // moved by hand, say

  await using bus = await open(directory.path);
  const { frames, in_flight, quarantined } = bus.backlog();

  expect(frames).toBe(150_000);
  expect(in_flight).toMatchObject([{ source: 'node-1', epoch: 7, records: 150_000 }]);
  expect(quarantined).toEqual([{ source: 'node-1', epoch: 7, records: 150_000 }]);
});

/** What is in the spool directory. */
const names = (data_dir: string): Promise<string[]> => readdir(path.join(data_dir, 'spool'));

test('what was set aside before an end is not left behind when the store takes the whole segment later', async () => {
  await using directory = await scratchDirectory();
  const spool = path.join(directory.path, 'spool');
  const file = path.join(spool, segmentFile(1, 'heartbeat'));
  await mkdir(spool);
  await writeFile(file, segmentOf(1, 4));
  await writeFile(`${file}.rejected`, segmentOf(1, 1)); // the end came before the segment itself went
  await writeFile(`${file}.rejected.json`, '{"code":"LW-STORE","reason":"x"}');
  {
    await using bus = await open(directory.path);
    expect(bus.backlog()).toMatchObject({ frames: 4, quarantined: [] });
    expect(await names(directory.path)).toEqual([path.basename(file)]);
    await take(bus, 4);
  }
  await using bus = await open(directory.path);
  expect(bus.backlog()).toMatchObject({ frames: 0, in_flight: [], quarantined: [] });
});

test('what was set aside stays beside a segment of which less is left than there was', async () => {
  await using directory = await scratchDirectory();
  const spool = path.join(directory.path, 'spool');
  const file = path.join(spool, segmentFile(1, 'heartbeat'));
  await mkdir(spool);
  await writeFile(file, segmentOf(1, 4).subarray(0, -3));
  await writeFile(`${file}.rejected`, segmentOf(1, 4));
  await using bus = await open(directory.path);
  expect(bus.backlog().frames).toBe(3);
  expect(await names(directory.path)).toContain(path.basename(`${file}.rejected`));
});

test('a segment of a table that only a newer version knows stops the start by name, and stays', async () => {
  await using directory = await scratchDirectory();
  await mkdir(path.join(directory.path, 'spool'));
  const file = path.join(directory.path, 'spool', '000000000009-newtable.native');
  await writeFile(file, 'rows');
  await expect(open(directory.path)).rejects.toMatchObject({
    code: 'LW-FRAME-VERSION',
    message: expect.stringContaining('000000000009-newtable.native'),
  });
  expect(await names(directory.path)).toEqual([path.basename(file)]);
});

test('a frame that a sender wrote into a record is text, also where a torn write lays it bare', async () => {
  await using directory = await scratchDirectory();
  const spool = path.join(directory.path, 'spool');
  await mkdir(spool);
  const own = segmentOf(1, 2);
  const forged = segmentOf(4_311_810_305, 1); // its lineage would push all numbers that follow out of reach
  const torn = segmentOf(1, 3).subarray(own.length, own.length + 120); // a head that was cut off
  await writeFile(path.join(spool, segmentFile(1, 'heartbeat')), Buffer.concat([own, torn, forged]));
  await using bus = await open(directory.path);
  expect(bus.backlog()).toMatchObject({ frames: 2, torn_frames: 1 });
  const frames = (await take(bus, 2)).flatMap((delivery) => delivery.frames);
  expect(frames.map(({ sequence, lineage }) => [sequence, lineage])).toEqual([
    [1, lineageOf(1, 0)],
    [2, lineageOf(1, 1)],
  ]);
});

test('what a start read is let go: a long backlog costs no memory a frame', async () => {
  await using directory = await scratchDirectory();
  const spool = path.join(directory.path, 'spool');
  await mkdir(spool);
  await writeFile(path.join(spool, segmentFile(1, 'heartbeat')), segmentOf(1, 50_000));
  const before_bytes = await heapBytes();
  await using bus = await open(directory.path);
  expect(bus.backlog().frames).toBe(50_000);
  expect((await heapBytes()) - before_bytes).toBeLessThan(3_000_000); // 50,000 heads are 8 MB or more: 9 fields each
});

/** Bytes of the heap that something still holds. */
async function heapBytes(): Promise<number> {
  setFlagsFromString('--expose-gc');
  const collectGarbage: unknown = runInNewContext('gc');
  setFlagsFromString('--no-expose-gc');
  for (let round = 0; round < 3; round++) {
    if (typeof collectGarbage === 'function') collectGarbage();
    await systemClock.sleep(1, new AbortController().signal);
  }
  return process.memoryUsage().heapUsed;
}
