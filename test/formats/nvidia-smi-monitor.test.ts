import { describe, expect, test } from 'vitest';
import { decodeNvidiaSmiDmon, decodeNvidiaSmiPmon } from '../../src/formats/nvidia-smi-monitor.ts';
import { absentOf, corpusFiles, corpusText, describeCorpus, samplesOf, valuesOf, warningCodes } from './corpus.ts';

const REFUSED = expect.objectContaining({ code: 'LW-INPUT' });

describe('decodeNvidiaSmiPmon', () => {
  test('columns are read by name, so a driver without jpg and ofa, or with fb, is read the same', () => {
    const result = decodeNvidiaSmiPmon(
      '# gpu        pid  type    fb    sm   mem   command\n# Idx          #   C/G    MB     %     %   name\n    0       1001     C   512    37    12   python train.py\n',
    );
    const process = { gpu: '0', 'process.pid': '1001', 'process.name': 'python train.py', reading: '0' };
    expect(valuesOf(result, 'process.gpu.memory.usage', process)).toEqual([512 * 1_048_576]);
    expect(valuesOf(result, 'process.gpu.utilization', { ...process, 'hw.gpu.task': 'general' })).toEqual([0.37]);
    expect(valuesOf(result, 'process.gpu.memory.controller.utilization', process)).toEqual([0.12]);
  });

  test('a row of dashes is no process and a dash of a process is absent', () => {
    const head = '# gpu pid type sm mem command\n# Idx # C/G % % name\n';
    expect(decodeNvidiaSmiPmon(`${head}0 - - - - -\n`)).toEqual({
      samples: [],
      absent: [],
      inventory: [],
      warnings: [],
    });
    const result = decodeNvidiaSmiPmon(`${head}0 7 C - 3 x\n`);
    expect(result.absent).toMatchObject([{ metric: 'process.gpu.utilization', reason: 'unsupported' }]);
    expect(result.samples).toMatchObject([{ value: 0.03 }]);
  });

  test('readings of one process are numbered in order', () => {
    const result = decodeNvidiaSmiPmon(
      '# gpu pid type sm command\n# Idx # C/G % name\n0 7 C 1 x\n0 8 C 5 y\n0 7 C 2 x\n',
    );
    expect(
      samplesOf(result, 'process.gpu.utilization', { 'process.pid': '7' }).map(
        ({ attributes }) => attributes['reading'],
      ),
    ).toEqual(['0', '1']);
  });
});

describe('decodeNvidiaSmiDmon', () => {
  test('a repeated header in a long run changes nothing', () => {
    const head = '# gpu pwr pclk\n# Idx W MHz\n';
    expect(valuesOf(decodeNvidiaSmiDmon(`${head}0 70 345\n${head}0 71 345\n`), 'hw.power')).toEqual([70, 71]);
  });

  test('without the line of units the documented ones hold', () => {
    expect(valuesOf(decodeNvidiaSmiDmon('# gpu pwr pclk\n0 70 345\n'), 'hw.gpu.speed')).toEqual([345_000_000]);
  });

  test('a column that is not known is told, and a column in another unit is no value', () => {
    const result = decodeNvidiaSmiDmon('# gpu pwr rxpci\n# Idx mJ MB/s\n0 70 4\n');
    expect(result.samples).toEqual([]);
    expect(result.absent).toMatchObject([{ metric: 'hw.power', reason: 'parse_error' }]);
    expect(warningCodes(result)).toEqual(['LW-DECODE-UNKNOWN-FIELD']);
  });

  test('a row that does not fit its header is skipped and told', () => {
    const result = decodeNvidiaSmiDmon('# gpu pwr\n# Idx W\n0 70 1\n0\nx 70\n0 71\n');
    expect(valuesOf(result, 'hw.power')).toEqual([71]);
    expect(result.warnings).toHaveLength(3);
  });

  test.each(['', 'x\n', '0 70 42\n', '#\n'])('%j is refused', (text) => {
    expect(() => decodeNvidiaSmiDmon(text)).toThrow(REFUSED);
    expect(() => decodeNvidiaSmiPmon(text)).toThrow(REFUSED);
  });
});

