import { describe, expect, test } from 'vitest';
import { decodeDcgm } from '../../src/formats/dcgm.ts';
import { absentOf, corpusText, describeCorpus, samplesOf, valuesOf, warningCodes } from './corpus.ts';

const LABELS =
  'gpu="0",UUID="GPU-1",device="nvidia0",modelName="Tesla T4",Hostname="h1",DCGM_FI_DRIVER_VERSION="460.1"';

function line(name: string, value: string, labels = LABELS): string {
  return `${name}{${labels}} ${value}\n`;
}

describe('decodeDcgm', () => {
  test.each([
    ['DCGM_FI_DEV_SM_CLOCK', '300', 'hw.gpu.speed', 300_000_000],
    ['DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION', '128996013', 'hw.energy', 128_996.013],
    ['DCGM_FI_DEV_FB_FREE', '15109', 'hw.gpu.memory.free', 15_109 * 1_048_576],
    ['DCGM_FI_DEV_GPU_UTIL', '72', 'hw.gpu.utilization', 0.72],
    ['DCGM_FI_PROF_SM_ACTIVE', '0.72', 'hw.gpu.sm.utilization', 0.72],
    ['DCGM_FI_DEV_FB_USED_PERCENT', '0.72', 'hw.gpu.memory.utilization', 0.72],
    ['DCGM_FI_DEV_POWER_VIOLATION', '2500000000', 'hw.gpu.throttle.time', 2.5],
    ['DCGM_FI_DEV_XID_ERRORS', '79', 'hw.gpu.xid.last', 79],
    ['DCGM_FI_DEV_FAN_SPEED', '43', 'hw.fan.speed_ratio', 0.43],
  ])('%s %s is %s in base units', (name, value, metric, expected) => {
    expect(samplesOf(decodeDcgm(line(name, value)), metric)).toMatchObject([{ value: expected, quality: 'ok' }]);
  });

  // dcgm_fields.h: DCGM_INT64_BLANK 0x7ffffffffffffff0, DCGM_INT32_BLANK 0x7ffffff0, DCGM_FP64_BLANK 140737488355328.0;
  // + 1 not found, + 2 not supported, + 3 not permissioned
  test.each([
    ['9223372036854775792', 'lost'],
    ['9223372036854775793', 'unsupported'],
    ['9223372036854775794', 'unsupported'],
    ['9223372036854775795', 'no_permission'],
    ['9.223372036854776e+18', 'unsupported'],
    ['2147483632', 'lost'],
    ['2147483634', 'unsupported'],
    ['2147483635', 'no_permission'],
    ['140737488355328.000000', 'lost'],
    ['140737488355330', 'unsupported'],
    ['NaN', 'parse_error'],
  ])('the sentinel %s is absent: %s', (value, reason) => {
    const result = decodeDcgm(line('DCGM_FI_DEV_MEMORY_TEMP', value));
    expect(result.samples).toEqual([]);
    expect(absentOf(result, 'hw.temperature')).toMatchObject([{ reason }]);
  });

  test('a counter may pass the 32-bit sentinels', () => {
    const text = `# TYPE DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION counter\n${line('DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION', '2147483634')}`;
    expect(valuesOf(decodeDcgm(text), 'hw.energy')).toEqual([2_147_483.634]);
  });

  test('old and new spellings of labels are one', () => {
    const old = decodeDcgm(line('DCGM_FI_DEV_GPU_TEMP', '25', 'gpu="0",UUID="GPU-1",Hostname="h1"'));
    const later = decodeDcgm(line('DCGM_FI_DEV_GPU_TEMP', '25', 'gpu="0",uuid="GPU-1",hostname="h1"'));
    expect(later).toEqual(old);
    expect(later.samples[0]?.attributes).toEqual({
      gpu: '0',
      'hw.id': 'GPU-1',
      'host.name': 'h1',
      'hw.sensor_location': 'gpu',
    });
  });

  test('MIG instances and pods keep their names', () => {
    const result = decodeDcgm(
      line(
        'DCGM_FI_PROF_GR_ENGINE_ACTIVE',
        '0.5',
        `${LABELS},GPU_I_ID="3",GPU_I_PROFILE="1g.10gb",pod="p",namespace="n",container="c"`,
      ),
    );
    expect(result.samples[0]?.attributes).toMatchObject({
      'mig.gi': '3',
      'mig.profile': '1g.10gb',
      'k8s.pod.name': 'p',
      'k8s.namespace.name': 'n',
      'k8s.container.name': 'c',
    });
  });

  test('a value without a GPU is suspect', () => {
    const result = decodeDcgm('DCGM_FI_DEV_MEMORY_TEMP 0\n');
    expect(result.samples).toMatchObject([{ value: 0, quality: 'suspect' }]);
    expect(warningCodes(result)).toEqual(['LW-DECODE-NO-IDENTITY']);
  });

  test('a profiling engine at rest under full utilisation is suspect, at rest with the GPU it is not', () => {
    for (const [utilization, quality] of [
      ['95', 'suspect'],
      ['5', 'ok'],
    ]) {
      const result = decodeDcgm(
        line('DCGM_FI_DEV_GPU_UTIL', utilization ?? '') + line('DCGM_FI_PROF_GR_ENGINE_ACTIVE', '0'),
      );
      expect(samplesOf(result, 'hw.gpu.graphics.utilization')).toMatchObject([{ quality }]);
    }
  });

  test('the mask of clock reasons is spelled out', () => {
    // nvml.h: 0x4 software power cap, 0x40 hardware thermal slowdown
    const result = decodeDcgm(line('DCGM_FI_DEV_CLOCK_THROTTLE_REASONS', '68'));
    const active = samplesOf(result, 'hw.gpu.throttle.active').filter(({ value }) => value === 1);
    expect(active.map(({ attributes }) => attributes['reason'])).toEqual(['sw_power_cap', 'hw_thermal']);
    expect(samplesOf(result, 'hw.gpu.throttle.active')).toHaveLength(9);
  });

  test('an unknown field passes under its own name and is told; its sentinel is absent', () => {
    const result = decodeDcgm(
      line('DCGM_FI_DEV_FROM_TOMORROW', '5') + line('DCGM_FI_DEV_ALSO_NEW', '9223372036854775794'),
    );
    expect(result.samples).toMatchObject([{ metric: 'DCGM_FI_DEV_FROM_TOMORROW', value: 5 }]);
    expect(result.absent).toMatchObject([{ metric: 'DCGM_FI_DEV_ALSO_NEW', reason: 'unsupported' }]);
    expect(warningCodes(result)).toEqual(['LW-DECODE-UNKNOWN-FIELD']);
  });

  test('metrics of others in the text pass unchanged', () => {
    expect(decodeDcgm('go_goroutines 9\n').samples).toMatchObject([{ metric: 'go_goroutines', value: 9 }]);
  });
});

