import { expect, test } from 'vitest';
import { seededRandom } from '../../src/core/random.ts';
import { ACCURACY, DRIFTED_ACCURACY } from '../../src/pipeline/model-findings.ts';
import { assessAccuracy, type Labelled } from '../../src/quality/accuracy.ts';

const judged = (reference: Labelled, window: Labelled, options: typeof ACCURACY) =>
  assessAccuracy({ reference, window: { ...window, predicted: window.labelled } }, options);

test('a fall of six points against 500 reference labels counts where the inputs drift, and is no alarm of its own', () => {
  // 470 of 500 against 5,147 of 5,855: exact p 7.9e-6, and a larger window would not make it smaller than 5e-6
  const [reference, window] = [
    { correct: 470, labelled: 500 },
    { correct: 5147, labelled: 5855 },
  ];
  expect(judged(reference, window, DRIFTED_ACCURACY)?.worse).toBe(true);
  expect(judged(reference, window, ACCURACY)?.worse).toBe(false);
});

test('an unharmed model that is looked at 100 times is called worse in at most one episode of a hundred', () => {
  const random = seededRandom(20_261_121);
  const hits = (n: number): number => Array.from({ length: n }, () => random.next() < 0.94).filter(Boolean).length;
  let wrong = 0;
  for (let episode = 0; episode < 200; episode++) {
    const reference = { correct: hits(500), labelled: 500 };
    let correct = 0;
    for (let look = 1; look <= 100; look++) {
      correct += hits(60);
      if (judged(reference, { correct, labelled: 60 * look }, DRIFTED_ACCURACY)?.worse !== true) continue;
      wrong++;
      break;
    }
  }
  expect(wrong).toBeLessThan(3);
});
