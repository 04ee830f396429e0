import { describe, expect, test } from 'vitest';
import { parseExposition, unitOfName } from '../../src/formats/exposition.ts';
import { corpusText, describeCorpus } from './corpus.ts';

function one(line: string) {
  const { samples, problems } = parseExposition(`${line}\n`);
  expect(problems).toEqual([]);
  expect(samples).toHaveLength(1);
  return samples[0];
}

describe('parseExposition', () => {
  // Examples of prometheus.io/docs/instrumenting/exposition_formats, "Text format example".
  test('the example of the format description is read', () => {
    const text = String.raw`# HELP http_requests_total The total number of HTTP requests.
# TYPE http_requests_total counter
http_requests_total{method="post",code="200"} 1027 1395066363000
http_requests_total{method="post",code="400"}    3 1395066363000

# Escaping in label values:
msdos_file_access_time_seconds{path="C:\\DIR\\FILE.TXT",error="Cannot find file:\n\"FILE.TXT\""} 1.458255915e9

# Minimalistic line:
metric_without_timestamp_and_labels 12.47

# A weird metric from before the epoch:
something_weird{problem="division by zero"} +Inf -3982045

# TYPE http_request_duration_seconds histogram
http_request_duration_seconds_bucket{le="0.05"} 24054
http_request_duration_seconds_bucket{le="+Inf"} 144320
http_request_duration_seconds_sum 53423
http_request_duration_seconds_count 144320
`;
    const { samples, problems } = parseExposition(text);
    expect(problems).toEqual([]);
    expect(samples.map(({ name, value, type, timestamp_ms }) => [name, value, type, timestamp_ms])).toEqual([
      ['http_requests_total', 1027, 'counter', 1_395_066_363_000],
      ['http_requests_total', 3, 'counter', 1_395_066_363_000],
      ['msdos_file_access_time_seconds', 1_458_255_915, 'untyped', null],
      ['metric_without_timestamp_and_labels', 12.47, 'untyped', null],
      ['something_weird', Number.POSITIVE_INFINITY, 'untyped', -3_982_045],
      ['http_request_duration_seconds_bucket', 24_054, 'histogram', null],
      ['http_request_duration_seconds_bucket', 144_320, 'histogram', null],
      ['http_request_duration_seconds_sum', 53_423, 'histogram', null],
      ['http_request_duration_seconds_count', 144_320, 'histogram', null],
    ]);
    expect(samples[2]?.labels).toEqual({ path: 'C:\\DIR\\FILE.TXT', error: 'Cannot find file:\n"FILE.TXT"' });
    expect(samples[5]?.family).toBe('http_request_duration_seconds');
  });

  test('OpenMetrics: exemplars are dropped, times are seconds, EOF ends the text', () => {
    const { samples, problems } = parseExposition(
      '# TYPE foo histogram\n# UNIT foo seconds\nfoo_bucket{le="1"} 10 1520879607.789 # {trace_id="x"} 0.67 1520879607\n# EOF\nafter 1\n',
    );
    expect(problems).toEqual([]);
    expect(samples).toMatchObject([{ name: 'foo_bucket', value: 10, timestamp_ms: 1_520_879_607_789, family: 'foo' }]);
  });

  test.each([
    ['a_total 1 1700000000', '', 1_700_000_000],
    ['a_total 1 1700000000.5', '', 1_700_000_000_500],
    ['a_total 1 1700000000', '# UNIT a seconds\n', 1_700_000_000_000],
  ])('the time of %j after %j', (line, before, expected) => {
    expect(parseExposition(`${before}${line}\n`).samples[0]?.timestamp_ms).toBe(expected);
  });

  test.each([
    ['vllm:num_requests_running{model_name="m"} 3', 'vllm:num_requests_running', { model_name: 'm' }],
    ['a{b="c",} 1', 'a', { b: 'c' }],
    ['a{} 1', 'a', {}],
    ['a { b = "c" , d="e" } 1', 'a', { b: 'c', d: 'e' }],
    ['{"quoted.name", "label with blank"="x"} 1', 'quoted.name', { 'label with blank': 'x' }],
    ['a{b="}{,= "} 1', 'a', { b: '}{,= ' }],
    ['a{b="\\d"} 1', 'a', { b: '\\d' }],
    ['a{b=""} 1', 'a', { b: '' }],
    ['\ta{b="ü→"} 1', 'a', { b: 'ü→' }],
    ['a{__proto__="x",constructor="y"} 1', 'a', { ['__proto__']: 'x', constructor: 'y' }],
  ])('%j has the name and labels it prints', (line, name, labels) => {
    const sample = one(line);
    expect(sample?.name).toBe(name);
    expect(Object.entries(sample?.labels ?? {})).toEqual(Object.entries(labels));
  });

  test.each([
    ['1', 1],
    ['-1.5e-3', -0.0015],
    ['+7', 7],
    ['.5', 0.5],
    ['5.', 5],
    ['NaN', Number.NaN],
    ['-Inf', Number.NEGATIVE_INFINITY],
    ['+inf', Number.POSITIVE_INFINITY],
    ['9007199254740991', 9_007_199_254_740_991],
    ['9223372036854775794', 9_223_372_036_854_775_794n],
    ['1.8446744073709552e+19', 18_446_744_073_709_552_000],
  ])('the value %s is %s', (text, value) => {
    expect(one(`a ${text}`)?.value).toEqual(value);
  });

  test.each([
    'a',
    'a b',
    'a 1 2 3',
    'a 1,5',
    'a 0x1F',
    'a 1_000',
    '1a 1',
    'a{b} 1',
    'a{b=c} 1',
    'a{b="c} 1',
    'a{b="c" d="e"} 1',
    'a{b="c",b="d"} 1',
    'a{="c"} 1',
    '{b="c"} 1',
    'a 1 tomorrow',
    'a-b 1',
    '{',
    `a{${Array.from({ length: 65 }, (_, index) => `l${index}="x"`).join(',')}} 1`,
    '1e999999999',
  ])('the line %.40s is skipped and told, and the next is read', (line) => {
    const { samples, problems } = parseExposition(`${line}\ngood 1\n`);
    expect(samples.map(({ name }) => name)).toEqual(['good']);
    expect(problems).toMatchObject([{ line: 1, kind: 'syntax' }]);
  });

  test('a number too large for a double is no number', () => {
    expect(parseExposition(`a 1e400\nb ${'9'.repeat(400)}\n`)).toMatchObject({ samples: [], problems: [{}, {}] });
  });

  test('of a repeated series the first counts; another time makes another sample', () => {
    const { samples, problems } = parseExposition('a{x="1",y="2"} 1\na{y="2",x="1"} 2\na{x="1",y="2"} 3 5\n');
    expect(samples.map(({ value }) => value)).toEqual([1, 3]);
    expect(problems).toEqual([{ line: 2, kind: 'duplicate', reason: 'a' }]);
  });

  test('CRLF, blank lines and a missing last line end are read, the last is told', () => {
    const { samples, problems } = parseExposition('a 1\r\n\r\n  \nb 2');
    expect(samples.map(({ name, value }) => [name, value])).toEqual([
      ['a', 1],
      ['b', 2],
    ]);
    expect(problems.map(({ kind }) => kind)).toEqual(['truncated']);
  });

  test('a line of 10 MB is not read', () => {
    expect(parseExposition(`a{b="${'x'.repeat(10_000_000)}"} 1\nb 2\n`)).toMatchObject({
      samples: [{ name: 'b' }],
      problems: [{ line: 1, kind: 'limit' }],
    });
  });

  test('an unknown TYPE is untyped, and TYPE after its samples changes nothing before', () => {
    const { samples } = parseExposition('# TYPE a rainbow\na 1\nb 1\n# TYPE b counter\n');
    expect(samples.map(({ type }) => type)).toEqual(['untyped', 'untyped']);
  });

  test('a family of its own name is not cut at its suffix', () => {
    const { samples } = parseExposition('# TYPE events_count gauge\nevents_count 3\n');
    expect(samples).toMatchObject([{ family: 'events_count', type: 'gauge' }]);
  });
});

