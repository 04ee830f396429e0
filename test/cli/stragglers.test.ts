import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Terminal } from '../../src/cli/command.ts';
import { command } from '../../src/cli/stragglers.ts';
import { simulate } from '../straggler/simulator.ts';

let folder = '';
let lines: string[] = [];

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'leeway-stragglers-'));
  const { records } = simulate({
    seed: 31,
    dp: 8,
    steps: 300,
    faults: [{ kind: 'gpu_slow', rank: 6, ratio: 0.25, from: 180 }],
    price: 2.5,
  });
  lines = records.map((record) => JSON.stringify(record));
  await writeFile(join(folder, 'events.ndjson'), `${lines.join('\n')}\n`);
});

afterAll(() => rm(folder, { recursive: true, force: true }));

async function call(argv: readonly string[], stdin = ''): Promise<{ code: number; out: string }> {
  let out = '';
  const terminal: Terminal = {
    out: (text) => {
      out += text;
    },
    err: () => undefined,
    stdin: Readable.from([Buffer.from(stdin)]),
    cwd: folder,
    isTerminal: false,
    color: false,
    signal: new AbortController().signal,
  };
  return { code: await command.run(argv, terminal), out };
}

async function json(argv: readonly string[], stdin = ''): Promise<Record<string, unknown>> {
  return JSON.parse((await call([...argv, '--format', 'json'], stdin)).out);
}

