import { describe, expect, test } from 'vitest';
import { consoleModule } from './console-module.ts';

type Format = {
  count(value: number | null): string;
  number(value: number | null): string;
  power(value: number): string;
  percent(ratio: number | null, digits?: number): string;
  duration(ms: number | null): string;
  gpuTime(seconds: number | null): string;
  ago(at_ms: number | null, now_ms: number): string;
  nanoOfUsd(usd: string | null): bigint | null;
  money(nano: bigint | string | null): string;
  moneyExact(nano: bigint | string | null): string;
  usd(text: string | null): string;
  words(word: string | null): string;
  counted(amount: number, noun: string, plural?: string): string;
  localTime(at_ms: number | null, options: { now_ms: number; timeZone?: string }): string;
  utcTime(at_ms: number | null): string;
  valueOf(name: string, value: unknown): string;
};

const format = await consoleModule<Format>('format.js');
/** No-break spaces as plain ones, for reading. */
const plain = (text: string): string => text.replaceAll('\u00a0', ' ');

describe('numbers', () => {
  test('counts have separators of thousands', () => expect(format.count(4210)).toBe('4,210'));

  test.each([
    [0, '0'],
    [3.14159, '3.14'],
    [0.00123, '0.00123'],
    [-12.345, '-12.3'],
    [184_220.4, '184,220'],
    [3.2e-26, '3.2×10⁻²⁶'],
    [1.97e55, '2×10⁵⁵'],
  ])('%d reads %s', (value, text) => expect(format.number(value)).toBe(text));

  test.each([
    [100, '100'],
    [0.1, '0.1'],
    [1e6, '10⁶'],
    [1e-3, '10⁻³'],
  ])('the power %d reads %s', (value, text) => expect(format.power(value)).toBe(text));

  test.each([
    [0.18, '18 %'],
    [0.042, '4.2 %'],
    [0, '0 %'],
    [0.0004, '0.04 %'],
    [0.000_001, '< 0.001 %'],
    [-0.000_001, '> −0.001 %'],
    [1, '100 %'],
    [1.22, '122 %'],
  ])('the ratio %d reads %s', (ratio, text) => expect(plain(format.percent(ratio))).toBe(text));

  test('what is not whole never reads 100 %', () => {
    expect(plain(format.percent(0.99999))).toBe('99.99 %');
    expect(plain(format.percent(0.998))).toBe('99.8 %');
  });

  test('digits may be asked for', () => expect(plain(format.percent(0.9731, 1))).toBe('97.3 %'));

  test('a unit never leaves its number', () => expect(format.percent(0.18)).toContain('\u00a0'));

  test('what is not known is a dash, not a zero', () => {
    expect([format.count(null), format.number(Number.NaN), format.percent(null), format.duration(null)]).toEqual(
      Array(4).fill('–'),
    );
    expect([format.money(null), format.usd('x'), format.gpuTime(null), format.words(null)]).toEqual(Array(4).fill('–'));
  });
});

describe('times', () => {
  test.each([
    [0, '0 ms'],
    [0.00531, '5.31 µs'],
    [1.9, '1.9 ms'],
    [840, '840 ms'],
    [999.7, '1 s'],
    [3200, '3.2 s'],
    [9960, '10 s'],
    [59_600, '1 m'],
    [252_000, '4 m 12 s'],
    [3_600_000, '1 h'],
    [7_500_000, '2 h 5 m'],
    [86_399_000, '1 d'],
    [273_600_000, '3 d 4 h'],
    [-3200, '−3.2 s'],
  ])('%d ms reads %s', (ms, text) => expect(plain(format.duration(ms))).toBe(text));

  test('GPU time is given in seconds', () => expect(plain(format.gpuTime(1440))).toBe('24 m'));

  test.each([
    [1000, 4200, '3.2 s ago'],
    [1000, 1040, '0 ms ago'],
    [10_000, 4000, 'in 6 s'],
    [1500, 1000, '0 ms ago'],
  ])('%d seen at %d reads %s', (at_ms, now_ms, text) => expect(plain(format.ago(at_ms, now_ms))).toBe(text));

  test('the date is shown only where it is not today, in the zone of the reader', () => {
    const now_ms = Date.UTC(2026, 0, 2, 3, 0, 0);
    const options = { now_ms, timeZone: 'America/New_York' };
    expect(plain(format.localTime(Date.UTC(2026, 0, 2, 2, 30, 5), options))).toBe('21:30:05');
    expect(plain(format.localTime(Date.UTC(2026, 0, 1, 4, 30, 5), options))).toBe('2025-12-31 23:30:05');
  });

  test('UTC is given in full', () => expect(format.utcTime(0)).toBe('1970-01-01 00:00:00.000 UTC'));
});

describe('money', () => {
  test.each([
    [42_100_000_000n, '$42.10'],
    [0n, '$0.00'],
    [8_700_000n, '$0.0087'],
    [1n, '$0.000000001'],
    [10_000_000n, '$0.01'],
    [999_994_999_999n, '$999.99'],
    [1_204_500_000_000n, '$1,205'],
    [-42_100_000_000n, '−$42.10'],
  ])('%d nano-USD reads %s', (nano, text) => expect(format.money(nano)).toBe(text));

  test('exact money keeps every nano-dollar beyond what a double holds', () => {
    // 2^53 is 9,007,199,254,740,992: the double nearest to the next odd number is another one.
    expect(format.moneyExact(9_007_199_254_740_993n)).toBe('$9,007,199.254740993');
    expect(format.moneyExact('42100000000')).toBe('$42.10');
    expect(format.moneyExact(-1n)).toBe('−$0.000000001');
  });

  test('decimal text of the API becomes nano-USD without rounding', () => {
    expect(format.nanoOfUsd('0.001044218')).toBe(1_044_218n);
    expect(format.nanoOfUsd('-1.5')).toBe(-1_500_000_000n);
    expect(format.nanoOfUsd('1e3')).toBeNull();
  });
});

describe('words', () => {
  test('underscores become spaces', () => expect(format.words('awaiting_approval')).toBe('awaiting approval'));

  test('a count agrees with its noun', () => {
    expect(plain(format.counted(1, 'rank'))).toBe('1 rank');
    expect(plain(format.counted(4210, 'rank'))).toBe('4,210 ranks');
  });

  test.each<[string, unknown, string]>([
    ['wait_ms', 3200, '3.2 s'],
    ['cost_ratio', 0.182, '18.2 %'],
    ['threshold_ratio', 0.0001, '0.01 %'],
    ['from_ms', 0, '1970-01-01 00:00:00.000 UTC'],
    ['accuracy', 0.711, '71.1 %'],
    ['usd_lost', '42.1', '$42.10'],
    ['nano_usd', '3960000000', '$3.96'],
    ['budget_usd', 'none left', 'none left'],
    ['temperature_celsius', 91, '91 °C'],
    ['power_watts', 412.4, '412 W'],
    ['ranks', [5, 6], '5, 6'],
    ['groups', [], 'none'],
    ['worse', true, 'yes'],
    ['window', { from: 1, wait_ms: 20 }, 'from 1 · wait ms 20 ms'],
    ['e_value', 1.97e55, '2×10⁵⁵'],
    ['anything', null, '–'],
    ['estimate', 0.738, '73.8 %'],
  ])('%s reads by its unit', (name, value, text) => expect(plain(format.valueOf(name, value))).toBe(text));
});
