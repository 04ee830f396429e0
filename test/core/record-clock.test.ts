import { expect, test } from 'vitest';
import { CLOCK_OFF_MS_MAX, isFarAhead } from '../../src/core/record-clock.ts';
import type { LeewayRecord } from '../../src/core/records.ts';

const NOW = 1_767_225_600_000;

const host = (at_ms: number): LeewayRecord => ({ type: 'host', node: 'n', at_ms });
const counts = (from_ms: number): LeewayRecord => ({
  type: 'counts',
  model: 'm',
  version: '1',
  feature: 'f',
  edges_id: 'e',
  from_ms,
  to_ms: from_ms + 1,
  counts: [],
  missing: 0,
  n: 0,
});

test('a day ahead is the most that a clock may be off; the past is history and never judged', () => {
  expect(CLOCK_OFF_MS_MAX).toBe(24 * 60 * 60 * 1_000);
  expect(isFarAhead(host(NOW + CLOCK_OFF_MS_MAX), NOW)).toBe(false);
  expect(isFarAhead(host(NOW + CLOCK_OFF_MS_MAX + 1), NOW)).toBe(true);
  expect(isFarAhead(host(946_684_800_000), NOW)).toBe(false);
});

test('an interval is judged by its beginning, the ledger not at all', () => {
  expect(isFarAhead(counts(NOW + 2 * CLOCK_OFF_MS_MAX), NOW)).toBe(true);
  expect(isFarAhead(counts(NOW), NOW)).toBe(false);
  const price: LeewayRecord = {
    type: 'price',
    from_ms: NOW + 90 * CLOCK_OFF_MS_MAX,
    usd_per_hour: '2',
    source: 'contract',
    retrieved_on: '2026-01-01',
  };
  expect(isFarAhead(price, NOW)).toBe(false);
  expect(isFarAhead({ type: 'budget', scope: {}, period: 'month', usd: '1', thresholds: [] }, NOW)).toBe(false);
});
