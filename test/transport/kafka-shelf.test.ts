import { expect, test } from 'vitest';
import type { HeldFrame } from '../../src/transport/kafka-frames.ts';
import { FrameShelf } from '../../src/transport/kafka-shelf.ts';

function frame(
  offset: number,
  changes: { rows?: number; table?: 'step' | 'heartbeat' | 'samples'; source?: string; partition?: number } = {},
): HeldFrame {
  const { rows = 10, table = 'step', source = 'node-1', partition = 0 } = changes;
  const header = { lineage: BigInt(offset), source, epoch: 1, sequence: offset, parts: 1, table, rows, origin: 0 };
  const message = { offset: BigInt(offset), key: null, value: null, headers: new Map(), at_ms: offset };
  return { partition, offset: BigInt(offset), header, body: Buffer.alloc(100), message, at_ms: offset };
}

const sequences = (frames: readonly HeldFrame[] | null) => frames?.map((held) => held.header.sequence) ?? null;

test('frames of a table wait until the first is old enough, then leave together in the order of arrival', () => {
  const shelf = new FrameShelf({ rows_max: 1_000, bytes_max: 1e6, wait_ms: 300 });
  shelf.add(frame(1), 1_000);
  shelf.add(frame(2), 1_200);
  expect(shelf.dueAt_ms(false)).toBe(1_300);
  expect(shelf.takeDue(1_299, false)).toBeNull();
  expect(sequences(shelf.takeDue(1_300, false))).toEqual([1, 2]);
  expect([shelf.frames, shelf.bytes, shelf.dueAt_ms(false), shelf.oldest_at_ms]).toEqual([0, 0, null, null]);
});

test('a table that is full by rows or by bytes leaves at once, within its limits', () => {
  const byRows = new FrameShelf({ rows_max: 25, bytes_max: 1e6, wait_ms: 300 });
  for (const offset of [1, 2, 3]) byRows.add(frame(offset), 0);
  expect(sequences(byRows.takeDue(0, false))).toEqual([1, 2]); // 30 rows wait, 25 at most
  expect(byRows.takeDue(0, false)).toBeNull();
  const byBytes = new FrameShelf({ rows_max: 1_000, bytes_max: 150, wait_ms: 300 });
  for (const offset of [1, 2]) byBytes.add(frame(offset, { rows: 500 }), 0);
  expect(sequences(byBytes.takeDue(0, false))).toEqual([1]);
});

test('one frame above the limits leaves alone rather than never', () => {
  const shelf = new FrameShelf({ rows_max: 5, bytes_max: 50, wait_ms: 300 });
  shelf.add(frame(1), 0);
  expect(sequences(shelf.takeDue(0, false))).toEqual([1]);
});

test('among tables that are due the one that waited longest leaves first, and in a hurry all are due', () => {
  const shelf = new FrameShelf({ rows_max: 1_000, bytes_max: 1e6, wait_ms: 300 });
  shelf.add(frame(1, { table: 'heartbeat' }), 10);
  shelf.add(frame(2), 0);
  expect(shelf.takeDue(20, false)).toBeNull();
  expect(sequences(shelf.takeDue(20, true))).toEqual([2]);
  expect(sequences(shelf.takeDue(310, false))).toEqual([1]);
});

test('a delivery of samples has at most 256 frames: one byte a row tells them apart', () => {
  const shelf = new FrameShelf({ rows_max: 1e6, bytes_max: 1e6, wait_ms: 0 });
  for (let offset = 0; offset < 300; offset++)
    shelf.add(frame(offset, { table: 'samples', source: `node-${offset}` }), 0);
  expect(shelf.takeDue(0, false)).toHaveLength(256);
  expect(shelf.takeDue(0, false)).toHaveLength(44);
});

test('what was read from partitions that are somebody else’s now is dropped, with its counts', () => {
  const shelf = new FrameShelf({ rows_max: 1_000, bytes_max: 1e6, wait_ms: 300 });
  shelf.add(frame(1, { partition: 0 }), 0);
  shelf.add(frame(2, { partition: 1, source: 'node-2' }), 50);
  shelf.add(frame(3, { partition: 0 }), 60);
  shelf.retain((partition) => partition === 1);
  expect([shelf.frames, shelf.bytes]).toEqual([1, 100]);
  expect(shelf.tally.list()).toEqual([{ source: 'node-2', epoch: 1, records: 10 }]);
  expect(shelf.dueAt_ms(false)).toBe(350); // keeps its time of arrival
  expect(sequences(shelf.takeDue(350, false))).toEqual([2]);
});
