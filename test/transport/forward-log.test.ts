import path from 'node:path';
import { expect, test } from 'vitest';
import { forwardDisk } from '../../src/transport/forward-disk.ts';
import { ForwardLog } from '../../src/transport/forward-log.ts';
import { scratchDirectory } from '../contract/scratch-directory.ts';

const disk = forwardDisk(false);
const none = new Map<string, number>();
const total = (run: string, records: number) => ({
  source: 'a',
  epoch: 1,
  run,
  reason: 'buffer_full',
  records,
  ranges: [],
});

test('a total of a process replaces what it said before, totals of several processes stand side by side, restarts change nothing', async () => {
  await using place = await scratchDirectory();
  const refused = { source: 'a', epoch: 1, reason: 'gateway_refused', records: 2, ranges: [[9, 9]] as const };
  const log = await ForwardLog.open(disk, place.path, () => 1);
  await log.append(none, [refused, total('r1', 5)]);
  await log.append(none, [refused, total('r1', 8), total('r2', 3)]);
  const wanted = [{ ...refused, records: 4 }, total('r1', 8), total('r2', 3)];
  expect(log.lost()).toEqual(wanted);
  await log.close();
  for (let start = 0; start < 2; start++) {
    const again = await ForwardLog.open(disk, place.path, () => 2); // each start merges the files into a new one
    expect(again.lost()).toEqual(wanted);
    await again.close();
  }
});

test('of 1,000 ends the totals are kept, then the oldest goes; what is of no process stays', async () => {
  await using place = await scratchDirectory();
  const log = await ForwardLog.open(disk, path.join(place.path, 'spool'), () => 1);
  const refused = { source: 'a', epoch: 1, reason: 'gateway_refused', records: 2, ranges: [] };
  await log.append(none, [refused, ...Array.from({ length: 1_002 }, (_, index) => total(`r${index}`, 1))]);
  const lost = log.lost();
  expect(lost).toHaveLength(1_001);
  expect(lost.slice(0, 2)).toEqual([refused, total('r2', 1)]);
  await log.close();
});

test('where writes are not synced each start names its batches anew: a number that a power loss forgot is not given twice', async () => {
  await using place = await scratchDirectory();
  const epochs = [1, 2, 3];
  const open = (is_synced: boolean): Promise<ForwardLog> =>
    ForwardLog.open(disk, place.path, () => epochs.shift() ?? 0, is_synced);
  const first = await open(false);
  await first.append(new Map([['a', 5]]), [total('r1', 5)]);
  await first.close();
  const second = await open(false);
  expect([second.epoch, second.acknowledged('a'), second.known()]).toEqual([2, 0, []]);
  expect(second.lost()).toEqual([total('r1', 5)]); // under the epoch that it was lost in
  await second.append(new Map([['a', 2]]), []);
  await second.close();
  const synced = await open(true);
  expect([synced.epoch, synced.acknowledged('a')]).toEqual([2, 2]);
  await synced.close();
});
