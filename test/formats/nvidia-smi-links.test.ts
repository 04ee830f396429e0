import { describe, expect, test } from 'vitest';
import { decodeNvidiaSmiNvlink, decodeNvidiaSmiTopo } from '../../src/formats/nvidia-smi-links.ts';
import { decodeNvidiaSmiList } from '../../src/formats/nvidia-smi-list.ts';
import { corpusText, describeCorpus, valuesOf, warningCodes } from './corpus.ts';

const REFUSED = expect.objectContaining({ code: 'LW-INPUT' });
const GPU0 = 'GPU 0: NVIDIA H200 (UUID: GPU-a)\n';

describe('decodeNvidiaSmiNvlink', () => {
  test('GB/s are 10^9 bytes a second, exactly', () => {
    const result = decodeNvidiaSmiNvlink(`${GPU0}\t Link 0: 26.562 GB/s\n\t Link 1: 53.125 GB/s\n`);
    expect(valuesOf(result, 'hw.gpu.interconnect.speed')).toEqual([26_562_000_000, 53_125_000_000]);
  });

  test('an inactive link has no speed', () => {
    const result = decodeNvidiaSmiNvlink(`${GPU0}\t Link 3: <inactive>\n`);
    expect(valuesOf(result, 'hw.gpu.interconnect.active', { link: '3' })).toEqual([0]);
    expect(result.absent).toMatchObject([{ metric: 'hw.gpu.interconnect.speed', reason: 'lost' }]);
  });

  test.each([
    ['Nvlink queries are not supported for Devices in MIG mode', 'mig_unsupported'],
    ['Device does not have or support Nvlink', 'unsupported'],
    ['Unable to retrieve NVLink information as all links are inActive', 'lost'],
  ])('%j is absent: %s', (line, reason) => {
    const result = decodeNvidiaSmiNvlink(`${GPU0}${line}\n`);
    expect(result.samples).toEqual([]);
    expect(result.absent).toMatchObject([{ attributes: { 'hw.id': 'GPU-a' }, reason }]);
  });

  test('a speed without its unit, or in another one, is no value', () => {
    const result = decodeNvidiaSmiNvlink(`${GPU0}\t Link 0: 26.562\n\t Link 1: 26 W\n\t Link 2: N/A\n`);
    expect(result.samples).toEqual([]);
    expect(result.absent.map(({ reason }) => reason)).toEqual(['parse_error', 'parse_error', 'unsupported']);
  });

  test('other lines are told, and a text without a GPU is refused', () => {
    expect(warningCodes(decodeNvidiaSmiNvlink(`${GPU0}something else\n`))).toEqual(['LW-DECODE-LINE']);
    expect(() => decodeNvidiaSmiNvlink('something else\n')).toThrow(REFUSED);
  });
});

describe('decodeNvidiaSmiTopo', () => {
  const matrix = [
    '\t\u001b[4mGPU0\tGPU1\tNIC0\tCPU Affinity\tNUMA Affinity\tGPU NUMA ID\u001b[0m',
    'GPU0\t X \tNV18\tPIX\t0-55\t0\t\tN/A',
    'GPU1\tNV18\t X \tSYS\t56-111\t1\t\t3',
    'NIC0\tPIX\tSYS\t X \t\t\t\t',
    '',
    'Legend:',
    '  X    = Self',
  ].join('\n');

  test('bonded links are counted, other paths have none, escape sequences are dropped', () => {
    const result = decodeNvidiaSmiTopo(matrix);
    expect(
      valuesOf(result, 'hw.gpu.interconnect.links', { 'hw.id': 'GPU0', peer: 'GPU1', connection: 'NV18' }),
    ).toEqual([18]);
    expect(valuesOf(result, 'hw.gpu.interconnect.links', { 'hw.id': 'GPU1', peer: 'NIC0', connection: 'SYS' })).toEqual(
      [0],
    );
    expect(result.warnings).toEqual([]);
    expect(result.inventory).toEqual([
      { 'hw.id': 'GPU0', name: null, driver: null, mig: [], cpu_affinity: '0-55', numa_affinity: '0' },
      { 'hw.id': 'GPU1', name: null, driver: null, mig: [], cpu_affinity: '56-111', numa_affinity: '1' },
    ]);
    expect(valuesOf(result, 'hw.gpu.numa_node', { 'hw.id': 'GPU1' })).toEqual([3]);
    expect(result.absent).toEqual([
      { metric: 'hw.gpu.numa_node', attributes: { 'hw.id': 'GPU0' }, reason: 'unsupported' },
    ]);
  });

  test('a row with an unknown path is absent as a whole', () => {
    const result = decodeNvidiaSmiTopo(matrix.replace('NV18\tPIX', 'WARP9\tPIX'));
    expect(valuesOf(result, 'hw.gpu.interconnect.links', { 'hw.id': 'GPU0' })).toEqual([]);
    expect(warningCodes(result)).toEqual(['LW-DECODE-COLUMNS']);
  });

  test('a matrix copied from a terminal, blanks for tabs, is read the same', () => {
    const result = decodeNvidiaSmiTopo(
      '        GPU0    GPU1    CPU Affinity    NUMA Affinity\nGPU0     X      NV12    0-31            0\nGPU1    NV12     X      32-63           1\n',
    );
    expect(valuesOf(result, 'hw.gpu.interconnect.links')).toEqual([12, 12]);
    expect(result.inventory).toMatchObject([{ cpu_affinity: '0-31' }, { cpu_affinity: '32-63', numa_affinity: '1' }]);
  });

  test('no matrix is refused', () => {
    expect(() => decodeNvidiaSmiTopo('Legend:\n')).toThrow(REFUSED);
  });
});

