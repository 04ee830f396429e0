import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { command } from '../../src/cli/selftest.ts';
import type { SelftestReport } from '../../src/cli/selftest/report.ts';
import { scratchDirectory } from '../contract/scratch-directory.ts';
import { type StandIn, startStandIn, type Vice } from './selftest/stand-in.ts';
import { type Ran, runIn } from './terminal.ts';

/** Runs a short selftest against a stand-in. Four batches: three of records, one of samples. */
async function selftest(service: Pick<StandIn, 'url'>, more: readonly string[] = []): Promise<Ran> {
  await using directory = await scratchDirectory();
  return runIn(directory.path, command, ['--url', service.url, '--batches', '4', '--timeout', '20', ...more]);
}

/** `timeout`: seconds; liars of whom nothing more comes are not waited for. */
async function reportOf(vice: Vice, timeout = '20'): Promise<{ exit: number; report: SelftestReport }> {
  await using service = await startStandIn(vice);
  const { exit, out } = await selftest(service, ['--format', 'json', '--timeout', timeout]);
  return { exit, report: JSON.parse(out) as SelftestReport }; // the command's own document
}

test.concurrent('an honest service is proven, in figures that add up', async () => {
  const { exit, report } = await reportOf({});
  expect([exit, report.proven, report.problems]).toEqual([0, true, []]);
  // batch 1: job, phase, 20 steps, 2 heartbeats = 24; 2 and 3: 22 each; 4: 40 samples; closing: 2 heartbeats, phase = 3
  const records = 24 + 22 + 22 + 40 + 3;
  expect(report.sent).toMatchObject({ batches: 5, records, retried_batches: 0, copied_records: 0, refused: 0 });
  // batch 3 leaves twice at once; at the end each of the four once more: 22 + 24 + 22 + 22 + 40
  expect(report.sent).toMatchObject({ repeated_batches: 5, repeated_records: 130 });
  // and the two series of the samples
  expect(report.account).toMatchObject({ emitted: records + 2, stored: records + 2, sequence_max: 5 });
  // 3 batches of 20 steps and 40 samples
  expect(report.read_back).toEqual({ compared: 100, equal: 100, missing: 0, doubled: 0, changed: 0, foreign: 0 });
  expect(report.account_looks.unbalanced).toBe(0);
  expect(report.job).toMatch(/^selftest-[0-9a-f]{8}$/);
  expect(report.acknowledged_ms?.p50).toBeGreaterThan(0);
});

test.concurrent('the table ends with the equation', async () => {
  await using service = await startStandIn();
  const { exit, out } = await selftest(service);
  expect(exit).toBe(0);
  expect(out).toContain(`Leeway selftest of ${service.url}\n`);
  expect(out).toMatch(/\n {2}read back {6}100 rows, 100 equal bit for bit, 0 missing, 0 doubled, 0 changed\n/);
  expect(out).toMatch(/\nPROVEN: emitted 113 = stored 113 \+ in flight 0 \+ declared loss 0\n$/);
});

test.concurrent('a service that is busy for a while gets the same batches again and is proven', async () => {
  const { exit, report } = await reportOf({ busy: { times: 3, status: 503 } });
  expect([exit, report.proven, report.sent.retried_batches]).toEqual([0, true, 3]);
});

type Line = Record<string, unknown>;
const missing = (line: Line): Line => ({ ...line, emitted: 113, stored: 93 });

// each waits its second: all wait together
describe.concurrent('a service that lies is found out, exit 1', () => {
  const lies: [name: string, what: string, vice: Vice][] = [
    ['stores less than it emitted', 'emitted = stored + in flight + declared loss', { account: missing }],
    [
      'forgets a batch in its account and in its rows',
      'emitted, against the records sent',
      { account: (line) => ({ ...line, emitted: 91, stored: 91 }), steps: (rows) => rows.slice(22) },
    ],
    ['loses a row', 'rows missing in what was read back', { steps: (rows) => rows.slice(1) }],
    ['gives a row twice', 'rows doubled in what was read back', { steps: (rows) => [...rows, ...rows.slice(0, 1)] }],
    [
      'changes the last bit of a number',
      'rows changed in what was read back',
      { steps: ([first, ...rows]) => [{ ...first, loss: Number(first?.['loss']) * (1 + 2 ** -52) }, ...rows] },
    ],
    [
      'loses the sign of zero',
      'rows changed in what was read back',
      { samples: (rows) => rows.map((row) => ({ ...row, value: row.value === '-0' ? 0 : row.value })) },
    ],
    [
      'drops a field that it does not know',
      'rows changed in what was read back',
      { steps: (rows) => rows.map((row) => ({ ...row, leeway_selftest: undefined })) },
    ],
    [
      'has a row that nobody sent',
      'rows foreign in what was read back',
      { steps: (rows) => [...rows, { ...rows[0], step: 999 }] },
    ],
    ['counts a repeat again', 'emitted, against the records sent', { forgetful: true }],
    ['misses a sequence', 'sequences missing', { account: (line) => ({ ...line, sequences_missing: 1 }) }],
    ['has lost a series', 'series read back', { series: (parts) => parts.slice(1) }],
    ['refuses a record', 'records refused at the door', { refuse: 1 }],
    ['knows nothing of the source', 'the account of the selftest', { account: (line) => ({ ...line, epoch: '1' }) }],
  ];
  test.each(lies)('one that %s: %s', async (_name, what, vice) => {
    const { exit, report } = await reportOf(vice, '0.4');
    expect(report.problems.map((problem) => problem.what)).toContain(what);
    if (what.startsWith('emitted = ')) expect(report.account_looks.unbalanced).toBeGreaterThan(0);
    expect([exit, report.proven]).toEqual([1, false]);
  });
});

