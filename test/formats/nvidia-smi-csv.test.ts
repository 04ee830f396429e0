import { describe, expect, test } from 'vitest';
import { decodeNvidiaSmiCsv } from '../../src/formats/nvidia-smi-csv.ts';
import { canonicalField, fieldRule } from '../../src/formats/nvidia-smi-fields.ts';
import type { DecodeResult } from '../../src/formats/decode-result.ts';
import { absentOf, corpusFiles, corpusText, describeCorpus, samplesOf, valuesOf, warningCodes } from './corpus.ts';

/** Header and row of a query: `{name: cell}` with the unit of the header in brackets. */
function csv(cells: Readonly<Record<string, string>>, end = '\n'): string {
  return `${Object.keys(cells).join(', ')}${end}${Object.values(cells).join(', ')}${end}`;
}

describe('decodeNvidiaSmiCsv', () => {
  test('values are in base units: MiB are 2^20 bytes, percent a ratio, MHz are 10^6 Hz, microseconds seconds', () => {
    const result = decodeNvidiaSmiCsv(
      csv({
        index: '0',
        'memory.used [MiB]': '11125 MiB',
        'utilization.gpu [%]': '72 %',
        'clocks.sm [MHz]': '1980 MHz',
        'clocks_event_reasons_counters.sw_power_cap [us]': '25483012608 us',
        'power.draw [W]': '631.95 W',
        'temperature.gpu': '59',
      }),
    );
    expect(valuesOf(result, 'hw.gpu.memory.usage')).toEqual([11_125 * 1_048_576]);
    expect(valuesOf(result, 'hw.gpu.utilization')).toEqual([0.72]);
    expect(valuesOf(result, 'hw.gpu.speed', { clock_domain: 'sm' })).toEqual([1_980_000_000]);
    expect(valuesOf(result, 'hw.gpu.throttle.time', { reason: 'sw_power_cap' })).toEqual([25_483.012608]);
    expect(valuesOf(result, 'hw.power')).toEqual([631.95]);
    expect(valuesOf(result, 'hw.temperature')).toEqual([59]);
    expect(result.samples.map(({ unit }) => unit)).toEqual(['By', '1', 'Hz', 's', 'W', 'Cel']);
  });

  test('the unit may stand in the header, in the value or in both, and nounits without any is in the documented one', () => {
    const expected = [81_559 * 1_048_576];
    for (const [header, cell] of [
      ['memory.total [MiB]', '81559 MiB'],
      ['memory.total [MiB]', '81559'],
      ['memory.total', '81559 MiB'],
      ['memory.total', '81559'],
    ] as const)
      expect(valuesOf(decodeNvidiaSmiCsv(csv({ [header]: cell })), 'hw.gpu.memory.limit')).toEqual(expected);
  });

  test('a value whose unit is not that of its header is suspect and read in its own unit', () => {
    const result = decodeNvidiaSmiCsv(csv({ 'memory.used [MiB]': '2 GiB' }));
    expect(samplesOf(result, 'hw.gpu.memory.usage')).toMatchObject([{ value: 2 * 2 ** 30, quality: 'suspect' }]);
    expect(warningCodes(result)).toEqual(['LW-DECODE-UNIT']);
  });

  test('a unit of another dimension is no value', () => {
    const result = decodeNvidiaSmiCsv(csv({ 'memory.used [MiB]': '12 W', 'power.draw [W]': '7 parsecs' }));
    expect(result.samples).toEqual([]);
    expect(result.absent.map(({ reason }) => reason)).toEqual(['parse_error', 'parse_error']);
  });

  test.each([
    ['[N/A]', 'unsupported'],
    ['N/A', 'unsupported'],
    ['[Not Supported]', 'unsupported'],
    ['', 'unsupported'],
    ['[Function Not Found]', 'unsupported'],
    ['[Insufficient Permissions]', 'no_permission'],
    ['[Requested functionality has been deprecated]', 'deprecated'],
    ['Requested functionality has been deprecated', 'deprecated'],
    ['[Unknown Error]', 'lost'],
    ['[GPU is lost]', 'lost'],
    ['ERR!', 'lost'],
    ['[Something NVIDIA adds next year]', 'lost'],
    ['12 MiB of NaN', 'parse_error'],
    ['NaN', 'parse_error'],
    ['0x1F', 'parse_error'],
    ['1,5', 'parse_error'],
  ])('the cell %j is absent (%s), never 0', (cell, reason) => {
    const result = decodeNvidiaSmiCsv(csv({ index: '0', 'memory.used [MiB]': cell }));
    expect(result.samples).toEqual([]);
    expect(result.absent.map((item) => item.reason)).toContain(reason);
    expect(result.absent[0]?.metric).toBe('hw.gpu.memory.usage');
  });

  test('with MIG on, a parent utilisation of [N/A] is mig_unsupported and another [N/A] is not', () => {
    const result = decodeNvidiaSmiCsv(
      csv({ 'mig.mode.current': 'Enabled', 'utilization.gpu [%]': '[N/A]', 'fan.speed [%]': '[N/A]' }),
    );
    expect(absentOf(result, 'hw.gpu.utilization')).toMatchObject([{ reason: 'mig_unsupported' }]);
    expect(absentOf(result, 'hw.fan.speed_ratio')).toMatchObject([{ reason: 'unsupported' }]);
  });

  test('clocks_throttle_reasons is clocks_event_reasons by its old name', () => {
    const result = decodeNvidiaSmiCsv(
      csv({
        'clocks_throttle_reasons.hw_thermal_slowdown': 'Active',
        'clocks_throttle_reasons.active': '0x0000000000000040',
      }),
    );
    expect(valuesOf(result, 'hw.gpu.throttle.active', { reason: 'hw_thermal' })).toEqual([1]);
    expect(valuesOf(result, 'hw.gpu.throttle.mask')).toEqual([64]);
  });

  test('a value outside its range is kept and suspect', () => {
    const result = decodeNvidiaSmiCsv(csv({ 'utilization.gpu [%]': '137 %', 'power.draw [W]': '-3.00 W' }));
    expect(result.samples.map(({ value, quality }) => [value, quality])).toEqual([
      [1.37, 'suspect'],
      [-3, 'suspect'],
    ]);
    expect(warningCodes(result)).toEqual(['LW-DECODE-IMPLAUSIBLE']);
  });

  test('a row with a cell too many or too few is absent as a whole: nothing says whose cell is whose', () => {
    for (const row of ['0, 5 %, 7 %, 1 MiB', '0, 5 %'])
      for (const end of ['\n', '']) {
        const result = decodeNvidiaSmiCsv(`index, utilization.gpu [%], memory.used [MiB]\n${row}${end}`);
        expect(result.samples).toEqual([]);
        expect(result.absent.map(({ reason }) => reason)).toEqual(['parse_error', 'parse_error']);
        expect(warningCodes(result)).toEqual(['LW-DECODE-COLUMNS']);
      }
  });

  test('CRLF line ends and a missing last line end change nothing', () => {
    const cells = { index: '0', 'memory.used [MiB]': '5 MiB' };
    const expected = decodeNvidiaSmiCsv(csv(cells));
    expect(decodeNvidiaSmiCsv(csv(cells, '\r\n'))).toEqual(expected);
    expect(decodeNvidiaSmiCsv(csv(cells).trimEnd())).toEqual(expected);
  });

  test('an unknown column is named in a warning and its value is not passed on', () => {
    const result = decodeNvidiaSmiCsv(csv({ index: '0', 'warp.factor [c]': '9 c' }));
    expect(result.samples).toEqual([]);
    expect(result.warnings).toEqual([
      { code: 'LW-DECODE-UNKNOWN-FIELD', message: 'warp.factor is not in the catalog' },
    ]);
  });

  test('two GPUs are told apart by index even with one masked UUID', () => {
    const uuid = 'GPU-00000000-0000-0000-0000-000000000000';
    const result = decodeNvidiaSmiCsv(`index, uuid, pstate\n0, ${uuid}, P0\n1, ${uuid}, P8\n`);
    expect(valuesOf(result, 'hw.gpu.pstate', { gpu: '0' })).toEqual([0]);
    expect(valuesOf(result, 'hw.gpu.pstate', { gpu: '1' })).toEqual([8]);
    expect(result.inventory.map((item) => item['index'])).toEqual([0, 1]);
  });

  test('rows of a loop and headers between them are read, later readings of one GPU numbered', () => {
    const result = decodeNvidiaSmiCsv('index, pstate\n0, P0\n1, P1\n0, P2\nindex, memory.used [MiB]\n0, 3 MiB\n');
    expect(samplesOf(result, 'hw.gpu.pstate').map(({ attributes, value }) => [attributes, value])).toEqual([
      [{ gpu: '0' }, 0],
      [{ gpu: '1' }, 1],
      [{ gpu: '0', reading: '1' }, 2],
    ]);
    expect(valuesOf(result, 'hw.gpu.memory.usage', { gpu: '0', reading: '2' })).toEqual([3 * 1_048_576]);
    expect([result.absent, result.warnings]).toEqual([[], []]);
  });

  test('of a column that occurs twice, under an alias too, the first counts', () => {
    const result = decodeNvidiaSmiCsv('index, clocks.sm [MHz], clocks.current.sm [MHz]\n0, 5 MHz, 6 MHz\n');
    expect(valuesOf(result, 'hw.gpu.speed')).toEqual([5_000_000]);
    expect(warningCodes(result)).toEqual(['LW-DECODE-DUPLICATE']);
  });

  test('without a field that names the GPU, rows are told apart by their order', () => {
    const result = decodeNvidiaSmiCsv('pstate\nP0\nP8\n');
    expect(result.samples.map(({ attributes, value }) => [attributes, value])).toEqual([
      [{ row: '0' }, 0],
      [{ row: '1' }, 8],
    ]);
  });

  test('an error text instead of values is a warning, and a lost GPU is absent by its address', () => {
    const result = decodeNvidiaSmiCsv('Unable to determine the device handle for GPU0: 0000:65:00.0: GPU is lost.\n');
    expect(warningCodes(result)).toEqual(['LW-DECODE-SOURCE-ERROR']);
    expect(result.absent).toEqual([
      { metric: 'hw.status', attributes: { 'pci.bus_id': '0000:65:00.0' }, reason: 'lost' },
    ]);
  });

  test('process names with commas are read from both ends', () => {
    const result = decodeNvidiaSmiCsv(
      'gpu_uuid, pid, process_name, used_gpu_memory [MiB]\nGPU-1, 42, python -c a, b, c, 3 MiB\n',
    );
    expect(result.samples).toEqual([
      {
        metric: 'process.gpu.memory.usage',
        value: 3 * 1_048_576,
        unit: 'By',
        attributes: { 'hw.id': 'GPU-1', 'process.pid': '42', 'process.name': 'python -c a, b, c' },
        quality: 'ok',
      },
    ]);
  });

  test('memory of a Windows process is absent, and a hidden pid is left out', () => {
    const result = decodeNvidiaSmiCsv(
      'gpu_uuid, pid, process_name, used_gpu_memory [MiB]\nGPU-1, [Insufficient Permissions], [Not Found], [N/A]\n',
    );
    expect(result.samples).toEqual([]);
    expect(result.absent).toEqual([
      { metric: 'process.gpu.memory.usage', attributes: { 'hw.id': 'GPU-1' }, reason: 'unsupported' },
    ]);
  });

  test.each(['', 'hello\n', '\u0000\u0001\n', 'a,b\n1,2\n', '0, 5 %\n'])('%j is refused', (text) => {
    expect(() => decodeNvidiaSmiCsv(text)).toThrow(expect.objectContaining({ code: 'LW-INPUT' }));
  });
});

