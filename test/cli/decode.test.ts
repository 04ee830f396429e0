import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { command } from '../../src/cli/decode.ts';
import type { Terminal } from '../../src/cli/command.ts';
import { CORPUS, corpusFiles, describeCorpus } from '../formats/corpus.ts';

let directory = '';
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'leeway-decode-'));
});
afterAll(() => rmSync(directory, { recursive: true }));

function file(name: string, content: string | Uint8Array): string {
  writeFileSync(join(directory, name), content);
  return name;
}

async function run(args: readonly string[], stdin = ''): Promise<{ out: string; code: number }> {
  let out = '';
  const terminal: Terminal = {
    out: (text) => void (out += text),
    err: () => undefined,
    stdin: Readable.from([Buffer.from(stdin)]),
    cwd: directory,
    isTerminal: false,
    color: false,
    signal: new AbortController().signal,
  };
  const code = await command.run(args, terminal);
  return { out, code };
}

async function decoded(args: readonly string[], stdin = '') {
  const { out } = await run([...args, '--format', 'json'], stdin);
  return JSON.parse(out);
}

const CSV = 'index, uuid, memory.used [MiB], fan.speed [%]\n0, GPU-1, 5 MiB, [N/A]\n';

describe('leeway decode', () => {
  test('prints one JSON document of version 1 with samples, absences, inventory and warnings', async () => {
    expect(await decoded(['--source', 'nvidia-smi-csv', file('a.csv', CSV)])).toEqual({
      version: 1,
      samples: [
        {
          metric: 'hw.gpu.memory.usage',
          value: 5_242_880,
          unit: 'By',
          attributes: { 'hw.id': 'GPU-1', gpu: '0' },
          quality: 'ok',
        },
      ],
      absent: [{ metric: 'hw.fan.speed_ratio', attributes: { 'hw.id': 'GPU-1', gpu: '0' }, reason: 'unsupported' }],
      inventory: [{ 'hw.id': 'GPU-1', name: null, driver: null, mig: [], index: 0 }],
      warnings: [],
    });
  });

  test('a table for people says what is absent and why', async () => {
    const { out, code } = await run(['--source', 'nvidia-smi-csv', file('a.csv', CSV)]);
    expect(code).toBe(0);
    expect(out).toContain('hw.gpu.memory.usage{hw.id="GPU-1",gpu="0"} 5242880 By\n');
    expect(out).toContain('hw.fan.speed_ratio{hw.id="GPU-1",gpu="0"} absent: unsupported\n');
    expect(out).toContain('1 values, 1 absent, 0 warnings\n');
  });

  test('text of a source cannot steer the terminal', async () => {
    const { out } = await run(['--source', 'prometheus', file('e.txt', 'a{b="\u001b[2Jx"} 1\n')]);
    expect(out).not.toContain('\u001b');
  });

  test('"-" is standard input, and .gz is unpacked', async () => {
    const expected = await decoded(['--source', 'nvidia-smi-csv', file('a.csv', CSV)]);
    expect(await decoded(['--source', 'nvidia-smi-csv', '-'], CSV)).toEqual(expected);
    expect(await decoded(['--source', 'nvidia-smi-csv', file('a.csv.gz', gzipSync(CSV))])).toEqual(expected);
  });

  test('integers that a double does not hold are decimal strings', async () => {
    const { samples } = await decoded([
      '--source',
      'prometheus',
      file('big.txt', 'a 18446744073709551615\nb 9007199254740991\n'),
    ]);
    expect(samples.map(({ value }: { value: unknown }) => value)).toEqual([
      '18446744073709551615',
      9_007_199_254_740_991,
    ]);
  });

  test('UTF-16 with its mark, as PowerShell writes it, and UTF-8 with one are read', async () => {
    const expected = await decoded(['--source', 'nvidia-smi-csv', file('a.csv', CSV)]);
    const little = Buffer.from(`\ufeff${CSV.replaceAll('\n', '\r\n')}`, 'utf16le');
    expect(await decoded(['--source', 'nvidia-smi-csv', file('b.csv', little)])).toEqual(expected);
    expect(await decoded(['--source', 'nvidia-smi-csv', file('c.csv', Buffer.from(little).swap16())])).toEqual(
      expected,
    );
    expect(await decoded(['--source', 'nvidia-smi-csv', file('d.csv', `\ufeff${CSV}`)])).toEqual(expected);
  });

  test('bytes that are no UTF-8 are replaced and told', async () => {
    const bytes = Buffer.concat([Buffer.from('a{b="'), Buffer.from([0xff]), Buffer.from('"} 1\n')]);
    const { samples, warnings } = await decoded(['--source', 'prometheus', file('bad.txt', bytes)]);
    expect(samples).toMatchObject([{ attributes: { b: '\ufffd' } }]);
    expect(warnings).toMatchObject([{ code: 'LW-DECODE-ENCODING' }]);
  });

  test('--at-ms stamps values and marks those older than five minutes stale', async () => {
    const at_ms = 1_800_000_000_000;
    const text = `a 1\nb 2 ${at_ms - 300_000}\nc 3 ${at_ms - 300_001}\n`;
    const { samples } = await decoded(['--source', 'prometheus', file('t.txt', text), '--at-ms', String(at_ms)]);
    expect(
      samples.map((sample: Record<string, unknown>) => [sample['metric'], sample['at_ms'], sample['quality']]),
    ).toEqual([
      ['a', at_ms, 'ok'],
      ['b', at_ms - 300_000, 'ok'],
      ['c', at_ms - 300_001, 'stale'],
    ]);
  });

  test('--strict refuses what was not understood', async () => {
    const name = file('s.txt', 'good 1\nbad line here\n');
    expect((await decoded(['--source', 'prometheus', name])).samples).toHaveLength(1);
    await expect(run(['--source', 'prometheus', name, '--strict'])).rejects.toMatchObject({ code: 'LW-INPUT' });
    await expect(run(['--source', 'nvidia-smi-csv', file('a.csv', CSV), '--strict'])).resolves.toMatchObject({
      code: 0,
    });
  });

  test.each([
    [['a.csv'], 'LW-USAGE', '--source'],
    [['--source', 'nvidia-smi-csv'], 'LW-USAGE', 'which FILE'],
    [['--source', 'nvidia-smi-cvs', 'a.csv'], 'LW-USAGE', 'did you mean nvidia-smi-csv'],
    [['--source', 'nvidia-smi-csv', 'a.csv', '--format', 'xml'], 'LW-USAGE', 'json or table'],
    [['--source', 'nvidia-smi-csv', 'a.csv', '--at-ms', 'noon'], 'LW-USAGE', 'Unix milliseconds'],
    [['--source', 'nvidia-smi-csv', 'a.csv', '--at-ms', '1700000000'], 'LW-USAGE', 'Unix milliseconds'],
    [['--source', 'nvidia-smi-csv', 'nowhere.csv'], 'LW-INPUT-FILE', 'nowhere.csv: no such file'],
    [['--source', 'nvidia-smi-csv', '.'], 'LW-INPUT-FILE', 'is a directory'],
    [['--source', 'infiniband', 'nowhere'], 'LW-INPUT-FILE', 'no such directory'],
  ])('%j fails with %s', async (args, code, message) => {
    file('a.csv', CSV);
    await expect(run(args)).rejects.toMatchObject({ code, message: expect.stringContaining(message) });
  });

  test('a file of another source is refused with its name, before anything is printed', async () => {
    const failure = { code: 'LW-INPUT', message: expect.stringContaining('x.csv: no element nvidia_smi_log') };
    await expect(run(['--source', 'nvidia-smi-xml', file('x.csv', '<a></a>')])).rejects.toMatchObject(failure);
  });
});