test.concurrent('declared loss is no lie: what is missing and declared is proven, and said', async () => {
  await using service = await startStandIn({
    account: (line) => ({ ...line, stored: Number(line['stored']) - 20, declared_loss: { spool_full_oldest: 20 } }),
    steps: (rows) => rows.slice(20),
  });
  const { exit, out } = await selftest(service);
  expect(exit).toBe(0);
  expect(out).toContain('declared loss  spool_full_oldest 20\n');
  expect(out).toContain('PROVEN: emitted 113 = stored 93 + in flight 0 + declared loss 20\n');
});

test.concurrent('more missing than declared is a lie', async () => {
  const { exit, report } = await reportOf({
    account: (line) => ({ ...line, stored: Number(line['stored']) - 20, declared_loss: { spool_full_oldest: 20 } }),
    steps: (rows) => rows.slice(21),
  });
  expect([exit, report.problems]).toEqual([
    1,
    [{ what: 'rows missing in what was read back', expected: '0', got: '21' }],
  ]);
});

test.concurrent('a service whose records stay in flight has not proven anything yet: exit 7', async () => {
  const { exit, report } = await reportOf(
    {
      account: (line) => ({ ...line, stored: Number(line['stored']) - 3, in_flight: 3 }),
    },
    '0.4',
  );
  expect(report.problems.map(({ what }) => what)).toEqual(['records in flight']);
  expect([exit, report.proven]).toEqual([7, false]);
});

test.concurrent('a batch that is refused for good ends the proof: exit 7 with the words of the service', async () => {
  await using service = await startStandIn({ busy: { times: 99, status: 413 } });
  const { exit, error } = await selftest(service);
  expect([exit, error?.code]).toEqual([7, 'LW-DELIVERY']);
  expect(error?.message).toContain('POST /v1/events answered 413 (come again)');
});

test.concurrent('a service that never acknowledges ends the proof after --timeout: exit 7', async () => {
  await using service = await startStandIn({ busy: { times: 9_999, status: 503 } });
  const { exit, error } = await selftest(service, ['--timeout', '0.4']);
  expect([exit, error?.code]).toEqual([7, 'LW-TIMEOUT']);
  expect(error?.message).toContain('was not acknowledged within 400 ms');
});

test.concurrent('a token that may not send is exit 5 with the command that makes one', async () => {
  await using service = await startStandIn({ busy: { times: 99, status: 403 } });
  const { exit, error } = await selftest(service);
  expect([exit, error?.code]).toEqual([5, 'LW-FORBIDDEN']);
  expect(error?.message).toContain('leeway token create --scopes ingest,read');
});

test.concurrent('where nothing listens the next step is told: exit 7', async () => {
  const gone = await startStandIn();
  await gone[Symbol.asyncDispose]();
  const { exit, error } = await selftest(gone);
  expect([exit, error?.code]).toEqual([7, 'LW-UNREACHABLE']);
  expect(error?.message).toContain('(ECONNREFUSED); start it with "leeway serve", or say with --url where it listens');
});

test.concurrent('the service of the configuration is asked, with the token of gateway.token_file', async () => {
  await using directory = await scratchDirectory();
  await using service = await startStandIn();
  const config = { server: { port: Number(new URL(service.url).port) }, gateway: { token_file: 'token' } };
  await writeFile(join(directory.path, 'leeway.config.json'), JSON.stringify(config));
  await writeFile(join(directory.path, 'token'), 'lw_1_2\n');
  const { exit } = await runIn(directory.path, command, ['--batches', '1']);
  expect(exit).toBe(0);
  expect(service.requests.slice(0, 2)).toEqual(['GET /healthz', 'GET /api/v1/delivery?limit=1&source=selftest']);
});

test.each([
  [['--batches', '0'], 'option --batches is "0"'],
  [['--timeout', 'soon'], 'option --timeout is "soon"'],
  [['--rounds', '1.5'], 'option --rounds is "1.5"'],
  [['--seed', '-1'], 'option --seed is "-1"'],
  [['--format', 'yaml'], 'unknown format "yaml"'],
  [['--faults', '--url', 'http://127.0.0.1:8787'], "kills nobody else's: it takes no --url"],
  [['--url', 'somewhere'], '--url is "somewhere", expected an address'],
  [['--read-url', 'ftp://x'], '--read-url is "ftp://x", expected an address'],
])('selftest %j is refused, exit 2', async (argv, words) => {
  await using directory = await scratchDirectory();
  const { exit, error } = await runIn(directory.path, command, argv);
  expect([exit, error?.code]).toEqual([2, 'LW-USAGE']);
  expect(error?.message).toContain(words);
});
