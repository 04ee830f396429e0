import { describe, expect, test } from 'vitest';
import { captureSections, isErrorLine, linesOf, sectionsOf } from '../../src/formats/nvidia-smi-capture.ts';
import { Decoding } from '../../src/formats/decode-result.ts';
import { corpusFiles, corpusText, describeCorpus } from './corpus.ts';

const RULE = '#'.repeat(80);

function section(group: string, command: string, body: string): string {
  return `${RULE}\n# ${group} :: a name\n# $ ${command}\n${RULE}\n${body}\n`;
}

describe('captureSections', () => {
  test('sections have their command, load state and raw body; capabilities have no state', () => {
    const text = `header\n${section('capabilities', 'nvidia-smi -L', 'GPU 0')}${section('load', 'nvidia-smi dmon -c 5', '# gpu pwr\n0 70')}`;
    expect(captureSections(text)).toEqual([
      { command: 'nvidia-smi -L', state: null, body: 'GPU 0' },
      { command: 'nvidia-smi dmon -c 5', state: 'load', body: '# gpu pwr\n0 70\n' },
    ]);
  });

  test('a raw output is no capture, not even with a rule of its own', () => {
    expect(captureSections('index, name\n0, x\n')).toBeNull();
    expect(captureSections(`${RULE}\n# no colons\n${RULE}\n`)).toBeNull();
    expect(captureSections(`${RULE}\n# a :: b\nno rule follows\n`)).toBeNull();
  });

  test('line ends of Windows change nothing', () => {
    const text = section('idle', 'nvidia-smi -L', 'GPU 0').replaceAll('\n', '\r\n');
    expect(captureSections(text)).toMatchObject([{ state: 'idle' }]);
  });
});

describe('sectionsOf', () => {
  test('a capture without the section is refused, a raw text is its own section', () => {
    expect(() => sectionsOf(section('idle', 'nvidia-smi -L', ''), /dmon/, 'dmon')).toThrow(
      expect.objectContaining({ code: 'LW-INPUT' }),
    );
    expect(sectionsOf('raw', /dmon/, 'dmon')).toEqual([{ command: '', state: null, body: 'raw' }]);
  });

  test('a text of more than 96 MiB is refused before it is split', () => {
    expect(() => sectionsOf(' '.repeat(97 * 1_048_576), /dmon/, 'dmon')).toThrow(
      expect.objectContaining({ code: 'LW-INPUT' }),
    );
  });
});

test('linesOf drops line ends of both kinds', () => {
  expect([...linesOf('a\r\nb\n\nc')]).toEqual(['a', 'b', '', 'c']);
  expect([...linesOf('')]).toEqual(['']);
});

test.each([
  "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.",
  'No devices were found',
  'Failed to initialize NVML: Driver/library version mismatch',
  'Field "clocks_event_reasons.active" is not a valid field to query.',
])('%s is an error text', (line) => {
  const decoding = new Decoding();
  expect(isErrorLine(decoding, line, {})).toBe(true);
  expect(decoding.result().warnings).toEqual([{ code: 'LW-DECODE-SOURCE-ERROR', message: line }]);
});

describeCorpus('captureSections on captures of four machines', () => {
  test.each(corpusFiles('nvidia-smi-text', '.txt'))('%s: as many sections as titles', (file) => {
    const text = corpusText(`nvidia-smi-text/${file}`);
    expect(captureSections(text)).toHaveLength([...text.matchAll(/^# \S+ :: /gm)].length);
  });
});
