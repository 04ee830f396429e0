import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, test } from 'vitest';
import { ManualClock } from '../../src/core/clock.ts';
import type { SetAside } from '../../src/core/set-aside.ts';
import { Quarantine } from '../../src/transport/quarantine.ts';
import { scratchDirectory } from '../contract/scratch-directory.ts';

const NOW = 1_767_225_600_000; // 2026-01-01T00:00:00Z
const DAY = 86_400_000;

const line = (raw: string): SetAside => ({
  source: 'sidecar-1',
  kind: 'record',
  code: 'LW-RECORD-CLOCK',
  reason: 'ahead',
  count: 1,
  raw,
  truncated: false,
});

function open(
  data_dir: string,
  clock: ManualClock,
  more: { day_bytes_max?: number; errors?: string[] } = {},
): Quarantine {
  const { errors = [], ...options } = more;
  return new Quarantine({ data_dir, clock, onError: (reason) => void errors.push(reason), ...options });
}

async function read(data_dir: string, day: string): Promise<SetAside[]> {
  const text = await readFile(path.join(data_dir, 'quarantine', `${day}.ndjson`), 'utf8');
  return text
    .trimEnd()
    .split('\n')
    .map((one) => JSON.parse(one));
}

test('what is set aside can be read back, a file a day, with the time it came; a restart goes on in the same file', async () => {
  await using directory = await scratchDirectory();
  const clock = new ManualClock(NOW);
  {
    await using quarantine = open(directory.path, clock);
    quarantine.add(line('a'));
    quarantine.add({ ...line(''), kind: 'samples', raw: [['17', NOW, 'NaN']], count: 3, truncated: true });
    await clock.advance(DAY);
    quarantine.add(line('b'));
  }
  {
    await using quarantine = open(directory.path, clock);
    quarantine.add(line('c'));
  }
  expect(await read(directory.path, '2026-01-01')).toEqual([
    { received_at_ms: NOW, ...line('a') },
    { received_at_ms: NOW, ...line(''), kind: 'samples', raw: [['17', NOW, 'NaN']], count: 3, truncated: true },
  ]);
  expect((await read(directory.path, '2026-01-02')).map(({ raw }) => raw)).toEqual(['b', 'c']);
});

test('a day has room for so much, also after a restart; a text is cut at 64 KiB and says so', async () => {
  await using directory = await scratchDirectory();
  const clock = new ManualClock(NOW);
  for (let start = 0; start < 2; start++) {
    await using quarantine = open(directory.path, clock, { day_bytes_max: 1_000 });
    for (let index = 0; index < 20; index++) quarantine.add(line(`${start}-${index}`));
  }
  const kept = await read(directory.path, '2026-01-01');
  expect(kept.length).toBeGreaterThan(1);
  expect(kept.map((one) => JSON.stringify(one)).join('\n').length + 1).toBeLessThanOrEqual(1_000);
  {
    await using quarantine = open(directory.path, clock);
    quarantine.add(line('x'.repeat(100_000)));
  }
  const last = (await read(directory.path, '2026-01-01')).at(-1);
  expect(last).toMatchObject({ truncated: true });
  expect(last?.raw).toHaveLength(65_536);
});

test('files of more than 14 days are deleted, other files in the folder are left alone', async () => {
  await using directory = await scratchDirectory();
  const folder = path.join(directory.path, 'quarantine');
  await mkdir(folder);
  for (let day = 1; day <= 20; day++)
    await writeFile(path.join(folder, `2025-12-${String(day).padStart(2, '0')}.ndjson`), '');
  await writeFile(path.join(folder, 'notes.txt'), 'mine');
  {
    await using quarantine = open(directory.path, new ManualClock(NOW));
    quarantine.add(line('a'));
  }
  const names = (await readdir(folder)).toSorted();
  expect(names).toEqual([
    ...Array.from({ length: 14 }, (_, index) => `2025-12-${String(index + 7).padStart(2, '0')}.ndjson`),
    '2026-01-01.ndjson',
    'notes.txt',
  ]);
});

test('a folder that cannot be written is told once and stops nobody', async () => {
  await using directory = await scratchDirectory();
  const errors: string[] = [];
  await writeFile(path.join(directory.path, 'quarantine'), 'a file where the folder should be');
  {
    await using quarantine = open(directory.path, new ManualClock(NOW), { errors });
    quarantine.add(line('a'));
    quarantine.add(line('b'));
  }
  expect(errors).toEqual([expect.stringMatching(/quarantine: E(EXIST|NOTDIR)/)]);
});