// Identities and settings that the other exporter prints as numbers; here they are attributes, inventory or nothing.
const NOT_MEASURED = [
  'compute_cap',
  'driver_version',
  'fabric.cliqueid',
  'index',
  'inforom.ecc',
  'inforom.oem',
  'kmd_version',
  'name',
  'pci.baseclass',
  'pci.bus',
  'pci.device',
  'pci.device_id',
  'pci.domain',
  'pci.sub_device_id',
  'pci.subclass',
  'platform.gpu_fabric_guid',
  'platform.host_id',
  'platform.module_id',
  'platform.slot_number',
  'platform.tray_index',
  'serial',
];

/** `memory.used [MiB]` → `memory_used_bytes`: how nvidia_gpu_exporter names a field (its internal/exporter). */
function exporterName(header: string): string {
  const match = /^(\S+)(?: \[(.+)\])?$/.exec(header);
  const suffix =
    { MiB: '_bytes', '%': '_ratio', W: '_watts', MHz: '_clock_hz', us: '_seconds' }[match?.[2] ?? ''] ?? '';
  const snake = (match?.[1] ?? '')
    .replace(/([a-z])([A-Z])/g, '$1_$2')
    .toLowerCase()
    .replaceAll('.', '_');
  return `nvidia_smi_${snake}${suffix}`;
}

