import { describe, expect, it } from 'vitest';
import { integerBelow, seededRandom } from '../../src/core/random.ts';
import { assessAccuracy } from '../../src/quality/accuracy.ts';

const reference = { correct: 480, labelled: 500 };

describe('assessAccuracy', () => {
  it('calls a fall from 0.96 to 0.72 worse, with intervals and the share of labels that came', () => {
    const verdict = assessAccuracy({ reference, window: { correct: 144, labelled: 200, predicted: 400 } });
    expect(verdict).toMatchObject({ status: 'worse', worse: true, completeness_ratio: 0.5, labelled: 200 });
    expect(verdict?.accuracy).toBeCloseTo(0.72, 12);
    expect(verdict?.change).toBeCloseTo(-0.24, 12);
    expect(verdict?.p_value).toBeLessThan(1e-12);
    // Wilson at 0.72 of 200 by the formula: centre (0.72 + 0.0096)/(1.0192), half width 0.0619
    expect(verdict?.low).toBeCloseTo(0.654, 3);
    expect(verdict?.high).toBeCloseTo(0.7775, 3);
    expect(verdict?.change_low).toBeLessThan(-0.24);
    expect(verdict?.change_high).toBeLessThan(0);
  });

  it('does not call a small loss worse, though it is significant', () => {
    const verdict = assessAccuracy({
      reference: { correct: 96_000, labelled: 100_000 },
      window: { correct: 95_000, labelled: 100_000, predicted: 100_000 },
    });
    expect(verdict?.p_value).toBeLessThan(1e-6);
    expect(verdict?.worse).toBe(false);
  });

  it('does not call a gain worse', () => {
    expect(assessAccuracy({ reference, window: { correct: 300, labelled: 300, predicted: 300 } })?.status).toBe(
      'holds',
    );
  });

  it('is insufficient with its reason below the smallest number of labels, and null without any', () => {
    const window = { correct: 10, labelled: 40, predicted: 400 };
    expect(assessAccuracy({ reference, window })).toMatchObject({
      status: 'insufficient',
      reason: 'too_few_labels',
      worse: false,
    });
    const young = { correct: 9, labelled: 10 };
    expect(assessAccuracy({ reference: young, window: { ...window, labelled: 100 } })?.reason).toBe(
      'too_few_reference_labels',
    );
    expect(assessAccuracy({ reference, window: { correct: 0, labelled: 0, predicted: 9 } })).toBeNull();
    expect(assessAccuracy({ reference: { correct: 0, labelled: 0 }, window })).toBeNull();
  });

  it('calls an unchanged model worse in at most the chosen share of windows (seed 31)', () => {
    const random = seededRandom(31);
    const correct = (of: number): number => {
      let hits = 0;
      for (let row = 0; row < of; row++) if (integerBelow(random, 10) > 0) hits += 1;
      return hits;
    };
    let alarms = 0;
    const trials = 1_000;
    for (let trial = 0; trial < trials; trial++) {
      const verdict = assessAccuracy(
        {
          reference: { correct: correct(300), labelled: 300 },
          window: { correct: correct(150), labelled: 150, predicted: 150 },
        },
        { alpha: 0.05, effect_min: 0 },
      );
      if (verdict?.worse === true) alarms += 1;
    }
    expect(alarms, 'seed 31').toBeLessThanOrEqual(71); // 50 + 3 standard deviations
    expect(alarms, 'seed 31').toBeGreaterThan(10); // and the test is not asleep
  });
});