describe('decodeNvidiaSmiList', () => {
  test('MIG devices stand under the GPU before them', () => {
    const result = decodeNvidiaSmiList(
      `${GPU0}  MIG 1c.3g.71gb  Device  0: (UUID: MIG-1)\nGPU 1: NVIDIA H200 (UUID: GPU-b)\n`,
    );
    expect(result.inventory).toEqual([
      {
        'hw.id': 'GPU-a',
        name: 'NVIDIA H200',
        driver: null,
        mig: [{ 'hw.id': 'MIG-1', profile: '1c.3g.71gb', device: 0 }],
        index: 0,
      },
      { 'hw.id': 'GPU-b', name: 'NVIDIA H200', driver: null, mig: [], index: 1 },
    ]);
  });

  test('an orphaned MIG line is told, an error text is a warning, garbage is refused', () => {
    expect(() => decodeNvidiaSmiList('  MIG 1g.10gb  Device  0: (UUID: MIG-1)\n')).toThrow(REFUSED);
    expect(warningCodes(decodeNvidiaSmiList('No devices were found\n'))).toEqual(['LW-DECODE-SOURCE-ERROR']);
    expect(() => decodeNvidiaSmiList('')).toThrow(REFUSED);
  });
});

describeCorpus('links and lists on captures of four machines', () => {
  const h100 = corpus('linux-x86_64__nvidia-h100-80gb-hbm3__590.48.01');
  const mig = corpus('linux-x86_64__nvidia-h100-mig__590.48.01');
  const l40s = corpus('linux-x86_64__nvidia-l40s__595.80');

  function corpus(capture: string): () => string {
    return () => corpusText(`nvidia-smi-text/${capture}.txt`);
  }

  test('an H100 has 18 links of 26.562 GB/s', () => {
    expect(valuesOf(decodeNvidiaSmiNvlink(h100()), 'hw.gpu.interconnect.speed')).toEqual(
      Array.from({ length: 18 }, () => 26_562_000_000),
    );
  });

  test('under MIG links are mig_unsupported, on an L40S unsupported', () => {
    expect(decodeNvidiaSmiNvlink(mig()).absent.map(({ reason }) => reason)).toEqual(['mig_unsupported']);
    expect(decodeNvidiaSmiNvlink(l40s()).absent.map(({ reason }) => reason)).toEqual(['unsupported']);
  });

  test('the list of a MIG machine holds four devices', () => {
    expect(decodeNvidiaSmiList(mig()).inventory[0]?.mig.map((device) => device['hw.id'])).toEqual([
      'MIG-00000000-0000-0000-0000-000000000000',
      'MIG-00000001-0000-0000-0000-000000000001',
      'MIG-00000002-0000-0000-0000-000000000002',
      'MIG-00000003-0000-0000-0000-000000000003',
    ]);
  });

  test('a one-GPU matrix has no peers and one affinity', () => {
    const result = decodeNvidiaSmiTopo(h100());
    expect(result.samples).toEqual([]);
    expect(result.inventory).toMatchObject([{ 'hw.id': 'GPU0', cpu_affinity: '0-19', numa_affinity: '0' }]);
  });
});
