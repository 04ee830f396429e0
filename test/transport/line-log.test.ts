import { readdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import Type from 'typebox';
import { describe, expect, test } from 'vitest';
import { compiled } from '../../src/core/compiled.ts';
import { type SpoolDisk, systemDisk } from '../../src/transport/disk.ts';
import { LineLog } from '../../src/transport/line-log.ts';
import { scratchDirectory } from '../contract/scratch-directory.ts';
import { type DiskOperation, faultyDisk } from './faulty-disk.ts';

const line = compiled(Type.Object({ replaces: Type.Optional(Type.Integer()), values: Type.Array(Type.Integer()) }));
type Line = { readonly replaces?: number; readonly values: readonly number[] };

/** An owner of a log: numbers, each a line. */
class Numbers {
  readonly values: number[] = [];
  readonly #log: LineLog<Line>;

  constructor(log: LineLog<Line>) {
    this.#log = log;
  }

  static async open(directory: string, disk: SpoolDisk = systemDisk(false), file_bytes_max = 1_000): Promise<Numbers> {
    const isFirst = ({ replaces }: Line): boolean => replaces !== undefined;
    const log = new LineLog<Line>({ disk, directory, name: 'numbers', file_bytes_max, check: line.check, isFirst });
    const numbers = new Numbers(log);
    await log.replay(({ values }) => numbers.values.push(...values));
    return numbers;
  }

  async append(value: number): Promise<void> {
    await this.#log.append({ values: [value] }, (replaces) => ({ replaces, values: [...this.values, value] }));
    this.values.push(value);
  }

  close(): Promise<void> {
    return this.#log.close();
  }
}

async function valuesIn(directory: string): Promise<readonly number[]> {
  return (await Numbers.open(directory)).values;
}

function put(directory: string, name: string, text: string): Promise<void> {
  return writeFile(path.join(directory, name), text);
}

describe('a line log', () => {
  test('has no file before its first line, then one, to which lines are added', async () => {
    await using directory = await scratchDirectory();
    const numbers = await Numbers.open(directory.path);
    expect([numbers.values, await readdir(directory.path)]).toEqual([[], []]);
    for (const value of [1, 2, 3]) await numbers.append(value);
    await numbers.close();
    expect(await readdir(directory.path)).toEqual(['numbers-000001.ndjson']);
    const text = await readFile(path.join(directory.path, 'numbers-000001.ndjson'), 'utf8');
    expect(text).toBe('{"replaces":0,"values":[1]}\n{"values":[2]}\n{"values":[3]}\n');
    expect(await valuesIn(directory.path)).toEqual([1, 2, 3]);
  });

  test('begins a file that stands for all before it after a restart, and beyond its size; old files go', async () => {
    await using directory = await scratchDirectory();
    await put(directory.path, 'numbers-000041.ndjson', '{"replaces":40,"values":[1]}\n');
    await put(directory.path, 'other-000050.ndjson', 'of somebody else');
    const numbers = await Numbers.open(directory.path, systemDisk(false), 45);
    const files: string[] = [];
    for (const value of [2, 3, 4]) {
      await numbers.append(value);
      const [file = ''] = await readdir(directory.path);
      files.push(`${file} ${await readFile(path.join(directory.path, file), 'utf8')}`);
    }
    await numbers.close();
    // 31 bytes of the first line and 15 of the second are 46: one more than the file may have
    expect(files).toEqual([
      'numbers-000042.ndjson {"replaces":41,"values":[1,2]}\n',
      'numbers-000042.ndjson {"replaces":41,"values":[1,2]}\n{"values":[3]}\n',
      'numbers-000043.ndjson {"replaces":42,"values":[1,2,3,4]}\n',
    ]);
    expect(await readdir(directory.path)).toEqual(['numbers-000043.ndjson', 'other-000050.ndjson']);
  });

  test('believes the newest file that holds a line, by its number and not by its letters', async () => {
    await using directory = await scratchDirectory();
    await put(directory.path, 'numbers-999999.ndjson', '{"replaces":0,"values":[1]}\n');
    await put(directory.path, 'numbers-1000000.ndjson', '{"replaces":0,"values":[1,2]}\n');
    expect(await valuesIn(directory.path)).toEqual([1, 2]);
    for (const torn of ['', '{"replaces":0,"val', '{"replaces":0,"values":[9]}', 'x\n', '{"values":[9]}\n']) {
      await put(directory.path, 'numbers-1000001.ndjson', torn);
      expect(await valuesIn(directory.path)).toEqual([1, 2]);
    }
    const numbers = await Numbers.open(directory.path);
    await numbers.append(3);
    await numbers.close();
    expect(await readdir(directory.path)).toEqual(['numbers-1000002.ndjson']);
    expect(await valuesIn(directory.path)).toEqual([1, 2, 3]);
  });

  test('ends before the first line that is torn or no line at all', async () => {
    await using directory = await scratchDirectory();
    const whole = '{"replaces":0,"values":[1]}\n{"values":[2]}\n';
    for (const rest of [
      '{"values":[3]',
      '{"values":[3]}',
      '{"values":"3"}\n{"values":[4]}\n',
      '\0\0\n{"values":[4]}\n',
    ]) {
      await put(directory.path, 'numbers-000001.ndjson', whole + rest);
      expect(await valuesIn(directory.path)).toEqual([1, 2]);
    }
  });
});

/** A disk that notes what is done to it. */
function notingDisk(fails: (count: number, operation: DiskOperation) => boolean = () => false): {
  disk: SpoolDisk;
  done: string[];
} {
  const done: string[] = [];
  const note = (operation: DiskOperation, file: string): boolean => {
    const digits = /0(\d)\.ndjson$/.exec(file)?.[1] ?? '';
    return fails(done.push(`${operation} ${digits}`.trimEnd()), operation);
  };
  return { disk: faultyDisk(note), done };
}

describe('the order of what is done to the disk', () => {
  test('what is handed over was made durable: the file that was read, then the names', async () => {
    await using directory = await scratchDirectory();
    for (const number of [1, 2])
      await put(directory.path, `numbers-00000${number}.ndjson`, '{"replaces":0,"values":[1]}\n');
    const { disk, done } = notingDisk();
    await Numbers.open(directory.path, disk);
    expect(done).toEqual(['list', 'read 2', 'sync 2', 'sync directory']);
  });

  test('a file goes when the one that replaces it is written and synced, and not before', async () => {
    await using directory = await scratchDirectory();
    const { disk, done } = notingDisk();
    const numbers = await Numbers.open(directory.path, disk, 0);
    await numbers.append(1);
    await numbers.append(2);
    await numbers.close();
    const written = (file: number): string[] => [`create ${file}`, `append ${file}`, `append ${file}`, `sync ${file}`];
    expect(done).toEqual(['list', ...written(1), ...written(2), 'close 1', 'unlink 1', 'close 2']);
  });
});

/** Appends 2 … 9 behind a file that holds 1; `onRefused` sees the number that was not taken. */
async function appendMost(
  directory: string,
  disk: SpoolDisk,
  onRefused: (accepted: readonly number[], refused: number) => Promise<void>,
): Promise<Numbers> {
  await put(directory, 'numbers-000001.ndjson', '{"replaces":0,"values":[1]}\n');
  const numbers = await Numbers.open(directory, disk, 60).catch(() => Numbers.open(directory, disk, 60));
  for (let value = 2; value < 10; value++) await numbers.append(value).catch(() => onRefused(numbers.values, value));
  return numbers;
}

describe('a disk that fails', () => {
  test.each([true, false])(
    'at any operation, once: an accepted line stays, a refused one is gone with the next (it can be cut off: %s)',
    async (canCut) => {
      let refusals = 0;
      const attempt = async (failing: number): Promise<number> => {
        await using directory = await scratchDirectory();
        let isWell = false;
        const { disk, done } = notingDisk(
          (count, operation) => !isWell && (count === failing || (operation === 'truncate' && !canCut)),
        );
        const numbers = await appendMost(directory.path, disk, async (accepted, refused) => {
          refusals++;
          const held = await valuesIn(directory.path); // as after a kill at this moment
          const isCut = held.length === accepted.length;
          expect(held).toEqual(isCut ? accepted : [...accepted, refused]);
          expect(isCut || !canCut).toBe(true);
        });
        const operations = done.length;
        isWell = true;
        for (const value of [10, 11, 12, 13, 14]) await numbers.append(value); // 75 bytes at least: a file is begun among them
        await numbers.close();
        expect(await valuesIn(directory.path)).toEqual(numbers.values);
        expect(numbers.values.length).toBeGreaterThanOrEqual(13); // at most one of 14 was refused
        expect(await readdir(directory.path)).toHaveLength(1);
        const created = done.filter((name, at) => name.startsWith('create') && at + 1 !== failing);
        expect(done.filter((name) => name.startsWith('close'))).toHaveLength(created.length);
        return operations;
      };
      const operations = await attempt(0);
      for (let failing = 1; failing <= operations; failing++) await attempt(failing);
      // lines 2 … 9, of 30 bytes (two more a number) where they begin a file and else 15, files to 60: 2 3 4 5, 6 7 8, 9.
      // create, append, append, sync three times, and append, append, sync five times: 12 + 15
      expect(refusals).toBe(27);
    },
  );

  test('at any operation and from then on: an accepted line stays, a refused one happened or did not', async () => {
    for (let last = 4; last < 50; last++) {
      // opening it takes four
      await using directory = await scratchDirectory();
      const { disk } = notingDisk((count) => count > last);
      const numbers = await appendMost(directory.path, disk, () => Promise.resolve());
      await numbers.close().catch(() => undefined);
      const held = await valuesIn(directory.path);
      expect([numbers.values.length, numbers.values.length + 1]).toContain(held.length);
      expect(held).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9].slice(0, held.length));
    }
  });

  test('that keeps an old file from being removed removes it with the next', async () => {
    await using directory = await scratchDirectory();
    let isStuck = true;
    const disk = faultyDisk((operation) => operation === 'unlink' && isStuck);
    const numbers = await Numbers.open(directory.path, disk, 0);
    for (const value of [1, 2, 3]) await numbers.append(value);
    expect(await readdir(directory.path)).toHaveLength(3);
    isStuck = false;
    await numbers.append(4);
    await numbers.close();
    expect(await readdir(directory.path)).toEqual(['numbers-000004.ndjson']);
    expect(await valuesIn(directory.path)).toEqual([1, 2, 3, 4]);
  });
});
