import { expect, test } from 'vitest';
import { decodeOtlpMetrics } from '../../src/formats/otlp-metrics.ts';
import { encodeOtlpResponse, encodeOtlpResponseJson, partialSuccessOf } from '../../src/formats/otlp-response.ts';
import { numberPoint, otlpRequest } from './otlp-messages.ts';
import { message, text, uint } from './protobuf-writer.ts';
import { freshTarget, taken } from './sample-rows.ts';

test('full success is the empty message in both forms', () => {
  const nothing = { rejected_points_count: 0, message: '' };
  expect(encodeOtlpResponse(nothing)).toEqual(new Uint8Array(0));
  expect(encodeOtlpResponseJson(nothing)).toBe('{}');
});

test('a partial success tells count and reason', () => {
  const partial = { rejected_points_count: 300, message: 'no time' };
  expect(encodeOtlpResponse(partial)).toEqual(message(1, uint(1, 300), text(2, 'no time')));
  expect(JSON.parse(encodeOtlpResponseJson(partial))).toEqual({
    partialSuccess: { rejectedDataPoints: '300', errorMessage: 'no time' },
  });
});

test('a warning without a refused point has a message only', () => {
  const warning = { rejected_points_count: 0, message: 'an exemplar was left out' };
  expect(encodeOtlpResponse(warning)).toEqual(message(1, text(2, warning.message)));
  expect(JSON.parse(encodeOtlpResponseJson(warning))).toEqual({ partialSuccess: { errorMessage: warning.message } });
});

test('the refusals of a body are summed up for its sender', () => {
  const gauge = [
    numberPoint({ at_ms: 1, value: 1 }),
    numberPoint({ at_ms: 2, value: 1 }),
    numberPoint({ at_ms: 1_763_596_800_000 }),
  ];
  const decoded = taken(decodeOtlpMetrics(otlpRequest([{ metrics: [{ name: 'g', gauge }] }]), freshTarget()));
  expect(partialSuccessOf(decoded)).toEqual({
    rejected_points_count: 3,
    message:
      '2 × time: a time before 2000 or after 2100 (Unix ms expected); 1 × no_value: a data point without a value',
  });
});
