import { expect, test } from 'vitest';
import { ABSENT_REASONS, recordQuality } from '../../src/core/quality.ts';

test('every reason has one of the five words of a record', () => {
  expect(ABSENT_REASONS.map((reason) => [reason, recordQuality(reason)])).toEqual([
    ['unsupported', 'unsupported'],
    ['no_permission', 'no_permission'],
    ['deprecated', 'unsupported'],
    ['lost', 'lost'],
    ['mig_unsupported', 'mig_unsupported'],
    ['parse_error', 'lost'],
    ['stale', 'stale'],
  ]);
});
