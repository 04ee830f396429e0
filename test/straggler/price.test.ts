import { describe, expect, test } from 'vitest';
import { printedSeconds, usdLost } from '../../src/straggler/price.ts';

describe('cost of lost GPU time', () => {
  test('is seconds × price ÷ 3600 with nine decimals', () => {
    // 3 × 2.50 / 3600 = 0.00208333333…
    expect(usdLost(3, '2.50')).toBe('0.002083333');
    // 3600 × 2.50 / 3600
    expect(usdLost(3600, '2.50')).toBe('2.500000000');
    // 10,957.504 × 1.9949 / 3600 = 21,859.1247296 ÷ 3600 = 6.07197909155…
    expect(usdLost(10_957.504, '1.9949')).toBe('6.071979092');
  });

  test('rounds a tie to the even billionth', () => {
    // 1.8 × 0.000001 / 3600 = 0.5e-9: tie between 0 and 1, even is 0
    expect(usdLost(1.8, '0.000001')).toBe('0.000000000');
    // 5.4 × 0.000001 / 3600 = 1.5e-9: tie between 1 and 2, even is 2
    expect(usdLost(5.4, '0.000001')).toBe('0.000000002');
  });

  test('is exact where binary floating point is not', () => {
    // 0.1 s at 0.036 USD/h = 0.000001 USD exactly
    expect(usdLost(0.1, '0.036')).toBe('0.000001000');
    // 9,007,199.254741 × 123.456789 / 3600 by integers: 9007199254741 × 123456789000 ÷ 3.6e9 nano-USD, far from a tie
    const nano = (9_007_199_254_741n * 123_456_789_000n + 1_800_000_000n) / 3_600_000_000n;
    expect(usdLost(9_007_199.254741, '123.456789')).toBe(
      `${nano / 1_000_000_000n}.${String(nano % 1_000_000_000n).padStart(9, '0')}`,
    );
  });

  test('is null without a price or with one that is no decimal', () => {
    expect(usdLost(3, null)).toBeNull();
    expect(usdLost(3, '1e3')).toBeNull();
  });

  test('prints GPU-seconds with at most six decimals', () => {
    expect(printedSeconds(1_234.567_891_2)).toBe(1.234568);
    expect(printedSeconds(0)).toBe(0);
  });
});