/** Value of each metric name of a golden file, for series of one GPU without process labels. */
function golden(name: string): ReadonlyMap<string, number> {
  const lines = corpusText(`nvidia-smi-text/expected/${name}`).split('\n');
  const values = lines.flatMap((line): [string, number][] => {
    const match = /^(\w+)(?:\{uuid="[^"]*"\})? (\S+)$/.exec(line);
    return match === null ? [] : [[match[1] ?? '', Number(match[2])]];
  });
  return new Map(values);
}

/** Header names of the --query-gpu section of a state. */
function headerOf(text: string, state: string): readonly string[] {
  const lines = text.split('\n');
  const at = lines.findIndex((line) => line.startsWith(`# ${state} :: query-gpu`));
  return (lines[at + 3] ?? '').split(', ');
}

describeCorpus('decodeNvidiaSmiCsv on captures of four machines', () => {
  const captures = corpusFiles('nvidia-smi-text', '.txt').map((file) => file.replace('.txt', ''));
  const cases = captures.flatMap((capture) => ['idle', 'load'].map((state) => [capture, state] as const));

  test.each(cases)(
    '%s %s: every value is that of nvidia_gpu_exporter, and what it lacks is absent',
    (capture, state) => {
      const text = corpusText(`nvidia-smi-text/${capture}.txt`);
      const expected = golden(`${capture}__${state}.metrics`);
      const result = decodeNvidiaSmiCsv(text);
      let compared = 0;
      for (const header of headerOf(text, state)) {
        const field = canonicalField(header.replace(/ \[.*/, ''));
        const rule = fieldRule(field);
        const value = expected.get(exporterName(header));
        if (rule === null) {
          if (value !== undefined) expect(NOT_MEASURED, header).toContain(field);
          continue;
        }
        const found = exactly(result, rule, state);
        if (value === undefined) expect(found, header).toEqual([]);
        else {
          // encoder latency is the one quantity whose unit stands in no header: microseconds by --help-query-gpu
          const wanted = field === 'encoder.stats.averagelatency' ? value / 1e6 : value;
          // the exporter multiplies doubles (its 204.64281599999998 is printed 204642816 us), so 1e-12 of the value
          expect(found.length, header).toBe(1);
          expect(Math.abs(Number(found[0]) - wanted), header).toBeLessThanOrEqual(1e-12 * Math.abs(wanted));
        }
        compared++;
      }
      expect(compared).toBeGreaterThan(130);
      expect(result.warnings).toEqual([]);
    },
  );

  /** Values of the samples whose attributes beside those of the device are exactly those of the rule. */
  function exactly(
    result: DecodeResult,
    rule: NonNullable<ReturnType<typeof fieldRule>>,
    state: string,
  ): readonly unknown[] {
    const own = Object.keys(rule.attributes).length;
    const device = ['hw.id', 'gpu', 'pci.bus_id', 'state'];
    return samplesOf(result, rule.metric, { ...rule.attributes, state })
      .filter(({ attributes }) => Object.keys(attributes).filter((name) => !device.includes(name)).length === own)
      .map(({ value }) => value);
  }

  test.each(cases)('%s %s: every cell without a value is told absent', (capture, state) => {
    const text = corpusText(`nvidia-smi-text/${capture}.txt`);
    const lines = text.split('\n');
    const row = lines[lines.findIndex((line) => line.startsWith(`# ${state} :: query-gpu`)) + 4] ?? '';
    const cells = row.split(', ').filter((cell) => /^(\[.*\]|N\/A|)$/.test(cell.trim())).length;
    const absent = decodeNvidiaSmiCsv(text).absent.filter(
      ({ attributes, metric }) => attributes['state'] === state && metric !== 'hw.gpu.retired_page',
    );
    expect(absent.length).toBe(cells);
  });

  test.each(cases)('%s %s: memory of processes is that of nvidia_gpu_exporter', (capture, state) => {
    const lines = corpusText(`nvidia-smi-text/expected/${capture}__${state}.metrics`).split('\n');
    const expected = lines.flatMap((line): [string, number][] => {
      const match = /^nvidia_smi_compute_app_used_memory_bytes\{pid="(\d+)".* (\S+)$/.exec(line);
      return match === null ? [] : [[match[1] ?? '', Number(match[2])]];
    });
    const found = samplesOf(
      decodeNvidiaSmiCsv(corpusText(`nvidia-smi-text/${capture}.txt`)),
      'process.gpu.memory.usage',
      { state },
    );
    expect(new Map(found.map(({ attributes, value }) => [attributes['process.pid'] ?? '', value]))).toEqual(
      new Map(expected),
    );
  });

  test('with MIG on, all six parent utilisations are mig_unsupported and the inventory holds the four MIG devices', () => {
    const result = decodeNvidiaSmiCsv(corpusText('nvidia-smi-text/linux-x86_64__nvidia-h100-mig__590.48.01.txt'));
    for (const state of ['idle', 'load']) {
      const reasons = [
        ...absentOf(result, 'hw.gpu.utilization', { state }),
        ...absentOf(result, 'hw.gpu.memory.controller.utilization', { state }),
      ];
      expect(reasons.map(({ reason }) => reason)).toEqual(Array.from({ length: 6 }, () => 'mig_unsupported'));
    }
    expect(result.inventory.map(({ mig }) => mig.map((device) => device['profile']))).toEqual([
      ['3g.40gb', '2g.20gb', '1g.10gb', '1g.10gb'],
    ]);
  });
});
