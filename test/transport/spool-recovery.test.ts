import { copyFile, mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, test } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import type { Bus } from '../../src/core/ports.ts';
import { encodeParts } from '../../src/transport/batch-parts.ts';
import { encodeFrame, lineageOf } from '../../src/transport/frame.ts';
import { segmentFile } from '../../src/transport/recovery.ts';
import { openSpool } from '../../src/transport/spool.ts';
import type { SpoolOptions } from '../../src/transport/spool-options.ts';
import { heartbeat } from '../contract/records.ts';
import { scratchDirectory } from '../contract/scratch-directory.ts';

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
  await copyFile(waiting, path.join(spool, segmentFile(2, 'heartbeat', '.rejected')));

  await using bus = await open(directory.path);
  const { frames, in_flight, quarantined } = bus.backlog();

  expect(frames).toBe(150_000);
  expect(in_flight).toMatchObject([{ source: 'node-1', epoch: 7, records: 150_000 }]);
  expect(quarantined).toEqual([{ source: 'node-1', epoch: 7, records: 150_000 }]);
});
