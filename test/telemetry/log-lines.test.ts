import { setImmediate } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { logLines } from '../../src/telemetry/log-lines.ts';

it('drops what cannot be written, counts it, and tells how much once a line gets through again', async () => {
  const disk = { full: false, lines: [] as string[] };
  const stream = {
    write: (line: string, done: (error?: Error | null) => void) => {
      if (!disk.full) disk.lines.push(line);
      queueMicrotask(() => done(disk.full ? new Error('no space left') : null));
    },
  };
  const told: number[] = [];
  const write = logLines(stream, (lines_count) => void told.push(lines_count));
  const line = async (text: string, full: boolean): Promise<void> => {
    disk.full = full;
    write(text);
    await setImmediate(); // the outcome of a write arrives after it
  };
  await line('a\n', false);
  await line('b\n', true);
  await line('c\n', true);
  expect(told).toEqual([]);
  await line('d\n', false);
  expect(told).toEqual([2]);
  await line('e\n', false);
  expect(told).toEqual([2]);
  await line('f\n', true);
  await line('g\n', false);
  expect(told).toEqual([2, 3]); // since the start: b, c and f
  expect(disk.lines).toEqual(['a\n', 'd\n', 'e\n', 'g\n']);
});
