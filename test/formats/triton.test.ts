import { describe, expect, test } from 'vitest';
import { decodePrometheus } from '../../src/formats/prometheus.ts';
import { decodeTriton } from '../../src/formats/triton.ts';
import { absentOf, corpusText, describeCorpus, samplesOf, valuesOf, warningCodes } from './corpus.ts';

const REFUSED = expect.objectContaining({ code: 'LW-INPUT' });

describe('decodeTriton', () => {
  test('cumulative microseconds become seconds, exactly', () => {
    const result = decodeTriton(
      '# TYPE nv_inference_queue_duration_us counter\nnv_inference_queue_duration_us{model="m",version="1"} 145\n',
    );
    expect(result.samples).toEqual([
      {
        metric: 'inference.queue.duration',
        value: 0.000145,
        unit: 's',
        attributes: { model: 'm', version: '1' },
        quality: 'ok',
      },
    ]);
  });

  test('failures keep their reason', () => {
    const result = decodeTriton('nv_inference_request_failure{model="m",reason="REJECTED",version="1"} 7\n');
    expect(valuesOf(result, 'inference.requests', { status: 'failure', reason: 'REJECTED' })).toEqual([7]);
  });

  const summary = (count: number, sum: number, quantile: string): string =>
    `# TYPE nv_inference_request_summary_us summary\nnv_inference_request_summary_us_count{model="m"} ${count}\nnv_inference_request_summary_us_sum{model="m"} ${sum}\nnv_inference_request_summary_us{model="m",quantile="0.99"} ${quantile}\n`;

  test.each([
    ['with nothing observed', summary(0, 0, '3'), 'suspect'],
    ['below the mean', summary(3, 1_327_965, '3'), 'suspect'],
    ['above the mean', summary(3, 9, '4'), 'ok'],
  ])('a quantile %s is doubted where it must be', (_, text, quality) => {
    const result = decodeTriton(text);
    expect(samplesOf(result, 'inference.request.duration.quantile')).toMatchObject([{ quality }]);
    expect(warningCodes(result)).toEqual(quality === 'ok' ? [] : ['LW-DECODE-IMPLAUSIBLE']);
  });

  test('a quantile of NaN is absent', () => {
    const result = decodeTriton(summary(0, 0, 'NaN'));
    expect(absentOf(result, 'inference.request.duration.quantile')).toMatchObject([{ reason: 'parse_error' }]);
  });
});

describe('decodePrometheus', () => {
  test('names, values and labels are as printed, the unit is the one the name ends in', () => {
    expect(decodePrometheus('request_seconds_bucket{le="0.5"} 3 1700000000000\n').samples).toEqual([
      {
        metric: 'request_seconds_bucket',
        value: 3,
        unit: 's',
        attributes: { le: '0.5' },
        quality: 'ok',
        at_ms: 1_700_000_000_000,
      },
    ]);
  });

  test('NaN and infinity are absent and told, never null in between', () => {
    const result = decodePrometheus('a NaN\nb +Inf\nc 1\n');
    expect(result.samples.map(({ metric }) => metric)).toEqual(['c']);
    expect(result.absent.map(({ metric, reason }) => `${metric} ${reason}`)).toEqual([
      'a parse_error',
      'b parse_error',
    ]);
    expect(warningCodes(result)).toEqual(['LW-DECODE-NOT-FINITE']);
  });

  test('many bad lines are listed twenty times and counted', () => {
    const result = decodePrometheus(`good 1\n${'bad line here\n'.repeat(30)}`);
    expect(result.warnings).toHaveLength(21);
    expect(result.warnings.at(-1)).toEqual({ code: 'LW-DECODE-LINE', message: '10 more of this kind' });
  });

  test('an empty text is empty and told; a text of another kind is refused', () => {
    expect(warningCodes(decodePrometheus('# only a comment\n'))).toEqual(['LW-DECODE-EMPTY']);
    expect(() => decodePrometheus('<html>\n</html>\n')).toThrow(REFUSED);
    expect(() => decodePrometheus('{"json": true}')).toThrow(REFUSED);
  });
});

describeCorpus('decodeTriton on the text of densenet_onnx', () => {
  const result = (): ReturnType<typeof decodeTriton> => decodeTriton(corpusText('prometheus/triton_densenet_onnx.txt'));

  test('densenet_onnx: 3 requests, 1.327965 s in all of which 1.326831 s computing', () => {
    const model = { model: 'densenet_onnx' };
    expect(valuesOf(result(), 'inference.requests', { ...model, status: 'success' })).toEqual([3]);
    expect(valuesOf(result(), 'inference.request.duration', model)).toEqual([1.327965]);
    expect(valuesOf(result(), 'inference.compute.duration', { ...model, stage: 'infer' })).toEqual([1.326831]);
    expect(valuesOf(result(), 'inference.compute.duration', { ...model, stage: 'output' })).toEqual([0.000061]);
    expect(valuesOf(result(), 'hw.gpu.memory.usage')).toEqual([266_338_304]);
    expect(valuesOf(result(), 'hw.energy')).toEqual([4_879_631.328000044]);
  });

  test('all 200 quantiles of 3 are suspect, all else is ok', () => {
    const suspect = result().samples.filter(({ quality }) => quality === 'suspect');
    expect(suspect).toHaveLength(5 * 8 * 5); // stages × models × quantiles
    expect(new Set(suspect.map(({ value }) => value))).toEqual(new Set([0.000003]));
    expect(result().samples).toHaveLength(377);
  });
});
