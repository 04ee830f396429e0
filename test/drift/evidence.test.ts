import { describe, expect, it } from 'vitest';
import { seededRandom } from '../../src/core/random.ts';
import { windowAlpha, windowsPerFalseAlarm } from '../../src/drift/alarm-budget.ts';
import { advanceEvidence, eValueOf, evidenceOf } from '../../src/drift/evidence.ts';

describe('eValueOf', () => {
  it('is ½/√p: 5 at p = 0.01, ½ at p = 1, and finite at 0', () => {
    expect(eValueOf(0.01)).toBeCloseTo(5, 12);
    expect(eValueOf(1)).toBe(0.5);
    expect(Number.isFinite(eValueOf(0))).toBe(true);
  });

  it('has mean 1 over uniform p-values: ∫ ½·p^(−½) dp = 1', () => {
    let sum = 0;
    const steps = 1_000_000;
    for (let step = 0; step < steps; step++) sum += eValueOf((step + 0.5) / steps);
    expect(sum / steps).toBeCloseTo(1, 2);
  });
});

describe('advanceEvidence', () => {
  it('multiplies while there is evidence, restarts at 1 when it melted, and counts windows since', () => {
    const first = advanceEvidence(null, 0.01); // 1 × 5
    const second = advanceEvidence(first, 0.0025); // 5 × 10
    expect(second).toEqual({ e_value: 50, windows: 2 });
    const melted = advanceEvidence({ e_value: 1.2, windows: 4 }, 1); // 1.2 × ½
    expect(melted.windows).toBe(5);
    expect(melted.e_value).toBeCloseTo(0.6, 12);
    expect(advanceEvidence(melted, 0.01)).toEqual({ e_value: 5, windows: 1 });
  });

  it('passes over windows that could not be assessed', () => {
    expect(evidenceOf([null, 0.01, null, 0.0025])).toEqual([1, 5, 5, 50]);
  });

  it('reaches 1/a in at most a share a of independent unchanged windows (seed 12)', () => {
    const random = seededRandom(12);
    const windows = 200_000;
    let evidence = null;
    let alarms = 0;
    for (let window = 0; window < windows; window++) {
      evidence = advanceEvidence(evidence, random.next());
      if (evidence.e_value < 1_000) continue;
      alarms += 1;
      evidence = null;
    }
    expect(alarms, 'seed 12').toBeLessThan(windows / 1_000); // e-detector: average run length at least 1,000
  });
});

describe('windowAlpha', () => {
  it('spreads one false alarm a month over 720 windows of an hour', () => {
    expect(windowAlpha({ false_alarms_per_month: 1, window_ms: 3_600_000 })).toBeCloseTo(1 / 720, 15);
    expect(windowsPerFalseAlarm(1 / 720)).toBeCloseTo(720, 9);
  });

  it('is never above 0.05', () => {
    expect(windowAlpha({ false_alarms_per_month: 10, window_ms: 30 * 86_400_000 })).toBe(0.05);
  });
});
