import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { afterAll, expect, test } from 'vitest';
import { command } from '../../src/cli/cost.ts';
import { claim, EXAMPLE_2, type RawRecord } from '../cost/cases.ts';

const folder = mkdtempSync(join(tmpdir(), 'leeway-cost-'));
afterAll(() => rmSync(folder, { recursive: true }));

const lines = (records: readonly RawRecord[]): string =>
  records.map((record) => `${JSON.stringify(record)}\n`).join('');

async function run(argv: readonly string[], stdin = ''): Promise<{ code: number; out: string; err: string }> {
  let out = '';
  let err = '';
  const code = await command.run(argv, {
    out: (text) => void (out += text),
    err: (text) => void (err += text),
    stdin: Readable.from([Buffer.from(stdin)]),
    cwd: folder,
    isTerminal: false,
    color: false,
    signal: new AbortController().signal,
  });
  return { code, out, err };
}

async function json(argv: readonly string[], stdin = ''): Promise<Record<string, unknown>> {
  const { code, out } = await run([...argv, '--format', 'json'], stdin);
  expect(code).toBe(0);
  return JSON.parse(out);
}

writeFileSync(join(folder, 'all.ndjson'), lines(EXAMPLE_2));

test('The JSON document has the shape of the contract, with money as strings', async () => {
  expect(await json(['--input', 'all.ndjson'])).toEqual({
    version: 1,
    currency: 'USD',
    totals: {
      billed_nano_usd: '59168000000',
      tenant_nano_usd: '36005333333',
      idle_nano_usd: '23162666667',
      stranded_nano_usd: '0',
      overhead_nano_usd: '0',
      unobserved_nano_usd: '0',
    },
    allocations: [
      {
        asset: 'node-1',
        category: 'idle',
        tenant: null,
        correction: false,
        nano_usd: '23162666667',
        gpu_seconds: 11_400,
        basis: 'asset',
      },
      {
        asset: 'node-1',
        category: 'tenant',
        tenant: { team: 'A' },
        correction: false,
        nano_usd: '22188000000',
        gpu_seconds: 10_800,
        basis: 'whole',
      },
      {
        asset: 'node-1',
        category: 'tenant',
        tenant: { team: 'B' },
        correction: false,
        nano_usd: '9861333333',
        gpu_seconds: 4_800,
        basis: 'whole',
      },
      {
        asset: 'node-1',
        category: 'tenant',
        tenant: { team: 'C' },
        correction: false,
        nano_usd: '3956000000',
        gpu_seconds: 1_800,
        basis: 'whole',
      },
    ],
    invoice: [
      { tenant: 'idle', usd: '23.16' },
      { tenant: { team: 'A' }, usd: '22.19' },
      { tenant: { team: 'B' }, usd: '9.86' },
      { tenant: { team: 'C' }, usd: '3.96' },
    ],
    badput: [],
    unit_costs: [],
    recommendations: [],
    warnings: [],
    rejected: [],
    rejected_count: 0,
  });
});

test('Division into files, compression and standard input change nothing', async () => {
  writeFileSync(join(folder, 'a.jsonl'), lines(EXAMPLE_2.slice(0, 2)));
  writeFileSync(join(folder, 'b.ndjson.gz'), gzipSync(lines(EXAMPLE_2.slice(2, 4))));
  writeFileSync(join(folder, 'c.ndjson.zst'), zstdCompressSync(lines(EXAMPLE_2.slice(3, 5))));
  const whole = await json(['--input', 'all.ndjson']);
  const parts = ['--input', 'c.ndjson.zst', 'a.jsonl', '--input', '-', 'b.ndjson.gz'];
  expect(await json(parts, lines(EXAMPLE_2.slice(5)))).toEqual(whole);
});

