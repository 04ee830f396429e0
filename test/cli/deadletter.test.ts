import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, test } from 'vitest';
import { command } from '../../src/cli/deadletter.ts';
import { systemClock } from '../../src/core/clock.ts';
import { lockDataDir } from '../../src/store/data-dir-lock.ts';
import { openSpool } from '../../src/transport/spool.ts';
import { heartbeat, steps } from '../contract/records.ts';
import { scratchDirectory } from '../contract/scratch-directory.ts';
import { runIn } from './terminal.ts';

const signal = new AbortController().signal;

/** A data directory whose store refused a segment of ten steps and one of two heartbeats. */
async function directoryWithLetters(): Promise<{ path: string } & AsyncDisposable> {
  const directory = await scratchDirectory();
  const known = { sequences: [], lineage_max: 0n };
  const data_dir = path.join(directory.path, 'leeway-data');
  await using bus = await openSpool({
    data_dir,
    bytes_max: 1e9,
    fsync: false,
    clock: systemClock,
    known,
    close_ms: 0,
  });
  const records = [...steps(0, 10), heartbeat(1), heartbeat(2)];
  await bus.publish({ source: 'node-1', epoch: 2 ** 53 - 1, sequence: 4, records }, signal);
  const stop = new AbortController();
  let judged = 0;
  await bus.consume(async ({ table }) => {
    if (++judged === 2) stop.abort();
    return { kind: 'reject', code: 'LW-STORE', reason: `no ${table} today` };
  }, stop.signal);
  return directory;
}

test('list tells what was set aside as a table, replay --all puts it back, and then nothing is left', async () => {
  await using directory = await directoryWithLetters();
  const list = await runIn(directory.path, command, ['list']);
  expect(list.exit).toBe(0);
  expect(list.out).toContain('2 set aside in ');
  expect(list.out).toMatch(/000000000001-step {2}rejected, step, 10 rows in 1 frames, \d+ bytes, 20\d\d-/);
  expect(list.out).toContain('  LW-STORE: no step today\n  10 rows of node-1, epoch 9007199254740991, sequences 4\n');
  const replay = await runIn(directory.path, command, ['replay', '--all']);
  expect([replay.exit, replay.out]).toEqual([
    0,
    expect.stringMatching(/^Put back 2 of .*, 12 rows; start the service/),
  ]);
  const empty = await runIn(directory.path, command, ['list']);
  expect([empty.exit, empty.out]).toEqual([0, expect.stringMatching(/^Nothing is set aside in /)]);
  const nothing = await runIn(directory.path, command, ['replay', '--all']);
  expect([nothing.exit, nothing.out]).toEqual([0, expect.stringMatching(/^Nothing to replay in /)]);
});

test('list --format json is one document: epochs are text, bytes base64; replay of one id leaves the others', async () => {
  await using directory = await directoryWithLetters();
  const { out } = await runIn(directory.path, command, ['list', '--format', 'json']);
  const document = JSON.parse(out) as { version: number; letters: { id: string; raw_base64: string }[] }; // judged below
  expect(document).toMatchObject({
    version: 1,
    letters: [
      {
        id: '000000000001-step',
        kind: 'rejected',
        rows: 10,
        code: 'LW-STORE',
        reason: 'no step today',
        contents: [{ source: 'node-1', epoch: '9007199254740991', rows: 10, sequences: [[4, 4]] }],
        not_replayable: null,
      },
      { id: '000000000002-heartbeat', rows: 2, reason: 'no heartbeat today' },
    ],
  });
  expect(Buffer.from(document.letters[0]?.raw_base64 ?? '', 'base64').toString('latin1')).toContain('LW1 ');
  const replay = await runIn(directory.path, command, ['replay', '000000000002-heartbeat', '--format', 'json']);
  expect(JSON.parse(replay.out)).toMatchObject({ version: 1, replayed: [{ id: '000000000002-heartbeat', rows: 2 }] });
  const left = await runIn(directory.path, command, ['list', '--format', 'json']);
  expect(JSON.parse(left.out)).toMatchObject({ letters: [{ id: '000000000001-step' }] });
});

test('while a service runs in the directory list works and replay says who holds it and what to do', async () => {
  await using directory = await directoryWithLetters();
  await using _service = await lockDataDir(path.join(directory.path, 'leeway-data'));
  expect((await runIn(directory.path, command, ['list'])).exit).toBe(0);
  const { exit, error } = await runIn(directory.path, command, ['replay', '--all']);
  expect([exit, error?.code]).toEqual([1, 'LW-DATA-DIR-TAKEN']);
  expect(error?.message).toContain(`process ${process.pid}`);
  expect(error?.message).toContain('Stop the service, replay, start it again');
  expect((await runIn(directory.path, command, ['list'])).out).toContain('2 set aside');
});

test.each([
  [[], 2, 'LW-USAGE', 'expected "list" or "replay", got nothing'],
  [['lst'], 2, 'LW-USAGE', 'got "lst"'],
  [['list', '--all'], 2, 'LW-USAGE', '"list" takes no id and no --all'],
  [['replay'], 2, 'LW-USAGE', '"replay" wants ids or --all, got neither'],
  [['replay', 'x', '--all'], 2, 'LW-USAGE', 'got both'],
  [['list', '--format', 'yaml'], 2, 'LW-USAGE', 'unknown format "yaml"'],
  [['replay', '000000000009-step'], 4, 'LW-NOT-FOUND', 'no dead letter 000000000009-step; "leeway deadletter list"'],
] as const)('deadletter %j is exit %d, %s', async (argv, exit, code, words) => {
  await using directory = await directoryWithLetters();
  const ran = await runIn(directory.path, command, argv);
  expect([ran.exit, ran.error?.code]).toEqual([exit, code]);
  expect(ran.error?.message).toContain(words);
});

test('a data directory without a spool is not found, and the next step is told', async () => {
  await using directory = await scratchDirectory();
  const { exit, error } = await runIn(directory.path, command, ['list', '--data-dir', 'nowhere']);
  expect([exit, error?.code]).toEqual([4, 'LW-NOT-FOUND']);
  expect(error?.message).toContain('check data_dir');
});

test('a Kafka that does not answer is exit 7', async () => {
  await using directory = await scratchDirectory();
  const bus = { kind: 'kafka', brokers: ['127.0.0.1:1'] };
  await writeFile(path.join(directory.path, 'leeway.config.json'), JSON.stringify({ bus }));
  const { exit, error } = await runIn(directory.path, command, ['list']);
  expect([exit, error?.code]).toEqual([7, 'LW-UNREACHABLE']);
});
