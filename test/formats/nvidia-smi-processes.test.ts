import { describe, expect, test } from 'vitest';
import { decodeNvidiaSmiCsv } from '../../src/formats/nvidia-smi-csv.ts';
import { absentOf, corpusText, describeCorpus, samplesOf, valuesOf, warningCodes } from './corpus.ts';

const RETIRED = 'gpu_uuid, retired_pages.address, retired_pages.cause\n';

describe('tables of nvidia-smi beside --query-gpu', () => {
  test('accounted processes: shares as ratios, memory in bytes, time in seconds', () => {
    const result = decodeNvidiaSmiCsv(
      'gpu_uuid, pid, gpu_utilization [%], mem_utilization [%], max_memory_usage [MiB], time [ms]\nGPU-1, 7, 71 %, 8 %, 538 MiB, 5270 ms\n',
    );
    expect(result.samples.map(({ metric, value, unit }) => [metric, value, unit])).toEqual([
      ['process.gpu.accounted.utilization', 0.71, '1'],
      ['process.gpu.accounted.memory.controller.utilization', 0.08, '1'],
      ['process.gpu.accounted.memory.peak', 538 * 1_048_576, 'By'],
      ['process.gpu.accounted.time', 5.27, 's'],
    ]);
  });

  test('a retired page has its address and cause, none is absent, another text is no page', () => {
    const result = decodeNvidiaSmiCsv(
      `${RETIRED}GPU-1, 0x00000000001a2b3c, Double Bit ECC\nGPU-1, [N/A], Single Bit ECC\nGPU-1, page 7, Single Bit ECC\n`,
    );
    expect(result.samples).toEqual([
      {
        metric: 'hw.gpu.retired_page',
        value: 1,
        unit: '1',
        attributes: { 'hw.id': 'GPU-1', cause: 'double_bit_ecc', address: '0x00000000001a2b3c' },
        quality: 'ok',
      },
    ]);
    expect(result.absent.map(({ reason }) => reason)).toEqual(['unsupported', 'parse_error']);
  });

  test('a row with too few cells, or too many where no name can hold them, is skipped and told', () => {
    const result = decodeNvidiaSmiCsv(`${RETIRED}GPU-1, 0x1\nGPU-1, 0x1, a, b\n${'x'.repeat(100_000)}\n`);
    expect([result.samples, result.absent]).toEqual([[], []]);
    expect(warningCodes(result)).toEqual(['LW-DECODE-COLUMNS']);
    expect(result.warnings).toHaveLength(3);
  });

  test('a header alone is no process', () => {
    const result = decodeNvidiaSmiCsv('gpu_uuid, pid, process_name, used_gpu_memory [MiB]\n');
    expect(result).toEqual({ samples: [], absent: [], inventory: [], warnings: [] });
  });
});

describeCorpus('accounted processes of an L40S', () => {
  // idle: 15727, 17439, 18679; load: those and 20037, 20038
  test('eight rows over both states, the longest process 153.712 s at 99 %', () => {
    const result = decodeNvidiaSmiCsv(corpusText('nvidia-smi-text/linux-x86_64__nvidia-l40s__595.80.txt'));
    expect(samplesOf(result, 'process.gpu.accounted.time')).toHaveLength(8);
    const longest = { 'process.pid': '18679', state: 'idle' };
    expect(valuesOf(result, 'process.gpu.accounted.time', longest)).toEqual([153.712]);
    expect(valuesOf(result, 'process.gpu.accounted.utilization', longest)).toEqual([0.99]);
    expect(absentOf(result, 'hw.gpu.retired_page').map(({ reason }) => reason)).toEqual(
      Array.from({ length: 4 }, () => 'unsupported'),
    );
  });
});