/** Rows of the monitor sections of a capture as the tool prints them: column name → cell. */
function printedRows(text: string, tool: string): readonly Readonly<Record<string, string>>[] {
  const sections = text.split(/^#{80}$/m);
  const bodies = sections.filter((_, index) => new RegExp(`\\$ nvidia-smi ${tool} `).test(sections[index - 1] ?? ''));
  return bodies.flatMap((body) => {
    const lines = body.split('\n').filter((line) => line.trim() !== '');
    const names = (lines[0] ?? '').replace('#', '').trim().split(/\s+/);
    return lines.slice(2).map((line) => {
      const cells = line.trim().split(/\s+/);
      return Object.fromEntries(names.map((name, index) => [name, cells[index] ?? '']));
    });
  });
}

/** Column of dmon → metric, the attribute that tells it apart, and the factor to its base unit. */
const DMON_COLUMNS: Readonly<Record<string, readonly [string, Record<string, string>, number]>> = {
  pwr: ['hw.power', {}, 1],
  gtemp: ['hw.temperature', { 'hw.sensor_location': 'gpu' }, 1],
  mtemp: ['hw.temperature', { 'hw.sensor_location': 'memory' }, 1],
  sm: ['hw.gpu.utilization', { 'hw.gpu.task': 'general' }, 0.01],
  mem: ['hw.gpu.memory.controller.utilization', {}, 0.01],
  enc: ['hw.gpu.utilization', { 'hw.gpu.task': 'encoder' }, 0.01],
  dec: ['hw.gpu.utilization', { 'hw.gpu.task': 'decoder' }, 0.01],
  jpg: ['hw.gpu.utilization', { 'hw.gpu.task': 'jpeg' }, 0.01],
  ofa: ['hw.gpu.utilization', { 'hw.gpu.task': 'ofa' }, 0.01],
  mclk: ['hw.gpu.speed', { clock_domain: 'memory' }, 1e6],
  pclk: ['hw.gpu.speed', { clock_domain: 'sm' }, 1e6],
};

describeCorpus('monitors on captures of four machines', () => {
  test.each(corpusFiles('nvidia-smi-text', '.txt'))('%s: dmon gives every printed cell, dashes absent', (file) => {
    const text = corpusText(`nvidia-smi-text/${file}`);
    const rows = printedRows(text, 'dmon');
    const result = decodeNvidiaSmiDmon(text);
    expect(rows).toHaveLength(10);
    for (const [column, [metric, attributes, factor]] of Object.entries(DMON_COLUMNS)) {
      const cells = rows.map((row) => row[column] ?? '');
      const expected = cells.filter((cell) => cell !== '-').map((cell) => Number(cell) * factor);
      const found = valuesOf(result, metric, attributes).map(Number);
      expect(found).toHaveLength(expected.length);
      for (const [index, value] of expected.entries())
        expect(found[index], `${column} ${index}`).toBeCloseTo(value, 12);
      expect(absentOf(result, metric, attributes)).toHaveLength(cells.length - expected.length);
    }
    expect(result.warnings).toEqual([]);
  });

  test.each(corpusFiles('nvidia-smi-text', '.txt'))('%s: pmon gives every printed cell of a process', (file) => {
    const text = corpusText(`nvidia-smi-text/${file}`);
    const rows = printedRows(text, 'pmon').filter((row) => row['pid'] !== '-');
    const result = decodeNvidiaSmiPmon(text);
    const cells = rows.flatMap((row) => ['sm', 'mem', 'enc', 'dec', 'jpg', 'ofa'].map((column) => row[column] ?? ''));
    expect(result.absent).toHaveLength(cells.filter((cell) => cell === '-').length);
    const expected = cells.filter((cell) => cell !== '-').map((cell) => Number(cell) / 100);
    expect(result.samples.map(({ value }) => Number(value))).toEqual(expected);
  });

  test('under MIG the shares of dmon are mig_unsupported, and only they', () => {
    const result = decodeNvidiaSmiDmon(corpusText('nvidia-smi-text/linux-x86_64__nvidia-h100-mig__590.48.01.txt'));
    expect(new Set(result.absent.map(({ reason }) => reason))).toEqual(new Set(['mig_unsupported']));
    const other = decodeNvidiaSmiDmon(corpusText('nvidia-smi-text/linux-x86_64__nvidia-l40s__595.80.txt'));
    expect(new Set(other.absent.map(({ metric, reason }) => `${metric} ${reason}`))).toEqual(
      new Set(['hw.temperature unsupported']),
    );
  });
});