describeCorpus('decodeDcgm on the text of a T4', () => {
  test('three GPUs on three hosts, 23 trusted values, the 14 dummies and two others suspect', () => {
    const result = decodeDcgm(corpusText('prometheus/dcgm-exporter_t4.txt'));
    expect(result.inventory.map((item) => [item['hw.id'], item.name, item.driver, item['host.name']])).toEqual([
      ['GPU-20c56d28-0da5-6d26-a36a-e7af1ce2586e', 'Tesla T4', '460.106.00', '424773df46e0'],
      ['GPU-9ef1b6d0-3643-5dd7-b823-c0ec20dcf2d5', 'Tesla T4', '470.182.03', '551bdf382151'],
      ['GPU-abc', 'NVIDIA A10G', '550.144.03', 'ip-11111'],
    ]);
    const suspect = result.samples.filter(({ quality }) => quality === 'suspect');
    expect(suspect.filter(({ attributes }) => attributes['hw.id'] === undefined)).toHaveLength(14);
    expect(suspect.filter(({ attributes }) => attributes['hw.id'] !== undefined).map(({ metric }) => metric)).toEqual([
      'hw.gpu.interconnect.rate',
      'hw.gpu.memory.reserved',
    ]);
    // 38 lines, of which the clock mask is spelled out in nine flags
    expect(result.samples).toHaveLength(38 + 9);
    expect(valuesOf(result, 'hw.power')).toEqual([8.969]);
    expect(valuesOf(result, 'hw.gpu.memory.bandwidth.utilization')).toEqual([0.000003]);
  });
});
