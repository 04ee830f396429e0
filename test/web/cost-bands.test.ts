import { describe, expect, test } from 'vitest';
import { consoleModule } from './console-module.ts';

type Band = { name: string; category: string; nano_usd: bigint; byPeriod: Map<number, bigint> };
type CostBands = {
  bandsOf(items: readonly object[]): Band[];
  checkSum(bands: Band[], billed: string): { sum: bigint; billed: bigint; exact: boolean };
  drawnBands(bands: Band[]): Band[];
  periodsOf(bands: Band[]): number[];
  tenantKey(tenant: Record<string, unknown>): string;
};

const cost = await consoleModule<CostBands>('cost-bands.js');

const item = (category: string, tenant: object | null, nano_usd: string, period_ms = 0) => ({
  category,
  tenant,
  nano_usd,
  period_ms,
  gpu_seconds: 1,
});

describe('the bill', () => {
  test('adds up beyond what a double holds', () => {
    // 2^53 + 1 and 1: as doubles they would come to 2^53 + 1 or + 2, never to what they are.
    const bands = cost.bandsOf([item('tenant', { team: 'a' }, '9007199254740993'), item('idle', null, '1')]);
    expect(cost.checkSum(bands, '9007199254740994')).toMatchObject({ sum: 9_007_199_254_740_994n, exact: true });
    expect(cost.checkSum(bands, '9007199254740993').exact).toBe(false);
  });

  test('has tenants first, the greatest first, then what nobody used', () => {
    const items = [
      item('unobserved', null, '4'),
      item('idle', null, '9'),
      item('tenant', { team: 'small' }, '1'),
      item('tenant', { team: 'large', model: 'digits' }, '5'),
      item('stranded', null, '2'),
      item('tenant', {}, '3'),
    ];
    expect(cost.bandsOf(items).map(({ name }) => name)).toEqual([
      'large · digits',
      'tenant without these keys',
      'small',
      'idle',
      'stranded',
      'unobserved',
    ]);
  });

  test('keeps each period of a band apart', () => {
    const bands = cost.bandsOf([
      item('idle', null, '1', 3600),
      item('idle', null, '2', 0),
      item('idle', null, '3', 3600),
    ]);
    expect(bands).toHaveLength(1);
    expect(bands[0]?.byPeriod).toEqual(
      new Map([
        [3600, 4n],
        [0, 2n],
      ]),
    );
    expect(cost.periodsOf(bands)).toEqual([0, 3600]);
  });

  test('draws many tenants as the greatest and one band of all others, losing nothing', () => {
    const tenants = Array.from({ length: 9 }, (_, index) => item('tenant', { team: `t${index}` }, String(100 - index)));
    const bands = cost.bandsOf([...tenants, item('idle', null, '7')]);
    const drawn = cost.drawnBands(bands);
    expect(drawn.map(({ name }) => name)).toEqual(['t0', 't1', 't2', 't3', 't4', '4 other tenants', 'idle']);
    const sum = (of: Band[]): bigint => of.reduce((total, band) => total + (band.byPeriod.get(0) ?? 0n), 0n);
    expect(sum(drawn)).toBe(sum(bands));
  });

  test('names a tenant as the API does: keys sorted, no spaces', () => {
    expect(cost.tenantKey({ team: 'vision', model: 'digits' })).toBe('{"model":"digits","team":"vision"}');
  });
});
