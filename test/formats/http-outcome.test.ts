import { expect, test } from 'vitest';
import { classifyHttp, retryAfterMs } from '../../src/formats/http-outcome.ts';

const NOW_MS = Date.UTC(2026, 0, 1, 0, 0, 0);

test.each([
  ['120', 120_000],
  ['0', 0],
  [' 5 ', 5000],
  ['Thu, 01 Jan 2026 00:01:00 GMT', 60_000],
  ['Wed, 31 Dec 2025 23:00:00 GMT', 0],
  ['999999999', 86_400_000],
  ['-1', null],
  ['soon', null],
  ['1.5', null],
  ['', null],
  [undefined, null],
])('Retry-After %s waits %s ms', (value, expected) => {
  expect(retryAfterMs(value, NOW_MS)).toBe(expected);
});

test('410 is gone, redirects and other 4xx are final, overload carries its patience', () => {
  const of = (status: number, headers: Record<string, string> = {}) =>
    classifyHttp({ status, headers, body: '' }, NOW_MS);
  expect(of(410)).toMatchObject({ kind: 'reject', code: 'LW-SINK-GONE' });
  expect(of(302)).toMatchObject({ kind: 'reject', code: 'LW-DELIVERY' });
  expect(of(451)).toMatchObject({ kind: 'reject', code: 'LW-DELIVERY' });
  expect(of(429, { 'retry-after': '7' })).toMatchObject({ kind: 'retry', after_ms: 7000 });
});