test('A CSV file of records gives the same ledger; a row of the wrong length is located', async () => {
  const header =
    'type,id,kind,gpus,from_ms,to_ms,provider,region,instance_type,pricing,account,asset,usd_per_hour,source,retrieved_on,tenant.team,mode';
  const rows = [
    'asset,node-1,gpu_node,8,0,3600000,aws,us-east-1,p5.48xlarge,on_demand,acct-1,,,,,,',
    'price,,,,0,,,,,,,node-1,55.04,list,2026-01-01,,',
    'price,,,,1800000,,,,,,,node-1,63.296,list,2026-01-01,,',
    'claim,,,3,0,3600000,,,,,,node-1,,,,A,whole',
    'claim,,,2,600000,3000000,,,,,,node-1,,,,B,whole',
    'claim,,,1,1800000,3600000,,,,,,node-1,,,,C,whole',
  ];
  writeFileSync(join(folder, 'all.csv'), [header, ...rows].join('\r\n'));
  expect(await json(['--input', 'all.csv'])).toEqual(await json(['--input', 'all.ndjson']));
  writeFileSync(join(folder, 'short.csv'), [header, ...rows, 'claim,1'].join('\n'));
  expect((await json(['--input', 'short.csv']))['rejected']).toMatchObject([
    { path: 'short.csv', line: 8, code: 'LW-COST-JSON' },
  ]);
});

test('Hours are given as ISO 8601 or milliseconds, and off the hour is wrong usage', async () => {
  for (const to of ['1970-01-01T00:00:00Z', '1970-01-01', '1970-01-01T02:00:00+02:00', '1970-01-01T00:00', '0'])
    expect((await json(['--input', 'all.ndjson', '--to', to]))['invoice'], to).toEqual([]);
  for (const from of ['1970-01-01T00:30:00Z', '1', 'yesterday', '1970-13-01', '-3600000'])
    await expect(run(['--input', 'all.ndjson', '--from', from]), from).rejects.toMatchObject({ code: 'LW-USAGE' });
});

test('Bad records are left out, counted and located; --strict stops with the first one’s code', async () => {
  writeFileSync(join(folder, 'bad.ndjson'), `${lines(EXAMPLE_2)}not json\n${lines([claim('X', { asset: 'nobody' })])}`);
  const document = await json(['--input', 'bad.ndjson']);
  expect(document).toMatchObject({
    rejected_count: 2,
    rejected: [
      { path: 'bad.ndjson', line: 7, code: 'LW-COST-JSON' },
      { path: 'bad.ndjson', line: 8, code: 'LW-COST-UNKNOWN-ASSET' },
    ],
    totals: { billed_nano_usd: '59168000000' },
  });
  const focus = ['--focus', 'strict.csv'];
  await expect(run(['--input', 'bad.ndjson', '--strict', ...focus])).rejects.toMatchObject({ code: 'LW-COST-JSON' });
  expect(readdirSync(folder)).not.toContain('strict.csv');
});

test('Only the first hundred rejections are listed, all are counted', async () => {
  const document = await json(['--input', '-'], 'x\n'.repeat(150));
  expect(document['rejected_count']).toBe(150);
  expect(document['rejected']).toHaveLength(100);
});

test('The FOCUS file is written whole beside the document, in the version asked for', async () => {
  await run(['--input', 'all.ndjson', '--focus', 'out.csv', '--focus-version', '1.3']);
  const rows = readFileSync(join(folder, 'out.csv'), 'utf8').split('\r\n');
  expect(rows).toHaveLength(6); // header, four rows, the end of the last line
  expect(rows[0]).toContain(',AllocatedMethodId,');
  expect(readdirSync(folder).filter((name) => name.endsWith('.tmp'))).toEqual([]);
});

test('The table shows the invoice in cents and the totals in nano-dollars', async () => {
  const { out } = await run(['--input', 'all.ndjson']);
  expect(out).toMatch(/ {2}A +22\.19\n/);
  expect(out).toMatch(/ {2}total +59\.17\n/);
  expect(out).toMatch(/ {2}billed +59\.168000000\n/);
});

test('Wrong options are wrong usage, a missing file is bad data', async () => {
  for (const argv of [
    [],
    ['--input', 'all.ndjson', '--group-by', 'team,'],
    ['--input', 'all.ndjson', '--focus-version', '1.4'],
    ['--input', 'all.ndjson', '--format', 'xml'],
    ['--input', 'a.txt'],
  ])
    await expect(run(argv), argv.join(' ')).rejects.toMatchObject({ code: 'LW-USAGE' });
  await expect(run(['--input', 'none.ndjson'])).rejects.toMatchObject({ code: 'LW-INPUT-FILE' });
});

test('--group-by adds up over the other tenant keys', async () => {
  const document = await json(['--input', 'all.ndjson', '--group-by', 'model']);
  expect(document['invoice']).toEqual([
    { tenant: 'idle', usd: '23.16' },
    { tenant: {}, usd: '36.01' },
  ]);
});
