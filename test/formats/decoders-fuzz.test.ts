import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { CATALOG } from '../../src/core/catalog.ts';
import { LeewayError } from '../../src/core/errors.ts';
import { ABSENT_REASONS, QUALITIES } from '../../src/core/quality.ts';
import { parseXml } from '../../src/files/xml-document.ts';
import { textDecoders } from '../../src/formats/decode-source.ts';
import { DECODE_WARNINGS, type DecodeResult } from '../../src/formats/decode-result.ts';
import { corpusText, describeCorpus } from './corpus.ts';

const TEXT_DECODERS = textDecoders(parseXml);

/** Result of a decoder, or null when it refused; anything else that is thrown fails the test. */
function attempt(decode: (text: string) => DecodeResult, text: string): DecodeResult | null {
  try {
    return decode(text);
  } catch (error) {
    if (error instanceof LeewayError && error.code === 'LW-INPUT') return null;
    throw error;
  }
}

/** What holds for every result, whatever the text was. */
function check(result: DecodeResult | null): void {
  for (const { metric, value, unit, quality } of result?.samples ?? []) {
    expect(typeof value === 'bigint' || Number.isFinite(value), metric).toBe(true);
    expect(QUALITIES).toContain(quality);
    const ours = Object.hasOwn(CATALOG, metric) ? CATALOG[metric as keyof typeof CATALOG] : null; // own key, just asked
    if (ours !== null) expect(unit).toBe(ours.unit);
    if (ours !== null && quality === 'ok') {
      expect(value >= ours.range[0] && value <= ours.range[1], `${metric} ${value}`).toBe(true);
    }
  }
  for (const { reason } of result?.absent ?? []) expect(ABSENT_REASONS).toContain(reason);
  for (const { code } of result?.warnings ?? []) expect(Object.keys(DECODE_WARNINGS)).toContain(code);
}

test('the check of a result fails on a value that must not come out', () => {
  const sample = { metric: 'hw.gpu.utilization', value: 0.5, unit: '1', attributes: {}, quality: 'ok' } as const;
  const withSample = (changed: object): DecodeResult => ({
    samples: [{ ...sample, ...changed }],
    absent: [],
    inventory: [],
    warnings: [],
  });
  expect(() => check(withSample({}))).not.toThrow();
  for (const changed of [{ value: Number.NaN }, { value: 2 }, { unit: '%' }, { quality: 'fine' }])
    expect(() => check(withSample(changed))).toThrow();
});

/** Texts made of what the formats are made of: closer to them than letters at random. */
const PIECES = [
  '\n',
  '\r\n',
  ' ',
  ', ',
  '\t',
  '{',
  '}',
  '"',
  ':',
  '<',
  '>',
  '</',
  '#',
  '[',
  ']',
  '=',
  '-',
  '\\',
  '\u0000',
  '\u001b[4m',
  '\ufffd',
  'index',
  'memory.used [MiB]',
  'utilization.gpu [%]',
  '5 MiB',
  '72 %',
  '[N/A]',
  'GPU 0: x (UUID: GPU-1)',
  '\t Link 0: 26.562 GB/s',
  '# gpu pid type sm mem command',
  '# gpu pwr',
  '0 70',
  'GPU0\t X \tNV18',
  '\tGPU0\tGPU1\tCPU Affinity',
  'nvidia_smi_log',
  '<gpu id="1">',
  '<nvidia_smi_log>',
  '</nvidia_smi_log>',
  '<!ENTITY',
  'DCGM_FI_DEV_GPU_UTIL{gpu="0"} 5',
  '# TYPE a summary',
  'NaN',
  '+Inf',
  '1e999',
  '9223372036854775794',
  '{"communicators":[]}',
  '"ranks"',
  '{"rank":1,"coll_perf":{"coll_sn":1}}',
  'Rank 0 -- GPU 0 managed by process 1 on node a',
] as const; // prettier-ignore

describe.each([...TEXT_DECODERS])('%s', (source, decode) => {
  test('any text gives a sound result or is refused', () => {
    const text = fc.array(fc.oneof(fc.constantFrom(...PIECES), fc.string({ maxLength: 20 })), { maxLength: 40 });
    fc.assert(
      fc.property(text, (pieces) => check(attempt(decode, pieces.join('')))),
      { numRuns: 150 },
    );
  });

  test('10 MB in one line, a megabyte of line ends and one of brackets end quickly', () => {
    for (const text of [
      'x'.repeat(10_000_000),
      '\n'.repeat(1_000_000),
      '{'.repeat(1_000_000),
      '<a>'.repeat(300_000),
      `index, ${'a,'.repeat(1_000_000)}`,
    ])
      check(attempt(decode, text));
  });

  test('the same text gives the same result', () => {
    const text = PIECES.join('\n');
    expect(attempt(decode, text)).toEqual(attempt(decode, text));
    expect(source).not.toBe('');
  });
});

const SEEDS = [
  ['nvidia-smi-csv', 'nvidia-smi-text/linux-x86_64__nvidia-h100-mig__590.48.01.txt'],
  ['nvidia-smi-xml', 'nvidia-smi-xml/tesla-t4.xml'],
  ['nvidia-smi-dmon', 'nvidia-smi-text/linux-x86_64__nvidia-l40s__595.80.txt'],
  ['nvidia-smi-pmon', 'nvidia-smi-text/linux-x86_64__nvidia-l40s__595.80.txt'],
  ['nvidia-smi-nvlink', 'nvidia-smi-text/linux-x86_64__nvidia-h100-80gb-hbm3__590.48.01.txt'],
  ['nvidia-smi-topo', 'nvidia-smi-text/linux-x86_64__nvidia-l40s__595.80.txt'],
  ['nvidia-smi-list', 'nvidia-smi-text/linux-x86_64__nvidia-h100-mig__590.48.01.txt'],
  ['dcgm', 'prometheus/dcgm-exporter_t4.txt'],
  ['triton', 'prometheus/triton_densenet_onnx.txt'],
  ['prometheus', 'prometheus/vllm.txt'],
  ['ncclras', 'nccl-ras/missing_rank_2.29.1.json'],
  ['ncclras', 'nccl-ras/text_incomplete.txt'],
  ['nccl-inspector', 'nccl-inspector/dump_v4.0.ndjson'],
] as const;

describeCorpus('damaged captures', () => {
  test.each(SEEDS)(
    '%s: %s with a piece cut out, doubled or overwritten gives a sound result or is refused',
    (source, path) => {
      const decode = TEXT_DECODERS.get(source);
      const whole = corpusText(path);
      // of a capture only the part from the first wanted section on, so that damage hits it
      const text = whole.slice(Math.max(0, whole.length - 40_000));
      const place = fc.nat({ max: text.length });
      fc.assert(
        fc.property(
          place,
          fc.nat({ max: 200 }),
          fc.constantFrom('', '\u0000', '[N/A]', '9'.repeat(30), '\n', '"', '<', ',', 'NaN'),
          (at, length, put) => {
            if (decode !== undefined) check(attempt(decode, text.slice(0, at) + put + text.slice(at + length)));
          },
        ),
        { numRuns: 25 },
      );
    },
  );
});