describe('unitOfName', () => {
  test.each([
    ['request_duration_seconds_bucket', 's'],
    ['memory_used_bytes', 'By'],
    ['nv_inference_queue_duration_us', 'us'],
    ['requests_total', ''],
  ])('%s is in %j', (name, unit) => {
    expect(unitOfName(name)).toBe(unit);
  });
});

// Counts: the table of the corpus README, made by counting lines that are no comment.
describeCorpus('parseExposition on texts of nine servers', () => {
  test.each([
    ['bentoml.txt', 238],
    ['dcgm-exporter_t4.txt', 38],
    ['kserve_python_server.txt', 70],
    ['nvidia_nim.txt', 111],
    ['ray_worker.txt', 490],
    ['seldon_executor_rest.txt', 28],
    ['torchserve.txt', 45],
    ['triton_densenet_onnx.txt', 377],
    ['vllm.txt', 120],
  ])('%s: all %i lines are samples, and each value is the last word of its line', (file, count) => {
    const text = corpusText(`prometheus/${file}`);
    const { samples, problems } = parseExposition(text);
    expect(samples).toHaveLength(count);
    expect(problems.filter(({ kind }) => kind !== 'truncated')).toEqual([]);
    const lines = text.split('\n');
    for (const { line, value, name } of samples) {
      expect(lines[line - 1]?.startsWith(name)).toBe(true);
      expect(value).toBe(Number(lines[line - 1]?.trim().split(' ').at(-1)));
    }
  });
});