describeCorpus('leeway decode on every capture', () => {
  const text = ['csv', 'pmon', 'dmon', 'nvlink', 'topo', 'list'].map(
    (tool) => [`nvidia-smi-${tool}`, 'nvidia-smi-text', '.txt'] as const,
  );
  const sources = [
    ...text,
    ['nvidia-smi-xml', 'nvidia-smi-xml', '.xml'],
    ['prometheus', 'prometheus', '.txt'],
    ['dcgm', 'prometheus', 'dcgm-exporter_t4.txt'],
    ['triton', 'prometheus', 'triton_densenet_onnx.txt'],
    ['ncclras', 'nccl-ras', ''],
    ['nccl-inspector', 'nccl-inspector', ''],
    ['infiniband', 'procfs/sys/class/infiniband', ''],
  ] as const;

  test.each(sources)(
    '%s reads all of %s: finite values in the words of the contract',
    async (source, folder, ending) => {
      for (const name of corpusFiles(folder, ending)) {
        const result = await decoded(['--source', source, join(CORPUS, folder, name)]);
        expect(result.version).toBe(1);
        expect(result.samples.length + result.absent.length + result.inventory.length, name).toBeGreaterThan(0);
        for (const { value, quality, unit } of result.samples) {
          expect(['ok', 'suspect']).toContain(quality);
          expect(typeof unit).toBe('string');
          expect(Number.isFinite(value), `${name} ${value}`).toBe(true);
        }
        for (const { reason } of result.absent)
          expect(['unsupported', 'no_permission', 'deprecated', 'lost', 'mig_unsupported', 'parse_error']).toContain(
            reason,
          );
      }
    },
  );
});
