import { describe, expect, test } from 'vitest';
import {
  parseQueryGpuCsvLine,
  QUERY_GPU_FIELDS,
  queryFields,
  type GpuReading,
} from '../../src/formats/nvidia-smi-query.ts';
import { validateRecord } from '../../src/core/parse-record.ts';
import { corpusFiles, corpusText, describeCorpus } from './corpus.ts';

const MIB = 1_048_576;

function reading(fields: readonly string[], line: string): GpuReading {
  const outcome = parseQueryGpuCsvLine(fields, line);
  if (outcome.kind !== 'ok') throw new Error(`${outcome.kind} ${outcome.code}`);
  return outcome.value;
}

/** A row of QUERY_GPU_FIELDS where `cells` says something, else what an idle H100 says. */
function row(cells: Readonly<Record<string, string>> = {}): string {
  const usual: Readonly<Record<string, string>> = {
    timestamp: '2026/07/14 08:12:53.353',
    index: '3',
    uuid: 'GPU-1',
    name: 'NVIDIA H100 80GB HBM3',
    'pci.bus_id': '00000000:00:09.0',
    driver_version: '590.48.01',
    'utilization.gpu': '72 %',
    'memory.used': '19818 MiB',
    'memory.total': '81559 MiB',
    'clocks.current.sm': '1980 MHz',
    'clocks.max.sm': '1980 MHz',
    'temperature.gpu': '59',
    'power.draw': '631.95 W',
    'power.draw.average': '631.95 W',
    'power.draw.instant': '625.68 W',
    'ecc.errors.uncorrected.volatile.total': '0',
    'pcie.link.gen.current': '5',
    'pcie.link.width.current': '16',
    'mig.mode.current': 'Disabled',
  };
  return QUERY_GPU_FIELDS.map((field) => cells[field] ?? usual[field] ?? 'Not Active').join(', ');
}

describe('parseQueryGpuCsvLine', () => {
  test('a row becomes the fields of a gpu record in its units', () => {
    expect(reading(QUERY_GPU_FIELDS, row())).toEqual({
      gpu: 3,
      uuid: 'GPU-1',
      name: 'NVIDIA H100 80GB HBM3',
      pci_bus_id: '00000000:00:09.0',
      driver_version: '590.48.01',
      mig_enabled: false,
      fields: {
        utilization: 0.72,
        memory_used_bytes: 19_818 * MIB,
        memory_total_bytes: 81_559 * MIB,
        sm_clock_mhz: 1980,
        sm_clock_max_mhz: 1980,
        temperature_c: 59,
        power_w: 631.95,
        ecc_uncorrected: 0,
        pcie_generation: 5,
        pcie_width: 16,
        throttle: [],
      },
      quality: {},
    });
  });

  test('the fields make a gpu record that the record door accepts', () => {
    const { fields, quality } = reading(QUERY_GPU_FIELDS, row({ 'utilization.gpu': '[N/A]' }));
    const record = { type: 'gpu', node: 'n1', gpu: 3, at_ms: 1_784_000_000_000, ...fields, quality };
    expect(validateRecord(record)).toMatchObject({ kind: 'ok' });
  });

  test('values without units are in the documented ones', () => {
    const bare = row().replaceAll(/ (MiB|%|MHz|W)(?=,|$)/g, '');
    expect(reading(QUERY_GPU_FIELDS, bare).fields).toEqual(reading(QUERY_GPU_FIELDS, row()).fields);
  });

  test('absent fields are left out and say why; deprecated is unsupported in a record', () => {
    const { fields, quality } = reading(
      QUERY_GPU_FIELDS,
      row({
        'utilization.gpu': '[N/A]',
        'memory.used': '[Insufficient Permissions]',
        'temperature.gpu': '[Unknown Error]',
        'clocks.current.sm': '[Requested functionality has been deprecated]',
        'ecc.errors.uncorrected.volatile.total': 'many',
      }),
    );
    expect(quality).toEqual({
      utilization: 'unsupported',
      memory_used_bytes: 'no_permission',
      temperature_c: 'lost',
      sm_clock_mhz: 'unsupported',
      ecc_uncorrected: 'lost',
    });
    for (const name of Object.keys(quality)) expect(fields).not.toHaveProperty(name);
  });

  test('under MIG utilisation is mig_unsupported', () => {
    const mig = reading(QUERY_GPU_FIELDS, row({ 'utilization.gpu': '[N/A]', 'mig.mode.current': 'Enabled' }));
    expect(mig).toMatchObject({ mig_enabled: true, quality: { utilization: 'mig_unsupported' } });
  });

  test('power falls back to its aliases in order', () => {
    expect(reading(QUERY_GPU_FIELDS, row({ 'power.draw': '[N/A]' })).fields.power_w).toBe(631.95);
    const none = reading(QUERY_GPU_FIELDS, row({ 'power.draw': '[N/A]', 'power.draw.average': '[N/A]' }));
    expect(none.fields.power_w).toBe(625.68);
    expect(none.quality).toEqual({});
  });

  test('active reasons are listed in the words of the record; with one unreadable there is no list', () => {
    const active = row({
      'clocks_event_reasons.sw_power_cap': 'Active',
      'clocks_event_reasons.hw_power_brake_slowdown': 'Active',
    });
    expect(reading(QUERY_GPU_FIELDS, active).fields.throttle).toEqual(['sw_power_cap', 'power_brake']);
    const unreadable = reading(QUERY_GPU_FIELDS, row({ 'clocks_event_reasons.hw_slowdown': '[N/A]' }));
    expect(unreadable.fields).not.toHaveProperty('throttle');
    expect(unreadable.quality).toEqual({ throttle: 'unsupported' });
  });

  test('old spellings and header cells with units are understood', () => {
    const fields = ['index', 'clocks_throttle_reasons.hw_slowdown', 'memory.used [MiB]', 'clocks.sm [MHz]'];
    expect(reading(fields, '0, Active, 5, 210').fields).toEqual({
      throttle: ['hw_slowdown'],
      memory_used_bytes: 5 * MIB,
      sm_clock_mhz: 210,
    });
  });

  test('a utilisation above 100 % or a negative power is lost, not passed on', () => {
    const { fields, quality } = reading(['utilization.gpu', 'power.draw'], '137 %, -1 W');
    expect(fields).toEqual({});
    expect(quality).toEqual({ utilization: 'lost', power_w: 'lost' });
  });

  test('fields that were not asked for are neither there nor absent', () => {
    expect(reading(['index', 'temperature.gpu'], '0, 41')).toMatchObject({
      fields: { temperature_c: 41 },
      quality: {},
    });
  });

  test.each([
    ['a short row', '0, 1', 'LW-DECODE-COLUMNS'],
    ['an error text', 'Unable to determine the device handle for GPU0: GPU is lost.', 'LW-DECODE-SOURCE-ERROR'],
    ['a line of 10 MB', 'x'.repeat(10_000_000), 'LW-DECODE-SOURCE-ERROR'],
    ['10 MB of commas', ','.repeat(10_000_000), 'LW-DECODE-COLUMNS'],
    ['nothing', '', 'LW-DECODE-SOURCE-ERROR'],
  ])('%s is rejected', (_, line, code) => {
    expect(parseQueryGpuCsvLine(QUERY_GPU_FIELDS, line)).toMatchObject({ kind: 'reject', code });
  });

  test('names that are no fields are rejected', () => {
    expect(parseQueryGpuCsvLine(['a', 'b'], '1, 2')).toMatchObject({ kind: 'reject', code: 'LW-DECODE-UNKNOWN-FIELD' });
  });
});