describe('leeway stragglers', () => {
  test('prints one JSON document in the shape of the contract', async () => {
    const report = await json(['--input', 'events.ndjson']);
    expect(report).toMatchObject({
      version: 1,
      jobs: [{ job: 'sim-31', attempts: 1, ranks: 8, steps: 300, coverage_ratio: 1 }],
      incidents: [
        {
          job: 'sim-31',
          kind: 'slow_rank',
          severity: 'page',
          subjects: [{ type: 'rank', id: '6' }],
          cause: 'unknown',
          started_step: 180,
          cleared_at_ms: null,
          cleared_step: null,
        },
      ],
      insights: [],
      rejected: [],
      rejected_count: 0,
    });
  });

  test('the printed USD are the printed GPU-seconds times the price', async () => {
    type Costed = {
      jobs: { gpu_seconds_lost: number; usd_lost: string }[];
      incidents: { gpu_seconds_lost: number; usd_lost: string }[];
    };
    for (const [argv, price] of [
      [[], 2.5],
      [['--gpu-usd-per-hour', '4'], 4],
    ] as const) {
      const report: Costed = JSON.parse((await call(['--input', 'events.ndjson', '--format', 'json', ...argv])).out);
      for (const item of [...report.jobs, ...report.incidents]) {
        expect(item.usd_lost).toMatch(/^\d+\.\d{9}$/);
        // micro-GPU-seconds × price × 10 ÷ 36,000 = nano-USD; |difference| ≤ half a unit of the ninth place
        const micro = BigInt(Math.round(item.gpu_seconds_lost * 1e6));
        const nano = BigInt(item.usd_lost.replace('.', ''));
        const twice = 2n * (nano * 36n - micro * BigInt(price * 10));
        expect(twice <= 36n && twice >= -36n, `${item.gpu_seconds_lost} → ${item.usd_lost}`).toBe(true);
      }
    }
  });

  test('how records are divided into files does not matter', async () => {
    const whole = await json(['--input', 'events.ndjson']);
    await writeFile(join(folder, 'odd.ndjson.gz'), gzipSync(lines.filter((_, index) => index % 2 === 1).join('\n')));
    await writeFile(
      join(folder, 'late.jsonl'),
      lines.filter((_, index) => index % 2 === 0 && index > 1_200).join('\n'),
    );
    const early = lines.filter((_, index) => index % 2 === 0 && index <= 1_200).join('\n');
    expect(await json(['--input', 'odd.ndjson.gz', 'late.jsonl', '--input', '-'], early)).toEqual(whole);
  });

  test('a bad record is skipped, counted and named; --strict refuses it', async () => {
    const text = `${lines[0]}\n{"type":"step"\n${lines[1]}\n{"type":"stepp"}\n`;
    const report = await json(['--input', '-'], text);
    expect(report['rejected_count']).toBe(2);
    expect(report['rejected']).toMatchObject([
      { line: 2, code: 'LW-RECORD-JSON' },
      { line: 4, code: 'LW-RECORD-TYPE' },
    ]);
    await expect(call(['--input', '-', '--strict'], text)).rejects.toMatchObject({ code: 'LW-RECORD-JSON' });
  });

  test('--fail-on turns findings into exit 6', async () => {
    expect((await call(['--input', 'events.ndjson'])).code).toBe(0);
    expect((await call(['--input', 'events.ndjson', '--fail-on', 'page'])).code).toBe(6);
    expect((await call(['--input', '-', '--fail-on', 'any'], lines.slice(0, 500).join('\n'))).code).toBe(0);
  });

  test('the table names culprit and cost', async () => {
    const { out } = await call(['--input', 'events.ndjson']);
    expect(out).toContain('rank 6');
    expect(out).toMatch(/job sim-31: 8 ranks, 300 steps/);
    expect((await call(['--input', '-'])).out).toBe('no training records found\n');
  });

  test('an operator trace gives the what-if answer, a damaged one an error with file, row and column', async () => {
    const header = 'dp_rank,stage,rank,step,optype,start_ts,duration,seq_id,mc,mb_id,gmc';
    // two ranks, compute 1 s and 3 s, optimizer 1 s after a common clip: recorded 3 + 1, ideal 2 + 1
    const trace = [0, 1].flatMap((dp) => [
      `${dp},0,${dp},0,forward-compute,0,${1 + 2 * dp},0,0,0,0`,
      `${dp},0,${dp},0,optimizer-clip-main-grad,${1 + 2 * dp},${2 - 2 * dp},0,-1,-1,-1`,
      `${dp},0,${dp},0,optimizer,3,1,0,-1,-1,-1`,
    ]);
    await writeFile(join(folder, 'trace.csv'), [header, ...trace].join('\n'));
    const report = await json(['--input', 'trace.csv']);
    expect(report).toMatchObject({
      version: 1,
      trace: { operations: 6, steps: 1, dp: 2, stages: 1 },
      verdict: 'worker',
    });
    expect(report['what_if']).toMatchObject({ slowdown: 4 / 3, m_w: 1 });
    expect((await call(['--input', 'trace.csv', '--fail-on', 'any'])).code).toBe(6);
    expect((await call(['--input', 'trace.csv'])).out).toContain('slow worker: data-parallel rank 1, stage 0, ×1.3333');
    await writeFile(join(folder, 'bad.csv'), [header, ...trace, '0,0,0,1,optimizer,x,1,0,-1,-1,-1'].join('\n'));
    await expect(call(['--input', 'bad.csv'])).rejects.toThrow(
      'bad.csv: data row 6: start_ts = "x", expected a number of seconds',
    );
    await writeFile(join(folder, 'other.csv'), 'a,b\n1,2\n');
    await expect(call(['--input', 'other.csv'])).rejects.toThrow('not an operator trace');
    await expect(call(['--input', 'trace.csv', 'events.ndjson'])).rejects.toMatchObject({ code: 'LW-INPUT' });
  });

  test('wrong usage is refused before anything is read', async () => {
    await expect(call([])).rejects.toMatchObject({ code: 'LW-USAGE' });
    await expect(call(['--input', '-', '--format', 'xml'])).rejects.toMatchObject({ code: 'LW-USAGE' });
    await expect(call(['--input', '-', '--fail-on', 'never'])).rejects.toMatchObject({ code: 'LW-USAGE' });
    await expect(call(['--input', '-', '--gpu-usd-per-hour', '1e3'])).rejects.toMatchObject({ code: 'LW-USAGE' });
    await expect(call(['--input', 'missing.ndjson'])).rejects.toMatchObject({ code: 'LW-INPUT-FILE' });
  });

  test('passes no gate on records that tell of no job: exit 3 under --fail-on, a report without', async () => {
    const unreadable = 'not a record\n'.repeat(50);
    expect((await call(['--input', '-'], unreadable)).out).toContain('50 records rejected');
    for (const input of [unreadable, ''])
      await expect(call(['--input', '-', '--fail-on', 'any'], input)).rejects.toMatchObject({
        code: 'LW-INPUT',
        message: expect.stringContaining(`no training records found (${input === '' ? 0 : 50} rejected)`),
      });
  });
});