describe('queryFields', () => {
  test('the driver is asked in its own spelling and only for what it knows', () => {
    const help =
      '"index"\nZero based.\n\n"clocks_throttle_reasons.sw_power_cap"\nx\n\n"clocks.current.sm" or "clocks.sm"\n\n"warp.factor"\n';
    expect(queryFields(help)).toEqual(['index', 'clocks.current.sm', 'clocks_throttle_reasons.sw_power_cap']);
    expect(queryFields('')).toEqual([]);
  });
});

describeCorpus('the live query on captures of four machines', () => {
  test.each(corpusFiles('nvidia-smi-text', '.txt'))(
    '%s: the help text of the driver offers every field we ask for',
    (file) => {
      const help =
        corpusText(`nvidia-smi-text/${file}`).split(':: help-query-gpu')[1]?.split('# capabilities')[0] ?? '';
      const asked = queryFields(help).map((field) => field.replace('clocks.sm', 'clocks.current.sm'));
      expect(asked).toEqual([...QUERY_GPU_FIELDS]);
    },
  );

  test.each(corpusFiles('nvidia-smi-text', '.txt'))('%s: the printed rows give whole records', (file) => {
    const lines = corpusText(`nvidia-smi-text/${file}`).split('\n');
    for (const state of ['idle', 'load']) {
      const at = lines.findIndex((line) => line.startsWith(`# ${state} :: query-gpu`)) + 3;
      const { fields, quality, mig_enabled } = reading((lines[at] ?? '').split(', '), lines[at + 1] ?? '');
      const absent = [
        ...(mig_enabled ? ['utilization'] : []),
        ...(file.includes('4080') ? ['ecc_uncorrected'] : []), // a GeForce has no ECC: [N/A] in its capture
      ];
      expect(Object.keys(quality).toSorted()).toEqual(absent.toSorted());
      expect(Object.keys(fields)).toHaveLength(11 - absent.length);
    }
  });
});
